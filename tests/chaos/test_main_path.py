"""The main job as an operator would do it, on a real Kafka, from the console script."""

import json
import random
import time
from collections import defaultdict
from datetime import datetime

import pytest

from tests.support.running.load import Load
from tests.support.running.outcome import compare, count, ends, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import expected_by
from tests.support.running.worker import WAIT_S, run, run_json, wait_until

pytestmark = pytest.mark.chaos

GRACE_S = 60  # of a pod, in the manifests
PROSPECTS = 200_000
LISTED = 200_000


def test_prospects_come_out_once_in_order_with_the_right_verdict(kafka, stages):
    """An operator's whole first day would end with a lead lost, doubled, out of order or wrongly allowed."""
    stage = stages(kafka.bootstrap)
    numbers = french_mobiles(LISTED + 30_000, seed=1)
    opposed, callable_ = set(numbers[:LISTED]), numbers[LISTED:]
    effect = stage.load("internal", numbers[:LISTED])
    assert effect["added"] == LISTED and effect["refused"] == 0
    stage.load("consent", callable_ + numbers[:10_000], "--kind", "allow")
    rng = random.Random(2)
    pool = callable_ + numbers[: len(callable_) // 4]

    def leads():
        for at in range(PROSPECTS):
            yield b"%d" % rng.randrange(5_000), prospect(at, spell(rng.choice(pool), at))

    produce(kafka.bootstrap, stage.topics["prospects"], leads(), headers=[("trace", b"abc")])
    started = time.monotonic()
    with stage.worker("w1") as one, stage.worker("w2", extension=False) as two:
        # Markers take an offset a transaction, so the ends only say when it is worth counting.
        wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= PROSPECTS, every=0.5)
        took = time.monotonic() - started
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= PROSPECTS, every=1)
        codes = [one.stop(), two.stop()]
    assert [code for code, _ in codes] == [0, 0]
    assert max(took for _, took in codes) < GRACE_S
    expected = expected_by(opposed, set(callable_ + numbers[:10_000]), true_number)
    found = compare(kafka.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == PROSPECTS
    print(f"\n{PROSPECTS} prospects by two workers in {took:.1f} s with their start: {dict(found.verdicts)}")


def test_a_delta_is_enforced_within_a_second_of_the_imports_return(kafka, stages):
    """A person who opts out must not be called a minute later because a worker still judges by the old list."""
    stage = stages(kafka.bootstrap, partitions=1)
    (hot, *others) = french_mobiles(1_000, seed=3)
    stage.load("internal", others[:10])
    stage.load("consent", [hot, *others], "--kind", "allow")
    with stage.worker("w1"):
        sent = 0
        positions, returned = [], []
        for round_ in range(3):
            produce(kafka.bootstrap, stage.topics["prospects"], iter([(b"k", prospect(sent, spell(hot, 0)))]))
            sent += 1
            wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= sent)
            effect = stage.load("internal", [hot], "--adds" if round_ % 2 == 0 else "--removes")
            returned.append(time.time())
            while True:
                produce(
                    kafka.bootstrap, stage.topics["prospects"], iter([(b"k", prospect(sent, spell(hot, 0)))])
                )
                sent += 1
                if _last_position(kafka.bootstrap, stage) >= effect["position"]:
                    positions.append(effect["position"])
                    break
                assert time.time() - returned[-1] < WAIT_S, "the delta was not enforced"
    assert positions == sorted(positions)

    def expected(lead, stamp):
        judged = datetime.fromisoformat(stamp["at"]).timestamp()
        for position, since in zip(positions, returned, strict=True):  # a busy machine may need some more
            assert stamp["index"] >= position or judged < since + 5
        opposed = positions[0] <= stamp["index"] < positions[1] or stamp["index"] >= positions[2]
        return f"{'blocked' if opposed else 'allowed'} {hot}"

    found = compare(kafka.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
    assert not found.wrong, (found.wrong, found.first)


def _last_position(bootstrap, stage):
    time.sleep(0.15)
    return max(
        json.loads(m.value())["scrub"]["index"] for topic in stage.outputs for m in read_all(bootstrap, topic)
    )


def test_each_transaction_carries_one_position(kafka, stages):
    """An auditor who replays a transaction must find one index, not a mixture of two."""
    stage = stages(kafka.bootstrap, partitions=2)
    numbers = french_mobiles(40_000, seed=4)
    stage.load("internal", numbers[:100])
    stage.load("consent", numbers, "--kind", "allow")
    load = Load(kafka.bootstrap, stage.topics["prospects"], numbers, 5_000)
    with stage.worker("w1", worker__batch_records=500):
        load.start()
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) > 0)
        for part in range(5):
            stage.load("internal", numbers[100 + part * 10 : 110 + part * 10], "--adds")
        sent = load.finish()
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= sent, every=1)
    positions = defaultdict(set)
    for topic in stage.outputs:
        transaction, last = defaultdict(int), {}
        for message in read_all(kafka.bootstrap, topic):
            at = message.partition()
            if message.offset() != last.get(at, -1) + 1:
                transaction[at] += 1  # a commit marker took an offset
            last[at] = message.offset()
            positions[topic, at, transaction[at]].add(json.loads(message.value())["scrub"]["index"])
    assert all(len(found) == 1 for found in positions.values())
    assert len({p for found in positions.values() for p in found}) > 1, (
        "no delta came in the middle: proves nothing"
    )


@pytest.mark.slow
def test_several_processes_share_the_work_and_end_together(kafka, stages):
    """`--processes 2` must scrub as one worker does, and leave nothing behind when it is asked to stop."""
    stage = stages(kafka.bootstrap)
    numbers = french_mobiles(5_000, seed=5)
    stage.load("internal", numbers[:1_000])
    stage.load("consent", numbers, "--kind", "allow")
    leads = ((b"%d" % (at % 100), prospect(at, spell(numbers[at % 5_000], at))) for at in range(50_000))
    produce(kafka.bootstrap, stage.topics["prospects"], leads)
    with stage.worker("w", "--processes", "2") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= 50_000, every=1)
        wait_until(lambda: worker.logged("partitions assigned", worker="w-1"))
        code, took = worker.stop()
    assert (code, took < GRACE_S) == (0, True)
    assert worker.logged("stopped", worker="w-0") and worker.logged("stopped", worker="w-1")
    found = compare(
        kafka.bootstrap,
        stage.topics["prospects"],
        *stage.outputs,
        expected_by(set(numbers[:1_000]), set(numbers), true_number),
    )
    assert not found.wrong and found.total == 50_000


def test_status_and_check_speak_of_what_is_on_the_log(kafka, stages):
    """An operator must see which lists are in force, and why a number is blocked."""
    stage = stages(kafka.bootstrap)
    opposed, free = french_mobiles(2, seed=6)
    position = stage.load("internal", [opposed])["position"]
    stage.load("consent", [opposed, free], "--kind", "allow")
    status = run_json(["lists", "status"], stage.env)
    assert status["position"] > position
    assert {r["register"]: (r["kind"], r["count"]) for r in status["registers"]} == {
        "internal": ("deny", 1),
        "consent": ("allow", 2),
    }
    done = run(["check", f"+{opposed}", spell(free, 0), "061", "--json"], stage.env)
    stamps = [__import__("json").loads(line) for line in done.stdout.splitlines()]
    assert [s["reason"] for s in stamps] == ["opposed", "consented", "invalid-number"]
    people = run(["check", f"+{opposed}"], stage.env)
    assert "blocked opposed" in people.stdout and "internal" in people.stdout
