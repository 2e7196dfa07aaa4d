"""Exactly once through everything that can happen to a process or a broker. Each test counts what it needs to have
happened, and fails when it did not: a chaos test that met no chaos proves nothing."""

import random
import signal
import time

import pytest

from tests.support.running.outcome import compare, count, ends
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import expected_by
from tests.support.running.worker import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

NUMBERS = french_mobiles(20_000, seed=10)
OPPOSED, CONSENTED = set(NUMBERS[:4_000]), set(NUMBERS)


def prepared(stages, bootstrap, prospects, **settings):
    """A stage with both lists and a backlog. Sessions are short: the dead need not be waited for long."""
    if "kafka__group_protocol" not in settings:
        settings["kafka__consumer__session_timeout_ms"] = 6000
    stage = stages(bootstrap, **settings)
    stage.load("internal", NUMBERS[:4_000])
    stage.load("consent", NUMBERS, "--kind", "allow")
    send(stage, bootstrap, range(prospects))
    return stage


def send(stage, bootstrap, which):
    leads = ((b"%d" % (at % 977), prospect(at, spell(NUMBERS[at * 7 % 20_000], at))) for at in which)
    produce(bootstrap, stage.topics["prospects"], leads)


def finish(stage, bootstrap, prospects):
    """Wait until all has come out, and hold it against what went in."""
    # The ends count markers and aborted records too: they say when it is worth reading everything.
    wait_until(lambda: ends(bootstrap, stage.outputs) >= prospects, 300, every=1)
    wait_until(lambda: count(bootstrap, stage.outputs) >= prospects, 120, every=3)
    found = compare(
        bootstrap, stage.topics["prospects"], *stage.outputs, expected_by(OPPOSED, CONSENTED, true_number)
    )
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == prospects
    return found


def test_kill_9_at_random_moments(kafka, stages):
    """A node that dies in the middle of a transaction must neither lose a lead nor hand one out twice."""
    kills, each = 10, 10_000
    stage = prepared(stages, kafka.bootstrap, 0, worker__batch_records=100)
    rng = random.Random(11)
    workers = [stage.worker("w1").start(), stage.worker("w2").start()]
    done_when_killed, aborted = [], 0
    # Some two kills of ten hit an open transaction; of forty it is never none.
    while not aborted and len(done_when_killed) < 4 * kills:
        for kill in range(len(done_when_killed), len(done_when_killed) + kills):
            time.sleep(rng.uniform(1.0, 2.5))
            before = ends(kafka.bootstrap, stage.outputs)
            send(stage, kafka.bootstrap, range(kill * each, (kill + 1) * each))
            # Not earlier: a fast machine has done a portion, or has not begun it, before any fixed time is over.
            wait_until(lambda before=before: ends(kafka.bootstrap, stage.outputs) > before, 60, every=0.02)
            time.sleep(rng.uniform(0, 0.2))
            victim = rng.choice(workers)
            victim.kill()
            done_when_killed.append(ends(kafka.bootstrap, stage.outputs))
            victim.start()
        prospects = len(done_when_killed) * each
        finish(stage, kafka.bootstrap, prospects)
        aborted = count(kafka.bootstrap, stage.outputs, "read_uncommitted") - prospects
    assert aborted > 0, "no kill hit an open transaction: proves nothing"
    assert all(worker.alive for worker in workers), "a worker gave up"
    print(f"\n{len(done_when_killed)} kills, {aborted} aborted records, done at each: {done_when_killed}")


def test_the_broker_dies_and_comes_back(own_kafka, stages):
    """A broker's crash must be a pause, not a loss, a double, or a worker that gives up."""
    prospects = 300_000
    bootstrap = own_kafka.bootstrap
    stage = prepared(stages, bootstrap, prospects, worker__batch_records=500)
    workers = [stage.worker("w1").start(), stage.worker("w2").start()]
    wait_until(lambda: ends(bootstrap, stage.outputs) > 0, 60)
    for _ in range(2):
        own_kafka.kill()
        time.sleep(3)
        own_kafka.start()
        time.sleep(4)
    finish(stage, bootstrap, prospects)
    assert all(worker.alive for worker in workers), "a worker gave up"
    assert not any("Traceback" in str(line) for worker in workers for line in worker.lines())


def test_a_paused_worker_wakes_as_a_zombie(kafka, stages):
    """A worker that slept past its session (a frozen VM) must not commit what another has taken over."""
    prospects = 300_000
    stage = prepared(stages, kafka.bootstrap, prospects, worker__batch_records=200)
    sleeper, other = stage.worker("w1").start(), stage.worker("w2").start()
    wait_until(lambda: sleeper.logged("partitions assigned") and other.logged("partitions assigned"), 60)
    for nap in (9, 8):
        sleeper.send(signal.SIGSTOP)
        time.sleep(nap)
        sleeper.send(signal.SIGCONT)
        time.sleep(4)
    finish(stage, kafka.bootstrap, prospects)
    assert sleeper.alive and other.alive
    assert sleeper.logged("partitions lost") or sleeper.logged("batch given up"), "it slept through nothing"


def test_workers_come_and_go_under_load(kafka, stages):
    """Scaling up, scaling down and rolling restarts happen every day; no lead may notice."""
    prospects = 300_000
    stage = prepared(stages, kafka.bootstrap, prospects, partitions=6, worker__batch_records=300)
    workers = [stage.worker(f"w{n}") for n in range(3)]
    workers[0].start()
    for _ in range(2):
        for worker in workers[1:]:
            worker.start()
            time.sleep(2)
        for worker in workers[1:]:
            code, took = worker.stop()
            assert (code, took < 10) == (0, True)
    finish(stage, kafka.bootstrap, prospects)
    assert workers[0].alive


def test_the_new_group_protocol_does_as_well(kafka, stages):
    """`group_protocol = "consumer"` (KIP-848) is offered, so it must keep the promises too."""
    prospects = 100_000
    stage = prepared(
        stages, kafka.bootstrap, prospects, worker__batch_records=300, kafka__group_protocol="consumer"
    )
    first, second = stage.worker("w1").start(), stage.worker("w2").start()
    wait_until(lambda: ends(kafka.bootstrap, stage.outputs) > 10_000, 60)
    second.kill()
    second.start()
    finish(stage, kafka.bootstrap, prospects)
    assert first.alive and second.alive
