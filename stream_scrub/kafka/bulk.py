"""Steps 1, 6 and 7 of a prospect's life without a Python object for each record, by the extension.

The client's own classes stay for everything rare: the group, transactions, offsets, seek and pause. The extension takes
records from a queue of its own, to which each assigned partition is forwarded, and hands them to the producer. It knows
both clients by the watches that librdkafka's plugin interface gives it (`client/repeated_requests.py`).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from stream_scrub.kafka.client.repeated_requests import RequestWatch, with_watch
from stream_scrub.kafka.cloud_events import BatchEvents
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import Header, PartitionKey
from stream_scrub.stamp import STAMP

if TYPE_CHECKING:  # commands that only ask the brokers need no numpy
    import numpy as np
    from numpy.typing import NDArray

QUEUE_FULL: int = KafkaError._QUEUE_FULL


class RecordBatch:
    """The records of one batch, as `PolledBatch`, in the extension's hands."""

    __slots__ = ("records",)

    def __init__(self, records: Any) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def parted(self, count: int) -> tuple["RecordBatch", "RecordBatch"]:
        """The first `count` records, and the rest."""
        part = self.records.part
        return RecordBatch(part(0, count)), RecordBatch(part(count, len(self)))

    def then(self, more: "RecordBatch") -> "RecordBatch":
        """These records, followed by others."""
        return RecordBatch(self.records.then(more.records))

    def origins(self) -> set[PartitionKey]:
        """The partitions of the records."""
        return {(topic, partition) for topic, partition, _, _ in self.lasts()}

    def lasts(self) -> list[tuple[str, int, int, int]]:
        """The topic, partition, offset and leader epoch of the last record of each partition, the last one first."""
        return list(self.records.last_of_each())

    def goes_back(self, nexts: Mapping[PartitionKey, int]) -> bool:
        """Whether a record comes again: its offset is below the next one of its partition, or not above the last one here."""
        return bool(self.records.goes_back(nexts))

    @property
    def age_s(self) -> float | None:
        """The age of the first record in seconds; None if Kafka has no timestamp."""
        written_ms = self.records.timestamp_ms(0)
        return time.time() - written_ms / 1000 if written_ms > 0 else None

    @property
    def nbytes(self) -> int:
        """Bytes of all keys, values and headers."""
        return int(self.records.nbytes())

    def fitting(self, bytes_max: int) -> int:
        """How many of the first records have at most `bytes_max` bytes of keys, values and headers."""
        return int(self.records.fitting(bytes_max))

    def polled(self) -> PolledBatch:
        """The same, with a Python object for each record."""
        records, places = self.records, range(len(self))
        each: list[list[Header] | None] = []
        lost: list[int] = []
        for at in places:
            try:
                headers = records.headers(at)
                each.append(headers and [(name.decode(), value) for name, value in headers])
            except ValueError:  # a name that is no UTF-8, or more headers than the client reads
                lost.append(at)
                each.append(None)
        messages: list[Any] = [_Record(records, at) for at in places]
        return PolledBatch(
            messages,
            [records.partition(at) for at in places],
            Headers(each, lost),
            [records.value(at) for at in places],
            [records.topic(at) for at in places],
        )


class _Record:
    """One record, as the client's `Message` shows it."""

    __slots__ = ("_at", "_records")

    def __init__(self, records: Any, at: int) -> None:
        self._records = records
        self._at = at

    def topic(self) -> Any:
        """As the client's."""
        return self._records.topic(self._at)

    def partition(self) -> Any:
        """As the client's."""
        return self._records.partition(self._at)

    def offset(self) -> Any:
        """As the client's."""
        return self._records.offset(self._at)

    def leader_epoch(self) -> Any:
        """As the client's, but -1 if unknown."""
        return self._records.epoch(self._at)

    def key(self) -> Any:
        """As the client's."""
        return self._records.key(self._at)

    def timestamp(self) -> tuple[int, Any]:
        """As the client's."""
        return (1, self._records.timestamp_ms(self._at))


Fetched = PolledBatch | RecordBatch


def polled(fetched: Fetched) -> PolledBatch:
    """The records, with a Python object for each."""
    return fetched.polled() if isinstance(fetched, RecordBatch) else fetched


