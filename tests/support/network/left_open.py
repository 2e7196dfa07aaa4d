"""Transactions that Kafka itself left open, asked by its own protocol: the client has no call for them.

After a crash a broker may write no marker to a partition that has no leader yet (KAFKA-20734). The partition then has an
open transaction for ever, while the transaction's coordinator knows of none: no client can do that, or end it.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator

from confluent_kafka.admin import AdminClient

_DESCRIBE_PRODUCERS, _LIST_TRANSACTIONS = 61, 66
_OVER = {"Empty", "CompleteCommit", "CompleteAbort", "Dead"}


def unless_left_open(bootstrap: str, test: Callable[[], None]) -> None:
    """Run a test of crashes; once more if it failed and Kafka has left a transaction open. This is rare: a second time it
    counts as a failure. What a client leaves open ends by its timeout, and its coordinator knows of it until then."""
    try:
        test()
    except AssertionError:
        found = left_open(bootstrap)
        if not found:
            raise
        print(f"\nonce more, since Kafka has left these open: {found}")
        test()


def left_open(bootstrap: str) -> list[str]:
    """The partitions with an open transaction of which no coordinator knows."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return _left_open(bootstrap)
        except _NotNow:  # a leader or a coordinator moves
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _left_open(bootstrap: str) -> list[str]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    described = admin.list_topics(timeout=60)
    brokers = [(each.host, each.port) for each in described.brokers.values()]
    states = {producer: state for broker in brokers for producer, state in _transactions(broker)}
    return [
        f"{topic.topic}-{partition.id}"
        for topic in described.topics.values()
        for partition in topic.partitions.values()
        if partition.leader in described.brokers
        for producer in _open(
            (described.brokers[partition.leader].host, described.brokers[partition.leader].port),
            topic.topic,
            partition.id,
        )
        if states.get(producer, "Dead") in _OVER
    ]


class _NotNow(AssertionError):
    pass


def _no_error(answer: "_Answer", what: str) -> None:
    if code := answer.number(">h"):
        raise _NotNow(f"{what}: error {code}")


def _transactions(broker: tuple[str, int]) -> Iterator[tuple[int, str]]:
    """The id of each producer that this broker coordinates, and the state of its transaction (ListTransactions v0)."""
    answer = _Answer(_asked(broker, _LIST_TRANSACTIONS, b"\1\1\0"))
    answer.skip(4)
    _no_error(answer, "ListTransactions")
    for _ in range(answer.length()):
        answer.text()
    for _ in range(answer.length()):
        answer.text()
        yield answer.number(">q"), answer.text()
        answer.skip(1)


def _open(broker: tuple[str, int], topic: str, partition: int) -> Iterator[int]:
    """The ids of the producers that have a transaction open in a partition (DescribeProducers v0)."""
    name = topic.encode()
    asked = b"\2" + _varint(len(name) + 1) + name + b"\2" + struct.pack(">i", partition) + b"\0\0"
    answer = _Answer(_asked(broker, _DESCRIBE_PRODUCERS, asked))
    answer.skip(4)
    assert answer.length() == 1
    answer.text()
    assert answer.length() == 1
    answer.skip(4)
    _no_error(answer, f"DescribeProducers of {topic}")
    answer.text()
    for _ in range(answer.length()):
        producer = answer.number(">q")
        answer.skip(4 + 4 + 8 + 4)
        if answer.number(">q") >= 0:
            yield producer
        answer.skip(1)


def _asked(broker: tuple[str, int], api: int, body: bytes) -> bytes:
    """The body of the answer. All versions here are 0, with compact fields and tags (KIP-482)."""
    request = struct.pack(">hhih", api, 0, 1, 5) + b"tests" + b"\0" + body
    with socket.create_connection(broker, 20) as link, link.makefile("rb") as answer:
        link.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", answer.read(4))
        return answer.read(size)[5:]  # behind the correlation and the tags


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


class _Answer:
    """Reads an answer from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def skip(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, format_: str) -> int:
        (value,) = struct.unpack(format_, self.skip(struct.calcsize(format_)))
        return int(value)

    def length(self) -> int:
        """Of an array or a text; none counts as empty."""
        value = shift = 0
        while True:
            (byte,) = self.skip(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return max(0, value - 1)

    def text(self) -> str:
        return self.skip(self.length()).decode()
