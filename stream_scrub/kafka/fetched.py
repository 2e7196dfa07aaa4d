"""Records as they came, cut to what a batch may hold: step 1 of a prospect's life gives them to steps 2 to 7."""

import time
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from operator import methodcaller
from typing import NamedTuple

from confluent_kafka import Message

from stream_scrub.kafka.headers import Headers, marked, read_headers
from stream_scrub.model import Header

_key = methodcaller("key")


def partitions_of(messages: Iterable[Message]) -> list[int]:
    """The partition of each record."""
    return [message.partition() for message in messages]  # type: ignore[misc]  # a consumed record has one


def topics_of(messages: Iterable[Message]) -> list[str]:
    """The topic of each record."""
    return [message.topic() for message in messages]  # type: ignore[misc]  # a consumed record has one


def _bytes_of(headers: Sequence[Header] | None) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers or ())


class Fetched(NamedTuple):
    """Records with the partition and the value of each, and their headers, which are not to be asked of them again;
    `topics` is empty where all are of one."""

    messages: list[Message]
    partitions: list[int]
    headers: Headers
    values: list[bytes | None]
    topics: Sequence[str] = ()

    @classmethod
    def of(cls, messages: list[Message], *, several: bool = False) -> "Fetched":
        """To be called once for any record; `several` says that they may be of more than one topic."""
        values = [message.value() for message in messages]
        topics = topics_of(messages) if several else ()
        return cls(messages, partitions_of(messages), read_headers(messages), values, topics)

    def marked(self) -> "Fetched":
        """The same, with each record's place in a header of ours."""
        return self._replace(headers=Headers(marked(self.messages, self.headers.each), self.headers.lost))

    def parted(self, count: int) -> tuple["Fetched", "Fetched"]:
        """The first so many records, and the others."""
        messages, partitions, (each, lost), values, topics = self
        first, others = [at for at in lost if at < count], [at - count for at in lost if at >= count]
        return (
            Fetched(
                messages[:count],
                partitions[:count],
                Headers(each[:count], first),
                values[:count],
                topics[:count],
            ),
            Fetched(
                messages[count:],
                partitions[count:],
                Headers(each[count:], others),
                values[count:],
                topics[count:],
            ),
        )

    def then(self, more: "Fetched") -> "Fetched":
        """These records, and then others."""
        here = len(self.messages)
        each, lost = self.headers
        return Fetched(
            self.messages + more.messages,
            self.partitions + more.partitions,
            Headers(each + more.headers.each, lost + [here + at for at in more.headers.lost]),
            self.values + more.values,
            [*self.topics, *more.topics],
        )

    def last_of_each(self) -> list[int]:
        """The places of the records that are the last of their partition."""
        keys: Sequence[object] = (
            list(zip(self.topics, self.partitions, strict=True)) if self.topics else self.partitions
        )
        missing, found = set(keys), []
        for at in range(len(keys) - 1, -1, -1):
            if keys[at] in missing:
                missing.discard(keys[at])
                found.append(at)
                if not missing:
                    break
        return found

    @property
    def age_s(self) -> float | None:
        """How long ago the first of them was written, in seconds; None where Kafka has no timestamp."""
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
        """How many records from the first on fit into that many bytes of keys, values and headers."""
        sizes = map(
            lambda message, value, headers: (
                len(message.key() or b"") + len(value or b"") + _bytes_of(headers)
            ),
            *(self.messages, self.values, self.headers.each),
        )
        return sum(1 for _ in takewhile(lambda total: total <= bytes_max, accumulate(sizes)))


NOTHING = Fetched([], [], Headers([], []), [])
