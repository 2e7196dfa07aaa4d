"""Whether a copy of a transaction's request may still be on its way, after the call that sent it has come back.

librdkafka repeats a request whose connection broke, over a new one, and speaks the first transaction protocol (no KIP-890):
what ends, aborts or moves offsets does so to *whatever transaction is open when it arrives*. So a copy that a network
kept for a while ends the next transaction half-way. A new producer of the same transactional id has another epoch, and
such a copy is worthless then. docs/decisions/0011-late-requests.md has what each of them can do.

The extension, where it is installed, sees every request leave and every answer come, so the question has an exact
answer. Elsewhere calls are timed: a call that came back before the client's first retry is due has repeated nothing.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_int, c_long, c_void_p
from functools import cache
from importlib.util import find_spec
from typing import Any

from confluent_kafka import KafkaException, Producer, cimpl

BACKOFF_MS = 100  # librdkafka's own
_JITTER = 0.2  # by which librdkafka's first retry may be due sooner, or later (RD_KAFKA_RETRY_JITTER_PERCENT)
_HOOKS = (
    "rd_kafka_conf_interceptor_add_on_conf_set",
    "rd_kafka_conf_interceptor_add_on_conf_destroy",
    "rd_kafka_conf_interceptor_add_on_new",
    "rd_kafka_interceptor_add_on_request_sent",
    "rd_kafka_interceptor_add_on_response_received",
)


class Plugin:
    """The extension as librdkafka's plugin. Raises OSError or AttributeError when it cannot be that."""

    def __init__(self, path: str) -> None:
        self.path = path
        client, self._mine = ctypes.CDLL(cimpl.__file__), ctypes.CDLL(path)
        for name, result, arguments in (
            ("scrub_plug_in", None, (POINTER(c_void_p),)),
            ("scrub_watch", c_long, ()),
            ("scrub_watch_attached", c_int, (c_long,)),
            ("scrub_watch_in_doubt", c_int, (c_long,)),
            ("scrub_watch_end", None, (c_long,)),
        ):
            function = getattr(self._mine, name)
            function.restype, function.argtypes = result, arguments
        hooks = [ctypes.cast(getattr(client, name), c_void_p).value for name in _HOOKS]
        self._mine.scrub_plug_in((c_void_p * len(hooks))(*hooks))

    def watch(self) -> "RequestWatch":
        """What one producer's requests become."""
        return RequestWatch(self, self._mine, self._mine.scrub_watch())

    def attached(self, token: int) -> bool:
        """Whether a producer was made with that token; no more when both it and its `RequestWatch` are gone."""
        return bool(self._mine.scrub_watch_attached(token))


class RequestWatch:
    """What the requests of one producer became: each transactional kind of it has at most one on its way."""

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

    def __del__(self) -> None:
        self._mine.scrub_watch_end(self.token)


@cache
def plugin() -> Plugin | None:
    """The extension, where it is installed and can be librdkafka's plugin."""
    spec = find_spec("stream_scrub_native")
    path = None if spec is None else spec.origin
    if path is None or ";" in path:  # librdkafka would take that for two
        return None
    try:
        return Plugin(path)
    except (OSError, AttributeError):
        return None


class RepeatedRequests:
    """What the requests of one producer's transactions leave behind. Wrap every call that sends such requests in `asking`;
    flush what was produced before, or the time for that would count."""

    def __init__(self, watch: RequestWatch | None, backoff_ms: float) -> None:
        self._watch = watch
        self._first_retry_s = backoff_ms / 1000 * (1 - _JITTER)
        self._slow = False

    @property
    def exact(self) -> bool:
        """Whether requests are counted, and not calls timed."""
        return self._watch is not None

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
        return self._slow if self._watch is None else self._watch.in_doubt


def watched(options: dict[str, Any]) -> tuple[Producer, RepeatedRequests]:
    """A producer, and what its requests leave behind. Raises KafkaException."""
    backoff_ms = float(options.get("retry.backoff.ms", BACKOFF_MS))
    if (there := plugin()) is not None:
        watch = there.watch()
        try:
            producer = Producer({**options, **watch.properties})
        except (
            KafkaException
        ):  # another librdkafka than the one that it was made for: or the properties are wrong
            pass
        else:
            if watch.attached:
                return producer, RepeatedRequests(watch, backoff_ms)
            return producer, RepeatedRequests(None, backoff_ms)
    return Producer(options), RepeatedRequests(None, backoff_ms)
