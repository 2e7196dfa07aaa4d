"""Where a retry begins, without a broker: it guesses nothing, and passes nothing over."""

import pytest

from stream_scrub.errors import Refused
from stream_scrub.retry.resend import Resend, RetryOrder

P0, P1 = ("blocked", 0), ("blocked", 1)
ORDER = RetryOrder(frozenset({"no-rule"}))


class Reader:
    """A blocked topic whose partitions hold the offsets from 10 to 50."""

    membership = b""

    def __init__(self, **notes):
        self.notes = {("blocked", int(name[1:])): note for name, note in notes.items()}
        self.assigned = {}

    def noted(self, _deadline):
        return {p: None if note is None else (0, note) for p, note in self.notes.items()}

    def bounds(self, _partition, _deadline):
        return 10, 50

    def assign(self, offsets):
        self.assigned = offsets

    def places(self, notes):
        return notes


class Session:
    """What is committed."""

    def __init__(self):
        self.committed = []

    def open(self, _deadline):
        """It is open."""

    def emit(self, records, *_):
        assert not records

    def commit(self, places, *_):
        self.committed.append(places)


def started(reader, begin=lambda _low, _end: None):
    session = Session()
    resend = Resend(reader, session, lambda _: [], begin=begin)
    return resend.start(ORDER), session.committed


def test_without_a_place_it_asks_since_when():
    """After a quiet fortnight everything would go back a second time."""
    with pytest.raises(Refused, match="--since"):
        started(Reader(p0=None, p1=None))


def test_where_it_begins_is_committed_before_anything_goes():
    """A retry that is killed early would begin elsewhere the next time, and pass prospects over."""
    reader = Reader(p0=None, p1=None)
    ends, committed = started(reader, lambda _low, end: end)
    assert ends == {P0: 50, P1: 50}
    assert committed == [{P0: (50, "retry since=50"), P1: (50, "retry since=50")}]
    assert reader.assigned == {P0: 50, P1: 50}


def test_a_partition_that_was_added_begins_at_its_start():
    """What is blocked there first would never come back."""
    reader = Reader(p0="retry since=20 no-rule=30", p1=None)
    _, committed = started(reader)
    assert reader.assigned == {P0: 30, P1: 10}
    assert committed == [{P0: (30, "retry since=20 no-rule=30"), P1: (10, "retry since=10")}]


def test_a_topic_that_was_made_anew_is_not_read_at_old_offsets():
    """What is blocked on the new topic would be taken for brought back."""
    with pytest.raises(Refused, match="made anew"):
        started(Reader(p0="retry since=0 no-rule=80"))
