"""What a coordinator answers is held against what this worker itself has committed."""

import struct

import pytest
from confluent_kafka import TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import bulk
from stream_scrub.kafka.offsets import CommitNote
from stream_scrub.kafka.resume import Resume
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses

KEY = ("in", 0)
MEMBER = b"CGMDv2:" + struct.pack("=i", 1) + b"group\0member\0"


class Client:
    """A consumer of one partition, whose coordinator answers `place`."""

    def __init__(self, _):
        self.place = TopicPartition(*KEY, -1001)

    def subscribe(self, _, *, on_assign, on_revoke, on_lost):
        on_assign(self, [TopicPartition(*KEY)])

    def consume(self, *_):
        return []

    def committed(self, _, timeout):
        return [self.place]

    def seek(self, place):
        self.reads_from = place.offset

    def resume(self, _):
        """As the client's."""

    def consumer_group_metadata(self):
        return MEMBER

    def close(self):
        """As the client's."""


class Brokers(Witnesses):
    """Know one topic, whose first offset is 0."""

    topic_id = "first"

    def ids(self, topics, deadline):
        return dict.fromkeys(topics, self.topic_id)

    def bounds(self, key, deadline):
        return 0, 100


def committed(offset, topic_id):
    return TopicPartition(*KEY, offset, str(CommitNote(1, "log", "", topic_id)))


@pytest.fixture
def member(monkeypatch):
    """A source that has its partition, its client and its brokers."""
    clients = []
    monkeypatch.setattr(bulk, "Consumer", lambda options: clients.append(Client(options)) or clients[-1])
    brokers = Brokers({})
    source = ProspectSource({}, ["in"], Resume("log", brokers, print, None))
    source.subscribe()
    source.poll(1, 1, 0)
    source.poll(1, 1, 0)
    yield source, clients[0], brokers
    source.close()


@pytest.mark.parametrize(
    "answer",
    [committed(2, "first"), committed(9, "earlier"), TopicPartition(*KEY, 2)],
    ids=["same topic", "earlier topic", "no note"],
)
def test_an_answer_older_than_the_own_commit_is_not_followed(member, answer):
    """A coordinator that was deposed would have every prospect since emitted a second time."""
    source, client, _ = member
    source.has_committed([committed(7, "first")])
    client.place = answer
    source.drop()
    with pytest.raises(Unavailable, match="no longer coordinates"):
        source.poll(1, 1, 0)


def test_a_commit_for_a_topic_that_is_gone_says_nothing_of_its_successor(member):
    """The worker would ask again until it is restarted, and emit nothing."""
    source, client, brokers = member
    source.has_committed([committed(7, "first")])
    brokers.topic_id = "second"
    client.place = committed(2, "first")
    source.drop()
    source.poll(1, 1, 0)
    assert source.is_settled
    assert client.reads_from == 0
