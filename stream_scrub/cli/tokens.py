"""`stream-scrub tokens`: who may ask the check API. No work is done here."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command
from stream_scrub.errors import ConfigError

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is, as in dialler-7.")]


def _file(call: Invocation) -> Path:
    where = call.settings().http.tokens
    if not where:
        raise ConfigError(["http.tokens: name the file of tokens, as in --set http.tokens=tokens.json"])
    return Path(where)


def add(
    call: Invocation,
    name: Name,
    scope: Annotated[
        str, typer.Option(metavar="SCOPE,...", help="What it may ask for: check, request, history, admin.")
    ],
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Where there is a token of that name, do nothing.")
    ] = False,
) -> None:
    """Make a token, and show it this once: the file keeps its digest."""
    from datetime import UTC, datetime

    from stream_scrub.cli import render
    from stream_scrub.server import tokens

    if if_missing and tokens.is_there(_file(call), name):
        return
    scopes = [each.strip() for each in scope.split(",")]
    call.write(tokens.add(_file(call), name, scopes, datetime.now(UTC)), render.issued)


def list_(call: Invocation) -> None:
    """Every token: what it may ask for, when it was made and last used."""
    from stream_scrub.cli import render
    from stream_scrub.server import tokens

    call.write(tokens.listed(_file(call)), render.tokens)


def revoke(call: Invocation, name: Name) -> None:
    """Take a token back: servers know within a second."""
    from stream_scrub import terminal
    from stream_scrub.server import tokens

    tokens.revoke(_file(call), name)
    terminal.People().print(f"{name} is revoked")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Who may ask the check API.", no_args_is_help=True)
    app.add_typer(group, name="tokens")
    group.command("add")(command(add))
    group.command("list")(command(list_))
    group.command("revoke")(command(revoke, with_json=False))
