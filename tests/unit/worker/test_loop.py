"""What the loop says of itself beside its work: the line of each minute, its holds, and what it looks up."""

import io
import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from stream_scrub import clock as elapsing
from stream_scrub.config import Settings, Topics
from stream_scrub.errors import Migrated, StaleIndex, Unavailable
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.kafka.session import CommitTimes
from stream_scrub.model import Reason
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.ops.logs import configure
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.ops.metric_catalogue import LIMIT_HITS, PROSPECTS, SESSIONS
from stream_scrub.registry.records import JSON
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Batch
from stream_scrub.worker import loop as module
from stream_scrub.worker.loop import BatchLimits, WorkerLoop
from stream_scrub.worker.outputs import Outputs
from stream_scrub.worker.partitions import InputTopics, PartitionEvents
from tests.support.fakes import law
from tests.support.fakes.process_status import value

NO_RULES = Rulebook([])
INPUTS = Topics().inputs


class Source:
    """What the loop looks up."""

    is_member = True
    topics = ("prospects",)
    partitions = frozenset({("prospects", 0), ("prospects", 3)})
    waiting = ()
    begun = ()

    def __init__(self):
        self.looked = 0
        self.confirmed_at = dict.fromkeys(self.partitions, elapsing.elapsed())

    def first(self, *_):
        """No prospect is deleted."""

    def need_siblings(self):
        """There are none."""

    def has_committed(self, places):
        """Nothing is counted."""

    def widen(self, widths):
        """As many as there were."""

    def lag(self):
        self.looked += 1
        return {("prospects", 0): 5, ("prospects", 3): 7}


@pytest.fixture
def made():
    out = io.BytesIO()
    source, session = Source(), SimpleNamespace(reopened=2, queued=0, width=lambda *_: 4)
    follower = SimpleNamespace(corrupt=None, lag_s=1.0, trouble="", index=law.index())
    log = configure("info", "json", out)
    scrubber = SimpleNamespace()
    outputs = Outputs(session, INPUTS, scrubber, JSON, log, None, lambda: None)
    watch = ClockWatch(lambda _places: [], ("blocked", "allowed"), 60)
    state = WorkerState("w1", Settings(), 60)
    events = PartitionEvents(state, log, multi_topic=False)
    worker = WorkerLoop(
        source,
        session,
        follower,
        NO_RULES,
        outputs,
        events,
        state,
        log,
        limits=BatchLimits(),
        watch=watch,
        topics=InputTopics(source, session, INPUTS, events, state, log, 30.0),
    )
    return SimpleNamespace(
        worker=worker,
        counters=state,
        source=source,
        session=session,
        scrubber=scrubber,
        lines=lambda: [json.loads(line) for line in out.getvalue().splitlines()],
    )


def minute(made):
    made.worker._summary._last -= 60.5
    made.worker._summarise()


def test_a_minute_is_one_line_with_what_was_done_in_it(made):
    """An operator without Prometheus could not see from the log what a worker does, or would take sums for rates."""
    counters = made.counters
    counters.lags = {"0": 5, "3": 7}
    made.worker._summarise()
    for _ in range(2):
        counters.emitted(Counter({Reason.CLEAR: 400, Reason.OPPOSED: 200}), 0.1, 0.1, 0.1)
        counters.position = 1234
        minute(made)
    counters.gave_up(StaleIndex("no-seal", "x"))
    minute(made)
    minute(made)  # nothing was done
    first, second, third = made.lines()
    for line in (first, second):
        assert line["event"] == "scrubbed"
        assert (line["prospects"], line["allowed"], line["blocked"], line["batches"]) == (600, 400, 200, 1)
        assert (line["per_s"], line["aborts"], line["lag"], line["index"]) == (10, 0, 12, 1234)
    assert (third["prospects"], third["aborts"], third["batches"]) == (0, 1, 0)


def test_it_looks_once_a_second(made, monkeypatch):
    """The clients would be asked for every batch, which costs, or the lag stand still for as long as nothing is read."""
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    for _ in range(70):  # seven seconds
        made.worker._look()
        now += 0.1
    assert made.source.looked == 7
    assert (sum(made.counters.lags.values()), made.counters.member) == (12, True)
    assert value(made.counters, SESSIONS) == 2


def test_a_lag_that_no_broker_confirms_is_not_called_right(made):
    """An operator would read that nothing waits while leads pile up behind a broker that was deposed."""
    made.worker._looking.every_s = 0.0
    made.worker._look()
    assert made.lines() == []
    now = elapsing.elapsed()
    made.source.confirmed_at = {("prospects", 0): now - 2, ("prospects", 3): now - 70}
    made.worker._look()
    made.worker._look()
    (line,) = made.lines()
    assert line["event"] == "lag may be too low" and line["why"].endswith("their leader does not answer: 3")
    made.source.confirmed_at = {("prospects", 0): now, ("prospects", 3): now}
    made.worker._look()
    assert made.lines()[-1]["event"] == "lag is confirmed again"


