"""The clock for ages and deadlines of the world outside, a throttle, and moments as texts (RFC 3339 in UTC, as every
surface writes them) and as numbers (seconds or milliseconds since 1970-01-01T00:00Z, as the log and Kafka keep them).

`time.monotonic` stands still while a machine is suspended (a closed laptop, a virtual machine that is paused). Whatever
ages outside, such as what is known of a log's end, uses `elapsed`, so that an index from an hour ago is not taken for
fresh. What only measures this process (the duration of a step, the pace of log lines) uses `time.monotonic`.
"""

import time
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

# Linux has the first; other systems have nothing better than the second.
_SUSPENDED_TOO = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_YEAR_10000_MS = 253_402_300_800_000


def elapsed() -> float:
    """Seconds since some moment in the past, including time while the machine was suspended. Nobody can set them.
    Callers name the module (`clock.elapsed()`), so that a test can put its own clock there.
    """
    return time.clock_gettime(_SUSPENDED_TOO)


class Throttle:
    """Limits how often something happens. `at_once`: the first time need not wait."""

    def __init__(self, every_s: float, *, at_once: bool = True) -> None:
        self.every_s = every_s
        self._last = float("-inf") if at_once else time.monotonic()

    def is_due(self) -> bool:
        """Whether the time has come. If so, the next interval begins."""
        if due := self.age_s >= self.every_s:
            self.restart()
        return due

    @property
    def age_s(self) -> float:
        """Seconds since the interval began."""
        return time.monotonic() - self._last

    def restart(self) -> None:
        """Begin an interval now."""
        self._last = time.monotonic()

    def expire(self) -> None:
        """Be due at the next question."""
        self._last = float("-inf")


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of that name in the package tzdata, whatever the host knows: another host replays the same."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def utc_seconds(moment: datetime) -> str:
    """`2026-11-24T12:00:00Z`."""
    return _utc(moment, "seconds")


def utc_minutes(moment: datetime) -> str:
    """`2026-11-24T12:00Z`."""
    return _utc(moment, "minutes")


def utc_millis(moment: datetime) -> str:
    """`2026-11-24T12:00:00.123Z`."""
    return _utc(moment, "milliseconds")


def local_minutes(moment: datetime) -> str:
    """`2026-11-24T13:00+01:00`, in the moment's own zone."""
    return moment.isoformat(timespec="minutes")


def _utc(moment: datetime, timespec: str) -> str:
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def from_seconds(seconds: int | None) -> datetime | None:
    """The moment so many seconds since 1970, in UTC; None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def from_millis(timestamp_ms: int | None) -> datetime | None:
    """The moment that Kafka keeps with a record, in UTC; None if it keeps none. Kafka writes -1 for none, and keeps any
    that a producer says."""
    if timestamp_ms is None or not 0 <= timestamp_ms < _YEAR_10000_MS:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def parse_zoned(text: str) -> datetime:
    """The moment that an ISO 8601 text names. Raises ValueError for any other text, and for a moment without a time
    zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment has no zone")
    return moment
