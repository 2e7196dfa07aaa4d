"""`check`, `serve` and `tokens`: verdicts on single numbers, on the console and over HTTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_scrub import terminal
from stream_scrub.call import Call
from stream_scrub.cli.options import Invocation, argument, option, quiet_log, rules_problems
from stream_scrub.errors import ConfigError

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.config import Settings
    from stream_scrub.queries.check import CheckedNumber
    from stream_scrub.serve.tokens import IssuedToken, ListedToken


def check(
    call: Invocation,
    about: Call,
    numbers: Annotated[list[str], argument("NUMBER...", "As a prospect would spell them.")],
    on: Annotated[str, option("DATE", "Use the rules of that day (2026-08-10).")] = "",
    region: Annotated[str | None, option("REGION", "Region of national numbers, as in FR.")] = None,
) -> None:
    """Show the verdict on numbers, and why."""
    from stream_scrub.ops import read_log
    from stream_scrub.queries import check as checking

    settings = call.settings()
    moment = checking.moment(on)
    index = read_log.read_index(settings, quiet_log(settings))
    call.write(checking.answer(numbers, about, region, moment, settings, index), show_verdicts, show_stamps)


def show_stamps(answers: "list[CheckedNumber]") -> None:
    """Print the stamps, one per line."""
    for answer in answers:
        terminal.raw(answer.stamp.json + b"\n")


def show_verdicts(answers: "list[CheckedNumber]") -> None:
    """Print one line per number, with the reason."""
    from stream_scrub.queries import answer as texts

    console = terminal.people()
    for answer in answers:
        stamp = answer.stamp
        why = (
            f"in {', '.join(stamp.registers)}" if stamp.registers else "",
            f"until {stamp.until}" if stamp.until else "",
            texts.again_from(stamp),
            f"index {stamp.index}",
            f"rules {stamp.rules}" if stamp.rules else "",
        )
        console.print(
            f"{stamp.number or answer.typed} ",
            terminal.styled(stamp.verdict, "green" if stamp.allowed else "red"),
            f"{stamp.reason}  ({'; '.join(filter(None, why))})",
        )
        if hours := texts.hours_of(stamp):
            console.print(f"    {hours}")
        if answer.source:
            console.print(f"    {answer.source}")
        for note in answer.notes:
            console.print(f"    {note}")


def serve(
    call: Invocation,
    processes: Annotated[int | None, option("N", "Processes that share the port (http.processes).")] = None,
    trial: Annotated[
        bool,
        option("--trial", "Try the API with an embedded Kafka and two short lists. Ignores other settings."),
    ] = False,
) -> None:
    """Serve the check API and the status page over HTTP until SIGTERM or Ctrl-C."""
    from stream_scrub.cli import greeting
    from stream_scrub.config import load
    from stream_scrub.kafka import clients
    from stream_scrub.serve import serving

    flags = call.flags(http__processes=processes)
    checks = [clients.refused_properties, rules_problems, serving.problems]
    if trial:
        from stream_scrub.demo import main as demonstration

        def begins(settings: "Settings") -> None:
            serving.need_address(settings.http)
            greeting.of_trial(settings)

        with demonstration.trial(flags, checks, begins) as settings:
            raise typer.Exit(serving.run(settings, trial=True))
    settings = load(flags=flags, config_file=call.config, extra_checks=checks)
    serving.need_address(settings.http)
    greeting.of_server(settings)
    raise typer.Exit(serving.run(settings))


Name = Annotated[str, argument("NAME", "The client, as in dialler-7.")]


def _file(call: Invocation) -> Path:
    where = call.settings().http.tokens
    if not where:
        raise ConfigError(["http.tokens: name the token file, as in --set http.tokens=tokens.json"])
    return Path(where)


def add_token(
    call: Invocation,
    name: Name,
    scope: Annotated[
        list[str],
        option(
            "SCOPE,...", "Its permissions: check, request, history, file, evidence, admin. May be repeated."
        ),
    ],
    if_missing: Annotated[bool, option("--if-missing", "Do nothing if the name exists.")] = False,
) -> None:
    """Create a token and show it once: the file stores only its digest."""
    from datetime import UTC, datetime

    from stream_scrub.serve import tokens

    if if_missing and tokens.exists(_file(call), name):
        return
    scopes = [each.strip() for each in ",".join(scope).split(",")]
    call.write(tokens.add(_file(call), name, scopes, datetime.now(UTC)), show_issued)


def list_tokens(call: Invocation) -> None:
    """List the tokens: scopes, creation, last use."""
    from stream_scrub.serve import tokens

    call.write(tokens.listed(_file(call)), show_tokens)


def revoke_token(call: Invocation, name: Name) -> None:
    """Revoke a token: servers refuse it within a second."""
    from stream_scrub.serve import tokens

    tokens.revoke(_file(call), name)
    terminal.people().print(f"{name} is revoked")


def show_issued(token: "IssuedToken") -> None:
    """Print a new token."""
    scopes = ", ".join(token.scopes)
    terminal.people().print(f"{token.name} ({scopes}). Copy the token now: it is not shown again.")
    terminal.raw(token.token.encode() + b"\n")


def show_tokens(listed: "Sequence[ListedToken]") -> None:
    """Print the tokens."""
    terminal.people().rows(
        ("name", "scopes", "created", "last used"),
        [(each.name, ", ".join(each.scopes), each.created_at, each.last_used or "") for each in listed],
    )
