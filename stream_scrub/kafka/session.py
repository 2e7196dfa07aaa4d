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
from stream_scrub.kafka.bulk import QUEUE_FULL, Outgoing, Outlet
from stream_scrub.kafka.client.producer_calls import GROUP_OFFSETS, BoundedCaller, take_over, wait_for_leaders
from stream_scrub.kafka.client.repeated_requests import RepeatedRequests, watched
from stream_scrub.kafka.client.translate import PURGED, cause_of, translate, translating
from stream_scrub.kafka.headers import FROM_HEADER, RENEWS_HEADER
from stream_scrub.kafka.offsets import partitions_of
from stream_scrub.model import Deadline, Header
from stream_scrub.stamp import STAMP

REOPEN_S = 10.0
_FULL_S = 0.05  # the client's queue is full: wait until some records are sent
_SOMEWHERE = -1  # the place of a record that failed, if nothing says which it was
# How long to wait for the client's reports on a failed batch: its threads may be a moment behind.
_HEARD_S = (0.0, 0.1, 0.2)


class CommitTimes(NamedTuple):
    """The durations of sending the offsets, and of the rest of a commit, in seconds."""

    offsets_s: float
    commit_s: float


class EmittedRecord(Protocol):
    """What `emit` needs of a record: the client's own, or a `StandIn`."""

    def key(self) -> bytes | None:
        """As the client's."""

    def timestamp(self) -> tuple[int, int]:
        """As the client's: its kind, and milliseconds since 1970."""


class StandIn(NamedTuple):
    """Takes the place of a record in `Session.emit`, with another key and timestamp."""

    own_key: bytes | None
    moment_ms: int

    def key(self) -> bytes | None:
        """As the client's."""
        return self.own_key

    def timestamp(self) -> tuple[int, int]:
        """As the client's."""
        return (0, self.moment_ms)


