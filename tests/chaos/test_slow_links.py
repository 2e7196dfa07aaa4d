"""A link or a quota that carries less than a full batch in the time of a transaction, on a real Kafka."""

import os
import subprocess
from contextlib import suppress

import pytest

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.model import Deadline
from tests.kafka.jars import LIBS, find_java
from tests.support.fakes.properties import properties_of
from tests.support.running.outcome import compare, ends, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import expected_by
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

FREE = french_mobiles(500, seed=32)
COUNT = 6000
BYTES_PER_S = 150_000  # of the three megabytes that a full batch is here
QUOTA_BYTES_PER_S = 50_000  # the broker takes a request of a megabyte before it slows its sender
RECALLED = 20_000  # a full part
RECALL_BYTES_PER_S = 25_000
FAILURES_MAX = 8  # in a row: a part of 20,000 is a hundredth by then
LOG_BYTES_PER_S = 100_000  # a fetch of one megabyte takes longer than a reader waits for an answer


def limit_producers(bootstrap, client_id, bytes_per_s):
    """A producer quota, as an operator sets it with kafka-configs.sh."""
    done = subprocess.run(
        [
            find_java(), "-Xmx128m", "-cp", f"{LIBS}/*", "kafka.admin.ConfigCommand",
            "--bootstrap-server", bootstrap, "--alter", "--entity-type", "clients",
            "--entity-name", client_id, "--add-config", f"producer_byte_rate={bytes_per_s}",
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("by", ["quota", "link"])
def test_what_carries_less_than_a_batch_slows_a_worker_and_does_not_stop_it(proxy, stages, by):
    """No lead would ever come out: what is fetched would be cut off half way and fetched again, or batch after batch be
    written, not committed in time, and aborted.
    """
    client = f"slow-{os.urandom(4).hex()}"
    stage = stages(proxy.behind, partitions=2, kafka__producer__client_id=client)
    stage.load("consent", FREE, "--kind", "allow")
    leads = (
        (b"%d" % (at % 7), prospect(at, spell(FREE[at % len(FREE)], at), x=os.urandom(200).hex()))
        for at in range(COUNT)
    )
    produce(proxy.behind, stage.topics["prospects"], leads)
    if by == "quota":
        limit_producers(proxy.behind, client, QUOTA_BYTES_PER_S)
    else:
        proxy.throttle(BYTES_PER_S)
    with stage.worker("w1", client=proxy.bootstrap) as worker:
        # The ends grow by each prospect, and by a marker of each transaction and partition.
        wait_until(lambda: ends(proxy.behind, stage.outputs) >= COUNT, every=1.0)
        wait_until(lambda: sum(1 for t in stage.outputs for _ in read_all(proxy.behind, t)) >= COUNT)
        assert worker.stop()[0] == 0
    found = compare(
        proxy.behind,
        stage.topics["prospects"],
        *stage.outputs,
        expected_by(set(), set(FREE), true_number),
    )
    assert not found.wrong and found.total == COUNT
    if by == "quota":
        assert worker.logged("batch given up"), "a full batch was in time: the test shows nothing"


@pytest.mark.slow
def test_what_carries_less_than_a_part_of_recalls_slows_recall_and_does_not_stop_it(proxy, stages):
    """After a new list nobody would be taken back: the same 20,000 recalls would be written and aborted for ever."""
    stage = stages(proxy.behind, partitions=2)
    numbers = french_mobiles(RECALLED, seed=33)
    stage.load("consent", numbers, "--kind", "allow")
    leads = ((b"%d" % at, prospect(at, spell(number, 0))) for at, number in enumerate(numbers))
    produce(proxy.behind, stage.topics["prospects"], leads)
    with stage.worker("w1"):
        wait_until(lambda: ends(proxy.behind, [stage.topics["allowed"]]) >= RECALLED)
    with stage.recall("r1", client=proxy.bootstrap) as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        proxy.throttle(RECALL_BYTES_PER_S)
        stage.load("internal", numbers)

        def recalled():
            failures = [line.get("failures", 0) for line in recall.lines()]
            assert max(failures) < FAILURES_MAX, "its part does not shrink"
            return ends(proxy.behind, [stage.topics["recalled"]]) >= RECALLED

        wait_until(recalled, every=1.0)
        wait_until(lambda: len(read_recalls(proxy.behind, stage.topics["recalled"])) >= RECALLED)
        proxy.throttle(None)
        assert recall.stop()[0] == 0
    recalled = [int((each.key() or b"")[1:]) for each in read_recalls(proxy.behind, stage.topics["recalled"])]
    assert sorted(recalled) == sorted(numbers), "each once"
    assert recall.logged("recalling failed, trying again"), "a full part was in time: the test shows nothing"


@pytest.mark.slow
def test_a_log_comes_through_a_slow_link(proxy, topic):
    """A process far away would fetch the first deltas for ever, and nothing there would ever be scrubbed."""
    log = topic("log", config={"retention.ms": "-1"})
    produce(proxy.behind, log, ((b"part", os.urandom(50_000)) for _ in range(24)))
    proxy.throttle(LOG_BYTES_PER_S)
    reader = KafkaLogReader(properties_of(Role.LOG_READER, proxy.bootstrap), log)
    read, at_end, deadline = 0, False, Deadline.after(240)
    while not at_end and not deadline.passed:
        with suppress(Unavailable):  # as a follower does, which asks again
            records, at_end = reader.read(0.2)
            read += len(records)
    reader.close()
    assert read == 24 and at_end
