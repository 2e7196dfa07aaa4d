"""The console: every command of `stream-scrub`, its options and its exit code. No work is done here.

Exit codes: 0 well, 1 the operation failed, 2 usage or configuration, 3 corrupt.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stream_scrub import __version__
from stream_scrub.config import load, read
from stream_scrub.errors import ConfigError, Corrupt, ScrubError
from stream_scrub.model import RegisterKind
from stream_scrub.run import cli_evidence, cli_publish, faults, terminal
from stream_scrub.run.cli_options import (
    AllowChange,
    AllowOlder,
    AsJson,
    Assignments,
    Bootstrap,
    ConfigFile,
    EffectiveAt,
    ListColumn,
    ListColumns,
    ListFormat,
    RulesFolder,
)
from stream_scrub.run.cli_options import flags as _flags
from stream_scrub.run.cli_options import quiet_log as _quiet_log
from stream_scrub.run.cli_options import rules_problems as _rules_problems
from stream_scrub.run.cli_options import settings_of as _settings

app = typer.Typer(
    name="stream-scrub",
    help="Scrubs prospect streams on Kafka against registers of opposition and consent, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lists_app = typer.Typer(help="Registers on the opposition log.", no_args_is_help=True)
app.add_typer(lists_app, name="lists")
rules_app = typer.Typer(help="What the law and the company ask, in words.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")
cli_evidence.add_to(app, lists_app, rules_app)
cli_publish.add_to(lists_app)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"stream-scrub {__version__}")
        raise typer.Exit


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long prospects are produced.", min=5, max=600)] = 15,
    rate: Annotated[int, typer.Option(help="Prospects a second.", min=100, max=50_000)] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Watch the whole system work on an embedded broker: no Kafka needed."""
    from stream_scrub.run import demo as demonstration

    raise typer.Exit(demonstration.run(seconds=seconds, rate=rate, as_json=as_json))


@app.command()
def worker(
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Workers on this machine (worker.processes).")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", help="Stable identity, one a live worker (worker.id).")
    ] = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
) -> None:
    """Scrub prospects from Kafka to Kafka until told to stop (SIGTERM or Ctrl-C)."""
    from stream_scrub.run import supervise

    flags = _flags(bootstrap, assignments, worker__processes=processes, worker__id=identity)
    raise typer.Exit(supervise.run(_settings(config, flags)))


