"""Live, ready, started: what each follows from, and what people are told."""

import time

import pytest

from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex, Unavailable, Uncertain
from stream_scrub.ops import health
from stream_scrub.ops.loop_state import PublisherState
from tests.support.fakes.process_status import publisher, worker

STALE = StaleIndex("log-behind", "the opposition log's end was last reached 31 s ago")

TABLE = [
    ({"assigned": 3, "member": True}, []),
    ({"assigned": 0, "member": True}, []),  # more workers than partitions: it stands by
    ({"assigned": 3, "member": False}, []),  # the group's answer is looked up later than the assignment
    ({"assigned": 0, "member": False}, ["joining"]),
    ({"waiting": ("broker", "no broker answers now")}, ["broker"]),
    ({"waiting": ("session", "x"), "holding": ("log-behind", "x")}, ["session"]),
    ({"holding": ("no-seal", "x"), "member": True}, ["no-seal"]),
    ({"holding": ("register", "x"), "stale": STALE, "member": True}, ["register"]),
    ({"stale": STALE, "member": True}, ["log-behind"]),
    ({"stale": STALE}, ["log-behind", "joining"]),
    ({"failing": "x", "assigned": 1}, ["failing"]),
    ({"stopping": True, "waiting": ("broker", "x"), "stale": STALE}, ["stopping"]),
]


def causes(condition):
    """The causes of a worker of that condition: not a member and without partitions, if it does not say otherwise."""
    collector, state, follower = worker()
    state.member, state.assigned = condition.get("member", False), condition.get("assigned", 0)
    state.stopping, state.waiting = condition.get("stopping", False), condition.get("waiting")
    follower.stale = condition.get("stale")
    if "holding" in condition:
        state.hold(*condition["holding"])
    for _ in range(health.FAILING if "failing" in condition else 0):
        state.gave_up(Unavailable(condition["failing"]))
    return collector().health.causes


@pytest.mark.parametrize(("condition", "expected"), TABLE)
def test_a_worker_is_ready_exactly_when_it_works_or_stands_by(condition, expected):
    """A rollout would go on to the next pod while this one emits nothing, or stop although all is well."""
    assert [cause.cause for cause in causes(condition)] == expected


def test_partitions_without_outputs_show():
    """A ready worker would leave leads unread, and nobody look at it."""
    collector, state, _ = worker()
    state.unread = ["leads/2", "leads/3"]
    (cause,) = collector().health.degraded
    assert cause.cause == "partitions" and cause.why.startswith("leads/2, leads/3 not read")
    state.unread = []
    assert collector().health.degraded == ()


def test_no_number_gets_into_a_reason():
    """A page that the whole cluster can read would name a person."""
    cause = health.cause("failing", "commit of +33 6 12 34 56 78 or 33612345678 failed")
    assert "612" not in cause.why and "345678" not in cause.why


def test_a_waiting_worker_lives_and_is_not_ready():
    """Kubernetes would restart the whole fleet for a broker's outage."""
    collector, counters, follower = worker()
    counters.waits("broker", "no broker answers now")
    counters.begun = False
    told = [collector()]
    assert [health.probed(path, told).ok for path in health.PROBES] == [True, False, False]
    (part,) = health.probed("/readyz", told).page["loops"]
    assert part["worker"] == "w1" and part["causes"][0].cause == "broker" and part["causes"][0].do
    counters.begins()
    follower.stale = StaleIndex("log-unreachable", "away")
    told = [collector()]
    assert [health.probed(path, told).ok for path in health.PROBES] == [True, False, True]


def test_a_loop_that_hangs_is_not_live_however_ready_it_was():
    """A hung worker would keep its partitions and emit nothing, for ever."""
    collector, counters, _ = worker()
    assert health.probed("/livez", [collector()]).ok
    counters.heartbeat = time.monotonic() - 61
    answer = health.probed("/livez", [collector()])
    assert not answer.ok
    assert "61 s" in answer.page["loops"][0]["causes"][0].why


def test_a_batch_given_up_again_and_again_is_told():
    """A worker that lacks a right would look ready while it emits nothing."""
    collector, counters, _ = worker()
    for _ in range(health.FAILING - 1):
        counters.gave_up(Unavailable("committing: no broker answers now"))
    assert health.probed("/readyz", [collector()]).ok, "a rebalance, or a broker's restart"
    counters.gave_up(Uncertain("committing: whether it was committed is unknown"))
    answer = health.probed("/readyz", [collector()])
    assert not answer.ok and "3 times" in answer.page["loops"][0]["causes"][0].why
    counters.failed_at -= 61
    assert health.probed("/readyz", [collector()]).ok, "long ago"


def test_a_fault_of_the_follower_is_told_and_answered():
    """The probe would hang or fail without a word when the follower's thread has died."""
    collector, _, follower = worker()
    follower.stale = RuntimeError("the follower's thread has ended")
    (cause,) = collector().health.causes
    assert cause.cause == "fault" and "thread" in cause.why


def test_a_publisher_is_ready_while_it_owns_its_registers():
    """Opt-outs would wait behind a publisher that was fenced, and nobody would see it."""
    collector, counters, _ = publisher()
    assert health.probed("/readyz", [collector()]).ok
    counters.owner = False
    answer = health.probed("/readyz", [collector()])
    assert not answer.ok and answer.page["loops"][0]["causes"][0].cause == "owner"
    assert "worker" not in answer.page["loops"][0]
    counters.stopping = True
    assert collector().health.causes[0].cause == "stopping"
    fresh = PublisherState("", Settings(), 300)
    assert fresh.waiting is not None and not fresh.begun
