"""What the client gives of a topic of requests, and what is made of it when that cannot be right."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from stream_scrub.errors import Migrated
from stream_scrub.kafka import requests_reader as module
from stream_scrub.model import Deadline

WITNESSES = SimpleNamespace(id_of=lambda _topic, _deadline: "id")


def message(offset):
    """A request at an offset of partition 0."""
    return Message(
        topic="opposition.requests",
        partition=0,
        offset=offset,
        key=b"k",
        value=b"{}",
        timestamp=(1, 1_790_000_000_000),
        leader_epoch=4,
    )


def end(offset):
    """What the client gives where the partition has no more to read."""
    return Message(
        topic="opposition.requests",
        partition=0,
        offset=offset,
        error=KafkaError(KafkaError._PARTITION_EOF),
    )


class Client:
    """A client that gives what it is told to, at committed offset 5 of 100."""

    given: tuple[int, ...] = ()
    ends_at = None
    high = 100

    def __init__(self, _options):
        self._left = [message(offset) for offset in self.given]
        self._left += [] if self.ends_at is None else [end(self.ends_at)]

    def list_topics(self, name, timeout):
        return SimpleNamespace(topics={name: SimpleNamespace(error=None, partitions={0: None})})

    def committed(self, partitions, timeout):
        return [TopicPartition(each.topic, each.partition, 5, "", 4) for each in partitions]

    def get_watermark_offsets(self, _partition, timeout=0, cached=False):
        return 0, self.high

    def assign(self, _partitions):
        """Nothing to do."""

    def seek(self, _partition):
        """Nothing to do."""

    def close(self):
        """Nothing to do."""

    def consumer_group_metadata(self):
        return b""

    def poll(self, _wait_s):
        return self._left.pop(0) if self._left else None

    def consume(self, count, _wait_s):
        given, self._left = self._left[:count], self._left[count:]
        return given


@pytest.fixture
def requests(monkeypatch):
    """A reader whose topic holds requests at these offsets, in transactions that end with a marker each."""

    def made(*given, high):
        for name, value in {"given": given, "ends_at": high, "high": high}.items():
            monkeypatch.setattr(Client, name, value)
        monkeypatch.setattr(module, "Consumer", Client)
        return module.RequestsReader({"group.id": "g"}, WITNESSES, "opposition.requests")

    return made


def test_a_marker_of_a_transaction_is_no_request_that_waits(requests):
    """A program that writes requests in transactions would make it look as if one waited for ever, and the log could not
    be begun anew."""
    assert requests(high=6).lag() == 0, "what was committed is followed by a marker"
    assert requests(6, high=8).lag() > 0

    reading = requests(5, high=7)
    reading.begin(Deadline.after(60))
    assert reading.behind() == {0: 2}
    assert len(reading.poll(0.1, 0.1, 100)) == 1
    assert reading.behind() == {0: 2}, "it was given, and not yet published"
    reading.consumed({0: 6})
    assert reading.behind() == {0: 0}


def test_requests_are_taken_again_from_the_oldest_on(requests):
    """What the log has lost of them would stay lost, though they still lie on their topic."""
    reading = requests(5, high=7)
    reading.begin(Deadline.after(60), again=True)
    assert reading.behind() == {0: 7} and reading.skipped == {0: 0} and reading.missed == 0


@pytest.mark.parametrize("given", [(5, 6, 6, 7), (5, 6, 5, 6)])
def test_a_request_that_the_client_gives_twice_is_taken_once(requests, given):
    """It would be on the log twice, and one request show as two."""
    reading = requests(*given, high=100)
    reading.begin(Deadline.after(60))
    with pytest.raises(Migrated, match="went back"):
        reading.poll(0.1, 0.1, 100)
