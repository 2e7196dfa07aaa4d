"""A retry without a broker: it guesses nothing, passes nothing over, and sends nothing twice."""

from types import SimpleNamespace

import pytest

from stream_scrub import clock
from stream_scrub.errors import Migrated, Refused, Unwritable
from stream_scrub.model import Reason
from stream_scrub.retry.blocked import BlockedProspect
from stream_scrub.retry.resend import Resend, RetryOptions, RetryTally

P0, P1 = ("blocked", 0), ("blocked", 1)
ORDER = RetryOptions(frozenset({"no-rule"}))


class Reader:
    """A blocked topic whose partitions hold the offsets from 10 to 50."""

    membership = b""
    topic_id = ""

    def __init__(self, **notes):
        self.notes = {("blocked", int(name[1:])): note for name, note in notes.items()}
        self.assigned = {}

    def confirm(self, _session, _deadline):
        """It is."""

    def noted(self, _deadline):
        return {p: None if note is None else (0, note) for p, note in self.notes.items()}

    def bounds(self, _partition, _deadline):
        return 10, 50

    def assign(self, offsets):
        self.assigned = offsets

    def ids(self, _deadline):
        return {"blocked": self.topic_id}

    def need_same(self, _deadline):
        """It is."""

    def places(self, notes):
        return notes


class Session:
    """What is committed."""

    is_spent = False

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


@pytest.mark.parametrize(
    ("notes", "topic_id", "assigned", "committed"),
    [
        (
            {"p0": "retry since=20 no-rule=30", "p1": None},
            "",
            {P0: 30, P1: 10},
            [{P0: (30, "retry since=20 no-rule=30"), P1: (10, "retry since=10")}],
        ),
        (
            {"p0": "retry since=0 topic-id=old no-rule=40", "p1": "retry since=20 topic-id=new no-rule=30"},
            "new",
            {P0: 10, P1: 30},
            [{P0: (10, "retry since=10 topic-id=new"), P1: (30, "retry since=20 topic-id=new no-rule=30")}],
        ),
        (
            {"p0": "retry since=0 no-rule=40"},
            "new",
            {P0: 40},
            [],
        ),
    ],
    ids=["partition added", "topic made anew", "earlier release"],
)
def test_it_goes_on_where_it_was_and_reads_the_rest_from_the_start(notes, topic_id, assigned, committed):
    """What is blocked on a new partition or topic would never come back; or all that came back before an upgrade, again."""
    reader = Reader(**notes)
    reader.topic_id = topic_id
    _, placed = started(reader)
    assert reader.assigned == assigned
    assert placed == committed


def test_where_it_begins_is_committed_before_anything_goes():
    """A retry that is killed early would begin elsewhere the next time, and pass prospects over."""
    reader = Reader(p0=None, p1=None)
    ends, committed = started(reader, lambda _low, end: end)
    assert ends == {P0: 50, P1: 50}
    assert committed == [{P0: (50, "retry since=50"), P1: (50, "retry since=50")}]
    assert reader.assigned == {P0: 50, P1: 50}


@pytest.mark.parametrize(
    ("notes", "says"),
    [({"p0": None, "p1": None}, "--since"), ({"p0": "retry since=0 no-rule=80"}, "created again")],
)
def test_where_a_place_would_be_a_guess_it_asks(notes, says):
    """Everything would go back a second time after a quiet fortnight, or what is on a new topic count as brought back."""
    with pytest.raises(Refused, match=says):
        started(Reader(**notes))


class Blocked:
    """A blocked topic of one partition with parcels, read from where the group's note says; and the prospects beside it.
    Whoever opens a session last may commit."""

    def __init__(self, count, refuses=()):
        self.parcels = [parcel(at) for at in range(count)]
        self.refuses = set(refuses)
        self.note = "retry since=0"
        self.owner = None
        self.out = []


def parcel(at):
    return BlockedProspect(
        "blocked", 0, at, Reason.NO_RULE, "no-rule", 1.0, 0, True, b"k", b"%d" % at, [], 0, "prospects"
    )


class Reading(Reader):
    def __init__(self, blocked):
        self.blocked = blocked

    def noted(self, _deadline):
        return {P0: (0, self.blocked.note)}

    def bounds(self, _partition, _deadline):
        return 0, len(self.blocked.parcels)

    def assign(self, offsets):
        self.at = offsets.get(P0, 0)

    def poll(self, records_max, _wait_s):
        found = self.blocked.parcels[self.at : self.at + min(records_max, 4)]
        self.at += len(found)
        return SimpleNamespace(messages=found)

    def read_upto(self, _partition):
        return self.at

    @property
    def all_upto(self):
        return {P0: self.at}


class Transactions(Session):
    """`is_spent` says that a request of the last transaction may still come."""

    is_spent = False

    def __init__(self, blocked):
        self.blocked = blocked

    def open(self, _deadline):
        self.blocked.owner, self.is_spent = self, False

    def emit(self, records, *_):
        if self.is_spent:  # as `kafka/session.py` did for everybody
            self.open(None)
        self.going = list(records)

    def commit(self, places, *_):
        if self.blocked.owner is not self:
            raise Migrated("another one has taken over")
        if self.blocked.refuses & {each.offset for each in self.going}:
            raise Unwritable("refused")
        self.blocked.out += [each.offset for each in self.going]
        self.blocked.note = places.get(P0, (0, self.blocked.note))[1]


def retrying(blocked):
    session = Transactions(blocked)
    resend = Resend(Reading(blocked), session, lambda fetched: fetched.messages)
    resend.start(ORDER)
    return resend, session


def test_one_record_that_the_prospects_refuse_stops_no_other():
    """`retry --follow` would send the same batch for ever, and every lead that waits for a list stay where it is."""
    blocked, tally = Blocked(12, refuses=[5]), RetryTally()
    resend, _ = retrying(blocked)
    for _ in range(40):
        resend.step(ORDER, tally)
    assert blocked.out == [at for at in range(12) if at != 5]
    assert tally == {("no-rule", "sent"): 11, ("no-rule", "refused"): 1}


def test_a_life_that_begins_anew_asks_what_another_retry_did_meanwhile():
    """A retry that slept, and finds that its last request may come late, would send what another one has sent since."""
    blocked = Blocked(12)
    first, session = retrying(blocked)
    first.step(ORDER, RetryTally())
    session.is_spent = True
    second, _ = retrying(blocked)
    second.step(ORDER, RetryTally())
    for _ in range(4):
        first.step(ORDER, RetryTally())
    assert blocked.out == list(range(12))


def test_brokers_that_go_away_in_the_middle_end_the_command(monkeypatch):
    """A job that runs `retry` every night would hang, and all that come after it."""
    now = [0.0]
    monkeypatch.setattr(clock, "elapsed", lambda: now[0])
    blocked = Blocked(12)
    reader = Reading(blocked)
    resend = Resend(reader, Transactions(blocked), lambda fetched: fetched.messages)

    def silence(_records_max, wait_s):
        now[0] += wait_s
        return SimpleNamespace(messages=[])

    reader.poll = silence
    with pytest.raises(Refused, match="no broker answers"):
        resend.run(ORDER, RetryTally(), lambda: now[0] < 10_000)
