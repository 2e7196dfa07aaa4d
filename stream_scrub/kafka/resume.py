"""Where a worker's partitions are read on. One thread.

(a) A partition with a committed offset goes on there. The note of that offset names the topic's id, so that no offset of
a topic that was deleted is used in another one of its name.

(b) Kafka forgets a group's offsets some time after its last member left (`offsets.retention.minutes`). To start at the
partition's first offset would then emit everything a second time. So an offset is committed before the first record is
read: a partition without one, whose outputs have held records, had one that Kafka forgot.

(c) Brokers may lose records that were read (an unclean election), and new ones get their offsets. Then the committed
offset counts as forgotten. It is beyond the partition's end, which is asked when the client goes back; or the client goes
back to a record of a later leader than the epoch of the committed offset (KIP-320).

(d) Where several topics share an output, the first of them to write to its partition would make the others look forgotten.
So none writes before the partitions of that number have an offset in all of them.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, TopicPartition

from stream_scrub.errors import Migrated, StaleIndex
from stream_scrub.kafka.offsets import CommitNote, earlier_log, key_of
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import BeginAt, Deadline, PartitionKey

_LOOK_EVERY_S = 1.0


WAYS_ON = (
    "`stream-scrub offsets --restore` with no worker running, `stream-scrub worker --from-end`, or"
    " `stream-scrub worker --from-beginning`"
)


@dataclass(eq=False)
class StartOffsets:
    """Chooses where partitions without a committed offset start.

    `outputs_of`: an input's output topics; its records go to the partition of the same number. `siblings`: inputs that share
    an output. `on_chosen` gets the offsets that `begin_at` chose.
    """

    outputs_of: Callable[[str], Sequence[str]]
    begin_at: BeginAt | None
    on_chosen: Callable[[dict[PartitionKey, int]], None]
    siblings: Sequence[str] = ()
    _recreated: set[PartitionKey] = field(default_factory=set, init=False)
    _forgotten: set[PartitionKey] = field(default_factory=set, init=False)

    def choose(
        self,
        witnesses: Witnesses,
        lacking: Sequence[TopicPartition],
        recreated: Collection[PartitionKey],
        deadline: Deadline,
    ) -> set[PartitionKey]:
        """Set the offset where each of these partitions starts. Those in `recreated`, of a topic that was just created
        again, start at their first offset. Returns the partitions that start elsewhere.

        Raises StaleIndex if the start would be a guess, Unavailable, KafkaException.
        """
        self._recreated.update(recreated)
        unknown = []
        for each in lacking:
            offset = self._choose(witnesses, each, deadline)
            if offset is None:
                unknown.append(f"{each.topic}/{each.partition}")
            else:
                each.offset = offset
        if unknown:
            raise StaleIndex(
                "no-offsets",
                f"the committed offset of {', '.join(unknown)} is gone, or beyond the end because brokers lost prospects."
                f" Prospects have come out where theirs do, so a start would be a guess: {WAYS_ON}",
            )
        if self.begin_at != "end":
            return set()
        return self._forgotten & set(map(key_of, lacking))

    def committed(self, places: Sequence[TopicPartition]) -> None:
        """These starts are committed."""
        keys = set(map(key_of, places))
        self._recreated -= keys
        if chosen := {key: each.offset for each in places if (key := key_of(each)) in self._forgotten}:
            self._forgotten -= keys
            self.on_chosen(chosen)

    def need_siblings(
        self,
        witnesses: Witnesses,
        ours: Iterable[PartitionKey],
        ask: Callable[[list[TopicPartition]], list[TopicPartition]],
        deadline: Deadline,
    ) -> None:
        """Call it before anything of these partitions is emitted. Raises StaleIndex while one would be the first on its
        outputs, and a partition of that number of another input has no committed offset, which `ask` looks up.
        """
        if not self.siblings:
            return
        first = {key for key in ours if not self._held(witnesses, key, deadline)}
        others = [
            TopicPartition(topic, number)
            for number in {partition for _, partition in first}
            for topic in self.siblings
            if (topic, number) not in first and number in witnesses.partitions(topic, deadline)
        ]
        if missing := [f"{each.topic}/{each.partition}" for each in ask(others) if each.offset < 0]:
            raise StaleIndex(
                "no-offsets", f"other workers are about to begin {', '.join(missing)}, which share an output"
            )

    def _choose(self, witnesses: Witnesses, place: TopicPartition, deadline: Deadline) -> int | None:
        key = key_of(place)
        low, high = witnesses.bounds(key, deadline)
        if low == high or key in self._recreated:
            return low
        if key not in self._forgotten:
            if not self._held(witnesses, key, deadline):
                return low
            self._forgotten.add(key)
        if self.begin_at is None:
            return None
        return high if self.begin_at == "end" else low

    def _held(self, witnesses: Witnesses, key: PartitionKey, deadline: Deadline) -> bool:
        """Whether one of its outputs ever had a record."""
        topic, partition = key
        outputs = self.outputs_of(topic)
        return any(_has_held_records(witnesses, (output, partition), deadline) for output in outputs)


def _has_held_records(witnesses: Witnesses, key: PartitionKey, deadline: Deadline) -> bool:
    """Whether anything was ever written there. Deleted and aborted records count: neither exist without a committed
    offset. A partition that the outputs do not have held none: that of the input waits."""
    topic, number = key
    return number in witnesses.partitions(topic, deadline) and witnesses.bounds(key, deadline)[1] > 0


class AtTheEnd(StartOffsets):
    """Partitions without a committed offset start at their end: what is before it is read in another way, when they are
    assigned."""

    def __init__(self) -> None:
        super().__init__(lambda _: (), None, lambda _: None)

    def choose(
        self,
        witnesses: Witnesses,
        lacking: Sequence[TopicPartition],
        recreated: Collection[PartitionKey],  # noqa: ARG002  # as in the other class
        deadline: Deadline,
    ) -> set[PartitionKey]:
        """As `StartOffsets.choose`."""
        for each in lacking:
            each.offset = witnesses.bounds(key_of(each), deadline)[1]
        return set(map(key_of, lacking))


@dataclass(eq=False)
class Resume:
    """For one worker. `log_topic` is in each commit's note. Without `start_offsets`
    every partition starts at its first offset. `on_recreated` gets the partitions of a topic that was created again.
    """

    log_topic: str
    witnesses: Witnesses
    on_recreated: Callable[[list[PartitionKey]], None]
    start_offsets: StartOffsets | None
    _ids: dict[str, str] = field(default_factory=dict, init=False)
    _reported: set[tuple[PartitionKey, str]] = field(default_factory=set, init=False)
    _has_siblings: bool = field(default=False, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    # Committed offsets whose records the brokers lost: they count as forgotten.
    lost: set[tuple[PartitionKey, int]] = field(default_factory=set, init=False)
    must_ask_ends: bool = field(default=False, init=False)
    begun: list[TopicPartition] = field(default_factory=list, init=False)
    _log_id: str = field(default="", init=False)
    floor: int = field(default=-1, init=False)

    def choose(self, committed: list[TopicPartition], deadline: Deadline) -> set[PartitionKey]:
        """Set the offset where each partition is read on, and learn the index positions used so far. Returns the partitions
        that the client must seek in any case, since it may be reading elsewhere already.

        Raises StaleIndex if a partition has no offset and any start would be a guess, and if it was judged by an earlier log of
        this name; Unavailable, Refused, KafkaException.
        """
        self._has_siblings = False
        self._need_same_log(committed, deadline)
        self.floor = max([-1, *(self._noted(place) for place in committed)])
        recreated = self._recreated(committed, deadline) if committed else set()
        if self.must_ask_ends and self.start_offsets is not None:
            for each in committed:
                if each.offset > self.witnesses.bounds(key_of(each), deadline)[1]:
                    self.lost.add((key_of(each), each.offset))
            self.must_ask_ends = False
        for place in committed:
            if (key_of(place), place.offset) in self.lost:
                place.offset = OFFSET_INVALID
        lacking = [each for each in committed if each.offset < 0]
        for place in committed:
            if key_of(place) in recreated:
                place.offset = OFFSET_BEGINNING
        moved = [each for each in committed if each.offset >= 0 and self._is_on_another_log(each)]
        self.begun, elsewhere = [], set[PartitionKey]()
        if self.start_offsets is not None and lacking:
            elsewhere = self.start_offsets.choose(self.witnesses, lacking, recreated, deadline)
        if self.start_offsets is not None:
            # Servers follow no log by which no worker judges: the first worker on a new one says so before any prospect comes.
            self.begun = [
                TopicPartition(*key_of(each), each.offset, self.note(each.topic, 0))
                for each in (*lacking, *moved)
            ]
        return recreated | elsewhere

    def has_begun(self) -> None:
        """`begun` is committed."""
        if self.start_offsets is not None:
            self.start_offsets.committed(self.begun)
        self.begun = []

    def need_siblings(
        self,
        ours: Collection[PartitionKey],
        ask: Callable[[list[TopicPartition]], list[TopicPartition]],
        deadline: Deadline,
    ) -> None:
        """As `StartOffsets.need_siblings`, once after each `choose`."""
        if self.start_offsets is not None and not self._has_siblings:
            self.start_offsets.need_siblings(self.witnesses, ours, ask, deadline)
        self._has_siblings = True

    def note(self, topic: str, position: int) -> str:
        """The note to commit with an offset of that topic."""
        return str(CommitNote(position, self.log_topic, self._log_id, self._ids.get(topic, "")))

    def look(self, topics: Sequence[str]) -> None:
        """Begin to ask for the topics' ids. Never blocks."""
        self.witnesses.begin_ids(topics)

    def is_another(self, topics: Sequence[str]) -> bool:
        """While nothing comes: whether a topic was created again, by the answer to a question of a second ago. No record
        would show a new topic that was filled just up to where the old one was read. Never blocks.
        """
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        others = self._others((), Deadline.after(0))
        self.witnesses.begin_ids(topics)
        return bool(others)

    def need_same(self, topics: Collection[str], deadline: Deadline) -> None:
        """Raises Migrated if a topic was created again and is read at an old offset: the next `choose` starts at its first
        offset. Raises Unavailable, Refused.
        """
        for topic in self._others(topics, deadline):
            raise Migrated(f"{topic} was deleted and created again")

    def _others(self, topics: Collection[str], deadline: Deadline) -> list[str]:
        """The topics whose last answer has another id than the known one."""
        answers = self.witnesses.answered_ids(topics, deadline)
        return [topic for topic, each in answers.items() if each not in ("", self._ids.get(topic, ""))]

    def _need_same_log(self, committed: list[TopicPartition], deadline: Deadline) -> None:
        self._log_id = self.witnesses.id_of(self.log_topic, deadline)
        notes = [CommitNote.read(place.metadata) for place in committed]
        if any(note.is_of_earlier(self.log_topic, self._log_id) for note in notes if note is not None):
            raise earlier_log(self.log_topic)

    def _recreated(self, committed: list[TopicPartition], deadline: Deadline) -> set[PartitionKey]:
        """The partitions whose committed offset belongs to an earlier topic of this name."""
        before = dict(self._ids)
        asked = self.witnesses.ids(sorted({each.topic for each in committed}), deadline)
        self._ids |= {topic: found for topic, found in asked.items() if found}
        recreated = {
            key_of(each) for each in committed if self._is_of_another(each, before.get(each.topic, ""))
        }
        if news := {(key, self._ids.get(key[0], "")) for key in recreated} - self._reported:
            self._reported |= news
            self.on_recreated(sorted(key for key, _ in news))
        return recreated

    def _is_of_another(self, committed: TopicPartition, before: str) -> bool:
        now, note = self._ids.get(committed.topic, ""), CommitNote.read(committed.metadata)
        noted = (note.topic_id or None) if note else None
        # A note without an id counts as this topic's, unless the id has just changed.
        return noted not in ({None, now} if before in ("", now) else {now})

    def _is_on_another_log(self, committed: TopicPartition) -> bool:
        note = CommitNote.read(committed.metadata)
        return note is not None and note.log_topic != self.log_topic

    def _noted(self, committed: TopicPartition) -> int:
        """The position in a commit's note; -1 without one, or on another log."""
        note = CommitNote.read(committed.metadata)
        return note.position if note is not None and note.log_topic == self.log_topic else -1
