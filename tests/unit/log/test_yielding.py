"""Turns with the hot path: by a clock of the test's own, and once for real."""

import threading
import time

import pytest

from stream_scrub.log.follower import CooperativeYield, StallMonitor


class Clock:
    """Stands still but for what is worked and slept."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def test_work_stands_aside_for_as_long_as_it_took():
    """Every commit would wait until a large list is applied: for seconds, when its filter is made anew."""
    clock = Clock()
    turns = CooperativeYield(clock, clock.sleep)

    for worked_s in (0.002, 0.004):
        clock.now += worked_s
        turns.pause()

    assert clock.slept == pytest.approx([0.002, 0.004])


def test_a_thread_that_does_not_give_way_is_seen():
    """A swap that stops the worker for long would be reported as none."""
    with StallMonitor() as watch:
        time.sleep(0.01)
        watch.longest_s()
        started = time.perf_counter()
        sum(range(20_000_000))  # one call, which gives way to nobody
        took_s = time.perf_counter() - started
        time.sleep(0.01)
        longest_s = watch.longest_s()

    assert longest_s > took_s / 2
    assert watch.longest_s() < longest_s


def test_the_watch_ends_with_what_it_watches():
    """A worker would gain a thread with every delta."""
    before = threading.active_count()

    with StallMonitor():
        assert threading.active_count() == before + 1

    assert threading.active_count() == before
