"""A member of the workers' group whose client does not end when it is closed."""

import struct
import threading

from confluent_kafka import TopicPartition

from stream_scrub.kafka import bulk
from stream_scrub.kafka.client import producer_calls
from stream_scrub.kafka.resume import Resume
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses

MINE = TopicPartition("in", 0)
MEMBER = b"CGMDv2:" + struct.pack("=i", 1) + b"group\0member\0"


class Client:
    """A consumer that says what it had when `may_end` is set, and only then ends."""

    def __init__(self, _):
        self.may_end, self.ended = threading.Event(), threading.Event()

    def subscribe(self, _, *, on_assign, on_revoke, on_lost):
        self.on_assign, self.on_revoke = on_assign, on_revoke

    def consume(self, *_):
        return []

    def committed(self, places, timeout):  # as the client's
        return [TopicPartition(each.topic, each.partition, 5) for each in places]

    def resume(self, _):
        """As the client's."""

    seek = resume

    def consumer_group_metadata(self):
        return MEMBER

    def close(self):
        self.may_end.wait(60)
        self.on_revoke(self, [MINE])
        self.ended.set()


def test_a_member_that_ends_late_takes_nothing_from_its_successor(monkeypatch):
    """The worker would take its partition for another's and go on behind the prospects that it drops: they would be lost."""
    clients = []
    monkeypatch.setattr(bulk, "Consumer", lambda options: clients.append(Client(options)) or clients[-1])
    monkeypatch.setattr(producer_calls, "_LEAVE_S", 0.1)
    monkeypatch.setattr(producer_calls, "GRACE_S", 0.1)
    source = ProspectSource(
        {"bootstrap.servers": "127.0.0.1:1"}, ["in"], Resume("log", Witnesses({}, has_ids=False), print, None)
    )
    source.subscribe()
    clients[0].on_assign(clients[0], [MINE])
    source.poll(1, 1, 0)
    source.rejoin()
    source.poll(1, 1, 0)
    clients[1].on_assign(clients[1], [MINE])
    source.poll(1, 1, 0)

    clients[0].may_end.set()
    assert clients[0].ended.wait(60)
    source.poll(1, 1, 0)

    assert source.partitions == {("in", 0)}
    assert source.is_settled
    clients[1].may_end.set()
    source.close()
