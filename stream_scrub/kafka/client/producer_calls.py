"""What every transactional producer needs: an id of its own, a safe takeover of that id, and calls that end.

An id is its parts joined by hyphens, which parts may contain as well: group `a-b` with worker `c`, and group `a` with
worker `b-c`, would be one producer and fence each other for ever. So an id ends with the kind of its process and the
length of its first part. Its beginning is the prefix that rights on the broker are granted to.

librdkafka 2.16.0 can hang for ever in `rd_kafka_send_offsets_to_transaction` when the broker dies at the wrong moment
(seen on a real Kafka under kill -9), whatever timeout it was given. A blocking call therefore runs in a thread of its
own; one that overruns is abandoned with its thread and its producer, and the caller continues with a new one.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from stream_scrub.errors import Unavailable, Uncertain
from stream_scrub.kafka.client.translate import translate, translating
from stream_scrub.model import Deadline

Result = TypeVar("Result")
_Answers = queue.SimpleQueue[tuple[Any, BaseException | None]]
_Call = tuple[Callable[[], Any], _Answers]
_TURN_S = 0.25
_LEAVE_S = 5.0
GRACE_S = 5.0  # a call that has not returned so long after its timeout never will


class BoundedCaller:
    """Runs one call at a time in a thread of its own, which also serves the client's callbacks."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call | None]  # None ends the thread
        self._start()

    def _start(self) -> None:
        self._calls = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._calls,), name="caller", daemon=True).start()

    def call(self, doing: str, function: Callable[..., Result], *arguments: Any, timeout_s: float) -> Result:
        """What `function(*arguments, timeout_s)` returns or raises. Raises Uncertain if it does not return."""
        answers: _Answers = queue.SimpleQueue()
        self._calls.put((lambda: function(*arguments, timeout_s), answers))
        try:
            result, error = answers.get(timeout=timeout_s + GRACE_S)
        except queue.Empty:
            self.close()  # if it returns after all, its thread ends and frees the producer
            self._start()
            raise Uncertain(
                f"{doing}: the client did not return within its timeout of {timeout_s:.0f} s"
            ) from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # what the function returned

    def flush(
        self, doing: str, producer: Producer, timeout_s: float, failed: Callable[[], bool] = lambda: False
    ) -> int:
        """Flush; returns how many records were not delivered in time. Raises KafkaException, Uncertain. `failed`: some
        records have failed; then the client sends no others, and waiting for them is useless.

        If the client fails for good while it flushes, the binding calls the reports with that exception set: the result is
        a SystemError with the real error as its cause.
        """
        try:
            return self.call(doing, _flush, producer, failed, timeout_s=timeout_s)
        except SystemError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, KafkaException):
                cause = cause.__cause__
            raise (error if cause is None else cause) from None

    def close(self) -> None:
        """End the thread when it is idle."""
        self._calls.put(None)


def leave_group(consumer: Consumer, first: Callable[[], None] = lambda: None) -> None:
    """Close a member of a group, after `first`. Blocks for ten seconds at most: if a rebalance reaches it just after it has
    left, librdkafka 2.16.1 waits for ever, and the member is abandoned. Its callbacks run in another thread, perhaps after
    this has returned."""

    def leave(_: float) -> None:
        first()
        consumer.close()

    caller = BoundedCaller()
    with suppress(Uncertain):
        caller.call("leaving the group", leave, timeout_s=_LEAVE_S)
    caller.close()


def _flush(producer: Producer, failed: Callable[[], bool], timeout_s: float) -> int:
    until = time.monotonic() + timeout_s
    while True:
        left = producer.flush(max(0.0, min(_TURN_S, until - time.monotonic())))
        if not left or failed() or time.monotonic() >= until:
            return left


def _serve(calls: "queue.SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        function, answers = call
        try:
            answers.put((function(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
            answers.put((None, error))
        del call, function, answers  # keep nothing of the last call alive while waiting for the next


GROUP_OFFSETS = "__consumer_offsets"
_EVERY_S = 0.2


def wait_for_leaders(producer: Producer, topics: Sequence[str], deadline: Deadline) -> None:
    """Return when every partition of the topics (as far as we may see them) has a leader. Raises Unavailable.

    To be called before `init_transactions`, which aborts what an earlier life of the transactional id left open.
    Kafka 4.3.1 takes a partition without a leader for deleted then and writes no abort marker to it (KAFKA-20734):
    what was left stays open, and our next commit would commit it: readers would see it twice. A broker that just came
    back from a crash is in that state for a moment, and a client that waited for it asks at once.
    """
    while True:
        with translating("asking for the leaders"):
            described = {
                t: producer.list_topics(t, timeout=max(0.1, deadline.left())).topics.get(t) for t in topics
            }
        headless = [
            topic
            for topic, found in described.items()
            if found is not None and any(partition.leader < 0 for partition in found.partitions.values())
        ]
        if not headless:
            return
        if deadline.left() < _EVERY_S:
            raise Unavailable(f"partitions of {', '.join(headless)} have no leader")
        time.sleep(_EVERY_S)


_TRY_S = 5.0
_AGAIN_S = 0.1


def id_of_worker(group_id: str, identity: str) -> str:
    """`scrub-<group>-<identity>.w<length of the group>`."""
    # The same for every life of a worker, so that a new one ends at once what the old one left open.
    return f"scrub-{group_id}-{identity}.w{len(group_id)}"


def id_of_retry(group_id: str) -> str:
    """`scrub-retry-<group>.r<length of the group>`: a right to it is no right to a worker's."""
    return f"scrub-retry-{group_id}.r{len(group_id)}"


def id_of_shadow(group_id: str) -> str:
    """`scrub-shadow-<group>.s<length of the group>`."""
    return f"scrub-shadow-{group_id}.s{len(group_id)}"


def id_of_recall(group_id: str, identity: str) -> str:
    """`scrub-recall-<group>-<identity>.c<length of the group>`."""
    return f"scrub-recall-{group_id}-{identity}.c{len(group_id)}"


def id_of_fanout(group_id: str, target: str) -> str:
    """`scrub-fanout-<group>-<target>.f<length of the group>`."""
    return f"scrub-fanout-{group_id}-{target}.f{len(group_id)}"


def id_of_rescrub(group_id: str) -> str:
    """`scrub-rescrub-<group>.n<length of the group>`."""
    return f"scrub-rescrub-{group_id}.n{len(group_id)}"


def id_of_publisher(log_topic: str, register: str) -> str:
    """`scrub-publish-<log>-<register>.p<length of the log's name>`; a register's scope is left out, so that it and its
    scoped ones have one publisher."""
    return f"scrub-publish-{log_topic}-{register.partition('@')[0]}.p{len(log_topic)}"


def take_over(producer: Producer, caller: BoundedCaller, transactional_id: str, deadline: Deadline) -> None:
    """`init_transactions`: fences the producer that had the id, and ends its transaction. Blocks until the deadline at most.

    Raises Unavailable (try again: also while the coordinator still ends the old transaction), Refused, Uncertain.
    """
    while True:
        try:
            caller.call("opening", producer.init_transactions, timeout_s=max(0.1, deadline.left(_TRY_S)))
        except KafkaException as error:
            if not error.args[0].retriable() or deadline.passed:
                raise translate(error, f"opening the session {transactional_id}") from error
            time.sleep(_AGAIN_S)
        else:
            return
