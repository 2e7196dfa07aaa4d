"""What the rules say, once read: `Rule` and `Country`. Frozen values, no I/O, no clock.

A rule is a fact of law or of the company, with the day on which it starts and the text that it comes from. It decides
nothing by itself: `scrub/decide` does, and gets the rule from the `Rulebook`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from stream_scrub.rules.exemptions import Exemption
from stream_scrub.rules.purposes import Vocabulary, purpose_of
from stream_scrub.spelling import plain

# How this version reads what rules and prospects say. A rule's text carries its reading, so that an old verdict can
# be given again: by the rule that its digest names, read as it was read then. 1: a verdict could be used for
# `valid_days`, however old its lists were. 2: no verdict outlives what it rests on; purposes are a closed vocabulary;
# a prospect with several purposes is exempt only if all of them are. 3: campaigns are compared as words are; a prospect
# that names no campaign meets the opposition to every one. 4: a prospect says more of itself than purposes, contract
# and campaigns: its channel, whether it is a company, its relation with the caller, the kind of voice, and where the person lives.
# 5: the operator may have a campaign of his own, the house's, which calls where a prospect names none, and has the
# consents that name nobody; where a rule asks for a consent to the caller, consents that are missing or stale are told; an opposition may be to one channel alone.
READING = 5
CONTRACT = "contract"  # in `lifted_by`: the prospect's own contract; it is not a purpose
RESTING = 2  # the first reading in which no verdict outlives what it rests on
CLOSED = 2  # the first reading in which purposes are a closed vocabulary
CALLERS = 3  # the first reading in which who calls is compared as words are, and may be anybody when unsaid
FACTS = 4  # the first reading in which a prospect says more than purposes, contract and campaigns
HOUSE = 5  # the first reading in which the operator may have a campaign of his own
VOICE = "voice"  # the channel of a prospect, and of a rule, that names none


@dataclass(frozen=True, slots=True)
class Rule:
    """What one country asks from `start` to `end`, both days included, of whoever is reached by one of `channels`.

    `internal` opposition blocks whether or not `deny` names it. `end` is the day before the next rule of the country
    for the same channels, or the rule's own `to`, whichever is first; None if there is neither. `named_consents` are allow registers whose
    scoped lists lift `deny` for the campaign that they name. `require_named` are allow registers whose scoped lists
    meet `require` for the campaign that they name. `require_named_for` has allow registers by type of number: a
    scoped list of one of them must hold a number of that type, whatever else the rule asks. A contract that is in
    `lifted_by` lifts the ban on `banned_purposes`; nothing lifts that on `banned_despite_contract`; a scoped list of
    `named_consents` lifts that on `banned_without_consent` for the campaign that it names. `exempt` are the conditions
    under which the rule asks less. `artificial_voice` are allow registers of consents to be called by an artificial
    voice: a scoped list of one of them must hold the number for such a call; without any, there is none. `max_age_days`
    has an entry for each register that may grow too old. `areas` has one for each register that is handed out by
    area: how many digits name an area, the calling code included. `consent_days` has an entry for each register whose
    consents end by law: so many days after they were given. `not_callable_prefixes` are the digits of a prefix
    in E.164, without the plus. `purposes` are the words that prospects may say, each with the purposes that it may
    mean; it is empty unless the rule bans or exempts a purpose, or names a register of consents. `uncertain` says in free text what in this rule is
    not proven, and how the doubt was settled. `reading` is the version of the reading, see READING. `text` is the
    whole rule in its canonical form, and `digest` its name on a stamp, see `text.py`.
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
    consent_days: Mapping[str, int] = field(default_factory=dict, hash=False)
    channels: tuple[str, ...] = (VOICE,)
    banned_without_consent: frozenset[str] = frozenset()
    exempt: tuple[Exemption, ...] = ()
    artificial_voice: tuple[str, ...] = ()
    purposes: Vocabulary = field(default_factory=dict, hash=False, repr=False)
    text: bytes = field(default=b"", repr=False)
    digest: str = ""

    def meanings(self, word: str) -> frozenset[str]:
        """The purposes that a prospect's word may mean to this rule; empty when the word is unknown."""
        said = plain(word)
        own = {name for name in self.named_purposes if plain(name) == said}
        return frozenset(own.union(self.purposes.get(said, ())))

    def purpose(self, word: str) -> str:
        """The purpose that a word means, as registers of consents name it; the plain word itself if it is unknown, or
        if it may mean several."""
        return purpose_of(word, self.purposes)

    @property
    def banned(self) -> frozenset[str]:
        """Every banned purpose, including those whose ban something lifts."""
        return self.banned_purposes | self.banned_despite_contract | self.banned_without_consent

    @property
    def named_purposes(self) -> frozenset[str]:
        """Every purpose that the rule names."""
        exempt = (name for each in self.exempt for name in each.purposes)
        return (self.banned | {*self.lifted_by} | {*exempt}) - {CONTRACT}

    @property
    def requires(self) -> bool:
        """Whether some register must hold the number, of whatever type it is."""
        return bool(self.require or self.require_named)

    @property
    def scoped(self) -> tuple[str, ...]:
        """The registers whose scoped lists alone count, each for its own campaign only."""
        of_types = (name for names in self.require_named_for.values() for name in names)
        named = (*self.named_consents, *self.require_named, *of_types, *self.artificial_voice)
        return tuple(dict.fromkeys(named))

    @property
    def registers(self) -> frozenset[str]:
        """Every register that must be on the log for this rule. `internal` is among them if `deny` names it, but may
        be absent. Of those in `needed` a list for some campaign is enough. The others of `scoped` may be absent: without
        them, nothing is lifted.
        """
        return frozenset(self.deny) | frozenset(self.require) | frozenset(self.needed)

    @property
    def needed(self) -> tuple[str, ...]:
        """The registers of consents without which nobody is called: `require_named`, if nothing else meets the rule. Of
        a channel that nobody uses, no list need be kept."""
        asks = not self.require and VOICE in self.channels and self.reading >= HOUSE
        return self.require_named if asks else ()


