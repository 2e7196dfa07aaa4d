"""Steps 6 and 7 of a prospect's life: the transactional producer. Outputs and offsets commit together or not at all.

The one owner of the transaction: begin, emit, commit, abort happen here and nowhere else. Every failure leaves by one
of the errors of `translate`; after any of them the caller calls `recover` and rewinds its source.
"""

import time
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_scrub.errors import Migrated, ScrubError, Unavailable, Uncertain, Unwritable
from stream_scrub.kafka.client import transactional_ids
from stream_scrub.kafka.client.bounded_call import BoundedCaller
from stream_scrub.kafka.client.leaders import GROUP_OFFSETS, wait_for_leaders
from stream_scrub.kafka.client.repeated_requests import RepeatedRequests, watched
from stream_scrub.kafka.client.translate import PURGED, cause_of, translate
from stream_scrub.kafka.headers import FROM_HEADER
from stream_scrub.model import Deadline, Header

STAMP_HEADER = "scrub"
REOPEN_S = 10.0
# How long to wait for the client's reports on a failed batch: its threads may be a moment behind.
_HEARD_S = (0.0, 0.1, 0.2)


class CommitTimes(NamedTuple):
    """Seconds that sending the offsets took, and everything else of a commit."""

    offsets_s: float
    commit_s: float


class EmittedRecord(Protocol):
    """What `emit` asks of a record: the client's own, or one in its place."""

    def key(self) -> bytes | None:
        """As the client's."""

    def timestamp(self) -> tuple[int, int]:
        """As the client's: what kind it is, and milliseconds since 1970."""


