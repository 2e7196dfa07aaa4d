"""The tests' own Kafka: what the other tests rest on."""

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.kafka.broker import Kafka

pytestmark = pytest.mark.slow


def test_topics_are_made_with_the_partitions_asked_for(kafka: Kafka, topic):
    """A user's claim that was tested on one partition would say nothing about many."""
    name = topic("in", partitions=3)

    found = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(name, timeout=60).topics[name]

    assert len(found.partitions) == 3


def test_a_killed_broker_comes_back_with_what_it_held(own_kafka: Kafka):
    """The chaos tests would prove nothing to a user if the broker forgot its records when it is killed."""
    producer = Producer({"bootstrap.servers": own_kafka.bootstrap, "transactional.id": "before"})
    producer.init_transactions(20)
    before, log = own_kafka.bootstrap, own_kafka.log_file

    own_kafka.kill()
    assert own_kafka.pid is None
    own_kafka.start()

    names = AdminClient({"bootstrap.servers": own_kafka.bootstrap}).list_topics(timeout=60).topics
    assert (own_kafka.bootstrap, own_kafka.log_file) == (before, log)
    assert "__transaction_state" in names


def test_a_clean_stop_ends_the_process(own_kafka: Kafka):
    """A broker left behind after the tests would take a developer's memory until the machine restarts."""
    own_kafka.stop()

    assert own_kafka.pid is None
