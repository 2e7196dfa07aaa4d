"""Where a worker's partitions are read on, by what the group has committed: the offsets, and what is noted with them.

One thread. It knows the topics' ids, so that no offset of a topic that was deleted is used in another one of its name.
"""

import time
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from stream_scrub.errors import Migrated
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.partition_ends import PartitionEnds, key_of
from stream_scrub.kafka.rewinding.beginnings import Beginnings
from stream_scrub.kafka.rewinding.commit_note import CommitNote
from stream_scrub.model import Deadline, PartitionKey

_LOOK_EVERY_S = 1.0


class Resume:
    """For one worker; `log_topic` is noted with what is committed. Without `identity` no topic has an id, and without
    `beginnings` every partition begins at its start. `on_anew` hears of partitions of a topic that was made anew.
    """

    def __init__(
        self,
        log_topic: str,
        identity: TopicIdentity | None,
        on_anew: Callable[[list[PartitionKey]], None],
        beginnings: Beginnings | None,
    ) -> None:
        self._log_topic = log_topic
        self._identity = identity
        self._on_anew = on_anew
        self._beginnings = beginnings
        self._ids: dict[str, str] = {}
        self._told_anew: set[tuple[PartitionKey, str]] = set()
        self._has_siblings = False
        self._looked_at = float("-inf")
        self.begun: list[TopicPartition] = []
        self.floor = -1

    def choose(
        self, committed: list[TopicPartition], ends: PartitionEnds, deadline: Deadline
    ) -> set[PartitionKey]:
        """Set the offset where each partition is read on, given what is committed, and learn the positions used so far.
        Returns those that the client, which may be reading already, must be sent there for sure.

        Raises StaleIndex when the broker has no offset of a partition, and any beginning would be a guess; Unavailable,
        Refused, KafkaException.
        """
        self._has_siblings = False
        self.floor = max([-1, *(self._noted(place) for place in committed)])
        anew = self._anew(committed, deadline) if committed else set()
        lacking = [each for each in committed if each.offset < 0]
        for place in committed:
            if key_of(place) in anew:
                place.offset = OFFSET_BEGINNING
        return anew | self._begin(lacking, anew, ends, deadline)

    def _begin(
        self,
        lacking: list[TopicPartition],
        anew: set[PartitionKey],
        ends: PartitionEnds,
        deadline: Deadline,
    ) -> set[PartitionKey]:
        self.begun, elsewhere = [], set[PartitionKey]()
        if self._beginnings is not None and lacking:
            elsewhere = self._beginnings.choose(ends, lacking, anew, deadline)
            self.begun = [
                TopicPartition(each.topic, each.partition, each.offset, self.note(each.topic, 0))
                for each in lacking
            ]
        return elsewhere

    def has_begun(self) -> None:
        """`begun` is committed."""
        if self._beginnings is not None:
            self._beginnings.committed(self.begun)
        self.begun = []

    def need_siblings(
        self,
        ends: PartitionEnds,
        ours: Collection[PartitionKey],
        ask: Callable[[list[TopicPartition]], list[TopicPartition]],
        deadline: Deadline,
    ) -> None:
        """As `Beginnings.need_siblings`, once after each `choose`."""
        if self._beginnings is not None and not self._has_siblings:
            self._beginnings.need_siblings(ends, ours, ask, deadline)
        self._has_siblings = True

    def note(self, topic: str, position: int) -> str:
        """What is noted with an offset of that topic."""
        return str(CommitNote(position, self._log_topic, self._ids.get(topic, "")))

    def look(self, topics: Sequence[str]) -> None:
        """Begin to ask which topics they are. Never blocks."""
        if self._identity is not None:
            self._identity.begin(topics)

    def is_another(self, topics: Sequence[str]) -> bool:
        """While nothing comes: whether a topic was made anew, by what was asked for a second ago. A new one that was filled
        just up to where the old one was read gives no record that would show it. Never blocks.
        """
        now = time.monotonic()
        if self._identity is None or now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        others = self._others((), Deadline.after(0))
        self._identity.begin(topics)
        return bool(others)

    def need_same(self, topics: Collection[str], deadline: Deadline) -> None:
        """A topic may have been made anew under its name and be read at an old offset. Raises Migrated then, and the next
        `choose` begins the new one at its start. Raises Unavailable, Refused where no broker answers.
        """
        for topic in self._others(topics, deadline):
            raise Migrated(f"{topic} was deleted and made anew")

    def _others(self, topics: Collection[str], deadline: Deadline) -> list[str]:
        """Those of which the answer to what was asked last is another id than is known."""
        if self._identity is None:
            return []
        found = self._identity.answer(topics, deadline)
        return [topic for topic, each in found.items() if each not in ("", self._ids.get(topic, ""))]

    def _anew(self, committed: list[TopicPartition], deadline: Deadline) -> set[PartitionKey]:
        """The partitions whose committed offset is of another topic that had this name: they begin at their start."""
        if self._identity is None:
            return set()
        before = dict(self._ids)
        asked = self._identity.ask(sorted({each.topic for each in committed}), deadline)
        self._ids |= {topic: found for topic, found in asked.items() if found}
        anew = {key_of(each) for each in committed if self._is_of_another(each, before.get(each.topic, ""))}
        news = {(key, self._ids.get(key[0], "")) for key in anew} - self._told_anew
        if news:
            self._told_anew |= news
            self._on_anew(sorted(key for key, _ in news))
        return anew

    def _is_of_another(self, committed: TopicPartition, before: str) -> bool:
        now, note = self._ids.get(committed.topic, ""), CommitNote.read(committed.metadata)
        noted = (note.topic_id or None) if note else None
        # of this very topic, or not known
        return noted not in ({None, now} if before in ("", now) else {now})

    def _noted(self, committed: TopicPartition) -> int:
        """The position in a commit's note, -1 where it has none. Positions on another log say nothing about this one."""
        note = CommitNote.read(committed.metadata)
        return note.position if note is not None and note.log_topic == self._log_topic else -1
