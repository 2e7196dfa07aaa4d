"""Writes records to one topic and reports each delivery: requests that came over HTTP, and the prospects of a file.

No transaction: a request that is written twice counts once (docs/requests.md). A key always goes to the same partition,
and the caller learns whether the brokers have the record.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka.client.translate import Attempt, translate, translating
from stream_scrub.model import Header

_POLL_S = 0.1
_FLUSH_S = 5.0
_ON_THE_WAY = 5_000  # records that wait for their delivery reports: half of the smallest queue of a role
_TOLD_EVERY = 1_000


class RequestPlace(NamedTuple):
    """Where a request is: its partition and its offset there."""

    partition: int
    offset: int


# Called once: with the place of the record, or with the error.
Delivered = Callable[[RequestPlace | ScrubError], None]


class RequestsWriter:
    """Writes to one topic. Raises ScrubError if the client cannot be built. `send` may be called from any thread; its
    callback runs in a thread of this writer."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._topic, self._options = topic, options
        with translating(Attempt.OPENING):
            self._producer = Producer(options)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="requests", daemon=True)
        self._thread.start()

    def send(
        self, key: bytes | None, value: bytes, on_delivery: Delivered, headers: Sequence[Header] = ()
    ) -> None:
        """Hand a record to the client; `on_delivery` is called with the outcome."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                on_delivery(translate(error, Attempt.EMITTING))
            else:
                on_delivery(RequestPlace(message.partition() or 0, message.offset() or 0))

        try:
            self._producer.produce(self._topic, value, key, headers=list(headers), on_delivery=delivered)
        except BufferError:
            on_delivery(Unavailable("too many requests wait for the brokers"))
        except KafkaException as error:
            on_delivery(translate(error, Attempt.EMITTING))

    def close(self) -> None:
        """Wait up to 5 s for deliveries, and end the thread."""
        with suppress(KafkaException):
            self._producer.flush(_FLUSH_S)
        self._ended.set()
        self._thread.join(_FLUSH_S)

    def _poll(self) -> None:
        while not self._ended.is_set():
            try:
                self._producer.poll(_POLL_S)
            except KafkaException:  # the client failed for good, and takes no more records
                failed, self._producer = self._producer, Producer(self._options)
                failed.purge()
                with suppress(KafkaException):
                    failed.flush(_FLUSH_S)  # calls back for each of its records


class LateWriter:
    """A writer that is opened at its first request: most servers never take one, and an idle producer costs memory and
    connections."""

    def __init__(self, make: Callable[[], RequestsWriter]) -> None:
        self._make = make
        self._writer: RequestsWriter | None = None

    def send(self, key: bytes, value: bytes, on_delivery: Delivered, headers: Sequence[Header] = ()) -> None:
        """As `RequestsWriter.send`, from one thread. Raises ScrubError if the writer cannot be opened: the next request
        tries again."""
        if self._writer is None:
            self._writer = self._make()
        self._writer.send(key, value, on_delivery, headers)

    def close(self) -> None:
        """As `RequestsWriter.close`."""
        if self._writer is not None:
            self._writer.close()


class LineRecord(NamedTuple):
    """A record that is made from a file's row: the row's line, the key and the value."""

    line: int
    key: bytes | None
    value: bytes


class Deliveries:
    """Sends records by a writer, which it closes. The first one that the brokers do not take ends the run: every later call
    raises what they say to it. `unit` is what a record is called there."""

    def __init__(self, writer: RequestsWriter, unit: str) -> None:
        self._writer, self._unit = writer, unit
        self._changed = threading.Condition()  # delivery reports come on the writer's thread
        self._waiting = 0
        self._errors: dict[int, ScrubError] = {}  # by lines
        self._is_closed = False

    def send(self, line: int, key: bytes | None, value: bytes) -> None:
        """Send a record. Waits while too many are on their way. Raises ValueError after the end."""
        if self._is_closed:
            raise ValueError(f"closed: no {self._unit} is sent any more")
        self.wait(_ON_THE_WAY - 1)
        with self._changed:
            self._waiting += 1

        def report(found: object) -> None:
            with self._changed:
                self._waiting -= 1
                if isinstance(found, ScrubError):
                    self._errors[line] = found
                self._changed.notify()

        self._writer.send(key, value, report)

    def wait(self, most: int = 0) -> None:
        """Return when at most so many are on their way."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= most or self._errors)
            if self._errors:
                self._changed.wait_for(lambda: not self._waiting)  # earlier ones may be reported later
                line, error = min(self._errors.items(), key=lambda each: each[0])
                what = f"{self._unit} {line} was not taken, those before it were: {error}"
                raise type(error)(what) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until everything is delivered, except if the program is to end, and close the writer."""
        self._is_closed = True
        try:
            if kind is None or issubclass(kind, Exception):
                self.wait()
        finally:
            self._writer.close()


def send_all(
    deliveries: Deliveries, records: Iterable[LineRecord], progress: Callable[[], None] = lambda: None
) -> int:
    """Send all records, and wait until the brokers have them; how many they were."""
    sent = 0
    with deliveries:
        for record in records:
            deliveries.send(*record)
            sent += 1
            if sent % _TOLD_EVERY == 0:
                progress()
    return sent
