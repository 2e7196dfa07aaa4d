"""Step 4, decide: compiles a rule into a `Plan`, by looking its registers up in the index; and which registers cannot
be used now. Pure.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.call import VOICE
from stream_scrub.index import NO_KEYS, Filter, HashKeys, Index, Numbers, Register
from stream_scrub.model import (
    FOR,
    HASHED,
    INTERNAL,
    RESTED,
    Reason,
    RegisterKind,
    RegisterName,
    family,
    scoped_name,
)
from stream_scrub.numbering import Line
from stream_scrub.rules import Rule, Rulebook
from stream_scrub.rules.country import parent_of
from stream_scrub.scrub.decide import NO_CONSENTS, Consents, Plan, Precheck, hours, lift, max_age_of, precheck
from stream_scrub.scrub.facts import Facts

_E164_DIGITS_MAX = 15


def plan_for(line: Line, barred: bool, rule: Rule | None, facts: Facts, index: Index, now: datetime) -> Plan:
    """The plan for numbers of `line` with these facts. `barred`: the rule bars all of them by their prefix, else none.
    `now` is in the zone of the rule's country."""
    oppositions = _existing(index, INTERNAL, scoped_name(INTERNAL, FOR + facts.channel), HASHED)
    oppositions += _to_campaigns(index, facts)
    # Without a rule the number is blocked anyway, so the caller need not be named.
    if rule is not None and facts.unnamed and (to_anybody := index.opposed_to_anybody(facts.channel)):
        oppositions.append(to_anybody)
    if rule is not None and facts.unnamed:
        oppositions += index.hashed_scopes()
    internal = tuple(r for r in oppositions if r.kind is RegisterKind.DENY)
    if rule is None:
        return Plan(None, now, Precheck(Reason.NO_RULE), internal)
    names = [name for name in rule.deny if name != INTERNAL]
    deny, stale_deny = _usable(names, facts.campaigns, RegisterKind.DENY, rule, index, now)
    required, stale_required = _required(rule, facts, index, now)
    washes, stale_washes = _washes(rule, facts, index, now)
    for_type = rule.require_named_for.get(line.type)
    # A wash counts for the operator that asked: its own consents without a campaign lift it.
    of_house = rule.named_consents if washes else ()
    spoken = facts.artificial and facts.channel == VOICE  # a message has no voice
    reassigned = [r for r in _existing(index, *rule.reassigned) if r.kind is RegisterKind.DENY]
    # The number may have another person now, of whom the prospect states nothing.
    may_be_anybody = bool(reassigned or rule.wash_despite_consent)
    stranger = facts._replace(contract=False, relation=None, company=False) if may_be_anybody else facts
    hours_asked = hours(rule, stranger, now)
    return Plan(
        rule=rule,
        now=now,
        precheck=precheck(line, barred, rule, facts, now),
        lift=lift(rule, facts, now),
        internal=internal,
        stale_internal=_unusable(oppositions, rule, now),
        deny=deny,
        stale_deny=stale_deny,
        areas=_areas(rule, deny),
        required=required,
        stale_required=stale_required,
        washes=washes,
        stale_washes=stale_washes,
        washes_of_everybody=rule.wash_despite_consent,
        for_type=None if for_type is None else _consents(for_type, rule, facts, index, now, own=for_type),
        to_caller=_consents(rule.named_consents, rule, facts, index, now, own=of_house),
        hours=hours_asked,
        any_time=hours_asked is not None and hours(rule, facts, now) is None,
        to_hours=_consents(
            () if hours_asked is None or hours_asked.windows_only else hours_asked.lifted_by,
            rule,
            facts,
            index,
            now,
        ),
        to_windows=() if hours_asked is None else _to_windows(hours_asked.lifted_by, rule, facts, index, now),
        artificial=_consents(rule.artificial_voice, rule, facts, index, now) if spoken else None,
        reassigned=tuple(reassigned),
        lift_if_reassigned=lift(rule, stranger, now) if may_be_anybody else None,
        precheck_if_reassigned=precheck(line, barred, rule, stranger, now) if may_be_anybody else None,
        rested=_rested(rule, facts, index),
    )


