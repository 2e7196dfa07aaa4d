"""Puts records on one topic, each told about: requests, for whoever takes them over HTTP, and the prospects of a file.

No transaction: a request that is written twice is one request (docs/requests.md). What matters is that a key always
goes to the same partition, and that whoever asked hears whether the brokers have it.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka.client.translate import Attempt, translate

_POLL_S = 0.1
_FLUSH_S = 5.0


class RequestPlace(NamedTuple):
    """Where a request is: its partition and its offset there."""

    partition: int
    offset: int


# Told once: where it is, or why it is not known to be there.
Told = Callable[[RequestPlace | ScrubError], None]


class RequestsWriter:
    """Writes to one topic. Raises ScrubError where the client cannot be made. `send` may be called from any thread; `told` is called from a thread of this writer."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._topic = topic
        try:
            self._producer = Producer(options)
        except KafkaException as error:
            raise translate(error, Attempt.OPENING) from error
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="requests", daemon=True)
        self._thread.start()

    def send(self, key: bytes | None, value: bytes, told: Told) -> None:
        """Hand a record to the client; `told` hears what became of it."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                told(translate(error, Attempt.EMITTING))
            else:
                told(RequestPlace(message.partition() or 0, message.offset() or 0))

        try:
            self._producer.produce(self._topic, value, key, on_delivery=delivered)
        except BufferError:
            told(Unavailable("too many requests wait for the brokers"))
        except KafkaException as error:
            told(translate(error, Attempt.EMITTING))

    def close(self) -> None:
        """Wait a moment for what is on its way, and end."""
        self._producer.flush(_FLUSH_S)
        self._ended.set()
        self._thread.join(_FLUSH_S)

    def _poll(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)


class LateWriter:
    """A writer that is made with its first request: most servers never take one, and an idle producer costs memory and
    connections."""

    def __init__(self, make: Callable[[], RequestsWriter]) -> None:
        self._make = make
        self._made: RequestsWriter | None = None

    def send(self, key: bytes, value: bytes, told: Told) -> None:
        """As `RequestsWriter.send`. From one thread. Raises ScrubError where the writer cannot be made: the next
        request tries again."""
        if self._made is None:
            self._made = self._make()
        self._made.send(key, value, told)

    def close(self) -> None:
        """As `RequestsWriter.close`."""
        if self._made is not None:
            self._made.close()
