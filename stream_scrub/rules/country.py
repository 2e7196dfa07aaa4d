"""What the rules say, once read: `Rule` and `Country`. Frozen values, no I/O, no clock.

A rule is a fact of law or of the company, with the day it starts and the text it comes from. It decides nothing by
itself: `scrub/decide` does, and asks for the rule through the `Rulebook`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """What one country asks from `start` to `end`, both days included.

    `internal` opposition blocks whether or not `deny` names it. `end` is the day before the next rule of the
    country or the rule's own `to`, whichever is first; None where neither is. `named_consents` are allow registers
    whose scoped lists lift `deny` for the campaign that they name. `max_age_days` has an entry for each register
    that may grow too old, `areas` one for each that is handed out by area: how many digits, the calling code among
    them, name an area. `not_callable_prefixes` are the digits of a prefix in E.164, without the plus. `uncertain`
    says in free text what in this rule is not proven, and which way the doubt was settled. `text` is all of it in
    its canonical form and `digest` its name on a stamp, see `text.py`.
    """

    country: str
    start: date
    end: date | None
    source: str
    deny: tuple[str, ...]
    require: tuple[str, ...]
    lifted_by: tuple[str, ...]
    named_consents: tuple[str, ...]
    max_age_days: Mapping[str, int] = field(hash=False)
    areas: Mapping[str, int] = field(hash=False)
    valid_days: int | None
    banned_purposes: frozenset[str]
    not_callable_types: frozenset[str]
    not_callable_prefixes: tuple[str, ...]
    uncertain: tuple[str, ...]
    text: bytes = field(default=b"", repr=False)
    digest: str = ""

    @property
    def registers(self) -> frozenset[str]:
        """Every register that must be on the log for this rule, but `internal`, which may be absent. Those of
        `named_consents` need not be: without one, nothing is lifted.
        """
        return frozenset(self.deny) | frozenset(self.require)


@dataclass(frozen=True, slots=True)
class Country:
    """One rule file: whose numbers it governs, in which zone its days are counted, and its rules by date.

    `text` is the file as it was read, with Unix line ends, and `where` the path to show to people.
    """

    code: str
    regions: tuple[str, ...]
    timezone: str
    rules: tuple[Rule, ...]
    text: str
    where: str

    def on(self, day: date) -> Rule | None:
        """The rule in force on that day; None before the first one, and where one ended and none followed."""
        for rule in reversed(self.rules):
            if rule.start <= day:
                return rule if rule.end is None or day <= rule.end else None
        return None

    def after(self, day: date) -> Rule | None:
        """The first rule that starts after that day, if one is known."""
        return next((rule for rule in self.rules if rule.start > day), None)


def until(rule: Rule, day: date) -> date | None:
    """The last day on which a verdict given on `day` may be used; None when the rule sets no limit.

    Never past the rule's own last day: what another law asks from then on, this verdict does not answer.
    """
    if rule.valid_days is None:
        return rule.end
    last = day + timedelta(days=rule.valid_days)
    return last if rule.end is None else min(last, rule.end)
