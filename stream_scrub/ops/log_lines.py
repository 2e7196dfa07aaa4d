"""Log lines that come often, each at a limited rate: a problem that lasts, index swaps, limits that are reached."""

import re
import threading
from collections.abc import Callable

from stream_scrub.clock import Throttle
from stream_scrub.index import Index
from stream_scrub.model import Logger

_REMIND_S = 60.0
_KINDS_MAX = 16
_DIGITS = re.compile(r"\d+")
# The client's name of an error, as `kafka/client/translate.py` writes it.
_CODE = re.compile(r"\(([A-Z_]{4,}): ")
_SWAPS_EVERY_S = 1.0  # opt-outs may come all the time
_HITS_EVERY_S = 60.0


class RecurringProblem:
    """A problem that may last: a line when it begins, one a minute while it lasts, and one when it is over. `begins` and
    `over` are the lines' events. One thread."""

    def __init__(self, log: Logger, begins: str, over: str) -> None:
        self._log = log
        self._begins = begins
        self._over = over
        self._duration = Throttle(0.0)
        self._reminder = Throttle(_REMIND_S)
        self._lasts = False
        self._kinds: set[str] = set()

    def occurred(self, why: str, **more: object) -> None:
        """The problem is there. Logs a line (a) if it is new, (b) if it has another cause (another error code, or other
        words), or (c) if the last line is a minute old."""
        if not self._lasts:
            self._lasts = True
            self._duration.restart()
            self._reminder.expire()
            self._kinds.clear()
        code = _CODE.search(why)
        kind = _DIGITS.sub("#", why) if code is None else code[1]
        is_new = kind not in self._kinds and len(self._kinds) < _KINDS_MAX
        if is_new or self._reminder.is_due():
            self._kinds.add(kind)
            self._reminder.restart()
            self._log.warning(self._begins, why=why, **more)

    def end(self) -> None:
        """The problem is over, if there was one."""
        if self._lasts:
            self._lasts = False
            self._log.info(self._over, waited_s=round(self._duration.age_s, 1))

    def report(self, why: str) -> None:
        """The problem's cause; empty: there is none (any more)."""
        if why:
            self.occurred(why)
        else:
            self.end()


class SwapLog:
    """Index swaps. A line has the last swap, the number of swaps since the line before, and the longest of their times.
    One thread."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._line = Throttle(_SWAPS_EVERY_S)
        self._index = Index.empty()
        self._unlogged: list[tuple[float, float, float]] = []

    def swapped(self, index: Index, took_s: float, stall_s: float, waited_s: float | None) -> None:
        """A new index is in use. `took_s`: the time to make it. `stall_s`: the longest time that it kept other threads
        from running. `waited_s`: the time since its seal was written, None if unknown."""
        self._index = index
        self._unlogged.append((took_s, stall_s, -1.0 if waited_s is None else waited_s))
        self.flush()

    def flush(self) -> None:
        """Log the swaps that no line has yet, if it is time for one: the last of many swaps is logged too."""
        if not self._unlogged or not self._line.is_due():
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
        self._unlogged.clear()


class Limit:
    """A limit that no other metric or line shows (docs/reference/limits.md), by its name in the metric. `count` counts a
    hit. For many threads."""

    def __init__(self, name: str, count: Callable[[str], None], log: Logger) -> None:
        self._name = name
        self._count = count
        self._log = log
        self._lock = threading.Lock()
        self._hits = 0
        self._log_line = Throttle(_HITS_EVERY_S)

    def hit(self) -> None:
        """Count a hit, and log it if the last line is a minute old."""
        self._count(self._name)
        with self._lock:
            self._hits += 1
            is_due = self._log_line.is_due()
        if is_due:
            self._log.warning("limit reached", limit=self._name, count=self._hits)
