"""The line of an index swap: one for each, but not ten a second where opt-outs come all the time."""

import time

from structlog.typing import FilteringBoundLogger

from stream_scrub.index import Index

_EVERY_S = 1.0


class SwapLog:
    """Tells swaps, at most one line a second. A line speaks of the last swap and of those that were not told before it:
    how many, and the longest of their times. One thread.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._logged_at = float("-inf")
        self._index = Index.empty()
        self._unlogged: list[tuple[float, float, float]] = []

    def tell(self, index: Index, took_s: float, stall_s: float, waited_s: float | None) -> None:
        """An index is in use that took so long to make, stalled others for so long at a time, and was waited for since
        its seal was written (None where that is not known).
        """
        self._index = index
        self._unlogged.append((took_s, stall_s, -1.0 if waited_s is None else waited_s))
        self.tell_rest()

    def tell_rest(self) -> None:
        """What was not told yet, if it is time for a line: whoever waits for the last of many swaps sees it too."""
        now = time.monotonic()
        if not self._unlogged or now - self._logged_at < _EVERY_S:
            return
        took, stall, waited = (max(times) for times in zip(*self._unlogged, strict=True))
        self._log.info(
            "index swapped",
            position=self._index.position,
            registers=len(self._index.registers),
            swaps=len(self._unlogged),
            took_ms=round(took * 1000, 1),
            stall_ms=round(stall * 1000, 1),
            waited_ms=None if waited < 0 else round(waited * 1000, 1),
        )
        self._logged_at = now
        self._unlogged.clear()
