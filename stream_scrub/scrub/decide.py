"""Step 4 of a prospect's life: what the rule of its country and day says about one number.

A `Plan` is the rule compiled for one line (region and type) and one prospect's facts against one index: the registers
to look in, and what follows from each. The many prospects that share a country and facts share one plan, so each
number costs only a look-up.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple

from stream_scrub.index import Index, Register
from stream_scrub.model import FOR, INTERNAL, Reason, RegisterKind, Verdict, family, scoped_name
from stream_scrub.numbering import Line
from stream_scrub.rules import CALLERS, DENY, FACTS, HOUSE, REQUIRE, RESTING, VOICE, Rule, earliest
from stream_scrub.scrub.areas import Areas
from stream_scrub.scrub.facts import Facts
from stream_scrub.scrub.last_day import days_of, last_of
from stream_scrub.scrub.lifts import Gate, Lift, gate, lift


class Finding(NamedTuple):
    """The reason for a number's verdict and the registers that made it so.

    `lasting`: the register is stale and no fresh list can mend that, so holding for one would never end. `last`: the
    last day of what an allowing verdict rests on, None if nothing of it ends.
    """

    reason: Reason
    registers: tuple[str, ...] = ()
    lasting: bool = False
    last: date | None = None


class Consents(NamedTuple):
    """The registers of consents that count for one call. `anybodys` are to everybody: one of them is enough. `each` has,
    for each caller of the call and each of its purposes, those to that caller for that purpose: one of each is needed.
    """

    anybodys: tuple[Register, ...] = ()
    each: tuple[tuple[Register, ...], ...] = ()

    @property
    def registers(self) -> tuple[Register, ...]:
        """All of them."""
        return (*self.anybodys, *(register for group in self.each for register in group))

    def have(self, held: Collection[str]) -> bool:
        """Whether a number in the registers named `held` consented to the call."""
        return any(r.name in held for r in self.anybodys) or self._have_each(held)

    def _have_each(self, held: Collection[str]) -> bool:
        return bool(self.each) and all(any(r.name in held for r in group) for group in self.each)

    def last(self, held: Collection[str], last_of: Callable[[Register], date | None]) -> date | None:
        """The last day of the consents that hold the number: the latest of those that are enough alone, the earliest
        of those that are needed together. None if nothing ends it."""
        ways = [last_of(register) for register in self.anybodys if register.name in held]
        if self._have_each(held):
            ways.append(
                earliest(_latest([last_of(r) for r in group if r.name in held]) for group in self.each)
            )
        return _latest(ways)


def _latest(days: Collection[date | None]) -> date | None:
    known = [day for day in days if day is not None]
    return max(known) if known and len(known) == len(days) else None


NO_CONSENTS = Consents()


class Against(NamedTuple):
    """What stands against a number: the registers that hold it and deny, those that deny and are stale, those that do
    not cover its area, whether consents that the rule asks for are lacking (`lacking`), or those that its type of number
    needs (`unnamed`). `excused`: a consent to the caller lifts the ban on the call's purpose."""

    denying: tuple[str, ...]
    stale_deny: tuple[str, ...]
    uncovered: tuple[str, ...]
    lacking: bool
    unnamed: bool
    excused: bool

    def without(self, lifts: Collection[str]) -> "Against":
        """What is left of it once these are lifted."""
        left = self
        if DENY in lifts:
            left = left._replace(denying=(), stale_deny=(), uncovered=())
        return left._replace(lacking=False, unnamed=False) if REQUIRE in lifts else left


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How to judge a number of one line with one set of facts, by one index. Registers are as the log held them.

    `allow` are the consents that the rule asks for, or lists washed clean. `named` are consents that name the caller of
    this call. `typed` are consents that name the caller too: a number of this line's type must have them. It is None if
    the rule asks nothing of the type. `machines` are consents to be called by an artificial voice; None if a person
    calls. `areas` says which areas each deny register covers. `now` is in the time zone of
    the rule's country.
    """

    rule: Rule | None
    internal: tuple[Register, ...]
    deny: tuple[Register, ...]
    allow: Consents
    stale_internal: tuple[str, ...]
    stale_deny: tuple[str, ...]
    stale_allow: tuple[str, ...]
    gate: Gate
    lift: Lift | None
    now: datetime
    named: Consents = NO_CONSENTS
    areas: tuple[tuple[str, Areas], ...] = ()
    typed: Consents | None = None
    machines: Consents | None = None

    @property
    def registers(self) -> tuple[Register, ...]:
        """Every register whose membership can change the verdict."""
        kinds = (self.allow, self.named, self.typed or NO_CONSENTS, self.machines or NO_CONSENTS)
        consents = [register for kind in kinds for register in kind.registers]
        others = (*self.internal, *self.deny, *consents, *(areas for _, areas in self.areas))
        return tuple(dict.fromkeys(others))

    def conclude(self, held: Collection[str]) -> Finding:
        """The verdict on a number that is in the registers named `held` and in no other. The order is the law's: 1.
        the company's own opposition, 2. a line that no consumer has, 3. a banned purpose, 4. registers, unless
        lifted, 5. a machine that speaks, which nothing but a consent to it allows.
        """
        found = self._of_people(held)
        if self.machines is None or found.reason.verdict is Verdict.BLOCKED:
            return found
        if not self.machines.have(held):
            return Finding(Reason.NO_CONSENT)
        reason = Reason.CONSENTED if found.reason is Reason.CLEAR else found.reason
        return Finding(reason, last=earliest((found.last, self.machines.last(held, self._last))))

    def _of_people(self, held: Collection[str]) -> Finding:
        """The verdict if a person speaks."""
        denying = tuple(r.name for r in (*self.internal, *self.deny) if r.name in held)
        if any(r.name in held for r in self.internal):
            return Finding(Reason.OPPOSED, denying)
        excused = self.gate.by_consent and self.named.have(held)
        if self.rule is None or (self.gate.reason is not None and not excused):
            return Finding(self.gate.reason or Reason.NO_RULE)
        asked = Against(
            denying,
            self.stale_deny,
            tuple(name for name, areas in self.areas if areas.name not in held),
            self.rule.requires and not self.allow.have(held),
            self.typed is not None and not self.typed.have(held),
            excused,
        )
        if self.lift is None or excused:  # a consent to the caller lifts whatever a statement would
            return self._by_registers(held, asked)
        rest = asked.without(self.lift.lifts)
        found = self._by_registers(held, rest)
        if found.reason.verdict is Verdict.BLOCKED or rest == asked:
            return found
        lasts = () if DENY in self.lift.lifts else self._passed(held, rest)
        return self._allowed(
            self.lift.reason, lasts if REQUIRE in self.lift.lifts else (*lasts, *self._asked(held))
        )

    def _by_registers(self, held: Collection[str], asked: Against) -> Finding:
        """The verdict by the registers, as far as nothing that the prospect states lifts them."""
        named = self.named.have(held)
        if asked.denying and not named:
            return Finding(Reason.OPPOSED, asked.denying)
        if asked.unnamed or (asked.lacking and not self.stale_allow):
            return Finding(Reason.NO_CONSENT)
        stale_deny = () if named else asked.stale_deny
        # Nothing replaces a fresh list of the company's own opposition.
        stale = (*self.stale_internal, *stale_deny, *(self.stale_allow if asked.lacking else ()))
        if stale:
            return Finding(Reason.STALE_REGISTER, stale)
        if asked.uncovered and not named:  # fresh, but not handed out for this number's area
            return Finding(Reason.STALE_REGISTER, asked.uncovered, lasting=True)
        needed = self.rule is not None and (self.rule.requires or self.typed is not None)
        reason = Reason.CONSENTED if needed or self._carries(held, asked) else Reason.CLEAR
        return self._allowed(reason, (*self._passed(held, asked), *self._asked(held)))

    def _carries(self, held: Collection[str], asked: Against) -> bool:
        """Whether a consent to the caller lifts what denies, or the ban on the call's purpose."""
        against = asked.denying or asked.stale_deny or asked.uncovered or asked.excused
        return bool(against) and self.named.have(held)

    def _passed(self, held: Collection[str], asked: Against) -> tuple[date | None, ...]:
        """The last days of what lets a number pass the registers that deny: the consent that lifts them, or themselves."""
        if self._carries(held, asked):
            return (self.named.last(held, self._last),)
        return tuple(map(self._last, self.deny))

    def _asked(self, held: Collection[str]) -> tuple[date | None, ...]:
        """The last days of the consents that the number must have by this rule, and has."""
        typed = NO_CONSENTS if self.typed is None else self.typed
        return self.allow.last(held, self._last), typed.last(held, self._last)

    def _allowed(self, reason: Reason, lasts: Collection[date | None] = ()) -> Finding:
        if self.rule is None or self.rule.reading < RESTING:
            return Finding(reason)
        ends = (self.gate.ends, None if self.lift is None else self.lift.ends)
        return Finding(reason, last=earliest((*map(self._last, self.internal), *lasts, *ends)))

    def _last(self, register: Register) -> date | None:
        return None if self.rule is None else last_of(register, self.rule, self.now)


