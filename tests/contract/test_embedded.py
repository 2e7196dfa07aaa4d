"""The embedded broker: that real clients run on it, and exactly what it cannot show. A limit that is gone after an
update of the client fails here, and then the text of `embedded` is wrong."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scrub.errors import ScrubError
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_reader import KafkaLogReader
from tests.support.fakes.properties import properties_of
from tests.support.network.faulty_kafka import FaultyKafka


@pytest.fixture(scope="module")
def broker():
    with FaultyKafka() as embedded:
        yield embedded


def producer(broker, **more) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0} | more)


def consumer(broker, **more) -> Consumer:
    options = {"bootstrap.servers": broker.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"}
    options |= {"group.protocol": "consumer", "enable.auto.commit": False, "log_level": 0}
    return Consumer(options | more)


def written(broker, topic: str, count: int, size: int = 10) -> None:
    made = producer(broker)
    for number in range(count):
        made.produce(topic, b"x" * size, key=str(number).encode(), headers=[("h", b"1"), ("none", None)])
    assert made.flush(60) == 0


def test_evicted_records_are_told(broker):
    """The demo would count prospects as lost that its own broker had thrown away."""
    broker.create_topic("full", 1)
    written(broker, "full", 1)
    assert broker.dropped("full") == 0

    written(broker, "full", 8_000, size=1_000)

    assert broker.dropped("full") > 0
    broker.create_topic("deleted", 1)
    written(broker, "deleted", 10)
    broker.delete_records("deleted", 0, 4)
    assert broker.dropped("deleted") == 4


def test_its_limits_are_those_that_its_text_tells(broker):
    """Somebody would take a passing test on the embedded broker for a proof of exactly-once."""
    broker.create_topic("limits", 1)
    reader = consumer(broker, **{"group.id": "limits", "isolation.level": "read_committed"})
    old, new = (producer(broker, **{"transactional.id": "same"}) for _ in range(2))
    old.init_transactions(60)
    old.begin_transaction()
    old.produce("limits", b"aborted")
    old.flush(60)
    old.abort_transaction(60)
    new.init_transactions(60)

    old.begin_transaction()
    old.produce("limits", b"of a zombie")
    offsets = [TopicPartition("limits", 0, 1)]
    old.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 60)
    old.commit_transaction(60)  # a real broker has fenced it

    reader.assign([TopicPartition("limits", 0, 0)])
    values = []
    until = time.monotonic() + 60
    while len(values) < 2 and time.monotonic() < until:
        values += [m.value() for m in reader.consume(10, 0.2)]
    committed = reader.committed([TopicPartition("limits", 0)], timeout=60)[0].offset
    reader.close()
    assert values == [b"aborted", b"of a zombie"]
    assert committed < 0


def test_the_end_of_a_log_that_nobody_led_for_a_moment_is_known_again_at_once():
    """After an outage workers would hold for a quarter of an hour: for so long a client that is assigned nothing believes
    what it was told of leaders when it asked in the middle of it.
    """
    with FaultyKafka() as broker:
        broker.create_topic("log")
        written(broker, "log", 3)
        broker.set_leader("log", 0, None)
        reader = KafkaLogReader(properties_of(Role.LOG_READER, broker.bootstrap), "log")
        assert not told(reader)
        broker.set_leader("log", 0, 1)

        until = time.monotonic() + 60
        while not told(reader):
            assert time.monotonic() < until, "nobody asks for the leader again"
            time.sleep(0.2)
        reader.close()


def told(reader: KafkaLogReader) -> bool:
    """Whether it could ask how far the log is written. It was given nothing to read, so it is not there yet."""
    try:
        return reader.complete_at() is None
    except ScrubError:
        return False
