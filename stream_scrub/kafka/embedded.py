"""A Kafka in this process, for the demo and the tests: librdkafka's mock cluster, and ordinary clients of it, as a lead
producer and a dialler would have them. Never used for a verdict.

Real clients of any process connect to it over loopback; it lives in memory and dies with this process.

What it does not do, and so cannot prove (each tried on librdkafka 2.16.0):

* offsets sent with a transaction are acknowledged and thrown away: `committed()` stays empty;
* read_committed is not honoured: records of aborted and of open transactions are visible;
* a second producer of the same transactional id does not fence the first, no transaction ever times out,
  and the group's generation is not checked with the offsets;
* there is no admin API (topics are made by `create_topic`), no time index, no access control, no TLS;
* it has no size limit for a record, and keeps 5 MiB or 100 000 batches a partition: the oldest go silently.
  `dropped` says how many.

So it shows that the clients are used correctly; only a real Kafka shows that the promises hold. The interface is
librdkafka's experimental one, hence the narrow version range in pyproject.toml.
"""

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import closing
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_void_p
from typing import Any, NamedTuple, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
    cimpl,
)

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.offsets import partitions_of
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import Deadline, Header

_TOPIC_ALREADY_EXISTS, _PRODUCER = 36, 0  # librdkafka's codes
_Pointer = Any  # ctypes has no common base for the types of types
# Without its argument types ctypes passes a pointer as a 32-bit integer, and the call hangs or crashes.
_SIGNATURES: dict[str, tuple[_Pointer, tuple[_Pointer, ...]]] = {
    "rd_kafka_conf_new": (c_void_p, ()),
    "rd_kafka_conf_destroy": (None, (c_void_p,)),
    "rd_kafka_conf_set": (c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)),
    "rd_kafka_new": (c_void_p, (c_int, c_void_p, c_char_p, c_size_t)),
    "rd_kafka_destroy": (None, (c_void_p,)),
    "rd_kafka_err2str": (c_char_p, (c_int,)),
    "rd_kafka_mock_cluster_new": (c_void_p, (c_void_p, c_int)),
    "rd_kafka_mock_cluster_destroy": (None, (c_void_p,)),
    "rd_kafka_mock_cluster_bootstraps": (c_char_p, (c_void_p,)),
    "rd_kafka_mock_topic_create": (c_int, (c_void_p, c_char_p, c_int, c_int)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (c_void_p, c_int32)),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, (c_void_p, c_int)),
}


class Librdkafka:
    """librdkafka's C functions, of those that are declared: `lib.mock_topic_create(...)`. The binding is linked to
    librdkafka, so a look-up through it finds the library that the clients run on."""

    def __init__(self, signatures: Mapping[str, tuple[_Pointer, tuple[_Pointer, ...]]] = _SIGNATURES) -> None:
        loaded = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in signatures.items():
            function = getattr(loaded, name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name.removeprefix("rd_kafka_"), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not declared: ctypes would cut its pointers in half")


class EmbeddedKafka:
    """A mock cluster for the length of a `with`; clients connect to `bootstrap`. See the module for its limits.

    Rebalances take 0.2 s with `group.protocol=consumer` and about the session timeout with the classic protocol.
    """

    def __init__(self, *, brokers: int = 1) -> None:
        self.bootstrap = ""
        self._brokers = brokers
        self._lib = Librdkafka()
        self._client: int | None = None
        self._cluster: int | None = None

    def __enter__(self) -> Self:
        self._client = self._new_client()
        self._cluster = self._lib.mock_cluster_new(self._client, self._brokers)
        if not self._cluster:
            raise RuntimeError("librdkafka made no mock cluster")
        self.bootstrap = self._lib.mock_cluster_bootstraps(self._cluster).decode()
        self._lib.mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        # A rebalance of the new protocol takes about two of these.
        self._lib.mock_set_group_consumer_heartbeat_interval_ms(self._cluster, 200)
        return self

    def __exit__(self, *_: object) -> None:
        if self._cluster:
            self._lib.mock_cluster_destroy(self._cluster)
        if self._client:
            self._lib.destroy(self._client)
        self._cluster = self._client = None

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic; an existing one keeps its partitions and records."""
        code = self._lib.mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise RuntimeError(f"making topic {name}: {self._lib.err2str(code).decode()}")

    def dropped(self, topic: str) -> int:
        """How many offsets, of control records too, were evicted from this topic. May block for some seconds."""
        with closing(
            Consumer({"bootstrap.servers": self.bootstrap, "group.id": "embedded", "log_level": 0})
        ) as with_broker:
            marks = (
                with_broker.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0)
                for partition in partitions_of(with_broker, topic, Deadline.after(5.0))
            )
            return sum(low for low, _ in marks)

    def _new_client(self) -> int:
        """The client handle that owns the mock cluster. It never connects."""
        why = ctypes.create_string_buffer(512)
        settings = self._lib.conf_new()
        self._lib.conf_set(settings, b"log_level", b"0", why, len(why))
        client = self._lib.new(_PRODUCER, settings, why, len(why))  # owns `settings` from here on
        if not client:
            self._lib.conf_destroy(settings)
            raise RuntimeError(f"librdkafka made no client: {why.value.decode()}")
        return int(client)


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
    offset: int


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
        """Take delivery reports. Call it now and then; it does not block."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait for deliveries; returns how many records are still under way."""
        return self._producer.flush(timeout_s)


class EmbeddedReader:
    """Reads every partition of some topics from the beginning. Raises Unavailable if no broker answers."""

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
        until = Deadline.after(10.0)
        try:
            self.partitions = [
                (topic, partition)
                for topic in topics
                for partition in partitions_of(self._consumer, topic, until)
            ]
            self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self.partitions])
        except (KafkaException, Unavailable):
            self._consumer.close()
            raise

    def read(self, wait_s: float) -> list[Received]:
        """The records that arrive within `wait_s`, in offset order within each partition. Raises ScrubError."""
        batch = self.batch(wait_s)
        return [
            Received(topic, partition, m.key(), value, headers or (), m.timestamp()[1], m.offset() or 0)
            for m, topic, partition, value, headers in zip(
                *(batch.messages, batch.topics, batch.partitions, batch.values, batch.headers.each),
                strict=True,
            )
        ]

    def batch(self, wait_s: float) -> PolledBatch:
        """The same, as a batch. Raises ScrubError."""
        messages = self._consumer.consume(_BATCH_RECORDS, wait_s)
        for message in messages:
            if (error := message.error()) is not None:
                raise translate(error, "reading")
        return PolledBatch.of(messages, several=True)

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
