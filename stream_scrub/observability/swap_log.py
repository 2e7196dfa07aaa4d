"""Logs index swaps, at most one line a second, since opt-outs may come all the time."""

import time

from structlog.typing import FilteringBoundLogger

from stream_scrub.index import Index

_EVERY_S = 1.0


class SwapLog:
    """A line names the last swap, the number of swaps since the line before it, and the longest of their times. One
    thread.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._logged_at = float("-inf")
        self._index = Index.empty()
        self._unlogged: list[tuple[float, float, float]] = []

    def tell(self, index: Index, took_s: float, stall_s: float, waited_s: float | None) -> None:
        """A new index is in use. `took_s` is the time to make it, `stall_s` the longest time that it kept other
        threads from running, `waited_s` the time since its seal was written (None where that is not known).
        """
        self._index = index
        self._unlogged.append((took_s, stall_s, -1.0 if waited_s is None else waited_s))
        self.tell_rest()

    def tell_rest(self) -> None:
        """Log the swaps that no line has named yet, if it is time for one: so the last of many swaps is logged
        too."""
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
