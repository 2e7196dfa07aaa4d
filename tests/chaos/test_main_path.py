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
from tests.support.waiting import WAIT_S, wait_until

pytestmark = pytest.mark.chaos

GRACE_S = 60  # of a pod, in the manifests
PROSPECTS = 20_000
LISTED = 20_000


def test_prospects_come_out_once_in_order_with_the_right_verdict(kafka, stages):
    """An operator's whole first day would end with a lead lost, doubled, out of order or wrongly allowed."""
    stage = stages(kafka.bootstrap)
    numbers = french_mobiles(LISTED + 3_000, seed=1)
    opposed, callable_ = set(numbers[:LISTED]), numbers[LISTED:]
    effect = stage.load("internal", numbers[:LISTED])
    assert effect["added"] == LISTED and effect["refused"] == 0
    stage.load("consent", callable_ + numbers[:1_000], "--kind", "allow")
    rng = random.Random(2)
    pool = callable_ + numbers[: len(callable_) // 4]

    def leads():
        for at in range(PROSPECTS):
            yield b"%d" % rng.randrange(500), prospect(at, spell(rng.choice(pool), at))

    produce(kafka.bootstrap, stage.topics["prospects"], leads(), headers=[("trace", b"abc")])
    with stage.worker("w1") as one, stage.worker("w2", extension=False) as two:
        # Markers take an offset a transaction, so the ends only say when it is worth counting.
        wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= PROSPECTS, every=0.5)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= PROSPECTS, every=1)
        codes = [one.stop(), two.stop()]
    assert [code for code, _ in codes] == [0, 0]
    assert max(took for _, took in codes) < GRACE_S
    expected = expected_by(opposed, set(callable_ + numbers[:1_000]), true_number)
    found = compare(kafka.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == PROSPECTS


@pytest.mark.alone
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
    numbers = french_mobiles(4_000, seed=4)
    stage.load("internal", numbers[:100])
    stage.load("consent", numbers, "--kind", "allow")
    load = Load(kafka.bootstrap, stage.topics["prospects"], numbers, 1_000)
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
