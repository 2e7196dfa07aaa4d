"""`stream-scrub topics`: create what is missing, report what differs. No work is done here."""

from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command


def topics(
    call: Invocation,
    partitions: Annotated[
        int, typer.Option(metavar="N", help="Partitions of the prospects topics, where missing.", min=1)
    ] = 6,
    replication: Annotated[
        int | None, typer.Option(metavar="R", help="Replicas; default: the broker's own.", min=1)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: exit 1 if something is missing or differs.")
    ] = False,
) -> None:
    """Create the topics that are missing, report what differs in the others."""
    from stream_scrub.cli import render_topics
    from stream_scrub.wiring import topics_report

    report = topics_report.prepare(
        call.settings(), partitions=partitions, replication=replication, only_look=check
    )
    call.write(report, render_topics.people)
    raise typer.Exit(int(report.is_wrong))


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("topics")(command(topics))
