"""The history of a number, whatever came and went, is that of a dictionary that was kept beside the log."""

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.log.scan import read_into
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.queries.history import NumberHistory, millis
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import NOW, Publisher
from tests.support.golden.evidence import reader, taken, timed

NUMBERS = [33_611_111_111, 33_612_345_678, 33_622_222_222, 447_400_123_456]
REGISTERS = {"list": RegisterKind.DENY, "internal@acme": RegisterKind.DENY, "consent": RegisterKind.ALLOW}
ENDS = st.sampled_from([0, 0, NOW + 100, NOW + 200, NOW + 300])
STEP = st.one_of(
    st.tuples(
        st.sampled_from(["full", "adding"]),
        st.sampled_from(list(REGISTERS)),
        st.dictionaries(st.sampled_from(NUMBERS), ENDS, max_size=4),
    ),
    st.tuples(
        st.just("removing"), st.sampled_from(list(REGISTERS)), st.sets(st.sampled_from(NUMBERS), max_size=3)
    ),
    st.tuples(
        st.just("ended"), st.sampled_from(list(REGISTERS)), st.sampled_from([NOW + 150, NOW + 250, NOW + 350])
    ),
)


def play(steps, full_every):
    """The log of these steps, and by the position of each seal what every register held then: ends by number."""
    log, model, states = Log(), {}, {-1: {}}
    publisher = Publisher(log, full_every=full_every)
    for change, name, what in steps:
        held, before = dict(model.get(name, {})), len(log.records)
        if change == "ended":
            if publisher.end(name, what) is None:
                continue
            held = {number: end for number, end in held.items() if not 0 < end <= what}
        elif change == "removing":
            publisher.remove(name, what)
            held = {number: end for number, end in held.items() if number not in what}
        else:
            publisher.import_list(name, what, REGISTERS[name], adding=change == "adding")
            held = (held if change == "adding" else {}) | dict(what)
        model[name] = held
        for record in log.records[before:]:
            if dict(record.headers)["part"] == b"seal":
                states[record.offset] = {each: dict(ends) for each, ends in model.items()}
    return log, states


def state_at(states, position):
    return states[max(each for each in states if each <= position)]


@given(st.lists(STEP, min_size=1, max_size=10), st.sampled_from([3, 1000]))
def test_at_every_position_a_number_stands_as_the_model_says(steps, full_every):
    """An authority would be told that a number could be called on a day when it could not, or the other way round."""
    log, states = play(steps, full_every)
    records = timed(log)
    for position in range(-1, log.end + 2):
        past = NumberHistory(NUMBERS, "FR")
        read_into(reader(records), past.take, Deadline.after(60), upto=position)

        expected = state_at(states, position)
        replay = taken(records, position)
        assert past.index.position == replay.index.position
        assert past.index.registers.keys() == replay.index.registers.keys()
        for number in NUMBERS:
            for standing in past.standing(number):
                name = standing.register.name
                ends = expected.get(name, {})
                assert standing.held is (number in ends)
                end = ends.get(number) or None
                assert standing.end == (None if end is None else datetime.fromtimestamp(end, UTC))
                assert standing.register.chain == replay.index.registers[name].chain


@given(st.lists(STEP, min_size=1, max_size=12), st.sampled_from([3, 1000]))
def test_the_events_are_the_changes_of_the_model_and_no_others(steps, full_every):
    """A coming or going would be missing from the evidence, or one be shown that never was."""
    log, states = play(steps, full_every)
    past, numbered = NumberHistory(NUMBERS, "FR"), []
    for record in timed(log):
        numbered += past.take(record).items()
    events = [event for _, event in numbered]

    positions = sorted(states)
    expected = []
    for before, after in pairwise(positions):
        for name in REGISTERS:
            was, now = states[before].get(name, {}), states[after].get(name, {})
            for number in NUMBERS:
                if was.get(number) != now.get(number):
                    change = (
                        "renewed" if number in was and number in now else "added" if number in now else "gone"
                    )
                    expected.append((number, name, change, now.get(number) or None))
    found = [
        (
            number,
            event.register,
            "gone" if event.change in ("removed", "ended") else event.change,
            None if event.end is None else int(datetime.fromisoformat(event.end).timestamp()),
        )
        for number, event in numbered
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert all((event.change == "ended") is (event.reason == "ended") for event in events if not event.end)
    assert [event.position for event in events] == sorted(event.position for event in events)
    for event in events:
        (seal,) = [record for record in timed(log) if record.offset == event.position]
        assert dict(seal.headers)["part"] == b"seal" and event.time == millis(seal.timestamp_ms)
