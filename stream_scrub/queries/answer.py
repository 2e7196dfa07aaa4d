"""A verdict for people: first the answer in one line, then what decided it. Pure.

The status page and `explain` show it above the proof.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from stream_scrub.clock import parse_zoned, zone
from stream_scrub.languages import WEEKDAYS, day_in_words, local, say, translatable
from stream_scrub.model import Reason, RegisterKind, RegisterName
from stream_scrub.ops.logs import mask
from stream_scrub.queries.history import LoggedChange
from stream_scrub.rules import Rule, clauses
from stream_scrub.stamp import NumberStamp, Stamp


class PlainAnswer(NamedTuple):
    """`headline`: the verdict. `because`: which lists, requests or consents decided. `reasons`: why, each as a part of a
    sentence, the shortest first. `rule`: the rule's sentences that decided, and `rest`: its other sentences."""

    headline: str
    because: Sequence[str]
    reasons: Sequence[str]
    rule: Sequence[str]
    rest: Sequence[str]


_ = translatable
# What each reason means, as a part of a sentence. The register's name follows.
_MEANS: Mapping[Reason, str] = {
    Reason.OPPOSED: _("the number is on a list of people who must not be called"),
    Reason.NO_CONSENT: _("the person has not consented to this call"),
    Reason.NOT_WASHED: _("no wash that still counts says that the number is clean"),
    Reason.BANNED_PURPOSE: _("calls for this purpose are banned"),
    Reason.UNKNOWN_PURPOSE: _("the purpose of the call is missing or unknown"),
    Reason.NOT_CALLABLE: _("numbers of this type are never called"),
    Reason.INVALID_NUMBER: _("this is not a valid number"),
    Reason.UNKNOWN_COUNTRY: _("the prospect names a country that is not known here"),
    Reason.UNREADABLE: _("the prospect cannot be read"),
    Reason.NO_RULE: _("no rule covers the country of this number"),
    Reason.STALE_REGISTER: _("a list that the rule needs is missing or too old"),
    Reason.TOO_OFTEN: _("the number was called too often, or the person refused lately"),
    Reason.CLEAR: _("the number is in no register that blocks it"),
    Reason.CONSENTED: _("the person consented"),
    Reason.CONTRACT: _("the prospect has a contract, which lifts the block under this rule"),
    Reason.EXEMPT: _(
        "the rule exempts calls for this purpose, to this kind of person, or under this relation"
    ),
}
# How a number came into a register, by what the publisher read and the register's kind.
_OPPOSED: Mapping[tuple[str, RegisterKind], str] = {
    ("requests", RegisterKind.DENY): _("opposed on %(day)s by an opt-out request"),
    ("attempts", RegisterKind.DENY): _("opposed on %(day)s by the calls that were reported"),
}
_OPPOSED_BY_LIST = _("opposed on %(day)s by the list %(list)s")
_ENTERED: Mapping[tuple[str, RegisterKind], str] = {
    ("requests", RegisterKind.DENY): _("in %(register)s since %(day)s, by an opt-out request"),
    ("requests", RegisterKind.ALLOW): _("in %(register)s since %(day)s, by a consent request"),
    ("attempts", RegisterKind.DENY): _("in %(register)s since %(day)s, by the calls that were reported"),
}
_ENTERED_BY_LIST = _("in %(register)s since %(day)s, by the list %(list)s")
_IN = _("in %(register)s")
_REGISTER = _("register %(register)s")


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
    for change in events:
        if change.change == "added":
            added[change.register] = change
        elif change.change in {"removed", "ended"}:
            added.pop(change.register, None)
    # A stamp does not name the consents that allowed.
    consents = [name for name, change in added.items() if change.kind == RegisterKind.ALLOW]
    rests_on = consents if stamp.reason is Reason.CONSENTED else stamp.registers
    changes = [added[name] for name in rests_on if name in added]
    bases = {RegisterName.split(register).base for register in stamp.registers}
    deciding, rest = list[str](), list[str]()
    for clause in [] if rule is None else clauses(rule):
        decides = clause.decides(stamp.reason, bases, artificial=artificial)
        (deciding if decides else rest).append(clause.says)
    why, because = _why(stamp, changes), _because(stamp, changes)
    if stamp.allowed:
        because = [why, *because]
    headline, reasons = _headline(stamp, why), because if stamp.allowed else [why, *because]
    return PlainAnswer(headline, [_sentence(clause) for clause in because], reasons, deciding, rest)


def means(reason: Reason | str) -> str:
    """What a reason means, as a part of a sentence."""
    return say(_MEANS[Reason(reason)])


def _headline(stamp: Stamp | NumberStamp, why: str) -> str:
    if not stamp.allowed:
        return say("Blocked: %(why)s", why=why)
    if stamp.until is None:
        return say("May be called")
    weekday = say(WEEKDAYS[stamp.until.weekday()])
    return say("May be called until %(weekday)s %(day)s", weekday=weekday, day=stamp.until)


def _why(stamp: Stamp | NumberStamp, changes: Sequence[LoggedChange]) -> str:
    """Why the number got this verdict, as a part of a sentence."""
    if stamp.reason is Reason.OPPOSED and changes and changes[0].time:
        first = changes[0]
        text = _OPPOSED.get((first.reason, RegisterKind(first.kind)), _OPPOSED_BY_LIST)
        return _dated(text, first)
    if stamp.why is not None:
        return f"{means(stamp.reason)} ({stamp.why})"
    again = again_from(stamp)
    return f"{means(stamp.reason)}; {again}" if again else means(stamp.reason)


def again_from(stamp: Stamp | NumberStamp) -> str:
    """From when on a number that was called too often may be called again; empty if that is not known."""
    end = stamp.rests_until
    return "" if end is None else say("it may be called again from %(moment)s", moment=end)


def _because(stamp: Stamp | NumberStamp, changes: Sequence[LoggedChange]) -> list[str]:
    """What decided, each as a part of a sentence."""
    reasons = []
    if isinstance(stamp, Stamp) and (hours := hours_of(stamp)):
        reasons.append(hours)
    dated = {
        change.register: _dated(
            _ENTERED.get((change.reason, RegisterKind(change.kind)), _ENTERED_BY_LIST), change
        )
        for change in changes
        if change.time
    }
    undated = _REGISTER if stamp.reason is Reason.STALE_REGISTER else _IN
    names = stamp.registers or [change.register for change in changes]
    return [*reasons, *(dated.get(name) or say(undated, register=name) for name in names)]


def _dated(text: str, change: LoggedChange) -> str:
    """How a number came into a register, with the day."""
    assert change.time is not None, "the caller asks for those with a moment"
    day = local(parse_zoned(change.time)).date()
    return say(text, register=change.register, day=day, list=mask(change.source.name))


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


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
    return f"no call may begin before {there:%A} {day_in_words(there)}, {there:%H:%M} ({hours})"
