"""Whether an accepted request waits for the publisher, on a real Kafka."""

import json
from contextlib import closing, suppress

import pytest
import structlog
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from stream_scrub.config import load
from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.kafka.clients import Brokers
from stream_scrub.model import Deadline
from tests.support.running.publisher import PublisherProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos
LOG = structlog.get_logger()


@pytest.fixture
def stage(kafka, stages):
    return stages(kafka.bootstrap, partitions=2)


def ask(stage, number, **properties):
    """Send an opt-out; the producer."""
    producer = Producer({"bootstrap.servers": stage.bootstrap, **properties})
    if properties:
        producer.init_transactions(60)
        producer.begin_transaction()
    said = {"id": f"r{number}", "request": "opt-out", "number": f"+{number}"}
    producer.produce(stage.topics["requests"], json.dumps(said).encode())
    assert producer.flush(30) == 0
    return producer


def has_looked(waiting):
    """Whether a look succeeds. The leader of a new topic may not know yet that it leads: then a process looks again."""
    with suppress(Unavailable):
        waiting.look(Deadline.after(120))
        return True
    return False


def waits(stage):
    """Whether a request waits, by a look of a process that has just started."""
    with closing(Brokers(load(environ=stage.env), LOG)) as brokers:
        waiting = brokers.waiting_requests()
        wait_until(lambda: has_looked(waiting))
        try:
            waiting.need_none()
        except StaleIndex as stale:
            return stage.topics["requests"] in str(stale)
        return False


def test_a_request_waits_until_the_publisher_has_taken_it(stage):
    """A number whose opt-out was accepted would be called for as long as no publisher runs."""
    assert not waits(stage), "no request was ever made, and no publisher ever ran"
    ask(stage, 33612345678)
    assert waits(stage)
    with PublisherProcess(stage, None) as publisher:
        wait_until(lambda: not waits(stage))
        publisher.kill()
        ask(stage, 33612345679)
        assert waits(stage)


def test_a_request_behind_an_open_transaction_waits(stage):
    """The publisher cannot read an accepted opt-out behind it, and has taken all that it can read."""
    with PublisherProcess(stage, None) as publisher:
        wait_until(publisher.ready)
        sender = ask(stage, 33612345678, **{"transactional.id": stage.topics["requests"]})
        assert waits(stage)
        sender.abort_transaction(60)
        wait_until(lambda: not waits(stage))


def test_a_topic_that_vanishes_is_no_end_of_waiting(stage, kafka):
    """Verdicts would be given again because the opt-outs that nobody had applied are gone."""
    admin, topic = AdminClient({"bootstrap.servers": kafka.bootstrap}), stage.topics["requests"]
    ask(stage, 33612345678)
    with closing(Brokers(load(environ=stage.env), LOG)) as brokers:
        waiting = brokers.waiting_requests()
        wait_until(lambda: has_looked(waiting))
        admin.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in admin.list_topics(timeout=30).topics)
        with pytest.raises(Unavailable, match=f"{topic} was deleted"):
            waiting.look(Deadline.after(120))
        with pytest.raises(StaleIndex):
            waiting.need_none()
