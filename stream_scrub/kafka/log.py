"""The opposition log on Kafka: what `lists` follows and publishes through the protocols of `model`."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from stream_scrub.errors import Migrated, ScrubError, Uncertain
from stream_scrub.kafka.leaders import wait_for_leaders
from stream_scrub.kafka.translate import fenced, translate
from stream_scrub.model import Deadline, Header, LogRecord

_CONFIRM_EVERY_S = 0.5
_CONFIRM_TIMEOUT_S = 5.0
_FETCH_RECORDS = 200
_COMMIT_S = 30.0


class KafkaLogReader:
    """Reads the log's one partition from its start, committed records only. No group: every follower reads it all.

    The end is confirmed by asking the broker for it, not by silence: a broker that cannot be asked is no "no news".
    And not by the last record's offset: transaction markers take offsets of their own that are never delivered.
    """

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._partition = TopicPartition(topic, 0, OFFSET_BEGINNING)
        self._consumer = Consumer(options)
        with suppress(
            KafkaException
        ):  # only a quicker start: an assigned partition waits 0.5 s for its leader's name
            self._consumer.list_topics(topic, timeout=1.0)
        self._consumer.assign([self._partition])
        self._next = 0
        self._confirmed = float("-inf")

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        """As `model.LogReader.read`."""
        first = self._consumer.poll(timeout_s)
        messages = [first, *self._consumer.consume(_FETCH_RECORDS, 0)] if first is not None else []
        records = []
        for message in messages:
            if (error := message.error()) is None:
                records.append(_record(message))
                self._next = records[-1].offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = max(self._next, message.offset() or 0)
            else:
                raise translate(error, f"following {self._partition.topic}")
        return records, self._at_end(moved=bool(records))

    def _at_end(self, *, moved: bool) -> bool:
        now = time.monotonic()
        if now - self._confirmed < _CONFIRM_EVERY_S and not moved:
            return False
        try:
            _, high = self._consumer.get_watermark_offsets(self._partition, timeout=_CONFIRM_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, f"asking for the end of {self._partition.topic}") from error
        if self._next < high:
            return False
        self._confirmed = now
        return True

    def close(self) -> None:
        """As `model.LogReader.close`."""
        self._consumer.close()


def _record(message: Message) -> LogRecord:
    offset = message.offset()
    assert offset is not None, "a consumed record has an offset"
    headers: Sequence[Header] = message.headers() or []  # type: ignore[assignment]  # bytes on receipt
    return LogRecord(offset, message.key(), message.value(), headers)


class KafkaLogWriter:
    """Publishes deltas of one register. Opening it fences every older publisher of the same register."""

    def __init__(self, options: dict[str, Any], topic: str, deadline: Deadline) -> None:
        self._topic = topic
        self._producer = Producer(options)
        wait_for_leaders(self._producer, [topic], deadline)
        while True:
            try:
                self._producer.init_transactions(max(0.1, deadline.left(5.0)))
            except KafkaException as error:
                if not error.args[0].retriable() or deadline.passed:
                    raise translate(error, "opening the publisher's session") from error
                time.sleep(0.1)
            else:
                return

    def publish(self, records: Sequence[tuple[bytes, bytes, Sequence[Header]]]) -> int:
        """As `model.LogWriter.publish`."""
        last: list[int] = []
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                last.append(message.offset() or 0)

        try:
            self._producer.begin_transaction()
            for key, value, headers in records:
                while True:
                    try:
                        self._producer.produce(
                            self._topic, value, key, 0, on_delivery=report, headers=list(headers)
                        )
                    except BufferError:
                        self._producer.poll(0.1)
                    else:
                        break
            self._producer.commit_transaction(_COMMIT_S)
        except KafkaException as error:
            raise self._given_up(failed[0] if failed else error) from error
        return max(last)

    def _given_up(self, error: KafkaError | KafkaException) -> ScrubError:
        translated = translate(error, f"publishing to {self._topic}")
        if isinstance(translated, Uncertain):
            if fenced(error):
                return Migrated(
                    "another publisher of this register has taken over; nothing of this one was published"
                )
            return Uncertain(
                f"{translated}; whether the delta was published is unknown: run the import again, it is safe"
            )
        try:
            self._producer.abort_transaction(5.0)
        except KafkaException:
            return translated  # the next publisher's init aborts it
        return translated

    def close(self) -> None:
        """As `model.LogWriter.close`."""
        self._producer.purge()
        self._producer.poll(0)
