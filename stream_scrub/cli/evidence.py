"""`lists history`, `at`, `verify`, `export`, and `explain`: what each asks for. No work is done here."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, RulesFolder, command, on_folder, quiet_log
from stream_scrub.config import Settings
from stream_scrub.config.inputs import INPUT
from stream_scrub.errors import ConfigError

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="As a prospect would spell it.")]
Region = Annotated[str | None, typer.Option(help="Region of a national number (prospect.default_region).")]


def history(call: Invocation, number: Number, region: Region = None) -> None:
    """When a number came into each register and left it, from which source, on whose request."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.queries import number_history
    from stream_scrub.wiring import clients

    settings = call.settings()
    asked, region = _asked(number, region, settings)
    with call.progress() as progress, clients.reading(settings, quiet_log(settings)) as reader:
        result = number_history.history(reader, asked, region, progress, clients.deadline())
    call.write(result, render_evidence.history)


def at(
    call: Invocation,
    position: Annotated[
        int, typer.Argument(metavar="POSITION", help="An offset of the log, as in a stamp's index.", min=0)
    ],
    number: Number,
    region: Region = None,
) -> None:
    """Which registers held a number at a past position, and how old each was then."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.queries import number_history
    from stream_scrub.wiring import clients

    settings = call.settings()
    asked, region = _asked(number, region, settings)
    with call.progress() as progress, clients.reading(settings, quiet_log(settings)) as reader:
        result = number_history.at(reader, position, asked, region, progress, clients.deadline())
    call.write(result, render_evidence.at)


def verify(
    call: Invocation,
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
) -> None:
    """Prove the whole log, from its first record to its last. Exit 3 when anything in it is wrong."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.queries import verify_log
    from stream_scrub.wiring import clients

    settings = call.settings()
    filed = None if against is None else verify_log.filed_in(against)
    with call.progress() as progress, clients.reading(settings, quiet_log(settings)) as reader:
        result = verify_log.verify(reader, progress, clients.deadline(), snapshot, settings.topics.log, filed)
    call.write(result, render_evidence.verified)
    raise typer.Exit(0 if result.sound else 3)


def export(
    call: Invocation,
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
) -> None:
    """Write registers as files, REGISTER.jsonl each, which lists import reads: with their ends, kind and date."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.queries import export_registers
    from stream_scrub.wiring import clients

    settings = call.settings()
    order = export_registers.ExportOrder(registers or [], into, position, salvage)
    with call.progress() as progress, clients.reading(settings, quiet_log(settings)) as reader:
        result = export_registers.run(order, reader, settings.topics.log, progress, clients.deadline())
    call.write(result, render_evidence.exported)


def explain(
    call: Invocation,
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
) -> None:
    """Judge an emitted prospect again, as it was judged then. Exit 0 when its stamp says the same, else 1."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.queries import emitted_prospect
    from stream_scrub.queries import explain as explaining
    from stream_scrub.wiring import clients

    if (topic is None) != (offset is None) or (topic is not None and (file or header or stamp)):
        raise ConfigError(["--topic and --offset go together, and without a file, --header or --stamp"])
    if header is not None and stamp is not None:
        raise ConfigError(["--header and --stamp: the stamp is in one or the other"])
    settings = call.settings(rules__folder=on_folder(folder))
    log = quiet_log(settings)
    if topic is None or offset is None:
        found = stamp.encode() if stamp is not None else None if header is None else _read(header)
        emitted = emitted_prospect.EmittedProspect(_read(file), found)
    else:
        verdict, name = _topic(topic, settings)
        with clients.reading(settings, log, name, partition) as reader:
            emitted = emitted_prospect.emitted_at(
                reader, name, partition, offset, verdict, clients.deadline()
            )
    with call.progress() as progress, clients.reading(settings, log) as reader:
        result = explaining.explain(reader, emitted, settings, progress, clients.deadline(), limit)
    call.write(result, render_evidence.explained)
    raise typer.Exit(0 if result.same else 1)


def add_to(app: typer.Typer, lists_app: typer.Typer) -> None:
    """Register the commands."""
    lists_app.command("history")(command(history))
    lists_app.command("at")(command(at))
    lists_app.command("verify")(command(verify))
    lists_app.command("export")(command(export))
    app.command("explain")(command(explain))


def _asked(number: str, region: str | None, settings: Settings) -> tuple[int, str]:
    from stream_scrub.queries import number_history

    region = (region or settings.prospect.default_region).upper()
    return number_history.number_of(number, region), region


def _topic(topic: str, settings: Settings) -> tuple[str, str]:
    """The verdict that a topic is for, and its name."""
    for verdict, name in (("allowed", settings.topics.allowed), ("blocked", settings.topics.blocked)):
        if topic == verdict and INPUT not in name:
            return verdict, name
    verdict = settings.topics.inputs.verdict_of(topic)
    if verdict:
        return verdict, topic
    raise ConfigError([f"--topic: {topic!r} is no output: say allowed or blocked, or the topic's name"])


def _read(path: Path | None) -> bytes:
    if path is None or str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or 'it cannot be read'}"]) from error
