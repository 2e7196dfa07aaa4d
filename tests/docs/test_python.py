"""docs/python.md: its examples run as they stand there, in the page's order and one namespace."""

import os
import re

import pytest

from stream_scrub import Call, Checker
from tests.support.fakes.lists import consents
from tests.support.names import unique_name
from tests.support.running.worker import environment, run
from tests.support.texts.pages import ROOT, blocks

PAGE = ROOT / "docs" / "python.md"
EXAMPLES = [block.text for block in blocks(PAGE) if block.language == "python"]
ROLES = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused")


@pytest.fixture
def broker(kafka, tmp_path, monkeypatch):
    """The reader's broker, with topics that no other test sees, and working folder, with the lists that the page names."""
    for name in [name for name in os.environ if name.startswith("STREAM_SCRUB_")]:
        monkeypatch.delenv(name)
    unique = unique_name()
    for name, value in environment(kafka.bootstrap, {role: f"{role}-{unique}" for role in ROLES}).items():
        if "DEFAULT_CAMPAIGN" in name:  # the page's reader has not set it
            continue
        if name.startswith("STREAM_SCRUB_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opt-outs.csv").write_text("name;phone\nA;06 12 34 56 78\nB;+33 6 12 34 56 79\n")
    (tmp_path / "consents.csv").write_text(consents(["+33612345678", "+33612345680"]))
    (tmp_path / "tps.txt").write_text("07400 123457\n")
    (tmp_path / "leads.csv").write_text("name;phone\nA;06 12 34 56 78\nB;06 12 34 56 80\n")
    for command in (
        ["topics"],
        ["lists", "import", "opt-outs.csv", "--register", "internal"],
        ["lists", "import", "consents.csv", "--register", "consent"],
    ):
        done = run(command, dict(os.environ))
        assert done.returncode == 0, done.stderr
    return kafka


def test_there_is_no_block_that_is_not_run():
    """A command on the page would rot unseen."""
    assert len(blocks(PAGE)) == len(EXAMPLES)


def test_the_examples_run_as_they_stand(broker, capsys):
    """The first thing that somebody copies into a program would fail, or print something else than the page says."""
    namespace: dict[str, object] = {}
    said = []
    for example in EXAMPLES:
        exec(compile(example.replace("localhost:9092", broker.bootstrap), str(PAGE), "exec"), namespace)
        said.append(capsys.readouterr().out)
        for told in re.findall(r"print\(.*\)  # (blocked opposed|allowed clear \S+|\[False .*\])", example):
            assert told in said[-1]
    assert namespace["callable_numbers"] == ["+33612345680"]
    followed, scrubbed = said[-2:]
    assert re.fullmatch(r"blocked opposed \d+\n", followed)
    assert re.fullmatch(r"False b'.*\nTrue b'.*\n", scrubbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "call", "region"),
    [([], Call(), None), (["--contract", "--region", "GB"], Call(contract=True), "GB")],
)
def test_a_program_and_the_console_say_the_same(broker, options, call, region):
    """A dialler that asks in Python would call whom `stream-scrub check` blocks."""
    numbers = ["+33612345678", "06 12 34 56 80", "0622222222", "+447400123456", "0612", "x"]
    told = run(["check", *numbers, "--json", *options], dict(os.environ)).stdout.splitlines()
    assert len(told) == len(numbers)

    checker = Checker.from_config()

    many = checker.check_many(numbers, call, region=region)
    for stamps in (many, [checker.check(each, call, region=region) for each in numbers]):
        assert [_timeless(stamp.json.decode()) for stamp in stamps] == list(map(_timeless, told))


def _timeless(stamp: str) -> str:
    return re.sub(r'"at":"[^"]*"', "", stamp)
