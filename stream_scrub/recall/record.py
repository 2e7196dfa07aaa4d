"""What a later member reads from the records of `prospects.recalled`. Pure."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers
from stream_scrub.model import Header, PartitionKey
from stream_scrub.recall_notice import decode

# Which leads a recall took back: those before these offsets. A member that takes a partition over reads it, so that it
# recalls none of them again and forgets none that came later. Offsets begin again in a topic that is created again, so
# another header has the topics' ids.
UPTO, TOPICS = "upto", "topics"


def upto_headers(
    numbers: Iterable[int], holders: Mapping[PartitionKey, Iterable[int]], upto: Mapping[PartitionKey, int]
) -> list[Header]:
    """For the recall of each number, a header with the offsets before which leads are taken back, of its holders."""
    texts: dict[int, bytes] = {}
    for (topic, partition), held in holders.items():
        text = f"{topic}/{partition}/{upto[topic, partition]}".encode()
        several = {number: texts[number] + b" " + text for number in held if number in texts}
        texts |= dict.fromkeys(held, text) | several
    return [(UPTO, texts[number]) for number in numbers]


def topics_header(ids: Mapping[str, str]) -> Header:
    """The header that tells these topics from others of their names."""
    return TOPICS, " ".join(f"{topic}/{each}" for topic, each in ids.items()).encode()


class RecallsRead(NamedTuple):
    """The topic of recalls, as it was when it was read."""

    topic_id: str  # empty if unknown
    ends: Mapping[PartitionKey, int]
    at: float  # by `clock.elapsed`

    def continues(self, before: "RecallsRead") -> bool:
        """Whether it is the topic that it was before, and no partition is shorter."""
        is_longer = all(self.ends.get(key, end) >= end for key, end in before.ends.items())
        return is_longer and self.topic_id == before.topic_id


class PastRecalls:
    """What was recalled in some partitions, and which registers are suspended. `ids`: of their topics, where known. `read`: of
    what it is read."""

    def __init__(
        self, partitions: set[PartitionKey], ids: Mapping[str, str], read: RecallsRead | None = None
    ) -> None:
        self.read = read
        # When each register was suspended or resumed last, and whether it was suspended then.
        self._registers: dict[str, tuple[str, bool]] = {}
        self._ids = {topic: f"{topic}/{each}" for topic, each in ids.items() if each}
        self._numbers = {partition: array("Q") for partition in partitions}
        self._uptos = {partition: array("q") for partition in partitions}
        self._sorted: dict[PartitionKey, tuple[Numbers, NDArray[np.int64]]] = {}

    @property
    def suspended(self) -> set[str]:
        """The registers that are suspended now."""
        return {name for name, (_, is_suspended) in self._registers.items() if is_suspended}

    def take(self, key: bytes | None, value: bytes | None, headers: Sequence[Header] | None) -> None:
        """The next record, in the order of its partition. One that is no recall's changes nothing: an unread recall is at
        worst made once more."""
        with suppress(ValueError, OverflowError, RecursionError):
            self._take(key or b"", value or b"", headers)

    def _take(self, key: bytes, value: bytes, headers: Sequence[Header] | None) -> None:
        if not key.startswith(b"+"):
            name, notice = key.decode(), decode(value)
            if notice.kind == "alive":
                return
            said = notice.at, notice.kind == "suspended"
            # By moments: a topic that got more partitions may give the later one first.
            self._registers[name] = max(said, self._registers.get(name, said))
            return
        own = dict(headers or ())
        topics = (own.get(TOPICS) or b"").decode().split()
        for text in (own.get(UPTO) or b"").decode().split():
            topic, partition, offset = text.rsplit("/", 2)
            place = topic, int(partition)
            if place in self._numbers and self._ids.get(topic, "") in ("", *topics):
                both = array("Q", [int(key[1:])]), array("q", [int(offset)])
                self._numbers[place] += both[0]
                self._uptos[place] += both[1]

    def is_left(
        self, partition: PartitionKey, numbers: Numbers, offsets: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """For each lead of that partition: whether no recall took it back."""
        if partition not in self._sorted:
            of = np.array(self._numbers[partition], np.uint64)
            upto = np.array(self._uptos[partition], np.int64)
            order = np.lexsort((upto, of))
            of, upto = of[order], upto[order]
            last = np.append(of[1:] != of[:-1], True) if len(of) else np.zeros(0, np.bool_)
            self._sorted[partition] = of[last], upto[last]
        of, upto = self._sorted[partition]
        if not len(of):
            return np.ones(len(numbers), np.bool_)
        at = np.minimum(np.searchsorted(of, numbers), len(of) - 1)
        is_left: NDArray[np.bool_] = (of[at] != numbers) | (upto[at] <= offsets)
        return is_left
