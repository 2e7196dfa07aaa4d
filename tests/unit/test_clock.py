"""The clock that ages go by."""

import ast
import time
from pathlib import Path

from stream_scrub import clock
from stream_scrub.model import Deadline

PACKAGE = Path(clock.__file__).parent
# Modules whose ages and deadlines the world outside has a part in.
WORLDLY = ("model.py", "kafka/log_reader.py", "log/follower.py", "publisher/delta_publisher.py")


def test_it_goes_on_while_a_machine_sleeps():
    """Ages would stand still on a suspended machine, and an hour-old index be fresh when it wakes."""
    assert clock._SUSPENDED_TOO == time.CLOCK_BOOTTIME
    first = clock.elapsed()
    assert first <= clock.elapsed()
    assert abs(first - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60


def test_deadlines_go_by_it(monkeypatch):
    """A commit would wait for its full time after a sleep in which its broker ended the transaction."""
    deadline = Deadline.after(10)
    assert 9 < deadline.left() <= 10 and not deadline.passed
    later = clock.elapsed() + 11
    monkeypatch.setattr(clock, "elapsed", lambda: later)
    assert deadline.passed and deadline.left() == 0


def test_nothing_worldly_goes_by_a_clock_that_stops():
    """One age more, counted by the other clock, and a machine that slept would trust what it knew before."""
    for name in WORLDLY:
        tree = ast.parse((PACKAGE / name).read_bytes())
        assert not [node for node in ast.walk(tree) if getattr(node, "attr", "") == "monotonic"], name


def test_a_throttle_lets_through_at_once_or_after_its_interval(monkeypatch):
    """The log would have a line for each of a million records, or none for the first."""
    now = [100.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    at_once, later = clock.Throttle(60.0), clock.Throttle(60.0, at_once=False)
    assert (at_once.is_due(), later.is_due()) == (True, False)
    now[0] += 59.0
    assert (at_once.is_due(), later.is_due()) == (False, False)
    now[0] += 1.0
    assert (at_once.is_due(), later.is_due(), later.is_due()) == (True, True, False)
    later.expire()
    assert later.is_due()
