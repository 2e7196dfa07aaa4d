"""The console's command that publishes as a daemon. Part of `cli.py`: no work is done here."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scrub.run.cli_options import Assignments, Bootstrap, ConfigFile, flags, settings_of


def publish(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Watch DIR/REGISTER for lists (lists.folder)."),
    ] = None,
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
) -> None:
    """Publish requests, ends and dropped files as they come, until told to stop (SIGTERM or Ctrl-C)."""
    from stream_scrub.run import publishing

    given = flags(bootstrap, assignments, lists__folder=None if folder is None else str(folder))
    raise typer.Exit(publishing.run(settings_of(config, given)))


def add_to(lists_app: typer.Typer) -> None:
    """Register the command."""
    lists_app.command("publish")(publish)
