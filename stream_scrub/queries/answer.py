"""A verdict for people: first the answer in one line, then what decided it. Pure.

The status page and `explain` show it above the proof.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from stream_scrub.clock import parse_zoned, zone
from stream_scrub.model import Reason, RegisterKind, RegisterName
from stream_scrub.ops.logs import mask
from stream_scrub.queries.history import LoggedChange
from stream_scrub.rules import Rule, clauses
from stream_scrub.stamp import NumberStamp, Stamp


class PlainAnswer(NamedTuple):
    """`headline`: the verdict. `because`: which lists, requests or consents decided. `rule`: the rule's sentences that
    decided, and `rest`: its other sentences."""

    headline: str
    because: Sequence[str]
    rule: Sequence[str]
    rest: Sequence[str]


# Without the register's name, which follows.
_BLOCKED: Mapping[Reason, str] = {
    Reason.OPPOSED: "the number is on a list of people who must not be called",
    Reason.NO_CONSENT: "the person has not consented to this call",
    Reason.NOT_WASHED: "no wash that still counts says that the number is clean",
    Reason.BANNED_PURPOSE: "calls for this purpose are banned",
    Reason.UNKNOWN_PURPOSE: "the purpose of the call is missing or unknown",
    Reason.NOT_CALLABLE: "numbers of this type are never called",
    Reason.INVALID_NUMBER: "this is not a valid number",
    Reason.UNKNOWN_COUNTRY: "the prospect names a country that is not known here",
    Reason.UNREADABLE: "the prospect cannot be read",
    Reason.NO_RULE: "no rule covers the country of this number",
    Reason.STALE_REGISTER: "a list that the rule needs is missing or too old",
    Reason.TOO_OFTEN: "the number was called too often, or the person refused lately",
}
_ALLOWED: Mapping[Reason, str] = {
    Reason.CLEAR: "It is in no register that blocks it.",
    Reason.CONSENTED: "The person consented.",
    Reason.CONTRACT: "The prospect has a contract, which lifts the block under this rule.",
    Reason.EXEMPT: "The rule exempts calls for this purpose, to this kind of person, or under this relation.",
}
_BY = {
    ("requests", RegisterKind.DENY): "an opt-out request",
    ("requests", RegisterKind.ALLOW): "a consent request",
    ("attempts", RegisterKind.DENY): "the calls that were reported",
}


def answer(
    stamp: Stamp | NumberStamp,
    rule: Rule | None,
    events: Iterable[LoggedChange] = (),
    *,
    artificial: bool = False,
) -> PlainAnswer:
    """Return the answer of a stamp by its rule. `events`: the history of its number; without one the answer names no
    dates. `artificial`: an artificial voice calls."""
    added = dict[str, LoggedChange]()
    for each in events:
        if each.change == "added":
            added[each.register] = each
        elif each.change in {"removed", "ended"}:
            added.pop(each.register, None)
    # A stamp does not name the consents that allowed.
    consents = [name for name, each in added.items() if each.kind == RegisterKind.ALLOW]
    rests_on = consents if stamp.reason is Reason.CONSENTED else stamp.registers
    known = [added[name] for name in rests_on if name in added]
    named = {RegisterName.split(each).base for each in stamp.registers}
    deciding, rest = list[str](), list[str]()
    for clause in [] if rule is None else clauses(rule):
        decides = clause.decides(stamp.reason, named, artificial=artificial)
        (deciding if decides else rest).append(clause.says)
    return PlainAnswer(_headline(stamp, known), _because(stamp, known), deciding, rest)


def means(reason: Reason | str) -> str:
    """What a reason means, as a part of a sentence."""
    known = Reason(reason)
    return _BLOCKED.get(known) or _ALLOWED[known].rstrip(".")


def _headline(stamp: Stamp | NumberStamp, known: Sequence[LoggedChange]) -> str:
    if stamp.allowed:
        return "May be called" + (
            "" if stamp.until is None else f" until {stamp.until:%A} {day(stamp.until)}"
        )
    if stamp.reason is Reason.OPPOSED and known:
        return f"Blocked: opposed{_entered(known[0])}"
    again = again_from(stamp)
    return f"Blocked: {_BLOCKED[stamp.reason]}{again and f'; {again}'}"


def again_from(stamp: Stamp | NumberStamp) -> str:
    """From when on a number that was called too often may be called again; empty if that is not known."""
    end = stamp.rests_until
    return "" if end is None else f"it may be called again from {day(end)}, {end:%H:%M} UTC"


def _because(stamp: Stamp | NumberStamp, known: Sequence[LoggedChange]) -> list[str]:
    sentences = [_ALLOWED[stamp.reason]] if stamp.allowed else []
    if isinstance(stamp, Stamp) and (hours := hours_of(stamp)):
        sentences.append(f"{hours[:1].upper()}{hours[1:]}.")
    dated = {each.register: f"In {each.register}{_entered(each, since=True)}." for each in known}
    what = "Register" if stamp.reason is Reason.STALE_REGISTER else "In"
    return [*sentences, *(dated.get(name, f"{what} {name}.") for name in stamp.registers or dated)]


def hours_of(stamp: Stamp) -> str:
    """When a call may begin, of the answer to a check; empty if no hours are asked."""
    if stamp.call is None or stamp.callable_now is None:
        return ""
    hours = f"{stamp.call.local}, {' and '.join(stamp.call.zones)}"
    if stamp.callable_now:
        return f"a call may begin now ({hours})"
    if stamp.next is None:
        return f"no call may begin now, nor in the next weeks ({hours})"
    there = stamp.next.astimezone(zone(stamp.call.zones[0]))
    return f"no call may begin before {there:%A} {day(there)}, {there:%H:%M} ({hours})"


def _entered(event: LoggedChange, *, since: bool = False) -> str:
    by = _BY.get((event.reason, RegisterKind(event.kind)), f"the list {mask(event.source.name)}")
    when = "" if event.time is None else f" {'since' if since else 'on'} {day(parse_zoned(event.time))}"
    return f"{when}{',' if since and when else ''} by {by}"


def day(at: date | datetime) -> str:
    """A day as people write it: 12 November 2026."""
    return f"{at.day} {at:%B} {at.year}"
