"""What workers did, minute by minute, for a day: prospects by reason, and how many waited. Kept in one small file, so
that it survives a restart of the server."""

import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.model import Reason, Verdict
from stream_scrub.server.watch.others import Loop

FILE = "watched.json"
MINUTES_MAX = 1440
_FORMAT = 1
_BYTES_MAX = 4_194_304
_MINUTE_S = 60


class Minute(msgspec.Struct, omit_defaults=True):
    """One minute: its first second since 1970, prospects by reason, the most that waited, and the oldest index in
    seconds. A minute in which nobody was heard does not exist."""

    at: int
    verdicts: dict[str, int] = {}
    lag: float | None = None
    log_lag_s: float | None = None


class _Kept(msgspec.Struct):
    format: int
    minutes: list[Minute]


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
        self._minutes: deque[Minute] = deque(maxlen=MINUTES_MAX)
        self._last: dict[tuple[str, str], Mapping[str, float]] = {}
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
            added.update(self._since(loop))
            waiting += [] if loop.lag is None else [loop.lag]
            ages += [] if loop.log_lag_s is None else [loop.log_lag_s]
        if not heard:
            return False
        with self._lock:
            begins = not self._minutes or self._minutes[-1].at < at
            if begins:
                self._minutes.append(Minute(at, {}))
            minute = self._minutes[-1]
            minute.verdicts = dict(Counter(minute.verdicts) + added)
            minute.lag = max([sum(waiting), minute.lag or 0.0]) if waiting else minute.lag
            minute.log_lag_s = max([*ages, minute.log_lag_s or 0.0]) if ages else minute.log_lag_s
        return begins

    def _since(self, loop: Loop) -> Counter[str]:
        """What a loop did since it was last heard. Counters that went back began anew; of a loop that was never heard
        before, nobody knows when it did what it did."""
        who = (loop.side, loop.who)
        before, self._last[who] = self._last.get(who), loop.verdicts
        if before is None:
            return Counter()
        anew = any(loop.verdicts.get(reason, 0) < count for reason, count in before.items())
        base = {} if anew else before
        return Counter(
            {
                reason: int(count - base.get(reason, 0))
                for reason, count in loop.verdicts.items()
                if count > base.get(reason, 0)
            }
        )

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
            return [each for each in self._minutes if first <= each.at < end]

    def keep(self) -> None:
        """Write it down, if there is where. Raises OSError."""
        if self._folder is None:
            return
        with self._lock:
            content = msgspec.json.encode(_Kept(_FORMAT, list(self._minutes)))
        beside = f".{FILE}.{os.getpid()}"  # every process of a server writes the same, from the same pages
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
        except (OSError, msgspec.MsgspecError, ValueError):
            return
        if kept.format == _FORMAT:
            self._minutes.extend(sorted(kept.minutes, key=lambda minute: minute.at))


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


def _verdict(reason: str) -> Verdict:
    """Of a reason that a worker of a newer release may know and we do not: blocked, since nothing else is safe to say."""
    return Reason(reason).verdict if reason in set(Reason) else Verdict.BLOCKED
