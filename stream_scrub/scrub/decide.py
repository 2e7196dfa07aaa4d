"""Step 4, decide: the verdict of one rule on one number.

A `Plan` is a rule compiled for one kind of line and one prospect's facts against one index (`plans.plan_for`).
Prospects with the same facts share a plan, so a number costs only its look-ups and `Plan.verdict_for`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from stream_scrub.index import FIRST_ZONE, Register
from stream_scrub.model import Fault, Reason, RegisterKind, Verdict, family
from stream_scrub.numbering import Line
from stream_scrub.rules.country import (
    COMPANY,
    CONTRACT,
    DENY,
    HOURS,
    REQUIRE,
    Exemption,
    Rule,
    earliest,
    last_day,
    last_working_day,
)
from stream_scrub.rules.hours import Hours
from stream_scrub.scrub.facts import Facts

CONSENT_GOOD_FOR = timedelta(days=1)
_AHEAD = timedelta(days=3661)  # longer than any rule lets a verdict be used


class MemberUntil(NamedTuple):
    """That a number is in one register until a moment (epoch seconds). It is next to the register's name among the
    memberships of a number whose end is known."""

    register: str
    end: int


ConsentedWindow = tuple[int, int]  # epoch seconds: from the first moment to before the second one
Memberships = frozenset[str | MemberUntil]  # the names of the registers that hold a number


def membership(register: Register, end: int) -> Memberships:
    """What a register says about a number that it holds until `end`; 0 if that is not known, or never."""
    return frozenset((register.name, MemberUntil(register.name, end)) if end else (register.name,))


class Finding(NamedTuple):
    """The reason for a number's verdict, and the registers behind it."""

    reason: Reason
    registers: tuple[str, ...] = ()
    lasting: bool = False  # no fresh list can mend the stale register, so waiting for one would never end
    last: date | None = None  # the last day of what an allowing verdict rests on; None for no end
    any_time: bool = False  # a fact of the prospect, or a consent, lifts the hours of the rule
    windows: tuple[ConsentedWindow, ...] = ()  # that the person consented to, besides the hours of the rule
    rests_until: int = (
        0  # of a number that was called too often (epoch seconds); 0 if that is not known, or for good
    )
    fault: Fault | None = None  # of an unreadable prospect or an invalid number


class Consents(NamedTuple):
    """The registers of consents that count for one call."""

    general: tuple[Register, ...] = ()  # consents to any caller: one is enough
    groups: tuple[tuple[Register, ...], ...] = ()  # by caller and purpose of the call: one of each is needed

    @property
    def registers(self) -> tuple[Register, ...]:
        """All of them."""
        return (*self.general, *(register for group in self.groups for register in group))

    def cover(self, memberships: Collection[str | MemberUntil]) -> bool:
        """Whether a number in the registers with these names consented to the call."""
        return any(r.name in memberships for r in self.general) or self._in_each_group(memberships)

    def _in_each_group(self, memberships: Collection[str | MemberUntil]) -> bool:
        return bool(self.groups) and all(any(r.name in memberships for r in group) for group in self.groups)

    def last(
        self, memberships: Collection[str | MemberUntil], last_of: Callable[[Register], date | None]
    ) -> date | None:
        """The last day of the number's consents: the latest of those that are enough alone, the earliest of those
        that are needed together. None for no end."""
        ways = [last_of(register) for register in self.general if register.name in memberships]
        if self._in_each_group(memberships):
            ways.append(
                earliest(
                    _latest([last_of(r) for r in group if r.name in memberships]) for group in self.groups
                )
            )
        return _latest(ways)


def _latest(days: Collection[date | None]) -> date | None:
    """The latest day; None, for no end, if one of them is None."""
    limits = [day for day in days if day is not None]
    return max(limits) if limits and len(limits) == len(days) else None


NO_CONSENTS = Consents()


class Precheck(NamedTuple):
    """What follows from the line and the call's purpose alone."""

    reason: Reason | None = None  # to block
    by_consent: bool = False  # a consent to the caller lifts the block
    ends: date | None = None  # the last day of the exemption that lifted a ban


class Lift(NamedTuple):
    """What a prospect's facts lift: registers that deny, consents that are required, or both."""

    reason: Reason
    ends: date | None = None
    lifts: tuple[str, ...] = (DENY, REQUIRE)