def with_campaigns(base: Plan, facts: Facts, index: Index, now: datetime) -> Plan | None:
    """The plan for facts that name campaigns, made from `base`, the plan for the same facts with UNSCOPED ones.

    (a) `base` itself if no register is scoped for these campaigns, (b) None if a register other than `internal` is:
    then `plan_for` must compile it, (c) else `base` with the scoped `internal` registers added.
    """
    rule = base.rule
    if rule is not None:
        names = [name for name in (*rule.deny, *rule.require, *rule.wash, *rule.scoped) if name != INTERNAL]
        if any(_scoped(index, name, facts.campaigns) for name in names):
            return None
        if any(_groups(names, rule, facts, index)):
            return None
        if rule.hours is not None and _to_windows(rule.hours.lifted_by, rule, facts, index, now):
            return None
    oppositions = _to_campaigns(index, facts)
    if not oppositions:
        return base
    return replace(
        base,
        internal=(*base.internal, *(r for r in oppositions if r.kind is RegisterKind.DENY)),
        stale_internal=(*base.stale_internal, *_unusable(oppositions, rule, now)),
    )


def _to_windows(
    names: Iterable[str], rule: Rule, facts: Facts, index: Index, now: datetime
) -> tuple[Register, ...]:
    """The fresh registers of consents to windows for calls of the prospect's campaign and purpose. A window for one of
    several purposes does not count, and none counts for a call of several campaigns."""
    if facts.unnamed or len(facts.campaigns) > 1:
        return ()
    purposes = {rule.purpose(word) for word in facts.purposes}
    registers = []
    for name in names:
        for part in index.parts().get(scoped_name(name, facts.campaigns[0]), ()):
            window = RegisterName.split(part).window
            if window is not None and (not window.purpose or purposes == {window.purpose}):
                registers += _existing(index, part)
    return tuple(each for each in registers if _is_usable(each, RegisterKind.ALLOW, rule, now))


def _rested(rule: Rule, facts: Facts, index: Index) -> tuple[Register, ...]:
    """The numbers that rest for the professionals that may be calling, and those that rest for all."""
    if rule.attempts is None:
        return ()
    rested = [*_existing(index, RESTED), *_scoped(index, RESTED, facts.professionals)]
    return tuple(register for register in rested if register.kind is RegisterKind.DENY)


def _existing(index: Index, *names: str) -> list[Register]:
    """Those of the registers that the index holds."""
    found = (index.registers[name] for name in names if name in index.registers)
    return [register for register in found if not register.is_removed]


def _scoped(index: Index, name: str, scopes: Iterable[str]) -> list[Register]:
    """The registers of that name with one of these scopes."""
    return _existing(index, *(scoped_name(name, scope) for scope in scopes))


def _to_campaigns(index: Index, facts: Facts) -> list[Register]:
    """The registers of oppositions to the prospect's campaigns, by every channel or by its own."""
    by_channel = [f"{campaign}{FOR}{facts.channel}" for campaign in facts.campaigns if campaign]
    return [
        *_scoped(index, INTERNAL, (*facts.campaigns, *by_channel)),
        *_scoped(index, HASHED, facts.campaigns),
    ]


def _unusable(oppositions: Iterable[Register], rule: Rule | None, now: datetime) -> tuple[str, ...]:
    """The names of registers of oppositions that are stale, or of the wrong kind."""
    if rule is None:
        return ()
    return tuple(r.name for r in oppositions if not _is_usable(r, RegisterKind.DENY, rule, now))


def _usable(
    names: Iterable[str],
    campaigns: Collection[str],
    kind: RegisterKind,
    rule: Rule,
    index: Index,
    now: datetime,
) -> tuple[tuple[Register, ...], tuple[str, ...]]:
    """The fresh registers of those names, with those scoped for the campaigns, and the names of the stale ones. A
    register that the log never held, or of the wrong kind, is stale."""
    fresh: list[Register] = []
    stale: list[str] = []
    for name in names:
        # Never imported is not empty: without the list the opposed numbers are unknown.
        existing = _existing(index, name)
        if not existing:
            stale.append(name)
        for register in (*existing, *_scoped(index, name, campaigns)):
            if _is_usable(register, kind, rule, now):
                fresh.append(register)
            else:
                stale.append(register.name)
    return tuple(fresh), tuple(stale)


def _is_usable(register: Register, kind: RegisterKind, rule: Rule, now: datetime) -> bool:
    return _fault_of(register, kind, rule, now) is None


def _fault_of(register: Register, kind: RegisterKind, rule: Rule, now: datetime) -> str | None:
    """Why a register cannot be used: another kind, too old for the rule, or with numbers that should have ended."""
    days = max_age_of(register, rule)
    if register.kind is not kind:
        return f"it is of kind {register.kind}, and the rule needs one of kind {kind}"
    if days is not None and register.older_than(days, now):
        day = f"{register.effective_at:%Y-%m-%d}"
        return f"its list is of {day}, older than the {days} days that it may be"
    return (
        "numbers in it should have ended: no publisher removes them" if register.ends_overdue(now) else None
    )


