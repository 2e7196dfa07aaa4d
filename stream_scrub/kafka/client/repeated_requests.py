"""Whether a copy of a transaction's request may still be on its way, after the call that sent it has come back.

librdkafka repeats a request whose connection broke, over a new one, and speaks the first transaction protocol (no KIP-890):
what ends, aborts or moves offsets does so to *whatever transaction is open when it arrives*. So a copy that a network
kept for a while ends the next transaction half-way. A new producer of the same transactional id has another epoch, and
such a copy is worthless then. docs/decisions.md has what each of them can do.

The extension, where it is installed, sees every request leave and every answer come, so the question has an exact
answer. Elsewhere calls are timed: a call that came back before the client's first retry is due has repeated nothing.
"""

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import POINTER, c_char_p, c_int, c_long, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from itertools import count, takewhile
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Producer, cimpl

Client = TypeVar("Client")
BACKOFF_MS = 100  # librdkafka's own
_TOPIC_ROOM = 250
_JITTER = 0.2  # by which librdkafka's first retry may be due sooner, or later (RD_KAFKA_RETRY_JITTER_PERCENT)


class Plugin:
    """The extension as librdkafka's plugin. Raises OSError or AttributeError if it is unsuitable, or not installed."""

    def __init__(self) -> None:
        spec = find_spec("stream_scrub_native")
        self.path = path = "" if spec is None else spec.origin or ""
        if not path or ";" in path:  # librdkafka would take that for two
            raise OSError(f"no extension that can be a plugin: {path!r}")
        client, self._mine = ctypes.CDLL(cimpl.__file__), ctypes.CDLL(path)
        for name, result, arguments in (
            ("scrub_wanted", c_char_p, (c_int,)),
            ("scrub_plug_in", None, (POINTER(c_void_p),)),
            ("scrub_watch", c_long, ()),
            ("scrub_watch_attached", c_int, (c_long,)),
            ("scrub_watch_in_doubt", c_int, (c_long,)),
            ("scrub_watch_end", None, (c_long,)),
            ("scrub_failed", c_int, (c_long, c_char_p, c_size_t)),
        ):
            function = getattr(self._mine, name)
            function.restype, function.argtypes = result, arguments
        names = takewhile(bool, map(self._mine.scrub_wanted, count()))
        there = [ctypes.cast(getattr(client, name.decode()), c_void_p).value for name in names]
        self._mine.scrub_plug_in((c_void_p * len(there))(*there))

    def watch(self) -> "RequestWatch":
        """A watch for one new producer."""
        return RequestWatch(self, self._mine, self._mine.scrub_watch())

    def attached(self, token: int) -> bool:
        """Whether a producer was made with that token; no more when both it and its `RequestWatch` are gone."""
        return bool(self._mine.scrub_watch_attached(token))


class RequestWatch:
    """The fate of one producer's requests: at most one of each transactional kind is on its way."""

    def __init__(self, there: Plugin, mine: Any, token: int) -> None:
        self._there = there
        self._mine = mine
        self.token = token
        self.properties = {"plugin.library.paths": there.path, "stream.scrub.watch": str(token)}

    @property
    def attached(self) -> bool:
        """Whether the producer that was made with these properties is watched."""
        return self._there.attached(self.token)

    @property
    def in_doubt(self) -> bool:
        """Whether some request was sent again before it was answered, or has no answer yet."""
        return bool(self._mine.scrub_watch_in_doubt(self.token))

    def failed(self) -> tuple[int, str]:
        """The code of the first record since the last call that was not delivered, and its topic; 0 without one."""
        topic = ctypes.create_string_buffer(_TOPIC_ROOM)
        return self._mine.scrub_failed(self.token, topic, _TOPIC_ROOM), topic.value.decode()

    def __del__(self) -> None:
        self._mine.scrub_watch_end(self.token)


@cache
def plugin() -> Plugin | None:
    """The extension, where it is installed and can be librdkafka's plugin."""
    try:
        return Plugin()
    except (OSError, AttributeError):
        return None


class RepeatedRequests:
    """Whether one producer's transactions leave copies of requests behind. Wrap every call that sends such requests in
    `asking`; flush all records before, or the time for that would count."""

    def __init__(self, watch: RequestWatch | None, backoff_ms: float) -> None:
        self.watch = watch  # with the extension, which counts requests; without it calls are timed
        self._first_retry_s = backoff_ms / 1000 * (1 - _JITTER)
        self._slow = False

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One call."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._slow |= time.perf_counter() - started >= self._first_retry_s

    @property
    def possible(self) -> bool:
        """Whether a copy of a request may still be on its way: then this producer must not begin another transaction."""
        return self._slow if self.watch is None else self.watch.in_doubt


def with_watch(
    make: Callable[[dict[str, Any]], Client], options: dict[str, Any]
) -> tuple[Client, RequestWatch | None]:
    """A new client, and its watch, where the extension is installed and can be its plugin. Raises KafkaException."""
    if (there := plugin()) is not None:
        watch = there.watch()
        # It fails with another librdkafka than the one that the extension was made for, or with wrong properties.
        with suppress(KafkaException):
            client = make({**options, **watch.properties})
            return client, watch if watch.attached else None
    return make(options), None


def watched(options: dict[str, Any]) -> tuple[Producer, RepeatedRequests]:
    """A producer, and the watch on its requests. Raises KafkaException."""
    producer, watch = with_watch(Producer, options)
    return producer, RepeatedRequests(watch, float(options.get("retry.backoff.ms", BACKOFF_MS)))
