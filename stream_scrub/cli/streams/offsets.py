"""`stream-scrub offsets`: where the group stands, and where it must, by what came out. No work is done here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command, quiet_log


def offsets(
    call: Invocation,
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Commit what came out, for partitions without a committed offset."),
    ] = False,
) -> None:
    """The workers' committed offsets; those that Kafka forgot are found again from what came out."""
    from stream_scrub.cli.streams import render
    from stream_scrub.queries import emitted_upto, group_position

    settings = call.settings()
    log = quiet_log(settings)
    found = group_position.group_position(settings, log)
    if restore:
        group_position.restore(settings, log, found)
    call.write(render.OffsetsReport.of(found, restored=restore), render.offsets)
    if restore:
        emitted_upto.need_certain(found.emitted)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("offsets")(command(offsets))
