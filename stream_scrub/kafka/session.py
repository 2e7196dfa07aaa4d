"""Steps 6 and 7 of a prospect's life: the transactional producer. Outputs and offsets commit together or not at all.

The one owner of the transaction: begin, emit, commit, abort happen here and nowhere else. Every failure leaves by one
of the errors of `translate`; after any of them the caller calls `recover` and rewinds its source.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_scrub.errors import ScrubError, Unavailable, Uncertain
from stream_scrub.kafka import transactional_ids
from stream_scrub.kafka.bounded import Caller
from stream_scrub.kafka.leaders import GROUP_OFFSETS, wait_for_leaders
from stream_scrub.kafka.repeats import Repeats, watched
from stream_scrub.kafka.translate import PURGED, cause_of, translate
from stream_scrub.model import Deadline, Header

STAMP_HEADER = "scrub"
REOPEN_S = 10.0


class Took(NamedTuple):
    """Seconds that sending the offsets took, and everything else of a commit."""

    offsets_s: float
    commit_s: float


class Session:
    """One transactional id's producer, through as many lives as it needs.

    `options` are a producer's properties. `denied` tells the topic that the client's log said a transaction may not be
    written to (`clientlog.ClientLog.denied`). One thread.
    """

    def __init__(
        self,
        options: dict[str, Any],
        allowed_topic: str,
        blocked_topic: str,
        denied: Callable[[], str] = lambda: "",
    ) -> None:
        self._denied = denied
        self._options = options
        self._topics = (blocked_topic, allowed_topic)
        self._caller = Caller()
        self._producer: Producer | None = None
        self._repeats = Repeats(None, 0.0)
        self._in_transaction = False
        self._reports_wanted = False
        self._first_report: tuple[KafkaError, str] | None = None
        self.reopened = -1

    def open(self, deadline: Deadline) -> None:
        """Make a producer and take over the transactional id: aborts what an earlier life left open (it may have been
        killed in the middle), and fences that life. Blocks until the deadline at most.

        Raises Unavailable (try again: also while the coordinator still ends the old transaction), Refused.
        """
        self._drop()
        touched = (*self._topics, GROUP_OFFSETS)  # offsets are part of the transaction
        if self.reopened < 0:
            transactional_ids.end_former(self._options, touched, self._caller, deadline)
        producer, repeats = watched(self._options)
        wait_for_leaders(producer, touched, deadline)
        transactional_ids.take_over(producer, self._caller, self._options["transactional.id"], deadline)
        self._producer, self._repeats = producer, repeats
        self.reopened += 1

    def emit(
        self,
        messages: Sequence[Message],
        partitions: Sequence[int],
        headers: Iterable[Sequence[Header] | None],
        allowed: Iterable[bool],
        values: Iterable[bytes | None],
        stamps: Iterable[bytes | None],
    ) -> None:
        """Begin, and produce every record to its topic: same key, partition, timestamp and foreign headers.
        `headers` are those that came with each record: they are not asked of it again (`kafka/headers.py`).

        Raises Migrated, Uncertain, TooLarge, Unavailable, Refused; then nothing of it will be readable.
        """
        if self._repeats.possible:  # else a late request of the last transaction could end this one
            self.open(Deadline.after(REOPEN_S))
        producer = self._ready()
        topics = self._topics
        report: Callable[..., None] | None = self._on_report if self._reports_wanted else None
        topic = ""
        try:
            producer.begin_transaction()
            self._in_transaction = True
            produce = producer.produce
            for message, partition, came, ok, value, stamp in zip(
                messages, partitions, headers, allowed, values, stamps, strict=True
            ):
                kept: Any = came
                if came is not None or stamp is not None:
                    kept = _foreign(came, stamp)
                topic, key, stamped_at = topics[ok], message.key(), message.timestamp()[1]
                try:
                    produce(topic, value, key, partition, report, report, stamped_at, kept)
                except BufferError:
                    self._when_room(
                        producer, (topic, value, key, partition, report, report, stamped_at, kept)
                    )
        except KafkaException as error:
            raise translate(error, f"emitting to {topic}" if topic else "emitting") from error

    @staticmethod
    def _when_room(producer: Producer, arguments: tuple[Any, ...]) -> None:
        """The client's queue is full: the same record again, once some have been sent. Raises KafkaException."""
        while True:
            producer.poll(0.05)
            with suppress(BufferError):
                producer.produce(*arguments)
                return

    def width(self, deadline: Deadline) -> int:
        """How many partitions both output topics have now: there is none to emit to for those of the prospects beyond.

        Raises Unavailable, Refused.
        """
        counts = []
        for topic in self._topics:
            try:
                found = self._ready().list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
            except KafkaException as error:
                raise translate(error, f"asking for {topic}") from error
            if found.error is not None:
                raise translate(found.error, f"asking for {topic}")
            counts.append(len(found.partitions))
        return min(counts)

    def idle(self) -> None:
        """While there is nothing to emit: let the client tell what it has to. It would pile up, 100 MB a day."""
        if self._producer is not None:
            _serve(self._producer)

    @property
    def queued(self) -> int:
        """Records that wait in the client to be sent."""
        return 0 if self._producer is None else len(self._producer)

    def commit(self, offsets: list[TopicPartition], membership: bytes, deadline: Deadline) -> Took:
        """Commit what was emitted and the offsets it came from, in one transaction; what either took.

        Raises Migrated (the group has moved on, or a record was refused: nothing was committed), Unavailable (nor when
        the brokers were too slow), Uncertain (it may have been committed), TooLarge, Refused.
        """
        producer = self._ready()
        started = time.perf_counter()
        try:
            # Offsets join a transaction whose outputs are all there, and the calls that follow wait for nothing else.
            if left := self._caller.flush("committing", producer, max(0.1, deadline.left())):
                raise Unavailable(f"committing: {left} records were not delivered in time")
            flushed = time.perf_counter()
            self._ask("committing", producer.send_offsets_to_transaction, deadline, offsets, membership)
            sent = time.perf_counter()
            self._ask("committing", producer.commit_transaction, deadline)
        except KafkaException as error:
            _serve(producer)  # what the client has to say of it
            raise self._explained(error) from error
        self._in_transaction = False
        self._reports_wanted = False
        ended = time.perf_counter()
        _serve(producer)
        return Took(sent - flushed, ended - started - (sent - flushed))

    def _explained(self, error: KafkaException) -> ScrubError:
        """A failed commit says that records failed, not why; their reports do, if they were asked for."""
        if self._first_report is not None:
            (first, topic), self._first_report = self._first_report, None
            return translate(first, f"emitting to {topic}")
        topic = self._denied()
        if topic and cause_of(error).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return translate(error, f"emitting to {topic}")
        return translate(error, "committing")

    def _on_report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._first_report is None and error.code() not in PURGED:
            self._first_report = (error, message.topic() or "")

    def recover(self, *, reopen: bool, deadline: Deadline) -> None:
        """After a failure: abort what is open, or start a new life when the producer's state is not to be trusted.

        Raises Unavailable, Refused; then call it again.
        """
        self._reports_wanted = True  # one batch's reports cost little, and tell what the commit did not
        producer = self._producer
        if producer is None or reopen or self._repeats.possible:
            self.open(deadline)
            return
        if self._in_transaction:
            try:
                self._ask("aborting", producer.abort_transaction, deadline)
            except (KafkaException, Uncertain):
                self.open(deadline)
        self._in_transaction = False

    def _ask(self, doing: str, function: Callable[..., None], deadline: Deadline, *arguments: Any) -> None:
        """What sends requests of the transaction: whether the client repeated one is looked at."""
        with self._repeats.asking():
            self._caller.call(doing, function, *arguments, timeout_s=max(0.1, deadline.left()))

    def _ready(self) -> Producer:
        if self._producer is None:
            raise Unavailable("the transactional session is not open")
        return self._producer

    def _drop(self) -> None:
        """Forget the producer. Its records are purged first: a flush would wait for a broker that may be away."""
        producer, self._producer, self._in_transaction = self._producer, None, False
        self._first_report = None
        if producer is not None:
            producer.purge()
            _serve(producer)

    def close(self, deadline: Deadline) -> None:
        """Abort what is open and end. Never raises: the next life of this transactional id cleans up as well."""
        producer = self._producer
        if producer is not None and self._in_transaction:
            with suppress(KafkaException, Uncertain):
                self._ask("aborting", producer.abort_transaction, deadline)
        self._drop()
        self._caller.close()


def _serve(producer: Producer) -> None:
    """Let the client call back. A fatal error, which the binding raises from any poll, is for the next call to tell: here
    a batch has been committed, or given up.
    """
    with suppress(KafkaException):
        producer.poll(0)


def _foreign(headers: Sequence[Header] | None, stamp: bytes | None) -> list[Header] | None:
    """The producer's own headers without any stamp, and then ours: no incoming verdict survives."""
    kept: list[Header] = [header for header in headers or () if header[0] != STAMP_HEADER]
    if stamp is not None:
        kept.append((STAMP_HEADER, stamp))
    return kept or None
