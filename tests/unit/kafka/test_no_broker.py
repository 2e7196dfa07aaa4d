"""What a user reads while no broker answers."""

import threading
import time
from contextlib import suppress

import pytest
import structlog
from confluent_kafka import KafkaError, TopicPartition

from stream_scrub.config import load
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.client import producer_calls
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.dialler import allowed_reader
from stream_scrub.ops.logs import configure
from tests.support.fakes.properties import properties_of
from tests.support.waiting import wait_until


def silent(*_):
    raise Unavailable("asking: no broker answers now")
    yield


@pytest.mark.parametrize(("flags", "told"), [({}, True), ({"kafka.bootstrap_servers": "kafka:9092"}, False)])
def test_who_has_named_no_broker_is_told_how(monkeypatch, flags, told):
    """A first command fails on a machine without Kafka, and nothing says how to name the brokers."""
    monkeypatch.setattr(clients, "last_records", silent)
    settings = load(flags=flags, environ={})
    with pytest.raises(Unavailable, match=f"tried {settings.kafka.bootstrap_servers}") as found:
        next(clients.Brokers(settings, configure("info", "json")).last_refused(1))
    assert ("set STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS" in str(found.value)) == told


def test_a_dialler_that_ends_during_an_outage_ends_in_time(monkeypatch):
    """A dialler would hang for the session's time when it is stopped, and be killed before it has put its own things away."""
    monkeypatch.setattr(producer_calls, "_LEAVE_S", 0.5)
    monkeypatch.setattr(producer_calls, "GRACE_S", 0.5)
    reader = allowed_reader.AllowedReader(
        properties_of(Role.MEMBER, "127.0.0.1:1", {"group.id": "g"}), ["t"], None, structlog.get_logger()
    )
    reader._progress["t", 0] = allowed_reader._PartitionProgress.from_offset(5, 5)
    reader._progress["t", 0].begin(5, 1, 0)
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 30


class FailedConsumer:
    """Hangs as librdkafka 2.16.1 may when it is closed, until `ends`, and calls back then."""

    def __init__(self, _):
        self.ends = threading.Event()
        self.has_called_back = threading.Event()

    def subscribe(self, _, *, on_revoke, **__):
        self.on_revoke = on_revoke

    def consume(self, *_):
        return [self]

    def error(self):
        return KafkaError(KafkaError.UNKNOWN_MEMBER_ID, fatal=True)

    def topic(self):
        return "t"

    def partition(self):
        return 0

    offset = partition

    def pause(self, _):
        pass

    resume = pause

    def assignment(self):
        return []

    def commit(self, *, offsets, asynchronous=True):
        assert offsets

    def close(self):
        if self.ends.wait(30):
            self.on_revoke(self, [TopicPartition("t", 0)])
            self.has_called_back.set()


def test_a_failed_member_is_replaced_while_it_hangs_and_takes_nothing_from_its_successor(monkeypatch):
    """Nobody could be dialled, or acknowledge a call, until the process is killed; or leads would be lost."""
    monkeypatch.setattr(producer_calls, "_LEAVE_S", 0.1)
    monkeypatch.setattr(producer_calls, "GRACE_S", 2.0)
    monkeypatch.setattr(allowed_reader, "Consumer", FailedConsumer)
    reader = allowed_reader.AllowedReader({}, ["t"], None, structlog.get_logger())
    failed = reader._consumer
    reader._progress["t", 0] = allowed_reader._PartitionProgress.from_offset(5, 5)

    def poll():
        with suppress(ScrubError):
            reader.poll(1, 0.0)

    polling = threading.Thread(target=poll)
    polling.start()
    wait_until(lambda: reader._consumer is not failed, every=0.001)

    reader.done(("t", 0), 5)
    assert polling.is_alive(), "an acknowledgement waited for the failed consumer"
    polling.join()
    assert reader.gone() == {("t", 0)}

    reader._progress["t", 0] = allowed_reader._PartitionProgress.from_offset(5, 5)
    reader._progress["t", 0].begin(5, 1, 0)
    failed.ends.set()
    assert failed.has_called_back.wait(60)
    assert not reader.gone()
    assert not reader.is_done(("t", 0), 5)
