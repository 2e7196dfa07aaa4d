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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Migrated, ScrubError, Unavailable
from stream_scrub.kafka.client.translate import cause_of, translate
from stream_scrub.kafka.fetched import NOTHING, Fetched
from stream_scrub.kafka.membership import is_known_form, is_member
from stream_scrub.kafka.partition_ends import PartitionEnds, key_of
from stream_scrub.kafka.rewinding.resume import Resume
from stream_scrub.model import Deadline, PartitionKey

# Short: during a rebalance the coordinator answers nothing else on the connection, and SIGTERM must be heard.
REWIND_S = 2.0
_RESETS_MAX = 1000
_NOT_FETCHING = frozenset({KafkaError._STATE, KafkaError._UNKNOWN_PARTITION})


class ProspectSource:
    """The prospects as one member of the worker group sees them. `several` says that they may come from more than one
    topic, `mark` that each is to say from which; `resume` knows where partitions are read on.

    `on_assignment(event, partitions)` hears "assigned", "revoked" or "lost", after the poll; `on_settled(seconds)` how
    long after such a change records are polled again.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topics: Sequence[str],
        resume: Resume,
        on_assignment: Callable[[str, list[PartitionKey]], None] = lambda _e, _p: None,
        on_settled: Callable[[float], None] = lambda _: None,
        *,
        several: bool = False,
        mark: bool = False,
    ) -> None:
        self._options = options
        self._consumer = Consumer(options)
        self.topics = tuple(topics)
        self._resume_at = resume
        self._on_assignment = on_assignment
        self._on_assignment_settled = on_settled
        self._several = several
        self._mark = mark
        self._moved_at: float | None = None
        self._moves: list[tuple[str, list[PartitionKey]]] = []
        self._must_rewind = False
        self._paused = False
        self._failed = self._is_subscribed = False
        self._delivered: set[PartitionKey] = set()
        self._rest = NOTHING
        self._mean_bytes = 1
        self._next: dict[PartitionKey, int] = {}
        self._ends = PartitionEnds(options)
        self._widths: Mapping[str, int] | None = None
        self.partitions: set[PartitionKey] = set()
        self.metadata = b""
        self.resets: deque[tuple[PartitionKey, int]] = deque(
            maxlen=_RESETS_MAX
        )  # what is gone, from where on

    def subscribe(self) -> None:
        """Join the group. Partitions arrive during later polls."""
        self._failed, self._is_subscribed = False, True
        if self.topics:
            self._consumer.subscribe(
                list(self.topics),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )

    def follow(self, topics: Sequence[str]) -> None:
        """From now on these are the topics. Their partitions come and go during later polls."""
        if self.topics != tuple(topics):
            self.topics = tuple(topics)
            if self._is_subscribed:
                self.subscribe() if topics else self._consumer.unsubscribe()

    def said(self, partitions: Iterable[PartitionKey]) -> list[int] | list[str]:
        """Partitions for people: by number, with several topics by topic and number."""
        if self._several:
            return [f"{topic}/{partition}" for topic, partition in sorted(partitions)]
        return sorted(partition for _, partition in partitions)

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("assigned", partitions)
        # The client keeps one paused that went away while it was, also when it comes back.
        self._paused = True
        self.partitions.update(map(key_of, partitions))

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("revoked", partitions)
        self.partitions.difference_update(map(key_of, partitions))

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._change("lost", partitions)
        self.partitions.difference_update(map(key_of, partitions))

    def _change(self, event: str, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return  # a cooperative rebalance that changed nothing for us
        self._moves.append((event, list(map(key_of, partitions))))
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
        records = self._consumer.consume(max(1, enough), 0 if rest.messages else wait_s)
        came = Fetched.of(records, several=self._several)
        self._has_delivered(came)
        moved = self._has_moved()
        # Errors count even if the batch is dropped: a failed consumer says once why, just as partitions are lost.
        for message in came.messages:
            if (error := message.error()) is not None:
                raise self._given_up(error)
        if moved:
            return NOTHING
        if self._mark:
            came = came.marked()
        fetched = rest.then(came) if rest.messages else came
        if fetched.messages or self._resume_at.begun:
            self.metadata = self._membership()
            self._resume_at.look(self._read_topics())
        elif self._resume_at.is_another(self._read_topics()):
            self._must_rewind = True
        return self._cut(fetched, records_max, bytes_max)

    def _has_delivered(self, came: Fetched) -> None:
        if came.topics:
            self._delivered.update(zip(came.topics, came.partitions, strict=True))
        else:
            self._delivered.update((topic, p) for topic in self.topics for p in set(came.partitions))

    def _read_topics(self) -> list[str]:
        return sorted({topic for topic, _ in self.partitions})

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

    def widen(self, widths: Mapping[str, int]) -> None:
        """Set how many partitions the outputs of each topic have. Partitions beyond that are kept and not read, until
        there are more."""
        if widths != self._widths:
            self._widths = dict(widths)
            self._paused = True  # the next poll decides which partitions are read

    @property
    def waiting(self) -> list[PartitionKey]:
        """Partitions of ours without a counterpart in the outputs."""
        if self._widths is None:
            return []
        return sorted(key for key in self.partitions if key[1] >= self._widths.get(key[0], 0))

    def _resume(self) -> None:
        waiting = set(self.waiting)
        parted: tuple[list[TopicPartition], list[TopicPartition]] = ([], [])
        for each in self._assignment():
            parted[key_of(each) in waiting].append(each)
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
        return translate(
            error, f"consuming {', '.join(self.topics)}" + (f" as group.instance.id {who}" if who else "")
        )

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
            self._has_delivered(Fetched.of(messages, several=self._several))
        if self._has_moved():
            self._moved_at = None  # polling waits for the hold's end, not for the group
        for message in messages:
            if (error := message.error()) is not None and cause_of(error).fatal():
                raise self._given_up(error)
        time.sleep(max(0.0, started + wait_s - time.monotonic()))

    def drop(self) -> None:
        """Give up what was polled last: the next poll begins by rewinding."""
        self._must_rewind = True

    def offsets(self, fetched: Fetched, position: int) -> list[TopicPartition]:
        """What to commit for a batch: one past its last record in each partition, and the index position."""
        lasts = fetched.last_of_each()
        topics = fetched.topics or self.topics * len(fetched.messages)
        self._need_same_topics({topics[at] for at in lasts})
        found = []
        for at in lasts:
            topic, partition, offset = topics[at], fetched.partitions[at], fetched.messages[at].offset()
            assert offset is not None, "a consumed record has an offset"
            note = self._resume_at.note(topic, position)
            found.append(TopicPartition(topic, partition, offset + 1, note))
        return found

    def has_committed(self, places: Collection[TopicPartition]) -> None:
        """These offsets are committed: what is before them waits no more."""
        self._next.update((key_of(place), place.offset) for place in places)

    def _need_same_topics(self, topics: Collection[str]) -> None:
        try:
            self._resume_at.need_same(topics, Deadline.after(REWIND_S))
        except Migrated:
            self._must_rewind = True
            raise

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*key) for key in sorted(self.partitions)]

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
        self._delivered &= self.partitions
        try:
            committed = self._committed(self._assignment(), deadline)
            sure = self._resume_at.choose(committed, self._ends, deadline)
            for place in committed:
                self._next[key_of(place)] = max(0, place.offset)
                self._seek(place, deadline, surely=key_of(place) in sure)
        except KafkaException as error:
            raise translate(error, "asking for the committed offsets of the prospects") from error
        self._delivered.clear()
        self._must_rewind = False

    def _committed(self, places: list[TopicPartition], deadline: Deadline) -> list[TopicPartition]:
        committed = self._consumer.committed(places, timeout=max(0.1, deadline.left())) if places else []
        for place in committed:
            if place.error is not None:
                raise translate(place.error, f"asking for the committed offsets of {place.topic}")
        return committed

    @property
    def floor(self) -> int:
        """The highest index position by which prospects of our partitions were judged before."""
        return self._resume_at.floor

    @property
    def begun(self) -> list[TopicPartition]:
        """Where partitions begin that have no committed offset yet: to be committed before any of their records is."""
        return [] if self._must_rewind else self._resume_at.begun

    def has_begun(self) -> None:
        """`begun` is committed."""
        self._resume_at.has_begun()

    def need_siblings(self) -> None:
        """To be called before anything comes out. Raises StaleIndex while partitions of other topics must begin first,
        which come out on the same partitions; Unavailable, Refused.
        """
        deadline = Deadline.after(REWIND_S)
        try:
            self._resume_at.need_siblings(
                self._ends, self.partitions, lambda places: self._committed(places, deadline), deadline
            )
        except KafkaException as error:
            raise translate(error, "asking where the inputs begin") from error

    def _seek(self, committed: TopicPartition, deadline: Deadline, *, surely: bool) -> None:
        offset = committed.offset if committed.offset >= 0 else self.first(key_of(committed), deadline)
        while True:
            try:
                self._consumer.seek(TopicPartition(committed.topic, committed.partition, offset))
            except KafkaException as error:
                if error.args[0].code() not in _NOT_FETCHING:
                    raise
                if key_of(committed) not in self._delivered and not surely:
                    return  # not fetching yet, so it will begin at the committed offset by itself
                if deadline.passed:
                    raise Unavailable(
                        f"{committed.topic} partition {committed.partition} cannot be rewound yet"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def first(self, key: PartitionKey, deadline: Deadline) -> int:
        """The oldest offset of a partition. Raises Unavailable, Refused. The client is sent to an offset, not to "the
        beginning": when it is sent there twice within a moment it may skip what it fetched in between (seen with
        librdkafka 2.16.0: dozens of records skipped, in one of eight tries).
        """
        return self._ends.oldest(TopicPartition(*key), deadline)

    def lag(self, deadline: Deadline, ask: Collection[PartitionKey] = ()) -> dict[PartitionKey, int]:
        """By partition, the prospects from what is committed to the partition's end as far as it is known. The brokers are
        asked for the ends of those in `ask`, as many as answer until the deadline. Not the client's own figure, which
        knows nothing of offsets that a transaction commits."""
        lags: dict[PartitionKey, int] = {}
        for each in self._assignment():
            key = key_of(each)
            low, high = self._ends.of(self._consumer, each, deadline if key in ask else None)
            if key in self._next and high >= 0:
                lags[key] = max(0, high - max(low, self._next[key]))
        return lags

    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for a session to end."""
        if not self._failed:
            self._consumer.close()
            self._has_moved()
        self._ends.close()
