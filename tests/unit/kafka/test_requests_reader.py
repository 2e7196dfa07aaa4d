"""What the client gives of a topic of requests, and what is made of it when that cannot be right."""

from types import SimpleNamespace

import pytest
from confluent_kafka import Message, TopicPartition

from stream_scrub.errors import Migrated
from stream_scrub.kafka import requests_reader as module
from stream_scrub.model import Deadline


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


class Client:
    """A client that gives what it is told to, at committed offset 5 of 100."""

    given: tuple[int, ...] = ()

    def __init__(self, _options):
        self._left = [message(offset) for offset in self.given]

    def list_topics(self, name, timeout):
        return SimpleNamespace(topics={name: SimpleNamespace(error=None, partitions={0: None})})

    def committed(self, partitions, timeout):
        return [TopicPartition(each.topic, each.partition, 5, "", 4) for each in partitions]

    def get_watermark_offsets(self, _partition, timeout):
        return 0, 100

    def assign(self, _partitions):
        """Nothing to do."""

    def seek(self, _partition):
        """Nothing to do."""

    def consumer_group_metadata(self):
        return b""

    def poll(self, _wait_s):
        return self._left.pop(0) if self._left else None

    def consume(self, count, _wait_s):
        given, self._left = self._left[:count], self._left[count:]
        return given


@pytest.mark.parametrize("given", [(5, 6, 6, 7), (5, 6, 5, 6), (5, 5)])
def test_a_request_that_the_client_gives_twice_is_taken_once(monkeypatch, given):
    """It would be on the log twice, and one request show as two."""
    monkeypatch.setattr(Client, "given", given)
    monkeypatch.setattr(module, "Consumer", Client)
    monkeypatch.setattr(
        module, "TopicIdentity", lambda *_: SimpleNamespace(ask=lambda topics, _: dict.fromkeys(topics, "id"))
    )
    requests = module.RequestsReader({"group.id": "g"}, {}, "opposition.requests")
    requests.begin(Deadline.after(5))
    with pytest.raises(Migrated, match="went back"):
        requests.poll(0.1, 0.1, 100)
