"""Reads `opposition.requests` (or `opposition.lifts`) for the publisher: every partition from its committed offset.

The publisher joins no group. The transactional ids of the registers decide who may commit (`log_writer.py`), so the
successor of a killed publisher waits for no session timeout. The writers' transactions commit the group's offsets, with a
note of the publisher in their metadata, which a second publisher reads.
"""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_scrub.errors import Corrupt, Migrated, Unavailable
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import Attempt, translate, translating
from stream_scrub.kafka.headers import read_headers
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.kafka.offsets import (
    bounds_of,
    committed_soon,
    epoch_of,
    need_read_back,
    new_mark,
    partitions_of,
)
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline, Request

_ASK_S = 5.0
_READ_S = 15.0
_AT_ONCE_S = 0.002
_NOTE = re.compile(r"owner=(\S*) beat=(\d+) registers=(\S*) topic=(\S*) seal=(\S*) log=(\S*)")


class OwnerNote(NamedTuple):
    """Which publisher consumes the requests of this group."""

    owner: str  # empty once the publisher has ended
    beat: int  # counts up while the publisher is alive; 0 if none has committed since a renewal of the log
    registers: frozenset[str]  # without scopes
    topic: str = ""  # the id of the topic that the offsets belong to; empty if the brokers give none
    seal: str = ""  # of the last delta that these offsets rest on (`publisher/delta_publisher.py: SealName`); empty before the first
    log: str = ""  # the log that has the requests before these offsets: its name and its topic's id

    def __str__(self) -> str:
        registers = ",".join(sorted(self.registers))
        return (
            f"owner={self.owner} beat={self.beat} registers={registers} topic={self.topic} seal={self.seal}"
            f" log={self.log}"
        )

    @classmethod
    def of(cls, text: str | None) -> "OwnerNote":
        """The note in a commit's metadata; without an owner if there is none."""
        match = _NOTE.fullmatch(text or "")
        if match is None:
            return cls("", 0, frozenset())
        registers = frozenset(filter(None, match[3].split(",")))
        return cls(match[1], int(match[2]), registers, *match.groups()[3:])


