"""The opposition log on Kafka, as `lists` follows it through the protocol of `model`."""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from stream_scrub import clock
from stream_scrub.errors import Corrupt, ScrubError, Unavailable
from stream_scrub.kafka.admin.votes import UNNAMED
from stream_scrub.kafka.client.translate import translate, translating
from stream_scrub.kafka.headers import read_headers
from stream_scrub.kafka.offsets import EARLIEST, LATEST, TRUNCATED, bounds_of, key_of, partitions_of
from stream_scrub.kafka.witnesses import QuorumEnd, Witnesses
from stream_scrub.model import Deadline, Header, LogRecord

_CONFIRM_EVERY_S = 0.5
_CONFIRM_MOVED_S = 0.1
_CONFIRM_TIMEOUT_S = 5.0
_LEADERS_TIMEOUT_S = 1.0
_FETCH_RECORDS = 200
_READ_RECORDS = 1000
_DAMAGED = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG})
_DAMAGED_MAX = 3  # damaged fetches in a row: damage on the disk is there each time, damage on the way is not
_ASTRAY_MAX = 20  # fetches in a row from an offset that was not asked for


class KafkaLogReader:
    """Reads the log's one partition, committed records only, without a consumer group.

    A quorum of the log's replicas confirms its end (`witnesses.py`). Silence does not: the broker may be away. The last
    record's offset does not either: transaction markers take offsets that are never delivered.

    There are two ends: of readable records, before the first open transaction, and of written ones.
    """

    # Other clients than the one that fetches ask for them. A question would wait there behind the fetches, and time out on
    # a slow link. librdkafka then breaks the connection (`socket.max.fails` is 1), and with it the fetch that is half done.

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        partition: int = 0,
        witnesses: Witnesses | None = None,
    ) -> None:
        """`partition`: for evidence from another topic than the log. Without `witnesses` the reader has its own, and a re-created
        topic is noticed only if it is shorter, or by its records."""
        self._witnesses = Witnesses(options, has_ids=False) if witnesses is None else witnesses
        self._id = ""
        self._partition = TopicPartition(topic, partition, OFFSET_BEGINNING)
        self._options = options
        self._consumer = Consumer(options)
        self._leader = self._named()  # by the broker that the consumer asks
        self._epoch = -1
        self._assigned = False
        self._next = self._seen = 0  # the next offset, and the end of what was seen on the log
        self._end = 0  # by the last answer
        self._damaged = self._astray = 0
        self._asked_at, self._confirmed = float("-inf"), -1
        self._mark: tuple[float, int] | None = None
        self._complete_at: float | None = None

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        """As `model.LogReader.read`. Fetched records are returned even if something fails after them."""
        # The client's position has moved past them: they would never be returned later, and their delta would be missing.
        if not self._id:
            self._id = self._asked_id()
        if not self._assigned:
            self._assign(OFFSET_BEGINNING)
        first = self._consumer.poll(timeout_s)
        messages = [first, *self._consumer.consume(_FETCH_RECORDS, 0)] if first is not None else []
        records = []
        for message, headers in zip(messages, read_headers(messages).each, strict=True):
            if (error := message.error()) is None:
                record = record_of(message, headers)
                if record.offset >= self._next:  # else it was returned before: see `_fetch_again`
                    records.append(record)
                    self._next = self._seen = record.offset + 1
                    self._damaged = self._astray = 0
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = max(self._next, message.offset() or 0)
                self._seen = max(self._seen, message.offset() or 0)
            else:
                self._fetch_again()
                if records or self._worth_again(error):
                    return records, False
                raise translate(error, f"following {self._partition.topic}")
        try:
            return records, self._at_end(came=bool(records))
        except ScrubError:
            if not records:
                raise
            return records, False  # the next call asks again

    def _worth_again(self, error: KafkaError) -> bool:
        """Whether to fetch again: the network may have damaged the bytes, or the client asked for a wrong offset. Raises
        Unavailable if the broker has fewer records than were read."""
        code = error.code()
        # librdkafka 2.16.0 invents an offset now and then after a damaged batch.
        if code == KafkaError._AUTO_OFFSET_RESET:
            if TRUNCATED in error.str():
                raise Unavailable(f"{self._partition.topic}: a broker lost records that were read")
            first, end = self.bounds()
            self._astray += 1
            return first <= self._next <= end and self._astray <= _ASTRAY_MAX
        self._damaged = self._damaged + 1 if code in _DAMAGED else 0
        return 0 < self._damaged <= _DAMAGED_MAX

    def _fetch_again(self) -> None:
        """Fetch again after the last record that was returned: what the client has after an error may have a gap."""
        self._assign(self._next or OFFSET_BEGINNING)

    def _assign(self, offset: int) -> None:
        """Assign the partition at that offset."""
        # Only once it is known where to read: while its broker is away, librdkafka may still be asking for the beginning,
        # and then starts there although it was given another offset since (seen on a real Kafka with 2.16.0).
        self._assigned = True
        self._consumer.assign([TopicPartition(self._partition.topic, self._partition.partition, offset)])

    def _named(self) -> int:
        """The leader by the word of a broker, from which the consumer fetches; -1 if none answers."""
        # Also a quicker start: an assigned partition waits 0.5 s for its leader's name.
        with suppress(KafkaException):
            place = self._partition
            found = self._consumer.list_topics(place.topic, timeout=_LEADERS_TIMEOUT_S).topics[place.topic]
            if place.partition in found.partitions:
                return int(found.partitions[place.partition].leader)
        return -1

    def _follow_leader(self) -> None:
        """Fetch from the leader that the quorum named. A deposed one gives nothing new, and no error."""
        elected = self._witnesses.leader_of(key_of(self._partition))
        if elected in (self._leader, UNNAMED):
            return
        self._leader = self._named()
        if self._leader not in (elected, UNNAMED):
            self._consumer.close()
            self._consumer = Consumer(self._options)
            self._leader = self._named()
            if self._assigned:
                self._fetch_again()

    def _at_end(self, *, came: bool) -> bool:
        # While records come it is known where the log ended a moment ago: each question costs a client's time.
        if came and self._next < self._end:
            return False
        now = clock.elapsed()
        if now - self._asked_at < (_CONFIRM_EVERY_S if self._next == self._confirmed else _CONFIRM_MOVED_S):
            return False
        self._asked_at = now
        end = self._end = self._ask(LATEST).offset
        if self._seen > end:
            raise self._shorter(end)
        if self._next != end:  # it is behind, or was put where nothing is: the client will say so
            return False
        if self._asked_id() != self._id:
            topic = self._partition.topic
            raise Corrupt(f"{topic} was deleted and created again: what was read before is not in it")
        self._confirmed = self._next
        return True

    def _asked_id(self) -> str:
        """The topic's id now; empty if there is none. An offset means nothing on a topic that was re-created, so the id is asked
        for with every end."""
        return self._witnesses.id_of(self._partition.topic, Deadline.after(_CONFIRM_TIMEOUT_S))

    def seek(self, offset: int) -> None:
        """As `model.LogReader.seek`."""
        # Assigned again: a seek fails while the client is still asking who leads the partition.
        self._assign(offset)
        self._next, self._seen = offset, 0
        self._asked_at, self._confirmed = float("-inf"), -1
        self._mark = self._complete_at = None

    def complete_at(self) -> float | None:
        """As `model.LogReader.complete_at`. Asks the broker for the end once the last end that it gave has been reached."""
        # Not before: where one transaction follows another, there may never be a moment at which none is open.
        if self._mark is None or self._reached():
            written = self._ask(LATEST, IsolationLevel.READ_UNCOMMITTED)
            if self._seen > written.offset:
                raise self._shorter(written.offset)
            self._mark = written.at, written.offset
            self._reached()
        return self._complete_at

    @property
    def leader_epoch(self) -> int:
        """As `model.LogReader.leader_epoch`."""
        return self._epoch

    def _shorter(self, end: int) -> Unavailable:
        """The log ends before a record that was read, so nothing is confirmed."""
        return Unavailable(
            f"{self._partition.topic} ends at offset {end}, and was read up to {self._seen}: it was deleted and created again,"
            " or a broker lost what others had (an unclean election)"
        )

    def _reached(self) -> bool:
        assert self._mark is not None, "there is an end to reach"
        asked_at, end = self._mark
        if self._next >= end:
            self._complete_at = asked_at
        return self._next >= end

    def bounds(self) -> tuple[int, int]:
        """As `model.LogReader.bounds`. The end is that of committed records, before the first open transaction."""
        return self._ask(EARLIEST).offset, self._ask(LATEST).offset

    def _ask(self, what: Any, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED) -> QuorumEnd:
        deadline = Deadline.after(_CONFIRM_TIMEOUT_S)
        try:
            answer = self._witnesses.end(key_of(self._partition), deadline, what, isolation)
        finally:
            self._follow_leader()
        if what is LATEST:
            self._epoch = answer.epoch
        return answer

    def close(self) -> None:
        """As `model.LogReader.close`."""
        self._consumer.close()