def is_barred(number: int, rule: Rule | None) -> bool:
    """Whether the number starts with a prefix that the rule says is never a consumer's line."""
    return (
        rule is not None
        and bool(rule.not_callable_prefixes)
        and str(number).startswith(rule.not_callable_prefixes)
    )


def plan(line: Line, barred: bool, rule: Rule | None, told: Facts, index: Index, now: datetime) -> Plan:
    """Compile `rule` for numbers of `line` with the same facts. `barred`: the rule bars all of them by their prefix,
    else none."""
    named = (INTERNAL, scoped_name(INTERNAL, FOR + told.channel)) if _by_channel(rule) else (INTERNAL,)
    own = [index.registers[name] for name in named if name in index.registers]
    own += _opposing(index, rule, told)
    if told.unnamed and rule is not None and rule.reading >= CALLERS:
        others = index.opposed_to_anybody(told.channel if _by_channel(rule) else "")
        own += [others] if others is not None else []
    internal = tuple(r for r in own if r.kind is RegisterKind.DENY)
    if rule is None:
        return Plan(None, internal, (), NO_CONSENTS, (), (), (), Gate(Reason.NO_RULE), None, now)
    deny, stale_deny = _usable(
        rule, [n for n in rule.deny if n != INTERNAL], RegisterKind.DENY, told, index, now
    )
    allow, stale_allow = _required(rule, told, index, now)
    names = rule.require_named_for.get(line.type)
    return Plan(
        rule,
        internal,
        deny,
        allow,
        tuple(r.name for r in own if r.kind is not RegisterKind.DENY or _is_stale(r, rule, now)),
        stale_deny,
        stale_allow,
        gate(line, barred, rule, told, now),
        lift(rule, told, now),
        now,
        _named(rule.named_consents, rule, told, index, now),
        _areas(rule, deny),
        None if names is None else _named(names, rule, told, index, now, required=names),
        _named(rule.artificial_voice, rule, told, index, now) if _speaks(told, rule) else None,
    )


