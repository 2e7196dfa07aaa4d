"""Days and moments as lists write them. Where a text may mean two, the one that protects more is for the caller to take.

Without a zone a moment is read where it comes last on earth (UTC-12) as a latest one, and where it comes first
(UTC+14) as an earliest one.
"""

import re
from datetime import date, datetime, time, timedelta

from stream_scrub.index import FIRST_ZONE

_EPOCH = date(1970, 1, 1).toordinal()
_LAST_ZONE = timedelta(hours=12)
_FOREVER = 2200  # years from which lists mean "never"
_SIGNS_MAX = 40
_DAY = re.compile(
    r"(?P<y>\d{4})(?P<sign>[-/.]?)(?P<m>\d{2})(?P=sign)(?P<d>\d{2})|(?P<a>\d{1,2})(?P<by>[-/.])(?P<b>\d{1,2})(?P=by)(?P<year>\d{4})",
    re.ASCII,
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?Z", re.ASCII)
_IN_NAME = re.compile(r"(?<!\d)(20\d{2})([-_.]?)(\d{2})\2(\d{2})(?=\D|\d{4}(?!\d)|\d{6}(?!\d)|$)", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d++)?)?\s*+([AaPp][Mm])?", re.ASCII)
_ZONE = re.compile(r"(Z|UTC|GMT)|([+-])(\d{2}):?(\d{2})?", re.ASCII)


def days(text: str) -> list[date]:
    """The days that a text may mean: one, or two where day and month could be either way round; none for no day."""
    found = _DAY.fullmatch(text.strip()[:_SIGNS_MAX])
    if found is None:
        return []
    if found["y"]:
        return _dates((found["y"], found["m"], found["d"]))
    ways = [(found["year"], found["b"], found["a"])]
    if found["by"] != ".":  # 31.12.2026 is never month first
        ways.append((found["year"], found["a"], found["b"]))
    return _dates(*ways)


def day_in(name: str, today: date) -> date | None:
    """The first day in a file's name, as in clean-2026-11-20.csv or 20261120101500_Filtered.csv; None where there is
    none. A day after tomorrow is not believed.
    """
    for match in _IN_NAME.finditer(name):
        found = days(f"{match[1]}-{match[3]}-{match[4]}")
        if found and found[0] <= today + timedelta(days=1):
            return found[0]
    return None


def latest(text: str) -> int | None:
    """The last moment that a text may mean, in epoch seconds UTC: the end of the day when it names only a day.

    0 when it lies so far ahead that it means never; None when the text is no moment.
    """
    text = text.strip()[:_SIGNS_MAX]
    if _ISO.fullmatch(text):  # what most files have, ten times quicker
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return _ahead(moment.date(), moment.time(), 0)
    if whole := days(text):
        return _ahead(max(whole), time(), _s(timedelta(days=1) + _LAST_ZONE))
    day, *behind = re.split(r"[T ]", text, maxsplit=1)
    rest = "".join(behind).strip()
    named, found = days(day), _TIME.match(rest)
    if not named or found is None:
        return None
    at, offset = _time(found), _offset(rest[found.end() :].strip())
    return None if at is None or offset is None else _ahead(max(named), at, offset)


def earliest(day: date) -> int:
    """The first moment of a day anywhere on earth, in epoch seconds UTC."""
    return _seconds(day, time()) - _s(FIRST_ZONE)


def _ahead(day: date, at: time, offset: int) -> int:
    return 0 if day.year >= _FOREVER else _seconds(day, at) + offset


def _dates(*ways: tuple[str, str, str]) -> list[date]:
    made = []
    for year, month, day in ways:
        try:
            made.append(date(int(year), int(month), int(day)))
        except ValueError:
            continue
    return list(dict.fromkeys(made))


def _time(found: "re.Match[str]") -> time | None:
    hour, half = int(found[1]), (found[4] or "").casefold()
    if half:
        hour = hour % 12 + 12 * (half == "pm") if 1 <= hour <= 12 else 24
    try:
        return time(hour, int(found[2]), int(found[3] or 0))
    except ValueError:
        return None


def _offset(zone: str) -> int | None:
    """The seconds that make a moment in this zone UTC."""
    if not zone:
        return _s(_LAST_ZONE)
    found = _ZONE.fullmatch(zone)
    if found is None:
        return None
    if found[1]:
        return 0
    east = int(found[3]) * 3600 + int(found[4] or 0) * 60
    return -east if found[2] == "+" else east


def _seconds(day: date, at: time) -> int:
    return (day.toordinal() - _EPOCH) * 86_400 + at.hour * 3600 + at.minute * 60 + at.second


def _s(span: timedelta) -> int:
    return int(span.total_seconds())
