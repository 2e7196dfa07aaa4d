"""Step 3 of a delta's life on Kafka: one register's publisher. All of a delta in one transaction, or nothing of it.

A register and its scoped ones share one transactional id, so opening a writer fences every older one of the register,
whoever it is: a command, a daemon, or what is left of one. Nothing else keeps two publishers apart, and nothing else
is needed: a fenced producer cannot commit.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.errors import ScrubError, TakenOver, Unavailable, Uncertain
from stream_scrub.kafka.client import transactional_ids
from stream_scrub.kafka.client.bounded_call import BoundedCaller
from stream_scrub.kafka.client.leaders import GROUP_OFFSETS, wait_for_leaders
from stream_scrub.kafka.client.options import publish_timeout_ms
from stream_scrub.kafka.client.repeated_requests import watched
from stream_scrub.kafka.client.translate import PURGED, fenced, translate
from stream_scrub.model import Deadline, Header, Request

_LATE_S = (
    2.0  # between a transaction's timeout and the moment by which the broker has surely ended it by itself
)
_ABORT_S = 5.0
_AGAIN_S = 0.05
_OF_A_PRODUCER = ("transactional.id", "transaction.timeout.ms")


class TransactionExtras(NamedTuple):
    """What goes into a delta's transaction beside it: requests as they came, for another topic, and what was
    consumed, with the group metadata of who consumed it."""

    topic: str = ""
    records: Sequence[Request] = ()
    offsets: Sequence[TopicPartition] = ()
    membership: bytes = b""


_NOTHING = TransactionExtras()
_UNKNOWN = "whether the last delta was published is unknown; to publish it again is safe"


class KafkaLogWriter:
    """Publishes deltas of one register and its scoped ones. Opening it fences every older publisher of these, and ends
    what that one left open. Blocks until the deadline at most. Raises Unavailable, Refused.
    """

    def __init__(
        self, options: dict[str, Any], topic: str, deadline: Deadline, also: Sequence[str] = ()
    ) -> None:
        """`also` are the topics that `TransactionExtras` will name."""
        self._topic = topic
        self._options = options
        self._timeout_ms = int(options["transaction.timeout.ms"])
        self._commit_s = self._timeout_ms / 1000 + _LATE_S
        self._caller = BoundedCaller()
        touched = (topic, *also, *([GROUP_OFFSETS] if also else []))
        transactional_ids.end_former(options, touched, self._caller, deadline)
        self._producer, self._repeats = watched(options)
        wait_for_leaders(self._producer, touched, deadline)
        transactional_ids.take_over(self._producer, self._caller, options["transactional.id"], deadline)

    def wait_for_others(self, deadline: Deadline) -> None:
        """Return when what is on the log now can be read: to be called before the register is looked at. Raises
        Unavailable, Refused.

        A reader of committed records sees nothing behind the first open transaction. So while another register is being
        published, our register's last deltas, committed long ago, may be hidden: a delta made without them would have
        their sequence numbers a second time, and every follower would find the log corrupt.
        """
        options = {name: value for name, value in self._options.items() if name not in _OF_A_PRODUCER}
        admin = AdminClient(options)
        written = _end(admin, self._topic, IsolationLevel.READ_UNCOMMITTED, deadline)
        while _end(admin, self._topic, IsolationLevel.READ_COMMITTED, deadline) < written:
            if deadline.passed:
                raise Unavailable(
                    f"a transaction is still open on {self._topic}: another register is being published, or, if this"
                    " lasts for minutes, it hangs (see docs/operator.md, A broker that crashed)"
                )
            time.sleep(_AGAIN_S)

    def takes(self, nbytes: int) -> bool:
        """As `model.LogWriter.takes`. How long its transactions may last was said when it was opened."""
        return publish_timeout_ms(nbytes) <= self._timeout_ms

    @property
    def is_spent(self) -> bool:
        """Whether another writer must take its place before anything else is published.

        (a) A copy of a request of its last transaction may still be on its way, and would end the next one. Or (b) it was
        opened with a long timeout, for a large delta. Small deltas get a short timeout: a publisher killed in
        mid-transaction hides the log for that long.
        """
        return self._repeats.possible or self._timeout_ms > publish_timeout_ms(0)

    def publish(
        self, records: Sequence[tuple[bytes, bytes, Sequence[Header]]], beside: TransactionExtras = _NOTHING
    ) -> int:
        """As `model.LogWriter.publish`; -1 where there are no records but what is beside them.

        Raises TakenOver too: somebody else has this register now, or the transaction outlived its timeout.
        """
        if self._repeats.possible:
            raise Unavailable("publishing: a late request of the last transaction could end this one")
        last: list[int] = [-1]
        failed: list[tuple[KafkaError, str]] = []

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                if error.code() not in PURGED:
                    failed.append((error, message.topic() or self._topic))
            elif message.topic() == self._topic:
                last.append(message.offset() or 0)

        try:
            self._producer.begin_transaction()
            for key, value, headers in records:
                self._produce(self._topic, value, key, 0, on_delivery=report, headers=list(headers))
            for about in beside.records:
                more = {
                    "on_delivery": report,
                    "headers": list(about.headers),
                    "timestamp": about.timestamp_ms,
                }
                self._produce(beside.topic, about.value, about.key, **more)
            self._flush(failed)
            if beside.offsets:
                send = self._producer.send_offsets_to_transaction
                self._ask("publishing", send, self._commit_s, list(beside.offsets), beside.membership)
            self._ask("publishing", self._producer.commit_transaction, self._commit_s)
        except KafkaException as error:
            raise self._given_up(*(failed[0] if failed else (error, self._topic))) from error
        return max(last)

    def _produce(self, *arguments: Any, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(*arguments, **more)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _flush(self, failed: list[tuple[KafkaError, str]]) -> None:
        """Parts and seal are written before anything else is asked of the transaction. Raises Unavailable, and what the
        first record says that failed: the client sends no other one after it."""
        left = self._caller.flush("publishing", self._producer, self._commit_s, lambda: bool(failed))
        if failed:
            raise KafkaException(failed[0][0])
        if left:
            self._abort()
            raise Unavailable(f"publishing: {left} records were not delivered in time")

    def _ask(self, doing: str, function: Callable[..., None], timeout_s: float, *arguments: Any) -> None:
        """Around every call that sends requests of the transaction: notes whether the client repeated one."""
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
        with suppress(KafkaException, Uncertain):  # else the next publisher's init aborts it
            self._ask("aborting", self._producer.abort_transaction, _ABORT_S)

    def close(self) -> None:
        """As `model.LogWriter.close`."""
        with suppress(KafkaException):  # a fenced producer says once more that it is
            self._producer.purge()
            self._producer.poll(0)
        self._caller.close()


def _end(admin: AdminClient, topic: str, isolation: IsolationLevel, deadline: Deadline) -> int:
    asked = admin.list_offsets(
        {TopicPartition(topic, 0): OffsetSpec.latest()},  # type: ignore[no-untyped-call]
        isolation_level=isolation,
        request_timeout=max(1.0, deadline.left()),
    )
    try:
        (found,) = [future.result() for future in asked.values()]
    except KafkaException as error:
        raise translate(error, f"asking for the end of {topic}") from error
    return int(found.offset)
