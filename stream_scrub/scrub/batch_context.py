"""One batch's plans and what follows from them, worked out once for all prospects of the batch.

A `Case` is a plan with its outcomes ready as bytes. The `BatchContext` holds the cases that a batch has met so far,
against one index at one moment. Nothing here outlives its batch, and no objects refer to each other in a circle: a
replaced index must be freed together with its last batch, not when the garbage collector runs next.
"""

from dataclasses import dataclass
from datetime import date, datetime

from stream_scrub.index import Index
from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import Line
from stream_scrub.rules import VOICE, Rule, Rulebook, until
from stream_scrub.scrub import decide, stamp
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.facts import UNSCOPED, Facts
from stream_scrub.timestamps import utc_millis


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finding with its stamp as templates. `splice` replaces the closing brace of a value, `bare` goes into a
    header. `rules` is the digest of the rule that decided, "" if none did."""

    reason: Reason
    allowed: bool
    splice: bytes
    bare: bytes
    finding: Finding
    until: date | None
    rules: str


class Case:
    """One plan of this batch, and the outcomes met so far, by the names of the registers that hold the number."""

    __slots__ = ("channel", "outcomes", "plan", "region")

    def __init__(self, plan: decide.Plan, region: str, channel: str) -> None:
        self.plan = plan
        self.region = region
        self.channel = channel
        self.outcomes: dict[frozenset[str], Outcome] = {}


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
        if case is None:
            rule, plan, now = self.rule(line.region, told.channel), None, self.moment(line.region)
            # Campaigns mostly differ in nothing but the opposition to each.
            if not told.unnamed and told.campaigns != UNSCOPED:
                base = self.case(line, told._replace(campaigns=UNSCOPED), barred=barred)
                plan = decide.scoped(base.plan, told, self.index, now)
                if plan is base.plan:
                    self._cases[key] = base
                    return base
            plan = plan or decide.plan(line, barred, rule, told, self.index, now)
            case = self._cases[key] = Case(plan, line.region, told.channel)
        return case

    def conclude(self, case: Case, held: frozenset[str]) -> Outcome:
        """The outcome for a number that is in the registers with these names and in no other."""
        made = case.outcomes.get(held)
        if made is None:
            made = self.outcome(case.plan.conclude(held), case.channel, case.plan.rule, case.region)
            case.outcomes[held] = made
        return made

    def find(self, case: Case, number: int) -> Outcome:
        """The outcome for one number, by an exact look-up in each register."""
        return self.conclude(case, frozenset(r.name for r in case.plan.registers if number in r.numbers))

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