class Objections(NamedTuple):
    """What the registers say against a number."""

    denying: tuple[str, ...]  # registers that deny and hold the number
    stale: tuple[str, ...]  # registers that deny and are stale
    uncovered: tuple[str, ...]  # registers that were not bought for the number's area
    no_consent: bool  # a consent that the rule requires is missing
    no_consent_for_type: bool  # a consent that the rule requires for this type of number is missing
    not_washed: tuple[str, ...] = ()  # registers of clean answers that do not hold the number

    def without(self, lifts: Collection[str]) -> "Objections":
        """What remains once these are lifted."""
        remaining = self
        if DENY in lifts:
            remaining = remaining._replace(denying=(), stale=(), uncovered=(), not_washed=())
        if REQUIRE in lifts:
            remaining = remaining._replace(no_consent=False, no_consent_for_type=False)
        return remaining


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How to judge the numbers of one kind of line with one prospect's facts by one index."""

    rule: Rule | None
    now: datetime  # in the zone of the rule's country
    precheck: Precheck
    internal: tuple[Register, ...]  # the operator's own oppositions
    stale_internal: tuple[str, ...] = ()
    deny: tuple[Register, ...] = ()
    stale_deny: tuple[str, ...] = ()
    areas: tuple[tuple[str, Register], ...] = ()  # for each register that is sold by area: the bought areas
    required: Consents = NO_CONSENTS  # the consents that the rule requires
    stale_required: tuple[str, ...] = ()
    washes: tuple[tuple[str, Consents], ...] = ()  # by register: the clean answers that count for the call
    stale_washes: tuple[str, ...] = ()
    washes_of_everybody: tuple[str, ...] = ()  # those of `washes` that no fact about the person lifts
    for_type: Consents | None = None  # consents that this type of number needs; None if it needs none
    to_caller: Consents = NO_CONSENTS  # consents that lift `deny` for the caller
    artificial: Consents | None = None  # consents to an artificial voice; None if a person speaks
    lift: Lift | None = None
    reassigned: tuple[Register, ...] = ()  # numbers that another person has now
    lift_if_reassigned: Lift | None = None
    precheck_if_reassigned: Precheck | None = None
    rested: tuple[Register, ...] = ()  # numbers that may not be called again yet
    hours: Hours | None = None  # those of the rule; None if a fact of the prospect lifts them for any number
    any_time: bool = False  # a fact of the prospect lifts the hours, unless another person has the number now
    to_hours: Consents = NO_CONSENTS  # consents to calls at any time
    to_windows: tuple[Register, ...] = ()  # consents to calls within a window

    @property
    def registers(self) -> tuple[Register, ...]:
        """Every register whose membership can change the verdict."""
        kinds = [self.required, self.to_caller, self.for_type or NO_CONSENTS, self.artificial or NO_CONSENTS]
        kinds += [self.to_hours, *(answers for _, answers in self.washes)]
        consents = [register for kind in kinds for register in kind.registers]
        others = (
            *self.internal,
            *self.deny,
            *self.rested,
            *self.reassigned,
            *consents,
            *self.to_windows,
            *(covered for _, covered in self.areas),
        )
        return tuple(dict.fromkeys(others))

    def verdict_for(self, memberships: Collection[str | MemberUntil]) -> Finding:
        """The verdict on a number that is in the registers with these names and in no other.

        The order is the law's: 1. the operator's own oppositions, 2. numbers that are not callable, 3. banned
        purposes, 4. registers, unless lifted, 5. an artificial voice, which needs a consent of its own, 6. how often
        it was called, which nothing lifts. Hours block nothing: they come with the verdict.
        """
        if any(r.name in memberships for r in self.reassigned):
            return self._if_reassigned.verdict_for(memberships)
        finding = self._by_any_voice(memberships)
        if finding.reason.verdict is Verdict.BLOCKED:
            return finding
        for name, answers in self.washes:
            if name not in self.washes_of_everybody:
                continue
            if not answers.cover(memberships):
                return self._unanswered(name, memberships)
            last = answers.last(memberships, self._last_of)
            finding = finding._replace(last=earliest((finding.last, last)))
        rested = tuple(r.name for r in self.rested if r.name in memberships)
        if rested:
            ends = [
                each.end for each in memberships if isinstance(each, MemberUntil) and each.register in rested
            ]
            return Finding(Reason.TOO_OFTEN, rested, rests_until=max(ends) if len(ends) == len(rested) else 0)
        if self.any_time:
            return finding._replace(any_time=True)
        if self.to_hours.cover(memberships):
            last = self.to_hours.last(memberships, self._last_of)
            return finding._replace(any_time=True, last=earliest((finding.last, last, self._last_of_consent)))
        windows = self._windows(memberships)
        if not windows:
            return finding
        return finding._replace(windows=windows, last=earliest((finding.last, self._last_of_consent)))

    def _windows(self, memberships: Collection[str | MemberUntil]) -> tuple[ConsentedWindow, ...]:
        """The windows that a number's consents open and that are not over, by their begin."""
        minutes_of = {register.name: register.window_minutes for register in self.to_windows}
        stated = [
            each for each in memberships if isinstance(each, MemberUntil) and each.register in minutes_of
        ]
        windows = [(each.end - minutes_of[each.register] * 60, each.end) for each in stated]
        return tuple(sorted(window for window in windows if window[1] > self.now.timestamp()))

    def _unanswered(self, register: str, memberships: Collection[str | MemberUntil]) -> Finding:
        """The verdict on a number that would be allowed, but that a wash of everybody does not hold as clean. It may have
        another person now: only a call that may be made to any person is allowed."""
        finding = self._if_reassigned.verdict_for(memberships)
        if finding.reason.verdict is Verdict.ALLOWED:
            return finding
        stale = tuple(name for name in self.stale_washes if family(name) == register)
        return Finding(Reason.STALE_REGISTER, stale) if stale else Finding(Reason.NOT_WASHED, (register,))

    @property
    def _if_reassigned(self) -> "Plan":
        """The plan for a number that another person has now. What the prospect states of the person before does not count:
        no consent, contract or relation, nor that it is a company."""
        return replace(
            self,
            reassigned=(),
            washes_of_everybody=(),
            precheck=self.precheck_if_reassigned or self.precheck,
            lift=self.lift_if_reassigned,
            required=NO_CONSENTS,
            for_type=None if self.for_type is None else NO_CONSENTS,
            to_caller=NO_CONSENTS,
            artificial=None if self.artificial is None else NO_CONSENTS,
            to_hours=NO_CONSENTS,
            to_windows=(),
            any_time=False,
        )

    def _by_any_voice(self, memberships: Collection[str | MemberUntil]) -> Finding:
        """The verdict without the hours and without regard to earlier calls: 1 to 5."""
        finding = self._for_a_person(memberships)
        if self.artificial is None or finding.reason.verdict is Verdict.BLOCKED:
            return finding
        if not self.artificial.cover(memberships):
            return Finding(Reason.NO_CONSENT)
        reason = Reason.CONSENTED if finding.reason is Reason.CLEAR else finding.reason
        last = self.artificial.last(memberships, self._last_of)
        return Finding(reason, last=earliest((finding.last, last, self._last_of_consent)))

    def _for_a_person(self, memberships: Collection[str | MemberUntil]) -> Finding:
        """The verdict if a person speaks: 1 to 4."""
        denying = tuple(r.name for r in (*self.internal, *self.deny) if r.name in memberships)
        if any(r.name in memberships for r in self.internal):
            return Finding(Reason.OPPOSED, denying)
        excused = self.precheck.by_consent and self.to_caller.cover(memberships)
        if self.rule is None or (self.precheck.reason is not None and not excused):
            return Finding(self.precheck.reason or Reason.NO_RULE)
        objections = Objections(
            denying,
            self.stale_deny,
            tuple(name for name, covered in self.areas if covered.name not in memberships),
            self.rule.requires and not self.required.cover(memberships),
            self.for_type is not None and not self.for_type.cover(memberships),
            tuple(name for name, answers in self.washes if not answers.cover(memberships)),
        )
        # A consent to the caller lifts whatever a prospect's facts would lift.
        if self.lift is None or excused:
            return self._by_registers(memberships, objections, excused=excused)
        remaining = objections.without(self.lift.lifts)
        finding = self._by_registers(memberships, remaining)
        if finding.reason.verdict is Verdict.BLOCKED or remaining == objections:
            return finding
        days: tuple[date | None, ...] = (self.lift.ends,)
        if DENY not in self.lift.lifts:
            days = (*days, *self._days_of_deny(memberships, remaining))
        if REQUIRE not in self.lift.lifts:
            days = (*days, *self._days_of_required(memberships))
        if self._consented(memberships, remaining, requires=REQUIRE not in self.lift.lifts):
            days = (*days, self._last_of_consent)
        return self._allowed(self.lift.reason, days)

    def _by_registers(
        self, memberships: Collection[str | MemberUntil], objections: Objections, *, excused: bool = False
    ) -> Finding:
        """The verdict by the registers. `excused`: a consent to the caller lifts the ban on the call's purpose."""
        consented = self.to_caller.cover(memberships)
        if objections.denying and not consented:
            return Finding(Reason.OPPOSED, objections.denying)
        if objections.no_consent_for_type or (objections.no_consent and not self.stale_required):
            return Finding(Reason.NO_CONSENT)
        washed_stale = tuple(name for name in self.stale_washes if family(name) in objections.not_washed)
        # Nothing replaces a fresh list of the operator's own oppositions.
        stale = (
            *self.stale_internal,
            *(() if consented else (*objections.stale, *washed_stale)),
            *(self.stale_required if objections.no_consent else ()),
        )
        if stale:
            return Finding(Reason.STALE_REGISTER, stale)
        if objections.not_washed and not consented:
            return Finding(Reason.NOT_WASHED, objections.not_washed)
        if objections.uncovered and not consented:
            return Finding(Reason.STALE_REGISTER, objections.uncovered, lasting=True)
        days = (
            *self._days_of_deny(memberships, objections, excused=excused),
            *self._days_of_required(memberships),
        )
        if excused or self._consented(memberships, objections):
            return self._allowed(Reason.CONSENTED, (*days, self._last_of_consent))
        return self._allowed(Reason.CLEAR, days)

    def _consented(
        self, memberships: Collection[str | MemberUntil], objections: Objections, *, requires: bool = True
    ) -> bool:
        """Whether an allowing verdict rests on the person's consent. `requires`: what the rule requires is not lifted."""
        needed = self.rule is not None and (self.rule.requires or self.for_type is not None)
        return (requires and needed) or self._carries(memberships, objections)

    @property
    def _last_of_consent(self) -> date:
        """The last day of a verdict that rests on a consent: the person may take it back at any time, and what a dialler
        has fetched is not taken back."""
        return self.now.date() + CONSENT_GOOD_FOR

    def _carries(self, memberships: Collection[str | MemberUntil], objections: Objections) -> bool:
        """Whether the verdict rests on a consent to the caller, because something denies."""
        denied = objections.denying or objections.stale or objections.uncovered or objections.not_washed
        return bool(denied) and self.to_caller.cover(memberships)

    def _days_of_deny(
        self, memberships: Collection[str | MemberUntil], objections: Objections, *, excused: bool = False
    ) -> tuple[date | None, ...]:
        """The last days of the consent that lifts the registers that deny, else of these registers."""
        if excused or self._carries(memberships, objections):
            return (self.to_caller.last(memberships, self._last_of),)
        answers = (washed.last(memberships, self._last_of) for _, washed in self.washes)
        return (*map(self._last_of, self.deny), *answers)

    def _days_of_required(self, memberships: Collection[str | MemberUntil]) -> tuple[date | None, ...]:
        """The last days of the consents that the rule requires."""
        kinds = (self.required, self.for_type or NO_CONSENTS)
        return tuple(kind.last(memberships, self._last_of) for kind in kinds)

    def _allowed(self, reason: Reason, days: Collection[date | None]) -> Finding:
        ends = (*map(self._last_of, self.internal), self.precheck.ends)
        return Finding(reason, last=earliest((*ends, *days)))

    def _last_of(self, register: Register) -> date | None:
        return None if self.rule is None else last_day_of(register, self.rule, self.now)


