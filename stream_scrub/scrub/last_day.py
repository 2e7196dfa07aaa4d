"""Until when a verdict may be used: the last day of each register that it rests on, in the days of the rule's country."""

from datetime import UTC, date, datetime, time, timedelta

from stream_scrub.index import FIRST_ZONE, Register
from stream_scrub.model import RegisterKind, family
from stream_scrub.rules import Rule, earliest

_AHEAD = timedelta(days=3661)  # longer than any rule lets a verdict be used


def days_of(rule: Rule, register: Register) -> int | None:
    """How many days old the rule lets that register's list be; None for any age."""
    return rule.max_age_days.get(family(register.name))


def last_of(register: Register, rule: Rule, now: datetime) -> date | None:
    """The last day on which a verdict that rests on this register may be used; None when nothing limits it.

    `now` is in the zone of the rule's country. A list is as old as its own day says; a day in the future counts as
    today. The register knows the earliest end of its numbers, not the end of each: no number that it holds ends
    before that.
    """
    days = days_of(rule, register)
    aged = None
    if days is not None:
        aged = min(register.effective_at, now).astimezone(now.tzinfo).date() + timedelta(days)
        aged = max(
            aged, now.date()
        )  # the list is fresh: clocks that were put forward by an hour take no day away
    end = register.next_end if register.kind is RegisterKind.ALLOW else None
    return earliest((aged, None if end is None else _last_day(end, now)))


def _last_day(end: datetime, now: datetime) -> date | None:
    """The last day before `end`, which is later than `now`; None if no verdict may be used for so long.

    (a) If `end` is the moment at which some day ends first on earth, that day is the last. (b) Otherwise it is the
    day before the day of `end`. It is never before today.
    """
    if end - now > _AHEAD:
        return None
    first = end.astimezone(UTC) + FIRST_ZONE
    whole = first if first.time() == time() else end.astimezone(now.tzinfo)
    return max(whole.date() - timedelta(days=1), now.date())
