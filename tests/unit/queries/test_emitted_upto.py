"""Up to where a partition's prospects came out, found again from what came out."""

import json

import pytest

from stream_scrub.model import LogRecord
from stream_scrub.queries.committed_offsets import emitted_upto
from stream_scrub.scrub.decode import Members
from tests.support.fakes.log import Log, Reader

MEMBERS = Members.of(("phone",), "country")


def lead(at):
    return b'{"id":%d,"phone":"06" }' % at


def stamped(value, **more):
    stamp = json.dumps(
        {"verdict": "blocked", "reason": "opposed", "index": 7, "at": "2026-11-24T12:00:00Z"} | more
    )
    return value[:-1] + b',"scrub":' + stamp.encode() + b"}"


def topic(*records, start=0):
    """A partition; each record is (moment, key, value), or None for an offset that nobody reads."""
    log = Log(start)
    for record in records:
        if record is None:
            log.skip()
        else:
            log.records.append(LogRecord(log.end, record[1], record[2], (), record[0]))
            log.end += 1
    return Reader(log)


PROSPECTS = [(1000 + at, b"k", lead(at)) for at in range(10)]


def found(prospects, allowed, blocked):
    return emitted_upto(prospects, [allowed, blocked], 0, MEMBERS)


def out(*ids):
    return topic(*((1000 + at, b"k", stamped(lead(at))) for at in ids), None)


def test_it_goes_on_behind_the_later_of_the_last_two():
    """Prospects would be lost, or come out twice, after a quiet fortnight."""
    told = found(topic(*PROSPECTS), out(0, 2, 5), out(1, 3, 4))
    assert (told.offset, told.position) == (6, 7)
    assert found(topic(*PROSPECTS), out(0), topic()).offset == 1
    assert found(topic(*PROSPECTS), topic(), topic()).offset == 0


def test_aborted_records_at_the_end_hide_nothing():
    """A worker that was killed as its last act would make the offset unknown."""
    behind = topic((1003, b"k", stamped(lead(3))), *[None] * 500)
    assert found(topic(*PROSPECTS), behind, topic()).offset == 4


def test_a_record_that_had_to_change_says_its_place_itself():
    """A record without its own key and moment could not be found."""
    changed = topic((9, b"x", stamped(b'{"id":0 }', **{"from": "0/8"})))
    assert found(topic(*PROSPECTS), out(2), changed).offset == 9


def test_a_stamp_of_the_producer_changes_nothing():
    """A prospect that came with a stamp would not be known again by its bytes."""
    came = stamped(lead(6), index=1)
    assert found(topic(*PROSPECTS[:6], (1006, b"k", came)), out(6), topic()).offset == 7


@pytest.mark.parametrize(
    ("allowed", "why"),
    [
        (topic(*[(1004, b"k", stamped(lead(4)))]), "several prospects equal"),
        (topic(*[(1004, b"k", stamped(lead(77)))]), "no prospect equals"),
        (topic(start=5), "was deleted"),
    ],
)
def test_what_is_not_certain_is_not_said(allowed, why):
    """A guess would lose prospects without a word."""
    told = found(topic(*PROSPECTS[:5], PROSPECTS[4]), allowed, topic())
    assert told.offset is None and why in told.why


def test_prospects_that_are_all_younger_than_what_came_out_are_new():
    """After retention took what came out, nobody would dare to begin with the rest."""
    assert found(topic(*PROSPECTS[5:], start=40), out(1), topic()).offset == 40
