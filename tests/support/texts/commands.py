"""The commands of the console."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from stream_scrub.cli.app import app


def _commands(command: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in command.commands.items():
        path = f"{above} {name}".strip()
        if hasattr(inner, "commands"):
            yield from _commands(inner, path)
        else:
            yield path, inner


COMMANDS = dict(_commands(get_command(app)))  # each by its path, as in `lists import`
