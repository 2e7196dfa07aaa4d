"""Partitions that are added to the prospects before the outputs have as many, on a real Kafka."""

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, ordinary_producer, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import wait_until

pytestmark = pytest.mark.chaos

(NUMBER,) = french_mobiles(1, seed=62)


def widened(bootstrap, topics, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_partitions([NewPartitions(topic, partitions) for topic in topics]).values():
        future.result()


def publish(stage, partitions, at):
    producer = ordinary_producer(stage.bootstrap)
    for partition in partitions:
        producer.produce(stage.topics["prospects"], prospect(at, spell(NUMBER, 0)), b"k", partition)
    assert producer.flush(20) == 0


def partitions_out(stage):
    return sorted(m.partition() for topic in stage.outputs for m in read_all(stage.bootstrap, topic))


@pytest.mark.slow
def test_new_partitions_wait_alone_until_the_outputs_have_them(kafka, stages):
    """Adding partitions to the prospects first would stop every lead, and a worker that is started meanwhile refuse to
    work."""
    stage = stages(
        kafka.bootstrap,
        partitions=2,
        http__listen=LISTEN,
        kafka__client__topic_metadata_refresh_interval_ms=500,
    )
    stage.load("consent", [NUMBER], "--kind", "allow")
    with stage.worker("w1") as worker:
        seen = Watched(worker)
        publish(stage, [0, 1], 1)
        wait_until(lambda: partitions_out(stage) == [0, 1])
        widened(kafka.bootstrap, [stage.topics["prospects"]], 4)
        waits = "partitions not read: the output topics have fewer partitions"
        wait_until(lambda: worker.logged(waits, partitions=[2, 3]))
        wait_until(lambda: seen.metrics().sum("stream_scrub_partitions_waiting") == 2)
        wait_until(lambda: [cause["cause"] for cause in seen.degraded()] == ["partitions"])

        publish(stage, [0, 1, 2, 3], 2)
        wait_until(lambda: partitions_out(stage) == [0, 0, 1, 1])
        assert worker.stop()[0] == 0
        worker.start()
        publish(stage, [0, 1, 2, 3], 3)
        wait_until(lambda: partitions_out(stage) == [0, 0, 0, 1, 1, 1])
        assert "no longer ours" not in worker.log_file.read_text()
        wait_until(lambda: sum(line.get("event") == waits for line in worker.lines()) == 2)

        widened(kafka.bootstrap, stage.outputs, 4)
        wait_until(lambda: partitions_out(stage) == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
        wait_until(lambda: worker.logged("all partitions read again"))
        assert worker.stop()[0] == 0