@dataclass(frozen=True, slots=True)
class Country:
    """One rule file: whose numbers it governs, in which zone its days are counted, and its rules by date. Of one
    channel there is at most one rule for each day.

    `text` is the file as it was read, with Unix line ends, and `where` the path to show to people.
    """

    code: str
    regions: tuple[str, ...]
    timezone: str
    rules: tuple[Rule, ...]
    text: str
    where: str

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that some rule is for, in the order of the file."""
        return tuple(dict.fromkeys(channel for rule in self.rules for channel in rule.channels))

    def of(self, channel: str) -> tuple[Rule, ...]:
        """The rules for that channel, by date."""
        return tuple(rule for rule in self.rules if channel in rule.channels)

    def on(self, day: date, channel: str = VOICE) -> Rule | None:
        """The rule for that channel in force on that day; None (a) before the first rule, (b) when one ended and none
        followed, (c) for a channel that no rule is for."""
        for rule in reversed(self.rules):
            if rule.start <= day and channel in rule.channels:
                return rule if rule.end is None or day <= rule.end else None
        return None

    def all_on(self, day: date) -> tuple[Rule, ...]:
        """The rules in force on that day, one for each group of channels."""
        found = (self.on(day, channel) for channel in self.channels)
        return tuple(dict.fromkeys(rule for rule in found if rule is not None))

    def after(self, day: date, channel: str = VOICE) -> Rule | None:
        """The first rule for that channel that starts after that day, if one is known."""
        return next((rule for rule in self.of(channel) if rule.start > day), None)


def until(rule: Rule, day: date, last: date | None = None) -> date | None:
    """The last day on which a verdict given on `day` may be used; None when nothing sets a limit. `last` is the last
    day of what the verdict rests on.

    It is never after the rule's own last day: this verdict does not answer what another law asks from then on.
    """
    valid = None if rule.valid_days is None else day + timedelta(days=rule.valid_days)
    return earliest((valid, last, rule.end))


def earliest(days: Iterable[date | None]) -> date | None:
    """The first of some last days; None, which sets no limit, when all are None."""
    return min((day for day in days if day is not None), default=None)
