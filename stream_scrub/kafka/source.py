"""Step 1 of a prospect's life: the consumer. Returns batches, and knows which partitions are surely still ours.

One thread. The client calls back only from within `poll` and `idle`; the callbacks set flags and nothing else, since
an exception raised there would destroy a batch after the position has moved. Any change of assignment during a poll
drops the batch: a record fetched before a partition was given away may already be another worker's. Then, as after
every abort, the source rewinds: it asks the broker what was committed and seeks there, so the fetched buffer goes too.

The client counts records, not bytes. What does not fit into a batch is kept for the next poll, and dropped with
everything that was fetched.
"""

import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Migrated, ScrubError, Unavailable
from stream_scrub.kafka.admin.confirmed_ends import ConfirmedEnds
from stream_scrub.kafka.bulk import BulkIntake, Fetched, Intake, MessageIntake, intake, polled
from stream_scrub.kafka.client.producer_calls import leave_group
from stream_scrub.kafka.client.translate import cause_of, translate, translating
from stream_scrub.kafka.offsets import NOT_FETCHING, CommitNote, epoch_of, key_of
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.kafka.resume import Resume
from stream_scrub.model import Deadline, PartitionKey

# Short: during a rebalance the coordinator answers nothing else on the connection, and SIGTERM must be handled.
REWIND_S = 2.0
_METADATA_FORM = b"CGMDv2:"  # how librdkafka begins the group metadata that a commit carries