def test_an_index_that_grows_stale_while_batches_fail_is_a_hold(made):
    """In an outage under load nobody would be woken: the alert for a hold waits for one that is never told, and the worker
    only says that it tries again.
    """
    worker, stopping = made.worker, threading.Event()
    made.source.idle = made.source.subscribe = made.source.close = lambda *_: None
    made.source.floor = -1
    usable = [law.index()]  # as long as there is one, then stale

    def ask(_lag_s):
        if usable:
            return usable.pop()
        raise StaleIndex("log-unreachable", "no broker answers")

    def recover(**_):
        if made.counters.failures > 3:
            stopping.set()
        raise Unavailable("asking for the leaders: no broker answers now")

    worker.follower.usable = ask
    worker.follower.rules = SimpleNamespace(texts={})
    worker.session.open = worker.session.close = lambda *_: None
    worker.session.recover = recover
    made.source.drop = lambda: None
    worker._failure = Unavailable("committing: no broker answers now")

    worker.run(stopping)

    assert made.counters.holding == "log-unreachable"
    assert [line["cause"] for line in made.lines() if line["event"].startswith("holding")] == [
        "log-unreachable"
    ]


@pytest.mark.parametrize(
    ("lag", "assigned", "after", "left"), [(0, 1, 1.0, 0), (0, 2, 1.0, 3), (0, 1, -1.0, 3), (4, 1, 1.0, 3)]
)
def test_what_failed_is_over_when_nothing_waits_any_more(made, lag, assigned, after, left):
    """After an outage a worker to which no prospect comes would not be ready for a minute, and the alert ring for nothing;
    or one whose batch fails between two looks, or of a partition whose end is not known, would look well.
    """
    worker, counters = made.worker, made.counters
    counters.assigned = assigned
    made.source.floor = -1
    made.source.poll = lambda *_: PolledBatch([], [], Headers([], []), [])
    made.source.drop = made.session.idle = lambda: None
    made.source.lag = lambda *_: {("prospects", 0): lag}
    worker.follower.usable = lambda _lag_s: law.index()
    for _ in range(3):
        worker._fail(Unavailable("asking for the leaders: no broker answers now"))
    worker._look()
    counters.failed_at = worker._looked_at - after

    worker._step()

    assert counters.failures == left
    assert [line["event"] for line in made.lines()].count("batches succeed again") == (left == 0)


@pytest.fixture
def slow(made, monkeypatch):
    """A worker whose scrubber takes ten seconds for each prospect, and all that it emits, commits and puts back."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(elapsing, "elapsed", lambda: clock.now)
    records = [
        SimpleNamespace(timestamp=lambda: (0, 0), key=lambda: b"k", offset=lambda at=at: at)
        for at in range(5)
    ]
    fetched = PolledBatch(records, [0] * 5, Headers([None] * 5, []), [b"%d" % at for at in range(5)])
    source, session, worker = made.source, made.session, made.worker
    source.floor, source.metadata, source.put = -1, b"", []
    source.poll = lambda *_: fetched
    source.put_back = source.put.append
    source.offsets = lambda *_: []
    session.emitted, session.committed = [], []
    session.emit = lambda *given: session.emitted.extend(given[4])

    def commit(*given):
        given[3]()
        session.committed.append(given)
        return CommitTimes(0.0, 0.0)

    session.commit = commit
    follower = worker.follower
    follower.confirmed_at = 1000.0

    def scrub(values, _index, _now, *, enough, **_):
        judged = []
        for each in values:
            judged.append(each)
            clock.now += 10.0
            if enough():
                break
        count = len(judged)
        return Batch([True] * count, judged, [None] * count, Counter({Reason.CLEAR: count}))

    def usable(lag_max_s):
        if clock.now - follower.confirmed_at > lag_max_s:
            raise StaleIndex("log-behind", "the end was last reached long ago")
        return follower.index

    made.scrubber.scrub, follower.usable = scrub, usable
    return SimpleNamespace(**vars(made), clock=clock, follower=follower)


def test_what_there_is_no_time_for_comes_with_the_next_batch(slow):
    """Prospects that are made to cost much would be judged for minutes in one transaction, or be lost from it."""
    slow.worker._step()

    assert slow.session.emitted == [b"0"] and len(slow.session.committed) == 1
    assert [rest.values for rest in slow.source.put] == [[b"1", b"2", b"3", b"4"]]
    assert slow.counters.totals["prospects"] == value(slow.counters, PROSPECTS, reason="clear") == 1
    assert value(slow.counters, LIMIT_HITS, limit="judging-time") == 1


def test_a_newer_index_does_not_make_an_older_verdict_fresh(slow):
    """The follower is well and knows of the opt-out; the batch that was judged before it would be committed all the same."""
    follower, judge = slow.follower, slow.scrubber.scrub
    follower.lag_s = 25.0

    def scrub(*given, **more):
        made = judge(*given, **more)
        follower.index, follower.confirmed_at = law.index(position=9999), slow.clock.now
        return made

    slow.scrubber.scrub = scrub
    with pytest.raises(Migrated, match="an index of 35 s ago"):
        slow.worker._step()
    assert not slow.session.committed
