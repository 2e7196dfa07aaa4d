"""`stream-scrub lists`: put lists and requests on the log, and see what stands there. No work is done here."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stream_scrub import terminal
from stream_scrub.cli.options import (
    AllowChange,
    AllowOlder,
    EffectiveAt,
    Invocation,
    ListColumn,
    ListColumns,
    ListFormat,
    Sample,
    command,
    on_folder,
    quiet_log,
)
from stream_scrub.errors import ConfigError
from stream_scrub.model import LogReader, RegisterKind


def import_(
    call: Invocation,
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
    areas: Annotated[
        str, typer.Option(metavar="AREAS", help="Areas that were bought, as in 212,305; or all.")
    ] = "",
    allow_change: AllowChange = False,
    allow_older: AllowOlder = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the effect, publish nothing.")] = False,
    sample: Sample = 10_000,
) -> None:
    """Read a list, compare it with its register, publish what changed. FILE is a full list by default."""
    from stream_scrub.cli import render
    from stream_scrub.lists.intake import plan_import
    from stream_scrub.publisher import import_list

    if adds and removes:
        raise ConfigError(["--adds and --removes: a file is one or the other"])
    settings = call.settings(lists__max_bad=max_bad)
    order = plan_import.ImportOrder(
        file=file,
        register=import_list.named(register, settings),
        change="adds" if adds else "removes" if removes else "full",
        kind=kind,
        effective_at=import_list.effective(effective_at, datetime.now(UTC)),
        region=(region or settings.prospect.default_region).upper(),
        column=column,
        format=format_,
        columns=import_list.columns(columns),
        max_bad=settings.lists.max_bad,
        allow_older=allow_older,
        areas=tuple(filter(None, (area.strip() for area in areas.split(",")))),
        sample=sample,
        dry_run=dry_run,
    )
    order = import_list.guarded(order, settings, any_change=allow_change)
    with call.progress() as progress:
        effect = import_list.run(order, settings, quiet_log(settings), progress)
    call.write(effect, render.effect)


def status(call: Invocation) -> None:
    """Every register on the log: kind, size, age."""
    from stream_scrub.cli import render
    from stream_scrub.queries import log_status
    from stream_scrub.wiring import clients, scrubbing

    settings = call.settings()
    rulebook = scrubbing.rulebook(settings)
    replay = clients.replayed(settings, quiet_log(settings))
    mark = replay.known("").log.mark
    result = log_status.status(replay.index, rulebook, datetime.now(UTC), mark)
    call.write(result, render.status)


def publish(
    call: Invocation,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Watch DIR/REGISTER for lists (lists.folder)."),
    ] = None,
) -> None:
    """Publish requests, ends and dropped files as they come, until told to stop (SIGTERM or Ctrl-C)."""
    from stream_scrub.publisher import daemon

    raise typer.Exit(daemon.run(call.settings(lists__folder=on_folder(folder))))


def mend(call: Invocation) -> None:
    """Set aside the parts on the log that were never sealed, so that workers go on. Nothing is deleted."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.publisher import mend_log

    settings = call.settings()
    result = mend_log.LogMended(mend_log.run(settings, quiet_log(settings)))
    call.write(result, lambda found: render_evidence.mended(found.mended))


def renew(
    call: Invocation,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The new log's name.")],
    cut: Annotated[
        Path, typer.Option("--cut", metavar="FILE", help="Where to write the old log's proof, to be dated.")
    ],
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="REGISTER=FILE", help="Consents whose time is over, left out; repeatable."),
    ] = None,
) -> None:
    """Begin the log anew: every register onto a new topic, without requests and proofs. The old one stays as it is."""
    from stream_scrub.cli import render_evidence
    from stream_scrub.publisher.renewal import renew_log
    from stream_scrub.queries import verify_log
    from stream_scrub.wiring import clients

    old, new = call.settings(), call.settings(topics__log=topic)
    order = renew_log.RenewOrder(cut, renew_log.left_out(without or [], old))
    with call.progress() as progress:

        def prove(reader: LogReader) -> renew_log.FiledProof:
            proof = verify_log.verify(reader, progress, clients.deadline(), topic=old.topics.log)
            return renew_log.FiledProof(terminal.document(proof).encode() + b"\n", proof.sound, proof.end)

        result = renew_log.run(order, old, new, prove, quiet_log(old), progress)
    call.write(result, render_evidence.renewed)


def add_to(lists_app: typer.Typer) -> None:
    """Register the commands."""
    lists_app.command("import")(command(import_))
    lists_app.command("status")(command(status))
    lists_app.command("publish")(command(publish, with_json=False))
    lists_app.command("mend")(command(mend))
    lists_app.command("renew")(command(renew))
