"""The moments that requests name: when something was said, and when a consent ends. Pure."""

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
# A consent lifts, so its last day is over when it is over somewhere on earth.
_FIRST_ZONE = timezone(timedelta(hours=14))
_LAST_ZONE = timezone(timedelta(hours=-12))


def end_of(until: Any) -> int | None:
    """The moment that a consent ends, in epoch seconds. A day is included. None if it is neither a day nor a moment with a
    zone."""
    try:
        if isinstance(until, str) and _DAY.fullmatch(until):
            moment = datetime.combine(date.fromisoformat(until), time(), _FIRST_ZONE) + timedelta(days=1)
        elif isinstance(until, str) and _MOMENT.fullmatch(until):
            moment = datetime.fromisoformat(until.upper())
        else:
            return None
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        return None


def said_ms(at: Any, *, restricts: bool) -> int | None:
    """The moment at which a request says it was made, in milliseconds since 1970; None when it names none that can be
    read. A day without an hour is read so that it protects: what restricts was said at its end, what lifts at its
    beginning.
    """
    try:
        if isinstance(at, str) and _DAY.fullmatch(at):
            zone = _LAST_ZONE if restricts else _FIRST_ZONE
            begins = datetime.combine(date.fromisoformat(at), time(), zone)
            moment = begins + timedelta(days=1) if restricts else begins
        elif isinstance(at, str) and _MOMENT.fullmatch(at):
            moment = datetime.fromisoformat(at.upper())
        else:
            return None
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
