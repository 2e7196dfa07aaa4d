"""One log line a minute: what a worker has done. One thread."""

import time
from collections import Counter

from structlog.typing import FilteringBoundLogger

from stream_scrub.model import Verdict
from stream_scrub.observability.counters import Counters

_EVERY_S = 60.0


class MinuteSummary:
    """Logs what was counted since its last line."""

    def __init__(self, counters: Counters, log: FilteringBoundLogger) -> None:
        self._counters = counters
        self._log = log
        self._logged_at = time.monotonic()
        self._logged: Counter[str] = Counter()

    def tell(self) -> None:
        """Log a line if the last one is a minute old and something was done since."""
        now = time.monotonic()
        if now - self._logged_at < _EVERY_S:
            return
        counters = self._counters
        sums = Counter(prospects=counters.total, batches=counters.batches, aborts=counters.aborts.total())
        since, self._logged = sums + by_verdict(counters) - self._logged, sums + by_verdict(counters)
        if since:
            self._log.info(
                "scrubbed",
                prospects=since["prospects"],
                per_s=round(since["prospects"] / (now - self._logged_at)),
                batches=since["batches"],
                aborts=since["aborts"],
                lag=counters.lag,
                index=counters.position,
                **{str(verdict): since[str(verdict)] for verdict in Verdict},
            )
        self._logged_at = now


def by_verdict(counters: Counters) -> Counter[str]:
    """The prospects that were emitted, by verdict."""
    return Counter({str(verdict): counters.of(verdict) for verdict in Verdict})
