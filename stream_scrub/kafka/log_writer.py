"""Step 3 of a delta's life on Kafka: one register's publisher. A delta is one transaction.

A register and its scoped registers share one transactional id. Opening a writer fences every older writer of the
register: a command, a daemon, or one that hangs. Nothing else keeps two publishers apart, and nothing else is needed: a
fenced producer cannot commit.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition

from stream_scrub.errors import ScrubError, TakenOver, Unavailable, Uncertain
from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.kafka.client.options import UNCOMMITTED, asking_options, publish_timeout_ms
from stream_scrub.kafka.client.producer_calls import GROUP_OFFSETS, BoundedCaller, take_over, wait_for_leaders
from stream_scrub.kafka.client.repeated_requests import watched
from stream_scrub.kafka.client.translate import PURGED, fenced, translate, translating
from stream_scrub.kafka.offsets import LATEST, LeadersAnswer, ask_leader
from stream_scrub.model import Deadline, Header, Request, family

_LATE_S = 2.0  # after a transaction's timeout, until the broker has surely ended the transaction by itself
_ABORT_S = 5.0
_AGAIN_S = 0.05
_CHECK_S = 6.0  # well within the shortest transaction
_TRY_S = 1.5  # for one client: another one may know who leads the log now
_WAIT_S = 0.1
_RECORDS = 500
_OF_A_PRODUCER = ("transactional.id", "transaction.timeout.ms")


class TransactionExtras(NamedTuple):
    """Offsets and refused requests that are committed with a delta."""

    topic: str = ""  # the topic of `records`
    records: Sequence[Request] = ()  # refused requests, unchanged
    offsets: Sequence[TopicPartition] = ()  # consumed offsets
    membership: bytes = b""  # the group metadata of their consumer


_NOTHING = TransactionExtras()
_UNKNOWN = "whether the last delta was published is unknown; publishing it again is safe"


class KafkaLogWriter:
    """Publishes deltas of one register and its scoped registers. Opening it fences every older publisher of these, and
    ends its open transaction. Blocks until the deadline at most. Raises Unavailable, Refused.
    """

    def __init__(
        self,
        options: dict[str, Any],
        reading: dict[str, Any],
        topic: str,
        deadline: Deadline,
        also: Sequence[str] = (),
    ) -> None:
        """`reading`: the options of a log reader. `also` are the topics that `TransactionExtras` will name."""
        self._topic = topic
        self._reading = reading
        self._timeout_ms = int(options["transaction.timeout.ms"])
        self._commit_s = self._timeout_ms / 1000 + _LATE_S
        self._caller = BoundedCaller()
        touched = (topic, *also, *([GROUP_OFFSETS] if also else []))
        self._producer, self._repeats = watched(options)
        wait_for_leaders(self._producer, touched, deadline)
        take_over(self._producer, self._caller, options["transactional.id"], deadline)
        asking = {name: value for name, value in options.items() if name not in _OF_A_PRODUCER}
        self._asking = asking_options(asking)
        self._admin = AdminClient(self._asking)
        # Before the caller reads the register. The leader at the publication may have lost records read since.
        self._epoch = self._end(IsolationLevel.READ_UNCOMMITTED, deadline).epoch

    def wait_for_others(self, deadline: Deadline) -> None:
        """Wait until everything that is on the log now can be read. Call it before reading the register. Raises Unavailable,
        Refused.
        """
        # A reader of committed records sees nothing after the first open transaction. So while another register is being
        # published, the last deltas of this one may be hidden. A delta made without them would repeat their sequence
        # numbers, and every follower would find the log corrupt.
        written = self._end(IsolationLevel.READ_UNCOMMITTED, deadline)
        while self._end(IsolationLevel.READ_COMMITTED, deadline).offset < written.offset:
            if deadline.passed:
                raise Unavailable(
                    f"a transaction is still open on {self._topic}: another register is being published, or, if this"
                    " lasts for minutes, it hangs (see docs/operator.md, A broker that crashed)"
                )
            time.sleep(_AGAIN_S)

    def takes(self, nbytes: int) -> bool:
        """As `model.LogWriter.takes`. The transaction timeout was set when the writer was opened."""
        return publish_timeout_ms(nbytes) <= self._timeout_ms

    @property
    def is_spent(self) -> bool:
        """Whether a new writer must be opened before anything else is published."""
        # (a) A copy of a request of the last transaction may still be on its way, and would end the next transaction. Or
        # (b) this writer has a long timeout, for a large delta. Small deltas need a short one: a publisher that is killed
        # within a transaction hides the log for that long.
        return self._repeats.possible or self._timeout_ms > publish_timeout_ms(0)

    def publish(
        self,
        records: Sequence[tuple[bytes, bytes, Sequence[Header]]],
        extras: TransactionExtras = _NOTHING,
        *,
        after: int,
    ) -> int:
        """As `model.LogWriter.publish`; -1 if there are only extras.

        Raises TakenOver too: another publisher has this register now, or the transaction outlived its timeout.
        """
        if self._repeats.possible:
            raise Unavailable("publishing: a late request of the last transaction could end this one")
        own: list[int] = []
        failed: list[tuple[KafkaError, str]] = []
        report = self._reports(own, failed)
        try:
            self._producer.begin_transaction()
            for key, value, headers in records:
                self._produce(self._topic, value, key, 0, on_delivery=report, headers=list(headers))
            for each in extras.records:
                more = {"headers": list(each.headers), "timestamp": each.timestamp_ms}
                self._produce(extras.topic, each.value, each.key, on_delivery=report, **more)
            self._flush(failed)
            if own:
                self._need_none_unread({family(key.decode()) for key, _, _ in records}, after, min(own))
            if extras.offsets:
                send = self._producer.send_offsets_to_transaction
                self._ask("publishing", send, self._commit_s, list(extras.offsets), extras.membership)
            self._ask("publishing", self._producer.commit_transaction, self._commit_s)
        except KafkaException as error:
            raise self._given_up(*(failed[0] if failed else (error, self._topic))) from error
        return max(own, default=-1)

    def _reports(
        self, own: list[int], failed: list[tuple[KafkaError, str]]
    ) -> Callable[[KafkaError | None, Message], None]:
        """The callback for what becomes of each record: its offset on the log, or its error and topic."""

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                if error.code() not in PURGED:
                    failed.append((error, message.topic() or self._topic))
            elif message.topic() == self._topic:
                own.append(message.offset() or 0)

        return report

    def _need_none_unread(self, registers: Collection[str], after: int, first: int) -> None:
        deadline = Deadline.after(_CHECK_S)
        try:
            epoch = self._leaders_epoch(first, deadline)
            before = None if epoch == self._epoch or after < 0 else self._epoch
            _need_none_between(self._reading, self._topic, registers, after, first, deadline, before)
            self._epoch = epoch
        except ScrubError:
            self._abort()
            raise

    def _leaders_epoch(self, first: int, deadline: Deadline) -> int:
        """That of the leader that has our own records, the first of them at `first`. Raises Unavailable."""
        while True:
            try:
                answer = self._end(IsolationLevel.READ_UNCOMMITTED, Deadline.after(deadline.left(_TRY_S)))
            except Unavailable:
                if deadline.passed:
                    raise
            else:
                if answer.offset > first:
                    return answer.epoch
                if deadline.passed:
                    raise Unavailable(
                        f"{self._topic} ends before our own records, by the broker that we asked"
                    )
            self._admin = AdminClient(self._asking)  # this one asks who led the log before

    def _end(self, isolation: IsolationLevel, deadline: Deadline) -> LeadersAnswer:
        """The end of the log. Raises Unavailable, Refused."""
        place = TopicPartition(self._topic, 0)
        while True:  # the leader of a new topic is named before it answers
            try:
                with translating(f"asking for the end of {self._topic}"):
                    return ask_leader(self._admin, place, LATEST, isolation, max(1.0, deadline.left()))
            except Unavailable:
                if deadline.passed:
                    raise
            time.sleep(_AGAIN_S)

    def leave_marker(self) -> None:
        """Write and abort a transaction: the marker that ends it has the time of the broker that leads the log. Readers of
        committed records do not see it. Raises as `publish`."""
        if self._repeats.possible:
            raise Unavailable(
                "asking for the brokers' time: a late request of the last transaction could end this one"
            )
        failed: list[tuple[KafkaError, str]] = []
        try:
            self._producer.begin_transaction()
            # Its own timestamp is no later than any marker's.
            self._produce(self._topic, b"", b"", 0, on_delivery=self._reports([], failed), timestamp=1)
            self._flush(failed)
            self._ask("aborting", self._producer.abort_transaction, _ABORT_S)
        except KafkaException as error:
            raise self._given_up(*(failed[0] if failed else (error, self._topic))) from error

    def _produce(self, *arguments: Any, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(*arguments, **more)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _flush(self, failed: list[tuple[KafkaError, str]]) -> None:
        """Write parts and seal before the transaction's other requests. Raises Unavailable, and the error of the first record
        that failed: the client sends no other record after it."""
        left = self._caller.flush("publishing", self._producer, self._commit_s, lambda: bool(failed))
        if failed:
            raise KafkaException(failed[0][0])
        if left:
            self._abort()
            raise Unavailable(f"publishing: {left} records were not delivered in time")

    def _ask(self, doing: str, function: Callable[..., None], timeout_s: float, *arguments: Any) -> None:
        """Make a call that sends requests of the transaction, and note whether the client repeated one."""
        with self._repeats.asking():
            self._caller.call(doing, function, *arguments, timeout_s=max(0.1, timeout_s))

    def _given_up(self, error: KafkaError | KafkaException, topic: str) -> ScrubError:
        translated = translate(error, f"publishing to {topic}")
        if isinstance(translated, Uncertain):
            if fenced(error):
                return TakenOver(f"another publisher of this register has taken over; {_UNKNOWN}")
            return Uncertain(f"{translated}; {_UNKNOWN}")
        self._abort()
        return translated

    def _abort(self) -> None:
        with suppress(KafkaException, Uncertain):  # else the next publisher aborts it when it opens
            self._ask("aborting", self._producer.abort_transaction, _ABORT_S)

    def close(self) -> None:
        """As `model.LogWriter.close`."""
        with suppress(KafkaException):  # a fenced producer reports it again
            self._producer.purge()
            self._producer.poll(0)
        self._caller.close()


def _need_none_between(
    options: dict[str, Any],
    topic: str,
    registers: Collection[str],
    after: int,
    first: int,
    deadline: Deadline,
    epoch: int | None = None,
) -> None:
    """Raises Unavailable unless the log, between the record `after` and our own `first` one, surely holds no committed
    record of these registers (without scopes). Everything up to `after` was read. `options` are a log reader's.

    `epoch`, if another leader has been elected since: the one in which everything up to `after` was read, or an earlier
    one. Where the new leader lacked the record `after`, what lies there now was written in a later epoch.
    """
    # A deposed broker that does not know it answers every reader as before, and lacks the records committed since.
    # It also lacks our own records. So only a reader that reaches these has read the true log.
    if first <= after:
        raise Unavailable(
            f"{topic} was read up to offset {after}, and our own records come to lie at {first}: a broker lost what others had"
            " (an unclean election)"
        )
    # At `after` is a committed record, and its transaction ends with a marker: one offset between holds just that.
    if first <= after + 2 and epoch is None:
        return
    everything = _between({**options, **UNCOMMITTED}, topic, after, first, deadline, epoch)
    if everything.isdisjoint(registers):
        return
    # Perhaps only aborted records. A reader of committed records may have to wait for other open transactions.
    if not _between(options, topic, after, first, deadline).isdisjoint(registers):
        raise Unavailable("this register was published by somebody else meanwhile: publishing nothing")


def _between(
    options: dict[str, Any],
    topic: str,
    after: int,
    first: int,
    deadline: Deadline,
    epoch: int | None = None,
) -> set[str]:
    """The registers, without scopes, that have records between. `epoch`: see `_need_none_between`."""
    found: set[str] = set()
    upto = after if epoch is None else after - 1
    while not deadline.passed:
        with closing(Consumer(options)) as consumer:
            consumer.assign([TopicPartition(topic, 0, upto + 1)])
            patience = Deadline.after(deadline.left(_TRY_S))
            while not patience.passed:
                one = consumer.poll(_WAIT_S)
                for message in [one, *consumer.consume(_RECORDS, 0)] if one is not None else ():
                    offset, error = message.offset(), message.error()
                    is_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                    if offset is None or not (error is None or is_end):
                        continue
                    if epoch is not None:  # this is the record `after`, or what came in its place
                        if offset != after or not 0 <= (message.leader_epoch() or 0) <= epoch:
                            raise Unavailable(
                                f"another broker leads {topic}, and may have lost what was read at offset {after}"
                            )
                        upto, epoch = after, None
                        continue
                    if offset >= first:
                        return found
                    if not is_end:
                        found.add(family((message.key() or b"").decode("utf-8", "replace")))
                        upto, patience = offset, Deadline.after(deadline.left(_TRY_S))
    raise Unavailable(
        f"{topic} cannot be read up to our own records, which are at offset {first}: publishing nothing. A broker may not"
        " know that it no longer leads the log, or another transaction is open there"
    )
