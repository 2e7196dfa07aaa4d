"""Step 1 of a prospect's life: the consumer. Hands out batches, and knows which partitions are surely still ours.

One thread. The client calls back only from within `poll` and `idle`; the callbacks set flags and nothing else, since
an exception raised there would destroy a batch after the position has moved. Any change of assignment during a poll
drops the batch: a record fetched before a partition was given away may already be another worker's. Then, as after
every abort, the source rewinds: it asks the broker what was committed and seeks there, so the fetched buffer goes too.

The client counts records and not their bytes. What is more than a batch may hold is kept for the next poll, and dropped
with everything that was fetched.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_scrub.errors import Migrated, ScrubError, Unavailable
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.beginnings import Beginnings
from stream_scrub.kafka.client.translate import cause_of, translate
from stream_scrub.kafka.commit_note import CommitNote
from stream_scrub.kafka.fetched import NOTHING, Fetched, partitions_of
from stream_scrub.kafka.membership import is_known_form, is_member
from stream_scrub.kafka.partition_ends import PartitionEnds
from stream_scrub.model import Deadline

# Short: during a rebalance the coordinator answers nothing else on the connection, and SIGTERM must be heard.
REWIND_S = 2.0
_RESETS_MAX = 1000
_NOT_FETCHING = frozenset({KafkaError._STATE, KafkaError._UNKNOWN_PARTITION})


class ProspectSource:
    """The prospects topic as one member of the worker group sees it. `log_topic` is noted with what is committed.

    `on_assignment(event, partitions)` hears "assigned", "revoked" or "lost" with partition numbers, after the poll;
    `on_settled(seconds)` how long after such a change records are polled again.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        log_topic: str,
        on_assignment: Callable[[str, list[int]], None] = lambda _e, _p: None,
        on_settled: Callable[[float], None] = lambda _: None,
        identity: TopicIdentity | None = None,
        on_anew: Callable[[list[int]], None] = lambda _: None,
        beginnings: Beginnings | None = None,
    ) -> None:
        self._options = options
        self._consumer = Consumer(options)
        self._topic = topic
        self._log_topic = log_topic
        self._on_assignment = on_assignment
        self._on_assignment_settled = on_settled
        self._identity = identity
        self._on_assignment_anew = on_anew
        self._beginnings = beginnings
        self._begun: list[TopicPartition] = []
        self._id = ""
        self._told_anew: set[tuple[int, str]] = set()
        self._moved_at: float | None = None
        self._moves: list[tuple[str, list[int]]] = []
        self._must_rewind = False
        self._paused = False
        self._failed = False
        self._delivered: set[int] = set()
        self._rest = NOTHING
        self._mean_bytes = 1
        self._next: dict[int, int] = {}
        self._ends = PartitionEnds(options)
        self._width: int | None = None
        self.partitions: set[int] = set()
        self.metadata = b""
        self.floor = -1
        self.resets: deque[tuple[int, int]] = deque(maxlen=_RESETS_MAX)  # partition and offset that are gone

    def subscribe(self) -> None:
        """Join the group. Partitions arrive during later polls."""
        self._failed = False
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("assigned", partitions)
        # The client keeps one paused that went away while it was, also when it comes back.
        self._paused = True
        self.partitions.update(p.partition for p in partitions)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("revoked", partitions)
        self.partitions.difference_update(p.partition for p in partitions)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("lost", partitions)
        self.partitions.difference_update(p.partition for p in partitions)

    def _change(self, event: str, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return  # a cooperative rebalance that changed nothing for us
        self._moves.append((event, [p.partition for p in partitions]))
        if self._moved_at is None:
            self._moved_at = time.monotonic()

    def _has_moved(self) -> bool:
        """Whether partitions came or went since the last time; whoever listens is told."""
        moves, self._moves = self._moves, []
        if moves:
            self._must_rewind = True
        for event, partitions in moves:
            self._on_assignment(event, partitions)
        return bool(moves)

    def poll(self, records_max: int, bytes_max: int, wait_s: float) -> Fetched:
        """The next records: at most `records_max`, of at most `bytes_max` together (but one, whatever its size), after at
        most `wait_s`; often none. Blocks for the whole wait unless it has enough: that is how the client works.

        Raises Unavailable when a rewind is due and the broker cannot be asked, else what the broker answered.
        """
        self._need_consumer()
        if self._paused:
            self._resume()
        if self._must_rewind:
            self._rewind(Deadline.after(REWIND_S))
        if self._moved_at is not None:
            self._on_assignment_settled(time.monotonic() - self._moved_at)
            self._moved_at = None
        rest = self._rest
        enough = min(records_max, bytes_max // self._mean_bytes + 1) - len(rest.messages)
        # The client is polled even while enough is left: only then does it hear that a partition went away.
        came = Fetched.of(self._consumer.consume(max(1, enough), 0 if rest.messages else wait_s))
        self._delivered.update(came.partitions)
        moved = self._has_moved()
        # Errors count even if the batch is dropped: a failed consumer says once why, just as partitions are lost.
        for message in came.messages:
            if (error := message.error()) is not None:
                raise self._given_up(error)
        if moved:
            return NOTHING
        fetched = rest.then(came) if rest.messages else came
        if fetched.messages or self._begun:
            self.metadata = self._membership()
            if self._identity is not None:
                self._identity.begin()
        return self._cut(fetched, records_max, bytes_max)

    def _cut(self, fetched: Fetched, records_max: int, bytes_max: int) -> Fetched:
        """As many records as a batch may hold; the rest is kept."""
        count, nbytes = len(fetched.messages), fetched.nbytes
        self._rest = NOTHING
        if count:
            self._mean_bytes = nbytes // count + 1
        if count > records_max or nbytes > bytes_max:
            fetched, self._rest = fetched.parted(max(1, min(records_max, fetched.fitting(bytes_max))))
        return fetched

    def put_back(self, fetched: Fetched) -> None:
        """Put back the end of what was polled last, which is not emitted now. The next poll returns it first."""
        self._rest = fetched.then(self._rest)

    def widen(self, width: int) -> None:
        """Set how many partitions the outputs have. Partitions beyond that are kept and not read, until there are more."""
        if width != self._width:
            self._width = width
            self._paused = True  # the next poll decides which partitions are read

    @property
    def waiting(self) -> list[int]:
        """Partitions of ours without a counterpart in the outputs."""
        return [] if self._width is None else sorted(p for p in self.partitions if p >= self._width)

    def _resume(self) -> None:
        waiting = set(self.waiting)
        parted: tuple[list[TopicPartition], list[TopicPartition]] = ([], [])
        for each in self._assignment():
            parted[each.partition in waiting].append(each)
        self._consumer.resume(parted[False])
        if parted[True]:
            self._consumer.pause(parted[True])
        self._paused = False
        self._ends.forget()

    def _given_up(self, error: KafkaError) -> ScrubError:
        self._must_rewind = True
        if cause_of(error).fatal():
            self._failed = True
            self._consumer.close()
            self._has_moved()
            self.partitions.clear()
        who = self._options.get("group.instance.id")
        return translate(error, f"consuming {self._topic}" + (f" as group.instance.id {who}" if who else ""))

    def _need_consumer(self) -> None:
        """A consumer that failed for good is replaced: its partitions come back, or go to others, as after a crash."""
        if self._failed:
            self._consumer = Consumer(self._options)
            self.subscribe()

    def idle(self, wait_s: float) -> None:
        """Stay in the group without taking records, while the worker holds. Blocks for `wait_s`.

        Raises the error of a consumer that has failed for good; the next poll meets other errors again.
        """
        self._need_consumer()
        assigned = self._assignment()
        if assigned:
            self._consumer.pause(assigned)
            self._paused = True
        started = time.monotonic()
        messages = self._consumer.consume(1, wait_s)
        if messages:
            self._must_rewind = True
            self._delivered.update(partitions_of(messages))
        if self._has_moved():
            self._moved_at = None  # polling waits for the hold's end, not for the group
        for message in messages:
            if (error := message.error()) is not None and cause_of(error).fatal():
                raise self._given_up(error)
        time.sleep(max(0.0, started + wait_s - time.monotonic()))

    def drop(self) -> None:
        """Give up what was polled last: the next poll begins by rewinding."""
        self._must_rewind = True

    def offsets(
        self, partitions: Sequence[int], messages: Sequence[Message], position: int
    ) -> list[TopicPartition]:
        """What to commit for a batch: one past its last record in each partition, and the index position."""
        note = self._note(position)
        self._need_same_topic()
        missing = set(partitions)
        found = []
        for at in range(len(messages) - 1, -1, -1):
            if partitions[at] in missing:
                missing.discard(partitions[at])
                offset = messages[at].offset()
                assert offset is not None, "a consumed record has an offset"
                self._next[partitions[at]] = offset + 1
                found.append(TopicPartition(self._topic, partitions[at], offset + 1, note))
                if not missing:
                    break
        return found

    def _note(self, position: int) -> str:
        return str(CommitNote(position, self._log_topic, self._id))

    def _need_same_topic(self) -> None:
        """The topic may have been made anew under this name and be read at an old offset. Raises Migrated then, and
        `_rewind` begins the new one at its start. Raises Unavailable, Refused where no broker answers.
        """
        if self._identity is not None and self._identity.answer(Deadline.after(REWIND_S)) not in (
            "",
            self._id,
        ):
            self._must_rewind = True
            raise Migrated(f"{self._topic} was deleted and made anew")

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(self.partitions)]

    def _membership(self) -> bytes:
        """The group metadata that this batch's commit must carry, checked to be a member's.

        Taken now, when every callback has been served: if the group moves on before the commit, the broker refuses
        the old generation (KIP-447). Taken later, a worker that was paused and thrown out would find generation -1
        and no member, which the broker accepts from anyone.
        """
        metadata: bytes = self._consumer.consumer_group_metadata()
        if not is_known_form(metadata):
            raise Migrated("the client's group metadata has an unknown form: use the locked confluent-kafka")
        if not is_member(metadata):
            self._must_rewind = True
            raise Migrated("this worker is not in the group at the moment")
        return metadata

    @property
    def is_member(self) -> bool:
        """Whether the group knows this worker at the moment, with or without partitions."""
        return not self._failed and is_member(self._consumer.consumer_group_metadata())

    def _rewind(self, deadline: Deadline) -> None:
        """Seek every partition of ours to what the broker says is committed, and learn the positions used so far.
        Raises StaleIndex when the broker has no offset of a partition, and any beginning would be a guess.
        """
        self._rest = NOTHING
        assigned = self._assignment()
        self._delivered &= self.partitions
        try:
            committed = (
                self._consumer.committed(assigned, timeout=max(0.1, deadline.left())) if assigned else []
            )
            for partition in committed:
                if partition.error is not None:
                    raise translate(partition.error, f"asking for the committed offsets of {self._topic}")
            self.floor = max([-1, *(self._noted(p) for p in committed)])
            anew = self._anew(committed, deadline) if committed else set()
            lacking = [each for each in committed if each.offset < 0]
            for partition in committed:
                if partition.partition in anew:
                    partition.offset = OFFSET_BEGINNING
            sure = anew | self._begin(lacking, anew, deadline)
            for partition in committed:
                self._next[partition.partition] = max(0, partition.offset)
                self._seek(partition, deadline, surely=partition.partition in sure)
        except KafkaException as error:
            raise translate(error, f"asking for the committed offsets of {self._topic}") from error
        self._delivered.clear()
        self._must_rewind = False

    def _begin(self, lacking: list[TopicPartition], anew: set[int], deadline: Deadline) -> set[int]:
        """Choose where partitions without a committed offset begin. Returns those that the client, which may be reading
        already, begins elsewhere."""
        self._begun, elsewhere = [], set[int]()
        if self._beginnings is not None and lacking:
            elsewhere = self._beginnings.choose(self._ends, lacking, anew, deadline)
            note = self._note(0)
            self._begun = [TopicPartition(self._topic, each.partition, each.offset, note) for each in lacking]
        return elsewhere

    @property
    def begun(self) -> list[TopicPartition]:
        """Where partitions begin that have no committed offset yet: to be committed before any of their records is."""
        return [] if self._must_rewind else self._begun

    def has_begun(self) -> None:
        """`begun` is committed."""
        if self._beginnings is not None:
            self._beginnings.committed(self._begun)
        self._begun = []

    def _anew(self, committed: list[TopicPartition], deadline: Deadline) -> set[int]:
        """The partitions whose committed offset is of another topic that had this name: they begin at their start."""
        if self._identity is None:
            return set()
        before, self._id = self._id, self._identity.ask(deadline) or self._id
        known = (
            {None, self._id} if before in ("", self._id) else {self._id}
        )  # of this very topic, or not known
        notes = {each.partition: CommitNote.read(each.metadata) for each in committed}
        anew = {p for p, note in notes.items() if ((note.topic_id or None) if note else None) not in known}
        if news := sorted(p for p in anew if (p, self._id) not in self._told_anew):
            self._told_anew.update((p, self._id) for p in news)
            self._on_assignment_anew(news)
        return anew

    def _noted(self, committed: TopicPartition) -> int:
        """The position in a commit's note, -1 where it has none. Positions on another log say nothing about this one."""
        note = CommitNote.read(committed.metadata)
        return note.position if note is not None and note.log_topic == self._log_topic else -1

    def _seek(self, committed: TopicPartition, deadline: Deadline, *, surely: bool) -> None:
        offset = committed.offset if committed.offset >= 0 else self.first(committed.partition, deadline)
        while True:
            try:
                self._consumer.seek(TopicPartition(self._topic, committed.partition, offset))
            except KafkaException as error:
                if error.args[0].code() not in _NOT_FETCHING:
                    raise
                if committed.partition not in self._delivered and not surely:
                    return  # not fetching yet, so it will begin at the committed offset by itself
                if deadline.passed:
                    raise Unavailable(
                        f"{self._topic} partition {committed.partition} cannot be rewound yet"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def first(self, partition: int, deadline: Deadline) -> int:
        """The oldest offset of a partition. Raises Unavailable, Refused. The client is sent to an offset, not to "the
        beginning": when it is sent there twice within a moment it may skip what it fetched in between (seen with
        librdkafka 2.16.0: dozens of records skipped, in one of eight tries).
        """
        return self._ends.oldest(TopicPartition(self._topic, partition), deadline)

    def lag(self, deadline: Deadline, ask: Collection[int] = ()) -> dict[int, int]:
        """By partition, the prospects from what is committed, or about to be, to the partition's end as far as it is
        known. The brokers are asked for the ends of those in `ask`, as many as answer until the deadline. Not the client's
        own figure, which knows nothing of offsets that a transaction commits.
        """
        lags: dict[int, int] = {}
        for each in self._assignment():
            low, high = self._ends.of(self._consumer, each, deadline if each.partition in ask else None)
            if each.partition in self._next and high >= 0:
                lags[each.partition] = max(0, high - max(low, self._next[each.partition]))
        return lags

    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for a session to end."""
        if not self._failed:
            self._consumer.close()
            self._has_moved()
        self._ends.close()
