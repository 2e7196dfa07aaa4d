"""One batch's plans and what follows from them, worked out once for all prospects of the batch.

A `Case` is a plan with its outcomes ready as bytes. The `BatchContext` holds the cases that a batch has met so far,
against one index at one moment. Nothing here outlives its batch, and no objects refer to each other in a circle: a
replaced index must be freed together with its last batch, not when the garbage collector runs next.
"""

from dataclasses import dataclass
from datetime import date, datetime

from stream_scrub.index import Index, Register
from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import Line
from stream_scrub.rules import VOICE, Rule, Rulebook, earliest, until
from stream_scrub.scrub import decide, stamp
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.facts import UNSCOPED, Facts
from stream_scrub.timestamps import utc_millis


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finding with its stamp as templates. `splice` replaces the closing brace of a value, `bare` goes into a
    header. `rules` is the digest of the rule that decided, "" if none did. `residence` is that of the rule of another
    country, where the person lives, which decided as well."""

    reason: Reason
    allowed: bool
    splice: bytes
    bare: bytes
    finding: Finding
    until: date | None
    rules: str
    residence: str = ""


class Case:
    """One plan of this batch, and the outcomes met so far, by the names of the registers that hold the number. `home`
    is the case by the rule of another country, where the person lives: both must allow."""

    __slots__ = ("channel", "home", "outcomes", "plan", "region")

    def __init__(self, plan: decide.Plan, region: str, channel: str, home: "Case | None" = None) -> None:
        self.plan = plan
        self.home = home
        self.region = region
        self.channel = channel
        self.outcomes: dict[frozenset[str], Outcome] = {}

    @property
    def registers(self) -> tuple[Register, ...]:
        """Every register whose membership can change the outcome."""
        if self.home is None:
            return self.plan.registers
        return tuple(dict.fromkeys((*self.plan.registers, *self.home.plan.registers)))


class BatchContext:
    """Everything that one batch shares: one index, one moment, and the cases met so far."""

    def __init__(self, rulebook: Rulebook, index: Index, now: datetime) -> None:
        self.index = index
        self.evidence = stamp.Evidence(index.position, utc_millis(now))
        self._rulebook = rulebook
        self._now = now
        self._rules: dict[tuple[str, str], Rule | None] = {}
        self._moments: dict[str, datetime] = {}
        self._cases: dict[tuple[Line, Facts, bool], Case] = {}
        self._outcomes: dict[tuple[Finding, str, str], Outcome] = {}

    def rule(self, region: str, channel: str) -> Rule | None:
        """The rule of the day for a region and a channel."""
        key = (region, channel)
        if key not in self._rules:
            self._rules[key] = self._rulebook.rule(region, self._now, channel)
        return self._rules[key]

    def moment(self, region: str) -> datetime:
        """This batch's moment, in the zone of the country whose rules govern the region."""
        if region not in self._moments:
            self._moments[region] = self._rulebook.local(region, self._now) or self._now
        return self._moments[region]

    def case(self, line: Line, told: Facts, *, barred: bool) -> Case:
        """The case of numbers of that line with these facts. `barred`: a rule bars all of them by their prefix, else
        none."""
        key = (line, told, barred)
        case = self._cases.get(key)
        if case is None and told.residence:
            case = self._cases[key] = self._of_two(line, told, barred=barred)
        elif case is None:
            rule, plan, now = self.rule(line.region, told.channel), None, self.moment(line.region)
            # Campaigns mostly differ in nothing but the opposition to each. The house has consents of its own.
            if not told.unnamed and not told.house and told.campaigns != UNSCOPED:
                base = self.case(line, told._replace(campaigns=UNSCOPED), barred=barred)
                plan = decide.scoped(base.plan, told, self.index, now)
                if plan is base.plan:
                    self._cases[key] = base
                    return base
            plan = plan or decide.plan(line, barred, rule, told, self.index, now)
            case = self._cases[key] = Case(plan, line.region, told.channel)
        return case

    def _of_two(self, line: Line, told: Facts, *, barred: bool) -> Case:
        """The case of a person who says where they live: (a) that of the number's country, if they live there, or (b)
        with that of the other country beside it. No rule of another country bars a number by its prefix."""
        alone = told._replace(residence="")
        own = self.case(line, alone, barred=barred)
        if self._rulebook.country(told.residence) is self._rulebook.country(line.region):
            return own
        home = self.case(Line.of(told.residence, line.type), alone, barred=False)
        return Case(own.plan, line.region, told.channel, home)

    def conclude(self, case: Case, held: frozenset[str]) -> Outcome:
        """The outcome for a number that is in the registers with these names and in no other."""
        made = case.outcomes.get(held)
        if made is None:
            made = self.outcome(case.plan.conclude(held), case.channel, case.plan.rule, case.region)
            if case.home is not None:
                made = self._joined(case, made, self.conclude(case.home, held))
            case.outcomes[held] = made
        return made

    def _joined(self, case: Case, own: Outcome, home: Outcome) -> Outcome:
        """What two rules say together: the reason of the first that blocks; if both allow, that of the stricter one,
        for as long as both allow."""
        said = own if not own.allowed or (home.allowed and own.reason is not Reason.CLEAR) else home
        allowed = own.allowed and home.allowed
        end = earliest((own.until, home.until)) if allowed else None
        unruled = said.reason is Reason.NO_RULE
        rules, residence = ("", "") if unruled else (own.rules, home.rules)
        bare = stamp.single(said.finding, True, rules, end, case.channel, self.evidence, residence)
        splice = b',"scrub":' + bare + b"}"
        return Outcome(said.reason, allowed, splice, bare, said.finding, end, rules, residence)

    def find(self, case: Case, number: int) -> Outcome:
        """The outcome for one number, by an exact look-up in each register."""
        return self.conclude(case, frozenset(r.name for r in case.registers if number in r.numbers))

    def outcome(
        self, finding: Finding, channel: str = VOICE, rule: Rule | None = None, region: str = ""
    ) -> Outcome:
        """A finding with its stamp. Without a region the stamp names no number and no rule."""
        key = (finding, channel, region)
        made = self._outcomes.get(key)
        if made is None:
            made = self._outcomes[key] = self._make(finding, channel, rule, region)
        return made

    def _make(self, finding: Finding, channel: str, rule: Rule | None, region: str) -> Outcome:
        allowed = finding.reason.verdict is Verdict.ALLOWED
        end = until(rule, self.moment(region).date(), finding.last) if allowed and rule is not None else None
        rules = rule.digest if rule is not None else ""
        bare = stamp.single(finding, bool(region), rules, end, channel, self.evidence)
        return Outcome(finding.reason, allowed, b',"scrub":' + bare + b"}", bare, finding, end, rules)
