"""What the law says about a prospect, sentence by sentence, through the very code that a worker runs."""

import functools
import json
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from stream_scrub.model import Reason, RegisterKind
from stream_scrub.numbering import normalise
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"
ROWS = [
    row
    for name in ("verdicts.toml", "facts.toml")
    for row in tomllib.loads((GOLDEN / name).read_text("utf-8"))["verdict"]
]
# What a prospect says besides its number, by the names of its members.
FACTS = ("purpose", "contract", "campaign", "channel", "who", "relation", "voice_kind", "residence")
KEYS = {
    *("law", "source", "confidence", "number", "numbers", "on", "held", *FACTS),
    *("missing", "age", "ends", "others", "areas", "folder", "house", "reason", "registers", "until"),
}
BOOKS = {False: Rulebook.load(), True: Rulebook.load(GOLDEN / "own")}


def moment(on: date | datetime) -> datetime:
    return on if isinstance(on, datetime) else datetime(on.year, on.month, on.day, 12, tzinfo=UTC)


def region_of(number: str) -> str:
    digits, line = normalise(number, "FR")
    return BOOKS[False].region_of(digits, line.region)


CASES: dict[str, list[tuple[dict, str, int]]] = {}
for _row in ROWS:
    for _number in _row.get("numbers") or [_row["number"]]:
        cases = CASES.setdefault(region_of(_number), [])
        cases += [(_row, _number, at) for at in range(len(_row["on"]))]


@functools.cache
def scrubber_of(folder: bool, default: str, house: str) -> Scrubber:
    terms = Terms(MEMBERS, stamp="header", default_purpose=default, default_campaign=house)
    return Scrubber(terms, BOOKS[folder])


def judged(row: dict, number: str, now: datetime) -> dict:
    """The stamp that a worker would give."""
    digits, line = normalise(number, "FR")
    book = BOOKS[row.get("folder", False)]
    region = book.region_of(digits, line.region)
    regions = [region, row.get("residence", region)]
    found = [book.rule(region, now, row.get("channel", "voice")) for region in regions]
    rules = [rule for rule in found if rule is not None]
    named = {name for rule in rules for name in rule.registers}
    allow = {"consent"} | {name for rule in rules for name in (*rule.require, *rule.wash, *rule.scoped)}
    held, others, age = row.get("held", []), row.get("others", {}), row.get("age", {})
    ends = row.get("ends", {})
    registers = []
    for name in {"internal", *named, *held, *others, *age} - set(row.get("missing", [])):
        kind = RegisterKind.ALLOW if name.partition("@")[0] in allow else RegisterKind.DENY
        numbers = [int(other) for other in others.get(name, [])] + [digits] * (name in held)
        since = (law.NOW - now) / timedelta(days=1)
        registers.append(
            law.register(name, numbers, kind=kind, days_old=age.get(name, 0) + since, ends=ends.get(name))
        )
    said = row.get("areas", {})
    registers = [
        replace(each, areas=tuple(said[each.name])) if each.name in said else each for each in registers
    ]
    facts = {key: row[key] for key in FACTS if key in row}
    default = "" if "purpose" in row else "other"
    prospect = json.dumps({"phone": number, **facts}, default=str).encode()
    # Where a row names no caller, the house calls.
    house = row.get("house", "" if "campaign" in row else "house")
    scrubber = scrubber_of(row.get("folder", False), default, house)
    (stamp,) = scrubber.scrub([prospect], law.index(*registers), now).stamps
    return json.loads(stamp)


def expected(row: dict, at: int) -> tuple:
    """The reason, registers, channel and last day that a row says."""
    until = row.get("until")
    until = until[at] if isinstance(until, list) else until
    last = None if until is None else str(until)
    return row["reason"], row.get("registers", []), row.get("channel", "voice"), last


@pytest.mark.parametrize("region", sorted(CASES))
def test_the_verdict_of_the_law(region):
    """Somebody whom the law protects would be called, or a lead that may be called be lost."""
    wrong = []
    for row, number, at in CASES[region]:
        stamp = judged(row, number, moment(row["on"][at]))
        gave = (
            stamp["reason"],
            stamp.get("registers", []),
            stamp.get("channel", "voice"),
            stamp.get("until"),
        )
        if gave != expected(row, at):
            wrong.append(f"{row['law']} {number} on {row['on'][at]}: {expected(row, at)}, gave {gave}")
    assert not wrong, "\n".join(wrong)


def test_every_row_is_a_sentence_with_its_source():
    """A verdict would rest on nobody knows what."""
    for row in ROWS:
        assert set(row) <= KEYS, set(row) - KEYS
        assert row["law"].endswith(".") and len(row["source"]) > 5, row
        assert row["confidence"] in {"high", "med", "low", "ours"}, row
        assert ("number" in row) != ("numbers" in row)
    assert len({row["law"] for row in ROWS}) == len(ROWS)


def test_every_shipped_country_and_every_reason_of_the_law_has_a_row():
    """A country's rule, or a reason, could be changed and no sentence notice."""
    assert set(BOOKS[False].countries) <= set(CASES)
    unread = {Reason.INVALID_NUMBER, Reason.UNREADABLE, Reason.UNKNOWN_COUNTRY}
    assert {row["reason"] for row in ROWS} == set(Reason) - unread
