"""The latency bench counts from when a record was due, and its percentiles are what they say: by a clock of the test's."""

import numpy as np
import pytest

from bench.harness.failure import Wrong
from bench.harness.percentiles import spread
from bench.latency.stats import Received, Schedule
from bench.under_load.swap import Plan

SECOND = 1_000_000_000


def received(ids, at_ns, blocked=None):
    blocked = [False] * len(ids) if blocked is None else blocked
    return Received(np.array(ids, np.int64), np.array(at_ns, np.int64), np.array(blocked, np.bool_))


class Producer:
    """The bench's loop on a clock that the test moves: sends what is due, then sleeps."""

    def __init__(self, schedule):
        self.schedule = schedule
        self.sent_ns = []

    def wake(self, now_ns):
        while len(self.sent_ns) < self.schedule.due_by(now_ns):
            self.sent_ns.append(now_ns)


@pytest.mark.parametrize("rate", [3, 7_777])
def test_a_record_is_sent_when_it_is_due_and_not_before(rate):
    """Latencies would be shorter than they are, or negative."""
    schedule = Schedule(17, rate, 0.0, 2.0, 0.0)
    due = schedule.due_ns(np.arange(schedule.count))

    assert schedule.due_by(16) == 0
    for at in (0, 1, len(due) // 2, len(due) - 1):
        assert schedule.due_by(int(due[at])) == at + 1
        assert schedule.due_by(int(due[at]) - 1) == at
    assert schedule.due_by(10**18) == schedule.count == 2 * rate


def test_a_pause_weighs_on_every_record_that_fell_into_it():
    """A second of standstill would count as one slow record instead of a thousand (coordinated omission)."""
    schedule = Schedule(0, 1_000, 0.0, 3.0, 0.0)
    producer = Producer(schedule)
    for now_ms in [*range(1_000), *range(2_000, 3_000)]:  # nothing happens in between
        producer.wake(now_ms * 1_000_000)

    taken = received(range(3_000), producer.sent_ns)
    found = spread(taken.latencies_ms(schedule, *schedule.window))

    assert found["count"] == 3_000
    assert found["max"] == 1_000
    assert found["p90"] == 700  # the 1000 records of the pause waited 1000, 999, ... 1 ms
    assert found["p50"] == 0


@pytest.mark.parametrize(
    ("ids", "blocked", "wrong"),
    [
        ([0, 1, 2], [True, False, False], None),
        ([2, 0, 1], [True, True, False], None),  # 2 is in the delta: either verdict may be right
        ([0, 1], [True, False], "1 are missing and 0 doubled"),
        ([0, 1, 2, 2], [True, False, False, False], "0 are missing and 1 doubled"),
        ([0, 1, 3], [True, False, False], "1 are missing"),
        ([0, 1, 2], [False, False, False], "1 of 3 records have the wrong verdict"),
        ([0, 1, 2], [True, True, False], "1 of 3 records have the wrong verdict"),
    ],
)
def test_a_contender_that_loses_doubles_or_misjudges_has_no_latency(ids, blocked, wrong):
    """Who drops what is slow would be the fastest."""
    taken = received(ids, [0] * len(ids), blocked)
    denied, unsure = np.array([True, False, False]), np.array([False, False, True])

    if wrong is None:
        taken.check(3, denied, unsure)
    else:
        with pytest.raises(Wrong, match=wrong):
            taken.check(3, denied, unsure)


def test_the_swap_bench_publishes_deltas_that_fit():
    """A worker would find its log corrupt, and the bench say that a swap takes for ever."""
    plan = Plan.make(200_000, 4_000, 3)

    held = plan.first | plan.second
    assert plan.first.isdisjoint(plan.second)
    assert len(held) == pytest.approx(200_000, rel=0.01)
    for delta in plan.deltas:
        assert delta.adds.isdisjoint(held)
        assert delta.removes.issubset(held)
        assert len(delta.adds) + len(delta.removes) == pytest.approx(4_000, rel=0.2)
        held = (held | delta.adds) - delta.removes