class Session:
    """A transactional producer that is re-created after fatal errors. One thread.

    `options` are its properties, `topics` its outputs. Headers named in `stripped`, in any case, are removed: no
    incoming verdict survives. `is_member`: the offsets are a group member's, so the group's generation keeps an earlier
    owner's out; otherwise only the transactional id does, and a new owner must look up the committed place. `denied`
    returns the topic that the client's log says a transaction may not write to (`ClientLog.denied`). `bulk`: also
    take records by the extension, where that can be.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topics: Iterable[str],
        denied: Callable[[], str] = lambda: "",
        *,
        stripped: Collection[str] = (STAMP, FROM_HEADER, RENEWS_HEADER),
        is_member: bool = True,
        bulk: bool = False,
    ) -> None:
        self._denied = denied
        self._stripped = frozenset(stripped)
        self._is_member = is_member
        self._bulk = bulk
        self._outlet: Outlet | None = None
        self.is_silent = False  # a batch failed for one unidentified record
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
        """Create a producer and take over the transactional id: aborts what an earlier session left open, and fences it.
        Blocks until the deadline at most.

        Raises Unavailable (also while the coordinator still ends the old transaction: try again), Refused.
        """
        self._drop()
        touched = (*self._topics, GROUP_OFFSETS)  # offsets are part of the transaction
        producer, repeats = watched(self._options)
        wait_for_leaders(producer, touched, deadline)
        take_over(producer, self._caller, self._options["transactional.id"], deadline)
        self._producer, self._repeats = producer, repeats
        if self._bulk and repeats.watch is not None:
            self._outlet = Outlet(producer, repeats.watch, self._stripped)
        self._outgrown = False
        self.reopened += 1

    def reach(self, topics: Iterable[str]) -> None:
        """Also write to these topics."""
        self._topics |= dict.fromkeys(topics)

    def fit(self, nbytes: int) -> None:
        """Limit the client's batches to that size, from the next session on, which the next batch opens."""
        self._options = {**self._options, "batch.size": nbytes}
        self._outgrown = True

    @property
    def takes_records(self) -> bool:
        """Whether the next batch may go by `emit_records`."""
        return self._outlet is not None and not self.is_silent

    @property
    def is_spent(self) -> bool:
        """Whether the next transaction needs another session: a late request of the last one could end it, or the client's
        batches are too large."""
        return self._outgrown or self._repeats.possible

    @property
    def batch_bytes(self) -> int:
        """The largest batch of the client, in bytes."""
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
        """Begin a transaction, and produce every record to its topic with its own key, partition, timestamp and foreign
        headers. `headers`: those that came with each record, read only once (`kafka/headers.py`).

        Raises Migrated, Uncertain, TooLarge, Unavailable, Refused; then nothing of it becomes readable.
        """
        producer = self._prepared()
        stripped = self._stripped
        topic = ""
        try:
            producer.begin_transaction()
            self._in_transaction = True
            produce = producer.produce
            for message, partition, came, topic, value, stamp, report in zip(
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
                if stamp is not None or (came is not None and stripped):
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

    def emit_records(self, out: Outgoing) -> None:
        """As `emit`, for records that the extension holds. An error does not say which record failed, and `is_silent` is
        set then: the next batch must go by `emit`."""
        producer, outlet, place = self._prepared(), self._outlet, 0
        if outlet is None:
            raise Migrated("the new session takes no records of the extension")
        outlet.failed()
        try:
            producer.begin_transaction()
            self._in_transaction = True
        except KafkaException as error:
            raise self._not_queued(error, "", None) from error
        while True:
            place, code = outlet.emit(out, place)
            if not code:
                return
            if code != QUEUE_FULL:
                self.is_silent = True
                raise translate(KafkaError(code), f"emitting to {out.topics[out.routes[place]]}")
            _serve(producer)
            time.sleep(_FULL_S)

    def _prepared(self) -> Producer:
        """The producer for the next transaction."""
        if self.is_spent:
            if not self._is_member:
                raise Migrated("a request of the last transaction may still arrive: a new session is needed")
            self.open(Deadline.after(REOPEN_S))
        producer = self._ready()
        _serve(producer)  # reports of an earlier batch
        self._failed.clear()
        return producer

    def _has_failed(self) -> bool:
        """Whether a record of this batch was not delivered."""
        if self._outlet is not None and not self._failed:
            code, topic = self._outlet.failed()
            if code and code not in PURGED:
                self.is_silent = True
                self._failed[_SOMEWHERE] = KafkaError(code), topic
        return bool(self._failed)

    def _hearing(self, count: int) -> list[partial[None]]:
        """One listener for each place of a batch: the client reports which record failed."""
        while len(self._listeners) < count:
            self._listeners.append(partial(self._on_report, len(self._listeners)))
        return self._listeners[:count]

    @staticmethod
    def _not_queued(error: KafkaException, topic: str, listener: "partial[None] | None") -> ScrubError:
        translated = translate(error, f"emitting to {topic}" if topic else "emitting")
        if isinstance(translated, Unwritable) and listener is not None:
            translated.reports = {listener.args[0]: cause_of(error).name()}
        return translated

    @staticmethod
    def _when_room(producer: Producer, arguments: tuple[Any, ...]) -> None:
        """The client's queue is full: produce the record again after some have been sent. Raises KafkaException."""
        while True:
            producer.poll(0.05)
            with suppress(BufferError):
                producer.produce(*arguments)
                return

    def width(self, topics: Iterable[str], deadline: Deadline) -> int:
        """How many partitions each of these topics has at least. Raises Unavailable, Refused."""
        return min(len(partitions_of(self._ready(), topic, deadline)) for topic in topics)

    def names(self, deadline: Deadline) -> list[str]:
        """Every visible topic. Raises Unavailable, Refused."""
        with translating("asking for the topics"):
            return list(self._ready().list_topics(timeout=max(0.1, deadline.left())).topics)

    def idle(self) -> None:
        """While there is nothing to emit: serve the client's reports. They would pile up, 100 MB a day."""
        if self._producer is not None:
            _serve(self._producer)

    @property
    def queued(self) -> int:
        """Records in the client's send queue."""
        return 0 if self._producer is None else len(self._producer)

    def commit(
        self,
        offsets: list[TopicPartition],
        membership: bytes,
        deadline: Deadline,
        still_good: Callable[[], None] = lambda: None,
    ) -> CommitTimes:
        """Commit the emitted records and their offsets in one transaction; returns how long each took. `still_good` is
        called once everything is written, which may take long, and raises to prevent the commit.

        Raises Migrated (the group has moved on, or a record was refused) and Unavailable (the brokers were too slow):
        nothing was committed. Raises Uncertain (it may have been committed), TooLarge, Refused.
        """
        producer = self._ready()
        started = time.perf_counter()
        try:
            # Offsets join a transaction whose outputs are all written, so the calls that follow wait for nothing else.
            left = self._caller.flush("committing", producer, max(0.1, deadline.left()), self._has_failed)
            if self._has_failed():
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
        self._in_transaction = self.is_silent = False
        ended = time.perf_counter()
        _serve(producer)
        return CommitTimes(sent - flushed, ended - started - (sent - flushed))

    def _explained(self, producer: Producer, error: KafkaException) -> ScrubError:
        """A failed commit does not name its failed records; their delivery reports do."""
        for wait_s in _HEARD_S:
            with suppress(KafkaException):
                producer.poll(wait_s)
            if self._has_failed():
                return self._of_reports()
        topic = self._denied()
        if topic and cause_of(error).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return translate(error, f"emitting to {topic}")
        return translate(error, "committing")

    def _of_reports(self) -> ScrubError:
        """The error of the failed records' reports. Records refused for what they are come first."""
        refused: dict[int, str] = {}
        first: ScrubError | None = None
        for place, (error, topic) in self._failed.items():
            translated = translate(error, f"emitting to {topic}")
            if isinstance(translated, Unwritable) and place != _SOMEWHERE:
                refused[place] = error.name()
            if first is None or isinstance(translated, Unwritable) > isinstance(first, Unwritable):
                first = translated
        assert first is not None, "there are reports"
        if isinstance(first, Unwritable):
            first.reports = refused
        return first

    def _on_report(self, place: int, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in PURGED:
            self._failed[place] = (error, message.topic() or "")

    def recover(self, *, reopen: bool, deadline: Deadline) -> None:
        """After a failure: abort the transaction, or open a new session if the producer's state is not to be trusted. Raises
        Unavailable, Refused; then call it again."""
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
        """Call what sends requests of the transaction, and watch whether the client repeats one."""
        with self._repeats.asking():
            self._caller.call(doing, function, *arguments, timeout_s=max(0.1, deadline.left()))

    def _ready(self) -> Producer:
        if self._producer is None:
            raise Unavailable("the transactional session is not open")
        return self._producer

    def _drop(self) -> None:
        """Drop the producer. Its records are purged first: a flush would wait for a broker that may be away."""
        producer, self._producer, self._in_transaction = self._producer, None, False
        self._failed.clear()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None
        if producer is not None:
            producer.purge()
            _serve(producer)

    def close(self, deadline: Deadline) -> None:
        """Abort the transaction and end. Never raises: the next session of this transactional id cleans up too."""
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
        kept.append((STAMP, stamp))
    return kept or None
