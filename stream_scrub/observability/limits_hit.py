"""Limits that no other metric or log line shows: each hit is counted, and logged once a minute while that goes on.

docs/reference/limits.md has all limits, and where each shows.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.observability import metric_catalogue
from stream_scrub.observability.process_status import Board, ProcessStatus

_TELL_EVERY_S = 60.0


class Limit:
    """One limit, by its name in the metric. For many threads."""

    def __init__(self, name: str, counts: Counter[str], log: FilteringBoundLogger) -> None:
        self._name = name
        self._counts = counts
        self._log = log
        self._lock = threading.Lock()
        self._logged_at = float("-inf")

    def hit(self) -> None:
        """Count a hit, and log it if the last line is a minute old."""
        now = time.monotonic()
        with self._lock:
            self._counts[self._name] += 1
            is_news = now - self._logged_at >= _TELL_EVERY_S
            if is_news:
                self._logged_at = now
        if is_news:
            self._log.warning("a limit was hit", limit=self._name, count=self._counts[self._name])


def with_hits(board: Board, counts: Counter[str]) -> Callable[[], Sequence[ProcessStatus]]:
    """The board, with this process's own hits added to the first status on it."""

    def with_counts() -> Sequence[ProcessStatus]:
        found = list(board())
        if found and counts:
            name = metric_catalogue.LIMIT_HITS.name
            hits = Counter({limit: value for (limit,), value in found[0].values.get(name, ())})
            hits.update(counts)
            shown = [((limit,), float(value)) for limit, value in hits.items()]
            found[0] = msgspec.structs.replace(found[0], values={**found[0].values, name: shown})
        return found

    return with_counts
