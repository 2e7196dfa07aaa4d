"""The facts of a call: declared once, and there at every interface."""

import inspect
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from stream_scrub.call import FACTS, Call
from stream_scrub.errors import ConfigError
from stream_scrub.scrub.facts import facts_of

DOCS = Path(__file__).parents[2] / "docs"
PURCHASE = {"kind": "purchase", "since": "2026-01-31"}

# Before anything else is loaded, a ninth fact is declared; then every interface is asked for it.
NINTH = """
from dataclasses import dataclass
from stream_scrub import call

@dataclass(frozen=True, slots=True, kw_only=True)
class Ninth(call.Call):
    mood: str | None = call._fact("How the person feels.", "moods")

call.Call, call.FACTS = Ninth, call.facts_in(Ninth)

from stream_scrub.scrub import facts
seen, eight = [], facts.facts_of
facts.facts_of = lambda *members, **how: seen.append(members[8:]) or eight(*members[:8], **how)

import msgspec
from datetime import UTC, datetime
from typer.main import get_command
from stream_scrub import Call, Checker
from stream_scrub.cli.app import app
from stream_scrub.client import client
from stream_scrub.config import load
from stream_scrub.files.options import COLUMNS
from stream_scrub.serve.check import CheckProspect

commands = get_command(app).commands
for command, options in (("check", ["--mood"]), ("file", ["--mood", "--mood-column"]), ("produce", ["--mood", "--mood-column"])):
    there = {each for param in commands[command].params for each in param.opts}
    assert set(options) <= there, command
assert load(environ={}).prospect.facts["mood"] == "mood"
assert load(environ={}, flags={"prospect.mood": "m"}).prospect.mood == "m"
assert "mood" in COLUMNS
assert "mood" in msgspec.json.schema(CheckProspect)["$defs"]["CheckProspect"]["properties"]
assert client._pages([1], Call(mood="glad"), None) == [[{"number": 1, "mood": "glad"}]]
checker = Checker.from_lists({"internal": "internal.txt"})
for stamp in (checker.check("0612345678", Call(mood="glad")), *checker.check_many(["0612345678"], Call(mood="glad"))):
    assert seen.pop() == ("glad",) and stamp.reason == "opposed"
batch = checker.scrubber.scrub([b'{"phone":"0612345678","mood":"sad"}'] * 2 + [b'{"Mood":"odd","phone":"0612345678"}'], checker.index, datetime.now(UTC))
assert {("sad",), ("odd",)} <= set(seen)
"""


def test_a_ninth_fact_is_one_entry(tmp_path):
    """A new fact would be judged on the stream and passed over in a file, a check or a program, or the other way round."""
    (tmp_path / "internal.txt").write_text("0612345678\n")

    ended = subprocess.run([sys.executable, "-c", NINTH], cwd=tmp_path, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


def test_the_rules_know_every_fact():
    """A fact that every interface takes would count for nothing, or be taken for another one."""
    kinds = inspect.signature(facts_of).parameters.values()
    assert [each.name for each in kinds if each.kind is each.POSITIONAL_OR_KEYWORD] == list(FACTS)


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("producer.md", "| `{name}` |"),
        ("check-api.md", "`{name}`"),
        ("python.md", "`{name}`"),
        ("files.md", "`{column_option}`"),
        ("reference/settings.md", "| `prospect.{name}` |"),
        ("reference/commands.md", "`{column_option} NAME`"),
    ],
)
def test_every_fact_is_in_the_documents(page, shown):
    """A user would not know that the fact can be given there."""
    text = (DOCS / page).read_text()
    missing = [
        fact.name
        for fact in FACTS.values()
        if shown.format(name=fact.name, column_option=fact.column_option) not in text
    ]
    assert missing == []


def test_what_is_not_given_is_no_member():
    """A prospect without a purpose would be judged as one with an empty purpose, and miss the default."""
    assert Call().members() == Call(purpose="", contract=False, channel=None).members() == {}
    given = Call(purpose=("a", "b"), contract={"until": "2026-12-31"}, campaign=7, relation=PURCHASE)
    assert given.members() == {
        "purpose": ["a", "b"],
        "contract": {"until": "2026-12-31"},
        "campaign": 7,
        "relation": PURCHASE,
    }


@pytest.mark.parametrize(
    "relation", [{"kind": "purchase"}, PURCHASE | {"since": "31/01/2026"}, "friend:2026-01-31", 5]
)
def test_a_relation_that_is_none_is_refused(relation):
    """A slip would lift nothing, and all be judged as if nothing had been said."""
    with pytest.raises(ValueError, match="relation: write purchase or inquiry and its day"):
        Call(relation=relation)


@pytest.mark.parametrize("since", ["2026-01-31", date(2026, 1, 31)])
def test_a_relation_may_be_a_text_or_have_a_date(since):
    """The library would drop a relation that the check API takes, and block a call that is lawful."""
    assert Call(relation={"kind": "purchase", "since": since}) == Call(relation="purchase:2026-01-31")
    assert Call(relation="purchase:2026-01-31").members() == {"relation": PURCHASE}


def test_options_are_read_as_cells_are():
    """`--relation` would mean another thing than a column of the same texts."""
    options = dict.fromkeys(FACTS) | {
        "contract": True,
        "relation": " purchase : 2026-01-31 ",
        "who": "company",
    }
    call = Call.of_options(options)
    assert call == Call(contract=True, relation=PURCHASE, who="company")
    texts = {name: FACTS[name].text(member) for name, member in call.members().items()}
    assert texts == {"contract": "true", "relation": "purchase:2026-01-31", "who": "company"}
    assert FACTS["relation"].member("my cousin") == "my cousin"
    message = "--relation: 'friend:2026-01-31' is no relation; write purchase or inquiry and its day"
    with pytest.raises(ConfigError, match=re.escape(message)):
        Call.of_options(options | {"relation": "friend:2026-01-31"})
