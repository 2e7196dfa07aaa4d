"""Step 4 of a prospect's life: what its own statements open and lift by a rule, before any register is asked. Pure."""

from collections.abc import Collection
from datetime import date, datetime
from typing import NamedTuple

from stream_scrub.model import Reason
from stream_scrub.numbering import Line
from stream_scrub.rules import CLOSED, COMPANY, CONTRACT, DENY, REQUIRE, Exemption, Rule, earliest, last_day
from stream_scrub.scrub.facts import Facts


class Gate(NamedTuple):
    """What follows from the number's line or the call's purpose alone: the reason to block, if any. `by_consent`: a
    consent to the caller opens it. `ends`: the last day of what opened it."""

    reason: Reason | None = None
    by_consent: bool = False
    ends: date | None = None


class Lift(NamedTuple):
    """What lifts registers for a prospect: the reason that it gives, its last day if it has one, and which registers
    it lifts."""

    reason: Reason
    ends: date | None = None
    lifts: tuple[str, ...] = (DENY, REQUIRE)


class _Term(NamedTuple):
    """Whether a prospect meets an exemption's conditions, and the last day on which it does, if one is known."""

    met: bool
    ends: date | None = None


def gate(line: Line, barred: bool, rule: Rule, told: Facts, now: datetime) -> Gate:
    """The gate of a call to numbers of that line. `barred`: the rule bars all of them by their prefix. `now` is in the
    zone of the rule's country."""
    if barred or line.type in rule.not_callable_types:
        return Gate(Reason.NOT_CALLABLE)
    bans = rule.banned_despite_contract if _contracted(rule, told, now) else rule.banned
    if not bans:
        return Gate()
    if rule.reading < CLOSED:
        return Gate(None if bans.isdisjoint(told.purposes) else Reason.BANNED_PURPOSE)
    meant = [rule.meanings(word) for word in told.purposes]
    known, meanings = bool(meant) and all(meant), frozenset[str]().union(*meant)
    lifting = [
        (each, term) for each in rule.exempt if each.bans and (term := _term(each, rule, told, now)).met
    ]
    bans -= {name for each, _ in lifting for name in each.bans}
    if met := meanings & bans:
        return Gate(Reason.BANNED_PURPOSE, by_consent=known and met <= rule.banned_without_consent)
    if bans and not known:
        return Gate(Reason.UNKNOWN_PURPOSE)
    return Gate(ends=earliest(term.ends for each, term in lifting if not meanings.isdisjoint(each.bans)))


def lift(rule: Rule, told: Facts, now: datetime) -> Lift | None:
    """What a prospect's statements lift of the rule's registers; None for nothing."""
    if _contracted(rule, told, now):
        return Lift(Reason.CONTRACT, _contract_end(told))
    lifting = {name for name in rule.lifted_by if name != CONTRACT}
    if rule.reading < CLOSED:
        return None if lifting.isdisjoint(told.purposes) else Lift(Reason.EXEMPT)
    if _all_within(lifting, rule, told):
        return Lift(Reason.EXEMPT)
    found = [(each, term) for each in rule.exempt if (term := _term(each, rule, told, now)).met]
    lifts = [Lift(Reason.EXEMPT, term.ends, each.lifts) for each, term in found]
    return max(lifts, key=lambda lift: (len(lift.lifts), lift.ends or date.max), default=None)


def _runs(told: Facts, now: datetime) -> bool:
    """Whether the prospect has a contract on the day of `now`."""
    return told.contract if isinstance(told.contract, bool) else now.date() <= told.contract


def _contracted(rule: Rule, told: Facts, now: datetime) -> bool:
    return CONTRACT in rule.lifted_by and _runs(told, now)


def _contract_end(told: Facts) -> date | None:
    return None if isinstance(told.contract, bool) else told.contract


def _all_within(purposes: Collection[str], rule: Rule, told: Facts) -> bool:
    """Whether the prospect has purposes, and none means anything but these."""
    meant = [rule.meanings(word) for word in told.purposes] if purposes else []
    return bool(meant) and all(each and each <= {*purposes} for each in meant)


def _term(exemption: Exemption, rule: Rule, told: Facts, now: datetime) -> _Term:
    if (exemption.contract and not _runs(told, now)) or (exemption.who == COMPANY and not told.company):
        return _Term(False)
    if exemption.purposes and not _all_within(exemption.purposes, rule, told):
        return _Term(False)
    ends = [_contract_end(told)] if exemption.contract else []
    if exemption.relation:
        relation, today = told.relation, now.date()
        if relation is None or relation.kind != exemption.relation or relation.since > today:
            return _Term(False)
        ends.append(last := last_day(relation.since, exemption.months))
        if last < today:
            return _Term(False)
    return _Term(True, earliest(ends))