def _required(rule: Rule, facts: Facts, index: Index, now: datetime) -> tuple[Consents, tuple[str, ...]]:
    """The consents that the rule requires, and the names of the registers among them that are stale."""
    fresh, stale = _usable(rule.require, (), RegisterKind.ALLOW, rule, index, now)
    names = (*rule.require, *rule.require_named)
    consents = _consents(names, rule, facts, index, now, own=rule.require_named)
    needed = tuple(name for name in rule.needed if name in rule.require_named)
    groups = _groups((*rule.require, *needed), rule, facts, index, needed)
    unusable = (r.name for group in groups for r in group if not _is_usable(r, RegisterKind.ALLOW, rule, now))
    missing = () if index.families() & {*needed} else needed
    return consents._replace(general=fresh), tuple(dict.fromkeys((*stale, *missing, *unusable)))


def _washes(
    rule: Rule, facts: Facts, index: Index, now: datetime
) -> tuple[tuple[tuple[str, Consents], ...], tuple[str, ...]]:
    """By register of clean answers that the rule asks for: the fresh ones that count for the call. And the names of the
    stale ones."""
    washes: list[tuple[str, Consents]] = []
    stale: list[str] = []
    for name in (*rule.wash, *rule.wash_named):
        own = (name,) if name in rule.wash_named else ()
        consents = _consents((name,), rule, facts, index, now, own)
        if own:
            used = [r for group in _groups(own, rule, facts, index, own) for r in group]
            stale += () if name in index.families() else own
            stale += [r.name for r in used if not _is_usable(r, RegisterKind.ALLOW, rule, now)]
        else:
            fresh, unusable = _usable((name,), (), RegisterKind.ALLOW, rule, index, now)
            consents = consents._replace(general=fresh)
            stale += unusable
        washes.append((name, consents))
    return tuple(washes), tuple(dict.fromkeys(stale))


def _consents(
    names: Collection[str], rule: Rule, facts: Facts, index: Index, now: datetime, own: Collection[str] = ()
) -> Consents:
    """The fresh registers of consents to the prospect's campaigns; none if it names no campaign. `own`: see
    `_groups`."""
    if not names or facts.unnamed:
        return NO_CONSENTS
    groups = _groups(names, rule, facts, index, own)
    usable = [tuple(r for r in group if _is_usable(r, RegisterKind.ALLOW, rule, now)) for group in groups]
    return Consents(groups=tuple(usable))


def _groups(
    names: Collection[str], rule: Rule, facts: Facts, index: Index, own: Collection[str] = ()
) -> list[list[Register]]:
    """For each campaign and purpose of a call: the registers of consents to that campaign, for that purpose or for all
    of its purposes. The operator's own campaign also has the consents without a campaign, of registers in `own`."""
    groups = []
    for campaign in facts.campaigns:
        to_campaign = [r for name in names for r in _scoped(index, name, (campaign,))]
        if facts.house and campaign == facts.house:
            to_campaign += _existing(index, *own)
        scopes = [f"{campaign}{FOR}{rule.purpose(word)}" for word in facts.purposes]
        by_purpose = [[r for name in names for r in _scoped(index, name, (scope,))] for scope in scopes]
        # A prospect's purpose may be spelt as a window is.
        of_purposes = [[r for r in registers if not r.window_minutes] for registers in by_purpose]
        groups += [[*to_campaign, *of_purpose] for of_purpose in of_purposes] or [to_campaign]
    return groups


def _areas(rule: Rule, deny: Collection[Register]) -> tuple[tuple[str, Register], ...]:
    """For each register that is sold by area and fresh: the areas that it covers."""
    covered = []
    for name, digits in rule.areas.items():
        if registers := [register for register in deny if family(register.name) == name]:
            covered.append((name, Areas.of(registers, digits)))
    return tuple(covered)


class _Coverage:
    """The numbers of the areas that were bought, without a list of them. Made for one batch; remembers its answers."""

    def __init__(self, registers: Sequence[Register], digits: int) -> None:
        self.key = (*registers, digits)
        self._declared = tuple(area for register in registers for area in register.areas or ())
        self._undeclared = [register.numbers for register in registers if register.areas is None]
        self._digits = digits
        self._known: dict[int, bool] = {}

    def __contains__(self, number: int) -> bool:
        return self._covers(int(str(number)[: self._digits]))

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        areas, end = numbers.copy(), np.uint64(10**self._digits)
        while (longer := areas >= end).any():
            areas[longer] //= np.uint64(10)
        distinct, places = np.unique(areas, return_inverse=True)
        return np.array([self._covers(area) for area in distinct.tolist()], np.bool_)[places]

    def _covers(self, area: int) -> bool:
        if area not in self._known:
            self._known[area] = str(area).startswith(self._declared) or any(
                next(numbers.iter_equal_or_larger(area * size), -1) // size == area
                for numbers in self._undeclared
                for size in (10**more for more in range(_E164_DIGITS_MAX - self._digits + 1))
            )
        return self._known[area]


