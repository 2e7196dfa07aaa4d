"""`stream-scrub retry`: what it asks for. No work is done here."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command, quiet_log
from stream_scrub.errors import ConfigError
from stream_scrub.timestamps import parse_zoned


def retry(
    call: Invocation,
    reason: Annotated[
        str, typer.Option(metavar="REASON,...", help="Blocked for these reasons.")
    ] = "stale-register",
    register: Annotated[
        str, typer.Option(metavar="NAME", help="Of stale-register: for this register alone.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="MOMENT", help="Blocked from then on; what is older is passed for good.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="MOMENT", help="Blocked before then; the rest waits.")] = "",
    max_tries: Annotated[
        int, typer.Option("--max-tries", metavar="N", help="Bring none back more often.", min=1, max=1000)
    ] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge them now, show what would come of it, send nothing.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="As a daemon: whenever a register can be used again.")
    ] = False,
) -> None:
    """Bring back prospects that were blocked for a reason that has gone."""
    from stream_scrub.cli.streams import render
    from stream_scrub.retry import daemon, once

    settings = call.settings()
    question = once.RetryQuestion(
        once.reasons_of(reason),
        register,
        moment("--since", since),
        moment("--until", until),
        max_tries,
        dry_run,
    )
    if follow:
        once.need_followable(question)
        raise typer.Exit(daemon.run(settings, question))
    report = once.run(settings, quiet_log(settings), question)
    call.write(report, render.retried)


def moment(option: str, text: str) -> float | None:
    """A day (it begins at 00:00 UTC) or a moment with its zone, in seconds since 1970. Raises ConfigError."""
    if not text:
        return None
    try:
        if len(text) == len("2026-11-26"):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        return parse_zoned(text).timestamp()
    except ValueError:
        raise ConfigError(
            [f"{option}: a day or a moment with its zone, as in 2026-11-26 or 2026-11-26T08:00:00Z"]
        ) from None


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("retry")(command(retry))
