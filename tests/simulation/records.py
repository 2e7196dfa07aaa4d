"""What the model keeps: topics, partitions, and records in the order of their offsets.

Rules and their sources: (a) offsets are given in order, and a marker takes an offset of its own (kafka:
storage/.../UnifiedLog, ProducerStateManager); (b) the last stable offset is the first offset of the oldest open
transaction (UnifiedLog.fetchLastStableOffsetMetadata); (c) a reader of committed records does not get aborted ones,
though it passes their offsets (librdkafka: rdkafka_msgset_reader.c, aborted transactions); (d) sequence numbers are
checked as in ProducerAppendInfo.checkSequence, and who is not known may begin anywhere; the five batches that it remembers are more than the model's clients
have on their way.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from tests.simulation.world import Signal

Place = tuple[str, int]
_ids = itertools.count(1)


class Written:
    """One offset of a partition: a record, or the marker of a transaction (`key` and `value` None, `is_marker`)."""

    __slots__ = (
        "at",
        "committed",
        "ended_at",
        "headers",
        "is_marker",
        "key",
        "producer",
        "timestamp_ms",
        "txn",
        "value",
    )

    def __init__(self, key: Any, value: Any, headers: Any, timestamp_ms: int, at: float) -> None:
        self.key, self.value, self.headers, self.timestamp_ms, self.at = key, value, headers, timestamp_ms, at
        self.committed: bool | None = True
        self.is_marker = False
        self.producer: tuple[int, int] | None = None
        self.txn: Any = None
        self.ended_at = at


class Sequence:
    """What a partition knows of one producer id."""

    __slots__ = ("batches", "epoch", "last")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.last = -1
        self.batches: list[tuple[int, int]] = []


class Batch(NamedTuple):
    """What one Produce request brings to one partition."""

    producer: int
    epoch: int
    first: int
    records: list[Written]


class Partition:
    """One partition's log."""

    def __init__(self) -> None:
        self.records: list[Written] = []
        self.low = 0
        self.open: dict[int, list[Written]] = {}
        self.first_open: dict[int, int] = {}
        self.sequences: dict[int, Sequence] = {}
        self.changed = Signal()

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def last(self) -> int:
        """The last offset that a reader gets; -1 if there is none."""
        return next(
            (
                at
                for at in range(self.end - 1, -1, -1)
                if self.records[at].committed and not self.records[at].is_marker
            ),
            -1,
        )

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self.first_open.values()) if self.first_open else len(self.records)

    def refusal(self, batch: Batch) -> int:
        """The error code that refuses a batch; 0 if it is accepted, -1 if it is there already."""
        known = self.sequences.get(batch.producer)
        if known is None:
            return 0
        if batch.epoch < known.epoch:
            return KafkaError.INVALID_PRODUCER_EPOCH
        if batch.epoch > known.epoch:
            return 0 if batch.first == 0 else KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        if batch.first <= known.last:
            return -1
        return 0 if batch.first == known.last + 1 else KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER

    def append(self, batch: Batch, txn: Any) -> int:
        """Write a batch that `refusal` has let pass. Returns the offset of its first record."""
        known = self.sequences.get(batch.producer)
        if known is None or batch.epoch > known.epoch:
            known = self.sequences[batch.producer] = Sequence(batch.epoch)
        base = len(self.records)
        known.last = batch.first + len(batch.records) - 1
        known.batches = [*known.batches[-4:], (batch.first, base)]
        self.first_open.setdefault(batch.producer, base)
        opened = self.open.setdefault(batch.producer, [])
        for record in batch.records:
            record.committed, record.producer, record.txn = None, (batch.producer, batch.epoch), txn
        opened += batch.records
        self.records += batch.records
        return base

    def base_of(self, producer: int, first: int) -> int:
        """The first offset of a batch that is there already."""
        return next((base for seq, base in self.sequences[producer].batches if seq == first), -1)

    def mark(self, producer: int, epoch: int, now: float, now_ms: int, *, commit: bool) -> None:
        """Write the marker that ends a producer's transaction here."""
        for record in self.open.pop(producer, ()):
            record.committed, record.ended_at = commit, now
        self.first_open.pop(producer, None)
        marker = Written(None, None, None, now_ms, now)
        marker.is_marker, marker.producer, marker.committed = True, (producer, epoch), commit
        self.records.append(marker)
        known = self.sequences.get(producer)
        if known is None or epoch > known.epoch:
            self.sequences[producer] = Sequence(epoch)
        self.changed.notify()

    def plain(self, key: Any, value: Any, headers: Any, timestamp_ms: int, now: float) -> int:
        """A record of a producer without transactions."""
        self.records.append(Written(key, value, headers, timestamp_ms, now))
        self.changed.notify()
        return len(self.records) - 1

    def committed(self) -> Iterator[tuple[int, Written]]:
        """What a reader of committed records gets, with the offsets, if it reads before anything is deleted."""
        for offset in range(self.stable):
            record = self.records[offset]
            if record.committed and not record.is_marker:
                yield offset, record


class Topic:
    """A topic's partitions, and the id that tells it from another topic of the same name (KIP-516)."""

    def __init__(self, name: str, partitions: int, *, needs_key: bool = False, limit: int = 1 << 20) -> None:
        self.name = name
        self.id = f"id-{next(_ids)}"
        self.partitions = [Partition() for _ in range(partitions)]
        self.needs_key = needs_key  # a compacted topic: LogValidator refuses records without a key
        self.limit = limit  # max.message.bytes
