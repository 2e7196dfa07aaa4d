"""What the loop says of itself beside its work: the line of each minute, its holds, and what it looks up."""

import io
import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.model import Reason
from stream_scrub.run import worker as module
from stream_scrub.run.counters import Counters
from stream_scrub.run.logs import configure
from stream_scrub.run.worker import Pace, Worker
from tests.fakes import law


class Source:
    """What the loop looks up."""

    is_member = True

    def __init__(self):
        self.asked = []

    def lag(self, deadline):
        self.asked.append(deadline is not None)
        return {0: 5, 3: 7}


@pytest.fixture
def made():
    out = io.BytesIO()
    source, session = Source(), SimpleNamespace(reopened=2)
    follower = SimpleNamespace(corrupt=None, lag_s=1.0, trouble="", index=law.index())
    worker = Worker(source, session, follower, None, Counters(), configure("info", "json", out), pace=Pace())
    return SimpleNamespace(
        worker=worker,
        counters=worker._counters,
        source=source,
        lines=lambda: [json.loads(line) for line in out.getvalue().splitlines()],
    )


def minute(made):
    made.worker._summed_at -= 60.5
    made.worker._summarise()


def test_a_minute_is_one_line_with_what_was_done_in_it(made):
    """An operator without Prometheus could not see from the log what a worker does, or would take sums for rates."""
    counters = made.counters
    counters.lags = {0: 5, 3: 7}
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


def test_a_hold_is_told_once_and_its_end_with_its_length(made):
    """The log would fill with the same line ten times a second, or not say that it is over."""
    stale = StaleIndex("register", "tps is too old")
    for _ in range(5):
        made.worker._hold(stale)
    made.worker._resumed()
    made.worker._resumed()
    begun, ended = made.lines()
    assert (begun["level"], begun["cause"], begun["why"]) == ("warning", "register", "tps is too old")
    assert ended["event"] == "hold ended" and ended["held_s"] >= 0


def test_it_looks_once_a_second_and_asks_brokers_only_while_nothing_comes(made, monkeypatch):
    """The clients would be asked for every batch, which costs, or the lag stand still for as long as a hold lasts, or as
    a partition is not read that should be.
    """
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    for _ in range(70):  # seven seconds
        made.worker._look()
        now += 0.1
    assert made.source.asked == [True, False, False, False, False, True, False]
    assert (made.counters.lag, made.counters.member, made.counters.sessions) == (12, True, 2)
    made.source.asked.clear()
    for _ in range(70):
        made.worker._polled_at = now
        made.worker._look()
        now += 0.1
    assert set(made.source.asked) == {False}


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

    worker._follower.usable = ask
    worker._follower.rules = SimpleNamespace(texts={})
    worker._scrubber = SimpleNamespace(rulebook=SimpleNamespace(texts={}))
    worker._session.open = worker._session.close = lambda *_: None
    worker._session.recover = recover
    made.source.drop = lambda: None
    worker._trouble = Unavailable("committing: no broker answers now")

    worker.run(stopping)

    assert made.counters.holding == "log-unreachable"
    assert [line["cause"] for line in made.lines() if line["event"].startswith("holding")] == [
        "log-unreachable"
    ]
