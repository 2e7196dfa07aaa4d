"""`stream-scrub rules`: what the rules say, whether their files are right, and their texts onto the log. No work is done
here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import (
    AsJson,
    Assignments,
    Bootstrap,
    ConfigFile,
    RulesFolder,
    flags,
    quiet_log,
    settings_of,
)
from stream_scrub.config import load


def check(
    folder: RulesFolder = None,
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Only the files: do not ask what the log holds.")
    ] = False,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """What every rule does today, and what is wrong or doubtful about it. Exit 2 when a file is wrong."""
    from stream_scrub.cli import render_rules
    from stream_scrub.wiring import clients

    given = flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    settings = load(flags=given, config_file=config, extra_checks=[clients.refused_properties])
    read_index = None if no_log else lambda: clients.read_index(settings, quiet_log(settings))
    raise typer.Exit(render_rules.check(settings, read_index, as_json=as_json))


def show(
    what: Annotated[
        str, typer.Argument(metavar="REGION", help="A region, as in FR or GP; or a stamp's digest.")
    ],
    on: Annotated[str, typer.Option(metavar="DATE", help="The rule of that day; default today.")] = "",
    only_text: Annotated[
        bool, typer.Option("--text", help="The rule's canonical text and nothing else.")
    ] = False,
    folder: RulesFolder = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """The rule of a day in words: what it blocks, what lifts that, its source, what comes next."""
    from stream_scrub.cli import render_rules

    settings = settings_of(
        config, flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    )
    render_rules.show_rule(settings, what, on, only_text=only_text, as_json=as_json)


def publish(
    folder: RulesFolder = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Keep the texts of the rules in use on the log, so that stamps given by them can be replayed for ever."""
    from stream_scrub import terminal
    from stream_scrub.lists.audit import rules_on_log
    from stream_scrub.publisher import publish_rules
    from stream_scrub.wiring import clients, scrubbing

    settings = settings_of(
        config, flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    )
    log = quiet_log(settings)
    replay, book = clients.replayed(settings, log), scrubbing.rulebook(settings)
    kept, added = book.texts, sorted(rules_on_log.lacking(replay.rules, book))
    published = publish_rules.keep_rules(settings, log, replay)
    if as_json:
        position = None if published is None else published.position
        terminal.machine({"rules": sorted(kept), "added": added, "position": position})
    elif published is None:
        terminal.People().print(f"all {len(kept)} rules in use are on the log already")
    else:
        terminal.People().print(
            f"{len(added)} of {len(kept)} rules in use were put on the log, at position {published.position}"
        )


def add_to(rules_app: typer.Typer) -> None:
    """Register the commands."""
    rules_app.command("check")(check)
    rules_app.command("show")(show)
    rules_app.command("publish")(publish)
