"""`stream-scrub rules`: what the rules say, whether their files are right, and their texts onto the log. No work is done
here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, RulesFolder, command, on_folder, quiet_log
from stream_scrub.config import load


def check(
    call: Invocation,
    folder: RulesFolder = None,
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Only the files: do not ask what the log holds.")
    ] = False,
) -> None:
    """What every rule does today, and what is wrong or doubtful about it. Exit 2 when a file is wrong."""
    from stream_scrub.cli import render_rules
    from stream_scrub.wiring import clients

    settings = load(
        flags=call.flags(rules__folder=on_folder(folder)),
        config_file=call.config,
        extra_checks=[clients.refused_properties],
    )
    read_index = None if no_log else lambda: clients.replayed(settings, quiet_log(settings)).index
    raise typer.Exit(render_rules.check(call, settings, read_index))


def show(
    call: Invocation,
    what: Annotated[
        str, typer.Argument(metavar="REGION", help="A region, as in FR or GP; or a stamp's digest.")
    ],
    on: Annotated[str, typer.Option(metavar="DATE", help="The rule of that day; default today.")] = "",
    channel: Annotated[
        str, typer.Option(help="How people are reached: voice, or another that a rule is for, as in sms.")
    ] = "voice",
    only_text: Annotated[
        bool, typer.Option("--text", help="The rule's canonical text and nothing else.")
    ] = False,
    folder: RulesFolder = None,
) -> None:
    """The rule of a day in words: what it blocks, what lifts that, its source, what comes next."""
    from stream_scrub.cli import render_rules

    settings = call.settings(rules__folder=on_folder(folder))
    render_rules.show_rule(call, settings, what, on, channel, only_text=only_text)


def publish(
    call: Invocation,
    folder: RulesFolder = None,
) -> None:
    """Keep the texts of the rules in use on the log, so that stamps given by them can be replayed for ever."""
    from stream_scrub.cli import render_rules
    from stream_scrub.publisher import publish_rules

    settings = call.settings(rules__folder=on_folder(folder))
    call.write(publish_rules.run(settings, quiet_log(settings)), render_rules.published)


def add_to(rules_app: typer.Typer) -> None:
    """Register the commands."""
    rules_app.command("check")(command(check))
    rules_app.command("show")(command(show))
    rules_app.command("publish")(command(publish))
