"""The console's commands that publish as a daemon, and set aside what a publisher left. Part of `cli.py`: no work is done
here."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scrub.run.cli_options import (
    AsJson,
    Assignments,
    Bootstrap,
    ConfigFile,
    flags,
    quiet_log,
    settings_of,
)


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


def mend(
    config: ConfigFile = None,
    bootstrap: Bootstrap = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Set aside the parts on the log that were never sealed, so that workers go on. Nothing is deleted."""
    from stream_scrub.run import mending, telling, terminal

    settings = settings_of(config, flags(bootstrap, assignments))
    made = mending.run(settings, quiet_log(settings))
    if as_json:
        terminal.machine({"mended": [each.as_json() for each in made]})
    else:
        telling.mended(made)


def add_to(lists_app: typer.Typer) -> None:
    """Register the commands."""
    lists_app.command("publish")(publish)
    lists_app.command("mend")(mend)
