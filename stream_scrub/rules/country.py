"""What the rules say, once read: `Rule` and `Country`. Frozen values, no I/O, no clock.

A rule is a fact of law or of the company, with the day it starts and the text it comes from. It decides nothing by
itself: `scrub/decide` does, and asks for the rule through the `Rulebook`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from stream_scrub.rules.purposes import Vocabulary, plain

# How this version reads what rules and prospects say. A rule's text carries it, so that an old verdict is given again
# as it was given: by the rule that its digest names, read as it was read then. 1: a verdict was good for `valid_days`
# however old its lists were. 2: no verdict outlives what it rests on; purposes are a
# closed vocabulary, and what has several is exempt only when all are.
READING = 2
CONTRACT = "contract"  # in `lifted_by`: the prospect's own contract, and no purpose
RESTING = 2  # from this one on
CLOSED = 2  # and so are purposes


@dataclass(frozen=True, slots=True)
class Rule:
    """What one country asks from `start` to `end`, both days included.

    `internal` opposition blocks whether or not `deny` names it. `end` is the day before the next rule of the
    country or the rule's own `to`, whichever is first; None where neither is. `named_consents` are allow registers
    whose scoped lists lift `deny` for the campaign that they name, `require_named` those whose scoped lists do for
    `require` what it asks; `require_named_for` has, by type of number, those of which a scoped list must hold a
    number of that type, whatever else it needs. `banned_purposes` are lifted by a contract that is in `lifted_by`,
    `banned_despite_contract` by nothing. `max_age_days` has an entry for each register
    that may grow too old, `areas` one for each that is handed out by area: how many digits, the calling code among
    them, name an area. `not_callable_prefixes` are the digits of a prefix in E.164, without the plus. `purposes` are
    the words that prospects may say, each with the purposes that it may mean, where the rule bans or exempts any.
    `uncertain` says in free text what in this rule is not proven, and which way the doubt was settled. `reading` is the version
    of the reading that it is given by, see READING. `text` is all of it in its canonical form and `digest` its name
    on a stamp, see `text.py`.
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
    reading: int = 1
    require_named: tuple[str, ...] = ()
    require_named_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    banned_despite_contract: frozenset[str] = frozenset()
    purposes: Vocabulary = field(default_factory=dict, hash=False, repr=False)
    text: bytes = field(default=b"", repr=False)
    digest: str = ""

    def meanings(self, word: str) -> frozenset[str]:
        """The purposes that a prospect's word may mean to this rule; none when nobody knows the word."""
        said = plain(word)
        own = {name for name in (*self.lifted_by, *self.banned) if plain(name) == said}
        return frozenset(own.union(self.purposes.get(said, ())))

    @property
    def banned(self) -> frozenset[str]:
        """Every purpose that nobody may call for, but perhaps under a contract."""
        return self.banned_purposes | self.banned_despite_contract

    @property
    def requires(self) -> bool:
        """Whether some register must hold the number, of whatever type it is."""
        return bool(self.require or self.require_named)

    @property
    def scoped(self) -> tuple[str, ...]:
        """The registers of which only the scoped lists count, each for its own campaign alone."""
        of_types = (name for names in self.require_named_for.values() for name in names)
        return tuple(dict.fromkeys((*self.named_consents, *self.require_named, *of_types)))

    @property
    def registers(self) -> frozenset[str]:
        """Every register that must be on the log for this rule, but `internal`, which may be absent. Those of
        `scoped` need not be: without one, nothing is lifted.
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


def until(rule: Rule, day: date, last: date | None = None) -> date | None:
    """The last day on which a verdict given on `day` may be used, `last` being that of what it rests on; None when
    neither sets a limit.

    Never past the rule's own last day: what another law asks from then on, this verdict does not answer.
    """
    valid = None if rule.valid_days is None else day + timedelta(days=rule.valid_days)
    return earliest((valid, last, rule.end))


def earliest(days: Iterable[date | None]) -> date | None:
    """The first of some last days; None, which sets no limit, when all are None."""
    return min((day for day in days if day is not None), default=None)
