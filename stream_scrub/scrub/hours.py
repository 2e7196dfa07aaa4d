"""When the person at a number may be called: the hours of rules on the clocks of all zones where the person may be.
Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from stream_scrub.clock import utc_minutes, zone
from stream_scrub.numbering.zones import Zones
from stream_scrub.rules.hours import Hours
from stream_scrub.scrub.decide import ConsentedWindow
from stream_scrub.stamp import CallHours

DAYS_AHEAD = 7  # of the windows on a stamp; a verdict that is good for longer is asked for again
_LOOK_AHEAD = timedelta(days=60)  # further than any law closes
_KEPT = 4096
_DAY_MINUTES = 24 * 60

Window = tuple[datetime, datetime]  # from the first moment to before the second one


class Clock(NamedTuple):
    """The hours of one rule for a person who is in one of these zones, and whose holidays are those of the region.
    `consented`: windows besides these hours (epoch seconds)."""

    hours: Hours
    region: str
    zones: Zones
    consented: tuple[ConsentedWindow, ...] = ()


Clocks = tuple[Clock, ...]  # all of them hold


@lru_cache(_KEPT)
def windows(clocks: Clocks, first: date, last: date) -> tuple[Window, ...]:
    """The windows that are open by every clock on the days from `first` to `last`, in UTC. Where no zone is known, none
    is."""
    every = [list(_on(clock, name, first, last)) for clock in clocks for name in clock.zones]
    if not every or not all(clock.zones for clock in clocks):
        return ()
    shared = every[0]
    for others in every[1:]:
        shared = list(_shared(shared, others))
    return tuple(shared)


def _on(clock: Clock, name: str, first: date, last: date) -> Iterator[Window]:
    """The windows of these days in one zone, in order and apart."""
    info = zone(name)
    windows = []
    for count in range((last - first).days + 1):
        day = first + timedelta(days=count)
        spans = clock.hours.on(day, clock.region)
        windows += [_span_of(day, begin, end, info) for begin, end in spans]
        if not clock.consented or (clock.hours.windows_only and not spans):
            continue
        day_opens, day_closes = _span_of(day, 0, _DAY_MINUTES, info)
        for begin, end in clock.consented:
            opens, closes = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
            windows.append((max(opens, day_opens), min(closes, day_closes)))
    windows = [(opens, closes) for opens, closes in windows if opens < closes]
    return _merged(windows) if clock.consented else iter(windows)


def _span_of(day: date, begin: int, end: int, info: ZoneInfo) -> Window:
    """A span of minutes of a day. What the clock shows twice, or never, opens late and closes early."""
    begins = datetime.combine(day, time())
    opens = max(_moments(begins + timedelta(minutes=begin), info))
    return opens, min(_moments(begins + timedelta(minutes=end), info))


def _merged(windows: Iterable[Window]) -> Iterator[Window]:
    """The same time in windows that neither overlap nor touch, in order."""
    merged: list[Window] = []
    for opens, closes in sorted(windows):
        if merged and opens <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(closes, merged[-1][1])
        else:
            merged.append((opens, closes))
    return iter(merged)


def _moments(local: datetime, info: ZoneInfo) -> list[datetime]:
    return [local.replace(tzinfo=info, fold=fold).astimezone(UTC) for fold in (0, 1)]


def _shared(one: Sequence[Window], other: Sequence[Window]) -> Iterator[Window]:
    """What is in a window of both. Each is in order."""
    at, window_at = 0, 0
    while at < len(one) and window_at < len(other):
        opens, closes = max(one[at][0], other[window_at][0]), min(one[at][1], other[window_at][1])
        if opens < closes:
            yield opens, closes
        if one[at][1] <= other[window_at][1]:
            at += 1
        else:
            window_at += 1


def call_hours(clocks: Clocks, now: datetime, until: date | None) -> CallHours:
    """The windows from the day of `now`, in UTC, to the last day of the verdict, at most `DAYS_AHEAD` days."""
    first = now.astimezone(UTC).date()
    ahead = first + timedelta(days=DAYS_AHEAD - 1)
    return _written(clocks, first, ahead if until is None else min(ahead, until))


@lru_cache(_KEPT)
def _written(clocks: Clocks, first: date, last: date) -> CallHours:
    begin = datetime.combine(first, time(), UTC)
    # A day begins earlier in the east, and ends later in the west.
    later_windows = [
        window for window in windows(clocks, first - timedelta(days=1), last) if window[1] > begin
    ]
    days = (first + timedelta(days=count) for count in range((last - first).days + 1))
    return CallHours(
        zones=tuple(sorted({name for clock in clocks for name in clock.zones})),
        windows=tuple(f"{utc_minutes(opens)}/{utc_minutes(closes)}" for opens, closes in later_windows),
        local=" and ".join(dict.fromkeys(clock.hours.in_words for clock in clocks)),
        not_on=tuple(day for day in days if any(clock.hours.closed(day, clock.region) for clock in clocks)),
    )


def opening(clocks: Clocks, now: datetime) -> datetime | None:
    """The first moment from `now` on at which a call may begin: `now` itself within a window. None if there is none in
    the next weeks."""
    day = now.astimezone(UTC).date()
    for ahead in (timedelta(days=DAYS_AHEAD), _LOOK_AHEAD):
        for opens, closes in windows(clocks, day - timedelta(days=1), day + ahead):
            if now < closes:
                return max(opens, now)
    return None


def joined(each: Iterable[Clocks]) -> Clocks:
    """All of these clocks, once, in order."""
    return tuple(dict.fromkeys(clock for clocks in each for clock in clocks))
