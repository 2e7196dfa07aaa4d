"""The client's own log lines, through ours: one line a change of state.

While a broker is away librdkafka logs each refused connection, several times a second. What it says is the same until
something changes, so a line is passed on when its kind is new, and again after a while if it goes on.
"""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

_AGAIN_S = 300.0
_LINE = re.compile(r"(?P<facility>[A-Z_0-9]+) \[[^]]*\] (?:\[thrd:[^]]*\]: )?(?P<text>.*)", re.DOTALL)
_KIND = re.compile(r"\d+")
_QUIET = frozenset({"GETPID", "CONFWARN", "PARTCNT", "TERMINATE", "COMMITFAIL"})


class ClientLog(logging.Handler):
    """Give `properties()` to a client: its lines and errors arrive here. Never raises: it runs inside polls."""

    def __init__(self, log: FilteringBoundLogger, client: str) -> None:
        super().__init__()
        self._log = log.bind(client=client)
        self._told: dict[str, float] = {}
        self._logger = logging.Logger(f"librdkafka.{client}")
        self._logger.addHandler(self)

    def properties(self, on_error: Callable[[KafkaError], None] | None = None) -> dict[str, Any]:
        """`logger` and `error_cb` for a client."""

        def error_cb(error: KafkaError) -> None:
            self._tell("client error", error.name(), error.str())
            if on_error is not None:
                on_error(error)

        return {"logger": self._logger, "error_cb": error_cb}

    def emit(self, record: logging.LogRecord) -> None:
        """One line of librdkafka's."""
        found = _LINE.match(record.getMessage())
        facility, text = (found["facility"], found["text"]) if found else ("LOG", record.getMessage())
        if record.levelno >= logging.WARNING and facility not in _QUIET:
            self._tell("client log", facility, text)

    def _tell(self, event: str, kind: str, text: str) -> None:
        key = f"{kind} {_KIND.sub('#', text)}"[:80]
        now = time.monotonic()
        if now - self._told.get(key, -_AGAIN_S) < _AGAIN_S:
            return
        if len(self._told) > 256:
            self._told.clear()
        self._told[key] = now
        with suppress(OSError, ValueError):  # a closed stderr must not cost a batch
            self._log.warning(event, kind=kind, said=text)
