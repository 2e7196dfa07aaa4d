"""Calls into the client that must end, even those whose own timeout does not hold.

librdkafka 2.16.0 can wait for ever in `rd_kafka_send_offsets_to_transaction` when the broker dies at the wrong moment
(seen on a real Kafka under kill -9), whatever timeout it was given. A blocking call therefore runs in a thread beside
the caller; one that overruns is left behind with its thread and its producer, and the caller goes on with a new one.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Producer

from stream_scrub.errors import Uncertain

Result = TypeVar("Result")
_TURN_S = 0.25
GRACE_S = 5.0  # a call that has not come back so long after its timeout never will


class BoundedCaller:
    """Runs one call at a time in a thread of its own. The client's callbacks are then served in that thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], Any], queue.SimpleQueue[tuple[Any, BaseException | None]]]
        ]
        self._start()

    def _start(self) -> None:
        self._calls = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._calls,), name="caller", daemon=True).start()

    def call(self, doing: str, function: Callable[..., Result], *arguments: Any, timeout_s: float) -> Result:
        """What `function(*arguments, timeout_s)` returns or raises. Raises Uncertain when it does not come back."""
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._calls.put((lambda: function(*arguments, timeout_s), answers))
        try:
            result, error = answers.get(timeout=timeout_s + GRACE_S)
        except queue.Empty:
            self.close()  # should it come back after all, its thread ends, and the producer that it holds is freed
            self._start()
            raise Uncertain(
                f"{doing}: the client did not come back within its timeout of {timeout_s:.0f} s"
            ) from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # what the function returned

    def flush(
        self, doing: str, producer: Producer, timeout_s: float, failed: Callable[[], bool] = lambda: False
    ) -> int:
        """Write what was produced; how many records were not delivered in time. Raises KafkaException, Uncertain.

        `failed` says that some failed: then the client sends no others, and would wait for them until the time is up.

        When the client fails for good while it flushes, the binding calls the reports with that very exception set, and
        what comes out is a SystemError with the truth as its cause.
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
        self._calls.put((_end, queue.SimpleQueue()))


def _flush(producer: Producer, failed: Callable[[], bool], timeout_s: float) -> int:
    until = time.monotonic() + timeout_s
    while True:
        left = producer.flush(max(0.0, min(_TURN_S, until - time.monotonic())))
        if not left or failed() or time.monotonic() >= until:
            return left


class _Ended(BaseException):
    """Ends a caller's thread."""


def _end() -> None:
    raise _Ended


def _serve(
    calls: "queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[tuple[Any, BaseException | None]]]]",
) -> None:
    while True:
        function, answers = calls.get()
        try:
            answers.put((function(), None))
        except _Ended:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
            answers.put((None, error))
        del function, answers  # while this waits for the next call, nothing of the last one is kept alive