class _Open(Filter):
    """A filter that sends every number to the exact look-up: nearly all numbers are in covered areas."""

    __slots__ = ()

    def perhaps(self, numbers: Numbers) -> NDArray[np.bool_]:
        return np.ones(len(numbers), np.bool_)


_OPEN = _Open(np.empty(0, np.uint64))


@dataclass(frozen=True, slots=True, eq=False)
class Areas(Register):
    """The areas that registers of one name cover, as one more register: so a batch asks for them in the same pass.

    Some registries are sold by area code: a number of another area is not free because the register lacks it. The
    areas that were bought are declared at the import; without a declaration those of the register's numbers count.
    Equal if made from the same registers. The name holds a space, so no real register has it.
    """

    coverage: _Coverage = field(kw_only=True, repr=False)

    @classmethod
    def of(cls, registers: Sequence[Register], digits: int) -> "Areas":
        """Made from at least one register. The first `digits` digits of a number name its area."""
        first = registers[0]
        coverage = _Coverage(registers, digits)
        return cls(
            # A batch tells registers apart by their names: other registers of the same family cover other areas.
            name=f"{' '.join(register.name for register in registers)} areas {digits}",
            kind=RegisterKind.ALLOW,
            numbers=cast(Any, coverage),  # callers only use `in`
            seq=first.seq,
            chain=first.chain,
            effective_at=first.effective_at,
            position=first.position,
            source=first.source,
            filter=_OPEN,
            coverage=coverage,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Areas) and self.coverage.key == other.coverage.key

    def __hash__(self) -> int:
        return hash(self.coverage.key)

    def holds(self, numbers: Numbers, _keys: HashKeys = NO_KEYS) -> NDArray[np.bool_]:
        """For each number: whether its area is covered."""
        return self.coverage.holds(numbers)


class UnusableRegister(msgspec.Struct, frozen=True):
    """A register (without scope), the countries whose rule of today needs it, and why it cannot be used."""

    register: str
    countries: tuple[str, ...]
    why: str


def unusable(rulebook: Rulebook, index: Index, now: datetime) -> list[UnusableRegister]:
    """Every such register, in the order of names. Prospects of its countries (a) come out blocked as
    `stale-register`, or (b) make the worker hold, as `rules.stale` and `rules.stale_by_register` say."""
    names_of: dict[tuple[str, str], list[str]] = {}
    for rule, local in rulebook.in_force(now):
        for name, why in _of_rule(rule, index, local):
            names_of.setdefault((name, why), []).append(rule.country)
    return [
        # A country stands for its states.
        UnusableRegister(name, tuple(sorted({code for code in codes if parent_of(code) not in codes})), why)
        for (name, why), codes in sorted(names_of.items())
    ]


def _of_rule(rule: Rule, index: Index, now: datetime) -> Iterator[tuple[str, str]]:
    kinds = dict.fromkeys(rule.deny, RegisterKind.DENY)
    kinds |= dict.fromkeys((*rule.require, *rule.wash), RegisterKind.ALLOW)
    kinds |= dict.fromkeys(rule.needed, RegisterKind.ALLOW)
    for name, kind in kinds.items():
        register = next(iter(_existing(index, name)), None)
        if register is None and name in rule.needed and name in index.families():
            continue  # a list for some campaign is enough
        if register is None:
            if name != INTERNAL:  # `internal` is empty before its first opt-out
                yield name, "it was removed" if name in index.registers else "it was never imported"
            continue
        if (why := _fault_of(register, kind, rule, now)) is not None:
            yield name, why


def strictest_ages(rulebook: Rulebook, at: datetime) -> Mapping[str, float]:
    """By register without its scope: the smallest maximum age, in seconds, among the rules in force at that
    moment."""
    ages: dict[str, float] = {}
    for rule, _ in rulebook.in_force(at):
        for name, days in rule.max_age_days.items():
            ages[name] = min(ages.get(name, float("inf")), days * 86_400.0)
    return ages
