"""A day of figures per minute: prospects by reason, and lag. Kept in a small file across restarts."""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.model import Reason, Verdict
from stream_scrub.serve.watch.scrape import FIGURE_MAX, LoopStatus, known

FILE = "watched.json"
MINUTES_MAX = 1440
_FORMAT = 1
_BYTES_MAX = 4_194_304
_MINUTE_S = 60
LOOPS_MAX = 1000  # whose last counters are remembered
_FORGOTTEN = timedelta(hours=1)

_Figure = Annotated[float, msgspec.Meta(ge=0, le=FIGURE_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=FIGURE_MAX)]


class Minute(msgspec.Struct, omit_defaults=True):
    """One minute. A minute without an answer from any loop does not exist."""

    at: _Count  # its first second since 1970
    verdicts: dict[str, _Count] = {}  # prospects by reason
    lag: _Figure | None = None  # the most prospects that waited


class _SavedSeries(msgspec.Struct):
    format: int
    minutes: list[Minute]


_SAVED_SERIES = msgspec.json.Decoder(_SavedSeries)


class _LastCounters(NamedTuple):
    at: datetime
    verdicts: Mapping[str, float]


class Point(NamedTuple):
    """One interval: prospects a second by verdict, and the highest lag. None: unknown."""

    at: datetime
    allowed: float | None
    blocked: float | None
    lag: float | None


class TimeSeries:
    """The last day. Call `take` from one thread, the rest from any."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._minutes: dict[int, Minute] = {}
        self._last: dict[tuple[str, str], _LastCounters] = {}  # least recently scraped first
        self._load()

    def take(self, loops: Iterable[LoopStatus], now: datetime) -> bool:
        """Add the current status of all loops; returns whether a new minute has begun."""
        at = int(now.timestamp()) // _MINUTE_S * _MINUTE_S
        added: Counter[str] = Counter()
        waiting: list[float] = []
        answered = False
        for loop in loops:
            if not loop.verdicts:
                continue
            answered = True
            added.update(self._since(loop, now))
            waiting += [] if loop.lag is None else [loop.lag]
        self._forget(now)
        if not answered:
            return False
        with self._lock:
            begins = at not in self._minutes
            minute = self._minutes.setdefault(at, Minute(at, {}))
            for reason, count in added.items():
                minute.verdicts[reason] = min(minute.verdicts.get(reason, 0) + count, FIGURE_MAX)
            if waiting:
                minute.lag = max(min(sum(waiting), FIGURE_MAX), minute.lag or 0.0)
            if len(self._minutes) > MINUTES_MAX:
                # A clock that was wrong once leaves minutes in the future: they must not displace today's.
                del self._minutes[max(self._minutes, key=lambda each: abs(each - at))]
        return begins

    def _since(self, loop: LoopStatus, now: datetime) -> Counter[str]:
        """Return a loop's increase since its last scrape; empty at the first scrape, which has no interval.
        Counters that fell were restarted from zero."""
        key = (loop.side, loop.identity)
        before = self._last.pop(key, None)
        self._last[key] = _LastCounters(now, loop.verdicts)
        if before is None:
            return Counter()
        restarted = any(loop.verdicts.get(reason, 0) < count for reason, count in before.verdicts.items())
        base = {} if restarted else before.verdicts
        return Counter(
            {
                reason: int(count - base.get(reason, 0))
                for reason, count in loop.verdicts.items()
                if count > base.get(reason, 0)
            }
        )

    def _forget(self, now: datetime) -> None:
        """Drop loops that have been silent for an hour, and the least recent ones above the limit."""
        for key in [key for key, last in self._last.items() if abs(now - last.at) > _FORGOTTEN]:
            del self._last[key]
        while len(self._last) > LOOPS_MAX:
            del self._last[next(iter(self._last))]

    def points(self, now: datetime, stretch_s: int, count: int) -> list[Point]:
        """Return the last `count` whole intervals of `stretch_s` seconds, the oldest first."""
        end = int(now.timestamp()) // stretch_s * stretch_s
        first = end - count * stretch_s
        parts: dict[int, list[Minute]] = {}
        for minute in self._between(first, end):
            parts.setdefault((minute.at - first) // stretch_s, []).append(minute)
        return [
            _point(datetime.fromtimestamp(first + place * stretch_s, UTC), parts.get(place, ()))
            for place in range(count)
        ]

    def by_reason(self, now: datetime, span_s: int) -> Counter[str]:
        """Return the prospects of the last `span_s` seconds, by reason."""
        end = int(now.timestamp()) + 1
        total: Counter[str] = Counter()
        for minute in self._between(end - span_s, end):
            total.update(minute.verdicts)
        return total

    def _between(self, first: int, end: int) -> list[Minute]:
        with self._lock:
            return [self._minutes[at] for at in sorted(self._minutes) if first <= at < end]

    def keep(self) -> None:
        """Save to the file, if a folder is configured. Raises OSError."""
        if self._folder is None:
            return
        with self._lock:
            content = msgspec.json.encode(
                _SavedSeries(_FORMAT, [self._minutes[at] for at in sorted(self._minutes)])
            )
        temporary = f".{FILE}.{os.getpid()}"  # several server processes write the same file
        with self._writing:
            (self._folder / temporary).unlink(missing_ok=True)
            with atomic_file(self._folder, temporary) as file:
                file.out.write(content)
                file.keep(FILE)

    def _load(self) -> None:
        """Load the file. An unreadable one is ignored: no verdict rests on these figures."""
        if self._folder is None:
            return
        try:
            with (self._folder / FILE).open("rb") as file:
                saved = _SAVED_SERIES.decode(file.read(_BYTES_MAX))
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return
        if saved.format == _FORMAT:
            for minute in sorted(saved.minutes, key=lambda minute: minute.at)[-MINUTES_MAX:]:
                counts: Counter[str] = Counter()
                for reason, count in minute.verdicts.items():
                    counts[known(reason)] += count
                minute.verdicts = dict(counts)
                self._minutes[minute.at] = minute


def _point(at: datetime, minutes: Sequence[Minute]) -> Point:
    if not minutes:
        return Point(at, None, None, None)
    counts: Counter[Verdict] = Counter()
    for minute in minutes:
        for reason, count in minute.verdicts.items():
            counts[_verdict(reason)] += count
    seconds = len(minutes) * _MINUTE_S
    return Point(
        at,
        counts[Verdict.ALLOWED] / seconds,
        counts[Verdict.BLOCKED] / seconds,
        max((each.lag for each in minutes if each.lag is not None), default=None),
    )


def _verdict(reason: str) -> Verdict:
    # A newer worker may report a reason that this release does not know: counting it as blocked is the safe choice.
    return Reason(reason).verdict if reason in set(Reason) else Verdict.BLOCKED
