"""Clients that have nothing to do for days: what the client library has to tell must not pile up in them."""

import time

import pytest
import structlog

from stream_scrub.kafka import partition_ends as ends_module
from stream_scrub.kafka.client import options
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.embedded.broker import EmbeddedKafka
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.session import Session
from stream_scrub.model import Deadline

LOGS = ClientLog(structlog.get_logger(), "idle")


@pytest.fixture(scope="module")
def broker():
    with EmbeddedKafka() as embedded:
        for topic in ("allowed", "blocked", "log"):
            embedded.create_topic(topic, 1)
        yield embedded


def test_a_worker_without_prospects_does_not_grow(broker):
    """A worker of a quiet week-end would take hundreds of megabytes, and be killed for it."""
    made = options.producer_options(broker.bootstrap, {}, {}, transactional_id="t", max_bytes=None, logs=LOGS)
    session = Session({**made, "statistics.interval.ms": 10}, ["allowed", "blocked"])
    session.open(Deadline.after(10))
    time.sleep(0.3)
    assert len(session._producer) > 5, "statistics wait for a poll"
    session.idle()
    assert len(session._producer) < 5
    session.close(Deadline.after(5))
    session.idle()


def test_a_publisher_without_deltas_does_not_grow(broker):
    """The daemon would take 100 MB more a day for each register that nobody changes."""
    made = options.publisher_options(broker.bootstrap, {}, {}, log_topic="log", register="r", logs=LOGS)
    writer = KafkaLogWriter(made, "log", Deadline.after(10))
    time.sleep(0.2)
    assert made["statistics.interval.ms"] == 0 and len(writer._producer) < 5
    writer.close()


def test_a_follower_that_only_asks_does_not_grow(broker, monkeypatch):
    """Every worker would take 100 MB more a day."""
    asked = []
    made = options.log_reader_options(broker.bootstrap, {}, {}, group_id="g", logs=LOGS)
    reader = KafkaLogReader(made, "log")
    consumer = ends_module.Consumer
    monkeypatch.setattr(ends_module, "Consumer", lambda said: asked.append(said) or consumer(said))
    deadline = Deadline.after(10)
    while not reader.read(0.1)[1]:
        assert not deadline.passed
    assert reader.complete_at() is not None
    assert "read_uncommitted" in {said["isolation.level"] for said in asked}
    for said in asked:
        assert not said.keys() & {"logger", "error_cb", "stats_cb", "statistics.interval.ms"}
    reader.close()
