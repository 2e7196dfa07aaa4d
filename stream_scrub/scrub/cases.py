"""One batch's plans and what follows from them: the thinking that the prospects of a batch share.

A `Case` is a plan with its outcomes made ready as bytes; the `Bench` holds the cases that a batch has met so far,
against one index at one moment. Nothing here outlives its batch.
"""

from dataclasses import dataclass
from datetime import date, datetime

from stream_scrub.index import Index, Register
from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import Line
from stream_scrub.rules import Rule, Rulebook, until
from stream_scrub.scrub import decide, stamp
from stream_scrub.scrub.decide import NO_FACTS, Facts, Finding


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finding with its stamp as templates: `splice` goes before the closing brace's place, `bare` into a header."""

    reason: Reason
    allowed: bool
    splice: bytes
    bare: bytes
    finding: Finding
    until: date | None


class Case:
    """One plan of this batch with its outcomes. `clean` is the outcome for a number in no register."""

    __slots__ = ("_bench", "_outcomes", "_region", "_sets", "clean", "plan", "told")

    def __init__(self, plan: decide.Plan, region: str, told: bool, bench: "Bench") -> None:
        self.plan = plan
        self.told = told
        self._region = region
        self._bench = bench
        self._sets = [(1 << place, register.numbers) for place, register in enumerate(plan.registers)]
        self._outcomes: dict[int, Outcome] = {}
        self.clean = self._outcome(0)

    @property
    def stands_for_its_line(self) -> bool:
        """Whether it judges every number of its line that comes without facts: not where it has facts itself, or where
        the rule bars some numbers by prefix."""
        return not self.told and (self.plan.rule is None or not self.plan.rule.not_callable_prefixes)

    def find(self, number: int) -> Outcome:
        """The outcome for a number, by exact look-ups: one bit a register that holds it."""
        held = 0
        for bit, numbers in self._sets:
            if number in numbers:
                held |= bit
        made = self._outcomes.get(held)
        return made if made is not None else self._outcome(held)

    def _outcome(self, held: int) -> Outcome:
        names = {register.name for place, register in enumerate(self.plan.registers) if held >> place & 1}
        made = self._bench.outcome(self.plan.conclude(names), self.plan.rule, self._region)
        self._outcomes[held] = made
        return made


class Bench:
    """Everything that one batch shares: one index, one moment, and the cases met so far."""

    def __init__(self, rulebook: Rulebook, index: Index, now: datetime) -> None:
        self.index = index
        self.evidence = stamp.Evidence(index.position, stamp.utc_millis(now))
        self._rulebook = rulebook
        self._now = now
        self._rules: dict[str, Rule | None] = {}
        self._cases: dict[tuple[Line, Facts, bool], Case] = {}

    def rule(self, region: str) -> Rule | None:
        """The rule of the day for a region."""
        if region not in self._rules:
            self._rules[region] = self._rulebook.rule(region, self._now)
        return self._rules[region]

    def case(self, number: int, line: Line, told: Facts) -> Case:
        """The case for a number with these facts."""
        rule = self.rule(line.region)
        barred = decide.is_barred(number, rule)
        key = (line, told, barred)
        case = self._cases.get(key)
        if case is None:
            plan = decide.plan(line, barred, rule, told, self.index, self._now)
            case = self._cases[key] = Case(plan, line.region, told != NO_FACTS, self)
        return case

    def outcome(self, finding: Finding, rule: Rule | None, region: str = "") -> Outcome:
        """A finding with its stamp; without a region, one that names no number."""
        allowed = finding.reason.verdict is Verdict.ALLOWED
        day = self._rulebook.day(region, self._now) if allowed else None
        end = until(rule, day) if rule is not None and day is not None else None
        bare = stamp.single(
            finding, bool(region), rule.digest if rule is not None else "", end, self.evidence
        )
        return Outcome(finding.reason, allowed, b',"scrub":' + bare + b"}", bare, finding, end)

    @property
    def registers(self) -> set[Register]:
        """Every register that some case of this batch looks in."""
        return {register for case in self._cases.values() for register in case.plan.registers}