def _speaks(told: Facts, rule: Rule) -> bool:
    """Whether a machine speaks to the person, which a text does not. Earlier readings knew of no such call."""
    return told.artificial and told.channel == VOICE and rule.reading >= FACTS


def scoped(base: Plan, told: Facts, index: Index, now: datetime) -> Plan | None:
    """The plan for facts that name campaigns, made from `base`, the plan for the same facts with UNSCOPED ones. It is
    (a) `base` itself if no register is scoped for these campaigns, (b) None if a register other than `internal` is:
    then `plan` must compile it, (c) else `base` with the scoped `internal` registers added.
    """
    rule = base.rule
    others = () if rule is None else (*rule.deny, *rule.require, *rule.scoped)
    asked = [name for name in others if name != INTERNAL]
    if any(_scoped(index, rule, name, told) for name in asked):
        return None
    if rule is not None and rule.reading >= CALLERS and any(_groups(asked, rule, told, index)):
        return None
    found = _opposing(index, rule, told)
    if not found:
        return base
    deny = tuple(r for r in found if r.kind is RegisterKind.DENY)
    stale = [r.name for r in found if rule and (r.kind is not RegisterKind.DENY or _is_stale(r, rule, now))]
    return replace(base, internal=(*base.internal, *deny), stale_internal=(*base.stale_internal, *stale))


def _by_channel(rule: Rule | None) -> bool:
    """Whether an opposition may be to one channel. Earlier readings knew of none."""
    return rule is not None and rule.reading >= HOUSE


def _opposing(index: Index, rule: Rule | None, told: Facts) -> list[Register]:
    """The registers of opposition to the prospect's campaigns, those to its channel alone among them."""
    found = _scoped(index, rule, INTERNAL, told)
    for campaign in told.campaigns if _by_channel(rule) else ():
        found += index.scoped(INTERNAL, f"{campaign}{FOR}{told.channel}")
    return found


def _registers(index: Index, rule: Rule | None, name: str, told: Facts) -> list[Register]:
    """The register of that name, and its scoped ones for the prospect's campaigns."""
    own = [index.registers[name]] if name in index.registers else []
    return [*own, *_scoped(index, rule, name, told)]


def _scoped(index: Index, rule: Rule | None, name: str, told: Facts) -> list[Register]:
    """The registers of that name that are scoped for the prospect's campaigns."""
    if rule is None or rule.reading < CALLERS:
        names = (scoped_name(name, campaign) for campaign in told.campaigns)
        return [index.registers[each] for each in names if each in index.registers]
    return [register for campaign in told.campaigns for register in index.scoped(name, campaign)]


