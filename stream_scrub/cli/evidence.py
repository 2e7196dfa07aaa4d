"""What was on the log when, its proof, and registers as files; a verdict judged again. No work is done here."""

import sys
from pathlib import Path
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
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="As a prospect would spell it.")]
Region = Annotated[str | None, typer.Option(help="Region of a national number (prospect.default_region).")]


def history(
    number: Number,
    region: Region = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """When a number came into each register and left it, from which source, on whose request."""
    from stream_scrub import terminal
    from stream_scrub.cli import render, render_evidence
    from stream_scrub.queries import number_history
    from stream_scrub.wiring import clients

    settings = settings_of(config, flags(bootstrap, assignments))
    asked, region = _asked(number, region, settings)
    with (
        render.progress(visible=not as_json) as stage,
        clients.reading(settings, quiet_log(settings)) as reader,
    ):
        told = number_history.history(reader, asked, region, stage)
    if as_json:
        terminal.machine(told)
    else:
        render_evidence.history(told)


def at(
    position: Annotated[
        int, typer.Argument(metavar="POSITION", help="An offset of the log, as in a stamp's index.", min=0)
    ],
    number: Number,
    region: Region = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Which registers held a number at a past position, and how old each was then."""
    from stream_scrub import terminal
    from stream_scrub.cli import render, render_evidence
    from stream_scrub.queries import number_history
    from stream_scrub.wiring import clients

    settings = settings_of(config, flags(bootstrap, assignments))
    asked, region = _asked(number, region, settings)
    with (
        render.progress(visible=not as_json) as stage,
        clients.reading(settings, quiet_log(settings)) as reader,
    ):
        told = number_history.at(reader, position, asked, region, stage)
    if as_json:
        terminal.machine(told)
    else:
        render_evidence.at(told)


def verify(
    snapshot: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Hold a worker's snapshot (worker.state_dir) against the log too."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier output of this command with --json: it must still be true."
        ),
    ] = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Prove the whole log, from its first record to its last. Exit 3 when anything in it is wrong."""
    from stream_scrub import terminal
    from stream_scrub.cli import render, render_evidence
    from stream_scrub.queries import verify_log
    from stream_scrub.wiring import clients

    settings = settings_of(config, flags(bootstrap, assignments))
    filed = None if against is None else verify_log.filed_in(against)
    with (
        render.progress(visible=not as_json) as stage,
        clients.reading(settings, quiet_log(settings)) as reader,
    ):
        told = verify_log.verify(reader, stage, snapshot, settings.topics.log, filed)
    if as_json:
        terminal.machine(told)
    else:
        render_evidence.verified(told)
    raise typer.Exit(0 if told["sound"] else 3)


def export(
    registers: Annotated[
        list[str] | None, typer.Argument(metavar="[REGISTER]...", help="Which ones; default: every one.")
    ] = None,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="A folder that is there.")] = Path(),
    position: Annotated[
        int | None,
        typer.Option(
            "--at", metavar="POSITION", help="As they were there; default: at the log's end.", min=0
        ),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Of a corrupt log: what it held before its first fault."),
    ] = False,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Write registers as files, REGISTER.jsonl each, which lists import reads: with their ends, kind and date."""
    from stream_scrub import terminal
    from stream_scrub.cli import render, render_evidence
    from stream_scrub.queries import export_registers
    from stream_scrub.wiring import clients

    settings = settings_of(config, flags(bootstrap, assignments))
    order = export_registers.ExportOrder(registers or [], into, position, salvage)
    with (
        render.progress(visible=not as_json) as stage,
        clients.reading(settings, quiet_log(settings)) as reader,
    ):
        told = export_registers.run(order, reader, settings.topics.log, stage)
    if as_json:
        terminal.machine(told)
    else:
        render_evidence.exported(told)


def explain(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The emitted prospect's value; - or nothing: standard input."),
    ] = None,
    header: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The record's header `scrub`, where the stamp is.")
    ] = None,
    stamp: Annotated[str | None, typer.Option(metavar="JSON", help="The same, on the command line.")] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="allowed|blocked", help="Read the prospect from this topic.")
    ] = None,
    partition: Annotated[int, typer.Option(metavar="P", help="With --topic.", min=0)] = 0,
    offset: Annotated[int | None, typer.Option(metavar="O", help="With --topic.", min=0)] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", help="The largest record that the topic took, where that blocked it.", min=1
        ),
    ] = None,
    folder: RulesFolder = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Judge an emitted prospect again, as it was judged then. Exit 0 when its stamp says the same, else 1."""
    from stream_scrub import terminal
    from stream_scrub.cli import render, render_evidence
    from stream_scrub.queries import explain as explaining
    from stream_scrub.wiring import clients

    if (topic is None) != (offset is None) or (topic is not None and (file or header or stamp)):
        raise ConfigError(["--topic and --offset go together, and without a file, --header or --stamp"])
    if header is not None and stamp is not None:
        raise ConfigError(["--header and --stamp: the stamp is in one or the other"])
    settings = settings_of(
        config, flags(bootstrap, assignments, rules__folder=None if folder is None else str(folder))
    )
    log = quiet_log(settings)
    if topic is None or offset is None:
        found = stamp.encode() if stamp is not None else None if header is None else _read(header)
        emitted = explaining.EmittedProspect(_read(file), found)
    else:
        verdict, name = _topic(topic, settings)
        with clients.reading(settings, log, name, partition) as reader:
            emitted = explaining.emitted_at(reader, name, partition, offset, verdict)
    with render.progress(visible=not as_json) as stage, clients.reading(settings, log) as reader:
        told = explaining.explain(reader, emitted, settings, stage, limit)
    if as_json:
        terminal.machine(told)
    else:
        render_evidence.explained(told)
    raise typer.Exit(0 if told["same"] else 1)


def add_to(app: typer.Typer, lists_app: typer.Typer) -> None:
    """Register the commands."""
    lists_app.command("history")(history)
    lists_app.command("at")(at)
    lists_app.command("verify")(verify)
    lists_app.command("export")(export)
    app.command("explain")(explain)


def _asked(number: str, region: str | None, settings: Settings) -> tuple[int, str]:
    from stream_scrub.queries import number_history

    region = (region or settings.prospect.default_region).upper()
    return number_history.number_of(number, region), region


def _topic(topic: str, settings: Settings) -> tuple[str, str]:
    """The verdict that a topic is for, and its name."""
    for verdict, name in (("allowed", settings.topics.allowed), ("blocked", settings.topics.blocked)):
        if topic in (verdict, name):
            return verdict, name
    raise ConfigError([f"--topic: {topic!r} is no output: say allowed or blocked"])


def _read(path: Path | None) -> bytes:
    if path is None or str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or 'it cannot be read'}"]) from error