class RequestsReader:
    """Reads a topic of requests; `lifts`: its requests may lift oppositions. One thread. Every method but `poll` blocks for
    at most some seconds while no broker answers; all raise Unavailable and Refused.
    """

    def __init__(
        self, options: dict[str, Any], witnesses: Witnesses, topic: str, *, lifts: bool = False
    ) -> None:
        self.topic = topic
        self.lifts = lifts
        self._witnesses = witnesses
        self._options = options
        self._consumer = Consumer(options)
        # A client that asks for stable offsets waits for pending transactions; this one does not.
        self._asking = Consumer(asking_options(options))
        self._membership = b""
        self._next: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._seen: set[int] = set()
        self._paused: frozenset[int] = frozenset()
        # By partition, the offset after the last returned request, and the offset at which the broker reported the end.
        self._given: dict[int, int] = {}
        self._empty: dict[int, int] = {}
        self._polled_at = time.monotonic()
        self._damage: Unavailable | None = None
        self.id = ""
        self.recreated = False
        self.missed = 0
        self.skipped: dict[int, int] = {}

    def topic_id(self) -> str:
        """Kafka's id of the topic; empty from brokers before 2.8."""
        return self.id_of(self.topic)

    def id_of(self, topic: str) -> str:
        """As `topic_id`, of another topic."""
        return self._witnesses.id_of(topic, Deadline.after(_ASK_S))

    def look(self) -> None:
        """Check that the topic is still the same one. Raises Migrated if it was re-created."""
        if self.id and self.topic_id() not in ("", self.id):
            raise Migrated(f"{self.topic} was deleted and created again")

    @property
    def assigned(self) -> int:
        """How many partitions are read."""
        return len(self._next)

    def partitions(self) -> int:
        """How many partitions the topic has now."""
        return len(partitions_of(self._consumer, self.topic, Deadline.after(_ASK_S)))

    def note(self) -> OwnerNote:
        """The note of the last commit. Does not wait for a pending transaction that would commit another note."""
        # Its publisher may have been killed, and only the caller can end that transaction.
        return OwnerNote.of(self._noted()[0].metadata)

    def _noted(self) -> list[TopicPartition]:
        """What the group has committed in each partition, without waiting for pending transactions."""
        # Not by AdminClient.list_consumer_group_offsets: librdkafka 2.16.0 crashes (SIGSEGV) while the group's coordinator
        # is not available, as on a new cluster or after a broker's restart.
        return self._committed(Deadline.after(_ASK_S), self._asking)

    def goes_on(self, old_log: str, new_log: str) -> None:
        """Note that the offsets of the group are for the new log, which states all that was published to the old one. Call it
        when every publisher has been fenced, and none began since.

        If a publisher has committed them for a third log, nothing states what was published there: they stay as they are, and
        the next publisher takes all requests again."""
        place = self._committed(Deadline.after(_ASK_S), self._consumer)[0]
        if place.offset < 0:
            return
        note = OwnerNote.of(place.metadata)
        if note.log not in ("", f"{old_log}/{self.id_of(old_log)}") and note.beat > 0:
            return
        note = note._replace(owner="", beat=0, log=f"{new_log}/{self.id_of(new_log)}")
        # A TopicPartition's metadata cannot be assigned.
        noted = TopicPartition(
            self.topic, place.partition, place.offset, str(note), epoch_of(place.leader_epoch)
        )
        with translating(Attempt.ASKING):
            self._consumer.commit(offsets=[noted], asynchronous=False)

    def mark(self, log_topic: str, deadline: Deadline) -> TransactionExtras:
        """What a publisher commits once it has fenced every older one, and before `confirm`: see `kafka/offsets.py: new_mark`."""
        mark = new_mark(self._consumer, log_topic, deadline)
        return TransactionExtras(offsets=[mark], membership=self._consumer.consumer_group_metadata())

    def confirm(self, mark: TransactionExtras, deadline: Deadline) -> None:
        """Check that these clients are answered with the `mark`, which was committed. Raises Unavailable, Refused."""
        for each in (self._consumer, self._asking):
            need_read_back(each, mark.offsets[0], deadline)

    def begin(self, deadline: Deadline, known: str = "", *, again: bool = False) -> None:
        """Go to the committed offsets, else to the oldest request. Call it when every older publisher has been fenced, after
        `confirm`.

        Sets `missed` (requests that Kafka deleted unread), `skipped` (by partition, the offset to commit so that they are
        not missed again) and `recreated` (the topic was re-created: every partition begins at its start). `known` is the
        topic's id from before: Kafka forgets the offsets of a topic that it deletes. `again`: to the oldest request, whatever is
        committed.
        """
        self.id = self.topic_id()
        self.missed, self.skipped = 0, {}
        committed = self._committed(deadline, self._consumer)
        self.recreated = (OwnerNote.of(committed[0].metadata).topic or known) not in ("", self.id)
        for each in committed:
            low, high = bounds_of(self._consumer, each, Deadline.after(_ASK_S))
            if self.recreated or again:
                each.offset = self.skipped[each.partition] = low
            elif 0 <= each.offset < low:
                self.missed += low - each.offset
                self.skipped[each.partition] = low
            # The cursor is beyond the end: the records read are gone, and those present may be new. Read from the start.
            self._next[each.partition] = each.offset if low <= each.offset <= high else low
            self._epochs[each.partition] = -1 if self.recreated else epoch_of(each.leader_epoch)
        self._consumer.assign([self._place(p, offset) for p, offset in self._next.items()])
        self._seen.clear()
        self._given.clear()
        self._empty.clear()
        self._validate(deadline)
        self._membership = self._consumer.consumer_group_metadata()

    def _validate(self, deadline: Deadline) -> None:
        """Have the client check the committed offsets against the leader epochs (KIP-320)."""
        # A partition may have lost its last records with their leader, and have others at these offsets since. By a seek
        # with a leader epoch the client asks where that epoch ended, and goes back there. Requests that are read again were
        # taken before, or have a later epoch (`wire.Cursor.has`).
        for partition, offset in self._next.items():
            if offset == 0 or self._epochs[partition] < 0:
                continue
            while True:
                try:
                    self._consumer.seek(self._place(partition, offset))
                    break
                except KafkaException as error:
                    if error.args[0].code() != KafkaError._STATE:  # it does not prepare to fetch
                        raise translate(error, f"asking for where {self.topic} was read to") from error
                if deadline.passed:
                    raise Unavailable(f"{self.topic} partition {partition} cannot be read yet")
                time.sleep(0.05)

    def lag(self) -> int:
        """How many requests wait on the topic. Transaction markers between them count too; markers alone count as none."""
        behind = {}
        for each in self._noted():
            low, high = bounds_of(self._consumer, each, Deadline.after(_ASK_S))
            if high > (offset := max(low, each.offset)):
                behind[each.partition] = offset, high - offset
        if not behind:
            return 0
        places = [TopicPartition(self.topic, partition, offset) for partition, (offset, _) in behind.items()]
        return sum(behind[partition][1] for partition in self._holding_requests(places))

    def _holding_requests(self, places: Sequence[TopicPartition]) -> set[int]:
        """The partitions that have a request from that offset on."""
        deadline, unknown, found = Deadline.after(_READ_S), {each.partition for each in places}, set()
        with closing(Consumer(self._options)) as reader:
            reader.assign(list(places))
            while unknown:
                message = reader.poll(deadline.left(0.5))
                if message is None and deadline.passed:
                    raise Unavailable(f"{self.topic} could not be read in time")
                if message is None:
                    continue
                if (partition := message.partition()) is None or partition not in unknown:
                    continue
                if (error := message.error()) is None or error.code() != KafkaError._PARTITION_EOF:
                    found.add(partition)  # a request that cannot be read waits too
                unknown.discard(partition)
        return found

    def behind(self) -> dict[int, int]:
        """By partition, the requests between the cursor and the partition's end, as far as the client knows it."""
        found = {}
        for partition, offset in self._next.items():
            place = TopicPartition(self.topic, partition)
            # For display only: an error comes out at the next poll.
            with suppress(KafkaException):
                _, high = self._consumer.get_watermark_offsets(place, cached=True)
                all_taken = self._given.get(partition, offset) <= offset
                if all_taken and self._empty.get(partition, -1) >= high:
                    found[partition] = 0
                elif high >= 0:
                    found[partition] = max(0, high - offset)
        return found

    def _committed(self, deadline: Deadline, by: Consumer) -> list[TopicPartition]:
        places = [TopicPartition(self.topic, partition) for partition in range(self.partitions())]
        return committed_soon(by, places, f"asking for what was read of {self.topic}", deadline)

    def poll(self, idle_s: float, batch_s: float, requests_max: int) -> list[Request]:
        """Wait at most `idle_s` for a request, and then for more until the first has waited for `batch_s`, here or while
        the last batch was published. Only `consumed` moves the offsets.

        A damaged batch holds up its own partition alone: the other requests are returned, and the next call raises
        Unavailable.
        """
        if (damage := self._damage) is not None:
            self._damage = None
            raise damage
        asked_at = time.monotonic()
        first = self._consumer.poll(idle_s)
        if first is None:
            self._polled_at = time.monotonic()
            return []
        came_at = time.monotonic()
        if came_at - asked_at < _AT_ONCE_S:  # it may have waited here since the last poll
            came_at = self._polled_at
        wait_s = max(0.0, came_at + batch_s - time.monotonic())
        messages = [first, *self._consumer.consume(requests_max - 1, wait_s)] if requests_max > 1 else [first]
        self._polled_at = time.monotonic()
        messages = self._without_ends(messages)
        found, damaged, reached = [], set[int | None](), dict(self._next)
        # A request without its headers is taken: they mean nothing.
        for message, headers in zip(messages, read_headers(messages).each, strict=True):
            if (error := message.error()) is not None:
                failure = translate(error, f"consuming {self.topic}")
                if not isinstance(failure, Corrupt):
                    raise failure
                self._damage = Unavailable(str(failure))
                damaged.add(message.partition())
                continue
            partition, offset = message.partition(), message.offset()
            if partition in damaged:
                continue
            assert partition is not None and offset is not None, "a consumed record has both"  # noqa: PT018
            epoch = epoch_of(message.leader_epoch())
            if offset < reached.get(partition, 0):
                # If `begin` made the client validate its offset, the record is from a later leader that never had the
                # records before. Otherwise the client has started again by itself.
                if partition in self._seen or not 0 <= self._epochs[partition] < epoch:
                    raise Migrated(f"{self.topic} was created again or cut: its offsets went back")
                self._next[partition] = offset
            reached[partition] = self._given[partition] = offset + 1
            self._seen.add(partition)
            self._epochs[partition] = epoch
            moment = max(0, message.timestamp()[1])
            key, value, known = message.key(), message.value(), epoch if epoch >= 0 else None
            found.append(Request(partition, offset, moment, key, value, headers or (), known, self.lifts))
        return found

    @property
    def is_damaged(self) -> bool:
        """Whether the next `poll` raises Unavailable for a damaged batch."""
        return self._damage is not None

    def pause(self, partitions: frozenset[int]) -> None:
        """Poll nothing of these partitions until they are left out."""
        for change, which in (
            (self._consumer.pause, partitions - self._paused),
            (self._consumer.resume, self._paused - partitions),
        ):
            if which:
                change([TopicPartition(self.topic, partition) for partition in which])
        self._paused = partitions

    def _without_ends(self, messages: Sequence[Message]) -> list[Message]:
        """Remember the ends of partitions, and return the other messages."""
        kept = []
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._empty[message.partition() or 0] = message.offset() or 0
            else:
                kept.append(message)
        return kept

    def extras(
        self,
        note: OwnerNote,
        consumed: Mapping[int, int],
        refused_topic: str = "",
        refused: Sequence[Request] = (),
    ) -> TransactionExtras:
        """What a writer commits with a delta: the refused requests, the offset of every partition, and the note in the metadata
        of partition 0. The offset is that after the last consumed request, and after the markers of transactions behind it."""
        upto, note = {**self._next, **self._after_markers(), **consumed}, note._replace(topic=self.id)
        offsets = [self._place(p, offset, str(note) if p == 0 else "") for p, offset in upto.items()]
        return TransactionExtras(refused_topic, refused, offsets, self._membership)

    def _after_markers(self) -> dict[int, int]:
        """The ends of the partitions of which every request was taken."""
        # So whoever asks whether requests wait (`guards/waiting_requests.py`) compares two offsets, and need not read.
        if self.is_damaged:
            return {}  # an end may lie behind requests that were not read
        return {
            partition: self._empty[partition]
            for partition, offset in self._next.items()
            if self._given.get(partition, offset) <= offset < self._empty.get(partition, -1)
        }

    def _place(self, partition: int, offset: int, note: str = "") -> TopicPartition:
        return TopicPartition(self.topic, partition, offset, note, self._epochs.get(partition, -1))

    def consumed(self, upto: Mapping[int, int]) -> None:
        """These offsets were committed."""
        self._next.update(upto)

    def close(self) -> None:
        """Close the clients."""
        self._consumer.close()
        self._asking.close()