class ProspectSource:
    """The prospects as one member of the worker group sees them.

    `resume` chooses where partitions are read on. `multi_topic`: the member reads several topics. `tag_topic`: add the
    input topic to each record's headers. `bulk`: take records by the extension, where that can be. `on_assignment` gets
    "assigned", "revoked" or "lost" and the partitions, after the poll; `on_settled` the seconds from such a change until
    records are polled again.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topics: Sequence[str],
        resume: Resume,
        on_assignment: Callable[[str, list[PartitionKey]], None] = lambda _e, _p: None,
        on_settled: Callable[[float], None] = lambda _: None,
        *,
        multi_topic: bool = False,
        tag_topic: bool = False,
        bulk: bool = False,
    ) -> None:
        self._options = options
        self._bulk = bulk and not tag_topic
        self._multi_topic = multi_topic
        self._consumer, self._intake = self._new_consumer()
        self.topics = tuple(topics)
        self._resume_at = resume
        self._on_assignment = on_assignment
        self._on_assignment_settled = on_settled
        self._tag_topic = tag_topic
        self._moved_at: float | None = None
        self._moves: list[tuple[str, list[PartitionKey]]] = []
        self._must_rewind = False
        self._paused = False
        self._failed = self._is_subscribed = False
        self._delivered: set[PartitionKey] = set()
        self._rest: Fetched = NOTHING
        self._mean_bytes = 1
        self._next: dict[PartitionKey, int] = {}
        # The leader epoch of each committed offset, as the last record before it had; -1 if unknown.
        self._epochs: dict[PartitionKey, int] = {}
        # What this worker has committed itself in partitions that it has had since: an offset, and its topic's id.
        self._own: dict[PartitionKey, tuple[int, str]] = {}
        self._complete_at: dict[PartitionKey, float] = {}
        self._confirmed = ConfirmedEnds(resume.witnesses)
        self._widths: Mapping[str, int] | None = None
        self.partitions: set[PartitionKey] = set()
        self.metadata = b""

    def _new_consumer(self) -> tuple[Consumer, Intake]:
        return intake(self._options, several=self._multi_topic, bulk=self._bulk)

    @property
    def transport(self) -> str:
        """How records are taken: "bulk" by the extension, or "python"."""
        return "bulk" if isinstance(self._intake, BulkIntake) else "python"

    def subscribe(self) -> None:
        """Join the group. Partitions arrive during later polls."""
        self._failed, self._is_subscribed = False, True
        if self.topics:
            self._consumer.subscribe(
                list(self.topics),
                on_assign=self._on_assign,
                on_revoke=partial(self._on_gone, "revoked"),
                on_lost=partial(self._on_gone, "lost"),
            )

    def follow(self, topics: Sequence[str]) -> None:
        """From now on these are the topics. Their partitions come and go during later polls."""
        if self.topics != tuple(topics):
            self.topics = tuple(topics)
            if self._is_subscribed:
                self.subscribe() if topics else self._consumer.unsubscribe()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return  # one that was abandoned while it closed
        self._intake.forward(partitions)
        self._change("assigned", partitions)
        # The client keeps one paused that went away while it was, also when it comes back.
        self._paused = True
        self.partitions.update(map(key_of, partitions))

    def _on_gone(self, event: str, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # An abandoned consumer may report a revocation late. Its successor has that by now, and what is dropped
        # of a partition that is taken for given away is not read again.
        if consumer is not self._consumer:
            return
        self._change(event, partitions)
        for key in map(key_of, partitions):
            self.partitions.discard(key)
            self._own.pop(key, None)
            self._complete_at.pop(key, None)

    def _change(self, event: str, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return  # a cooperative rebalance that changed nothing for us
        self._moves.append((event, list(map(key_of, partitions))))
        if self._moved_at is None:
            self._moved_at = time.monotonic()

    def _has_moved(self) -> bool:
        """Whether partitions came or went since the last call. Calls the listeners."""
        moves, self._moves = self._moves, []
        if moves:
            self._must_rewind = True
        for event, partitions in moves:
            self._on_assignment(event, partitions)
        return bool(moves)

    def poll(self, records_max: int, bytes_max: int, wait_s: float) -> Fetched:
        """The next records, often none: at most `records_max`, of at most `bytes_max` together (but at least one, whatever
        its size). Blocks for the whole `wait_s` unless it has enough: that is how the client works.

        Raises Unavailable if a rewind is due and no broker answers, otherwise the error that the broker answered.
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
        enough = min(records_max, bytes_max // self._mean_bytes + 1) - len(rest)
        # Poll even while enough is left: only then does the client learn that a partition was taken away.
        came, error = self._take(max(1, enough), 0 if rest else wait_s)
        moved = self._has_moved()
        # Errors count even if the batch is dropped: a failed consumer says once why, just as partitions are lost.
        if error is not None:
            raise self._given_up(error)
        # One of these records may already be another worker's: emitting it would double it.
        if moved:
            return NOTHING
        if self._tag_topic and isinstance(came, PolledBatch):
            came = came.marked()
        fetched = _joined(rest, came)
        # For a cooperative rebalance librdkafka 2.16.1 pauses what stays, and resumes it where the application stood: what is
        # being taken at that moment does not count yet, and comes again. And all comes again if the brokers lost the end.
        if fetched.goes_back(self._next):
            self._note_lost(fetched)
            self._must_rewind = self._resume_at.must_ask_ends = True
            raise Migrated("the client gave records again that are committed")
        if fetched or self._resume_at.begun:
            self.metadata = self._membership()
            self._resume_at.look(self._read_topics())
        elif self._resume_at.is_another(self._read_topics()):
            self._must_rewind = True
        return self._cut(fetched, records_max, bytes_max)

    def _take(self, records_max: int, wait_s: float) -> tuple[Fetched, KafkaError | None]:
        """The next records of the client, and its error. Their partitions cannot be rewound without a seek."""
        came, error = self._intake.take(records_max, wait_s)
        if came:
            self._delivered.update(came.origins())
        return came, error

    def _note_lost(self, fetched: Fetched) -> None:
        """Note partitions that lost committed records: a leader that was elected later has written others at their offsets."""
        for message in polled(fetched).messages:
            key = message.topic() or "", message.partition() or 0
            upto, epoch = self._next.get(key, 0), self._epochs.get(key, -1)
            if (message.offset() or 0) < upto and 0 <= epoch < epoch_of(message.leader_epoch()):
                self._resume_at.lost.add((key, upto))

    def _read_topics(self) -> list[str]:
        return sorted({topic for topic, _ in self.partitions})

    def _cut(self, fetched: Fetched, records_max: int, bytes_max: int) -> Fetched:
        """As many records as fit into a batch; the rest is kept."""
        count, nbytes = len(fetched), fetched.nbytes
        self._rest = NOTHING
        if count:
            self._mean_bytes = nbytes // count + 1
        if count > records_max or nbytes > bytes_max:
            fetched, self._rest = fetched.parted(max(1, min(records_max, fetched.fitting(bytes_max))))
        return fetched

    def put_back(self, fetched: Fetched) -> None:
        """Put back the end of the last batch, which is not emitted now. The next poll returns it first."""
        self._rest = _joined(fetched, self._rest)

    def widen(self, widths: Mapping[str, int]) -> None:
        """Set how many partitions the outputs of each topic have. Partitions beyond that stay assigned and are not read."""
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

    def _given_up(self, error: KafkaError) -> ScrubError:
        self._must_rewind = True
        if cause_of(error).fatal():
            self._close_failed()
        who = self._options.get("group.instance.id")
        return translate(
            error, f"consuming {', '.join(self.topics)}" + (f" as group.instance.id {who}" if who else "")
        )

    def _close_failed(self) -> None:
        """Give up the consumer; the next poll makes another one."""
        self._failed = True
        self._intake.close()
        leave_group(self._consumer)
        self._has_moved()
        self.partitions.clear()

    def _need_consumer(self) -> None:
        """Replace a consumer that failed for good: its partitions come back, or go to others, as after a crash."""
        if self._failed:
            self._consumer, self._intake = self._new_consumer()
            self.subscribe()

    def idle(self, wait_s: float) -> None:
        """Stay in the group without taking records, while the worker holds. Blocks for `wait_s`. Raises the error of a
        consumer that has failed for good; the next poll gets any other error again."""
        self._need_consumer()
        assigned = self._assignment()
        if assigned:
            self._consumer.pause(assigned)
            self._paused = True
        started = time.monotonic()
        came, error = self._take(1, wait_s)
        if came or error is not None:
            self._must_rewind = True
        if self._has_moved():
            self._moved_at = None  # polling waits for the hold's end, not for the group
        # A consumer may fail for good during a hold, or in the very poll that loses its partitions.
        if error is not None and cause_of(error).fatal():
            raise self._given_up(error)
        time.sleep(max(0.0, started + wait_s - time.monotonic()))

    def drop(self) -> None:
        """Give up the last batch: the next poll rewinds first."""
        self._must_rewind = True

    def rejoin(self) -> None:
        """Leave the group, and join it with the next poll. Only the true coordinator lets anybody join: a deposed one would
        answer that a commit of unknown outcome was not made."""
        if not self._failed:
            self._close_failed()
        self._must_rewind = True

    def offsets(self, fetched: Fetched, position: int) -> list[TopicPartition]:
        """What to commit for a batch: one past its last record in each partition, and the index position."""
        # The batch's own records say how far it goes: the client's position moves before anything is emitted.
        lasts = fetched.lasts()
        try:
            self._resume_at.need_same({topic for topic, *_ in lasts}, Deadline.after(REWIND_S))
        except Migrated:
            self._must_rewind = True
            raise
        return [
            TopicPartition(topic, partition, offset + 1, self._resume_at.note(topic, position), epoch)
            for topic, partition, offset, epoch in lasts
        ]

    @property
    def is_settled(self) -> bool:
        """Whether the next poll reads on where this one ended. Else records may come again, or from elsewhere."""
        return not self._must_rewind

    def places(self, position: int) -> list[TopicPartition]:
        """What to commit with records that are emitted for no record read now: each partition's place as it is, and the
        index position. Call it right after a poll that left the source settled. Raises Migrated, Unavailable, Refused."""
        self.metadata = self._membership()
        self._resume_at.look(self._read_topics())
        self._resume_at.need_same(self._read_topics(), Deadline.after(REWIND_S))
        return [
            TopicPartition(*key, offset, self._resume_at.note(key[0], position), self._epochs.get(key, -1))
            for key, offset in self.committed.items()
        ]

    @property
    def committed(self) -> dict[PartitionKey, int]:
        """The committed offset of each partition, once the source is settled."""
        return {key: self._next[key] for key in sorted(self.partitions)}

    def has_committed(self, places: Collection[TopicPartition]) -> None:
        """These offsets are committed."""
        for place in places:
            self._next[key_of(place)] = place.offset
            self._epochs[key_of(place)] = epoch_of(place.leader_epoch)
            if (note := CommitNote.read(place.metadata)) is not None and key_of(place) in self.partitions:
                self._own[key_of(place)] = place.offset, note.topic_id

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*key) for key in sorted(self.partitions)]

    def _membership(self) -> bytes:
        """The group metadata that this batch's commit must carry, checked to be a member's.

        It is taken now, after every callback: if the group moves on before the commit, the broker refuses the old
        generation (KIP-447). A worker that was evicted and takes it later would get generation -1 and no member, which the
        broker accepts from anyone.
        """
        metadata: bytes = self._consumer.consumer_group_metadata()
        if not metadata.startswith(_METADATA_FORM):
            raise Migrated("the client's group metadata has an unknown form: use the locked confluent-kafka")
        if not _is_member(metadata):
            self._must_rewind = True
            raise Migrated("this worker is not in the group at the moment")
        return metadata

    @property
    def is_member(self) -> bool:
        """Whether the group knows this worker at the moment, with or without partitions."""
        return not self._failed and _is_member(self._consumer.consumer_group_metadata())

    def _rewind(self, deadline: Deadline) -> None:
        """Seek every assigned partition to its committed offset, and learn the index positions used so far. Raises
        StaleIndex if the broker has no offset of a partition, and any start would be a guess."""
        self._rest = NOTHING
        if isinstance(self._intake, MessageIntake):
            self._intake.ends.clear()
        self._delivered &= self.partitions
        with translating("asking for the committed offsets of the prospects"):
            # The brokers' offsets, never remembered ones: a commit that failed may have happened.
            committed = self._committed(self._assignment(), deadline)
            self._need_no_older(committed, deadline)
            offsets = {key_of(place): place.offset for place in committed}
            sure = self._resume_at.choose(committed, deadline)
            for place in committed:
                key, epoch = key_of(place), epoch_of(place.leader_epoch)
                if place.offset != offsets[key]:
                    epoch = -1
                self._next[key], self._epochs[key] = max(0, place.offset), epoch
                # Only in a seek does the client compare the epoch with the leader's (librdkafka 2.16.0). If the leader has fewer
                # records of that epoch, it reads on where they end.
                self._seek(place, epoch, deadline, surely=key in sure or epoch >= 0)
        self._delivered.clear()
        self._must_rewind = False

    def _need_no_older(self, committed: list[TopicPartition], deadline: Deadline) -> None:
        """Raises Unavailable if an answer is older than what this worker itself has committed. A coordinator that was deposed
        and does not know it still answers, and every prospect since would be emitted again."""
        for place in committed:
            own, own_topic_id = self._own.get(key_of(place), (-1, ""))
            note = CommitNote.read(place.metadata)
            # An operator's commit has no note, and counts as one for the topic of our own.
            topic_id = own_topic_id if note is None else note.topic_id
            if place.offset < 0 or own < 0 or (place.offset >= own and topic_id == own_topic_id):
                continue
            # Our own commit was for a topic that is gone: it says nothing of the one that now has the name.
            if self._resume_at.witnesses.id_of(place.topic, deadline) != own_topic_id:
                continue
            known = dict(self._own)  # closing takes them for given away
            self._close_failed()
            self._own = known
            raise Unavailable(
                f"a broker answers that offset {place.offset} of {place.topic} partition {place.partition} is committed, and"
                f" this worker has committed {own}: it may not know that it no longer coordinates the group. Asking again"
            )

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
        """The start of partitions without a committed offset: commit it before any of their records."""
        return [] if self._must_rewind else self._resume_at.begun

    def has_begun(self) -> None:
        """`begun` is committed."""
        self._resume_at.has_begun()

    def need_siblings(self) -> None:
        """Call it before anything is emitted. Raises StaleIndex while partitions of other topics with the same outputs must
        begin first; Unavailable, Refused."""
        deadline = Deadline.after(REWIND_S)
        with translating("asking where the inputs begin"):
            self._resume_at.need_siblings(
                self.partitions, lambda places: self._committed(places, deadline), deadline
            )

    def _seek(self, committed: TopicPartition, epoch: int, deadline: Deadline, *, surely: bool) -> None:
        offset = committed.offset if committed.offset >= 0 else self.first(key_of(committed), deadline)
        while True:
            try:
                self._consumer.seek(TopicPartition(committed.topic, committed.partition, offset, "", epoch))
            except KafkaException as error:
                if error.args[0].code() not in NOT_FETCHING:
                    raise
                if key_of(committed) not in self._delivered and not surely:
                    return  # not fetching yet, so it will begin at the committed offset by itself
                if deadline.passed:
                    self._need_alive()
                    raise Unavailable(
                        f"{committed.topic} partition {committed.partition} cannot be rewound yet"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def _need_alive(self) -> None:
        """Raises the error of a consumer that has failed for good: it never fetches, so it can never be rewound."""
        _, error = self._take(1, 0)
        self._has_moved()
        if error is not None and cause_of(error).fatal():
            raise self._given_up(error)

    def first(self, key: PartitionKey, deadline: Deadline) -> int:
        """The oldest offset of a partition. Raises Unavailable, Refused. We seek to an offset, not to "the beginning":
        librdkafka 2.16.0, when sent there twice in a moment, skipped dozens of records in one of eight tries."""
        with translating(f"asking for the oldest offset of {key[0]}"):
            return self._resume_at.witnesses.bounds(key, deadline)[0]

    def lag(self) -> dict[PartitionKey, int]:
        """By partition, the prospects between the committed offset and the end, as far as it is known: confirmed, or as it
        came with the last records. librdkafka's own figure ignores offsets that a transaction commits."""
        self._confirmed.look(self.partitions)
        lags: dict[PartitionKey, int] = {}
        for each in self._assignment():
            key = key_of(each)
            low = high = -1
            with suppress(KafkaException):
                low, high = self._consumer.get_watermark_offsets(each, cached=True)
            high = max(high, self._confirmed.known[key].offset)
            if key in self._next and high >= 0:
                lags[key] = max(0, high - max(low, self._next[key]))
        return lags

    @property
    def confirmed_at(self) -> dict[PartitionKey, float]:
        """By partition, when its end was last confirmed, by `clock.elapsed`. Before: when the partition came."""
        return {key: end.at for key, end in self._confirmed.known.items()}

    def complete_at(self) -> dict[PartitionKey, float]:
        """By partition, a moment by `clock.elapsed`: everything that it held then was read and committed. Call it between two
        batches. Needs `enable.partition.eof`: a committed offset does not show that only markers of transactions follow."""
        self._confirmed.look(self.partitions)
        ends: Mapping[PartitionKey, int] = {}
        if isinstance(self._intake, MessageIntake) and not self._rest:
            ends = self._intake.ends
        for key in self.partitions & self._next.keys():
            read_upto = max(self._next[key], ends.get(key, 0))
            end = self._confirmed.known[key]
            if 0 <= end.offset <= read_upto:
                self._complete_at[key] = end.at
        return dict(self._complete_at)

    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for a session to end."""
        if not self._failed:
            self._intake.close()
            leave_group(self._consumer)
            self._has_moved()


def _joined(first: Fetched, more: Fetched) -> Fetched:
    """These records, followed by others, taken in the same way."""
    if not (first and more):
        return first or more
    return first.then(more)  # type: ignore[arg-type]  # one source takes them


def _is_member(metadata: bytes) -> bool:
    """Whether group metadata is a member's: it has a generation and a name."""
    if not metadata.startswith(_METADATA_FORM):
        return False
    (generation,) = struct.unpack_from("=i", metadata, len(_METADATA_FORM))
    return generation > 0 and bool(metadata[len(_METADATA_FORM) + 4 :].split(b"\0")[1])
