"""`stream-scrub topics`: create what is missing, report what differs. No work is done here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import AsJson, Assignments, Bootstrap, ConfigFile, flags, settings_of


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
    from stream_scrub.cli import render_topics

    settings = settings_of(config, flags(bootstrap, assignments))
    raise typer.Exit(
        render_topics.run(
            settings, partitions=partitions, replication=replication, only_look=check, as_json=as_json
        )
    )


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(topics)
