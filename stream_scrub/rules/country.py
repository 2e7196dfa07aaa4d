"""What the rules say, once read: `Rule`, `Exemption` and `Country`, and the canonical text of a rule. Pure.

A rule is a fact of law or of the company, with its first day and its source. It decides nothing by itself:
`scrub/decide` does.
"""

import hashlib
import json
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache

from stream_scrub.call import VOICE
from stream_scrub.clock import zone
from stream_scrub.rules.hours import Hours
from stream_scrub.rules.purposes import Vocabulary, purpose_of, purposes_in
from stream_scrub.texts import plain

# The version of the meaning of a rule's text. Every text names it, so that a later release with another meaning can
# still give the verdicts of this one.
READING = 1
CONTRACT = "contract"  # in `lifted_by`: the prospect's own contract; not a purpose
COMPANY = "company"  # in `Exemption.who`: a legal person that is called about its business
DENY, REQUIRE = "deny", "require"
LIFTS = (DENY, REQUIRE)
HOURS = "hours"  # in `Exemption.lifts`, where it must be named
# In `Rule.consent_proof`: the hour of the consent, its end, and its text on withdrawal and on access to the proof.
PROOFS = ("hour", "until", "withdrawal", "access")
DIGEST_DIGITS = 6  # short, because every stamp has it; `check` and `archive` refuse two texts with one digest
_SUNDAY = 6
_VOCABULARIES_KEPT = 8  # nearly all rules that name a purpose have the same words for purposes in their text
_COUNTRY = re.compile(rb'^country *= *"([A-Z]{2}(?:-[A-Z0-9]{1,3})?)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Exemption:
    """An exemption of a rule, for a call that meets all of its conditions. An empty condition is met; there is at least
    one that is not empty."""

    source: str
    contract: bool = False  # the prospect has a contract
    purposes: tuple[str, ...] = ()  # each of its purposes is one of these
    other_than: tuple[str, ...] = ()  # all its purposes are known, and none may be one of these
    who: str = ""  # COMPANY: it is a company
    relation: str = ""  # it has such a relation with the caller,
    months: int = 0  # which counts for so many months,
    working_days: int = 0  # or for so many days from Monday to Saturday after its own
    lifts: tuple[str, ...] = LIFTS  # exempt from registers that deny, from required ones, from hours
    bans: tuple[str, ...] = ()  # purposes whose ban it lifts as well

    @property
    def is_of_purposes(self) -> bool:
        """Whether it asks for nothing but purposes."""
        return not (self.contract or self.who or self.relation)

    @property
    def text(self) -> str:
        """The exemption as an inline table of TOML, in a fixed order."""
        members: list[tuple[str, object]] = [
            ("contract", self.contract),
            ("purposes", list(self.purposes)),
            ("other_than", list(self.other_than)),
            ("who", self.who),
            ("relation", self.relation),
            ("months", self.months),
            ("working_days", self.working_days),
            ("lifts", list(self.lifts)),
            ("bans", list(self.bans)),
            ("source", self.source),
        ]
        written = []
        for key, value in members:
            # Without `lifts` the default is read, with an empty list nothing is lifted.
            if (self.lifts != LIFTS) if key == "lifts" else value:
                written.append(f"{key} = {toml(value)}")
        return f"{{ {', '.join(written)} }}"


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often one professional may try to call a number, and how long it rests after a refusal; 0: no limit."""

    most: int = 0  # attempts
    days: int = 0  # within so many calendar days,
    hours: int = 0  # or so many hours
    refusal_days: int = 0  # whole calendar days after that of a refusal
    refusal_withdraws: bool = False  # a refusal ends the consent to its campaign, as a withdrawal

    def asks_more_than(self, other: "Attempts | None") -> bool:
        """Whether a number rests by this limit that may be called by the other one; None limits nothing."""
        if other is None or self.refusal_days > other.refusal_days:
            return True
        if self.refusal_withdraws and not other.refusal_withdraws:
            return True
        fewer = not other.most or other.most > self.most
        longer = self.days * 24 + self.hours > other.days * 24 + other.hours
        return bool(self.most) and (fewer or longer)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one country requires of calls by these channels, from `start` to `end`, both days included. Operators'
    oppositions (`internal`) block whether or not `deny` names them."""

    country: str
    start: date
    end: date | None  # its own `to`, or the day before the next rule for the same channels; None for no end
    source: str
    deny: tuple[str, ...]
    require: tuple[str, ...]  # one of these must hold the number, unless something lifts that
    lifted_by: tuple[str, ...]  # purposes, or CONTRACT, that lift `deny` and `require`
    named_consents: tuple[str, ...]  # consents whose scoped lists lift `deny` for their campaign
    max_age_days: Mapping[str, int] = field(hash=False)  # by register whose lists expire
    # By register sold by area: how many digits name an area, with the calling code.
    areas: Mapping[str, int] = field(hash=False)
    valid_days: int | None
    banned_purposes: frozenset[str]  # a contract in `lifted_by` lifts the ban
    not_callable_types: frozenset[str]
    not_callable_prefixes: tuple[str, ...]  # digits in E.164, without the plus
    uncertain: tuple[str, ...]  # open doubts, and how they were settled
    require_named: tuple[str, ...] = ()  # consents whose scoped lists meet `require` for their campaign
    # By type of number: consents, of which a scoped list must hold a number of that type.
    require_named_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    banned_despite_contract: frozenset[str] = frozenset()
    # By register: days after which a consent ends by law.
    consent_days: Mapping[str, int] = field(default_factory=dict, hash=False)
    # Registers whose consents count only with the day on which they were given.
    dated_consents: tuple[str, ...] = ()
    # What a consent must prove besides what every proof states (`PROOFS`).
    consent_proof: tuple[str, ...] = ()
    wash: tuple[str, ...] = ()  # each of these lists of clean answers must hold the number
    wash_named: tuple[str, ...] = ()  # as `wash`, and only the answers to the campaign's own questions count
    wash_despite_consent: tuple[str, ...] = ()  # those of `wash` that only an exempt purpose lifts
    channels: tuple[str, ...] = (VOICE,)
    banned_without_consent: frozenset[str] = frozenset()  # a scoped list of `named_consents` lifts the ban
    exempt: tuple[Exemption, ...] = ()
    # Consents to an artificial voice, of which a scoped list must hold the number. Without any, such calls are blocked.
    artificial_voice: tuple[str, ...] = ()
    # Numbers that another person has now: no consent to or relation with the person before counts.
    reassigned: tuple[str, ...] = ()
    attempts: Attempts | None = None  # None: the rule does not limit them
    hours: Hours | None = None  # when calls may be made; None for any time
    # The words that prospects may use; empty unless the rule names a purpose, or a register of consents.
    purposes: Vocabulary = field(default_factory=dict, hash=False, repr=False)
    table: int = field(default=0, compare=False)  # the index of its table in the file
    text: bytes = field(default=b"", repr=False)  # the whole rule in its canonical form (`text_of`)
    digest: str = ""  # its name on a stamp

    def meanings(self, word: str) -> frozenset[str]:
        """The purposes that a prospect's word may mean to this rule; empty if the word is unknown."""
        compared = plain(word)
        own = {name for name in self.named_purposes if plain(name) == compared}
        return frozenset(own.union(self.purposes.get(compared, ())))

    def purpose(self, word: str) -> str:
        """The purpose that a word means, as registers of consents name it; the plain word itself if it is unknown, or
        if it may mean several."""
        return purpose_of(word, self.purposes)

    @property
    def banned(self) -> frozenset[str]:
        """Every banned purpose, including those whose ban something lifts."""
        return self.banned_purposes | self.banned_despite_contract | self.banned_without_consent

    @property
    def exempt_purposes(self) -> frozenset[str]:
        """Every purpose that is exempt whatever else the prospect states."""
        by_purpose = (name for each in self.exempt if each.is_of_purposes for name in each.purposes)
        return frozenset((*self.lifted_by, *by_purpose)) - {CONTRACT}

    @property
    def named_purposes(self) -> frozenset[str]:
        """Every purpose that the rule names."""
        exempt = (name for each in self.exempt for name in (*each.purposes, *each.other_than))
        return (self.banned | {*self.lifted_by} | {*exempt}) - {CONTRACT}

    @property
    def requires(self) -> bool:
        """Whether some register must hold the number, whatever its type."""
        return bool(self.require or self.require_named)

    @property
    def scoped(self) -> tuple[str, ...]:
        """The registers of which only scoped lists count, each for its own campaign."""
        return tuple(dict.fromkeys((*self.consents, *self.wash_named)))

    @property
    def consents(self) -> tuple[str, ...]:
        """The registers of consents to one caller."""
        for_types = (name for names in self.require_named_for.values() for name in names)
        to_hours = () if self.hours is None else self.hours.lifted_by
        register_names = (
            *self.named_consents,
            *self.require_named,
            *for_types,
            *self.artificial_voice,
            *to_hours,
        )
        return tuple(dict.fromkeys(register_names))

    @property
    def registers(self) -> frozenset[str]:
        """Every register that must be on the log for this rule.

        `internal` may be absent. Of those in `needed` a list for some campaign is enough. The others of `scoped` may be
        absent: without them, nothing is lifted.
        """
        return frozenset((*self.deny, *self.require, *self.wash, *self.needed))

    @property
    def asked(self) -> frozenset[str]:
        """Every register that a verdict by this rule may rest on, apart from the oppositions to the operator."""
        return self.registers.union(self.scoped, self.reassigned)

    @property
    def needed(self) -> tuple[str, ...]:
        """The registers without which no call is allowed: `wash_named`, and `require_named` if nothing else meets the
        rule. Empty for channels other than the voice, which an operator may not use at all."""
        if VOICE not in self.channels:
            return ()
        return self.wash_named if self.require else (*self.require_named, *self.wash_named)


@dataclass(frozen=True, slots=True)
class Country:
    """One rule file. For one channel there is at most one rule for each day."""

    code: str  # "FR"; "US-CT" for a state
    regions: tuple[str, ...]  # whose numbers it governs
    timezone: str  # in which its days are counted
    rules: tuple[Rule, ...]  # by date
    text: str  # the file as it was read, with Unix line ends
    where: str  # the path to show to people
    # The first digits of its numbers in E.164, without the plus; empty for all of a country.
    prefixes: tuple[str, ...] = ()
    evidence_days: int = 0  # for so long it asks to keep the evidence of a call; 0: it names no term

    @property
    def parent(self) -> str:
        """The country of a state, as in "US", whose rules hold on days without one of the state; empty for a country."""
        return parent_of(self.code)

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that some rule is for, in the order of the file."""
        return tuple(dict.fromkeys(channel for rule in self.rules for channel in rule.channels))

    @property
    def zone(self) -> tzinfo:
        """The time zone in which its days are counted."""
        return zone(self.timezone)

    def day(self, at: datetime) -> date:
        """The day of that instant there."""
        return at.astimezone(self.zone).date()

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
        rules = (self.on(day, channel) for channel in self.channels)
        return tuple(dict.fromkeys(rule for rule in rules if rule is not None))

    def after(self, day: date, channel: str = VOICE) -> Rule | None:
        """The first rule for that channel that starts after that day, if one is known."""
        return next((rule for rule in self.of(channel) if rule.start > day), None)


def parent_of(region: str) -> str:
    """The country of a state ("US" for "US-CT"); empty for any other region."""
    country, _, state = region.partition("-")
    return country if state else ""


def until(rule: Rule, day: date, last: date | None = None) -> date | None:
    """The last day on which a verdict given on `day` may be used; None for no limit. `last` is the last day of what the
    verdict rests on. Never after the rule's own last day: the next law may ask something else."""
    valid = None if rule.valid_days is None else day + timedelta(days=rule.valid_days)
    return earliest((valid, last, rule.end))


def earliest(days: Iterable[date | None]) -> date | None:
    """The first of some last days; None, for no limit, if all are None."""
    return min((day for day in days if day is not None), default=None)


def last_working_day(since: date, days: int) -> date:
    """The last of so many days from Monday to Saturday after the day `since`. Holidays count too, so it is never later
    than the law's."""
    last = since
    while days:
        last += timedelta(days=1)
        if last.weekday() != _SUNDAY:
            days -= 1
    return last


def last_day(since: date, months: int) -> date:
    """The last day of a term of so many calendar months that begins with the day `since`: the day before its
    anniversary. In a shorter month, its last day counts as the anniversary."""
    at = since.year * 12 + since.month - 1 + months
    year, month = divmod(at, 12)
    day = min(since.day, monthrange(year, month + 1)[1])
    return date(year, month + 1, day) - timedelta(days=1)


def text_of(rule: Rule, regions: Sequence[str], timezone: str, prefixes: Sequence[str] = ()) -> bytes:
    """The canonical text of a rule of that country file.

    It is a rule file with one `[[rule]]`, in a fixed order and spelling, without comments, layout and the other rules.
    So a stamp names exactly the rule that gave it. The log keeps the text, which gives the verdict again years later.
    """
    return "".join(f"{line}\n" for line in _lines(rule, regions, timezone, prefixes)).encode()


def digest_of(text: bytes) -> str:
    """The name of a text on a stamp, as in "fr@9c01f2". It is made from the bytes alone, so a later form of texts
    renames no old rule. Raises ValueError for bytes that name no country."""
    country = _COUNTRY.search(text)
    if country is None:
        raise ValueError("the text of a rule names no country")
    return f"{country[1].decode().lower()}@{hashlib.sha256(text).hexdigest()[:DIGEST_DIGITS]}"


def _lines(rule: Rule, regions: Sequence[str], timezone: str, numbers: Sequence[str]) -> Iterator[str]:
    yield f"country = {toml(rule.country)}"
    yield f"regions = {_list(regions)}"
    if numbers:
        yield f"prefixes = {_list([f'+{digits}' for digits in numbers])}"
    yield f"timezone = {toml(timezone)}"
    yield "[[rule]]"
    yield f"from = {rule.start.isoformat()}"
    if rule.end is not None:
        yield f"to = {rule.end.isoformat()}"
    yield f"source = {toml(rule.source)}"
    prefixes = (f"+{digits}" for digits in rule.not_callable_prefixes)
    keys: list[tuple[str, str]] = [
        ("deny", _list(rule.deny)),
        ("require", _list(rule.require)),
        ("require_named", _list(rule.require_named)),
        ("require_named_for", _lists(dict(sorted(rule.require_named_for.items())))),
        ("wash", _list(rule.wash)),
        ("wash_named", _list(rule.wash_named)),
        ("wash_despite_consent", _list(rule.wash_despite_consent)),
        ("lifted_by", _list(rule.lifted_by)),
        ("named_consents", _list(rule.named_consents)),
        ("max_age_days", _table(rule.max_age_days)),
        ("consent_days", _table(rule.consent_days)),
        ("dated_consents", _list(rule.dated_consents)),
        ("consent_proof", _list(rule.consent_proof)),
        ("areas", _table(rule.areas)),
        ("valid_days", "" if rule.valid_days is None else str(rule.valid_days)),
        ("banned_purposes", _list(sorted(rule.banned_purposes))),
        ("banned_despite_contract", _list(sorted(rule.banned_despite_contract))),
        ("banned_without_consent", _list(sorted(rule.banned_without_consent))),
        ("exempt", f"[{', '.join(each.text for each in rule.exempt)}]" if rule.exempt else ""),
        ("artificial_voice", _list(rule.artificial_voice)),
        ("reassigned", _list(rule.reassigned)),
        ("attempts", "" if rule.attempts is None else _table(asdict(rule.attempts))),
        ("hours", "" if rule.hours is None else rule.hours.text),
        ("not_callable", _list((*sorted(rule.not_callable_types), *prefixes))),
        ("channels", "" if rule.channels == (VOICE,) else _list(rule.channels)),
        ("uncertain", _list(rule.uncertain)),
        ("purposes", _words(tuple(rule.purposes.items()))),
        ("reading", str(READING)),
    ]
    for key, value in keys:
        if value:
            yield f"{key} = {value}"


def toml(value: object) -> str:
    """A text, list, number or truth value in TOML: as in JSON, but U+007F must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(toml, texts))}]" if texts else ""


def _lists(by_name: Mapping[str, Sequence[str]]) -> str:
    inner = ", ".join(f"{name} = [{', '.join(map(toml, texts))}]" for name, texts in by_name.items())
    return f"{{ {inner} }}" if inner else ""


@lru_cache(_VOCABULARIES_KEPT)
def _words(known: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    return _lists(purposes_in(dict(known)))


def _table(days: Mapping[str, int]) -> str:
    inner = ", ".join(f"{name} = {toml(value)}" for name, value in sorted(days.items()) if value)
    return f"{{ {inner} }}" if inner else ""
