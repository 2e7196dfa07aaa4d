"""`opposition.requests` as the publisher consumes it: every partition, from what its group has committed. The same
for `opposition.lifts`.

No member of the group: who may commit is settled by the transactional ids of the registers (`log_writer.py`), and a killed
publisher's successor need not wait for anybody's session to end. The group's offsets are committed in the writers'
transactions and with them, in each one's metadata, who it was that committed: the note that a second publisher reads.
"""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from stream_scrub.errors import Corrupt, Migrated, Unavailable
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.headers import read_headers
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.model import Deadline, Request

_ASK_S = 5.0
_READ_S = 15.0
_AT_ONCE_S = 0.002
_NOTE = re.compile(r"owner=(\S*) beat=(\d+) registers=(\S*)(?: topic=(\S+))?")


class OwnerNote(NamedTuple):
    """Who publishes the requests of this group. `owner` is empty once the publisher has ended; while it lives it counts
    `beat` up. `registers` are without scopes. `topic` is the id of the topic that the offsets belong to, empty in old
    notes."""

    owner: str
    beat: int
    registers: frozenset[str]
    topic: str = ""

    def __str__(self) -> str:
        note = f"owner={self.owner} beat={self.beat} registers={','.join(sorted(self.registers))}"
        return note + (f" topic={self.topic}" if self.topic else "")

    @classmethod
    def of(cls, text: str | None) -> "OwnerNote":
        """The note in a commit's metadata; one of nobody where there is none."""
        found = _NOTE.fullmatch(text or "")
        if found is None:
            return cls("", 0, frozenset())
        return cls(found[1], int(found[2]), frozenset(filter(None, found[3].split(","))), found[4] or "")


