"""Where a partition begins that the group has no committed offset for.

Kafka forgets a group's offsets some time after its last member left (`offsets.retention.minutes`). To begin at the
partition's start would then bring everything out a second time. So a place is committed before the first record is
read: a partition without a committed offset, whose outputs have held records, had one that Kafka forgot.

Where several topics share an output, the first of them to write to its partition would make the others look forgotten.
So nobody is the first before the partitions of that number have their places in all of them.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.partition_ends import PartitionEnds, key_of
from stream_scrub.model import BeginAt, Deadline, PartitionKey

_NO_PARTITION = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION})
WAYS_ON = (
    "`stream-scrub offsets --restore` with no worker running, `stream-scrub worker --from-end`, or"
    " `stream-scrub worker --from-beginning`"
)


class Beginnings:
    """`outputs_of` gives the topics that an input's records come out on, in the partition of the same number. `siblings`
    are inputs that share one of them. `on_chosen(offsets)` hears which partitions begin where `begin_at` said.
    """

    def __init__(
        self,
        outputs_of: Callable[[str], Sequence[str]],
        begin_at: BeginAt | None,
        on_chosen: Callable[[dict[PartitionKey, int]], None],
        siblings: Sequence[str] = (),
    ) -> None:
        self._outputs_of = outputs_of
        self._begin_at = begin_at
        self._on_chosen = on_chosen
        self._siblings = siblings
        self._anew: set[PartitionKey] = set()
        self._forgotten: set[PartitionKey] = set()

    def choose(
        self,
        ends: PartitionEnds,
        lacking: Sequence[TopicPartition],
        anew: Collection[PartitionKey],
        deadline: Deadline,
    ) -> set[PartitionKey]:
        """Choose where each of these partitions begins, and set its offset. Those in `anew` are of a topic
        that was just made anew: they begin at their start. Returns the partitions that begin elsewhere than at theirs.

        Raises StaleIndex when that would be a guess, Unavailable, KafkaException.
        """
        self._anew.update(anew)
        unknown = []
        for each in lacking:
            offset = self._choose(ends, each, deadline)
            if offset is None:
                unknown.append(f"{each.topic}/{each.partition}")
            else:
                each.offset = offset
        if unknown:
            raise StaleIndex(
                "no-offsets",
                f"the group has no committed offset for {', '.join(unknown)}, and prospects have come out"
                f" where theirs do: {WAYS_ON}",
            )
        if self._begin_at != "end":
            return set()
        return self._forgotten & set(map(key_of, lacking))

    def committed(self, places: Sequence[TopicPartition]) -> None:
        """The places that were chosen are committed now."""
        keys = set(map(key_of, places))
        self._anew -= keys
        told = {key: each.offset for each in places if (key := key_of(each)) in self._forgotten}
        if told:
            self._forgotten -= keys
            self._on_chosen(told)

    def need_siblings(
        self,
        ends: PartitionEnds,
        ours: Iterable[PartitionKey],
        ask: Callable[[list[TopicPartition]], list[TopicPartition]],
        deadline: Deadline,
    ) -> None:
        """Before anything of these partitions comes out: raises StaleIndex while it would be the first on its outputs and
        a partition of that number of another input has no place yet. `ask` gives the group's committed offsets.
        """
        if not self._siblings:
            return
        first = {key for key in ours if not self._held(ends, key, deadline)}
        asked = [
            TopicPartition(topic, number)
            for number in {partition for _, partition in first}
            for topic in self._siblings
            if (topic, number) not in first and number < ends.width(topic, deadline)
        ]
        missing = [
            f"{each.topic}/{each.partition}" for each in (ask(asked) if asked else ()) if each.offset < 0
        ]
        if missing:
            raise StaleIndex(
                "no-offsets", f"other workers are about to begin {', '.join(missing)}, which share an output"
            )

    def _choose(self, ends: PartitionEnds, place: TopicPartition, deadline: Deadline) -> int | None:
        low, high = ends.ask(place, deadline)
        key = key_of(place)
        if low == high or key in self._anew:
            return low
        if key not in self._forgotten:
            if not self._held(ends, key, deadline):
                return low
            self._forgotten.add(key)
        if self._begin_at is None:
            return None
        return high if self._begin_at == "end" else low

    def _held(self, ends: PartitionEnds, key: PartitionKey, deadline: Deadline) -> bool:
        topic, partition = key
        held = (TopicPartition(output, partition) for output in self._outputs_of(topic))
        return any(_has_held_records(ends, each, deadline) for each in held)


def _has_held_records(ends: PartitionEnds, place: TopicPartition, deadline: Deadline) -> bool:
    """Whether anything was ever written there. What retention deleted counts, and what was aborted: neither can be
    without a committed offset."""
    try:
        return ends.ask(place, deadline)[1] > 0
    except KafkaException as error:
        if error.args[0].code() in _NO_PARTITION:
            return False  # the outputs have fewer partitions: these wait
        raise
