"""What an upgrade and a drained node do to workers: restarts by SIGTERM under load, and a pod that no longer hears it."""

import signal
import time
from statistics import median

import pytest

from tests.support.running.load import Load
from tests.support.running.outcome import ages, compare, count, ends
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import expected_by
from tests.support.running.worker import wait_until

pytestmark = pytest.mark.chaos

WORKERS = 4
PER_S = 300
GRACE_S = 3.0  # of a pod's termination: 60 s in the manifests
NUMBERS = french_mobiles(5_000, seed=50)
OPPOSED, CONSENTED = set(NUMBERS[:1_000]), set(NUMBERS)


def placed(stages, bootstrap, **settings):
    stage = stages(bootstrap, partitions=8, **settings)
    stage.load("internal", NUMBERS[:1_000])
    stage.load("consent", NUMBERS, "--kind", "allow")
    return stage


def check(stage, bootstrap, sent):
    """Everything came out once, in order, with the right verdict."""
    wait_until(lambda: ends(bootstrap, stage.outputs) >= sent, every=1)
    wait_until(lambda: count(bootstrap, stage.outputs) >= sent, every=2)
    expected = expected_by(OPPOSED, CONSENTED, true_number)
    found = compare(bootstrap, stage.topics["prospects"], *stage.outputs, expected)
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == sent


def moves(workers) -> int:
    """How often partitions came or went, all workers together."""
    return sum(str(line.get("event")).startswith("partitions ") for w in workers for line in w.lines())


@pytest.mark.slow
def test_a_rolling_restart_under_load(kafka, stages):
    """An upgrade on a working day would lose leads, hand some out twice, or stop the diallers for a minute."""
    stage = placed(stages, kafka.bootstrap)
    workers = [stage.worker(f"w{n}", extension=n % 2 == 0).start() for n in range(WORKERS)]
    for worker in workers:
        wait_until(lambda w=worker: w.logged("partitions assigned"))
    load = Load(kafka.bootstrap, stage.topics["prospects"], NUMBERS, PER_S)
    load.start()
    time.sleep(3)
    restarts = []
    for worker in workers:
        before, assigned = moves(workers), times(worker, "partitions assigned")
        begun = time.time()
        code, took_s = worker.stop()
        assert (code, took_s < 60) == (0, True)  # a pod's grace, in the manifests
        worker.start()
        wait_until(lambda w=worker, n=assigned: times(w, "partitions assigned") > n)
        time.sleep(2)  # the others have given some away
        restarts.append((begun, time.time(), took_s, moves(workers) - before))
    sent = load.finish()
    check(stage, kafka.bootstrap, sent)
    aged = ages(kafka.bootstrap, stage.outputs)
    print(f"\n{sent} prospects at {PER_S} a second, {WORKERS} workers, restarted one after another:")
    for at, (begun, ended, took_s, moved) in enumerate(restarts):
        within = [age for judged, age in aged if begun <= judged < ended]
        print(
            f"w{at}: ended in {took_s:.1f} s, {moved} assignments and revocations,"
            f" verdicts {median(within) * 1000:.0f} ms old in the middle and {max(within):.1f} s at most"
        )
        assert moved > 0, "nobody noticed: proves nothing"
        assert max(within) < 15, "a restart that stops leads for that long is no rolling one"
    assert all(worker.stop()[0] == 0 for worker in workers)
    loud = [line for w in workers for line in w.lines() if line.get("level") in {"warning", "error"}]
    assert loud == [], "\n".join(map(str, loud))


def times(worker, event) -> int:
    return sum(line.get("event") == event for line in worker.lines())


@pytest.mark.slow
def test_a_pod_that_does_not_end_is_killed(kafka, stages):
    """A worker that hangs while its node is drained would take its open transaction along: leads lost, doubled, or a
    topic that stays silent for whoever reads what is committed."""
    sent = 120_000
    stage = placed(
        stages, kafka.bootstrap, worker__batch_records=20_000, kafka__consumer__session_timeout_ms=6000
    )
    leads = ((b"%d" % (at % 977), prospect(at, spell(NUMBERS[at * 7 % 5_000], at))) for at in range(sent))
    produce(kafka.bootstrap, stage.topics["prospects"], leads)
    hung = stage.worker("w1").start()
    hangs_in_a_transaction(hung, kafka.bootstrap, stage)
    other = stage.worker("w2").start()
    hung.send(signal.SIGTERM)
    time.sleep(GRACE_S)
    assert hung.alive, "it ended: nothing was drained"
    hung.kill()
    wait_until(lambda: other.logged("partitions assigned"))
    begun = time.monotonic()
    hung.start()  # the next life, under the same name
    wait_until(lambda: not is_open(kafka.bootstrap, stage), every=0.2)
    freed_s = time.monotonic() - begun
    check(stage, kafka.bootstrap, sent)
    aborted = count(kafka.bootstrap, stage.outputs, "read_uncommitted") - sent
    assert aborted > 0, "nothing was open: proves nothing"
    assert (hung.stop()[0], other.stop()[0]) == (0, 0)
    print(
        f"\n{aborted} records of the killed pod aborted; nothing was open {freed_s:.1f} s after its next start"
    )


def is_open(bootstrap, stage) -> bool:
    return ends(bootstrap, stage.outputs) < ends(bootstrap, stage.outputs, "read_uncommitted")


def hangs_in_a_transaction(worker, bootstrap, stage) -> None:
    """Stop it (SIGSTOP) in the middle of one."""
    wait_until(lambda: worker.logged("partitions assigned"))

    def is_caught() -> bool:
        worker.send(signal.SIGSTOP)
        if is_open(bootstrap, stage):
            return True
        worker.send(signal.SIGCONT)
        return False

    wait_until(is_caught, every=0.02)
