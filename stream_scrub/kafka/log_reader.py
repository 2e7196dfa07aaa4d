"""The opposition log on Kafka, as `lists` follows it through the protocol of `model`."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from stream_scrub import clock
from stream_scrub.errors import Corrupt, ScrubError, Unavailable
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.headers import read_headers
from stream_scrub.kafka.partition_ends import PartitionEnds
from stream_scrub.model import Deadline, Header, LogRecord

_CONFIRM_EVERY_S = 0.5
_CONFIRM_TIMEOUT_S = 5.0
_LEADERS_TIMEOUT_S = 1.0
_FETCH_RECORDS = 200
_DAMAGED = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG})
_DAMAGED_MAX = (
    3  # fetches in a row whose bytes are not what was written: what lies on the disk so is so each time
)
_ASTRAY_MAX = 20  # fetches in a row from an offset that nobody asked for


class KafkaLogReader:
    """Reads the log's one partition, committed records only, from its start or from where `seek` puts it. No group:
    every follower reads it for itself.

    The end is confirmed by asking the broker for it, not by silence: a broker that cannot be asked is no "no news".
    And not by the last record's offset: transaction markers take offsets of their own that are never delivered.

    There are two ends, and a client asks for each that does not fetch (see `PartitionEnds`). (1) Records before the first
    open transaction can be read; what was committed behind it cannot. (2) The end up to which the log is written: the
    broker gives it only to a client that reads without regard to transactions.

    An offset says nothing where the topic was deleted and made anew. So with every end the topic's id is asked for too.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        partition: int = 0,
        identity: TopicIdentity | None = None,
    ) -> None:
        """`partition` is another one than the first where evidence is read from a topic that is not the log. Without
        `identity` a topic that was made anew is noticed only if it is shorter, or by what stands in its records."""
        self._identity, self._id = identity, ""
        self._partition = TopicPartition(topic, partition, OFFSET_BEGINNING)
        self._consumer = Consumer(options)
        self._committed, self._written = PartitionEnds(options), PartitionEnds(options, "read_uncommitted")
        with suppress(
            KafkaException
        ):  # only a quicker start: an assigned partition waits 0.5 s for its leader's name
            self._consumer.list_topics(topic, timeout=_LEADERS_TIMEOUT_S)
        self._assigned = False
        self._next = self._seen = 0  # what comes next, and up to where it was there
        self._damaged = self._astray = 0
        self._confirmed = float("-inf")
        self._mark: tuple[float, int] | None = None
        self._complete_at: float | None = None

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        """As `model.LogReader.read`. What was fetched is returned, whatever fails after it. The client's position has
        moved on, so a record that is not handed over now never would be, and its delta would be missing.
        """
        if not self._id:
            self._id = self._asked_id()
        if not self._assigned:
            self._assign(OFFSET_BEGINNING)
        first = self._consumer.poll(timeout_s)
        messages = [first, *self._consumer.consume(_FETCH_RECORDS, 0)] if first is not None else []
        records = []
        for message, headers in zip(messages, read_headers(messages).each, strict=True):
            if (error := message.error()) is None:
                record = _record(message, headers)
                if record.offset >= self._next:  # else it was returned before: see `_assign`
                    records.append(record)
                    self._next = self._seen = record.offset + 1
                    self._damaged = self._astray = 0
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = max(self._next, message.offset() or 0)
                self._seen = max(self._seen, message.offset() or 0)
            else:
                self._fetch_again()
                if records or self._worth_again(error.code()):
                    return records, False
                raise translate(error, f"following {self._partition.topic}")
        try:
            return records, self._at_end(moved=bool(records))
        except ScrubError:
            if not records:
                raise
            return records, False  # the next call asks again

    def _worth_again(self, code: int) -> bool:
        """Whether the same fetch may bring what this one did not: the network damaged it, or the client asked for an
        offset of its own invention, as it does now and then behind a damaged batch (seen with librdkafka 2.16.0).
        """
        if code == KafkaError._AUTO_OFFSET_RESET:
            first, end = self.bounds()
            self._astray += 1
            return first <= self._next <= end and self._astray <= _ASTRAY_MAX
        self._damaged = self._damaged + 1 if code in _DAMAGED else 0
        return 0 < self._damaged <= _DAMAGED_MAX

    def _fetch_again(self) -> None:
        """Fetch again behind the last record that was returned: what the client has behind an error may not follow it."""
        self._assign(self._next or OFFSET_BEGINNING)

    def _assign(self, offset: int) -> None:
        """Assign the partition, and only once it is known where to read. Otherwise librdkafka may still be asking where
        the beginning is while its broker is away, and then starts there although it was given another offset since (seen
        on a real Kafka with 2.16.0).
        """
        self._assigned = True
        self._consumer.assign([TopicPartition(self._partition.topic, self._partition.partition, offset)])

    def _at_end(self, *, moved: bool) -> bool:
        now = clock.elapsed()
        if now - self._confirmed < _CONFIRM_EVERY_S and not moved:
            return False
        end = self.bounds()[1]
        if self._seen > end:
            raise self._shorter(end)
        if self._next < end:
            return False
        if self._asked_id() != self._id:
            topic = self._partition.topic
            raise Corrupt(f"{topic} was deleted and made anew: what was read of it is not what it holds now")
        self._confirmed = now
        return True

    def _asked_id(self) -> str:
        """The topic's id now; empty where nobody asks, or the brokers tell none."""
        if self._identity is None:
            return ""
        topic = self._partition.topic
        return self._identity.ask([topic], Deadline.after(_CONFIRM_TIMEOUT_S))[topic]

    def seek(self, offset: int) -> None:
        """As `model.LogReader.seek`."""
        # Assigned anew: a seek fails while the client is still asking who leads the partition.
        self._assign(offset)
        self._next, self._seen = offset, 0
        self._confirmed = float("-inf")
        self._mark = self._complete_at = None

    def complete_at(self) -> float | None:
        """As `model.LogReader.complete_at`. Asks the broker once everything up to the end that it gave last has been read.

        That end is remembered until it is reached, and not asked for anew before: where one transaction follows another
        there may never be a moment at which none is open.
        """
        if self._mark is None or self._reached():
            asked_at = clock.elapsed()
            written = self._asked(self._written)[1]
            if self._seen > written:
                raise self._shorter(written)
            self._mark = asked_at, written
            self._reached()
        return self._complete_at

    def _shorter(self, end: int) -> Unavailable:
        """No answer of a log confirms anything that ends before what was read of it."""
        return Unavailable(
            f"{self._partition.topic} ends at offset {end}, and was read up to {self._seen}: it was deleted and made anew,"
            " or a broker lost what others had (an unclean election)"
        )

    def _reached(self) -> bool:
        assert self._mark is not None, "there is an end to reach"
        asked_at, end = self._mark
        if self._next >= end:
            self._complete_at = asked_at
        return self._next >= end

    def bounds(self) -> tuple[int, int]:
        """As `model.LogReader.bounds`. The end is that of what is committed: an open transaction comes after it."""
        return self._asked(self._committed)

    def _asked(self, ends: PartitionEnds) -> tuple[int, int]:
        try:
            return ends.ask(self._partition, Deadline.after(_CONFIRM_TIMEOUT_S))
        except KafkaException as error:
            ends.ask_for_leaders(self._partition.topic, _LEADERS_TIMEOUT_S)
            raise translate(error, f"asking for the end of {self._partition.topic}") from error

    def close(self) -> None:
        """As `model.LogReader.close`."""
        self._consumer.close()
        self._committed.close()
        self._written.close()


def _record(message: Message, headers: Sequence[Header] | None) -> LogRecord:
    """The record, without its headers where these are lost. It is then no record of the log's format."""
    offset = message.offset()
    assert offset is not None, "a consumed record has an offset"
    kind, moment = message.timestamp()
    timestamp_ms = None if kind == TIMESTAMP_NOT_AVAILABLE else moment
    return LogRecord(offset, message.key(), message.value(), headers or (), timestamp_ms)
