"""From when on a number that was called too often may be called again: the stamp says it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stream_scrub.model import Reason
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.stamp import decode
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

LAW = law.OPT_OUT.replace("lifted_by", "attempts = { most = 4, days = 30 }\nlifted_by")
MIDNIGHT = datetime(2026, 12, 23, 23, tzinfo=UTC)
NUMBERS = [33612345600 + place for place in range(300)]
PROFESSIONALS = {"spring": "acme"}


def resting(name, by_end):
    """A register of numbers that rest, by their end; `None`: none is known."""
    register = law.register(name, [number for group in by_end.values() for number in group])
    for end, group in by_end.items():
        numbers = np.array(group if end else [], np.uint64)
        ends = np.full(len(numbers), end.timestamp() if end else 0, np.int64)
        register = replace(register, ends=register.ends.changed(numbers[:0], numbers, ends))
    return register


def stamps(values, *registers):
    index = law.index(law.register("list"), law.register("internal"), *registers)
    terms = Terms(MEMBERS, stamp="header", mixed="strip", professionals=PROFESSIONALS)
    made = Scrubber(terms, law.rulebook(LAW)).scrub([json.dumps(v).encode() for v in values], index, law.NOW)
    return [decode(stamp) for stamp in made.stamps]


def test_each_number_says_its_own_moment():
    """A dialler would call a person again in a month that is not over, or give a lead up that it may call tomorrow."""
    ends = [MIDNIGHT + timedelta(days=place % 3) for place in range(100)]
    by_end = {}
    for number, end in zip(NUMBERS, ends, strict=False):
        by_end.setdefault(end, []).append(number)
    values = [{"phone": f"+{number}"} for number in NUMBERS]
    told = stamps(values, resting("rested", by_end))
    assert [each.rests_until for each in told] == ends + [None] * 200
    assert {each.reason for each in told[:100]} == {Reason.TOO_OFTEN}
    assert {each.reason for each in told[100:]} == {Reason.CLEAR}
    for value, each in list(zip(values, told, strict=True))[98:102]:  # read and looked up one by one
        (alone,) = stamps([{**value, "twice": {"a": 1}}], resting("rested", by_end))
        assert alone.json == each.json


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ({"rested": MIDNIGHT, "rested@acme": MIDNIGHT + timedelta(days=2)}, MIDNIGHT + timedelta(days=2)),
        ({"rested": MIDNIGHT + timedelta(days=2), "rested@acme": MIDNIGHT}, MIDNIGHT + timedelta(days=2)),
        ({"rested": MIDNIGHT, "rested@acme": None}, None),
        ({"rested": MIDNIGHT + timedelta(seconds=1)}, MIDNIGHT + timedelta(minutes=1)),
    ],
)
def test_it_is_the_last_of_all_that_let_it_rest(ends, says):
    """A number would be called while it still rests for this professional, or for all."""
    registers = [resting(name, {end: NUMBERS[:1]}) for name, end in ends.items()]
    (told,) = stamps([{"phone": f"+{NUMBERS[0]}", "campaign": "spring"}], *registers)
    assert told.reason is Reason.TOO_OFTEN and told.rests_until == says


def test_of_several_numbers_each_says_its_own():
    """Nobody would know which of a person's numbers may be called again, and when."""
    register = resting("rested", {MIDNIGHT: NUMBERS[:1]})
    (told,) = stamps([{"phone": [f"+{number}" for number in NUMBERS[:2]]}], register)
    assert told.allowed and told.rests_until is None and told.callable == [f"+{NUMBERS[1]}"]
    assert [each.rests_until for each in told.numbers] == [MIDNIGHT, None]
