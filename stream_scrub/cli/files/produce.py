"""`stream-scrub produce`: the rows of a file onto the topic of prospects. No work is done here."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scrub.cli.files.options import Leads, about_leads
from stream_scrub.cli.options import Invocation, command, quiet_log


def produce(
    call: Invocation,
    leads: Leads,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file of leads; - for standard input.")],
    key_column: Annotated[str, typer.Option(metavar="NAME", help="The column of the record's key.")] = "",
    topic: Annotated[str, typer.Option(metavar="NAME", help="Which topic, where workers read several.")] = "",
) -> None:
    """Put the rows of a file on the topic of prospects, for the workers to judge."""
    from stream_scrub.cli.files import render
    from stream_scrub.files import produce as producing

    settings = call.settings()
    order = leads.order(file, Path())
    with render.progress(visible=not call.as_json) as stage:
        made = producing.produce(order, key_column, topic, settings, quiet_log(settings), stage)
    call.write(made, render.produced)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("produce")(command(about_leads(produce)))
