"""When the person may be called: what the law says, row by row, through the code that a worker and a check run."""

import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from stream_scrub.index.end_table import EndTable
from stream_scrub.numbering import normalise
from stream_scrub.rules import Archive, Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.stamp import decode
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

GOLDEN = Path(__file__).parents[2] / "golden" / "rules" / "hours.toml"
ROWS = tomllib.loads(GOLDEN.read_text("utf-8"))["hours"]
KEYS = {
    *("law", "source", "confidence", "number", "numbers", "held", "window_ends", "open", "closed", "free"),
    *("residence", "contract", "who", "purpose"),
}
FACTS = ("residence", "contract", "who", "purpose")
BOOK = Rulebook.load()


def index(number: str, now: datetime, held=(), residence: str = "", window_ends: datetime | None = None):
    """An index in which nothing denies and everything that may be asked consents."""
    digits, line = normalise(number, "FR")
    regions = [BOOK.region_of(digits, line.region), *([residence] if residence else [])]
    rules = [rule for region in regions if (rule := BOOK.rule(region, now)) is not None]
    deny = {name for rule in rules for name in rule.deny} | {"internal"}
    asked = {name for rule in rules for name in (*rule.require, *rule.wash)}
    asked |= {f"{name}@acme" for rule in rules for name in (*rule.consents, *rule.wash_named)}
    age = (law.NOW - now) / timedelta(days=1)
    registers = [replace(law.register(name, days_old=age), areas=("1",)) for name in sorted(deny)]
    reassigned = {name for rule in rules for name in rule.reassigned if name in held}
    registers += [law.register(name, [digits], days_old=age) for name in sorted(reassigned)]
    asked = {each for each in asked if not each.startswith("consent-hours")} | {*held} - reassigned
    consents = [law.allow(name, [digits], days_old=age) for name in sorted(asked)]
    if window_ends is not None:
        ends = EndTable.none().changed(
            np.empty(0, np.uint64), np.array([digits], np.uint64), np.array([int(window_ends.timestamp())])
        )
        consents = [replace(each, ends=ends if each.name in held else each.ends) for each in consents]
    return law.index(*registers, *consents)


def stamps(book, prospects, of_index, now, *, asks_now=True):
    scrubber = Scrubber(Terms(MEMBERS, stamp="header", default_purpose="telecom"), book)
    values = [json.dumps(each).encode() for each in prospects]
    context = scrubber.context(of_index, now, asks_now=asks_now)
    return [decode(stamp) for stamp in scrubber.scrub(values, of_index, now, context=context).stamps]


def prospect(number, row=None):
    facts = {key: row[key] for key in FACTS if key in row} if row else {}
    return {"phone": number, "campaign": "acme", **facts}


def what_differs(row, number, at, expected):
    """How the stamp at a moment differs from the row; empty if it does not."""
    of_index = index(number, at, row.get("held", ()), row.get("residence", ""), row.get("window_ends"))
    (stamp,) = stamps(BOOK, [prospect(number, row)], of_index, at)
    if not stamp.allowed:
        return f"blocked as {stamp.reason}"
    if expected == "free":
        return "" if stamp.call is None and stamp.callable_now is None else f"has hours: {stamp.call}"
    is_open = expected == "open"
    if (stamp.callable_now, stamp.callable_at(at)) != (is_open, is_open):
        return f"callable now: {stamp.callable_now}, at the moment: {stamp.callable_at(at)}"
    if (stamp.next is None) is not (is_open or at.year > 2032):
        return f"the next opening is {stamp.next}"
    if stamp.next is not None:
        (later,) = stamps(BOOK, [prospect(number, row)], of_index, stamp.next)
        if later.allowed and later.callable_now is False:
            return f"closed at its own next opening, {stamp.next}"
    return ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["law"][:60])
def test_the_hours_of_the_law(row):
    """Somebody would be called at an hour that the law forbids, or not in one that it allows."""
    assert set(row) <= KEYS and row["confidence"] in ("high", "med", "low", "ours")
    cases = [
        (number, at, expected)
        for number, expected in product(row.get("numbers") or [row["number"]], ("open", "closed", "free"))
        for at in row.get(expected, [])
    ]
    differences = [(*case, what_differs(row, *case)) for case in cases]
    wrong = [f"{number} at {at}, {expected}: {told}" for number, at, expected, told in differences if told]
    assert not wrong, "\n".join([row["law"], *wrong])


def test_every_rule_with_hours_is_in_the_table():
    """A country could ship hours that nobody read against the law."""
    asked = {country.code for country in BOOK.countries.values() if country.rules[-1].hours is not None}
    told = {
        BOOK.region_of(normalise(number, "FR")[0], normalise(number, "FR")[1].region)
        for row in ROWS
        for number in row.get("numbers") or [row["number"]]
    }
    assert {code for code in asked if "-" not in code} <= told


