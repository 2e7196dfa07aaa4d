"""The session on the embedded broker: what a producer's death may not do to the worker."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from stream_scrub.kafka.session import Session
from stream_scrub.model import Deadline
from tests.support.network.faulty_kafka import Api, FaultyKafka


@pytest.fixture
def dead() -> Iterator[Session]:
    """A session whose producer has failed for good, which nobody has noticed yet."""
    with FaultyKafka() as broker:
        for topic in ("allowed", "blocked"):
            broker.create_topic(topic, 1)
        options = {"bootstrap.servers": broker.bootstrap, "transactional.id": "t", "log_level": 0}
        session = Session(options, ["allowed", "blocked"])
        session.open(Deadline.after(60))
        producer = session._ready()
        producer.begin_transaction()
        broker.push_errors(Api.ADD_PARTITIONS_TO_TXN, [KafkaError.INVALID_PRODUCER_EPOCH])
        producer.produce("allowed", b"a prospect", partition=0)
        time.sleep(1.5)  # it has failed, and nobody has asked
        yield session
        session.close(Deadline.after(60))


def test_a_producer_that_died_unnoticed_is_replaced(dead):
    """The client raises a fatal error once more from whatever is called next: the worker would end with a traceback in
    the middle of a cluster's recovery, as one did when a broker was killed under it."""
    producer = dead._ready()

    dead.recover(reopen=True, deadline=Deadline.after(60))

    assert dead._ready() is not producer and dead.reopened == 1


def test_a_producer_that_died_is_no_end_of_an_idle_worker(dead):
    """A worker without prospects, or one that holds, would end with a traceback."""
    dead.idle()

    dead.recover(reopen=True, deadline=Deadline.after(60))
    assert dead.reopened == 1
