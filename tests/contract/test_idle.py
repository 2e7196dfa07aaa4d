"""Clients that have nothing to do for days: what the client library has to tell must not pile up in them."""

import time

import pytest
import structlog

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import witnesses
from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.options import Role, asking_options
from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.session import Session
from stream_scrub.model import Deadline
from tests.support.fakes.properties import properties_of, publisher_of
from tests.support.network.faulty_kafka import FaultyKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LOGS = ClientLog(structlog.get_logger(), "idle")


@pytest.fixture(scope="module")
def broker():
    with EmbeddedKafka() as embedded:
        for topic in ("allowed", "blocked", "log"):
            embedded.create_topic(topic, 1)
        yield embedded


def test_a_worker_without_prospects_does_not_grow(broker):
    """A worker of a quiet week-end would take hundreds of megabytes, and be killed for it."""
    made = properties_of(Role.WORKER, broker.bootstrap, logs=LOGS)
    session = Session({**made, "statistics.interval.ms": 10}, ["allowed", "blocked"])
    session.open(Deadline.after(60))
    wait_until(lambda: len(session._producer) > 50, every=0.01)  # statistics wait for a poll
    session.idle()
    assert len(session._producer) < 50, "they are taken; more may come between the poll and the look"
    session.close(Deadline.after(60))
    session.idle()


def test_a_publisher_without_deltas_does_not_grow(broker):
    """The daemon would take 100 MB more a day for each register that nobody changes."""
    made = publisher_of(broker.bootstrap, "log", "r", logs=LOGS)
    writer = KafkaLogWriter(made, {}, "log", Deadline.after(60))
    time.sleep(0.2)
    assert made["statistics.interval.ms"] == 0 and len(writer._producer) < 5
    writer.close()


def test_a_follower_that_only_asks_does_not_grow(broker, monkeypatch):
    """Every worker would take 100 MB more a day."""
    asked = []
    made = properties_of(Role.LOG_READER, broker.bootstrap, logs=LOGS)
    admin = witnesses.AdminClient
    monkeypatch.setattr(witnesses, "AdminClient", lambda said: asked.append(said) or admin(said))
    reader = KafkaLogReader(made, "log")
    deadline = Deadline.after(60)
    while not reader.read(0.1)[1]:
        assert not deadline.passed
    assert reader.complete_at() is not None
    assert asked
    for said in asked:
        assert not said.keys() & {"logger", "error_cb", "stats_cb", "statistics.interval.ms"}
    reader.close()


def test_clients_that_only_ask_do_not_grow_while_the_brokers_are_away():
    """Every process would take megabytes more each minute, and a long outage would end with all of them killed."""
    with FaultyKafka() as broker:
        broker.create_topic("log", 1)
        options = properties_of(Role.LOG_READER, broker.bootstrap, logs=LOGS)
        reader, idle = KafkaLogReader(options, "log"), AdminClient(asking_options(options))
        idle.list_topics(timeout=60)
        broker.set_down()
        deadline = Deadline.after(120)
        while len(idle) < 3:
            assert not deadline.passed
            time.sleep(0.05)
        while len(idle) >= 3:  # more may come between the poll and the look
            assert not deadline.passed
            with pytest.raises(Unavailable):
                reader.bounds()
        reader.close()