class Session:
    """One transactional id's producer, through as many lives as it needs.

    `options` are a producer's properties, `topics` what it writes to. Headers named in `stripped`, in whatever case, do
    not come out: no incoming verdict survives, and no place that a producer made up. `is_member` says that offsets are a
    group member's: the group's generation then keeps those of an earlier owner out, whoever opened the session last. Without
    it only the transactional id does, so whoever takes that over must ask anew where it stands. `denied` tells the topic that the client's log said a transaction may not be
    written to (`client_log.ClientLog.denied`). One thread.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topics: Iterable[str],
        denied: Callable[[], str] = lambda: "",
        *,
        stripped: Collection[str] = (STAMP_HEADER, FROM_HEADER),
        is_member: bool = True,
    ) -> None:
        self._denied = denied
        self._stripped = frozenset(stripped)
        self._is_member = is_member
        # The client reports only those records of a batch that fail; that costs the others nothing.
        self._options = {**options, "delivery.report.only.error": True}
        self._topics = dict.fromkeys(topics)
        self._caller = BoundedCaller()
        self._producer: Producer | None = None
        self._repeats = RepeatedRequests(None, 0.0)
        self._in_transaction = False
        self._outgrown = False
        self._listeners: list[partial[None]] = []  # by place in a batch, made once for all batches
        self._failed: dict[int, tuple[KafkaError, str]] = {}
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
        self._outgrown = False
        self.reopened += 1

    def reach(self, topics: Iterable[str]) -> None:
        """It will write to these topics too."""
        self._topics |= dict.fromkeys(topics)

    def fit(self, nbytes: int) -> None:
        """Make no larger batches of the client's than that, from the next life on, which begins with the next batch."""
        self._options = {**self._options, "batch.size": nbytes}
        self._outgrown = True

    @property
    def is_spent(self) -> bool:
        """Whether the next transaction needs another life: a late request of the last one could end it, or the client's
        batches are too large."""
        return self._outgrown or self._repeats.possible

    @property
    def batch_bytes(self) -> int:
        """How large the client's batches may be."""
        return int(self._options["batch.size"])

    def emit(
        self,
        messages: Sequence[EmittedRecord],
        partitions: Sequence[int],
        headers: Iterable[Sequence[Header] | None],
        topics: Iterable[str],
        values: Iterable[bytes | None],
        stamps: Iterable[bytes | None],
    ) -> None:
        """Begin, and produce every record to its topic, one of `topics`: same key, partition, timestamp and foreign headers.
        `headers` are those that came with each record: they are not asked of it again (`kafka/headers.py`).

        Raises Migrated, Uncertain, TooLarge, Unavailable, Refused; then nothing of it will be readable.
        """
        if self.is_spent:
            if not self._is_member:
                raise Migrated("a request of the last transaction may still come: it is begun anew")
            self.open(Deadline.after(REOPEN_S))
        producer = self._ready()
        stripped = self._stripped
        _serve(producer)  # what is still to be told of an earlier batch
        self._failed.clear()
        topic = ""
        try:
            producer.begin_transaction()
            self._in_transaction = True
            produce = producer.produce
            for message, partition, came, topic, value, stamp, report in zip(  # told if it fails
                messages,
                partitions,
                headers,
                topics,
                values,
                stamps,
                self._hearing(len(messages)),
                strict=True,
            ):
                kept: Any = came
                if came is not None or stamp is not None:
                    kept = _foreign(came, stamp, stripped)
                key, stamped_at = message.key(), message.timestamp()[1]
                try:
                    produce(topic, value, key, partition, report, report, stamped_at, kept)
                except BufferError:
                    self._when_room(
                        producer, (topic, value, key, partition, report, report, stamped_at, kept)
                    )
        except KafkaException as error:
            raise self._not_queued(error, topic, report if topic else None) from error

    def _hearing(self, count: int) -> list[partial[None]]:
        """One listener for each place of a batch, for the client to tell which record failed."""
        while len(self._listeners) < count:
            self._listeners.append(partial(self._on_report, len(self._listeners)))
        return self._listeners[:count]

    @staticmethod
    def _not_queued(error: KafkaException, topic: str, listener: "partial[None] | None") -> ScrubError:
        made = translate(error, f"emitting to {topic}" if topic else "emitting")
        if isinstance(made, Unwritable) and listener is not None:
            made.reports = {listener.args[0]: cause_of(error).name()}
        return made

    @staticmethod
    def _when_room(producer: Producer, arguments: tuple[Any, ...]) -> None:
        """The client's queue is full: produce the same record again once some have been sent. Raises KafkaException."""
        while True:
            producer.poll(0.05)
            with suppress(BufferError):
                producer.produce(*arguments)
                return

    def width(self, topics: Iterable[str], deadline: Deadline) -> int:
        """How many partitions all these topics have now. Prospects of partitions beyond that have nowhere to go.

        Raises Unavailable, Refused.
        """
        counts = []
        for topic in topics:
            try:
                found = self._ready().list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
            except KafkaException as error:
                raise translate(error, f"asking for {topic}") from error
            if found.error is not None:
                raise translate(found.error, f"asking for {topic}")
            counts.append(len(found.partitions))
        return min(counts)

    def names(self, deadline: Deadline) -> list[str]:
        """Every topic that may be seen. Raises Unavailable, Refused."""
        try:
            return list(self._ready().list_topics(timeout=max(0.1, deadline.left())).topics)
        except KafkaException as error:
            raise translate(error, "asking for the topics") from error

    def idle(self) -> None:
        """While there is nothing to emit: take what the client has to report. It would pile up, 100 MB a day."""
        if self._producer is not None:
            _serve(self._producer)

    @property
    def queued(self) -> int:
        """Records that wait in the client to be sent."""
        return 0 if self._producer is None else len(self._producer)

    def commit(
        self,
        offsets: list[TopicPartition],
        membership: bytes,
        deadline: Deadline,
        still_good: Callable[[], None] = lambda: None,
    ) -> CommitTimes:
        """Commit what was emitted and the offsets it came from, in one transaction; returns how long each took.
        `still_good` is called once all of it is written, which may take long, and raises whatever must prevent the commit.

        Raises Migrated (the group has moved on, or a record was refused: nothing was committed), Unavailable (the brokers
        were too slow: nothing was committed either), Uncertain (it may have been committed), TooLarge, Refused.
        """
        producer = self._ready()
        started = time.perf_counter()
        try:
            # Offsets join a transaction whose outputs are all there, and the calls that follow wait for nothing else.
            left = self._caller.flush(
                "committing", producer, max(0.1, deadline.left()), lambda: bool(self._failed)
            )
            if self._failed:
                raise self._of_reports()
            if left:
                raise Unavailable(f"committing: {left} records were not delivered in time")
            still_good()
            flushed = time.perf_counter()
            self._ask("committing", producer.send_offsets_to_transaction, deadline, offsets, membership)
            sent = time.perf_counter()
            self._ask("committing", producer.commit_transaction, deadline)
        except KafkaException as error:
            raise self._explained(producer, error) from error
        self._in_transaction = False
        ended = time.perf_counter()
        _serve(producer)
        return CommitTimes(sent - flushed, ended - started - (sent - flushed))

    def _explained(self, producer: Producer, error: KafkaException) -> ScrubError:
        """A failed commit says that records failed, not which and why; their reports do."""
        for wait_s in _HEARD_S:
            with suppress(KafkaException):
                producer.poll(wait_s)
            if self._failed:
                return self._of_reports()
        topic = self._denied()
        if topic and cause_of(error).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return translate(error, f"emitting to {topic}")
        return translate(error, "committing")

    def _of_reports(self) -> ScrubError:
        """The error that the reports of failed records give. Records refused for what they are come first."""
        found: dict[int, str] = {}
        first: ScrubError | None = None
        for place, (error, topic) in self._failed.items():
            made = translate(error, f"emitting to {topic}")
            if isinstance(made, Unwritable):
                found[place] = error.name()
            if first is None or isinstance(made, Unwritable) > isinstance(first, Unwritable):
                first = made
        assert first is not None, "there are reports"
        if isinstance(first, Unwritable):
            first.reports = found
        return first

    def _on_report(self, place: int, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in PURGED:
            self._failed[place] = (error, message.topic() or "")

    def recover(self, *, reopen: bool, deadline: Deadline) -> None:
        """After a failure: abort what is open, or start a new life when the producer's state is not to be trusted.

        Raises Unavailable, Refused; then call it again.
        """
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
        self._failed.clear()
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


def _foreign(
    headers: Sequence[Header] | None, stamp: bytes | None, stripped: Container[str]
) -> list[Header] | None:
    """The producer's own headers without those that are `stripped`, in whatever case, and then the stamp."""
    kept: list[Header] = [header for header in headers or () if header[0].lower() not in stripped]
    if stamp is not None:
        kept.append((STAMP_HEADER, stamp))
    return kept or None
