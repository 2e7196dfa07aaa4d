"""The records of one batch: step 1 of a prospect's life gives them to steps 2 to 7."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from operator import methodcaller
from typing import Any

from confluent_kafka import Message

from stream_scrub.kafka.headers import Headers, marked, read_headers
from stream_scrub.kafka.offsets import epoch_of
from stream_scrub.model import Header, PartitionKey

_key, _offset = methodcaller("key"), methodcaller("offset")


def _bytes_of(headers: Sequence[Header] | None) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers or ())


@dataclass(frozen=True, slots=True)
class PolledBatch:
    """Records, with the partition, headers and value of each."""

    messages: list[Message]
    partitions: list[int]
    headers: Headers  # read only once: a second call could kill the process
    values: list[bytes | None]
    topics: Sequence[str] = ()  # empty if all records are from one topic

    def __len__(self) -> int:
        return len(self.messages)

    @classmethod
    def of(cls, messages: list[Message], *, several: bool = False) -> "PolledBatch":
        """Call it once for each record. `several`: they may be from more than one topic."""
        values = [message.value() for message in messages]
        # A consumed record has a topic and a partition.
        partitions: list[Any] = [message.partition() for message in messages]
        topics: Sequence[Any] = [message.topic() for message in messages] if several else ()
        return cls(messages, partitions, read_headers(messages), values, topics)

    def marked(self) -> "PolledBatch":
        """Add a header with its topic, partition and offset to each record."""
        return replace(self, headers=Headers(marked(self.messages, self.headers.each), self.headers.lost))

    def parted(self, count: int) -> tuple["PolledBatch", "PolledBatch"]:
        """The first `count` records, and the rest."""
        return self._between(0, count), self._between(count, len(self.messages))

    def _between(self, begin: int, end: int) -> "PolledBatch":
        part, (each, lost) = slice(begin, end), self.headers
        headers = Headers(each[part], [at - begin for at in lost if begin <= at < end])
        return PolledBatch(
            self.messages[part], self.partitions[part], headers, self.values[part], self.topics[part]
        )

    def then(self, more: "PolledBatch") -> "PolledBatch":
        """These records, followed by others."""
        here = len(self.messages)
        each, lost = self.headers
        return PolledBatch(
            self.messages + more.messages,
            self.partitions + more.partitions,
            Headers(each + more.headers.each, lost + [here + at for at in more.headers.lost]),
            self.values + more.values,
            [*self.topics, *more.topics],
        )

    def origins(self) -> set[PartitionKey]:
        """The partitions of the records."""
        if self.topics:
            return set(zip(self.topics, self.partitions, strict=True))
        return {(self.messages[0].topic() or "", partition) for partition in set(self.partitions)}

    def lasts(self) -> list[tuple[str, int, int, int]]:
        """The topic, partition, offset and leader epoch of the last record of each partition, the last one first."""
        keys: Sequence[object] = (
            list(zip(self.topics, self.partitions, strict=True)) if self.topics else self.partitions
        )
        missing, lasts = set(keys), []
        for at in range(len(keys) - 1, -1, -1):
            if keys[at] in missing:
                missing.discard(keys[at])
                last = self.messages[at]
                epoch = epoch_of(last.leader_epoch())
                lasts.append((last.topic() or "", self.partitions[at], last.offset() or 0, epoch))
                if not missing:
                    break
        return lasts

    def goes_back(self, nexts: Mapping[PartitionKey, int]) -> bool:
        """Whether a record comes again: its offset is below the next one of its partition, or not above the last one here."""
        topics = self.topics or [each.topic() for each in self.messages[:1]] * len(self.messages)
        expected: dict[Any, int] = {**nexts}
        for topic, partition, offset in zip(
            topics, self.partitions, map(_offset, self.messages), strict=True
        ):
            if offset < expected.get((topic, partition), 0):
                return True
            expected[topic, partition] = offset + 1
        return False

    @property
    def age_s(self) -> float | None:
        """The age of the first record in seconds; None if Kafka has no timestamp."""
        _, written_ms = self.messages[0].timestamp()
        return time.time() - written_ms / 1000 if written_ms > 0 else None

    @property
    def nbytes(self) -> int:
        """Bytes of all keys, values and headers."""
        nbytes = sum(map(len, filter(None, self.values))) + sum(
            map(len, filter(None, map(_key, self.messages)))
        )
        each = self.headers.each
        if each.count(None) < len(each):
            nbytes += sum(map(_bytes_of, each))
        return nbytes

    def fitting(self, bytes_max: int) -> int:
        """How many of the first records have at most `bytes_max` bytes of keys, values and headers."""
        sizes = map(
            lambda message, value, headers: (
                len(message.key() or b"") + len(value or b"") + _bytes_of(headers)
            ),
            *(self.messages, self.values, self.headers.each),
        )
        return sum(1 for _ in takewhile(lambda total: total <= bytes_max, accumulate(sizes)))


NOTHING = PolledBatch([], [], Headers([], []), [])