def is_barred(number: int, rule: Rule | None) -> bool:
    """Whether the number starts with a prefix that the rule says is never a consumer's line."""
    return (
        rule is not None
        and bool(rule.not_callable_prefixes)
        and str(number).startswith(rule.not_callable_prefixes)
    )


def precheck(line: Line, barred: bool, rule: Rule, facts: Facts, now: datetime) -> Precheck:
    """What the line and the purposes of a call decide. `barred`: the rule bars the numbers by their prefix. `now` is in
    the zone of the rule's country."""
    if barred or line.type in rule.not_callable_types:
        return Precheck(Reason.NOT_CALLABLE)
    bans = rule.banned_despite_contract if _contract_lifts(rule, facts, now) else rule.banned
    if not rule.banned:
        return Precheck()
    meanings = [rule.meanings(word) for word in facts.purposes]
    known, purposes = bool(meanings) and all(meanings), frozenset[str]().union(*meanings)

    def matters(lifted: Collection[str]) -> bool:
        return bool(lifted) and not (known and purposes.isdisjoint(lifted))

    ends = [_contract_end(facts)] if matters(rule.banned - bans) else []
    exemptions = [
        (each, term)
        for each in rule.exempt
        if each.bans and (term := _term(each, rule, facts, now)) is not None
    ]
    bans -= {name for each, _ in exemptions for name in each.bans}
    if banned := purposes & bans:
        return Precheck(Reason.BANNED_PURPOSE, by_consent=known and banned <= rule.banned_without_consent)
    if bans and not known:
        return Precheck(Reason.UNKNOWN_PURPOSE)
    ends += [term.ends for each, term in exemptions if matters(each.bans)]
    return Precheck(ends=earliest(ends))


