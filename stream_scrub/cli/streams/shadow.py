"""`stream-scrub shadow report`: what it asks for. No work is done here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command, quiet_log
from stream_scrub.cli.streams.retry import moment


def report(
    call: Invocation,
    since: Annotated[str, typer.Option(metavar="MOMENT", help="Found from then on.")] = "",
) -> None:
    """How many verdicts would change by what a shadow judges with, and which."""
    from stream_scrub.cli.streams import render
    from stream_scrub.shadow import report as reporting

    settings = call.settings()
    found = reporting.report(settings, quiet_log(settings), moment("--since", since))
    call.write(found, render.shadowed)


def add_to(shadow_app: typer.Typer) -> None:
    """Register the command."""
    shadow_app.command("report")(command(report))
