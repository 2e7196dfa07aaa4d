"""What commands write, word for word and byte for byte: for people, and with --json for machines.

`python -m tests.unit.cli.test_console` writes tests/golden/console anew: only for a change of the output that is meant.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from stream_scrub.cli.app import app
from stream_scrub.kafka import clients
from tests.support.golden import files as golden
from tests.support.golden.evidence import reader

FOLDER = golden.GOLDEN / "console"
EVIDENCE = golden.GOLDEN / "evidence"
RECORDS = list(golden.log("evidence"))
COMMANDS = {
    "history-called": ["lists", "history", "+33611111111"],
    "history-consenting": ["lists", "history", "06 22 22 22 22"],
    "history-unknown": ["lists", "history", "+33699999999"],
    "at-0": ["lists", "at", "0", "+33612345678"],
    "at-17": ["lists", "at", "17", "+33612345678"],
    "at-4000": ["lists", "at", "4000", "+33622222222"],
    "verify": ["lists", "verify"],
    "export": ["lists", "export", "--into", "."],
    "export-at": ["lists", "export", "list", "--into", ".", "--at", "17"],
    "status": ["lists", "status"],
    "explain-consented": ["explain", str(EVIDENCE / "prospect-consented.json")],
    "explain-opposed": ["explain", str(EVIDENCE / "prospect-opposed.json")],
    "explain-other": ["explain", str(EVIDENCE / "prospect-opposed.json"), "--header", str(EVIDENCE / "stamp-other.json")],
}  # fmt: skip
# What a clock, a release or a better word decides, in both kinds of output.
CHANGING = (
    (re.compile(r'"took_s":[0-9.e-]+'), '"took_s":0'),
    (re.compile(r'"made_by":\{[^}]*\},"at":"[^"]*"\}'), '"made_by":{},"at":""}'),
    (re.compile(r"in \d+\.\d s"), "in 0.0 s"),
    (re.compile(r'"(stream-scrub|phonenumbers)":"[^"]+"'), r'"\1":"1"'),
    (re.compile(r"read with stream-scrub \S+ and phonenumbers [^\s,]+"), "read with stream-scrub 1 and phonenumbers 1"),
    (re.compile(r'"age_days":\d+\.\d+,"seq"'), '"age_days":0,"seq"'),
    (re.compile(r"-?\d+\.\d d +"), "0.0 d  "),
    (re.compile(r"age {2,}"), "age  "),
    (re.compile(r"so stale: .*"), "so stale: a register"),
    (re.compile(r'"says":(\[[^]]*\]|"[^"]*")'), '"says":"words"'),
    (re.compile(r"(?m)^  - .*$"), "  - words"),
    (re.compile(r"(?m)^(\S+: (?:allowed|blocked), [a-z-]+): .*$"), r"\1: words"),
)  # fmt: skip


@contextmanager
def _reading(*_args: object) -> Iterator[object]:
    yield reader(RECORDS)


def output(name: str, *more: str) -> str:
    """What a command writes on the log of tests/golden/evidence."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(clients.Brokers, "reading", _reading):
        os.chdir(folder)
        try:
            result = CliRunner().invoke(
                app, [*COMMANDS[name], *more], standalone_mode=False, env={"COLUMNS": "200"}
            )
        finally:
            os.chdir(before)
    assert result.exception is None, result.exception
    text = f"{result.stdout}exit code {result.return_value if isinstance(result.return_value, int) else result.exit_code}\n"
    for pattern, fixed in CHANGING:
        text = pattern.sub(fixed, text)
    return text


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_byte_for_byte_what_it_was(name):
    """A program that reads the output of a command would meet another shape after an upgrade."""
    assert output(name, "--json") == (FOLDER / f"{name}.json.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_text_for_people_is_what_it_was(name):
    """A runbook would quote lines that no command writes."""
    assert output(name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in sys.argv[1:] or COMMANDS:
        (FOLDER / f"{each}.json.txt").write_text(output(each, "--json"), encoding="utf-8")
        (FOLDER / f"{each}.txt").write_text(output(each), encoding="utf-8")
