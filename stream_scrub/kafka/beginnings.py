"""Where a partition begins that the group has no committed offset for.

Kafka forgets a group's offsets some time after its last member left (`offsets.retention.minutes`). To begin at the
partition's start would then bring everything out a second time. So a place is committed before the first record is
read: a partition without a committed offset, whose outputs have held records, had one that Kafka forgot.
"""

from collections.abc import Callable, Collection, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.partition_ends import PartitionEnds
from stream_scrub.model import BeginAt, Deadline

_NO_PARTITION = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION})
WAYS_ON = (
    "`stream-scrub offsets --restore` with no worker running, `stream-scrub worker --from-end`, or"
    " `stream-scrub worker --from-beginning`"
)


class Beginnings:
    """Of one topic whose records come out on `outputs`, in the partition of the same number.

    `on_chosen(offsets)` hears which partitions begin where `begin_at` said.
    """

    def __init__(
        self, outputs: Sequence[str], begin_at: BeginAt | None, on_chosen: Callable[[dict[int, int]], None]
    ) -> None:
        self._outputs = outputs
        self._begin_at = begin_at
        self._on_chosen = on_chosen
        self._anew: set[int] = set()
        self._forgotten: set[int] = set()

    def choose(
        self,
        ends: PartitionEnds,
        lacking: Sequence[TopicPartition],
        anew: Collection[int],
        deadline: Deadline,
    ) -> set[int]:
        """Choose where each of these partitions begins, and set its offset. Those in `anew` are of a topic
        that was just made anew: they begin at their start. Returns the partitions that begin elsewhere than at theirs.

        Raises StaleIndex when that would be a guess, Unavailable, KafkaException.
        """
        self._anew.update(anew)
        unknown = []
        for each in lacking:
            offset = self._choose(ends, each, deadline)
            if offset is None:
                unknown.append(each.partition)
            else:
                each.offset = offset
        if unknown:
            raise StaleIndex(
                "no-offsets",
                f"the group has no committed offset for the partitions {unknown}, and prospects of them have come out"
                f" before: {WAYS_ON}",
            )
        return self._forgotten & {each.partition for each in lacking} if self._begin_at == "end" else set()

    def committed(self, places: Sequence[TopicPartition]) -> None:
        """The places that were chosen are committed now."""
        partitions = {each.partition for each in places}
        self._anew -= partitions
        if told := {each.partition: each.offset for each in places if each.partition in self._forgotten}:
            self._forgotten -= partitions
            self._on_chosen(told)

    def _choose(self, ends: PartitionEnds, place: TopicPartition, deadline: Deadline) -> int | None:
        low, high = ends.ask(place, deadline)
        if low == high or place.partition in self._anew:
            return low
        if place.partition not in self._forgotten:
            held = (TopicPartition(topic, place.partition) for topic in self._outputs)
            if not any(_has_held_records(ends, each, deadline) for each in held):
                return low
            self._forgotten.add(place.partition)
        if self._begin_at is None:
            return None
        return high if self._begin_at == "end" else low


def _has_held_records(ends: PartitionEnds, place: TopicPartition, deadline: Deadline) -> bool:
    """Whether anything was ever written there. What retention deleted counts, and what was aborted: neither can be
    without a committed offset."""
    try:
        return ends.ask(place, deadline)[1] > 0
    except KafkaException as error:
        if error.args[0].code() in _NO_PARTITION:
            return False  # the outputs have fewer partitions: these wait
        raise