def lift(rule: Rule, facts: Facts, now: datetime) -> Lift | None:
    """What a prospect's facts lift of the rule's registers; None for nothing."""
    if _contract_lifts(rule, facts, now):
        return Lift(Reason.CONTRACT, _contract_end(facts))
    if _all_within({name for name in rule.lifted_by if name != CONTRACT}, rule, facts):
        return Lift(Reason.EXEMPT)
    lifts = [
        Lift(Reason.EXEMPT, term.ends, each.lifts)
        for each in rule.exempt
        if (term := _term(each, rule, facts, now)) is not None
    ]
    return max(lifts, key=lambda lift: (len(lift.lifts), lift.ends or date.max), default=None)


def hours(rule: Rule, facts: Facts, now: datetime) -> Hours | None:
    """The hours of the rule; None if it has none, or if the prospect is exempt from them for good."""
    exempt = (_term(each, rule, facts, now) for each in rule.exempt if HOURS in each.lifts)
    return None if any(term is not None and term.ends is None for term in exempt) else rule.hours


def _has_contract(facts: Facts, now: datetime) -> bool:
    """Whether the prospect has a contract on the day of `now`."""
    return facts.contract if isinstance(facts.contract, bool) else now.date() <= facts.contract


def _contract_lifts(rule: Rule, facts: Facts, now: datetime) -> bool:
    return CONTRACT in rule.lifted_by and _has_contract(facts, now)


