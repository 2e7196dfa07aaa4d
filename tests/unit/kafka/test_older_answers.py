"""A member of the workers' group whose coordinator, or whose client, answers late or by what is over."""

import struct
import threading

import pytest
from confluent_kafka import TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import bulk
from stream_scrub.kafka.client import producer_calls
from stream_scrub.kafka.offsets import CommitNote
from stream_scrub.kafka.resume import Resume
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses

KEY = ("in", 0)
MEMBER = b"CGMDv2:" + struct.pack("=i", 1) + b"group\0member\0"


class Client:
    """A consumer of one partition, whose coordinator answers `place`. It ends once it may, and then says what it had."""

    def __init__(self, _):
        self.place = TopicPartition(*KEY, -1001)
        self.may_end, self.ended = threading.Event(), threading.Event()
        self.may_end.set()

    def subscribe(self, _, *, on_assign, on_revoke, on_lost):
        self.on_revoke = on_revoke
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
        self.may_end.wait(60)
        self.on_revoke(self, [TopicPartition(*KEY)])
        self.ended.set()


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


def test_a_member_that_ends_late_takes_nothing_from_its_successor(member, monkeypatch):
    """The worker would take its partition for another's and go on behind the prospects that it drops: they would be lost."""
    source, first, _ = member
    monkeypatch.setattr(producer_calls, "_LEAVE_S", 0.1)
    monkeypatch.setattr(producer_calls, "GRACE_S", 0.1)
    first.may_end.clear()
    source.rejoin()
    source.poll(1, 1, 0)
    source.poll(1, 1, 0)

    first.may_end.set()
    assert first.ended.wait(60)
    source.poll(1, 1, 0)

    assert source.partitions == {KEY}
    assert source.is_settled


@pytest.mark.parametrize("position", ["9" * 5000, "-1", "x"])
def test_a_note_of_another_program_is_none(position):
    """Whoever may commit offsets of the group could end every worker and server, for ever."""
    assert CommitNote.read(f"index={position} log=l/i topic=t") is None
