"""What a real Kafka tells of its time, and that a worker whose machine's clock is wrong holds."""

import time
import uuid

import pytest
from confluent_kafka import Producer

from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.log.wire import seal_headers
from stream_scrub.model import Deadline
from tests.support.fakes.properties import properties_of, publisher_of
from tests.support.running.outcome import read_all


@pytest.fixture
def producer(kafka):
    made = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"t-{uuid.uuid4()}", "log_level": 0}
    )
    made.init_transactions(30)
    return made


def transact(producer, topic, stamped_s, *, commit=True):
    producer.begin_transaction()
    producer.produce(topic, b"v", partition=0, timestamp=int(stamped_s * 1000))
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)


def settled(times, place, wanted):
    """The answer when the marker is written, which the commit does not wait for."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = times.now([place])
        if found and wanted(found[0]):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(found)


def test_the_marker_tells_the_brokers_time_and_no_record_passes_for_it(kafka, topic, producer):
    """A producer could set the time that workers go by, or they would know none."""
    name, times = topic("out", partitions=1), Witnesses({"bootstrap.servers": kafka.bootstrap})
    place = (name, 0)
    assert times.now([place]) == [], "nothing was written yet"
    assert times.now([(name, 7), ("no-such-topic-anywhere", 0)]) == []

    transact(producer, name, time.time() - 86_400)
    seen = settled(times, place, lambda seen: seen.is_brokers)
    assert abs(seen.at - time.time()) < 60

    transact(producer, name, time.time() + 1800)
    seen = settled(times, place, lambda seen: not seen.is_brokers)
    assert seen.at > time.time() + 1000, "what the producer said, and it is not taken for a broker's"

    transact(producer, name, time.time(), commit=False)
    assert not times.now([place])[0].is_brokers
    producer.abort_transaction(30)


def test_a_register_s_writer_gets_the_brokers_time_and_no_reader_sees_how(kafka, topic):
    """Oppositions would end by one machine's clock, or each one that ends put a record on the log that followers refuse."""
    name, times = (
        topic("log", config={"retention.ms": "-1"}),
        Witnesses({"bootstrap.servers": kafka.bootstrap}),
    )
    reading = properties_of(Role.LOG_READER, kafka.bootstrap)
    writer = KafkaLogWriter(publisher_of(kafka.bootstrap, name, "list"), reading, name, Deadline.after(60))
    first = writer.publish([(b"list", b"x", seal_headers("list", 1))], after=-1)
    settled(times, (name, 0), lambda seen: seen.is_brokers)
    before = time.time()
    writer.leave_marker()
    seen = settled(times, (name, 0), lambda seen: seen.is_brokers and seen.at >= before - 0.1)
    assert abs(seen.at - time.time()) < 60
    assert writer.publish([(b"list", b"y", seal_headers("list", 2))], after=first) > first
    writer.close()
    assert [message.value() for message in read_all(kafka.bootstrap, name)] == [b"x", b"y"]
