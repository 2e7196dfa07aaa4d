"""What workers did, minute by minute, for a day: prospects by reason, and how many waited. Kept in one small file, so
that it survives a restart of the server."""

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
from stream_scrub.server.watch.others import FIGURE_MAX, Loop, known

FILE = "watched.json"
MINUTES_MAX = 1440
_FORMAT = 1
_BYTES_MAX = 4_194_304
_MINUTE_S = 60
HEARD_MAX = 1000  # loops whose last counters are remembered
_FORGOTTEN = timedelta(hours=1)

_Figure = Annotated[float, msgspec.Meta(ge=0, le=FIGURE_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=FIGURE_MAX)]


class Minute(msgspec.Struct, omit_defaults=True):
    """One minute: its first second since 1970, prospects by reason, the most that waited, and the oldest index in
    seconds. A minute in which nobody was heard does not exist."""

    at: _Count
    verdicts: dict[str, _Count] = {}
    lag: _Figure | None = None
    log_lag_s: _Figure | None = None


class _Kept(msgspec.Struct):
    format: int
    minutes: list[Minute]


class _Heard(NamedTuple):
    at: datetime
    verdicts: Mapping[str, float]


class Point(NamedTuple):
    """A stretch of time: prospects a second by verdict, the most that waited, and the oldest index; None where nothing is known."""

    at: datetime
    allowed: float | None
    blocked: float | None
    lag: float | None
    log_lag_s: float | None


class History:
    """The last day. `take` from one thread, all else from any."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._minutes: dict[int, Minute] = {}
        self._last: dict[tuple[str, str], _Heard] = {}  # who was heard longest ago comes first
        self._load()

    def take(self, loops: Iterable[Loop], now: datetime) -> bool:
        """What every loop that was heard says now; returns whether a new minute has begun."""
        at = int(now.timestamp()) // _MINUTE_S * _MINUTE_S
        added: Counter[str] = Counter()
        waiting: list[float] = []
        ages: list[float] = []
        heard = False
        for loop in loops:
            if not loop.verdicts:
                continue
            heard = True
            added.update(self._since(loop, now))
            waiting += [] if loop.lag is None else [loop.lag]
            ages += [] if loop.log_lag_s is None else [loop.log_lag_s]
        self._forget(now)
        if not heard:
            return False
        with self._lock:
            begins = at not in self._minutes
            minute = self._minutes.setdefault(at, Minute(at, {}))
            for reason, count in added.items():
                minute.verdicts[reason] = min(minute.verdicts.get(reason, 0) + count, FIGURE_MAX)
            minute.lag = _most([min(sum(waiting), FIGURE_MAX)] if waiting else [], minute.lag)
            minute.log_lag_s = _most(ages, minute.log_lag_s)
            if len(self._minutes) > MINUTES_MAX:
                # A clock that was wrong for a moment leaves minutes of the future, which must not outlive the day's.
                del self._minutes[max(self._minutes, key=lambda each: abs(each - at))]
        return begins

    def _since(self, loop: Loop, now: datetime) -> Counter[str]:
        """What a loop did since it was last heard. Counters that went back began anew; of a loop that was never heard
        before, nobody knows when it did what it did."""
        who = (loop.side, loop.who)
        before = self._last.pop(who, None)
        self._last[who] = _Heard(now, loop.verdicts)
        if before is None:
            return Counter()
        anew = any(loop.verdicts.get(reason, 0) < count for reason, count in before.verdicts.items())
        base = {} if anew else before.verdicts
        return Counter(
            {
                reason: int(count - base.get(reason, 0))
                for reason, count in loop.verdicts.items()
                if count > base.get(reason, 0)
            }
        )

    def _forget(self, now: datetime) -> None:
        """Forget who has gone: for an hour, or for long among very many."""
        for who in [who for who, heard in self._last.items() if abs(now - heard.at) > _FORGOTTEN]:
            del self._last[who]
        while len(self._last) > HEARD_MAX:
            del self._last[next(iter(self._last))]

    def points(self, now: datetime, stretch_s: int, count: int) -> list[Point]:
        """The last `count` whole stretches of so many seconds, the oldest first."""
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
        """Prospects of the last so many seconds, by reason."""
        end = int(now.timestamp()) + 1
        total: Counter[str] = Counter()
        for minute in self._between(end - span_s, end):
            total.update(minute.verdicts)
        return total

    def _between(self, first: int, end: int) -> list[Minute]:
        with self._lock:
            return [self._minutes[at] for at in sorted(self._minutes) if first <= at < end]

    def keep(self) -> None:
        """Write it down, if there is where. From any thread. Raises OSError."""
        if self._folder is None:
            return
        with self._lock:
            content = msgspec.json.encode(_Kept(_FORMAT, [self._minutes[at] for at in sorted(self._minutes)]))
        beside = f".{FILE}.{os.getpid()}"  # every process of a server writes the same, from the same pages
        with self._writing:
            (self._folder / beside).unlink(missing_ok=True)
            with atomic_file(self._folder, beside) as file:
                file.out.write(content)
                file.keep(FILE)

    def _load(self) -> None:
        """What was kept. What cannot be read is left out: these are figures to look at, and no verdict rests on
        them."""
        if self._folder is None:
            return
        try:
            with (self._folder / FILE).open("rb") as file:
                kept = msgspec.json.decode(file.read(_BYTES_MAX), type=_Kept)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return
        if kept.format == _FORMAT:
            for minute in sorted(kept.minutes, key=lambda minute: minute.at)[-MINUTES_MAX:]:
                counts: Counter[str] = Counter()
                for reason, count in minute.verdicts.items():
                    counts[known(reason)] += count
                minute.verdicts = dict(counts)
                self._minutes[minute.at] = minute


def _point(at: datetime, minutes: Sequence[Minute]) -> Point:
    if not minutes:
        return Point(at, None, None, None, None)
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
        max((each.log_lag_s for each in minutes if each.log_lag_s is not None), default=None),
    )


def _most(values: Sequence[float], before: float | None) -> float | None:
    return max([*values, before or 0.0]) if values else before


def _verdict(reason: str) -> Verdict:
    """Of a reason that a worker of a newer release may know and we do not: blocked, since nothing else is safe to say."""
    return Reason(reason).verdict if reason in set(Reason) else Verdict.BLOCKED