def record_of(message: Message, headers: Sequence[Header] | None) -> LogRecord:
    """The record, without headers if they are lost. It is then not in the log's format."""
    offset = message.offset()
    assert offset is not None, "a consumed record has an offset"
    kind, moment = message.timestamp()
    timestamp_ms = None if kind == TIMESTAMP_NOT_AVAILABLE else moment
    return LogRecord(offset, message.key(), message.value(), headers or (), timestamp_ms)


def last_records(
    options: dict[str, Any], topic: str, count: int | None, deadline: Deadline
) -> Iterator[LogRecord]:
    """Yield the last `count` committed records or a few more, as many from each partition; None: all. `options` are a log
    reader's. All of them may take longer than the deadline, as long as some come. Raises Unavailable, Refused.
    """
    with translating(f"reading {topic}"), closing(Consumer(options)) as consumer:
        partitions = partitions_of(consumer, topic, deadline)
        share = None if count is None else -(-count // max(1, len(partitions)))
        begin = []
        for partition in partitions:
            place = TopicPartition(topic, partition)
            low, high = bounds_of(consumer, place, deadline)
            if high > low:
                first = low if share is None else max(low, high - share)
                begin.append(TopicPartition(topic, partition, first))
        consumer.assign(begin)
        yield from _read(consumer, topic, {each.partition for each in begin}, deadline, goes_on=count is None)


def _read(
    consumer: Consumer, topic: str, waiting: set[int], deadline: Deadline, *, goes_on: bool
) -> Iterator[LogRecord]:
    patience_s = deadline.left()
    while waiting:
        if deadline.passed:
            raise Unavailable(f"the last records of {topic} could not be read in time")
        messages = consumer.consume(_READ_RECORDS, 0.2)
        if goes_on and messages:
            deadline = Deadline.after(patience_s)
        for message, headers in zip(messages, read_headers(messages).each, strict=True):
            error = message.error()
            if error is None:
                yield record_of(message, headers)
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition() or 0)
            else:
                raise translate(error, f"reading {topic}")
