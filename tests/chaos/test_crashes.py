"""Exactly once through everything that can happen to a process or a broker, to workers with the extension and without it
in one group. Each test counts what it needs to have
happened, and fails when it did not: a chaos test that met no chaos proves nothing."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaException

from tests.support.network.left_open import unless_left_open
from tests.support.running.load import Load
from tests.support.running.outcome import compare, count, ends
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import expected_by
from tests.support.waiting import WAIT_S, wait_until

pytestmark = pytest.mark.chaos

NUMBERS = french_mobiles(2_000, seed=10)
OPPOSED, CONSENTED = set(NUMBERS[:400]), set(NUMBERS)


PER_S = (
    1_000  # under a steady load there is always something in flight; a backlog may be done before the crash
)


def prepared(stages, bootstrap, **settings):
    """A stage with both lists. Sessions are short: the dead need not be waited for long."""
    stage = stages(bootstrap, kafka__consumer__session_timeout_ms=6000, **settings)
    stage.load("internal", NUMBERS[:400])
    stage.load("consent", NUMBERS, "--kind", "allow")
    return stage


@contextmanager
def under_load(stage, bootstrap) -> Iterator[None]:
    """Prospects are sent the whole time. At the end all must have come out, and be held against what went in."""
    load = Load(bootstrap, stage.topics["prospects"], NUMBERS, PER_S)
    load.start()
    wait_until(lambda: ends(bootstrap, stage.outputs) > PER_S)
    yield
    sent = load.finish()
    # When a broker dies under it, the client may write a record twice (librdkafka 4953): each record counts.
    arrived = count(bootstrap, [stage.topics["prospects"]])
    assert arrived >= sent
    finish(stage, bootstrap, arrived)


def send(stage, bootstrap, which):
    leads = ((b"%d" % (at % 977), prospect(at, spell(NUMBERS[at * 7 % len(NUMBERS)], at))) for at in which)
    produce(bootstrap, stage.topics["prospects"], leads)


def finish(stage, bootstrap, prospects):
    """Wait until all has come out, and hold it against what went in."""
    # The ends count markers and aborted records too: they say when it is worth reading everything.
    reached, since = -1, time.monotonic()
    while (out := ends(bootstrap, stage.outputs)) < prospects:
        if out > reached:
            reached, since = out, time.monotonic()
        assert time.monotonic() - since < WAIT_S, "nothing more comes out"
        time.sleep(1)
    wait_until(lambda: count(bootstrap, stage.outputs) >= prospects, every=3)
    found = compare(
        bootstrap, stage.topics["prospects"], *stage.outputs, expected_by(OPPOSED, CONSENTED, true_number)
    )
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == prospects
    return found


def met_a_dead_broker(workers) -> int:
    """How often one of them lost its broker, gave a batch up or held."""
    met = ("broker is away", "batch given up", "holding")
    return sum(str(line["event"]).startswith(met) for worker in workers for line in worker.lines())


def come_out(bootstrap, stage) -> int:
    """About how much has come out; 0 while a broker that has just started does not know."""
    try:
        return ends(bootstrap, stage.outputs)
    except KafkaException:
        return 0


def test_kill_9_at_random_moments(kafka, stages):
    """A node that dies in the middle of a transaction must neither lose a lead nor hand one out twice."""
    kills, each = 10, 2_000
    stage = prepared(stages, kafka.bootstrap, worker__batch_records=100)
    rng = random.Random(11)
    workers = [stage.worker("w1").start(), stage.worker("w2", extension=False).start()]
    done_when_killed, aborted = [], 0
    # Some two kills of ten hit an open transaction; of forty it is never none.
    while not aborted and len(done_when_killed) < 4 * kills:
        for kill in range(len(done_when_killed), len(done_when_killed) + kills):
            before = ends(kafka.bootstrap, stage.outputs)
            send(stage, kafka.bootstrap, range(kill * each, (kill + 1) * each))
            # Not earlier: a fast machine has done a portion, or has not begun it, before any fixed time is over.
            wait_until(lambda before=before: ends(kafka.bootstrap, stage.outputs) > before, every=0.02)
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


@pytest.mark.slow
def test_the_broker_dies_and_comes_back(own_kafka, stages):
    """A broker's crash must be a pause, not a loss, a double, or a worker that gives up."""
    unless_left_open(own_kafka.bootstrap, lambda: the_broker_dies(own_kafka, stages))


def the_broker_dies(own_kafka, stages):
    bootstrap = own_kafka.bootstrap
    stage = prepared(stages, bootstrap, worker__batch_records=500)
    workers = [stage.worker("w1").start(), stage.worker("w2", extension=False).start()]
    wait_until(lambda: all(worker.logged("partitions assigned") for worker in workers))
    with under_load(stage, bootstrap):
        for _ in range(2):
            out, before = come_out(bootstrap, stage), met_a_dead_broker(workers)
            own_kafka.kill()
            wait_until(lambda before=before: met_a_dead_broker(workers) > before)
            own_kafka.start()
            wait_until(lambda out=out: come_out(bootstrap, stage) > out + 2 * PER_S)
    assert all(worker.alive for worker in workers), "a worker gave up"
    assert not any("Traceback" in str(line) for worker in workers for line in worker.lines())


@pytest.mark.slow
def test_a_paused_worker_wakes_as_a_zombie(kafka, stages):
    """A worker that slept past its session (a frozen VM) must not commit what another has taken over."""
    stage = prepared(stages, kafka.bootstrap, worker__batch_records=200)
    sleepers = stage.worker("w1").start(), stage.worker("w2", extension=False).start()
    wait_until(lambda: all(each.logged("partitions assigned") for each in sleepers))
    with under_load(stage, kafka.bootstrap):
        for sleeper, other in (sleepers, sleepers[::-1]):
            before, taken = assigned(sleeper), assigned(other)
            sleeper.send(signal.SIGSTOP)
            wait_until(lambda w=other, taken=taken: assigned(w) > taken)
            out = ends(kafka.bootstrap, stage.outputs)
            sleeper.send(signal.SIGCONT)
            wait_until(lambda out=out: ends(kafka.bootstrap, stage.outputs) > out + PER_S)
            wait_until(lambda w=sleeper, before=before: assigned(w) > before)
    assert all(each.alive for each in sleepers)
    for each in sleepers:
        assert each.logged("partitions lost") or each.logged("batch given up"), "it slept through nothing"


@pytest.mark.slow
def test_workers_come_and_go_under_load(kafka, stages):
    """Scaling up, scaling down and rolling restarts happen every day; no lead may notice."""
    stage = prepared(stages, kafka.bootstrap, partitions=6, worker__batch_records=300)
    workers = [stage.worker(f"w{n}", extension=n != 1) for n in range(3)]
    workers[0].start()
    with under_load(stage, kafka.bootstrap):
        for _ in range(2):
            for worker in workers[1:]:
                before = assigned(worker)
                worker.start()
                wait_until(lambda w=worker, before=before: assigned(w) > before)
            for worker in workers[1:]:
                code, took = worker.stop()
                assert (code, took < 60) == (0, True)  # a pod's grace, in the manifests
    assert workers[0].alive
    loud = [
        line for worker in workers for line in worker.lines() if line.get("level") in {"warning", "error"}
    ]
    assert loud == [], "\n".join(map(str, loud))


def assigned(worker) -> int:
    """How often it was given partitions."""
    lines = worker.lines() if worker.log_file.exists() else []
    return sum(line["event"] == "partitions assigned" for line in lines)
