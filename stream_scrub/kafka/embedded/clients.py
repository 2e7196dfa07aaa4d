"""Ordinary clients, as a lead producer and a dialler would have them: for the demo, which plays both.

No transactions, no group. Must never be on the way of a verdict: what the worker uses is `source` and `session`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.headers import read_headers
from stream_scrub.model import Header

_ASK_S = 10.0
_LINGER_MS = 25  # fewer, fuller batches: the embedded broker finds an offset by walking from batch to batch
FETCH_WAIT_MS = 20  # the embedded broker does not wake a waiting fetch, so the wait is the reader's latency
_BATCH_RECORDS = 10_000


class Received(NamedTuple):
    """One record as its reader sees it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    timestamp_ms: int


class EmbeddedProducer:
    """Produces to one topic, keyed, lz4. One thread."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.failed = 0
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.type": "lz4",
                "linger.ms": _LINGER_MS,
                "queue.buffering.max.messages": 200_000,
                "delivery.report.only.error": True,
                "on_delivery": self._report,
                "log_level": 0,
            }
        )

    def _report(self, error: KafkaError | None, _message: Message) -> None:
        self.failed += error is not None

    def produce(self, value: bytes | None, key: bytes | None, headers: Sequence[Header] | None) -> None:
        """Queue one record; blocks only while the client's queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=list(headers) if headers else None)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def serve(self) -> None:
        """Take delivery reports; to be called now and then. Does not block."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered, at most so long; returns how many records are still under way."""
        return self._producer.flush(timeout_s)


class EmbeddedReader:
    """Reads every partition of some topics from the beginning, committed records only. Assigned, not subscribed.

    Raises Unavailable when the topics cannot be asked for within ten seconds.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "plain-reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "fetch.queue.backoff.ms": 10,
                "log_level": 0,
            }
        )
        try:
            self._consumer.assign([found for topic in topics for found in self._partitions(topic)])
        except (KafkaException, Unavailable):
            self._consumer.close()
            raise

    def _partitions(self, topic: str) -> list[TopicPartition]:
        try:
            found = self._consumer.list_topics(topic, timeout=_ASK_S).topics[topic]
        except KafkaException as error:
            raise translate(error, f"asking for {topic}") from error
        if found.error is not None:
            raise translate(found.error, f"asking for {topic}")
        return [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found.partitions]

    def read(self, wait_s: float) -> list[Received]:
        """What has arrived within `wait_s`, in offset order within each partition.

        Raises what `translate` makes of a broker's error.
        """
        messages = self._consumer.consume(_BATCH_RECORDS, wait_s)
        headers = read_headers(messages).each
        return [_received(*each) for each in zip(messages, headers, strict=True)]

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()


def _received(message: Message, headers: Sequence[Header] | None) -> Received:
    if (error := message.error()) is not None:
        raise translate(error, "reading")
    return Received(
        message.topic(),  # type: ignore[arg-type]  # a consumed record has one
        message.partition(),  # type: ignore[arg-type]  # and this
        message.key(),
        message.value(),
        headers or (),
        message.timestamp()[1],
    )
