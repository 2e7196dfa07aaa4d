"""The last records of a topic on a real Kafka, or all of them."""

from confluent_kafka import Producer

from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_reader import last_records
from stream_scrub.model import Deadline
from tests.support.fakes.properties import properties_of


def test_all_records_are_read_or_the_last_of_each_partition(kafka, topic):
    """A publisher would count the open requests among the last refused ones alone."""
    name = topic("refused", partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for at in range(6000):
        producer.produce(name, b"%d" % at, partition=at % 2)
    assert producer.flush(60) == 0
    options = properties_of(Role.LOG_READER, kafka.bootstrap)

    every = [int(each.value) for each in last_records(options, name, None, Deadline.after(120))]
    last = [int(each.value) for each in last_records(options, name, 100, Deadline.after(120))]

    assert sorted(every) == list(range(6000))
    assert sorted(last) == list(range(5900, 6000))