class RequestsReader:
    """A topic of requests; `lifts` says that what comes over it may lift. One thread. Every method but `poll` blocks for
    some seconds at most while no broker answers; all raise Unavailable and Refused.
    """

    def __init__(
        self, options: dict[str, Any], admin: dict[str, Any], topic: str, *, lifts: bool = False
    ) -> None:
        self.topic = topic
        self.lifts = lifts
        self._identity = TopicIdentity(admin)
        self._options = options
        self._consumer = Consumer(options)
        # A client that asks for stable offsets waits for pending transactions; this one does not.
        self._asking = Consumer(asking_options(options))
        self._membership = b""
        self._next: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._seen: set[int] = set()
        self._given: dict[int, int] = {}  # by partition, the offset after the last request that was given,
        self._empty: dict[int, int] = {}  # and up to where the broker said that no other one follows
        self._polled_at = time.monotonic()
        self._damage: Unavailable | None = None
        self.id = ""
        self.anew = False
        self.missed = 0
        self.skipped: dict[int, int] = {}

    def topic_id(self) -> str:
        """The id that Kafka gave the topic when it was made; empty from brokers before 2.8, which give none."""
        return self._identity.ask([self.topic], Deadline.after(_ASK_S))[self.topic]

    def look(self) -> None:
        """See whether the topic is still the same one. Raises Migrated where it is not."""
        if self.id and self.topic_id() not in ("", self.id):
            raise Migrated(f"{self.topic} was deleted and made anew")

    @property
    def assigned(self) -> int:
        """How many partitions are read."""
        return len(self._next)

    def partitions(self) -> int:
        """How many partitions the topic has now."""
        try:
            topic = self._consumer.list_topics(self.topic, timeout=_ASK_S).topics[self.topic]
        except KafkaException as error:
            raise translate(error, f"asking for {self.topic}") from error
        if topic.error is not None:
            raise translate(topic.error, f"asking for {self.topic}")
        return len(topic.partitions)

    def note(self) -> OwnerNote:
        """The note of whoever committed last. Does not wait for a pending transaction that would commit another note: its
        publisher may have been killed, and only the caller can end that transaction.
        """
        return OwnerNote.of(self._noted()[0].metadata)

    def _noted(self) -> list[TopicPartition]:
        """What the group has committed in each partition, without waiting for what is pending.

        Not by AdminClient.list_consumer_group_offsets: librdkafka 2.16.0 dies of it (SIGSEGV) while the group's
        coordinator is not available, as on a new cluster or after a broker's restart.
        """
        mine = [TopicPartition(self.topic, partition) for partition in range(self.partitions())]
        return self._committed(mine, Deadline.after(_ASK_S), self._asking)

    def begin(self, deadline: Deadline, known: str = "") -> None:
        """Go to what is committed, or to the oldest request there is. To be called when every older publisher has
        been fenced. `missed` are requests that Kafka deleted before anyone read them, `skipped` the offsets that follow
        on them by partition: once these are committed they are not missed again. Where what was committed is of another
        topic that had this name (`anew`), every partition is begun at its start, and `skipped` says so. `known` is the id
        that the topic had, for Kafka forgets what was committed of a topic that it deletes.
        """
        self.id = self.topic_id()
        mine = [TopicPartition(self.topic, partition) for partition in range(self.partitions())]
        self.missed, self.skipped = 0, {}
        committed = self._committed(mine, deadline, self._consumer)
        self.anew = (OwnerNote.of(committed[0].metadata).topic or known) not in ("", self.id)
        for each in committed:
            low, high = self._bounds(each.partition)
            if self.anew:
                each.offset = self.skipped[each.partition] = low
            elif 0 <= each.offset < low:
                self.missed += low - each.offset
                self.skipped[each.partition] = low
            # The offset is beyond the end: what was read is gone, and what is there may be new. Read it from the start.
            self._next[each.partition] = each.offset if low <= each.offset <= high else low
            self._epochs[each.partition] = -1 if self.anew else _epoch(each.leader_epoch)
        self._consumer.assign([self._place(p, offset) for p, offset in self._next.items()])
        self._seen.clear()
        self._given.clear()
        self._empty.clear()
        self._validate(deadline)
        self._membership = self._consumer.consumer_group_metadata()

    def _validate(self, deadline: Deadline) -> None:
        """A partition may have lost its last records with their leader and have others at these offsets since: its end
        says nothing then. By a seek with the leader epoch of what was committed the client asks for where that one ended
        (KIP-320), and goes back there. What is read again was told before, or has a later epoch (`wire.Cursor.has`).
        """
        for partition, offset in self._next.items():
            if offset == 0 or self._epochs[partition] < 0:
                continue
            place = self._place(partition, offset)
            while not self._sought(place):
                if deadline.passed:
                    raise Unavailable(f"{self.topic} partition {partition} cannot be read yet")
                time.sleep(0.05)

    def _sought(self, place: TopicPartition) -> bool:
        """Whether the client accepts the seek; it does not while it still prepares to fetch."""
        try:
            self._consumer.seek(place)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise translate(error, f"asking for where {self.topic} was read to") from error
            return False
        return True

    def lag(self) -> int:
        """How many requests are on the topic that nobody has taken yet. Where there are some, the markers of transactions
        between them count too; where there are only markers, none waits."""
        behind = {}
        for each in self._noted():
            low, high = self._bounds(each.partition)
            if high > (offset := max(low, each.offset)):
                behind[each.partition] = offset, high - offset
        if not behind:
            return 0
        places = [TopicPartition(self.topic, partition, offset) for partition, (offset, _) in behind.items()]
        return sum(behind[partition][1] for partition in self._holding_requests(places))

    def _holding_requests(self, places: Sequence[TopicPartition]) -> set[int]:
        """The partitions that have a request from that offset on."""
        deadline, unknown, found = Deadline.after(_READ_S), {each.partition for each in places}, set()
        reader = Consumer(self._options)
        try:
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
                    found.add(partition)  # one that cannot be read waits too
                unknown.discard(partition)
        finally:
            reader.close()
        return found

    def behind(self) -> dict[int, int]:
        """By partition, the requests from what was taken to the partition's end, as far as the client knows that."""
        found = {}
        for partition, offset in self._next.items():
            place = TopicPartition(self.topic, partition)
            # A figure to look at: whatever is wrong comes out at the next poll.
            with suppress(KafkaException):
                _, high = self._consumer.get_watermark_offsets(place, cached=True)
                all_taken = self._given.get(partition, offset) <= offset
                if all_taken and self._empty.get(partition, -1) >= high:
                    found[partition] = 0
                elif high >= 0:
                    found[partition] = max(0, high - offset)
        return found

    def _committed(
        self, partitions: list[TopicPartition], deadline: Deadline, by: Consumer
    ) -> list[TopicPartition]:
        while True:
            try:
                found = by.committed(partitions, timeout=max(0.1, deadline.left(_ASK_S)))
            except KafkaException as error:
                # A transaction that is just ending keeps its offsets from being read: that is waited for.
                failure = translate(error, f"asking for what was read of {self.topic}")
                if deadline.passed or not isinstance(failure, Unavailable):
                    raise failure from error
            else:
                for each in found:
                    if each.error is not None:
                        raise translate(each.error, f"asking for what was read of {self.topic}")
                return found
            time.sleep(0.05)

    def _bounds(self, partition: int) -> tuple[int, int]:
        try:
            found = self._consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=_ASK_S
            )
        except KafkaException as error:
            raise translate(error, f"asking for the ends of {self.topic}") from error
        if found is None:
            raise Unavailable(f"asking for the ends of {self.topic}: no broker answers now")
        return found

    def poll(self, idle_s: float, batch_s: float, requests_max: int) -> list[Request]:
        """Wait at most `idle_s` for a request, and then for more until the first may have waited for `batch_s`, here or
        while the last ones were published. Only `consumed` moves the offsets on.

        A batch of requests that cannot be read holds up its own partition alone. Whatever else came is returned, and only
        the next call raises Unavailable: a caller that starts again each time still gets through the other partitions.
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
        if came_at - asked_at < _AT_ONCE_S:  # it lay here, for as long as since the last poll perhaps
            came_at = self._polled_at
        wait_s = max(0.0, came_at + batch_s - time.monotonic())
        messages = [first, *self._consumer.consume(requests_max - 1, wait_s)] if requests_max > 1 else [first]
        self._polled_at = time.monotonic()
        messages = self._without_ends(messages)
        found, damaged, reached = [], set[int | None](), dict(self._next)
        # A request whose headers are lost is taken without them: it says nothing in them.
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
            epoch = _epoch(message.leader_epoch())
            if offset < reached.get(partition, 0):
                # In a partition where `begin` made the client validate its offset, the record is a later leader's that
                # never got what was here before. In any other the client has begun again by itself, without a word.
                if partition in self._seen or not 0 <= self._epochs[partition] < epoch:
                    raise Migrated(f"{self.topic} was made anew or cut: its offsets went back")
                self._next[partition] = offset
            reached[partition] = self._given[partition] = offset + 1
            self._seen.add(partition)
            self._epochs[partition] = epoch
            moment = max(0, message.timestamp()[1])
            key, value, known = message.key(), message.value(), epoch if epoch >= 0 else None
            found.append(Request(partition, offset, moment, key, value, headers or (), known, self.lifts))
        return found

    def _without_ends(self, messages: Sequence[Message]) -> list[Message]:
        """The messages but for those that say where a partition ends, which is noted."""
        kept = []
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._empty[message.partition() or 0] = message.offset() or 0
            else:
                kept.append(message)
        return kept

    def beside(
        self,
        note: OwnerNote,
        consumed: Mapping[int, int],
        refused_topic: str = "",
        refused: Sequence[Request] = (),
    ) -> TransactionExtras:
        """What a writer commits beside a delta: by partition the offset after the last request that was consumed, with
        the note in the first partition's, and the requests that were refused.
        """
        upto, note = {0: self._next[0], **consumed}, note._replace(topic=self.id)
        offsets = [self._place(p, offset, str(note) if p == 0 else "") for p, offset in upto.items()]
        return TransactionExtras(refused_topic, refused, offsets, self._membership)

    def _place(self, partition: int, offset: int, note: str = "") -> TopicPartition:
        return TopicPartition(self.topic, partition, offset, note, self._epochs.get(partition, -1))

    def consumed(self, upto: Mapping[int, int]) -> None:
        """These offsets were committed."""
        self._next.update(upto)

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()
        self._asking.close()


def _epoch(known: int | None) -> int:
    """A leader epoch as the client takes it, -1 where there is none."""
    return -1 if known is None else known