def test_a_batch_says_what_single_prospects_are_told():
    """A worker's stamps would have another zone than a check's, for the same number."""
    numbers = ["+18085550123", "+12125550123", "+13645550123", "+18505550123", "+18005550123", "+17875550123"]
    numbers += ["+14165550123", "+17785550123", "+34612345678", "+34922123456", "+34912345678"]
    numbers += ["+33612345678", "+262692123456"]
    registers = {}
    for number in numbers:
        for name, register in index(number, law.NOW).registers.items():
            held = registers[name].numbers | register.numbers if name in registers else register.numbers
            registers[name] = replace(register, numbers=held)
    allow = [name for name, each in registers.items() if each.kind == "allow"]
    remade = [replace(each, areas=("1",)) for name, each in registers.items() if name not in allow]
    remade += [law.allow(name, registers[name].numbers) for name in allow]
    of_index = law.index(*remade)
    every = stamps(BOOK, [prospect(number) for number in numbers] * 20, of_index, law.NOW)
    for number, stamp in zip(numbers, every, strict=False):
        (alone,) = stamps(BOOK, [{**prospect(number), "twice": {"a": 1}}], of_index, law.NOW)
        assert alone.json == stamp.json and stamp.call is not None


def test_several_numbers_are_open_when_each_is():
    """A dialler would call the second number of a person in the night of its zone."""
    numbers = ["+33612345678", "+262692123456"]
    digits = [int(number[1:]) for number in numbers]
    of_index = law.index(law.register("internal"), law.allow("consent@acme", digits))
    (stamp,) = stamps(BOOK, [{"phone": numbers, "campaign": "acme"}], of_index, law.NOW)
    assert stamp.call.zones == ["Europe/Paris", "Indian/Reunion"]
    assert stamp.call.windows[0] == "2026-11-24T10:00Z/2026-11-24T12:00Z"


def test_a_stamp_of_a_worker_does_not_say_now():
    """A dialler would take the moment of the verdict for its own."""
    at = datetime(2026, 11, 23, 11, tzinfo=UTC)
    (stamp,) = stamps(BOOK, [prospect("+33612345678")], index("+33612345678", at), at, asks_now=False)
    assert stamp.callable_now is None and stamp.next is None
    assert stamp.callable_at(at) and not stamp.callable_at(at + timedelta(hours=1))
    assert json.loads(stamp.json)["call"] == {
        "zones": ["Europe/Paris"],
        "windows": [
            f"2026-11-{day}T{hours}"
            for day in (23, 24)
            for hours in (f"09:00Z/2026-11-{day}T12:00Z", f"13:00Z/2026-11-{day}T19:00Z")
        ],
        "local": "Mon-Fri 10:00-13:00, 14:00-20:00",
    }


def test_a_holiday_among_the_days_is_named():
    """People would look for the fault in the machine on a day without calls."""
    at = datetime(2026, 12, 24, 11, tzinfo=UTC)
    (stamp,) = stamps(BOOK, [prospect("+33612345678")], index("+33612345678", at), at)
    assert [f"{day}" for day in stamp.call.not_on] == ["2026-12-25"]


def test_a_blocked_number_has_no_hours():
    """A dialler that reads the windows first would call somebody who opposed."""
    of_index = law.index(law.register("internal", [33612345678]), law.allow("consent@acme", [33612345678]))
    (stamp,) = stamps(BOOK, [prospect("+33612345678")], of_index, law.NOW)
    assert not stamp.allowed and stamp.call is None and not stamp.callable_at(law.NOW)


def test_a_consent_to_other_hours_ends_with_the_verdict():
    """A consent that was taken back would open the night for as long as the verdict is good."""
    held = ["consent-hours@acme"]
    (stamp,) = stamps(BOOK, [prospect("+18085550123")], index("+18085550123", law.NOW, held), law.NOW)
    assert stamp.call is None and f"{stamp.until}" == "2026-11-25"


def test_the_hours_of_then_are_replayed():
    """A stamp of today could not be given again once the holidays of a later release say something else."""
    at = datetime(2026, 12, 24, 11, tzinfo=UTC)
    of_index, lead = index("+33612345678", at), prospect("+33612345678")
    (stamp,) = stamps(BOOK, [lead], of_index, at)
    archive = Archive(BOOK.texts.values())
    (replayed,) = stamps(archive.book([stamp.rules]), [lead], of_index, at)
    assert replayed.json == stamp.json