class Intake(Protocol):
    """Takes the records of one consumer."""

    def forward(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions have just been assigned, and are not fetched yet."""

    def take(self, most: int, wait_s: float) -> tuple[Fetched, KafkaError | None]:
        """At most so many records, and the first error among them. Calls the consumer's callbacks. Blocks for `wait_s`
        unless it has enough."""
        ...

    def close(self) -> None:
        """Take no more. Call it before the consumer closes."""


class MessageIntake:
    """By the client's own `consume`."""

    def __init__(self, consumer: Consumer, *, several: bool) -> None:
        self._consumer = consumer
        self._several = several
        self.ends: dict[PartitionKey, int] = {}
        """The last end of each partition that was reached, markers of transactions included, if `enable.partition.eof`
        is set."""

    def forward(self, partitions: Iterable[TopicPartition]) -> None:
        """As `Intake.forward`."""

    def take(self, most: int, wait_s: float) -> tuple[PolledBatch, KafkaError | None]:
        """As `Intake.take`."""
        messages: list[Message] = []
        failure: KafkaError | None = None
        for message in self._consumer.consume(most, wait_s):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
            elif failure is None:
                failure = error
        return PolledBatch.of(messages, several=self._several), failure

    def close(self) -> None:
        """As `Intake.close`."""


class BulkIntake:
    """By the extension."""

    def __init__(self, consumer: Consumer, watch: RequestWatch) -> None:
        self._consumer = consumer
        self._watch = watch
        self._native = _extension().Intake(watch.token, consumer)
        self._closed = False

    def forward(self, partitions: Iterable[TopicPartition]) -> None:
        """As `Intake.forward`. Each time: the client forgets it when it stops to fetch."""
        if self._closed:  # the consumer, as it closes, tells of an assignment that came before
            return
        for each in partitions:
            self._native.forward(each.topic, each.partition)

    def take(self, most: int, wait_s: float) -> tuple[RecordBatch, KafkaError | None]:
        """As `Intake.take`. Callbacks run within `poll` alone, so the caller sees after the take whether partitions moved."""
        before = self._consumer.poll(0)
        records, errors = self._native.take(most, int(wait_s * 1000))
        after = self._consumer.poll(0)
        found = [self._error_of(message) for message in (before, after) if message is not None]
        found += [KafkaError(code, text) for code, text in errors]
        return RecordBatch(records), next(iter(found), None)

    def _error_of(self, message: Message) -> KafkaError:
        """The error of what the consumer's own queue gave. A record there is out of its order: after an error everything
        fetched is dropped, and its partition must be forwarded by then."""
        if (error := message.error()) is not None:
            return error
        self._native.forward(message.topic(), message.partition())
        return KafkaError(KafkaError._STATE, "a record came outside of its queue")

    def close(self) -> None:
        """As `Intake.close`."""
        self._closed = True
        self._native.close()


class Outgoing(NamedTuple):
    """Judged records. A record with an id of at least 0 gets the template of that id; the others are in `others`, by
    place, with their value and the stamp for the header."""

    batch: RecordBatch
    topics: Sequence[str]
    routes: "NDArray[np.int32]"  # the place of each record's topic
    numbers: "NDArray[np.uint64]"
    ids: "NDArray[np.int32]"
    heads: list[bytes]
    tails: list[bytes]
    into_value: bool
    others: dict[int, tuple[bytes | None, bytes | None]]
    event: BatchEvents | None = None


class Outlet:
    """Hands records to one producer."""

    def __init__(self, producer: Producer, watch: RequestWatch, stripped: Iterable[str]) -> None:
        self._watch = watch
        self._native = _extension().Outlet(
            watch.token, producer, [name.encode() for name in stripped], STAMP.encode()
        )

    def emit(self, out: Outgoing, begin: int) -> tuple[int, int]:
        """Produce the records from place `begin` on; the first place that was not taken, and why: 0 if all were."""
        place, code = self._native.emit(
            out.batch.records,
            begin,
            list(out.topics),
            out.routes,
            out.numbers,
            out.ids,
            out.heads,
            out.tails,
            out.into_value,
            out.others,
            out.event,
        )
        return place, code

    def failed(self) -> tuple[int, str]:
        """The code of the first record since the last call that was not delivered, and its topic; 0 without one."""
        return self._watch.failed()

    def close(self) -> None:
        """Let go of the producer, before it goes."""
        self._native.close()


def intake(options: dict[str, Any], *, several: bool, bulk: bool) -> tuple[Consumer, Intake]:
    """A new consumer, and what takes its records. `bulk`: by the extension, where it can be. Raises KafkaException."""
    consumer, watch = with_watch(Consumer, options) if bulk else (Consumer(options), None)
    if watch is None:
        return consumer, MessageIntake(consumer, several=several)
    return consumer, BulkIntake(consumer, watch)


def _extension() -> Any:
    return import_module("stream_scrub_native")
