"""What is told of prospects that are blocked for a register that cannot be used."""

import time
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from stream_scrub.config import Settings
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.worker.stale_registers import StaleRegisters
from tests.support.fakes import law


@pytest.fixture
def made(monkeypatch):
    """The teller, its counters, and a clock that the test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    counters = WorkerState("w1", Settings(), 60)
    return StaleRegisters(counters, structlog.get_logger()), counters, clock


def lines(told, event):
    return [(line["register"], line.get("prospects")) for line in told if line["event"].startswith(event)]


def test_it_is_loud_at_the_first_one_and_once_a_minute(made):
    """Nobody would notice that a list is missing, or the log would be nothing else."""
    stale, counters, clock = made
    with capture_logs() as told:
        stale.blocked({"tps": 3})
        for _ in range(50):
            clock.now += 1
            stale.blocked({"tps": 2, "internal@acme": 1})
            stale.look()
        assert lines(told, "prospects blocked for") == [("tps", 3), ("internal@*", 1)]
        clock.now += 15
        stale.look()
        assert lines(told, "prospects blocked for")[2:] == [("tps", 100), ("internal@*", 49)]
    assert counters.stale_now == ("internal@*", "tps")


def test_it_is_over_when_none_came_for_a_while(made):
    """An operator would look for a fault that was mended."""
    stale, counters, clock = made
    with capture_logs() as told:
        stale.blocked({"tps": 1})
        clock.now += 119
        stale.look()
        assert counters.stale_now == ("tps",)
        clock.now += 2
        stale.look()
        assert counters.stale_now == ()
        assert lines(told, "no more prospects blocked") == [("tps", None)]
        stale.blocked({"tps": 1})
        assert lines(told, "prospects blocked for") == [("tps", 1)] * 2, "and it is loud again"


def test_the_start_says_what_rules_of_today_lack(made):
    """A worker would be started before its lists, and block everybody without a word at its start."""
    stale, _, _ = made
    book = law.rulebook(law.OPT_OUT)
    with capture_logs() as told:
        stale.log_unusable(book, law.index(law.register("internal"), law.register("list")))
        assert told == []
        stale.log_unusable(book, law.index(law.register("internal")))
    assert [line["registers"] for line in told] == [{"list": "FR: it was never imported"}]
