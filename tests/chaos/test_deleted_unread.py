"""Prospects that are deleted before anybody reads them, on a real Kafka: they are told, with partition and offsets."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.running.outcome import count
from tests.support.running.prospects import french_mobiles, ordinary_producer, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

(NUMBER,) = french_mobiles(1, seed=91)
DELETED = "prospects were deleted before they were read"


def publish(stage, ids):
    producer = ordinary_producer(stage.bootstrap)
    for at in ids:
        producer.produce(stage.topics["prospects"], prospect(at, spell(NUMBER, 0)), b"k", 1)
    assert producer.flush(20) == 0


@pytest.mark.slow
def test_what_retention_deletes_unread_is_told(kafka, stages):
    """After a long outage leads would be gone, and nobody know which."""
    stage = stages(kafka.bootstrap, partitions=2, http__listen=LISTEN)
    stage.load("consent", [NUMBER], "--kind", "allow")
    with stage.worker("w1") as worker:
        publish(stage, range(10))
        wait_until(lambda: count(stage.bootstrap, stage.outputs) == 10)
        assert worker.stop()[0] == 0
    publish(stage, range(10, 40))
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})  # as retention does, without the wait
    for future in admin.delete_records([TopicPartition(stage.topics["prospects"], 1, 35)]).values():
        future.result()
    with stage.worker("w2") as worker:
        seen = Watched(worker)
        wait_until(lambda: worker.logged(DELETED, partition=1, offsets=[10, 34], at_most=25))
        wait_until(lambda: count(stage.bootstrap, stage.outputs) == 15)
        found = seen.metrics()
        assert found.sum("stream_scrub_prospects_deleted_unread_total", partition="1") == 25
        assert found.sum("stream_scrub_prospects_deleted_unread_total", partition="0") == 0
        assert worker.stop()[0] == 0
    assert sum(line.get("event") == DELETED for line in worker.lines()) == 1