def _usable(
    rule: Rule, names: Collection[str], kind: RegisterKind, told: Facts, index: Index, now: datetime
) -> tuple[tuple[Register, ...], tuple[str, ...]]:
    """The fresh registers of those names, and the names of the stale ones. A register that the log never held is
    stale, not empty, even if it has scoped ones beside it. A register of the wrong kind is stale too."""
    fresh: list[Register] = []
    stale: list[str] = []
    for name in names:
        if name not in index.registers:
            stale.append(name)
        for register in _registers(index, rule, name, told):
            if _is_usable(register, kind, rule, now):
                fresh.append(register)
            else:
                stale.append(register.name)
    return tuple(fresh), tuple(stale)


def _is_usable(register: Register, kind: RegisterKind, rule: Rule, now: datetime) -> bool:
    return register.kind is kind and not _is_stale(register, rule, now)


def _required(rule: Rule, told: Facts, index: Index, now: datetime) -> tuple[Consents, tuple[str, ...]]:
    """The consents that the rule asks for, and the names of those registers of `require` that are stale."""
    if rule.reading < CALLERS:
        fresh, stale = _usable(rule, rule.require, RegisterKind.ALLOW, told, index, now)
        named = _named(rule.require_named, rule, told, index, now)
        return Consents((*fresh, *named.anybodys)), stale
    fresh, stale = _usable(rule, rule.require, RegisterKind.ALLOW, told._replace(campaigns=()), index, now)
    asked = (*rule.require, *rule.require_named)
    to_callers = _named(asked, rule, told, index, now, required=rule.require_named)
    groups = _groups((*rule.require, *rule.needed), rule, told, index, rule.needed)
    unusable = (r.name for group in groups for r in group if not _is_usable(r, RegisterKind.ALLOW, rule, now))
    missing = () if index.families() & {*rule.needed} else rule.needed
    return to_callers._replace(anybodys=fresh), tuple(dict.fromkeys((*stale, *missing, *unusable)))


def _named(
    names: Collection[str],
    rule: Rule,
    told: Facts,
    index: Index,
    now: datetime,
    required: Collection[str] = (),
) -> Consents:
    """The fresh registers of consents that name the caller, and the purpose if they are for one. A consent to one
    caller is none to another, and none to a caller whom nobody names. A stale register lifts nothing. Those of
    `required` that name nobody are to the house. Before the third reading a consent was for every purpose, and a call
    of several callers had none."""
    if not names or told.unnamed:
        return NO_CONSENTS
    if rule.reading < CALLERS:
        one = told if len(told.campaigns) == 1 else told._replace(campaigns=())
        fresh, _ = _usable(rule, names, RegisterKind.ALLOW, one, index, now)
        return Consents(tuple(register for register in fresh if register.scope))
    groups = _groups(names, rule, told, index, required)
    usable = [tuple(r for r in group if _is_usable(r, RegisterKind.ALLOW, rule, now)) for group in groups]
    return Consents(each=tuple(usable))


def _groups(
    names: Collection[str], rule: Rule, told: Facts, index: Index, of_house: Collection[str] = ()
) -> list[list[Register]]:
    """For each campaign and each purpose of a call: the registers of consents to that campaign, for that purpose or
    for all that it does. Of those in `of_house` the house's own campaign has the consents that name nobody."""
    groups = []
    unnamed = [index.registers[name] for name in of_house if name in index.registers] if told.house else []
    for campaign in told.campaigns:
        to_it = [r for name in names for r in index.scoped(name, campaign)]
        to_it += unnamed if campaign == told.house else []
        purposes = [f"{campaign}{FOR}{rule.purpose(word)}" for word in told.purposes]
        for_each = [[r for name in names for r in index.scoped(name, scope)] for scope in purposes]
        groups += [[*to_it, *for_it] for for_it in for_each] or [to_it]
    return groups


def _areas(rule: Rule, deny: Collection[Register]) -> tuple[tuple[str, Areas], ...]:
    """The areas covered by the fresh registers that are handed out by area."""
    found = []
    for name, digits in rule.areas.items():
        if of_it := [register for register in deny if family(register.name) == name]:
            found.append((name, Areas.of(of_it, digits, declared=rule.reading >= CALLERS)))
    return tuple(found)


def _is_stale(register: Register, rule: Rule, now: datetime) -> bool:
    """Whether it is (a) too old for the rule, or (b) still holds numbers that should have ended: then nobody
    publishes it."""
    days = days_of(rule, register)
    return (days is not None and register.older_than(days, now)) or register.ends_overdue(now)