@app.command()
def topics(
    partitions: Annotated[
        int, typer.Option(metavar="N", help="Partitions of the prospects topics, where missing.", min=1)
    ] = 6,
    replication: Annotated[
        int | None, typer.Option(metavar="R", help="Replicas; default: the broker's own.", min=1)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: exit 1 if something is missing or differs.")
    ] = False,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing, report what differs in the others."""
    from stream_scrub.run import topics as command

    settings = _settings(config, _flags(bootstrap, assignments))
    raise typer.Exit(
        command.run(
            settings, partitions=partitions, replication=replication, only_look=check, as_json=as_json
        )
    )


@lists_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list, as it came: plain, gzip or zip.")],
    register: Annotated[
        str, typer.Option("--register", "-r", help="The register, as in bloctel or internal@acme.")
    ],
    adds: Annotated[bool, typer.Option("--adds", help="FILE holds numbers to add.")] = False,
    removes: Annotated[bool, typer.Option("--removes", help="FILE holds numbers to remove.")] = False,
    kind: Annotated[
        RegisterKind | None,
        typer.Option(help="At its first import; default: as the rules need it, else as the list means it."),
    ] = None,
    effective_at: EffectiveAt = "",
    region: Annotated[
        str | None, typer.Option(help="Region of national numbers (prospect.default_region).")
    ] = None,
    format_: ListFormat = "auto",
    column: ListColumn = "",
    columns: ListColumns = "",
    max_bad: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Refuse above this share of bad lines (lists.max_bad)."),
    ] = None,
    allow_change: AllowChange = False,
    allow_older: AllowOlder = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the effect, publish nothing.")] = False,
    sample: Annotated[
        int, typer.Option(metavar="N", help="Judge the last N prospects for --dry-run.", min=0)
    ] = 10_000,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Read a list, compare it with its register, publish what changed. FILE is a full list by default."""
    from stream_scrub.run import importing, show

    if adds and removes:
        raise ConfigError(["--adds and --removes: a file is one or the other"])
    settings = _settings(config, _flags(bootstrap, assignments, lists__max_bad=max_bad))
    order = importing.Order(
        file=file,
        register=register,
        change="adds" if adds else "removes" if removes else "full",
        kind=kind,
        effective_at=importing.effective(effective_at, datetime.now(UTC)),
        region=(region or settings.prospect.default_region).upper(),
        column=column,
        format=format_,
        columns=importing.columns(columns),
        max_bad=settings.lists.max_bad,
        allow_older=allow_older,
        sample=sample,
        dry_run=dry_run,
    )
    order = importing.guarded(order, settings, any_change=allow_change)
    with show.progress(visible=not as_json) as stage:
        effect = importing.run(order, settings, _quiet_log(settings), stage)
    show.effect(effect, as_json=as_json)


@lists_app.command("status")
def status(
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Every register on the log: kind, size, age."""
    from stream_scrub.run import show, wiring

    settings = _settings(config, _flags(bootstrap, assignments))
    show.status(wiring.read_index(settings, _quiet_log(settings)), wiring.rulebook(settings), as_json=as_json)


@rules_app.command("check")
def rules_check(
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
    from stream_scrub.run import rules_command, wiring

    flags = _flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    settings = load(flags=flags, config_file=config, extra_checks=[wiring.refused_properties])
    read_index = None if no_log else lambda: wiring.read_index(settings, _quiet_log(settings))
    raise typer.Exit(rules_command.check(settings, read_index, as_json=as_json))


@rules_app.command("show")
def rules_show(
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
    from stream_scrub.run import rules_command

    settings = _settings(
        config, _flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    )
    rules_command.show_rule(settings, what, on, only_text=only_text, as_json=as_json)


@app.command()
def check(
    numbers: Annotated[
        list[str], typer.Argument(metavar="NUMBER...", help="As a prospect would spell them.")
    ],
    on: Annotated[
        str, typer.Option(metavar="DATE", help="Judge by the rules of that day (2026-08-10).")
    ] = "",
    purpose: Annotated[str | None, typer.Option(help="The call's purpose, as in press.")] = None,
    contract: Annotated[
        bool, typer.Option("--contract", help="The person has a contract that the call is about.")
    ] = False,
    campaign: Annotated[str | None, typer.Option(help="The campaign, for scoped registers.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of national numbers.")] = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """The verdict on numbers, and why."""
    from stream_scrub.run import checking, show, wiring

    settings = _settings(config, _flags(bootstrap, assignments))
    asked = checking.Question(tuple(numbers), purpose, contract, campaign, region, checking.moment(on))
    index = wiring.read_index(settings, _quiet_log(settings))
    show.verdicts(checking.answer(asked, settings, index), as_json=as_json)


@app.command("config")
def config_(
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """The effective configuration, secrets masked, with every problem."""
    from stream_scrub.run import show, wiring

    flags = _flags(bootstrap, assignments)
    found = read(flags=flags, config_file=config, extra_checks=[wiring.refused_properties, _rules_problems])
    show.configuration(found, as_json=as_json)
    if found.problems:
        raise ConfigError(found.problems)


def _heed_sigterm() -> None:
    """As a container's first process, end on SIGTERM as every other process does.

    The kernel gives process 1 no default: a signal that it has no handler for is dropped, and a container that is
    stopped while it starts would live until its grace period is over. `worker` and `lists publish` set their own later.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def main() -> None:
    """The console script: turns every error into one clear message and its exit code."""
    _heed_sigterm()
    out = terminal.take_over()
    faults.watch()
    code = faults.coded(_command)
    if out.lost is not None and not isinstance(out.lost, BrokenPipeError):
        terminal.complain(
            f"not all of the output could be written ({out.lost}); exit code {code} is of the rest"
        )
    sys.exit(code)


def _command() -> int:
    """One command; its exit code."""
    try:
        return app(standalone_mode=False) or 0
    except typer.TyperException as error:
        _misused(error)
        return error.exit_code
    except typer.Abort:
        return 1
    except ConfigError as error:
        for problem in error.problems:
            terminal.complain(problem)
        return 2
    except Corrupt as error:
        terminal.complain(f"corrupt: {error}")
        return 3
    except ScrubError as error:
        terminal.complain(str(error))
        return 1


def _misused(error: typer.TyperException) -> None:
    """What is wrong with the command line, which may quote any file's name; or the help that was asked for."""
    context: typer.Context | None = getattr(error, "ctx", None)
    said = error.format_message()
    if context is None or said != context.get_help():
        usage = (
            [] if context is None else [context.get_usage(), f"Try '{context.command_path} --help' for help."]
        )
        said = "\n".join([*usage, f"Error: {terminal.one_line(said)}"])
    typer.echo(said, err=True)