def _contract_end(facts: Facts) -> date | None:
    return None if isinstance(facts.contract, bool) else facts.contract


def _all_within(purposes: Collection[str], rule: Rule, facts: Facts) -> bool:
    """Whether the prospect has purposes, and none means anything but these."""
    meanings = [rule.meanings(word) for word in facts.purposes] if purposes else []
    return bool(meanings) and all(meaning and meaning <= {*purposes} for meaning in meanings)


def _all_but(purposes: Collection[str], rule: Rule, facts: Facts) -> bool:
    """Whether the prospect has purposes, all are known, and none may mean one of these."""
    meanings = [rule.meanings(word) for word in facts.purposes]
    return bool(meanings) and all(meaning and meaning.isdisjoint(purposes) for meaning in meanings)


class _Term(NamedTuple):
    ends: date | None  # the last day of an exemption, if one is known


def _term(exemption: Exemption, rule: Rule, facts: Facts, now: datetime) -> _Term | None:
    """The term of an exemption whose conditions the prospect meets; None if it does not."""
    if exemption.contract and not _has_contract(facts, now):
        return None
    if exemption.who == COMPANY and not facts.company:
        return None
    if exemption.purposes and not _all_within(exemption.purposes, rule, facts):
        return None
    if exemption.other_than and not _all_but(exemption.other_than, rule, facts):
        return None
    ends = [_contract_end(facts)] if exemption.contract else []
    if exemption.relation:
        relation, today = facts.relation, now.date()
        if relation is None or relation.kind != exemption.relation or relation.since > today:
            return None
        days = exemption.working_days
        last = last_working_day(relation.since, days) if days else last_day(relation.since, exemption.months)
        ends.append(last)
        if last < today:
            return None
    return _Term(earliest(ends))


def max_age_of(register: Register, rule: Rule) -> int | None:
    """How many days old the rule lets that register's list be; None for any age."""
    return rule.max_age_days.get(family(register.name))


def last_day_of(register: Register, rule: Rule, now: datetime) -> date | None:
    """The last day on which a verdict that rests on this register may be used; None if nothing limits it.

    `now` is in the zone of the rule's country. A list is as old as its own day says; a day in the future counts as
    today. Of the ends of its numbers the register knows the earliest: none of them ends before that.
    """
    days, aged = max_age_of(register, rule), None
    if days is not None:
        aged = min(register.effective_at, now).astimezone(now.tzinfo).date() + timedelta(days)
        # The list is fresh: clocks that were put forward by an hour take no day away.
        aged = max(aged, now.date())
    end = register.next_end if register.kind is RegisterKind.ALLOW else None
    return earliest((aged, None if end is None else _day_before(end, now)))


def _day_before(end: datetime, now: datetime) -> date | None:
    """The last day before `end`, which is later than `now`; None if no verdict may be used for so long.

    (a) If `end` is the moment at which some day ends first on earth, that day. (b) Otherwise the day before the day of
    `end`. It is never before today.
    """
    if end - now > _AHEAD:
        return None
    first = end.astimezone(UTC) + FIRST_ZONE
    whole = first if first.time() == time() else end.astimezone(now.tzinfo)
    return max(whole.date() - timedelta(days=1), now.date())
