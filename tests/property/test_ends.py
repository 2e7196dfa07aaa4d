"""Numbers that end: what is known of them, what is said on the log of them, and when they are removed."""

import struct
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.index import deltas
from stream_scrub.index.deltas import Ends, ended, with_ends
from stream_scrub.log import wire
from tests.support.fakes.publisher import as_dict, bitmap, stated

NUMBERS = st.one_of(st.integers(33_600_000_000, 33_600_000_020), st.integers(0, 2**50))
MOMENTS = st.one_of(st.integers(1, 6), st.integers(1, wire.END_MAX))
ENDS = st.dictionaries(NUMBERS, st.one_of(st.just(0), MOMENTS), max_size=20)
STEPS = st.lists(st.tuples(st.sets(NUMBERS, max_size=10), ENDS), max_size=12)


@pytest.fixture(autouse=True, params=[3, 10_000])
def _later(request, monkeypatch):
    """So many changes beside the arrays: with few they are made anew all the time, with many never."""
    monkeypatch.setattr(deltas, "_LATER_MAX", request.param)


def walk(steps):
    """What is known after each step, and the same as a dictionary."""
    known, model = Ends.none(), {}
    for removed, said in steps:
        known = known.changed(bitmap(removed), stated(said))
        model = {number: end for number, end in model.items() if number not in removed}
        model = {number: end for number, end in {**model, **said}.items() if end}
        yield known, dict(model)


@given(STEPS, MOMENTS)
def test_ends_are_what_was_said_of_them_last(steps, moment):
    """A consent would outlive its end, or be removed before it."""
    seen = list(walk(steps))
    for known, model in seen:  # also the older ones: a change changes none that was given out before
        assert as_dict(known) == model
        assert set(known.numbers()) == set(model)
        assert known.next == min(model.values(), default=None)
        assert set(known.until(moment)) == {number for number, end in model.items() if end <= moment}
        asked = sorted({*model, 33_600_000_000, 7})
        assert known.of_each(np.array(asked, np.uint64)).tolist() == [model.get(n, 0) for n in asked]
        assert known.are(stated(model))
        assert not known.are(stated({**model, 7: 2 + model.get(7, 0)}))
        assert not model or not known.are(stated(dict(list(model.items())[1:])))


@given(STEPS, MOMENTS)
def test_what_has_ended_is_removed_and_nothing_else(steps, moment):
    """A number would be opposed, or callable, for longer than its list says."""
    known, model = [(Ends.none(), {}), *walk(steps)][-1]
    now = datetime.fromtimestamp(moment, UTC)

    delta = ended(known, now)
    assert (set(delta.removes), len(delta.adds)) == ({n for n, end in model.items() if end <= moment}, 0)
    assert delta.reason == "ended"
    after = known.changed(delta.removes, delta.ends)
    assert as_dict(after) == {n: end for n, end in model.items() if end > moment}
    assert after.next is None or after.next > moment
    assert ended(after, now).is_empty


@given(STEPS, st.sets(NUMBERS, max_size=20), ENDS, st.booleans())
def test_a_list_with_ends_says_exactly_what_changes(steps, held, listed, whole):
    """Every import would say all its ends again, or leave an old one standing."""
    known, model = [(Ends.none(), {}), *walk(steps)][-1]
    held = held | set(model)
    change = (deltas.full if whole else deltas.adding)(bitmap(held), bitmap(listed))
    wanted = stated({number: end for number, end in sorted(listed.items()) if end})

    delta = with_ends(change, known, bitmap(listed), wanted)
    after = as_dict(known.changed(delta.removes, delta.ends))
    kept = {} if whole else {n: end for n, end in model.items() if n not in listed}
    assert after == {**kept, **{n: end for n, end in listed.items() if end}}
    said = dict(zip(delta.ends.numbers.tolist(), delta.ends.ends.tolist(), strict=True))
    assert said == {n: end for n, end in listed.items() if end != model.get(n, 0)}


@given(ENDS, st.integers(100, 400))
def test_ends_come_in_as_they_went_out(said, limit):
    """A follower would refuse a sound log, or believe in other ends than were published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", limit)
        parts = wire.encode_ends(stated(said))
    read = [entry for part in parts for entry in wire.decode_ends(part)]

    assert all(len(part) <= limit for part in parts)
    assert {number: end for end, numbers in read for number in numbers} == said
    assert sum(len(numbers) for _, numbers in read) == len(said)
    assert [end for end, _ in read] == sorted(end for end, _ in read)


@given(st.binary(max_size=100))
def test_what_are_no_ends_is_refused_as_such(value):
    """A worker would end in a traceback instead of holding and saying why."""
    with suppress(ValueError):
        list(wire.decode_ends(value))


@pytest.mark.parametrize("entries", [[(7, {1}), (6, {2})], [(wire.END_MAX + 1, {1})], [(2**63, {1})]])
def test_ends_out_of_order_or_of_no_year_are_refused(entries):
    """Two followers could read a part in two ways, or one of them not write the moment down."""
    value = b"".join(
        struct.pack("<QI", end, len(each)) + each
        for end, numbers in entries
        for each in [bitmap(numbers).serialize()]
    )

    with pytest.raises(ValueError, match="ends"):
        list(wire.decode_ends(value))
