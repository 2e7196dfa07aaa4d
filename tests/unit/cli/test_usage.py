"""`--help`: what a user reads before the first command."""

import re
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from stream_scrub.cli import usage
from stream_scrub.cli.app import app
from tests.support.texts.commands import COMMANDS

MOST = 10  # options that the eye takes in under one heading


def helped(*arguments: str) -> str:
    """What a command says of itself on a terminal of 80 columns."""
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "80"}, standalone_mode=False).stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_read_without_knowing_python(command):
    """A user would read `<list[str]>`, or a summary that ends in the middle of a sentence."""
    text = helped(*command.split(), "--help")
    assert text.startswith("Usage: ") and text == helped(*command.split(), "-h")
    assert not re.search(r"(?m)<[a-z]{2}|\w\.\.\.$", text), text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_heading_has_more_options_than_one_takes_in(command):
    """A user of `file` would search forty options for the one that names a column."""
    headings: dict[str, int] = {}
    for line in helped(*command.split(), "--help").splitlines():
        if line.endswith(":") and not line.startswith(" "):
            headings[heading := line] = 0
        elif line.startswith("  -"):
            headings[heading] += 1
    assert max(headings.values()) <= MOST, headings


@pytest.mark.parametrize("command", COMMANDS)
def test_two_examples_of_each_command_are_commands(command):
    """A user would copy an example that is refused, or that the terminal has wrapped."""
    examples = usage.EXAMPLES[command]
    assert len(examples) == 2
    text = helped(*command.split(), "--help")
    for example in examples:
        assert example.startswith(f"{command}") and f"\n  stream-scrub {example}\n" in f"{text}\n"
        arguments = shlex.split(example)[len(command.split()) :]
        COMMANDS[command].make_context(command, arguments, parent=get_command(app).make_context("", ["x"]))


def test_each_example_is_of_a_command():
    """An example of a command that is gone would stay, and be copied from the source."""
    assert set(usage.EXAMPLES) == set(COMMANDS)
