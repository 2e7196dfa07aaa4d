"""What `rules check` and `rules show` have to say: a rule and its days, and everything that deserves a look.

Pure: rules, an index and a moment in, typed values out.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from difflib import get_close_matches
from itertools import cycle, islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from stream_scrub.index import Index, Register
from stream_scrub.model import CONSENT, FOR, INTERNAL, RegisterKind, RegisterName, family
from stream_scrub.numbering import REGIONS, line_of
from stream_scrub.rules import VOICE, Country, Rule, doubts, in_words, purposes_of, unnamed, unsaid
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.timestamps import utc_seconds

_NO_COUNTRY = "001"  # how numbering plans call the calling codes of no region
_FILLS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "123456789", "21436587")
_SCOPES_SHOWN = 5
_LENGTHS = range(7, 16)  # digits of an E.164 number that somebody could be called at


class RegisterUse(msgspec.Struct, frozen=True, kw_only=True):
    """A register that a rule names, in which role, and the greatest age in days that its list may have."""

    register: str
    role: str
    max_age_days: int | None


class RuleInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in words and in figures. `start` and `end` are its first and its last day; `text` has its digest."""

    rules: str
    start: str = msgspec.field(name="from")
    end: str | None = msgspec.field(name="to")
    source: str
    says: list[str]
    registers: list[RegisterUse]
    valid_days: int | None
    uncertain: list[str]
    text: str


class NextRule(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that comes after, and its first day."""

    start: str = msgspec.field(name="from")
    rules: str
    source: str


class CountryDay(msgspec.Struct, frozen=True, kw_only=True):
    """One country on one day: its rule for some channels (None: nobody there is reached by them), and what changes
    next."""

    country: str
    channels: list[str]
    on: str
    where: str
    regions: list[str]
    timezone: str
    rule: RuleInForce | None
    next: NextRule | None


class CheckedCountry(CountryDay, frozen=True, kw_only=True):
    """The same, and whether its file is one of the user's own folder."""

    from_folder: bool


class RulesCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Every country's rule of today, and what is doubtful or wrong. `position` is None when the log was not asked."""

    countries: list[CheckedCountry]
    position: int | None
    warnings: list[str]
    errors: list[str]


def of_day(country: Country, day: date, channel: str = VOICE) -> CountryDay:
    """One country on one day: its rule for a channel in words and in figures, and what changes next."""
    rule, following = country.on(day, channel), country.after(day, channel)
    told = rule or following
    return CountryDay(
        country=country.code,
        channels=[channel] if told is None else list(told.channels),
        on=day.isoformat(),
        where=country.where,
        regions=list(country.regions),
        timezone=country.timezone,
        rule=None if rule is None else _rule(rule),
        next=None
        if following is None
        else NextRule(start=following.start.isoformat(), rules=following.digest, source=following.source),
    )


def checked(country: Country, now: datetime, *, from_folder: bool) -> list[CheckedCountry]:
    """One country today, once for each group of channels."""
    day = today(country, now)
    of_channels = {tuple(each.channels): each for each in (of_day(country, day, c) for c in country.channels)}
    return [
        CheckedCountry(**msgspec.structs.asdict(each), from_folder=from_folder)
        for each in of_channels.values()
    ]


def _rule(rule: Rule) -> RuleInForce:
    roles = (
        ("deny", rule.deny),
        ("require", rule.require),
        ("require named", rule.require_named),
        *((f"require named for {kind}", names) for kind, names in sorted(rule.require_named_for.items())),
        ("named consent", rule.named_consents),
        ("artificial voice", rule.artificial_voice),
    )
    return RuleInForce(
        rules=rule.digest,
        start=rule.start.isoformat(),
        end=None if rule.end is None else rule.end.isoformat(),
        source=rule.source,
        says=in_words(rule),
        registers=[
            RegisterUse(register=name, role=role, max_age_days=rule.max_age_days.get(name))
            for role, names in roles
            for name in names
        ],
        valid_days=rule.valid_days,
        uncertain=list(rule.uncertain),
        text=rule.text.decode(),
    )


def today(country: Country, now: datetime) -> date:
    """The day in the country's zone."""
    return now.astimezone(ZoneInfo(country.timezone)).date()


def warnings(
    countries: Iterable[Country],
    shipped: Iterable[Country],
    now: datetime,
    known: Vocabulary | None = None,
    default_purpose: str | None = None,
    default_campaign: str | None = None,
) -> list[str]:
    """The warnings that follow from the rule files alone. A purpose may be a misspelling of one in `shipped` or in
    the vocabulary `known`. `default_purpose` or `default_campaign` None: the setting is not checked."""
    countries = tuple(countries)
    purposes = frozenset[str]().union(*map(purposes_of, shipped), *(known or {}).values())
    found = []
    if default_purpose is not None and (said := unsaid(countries, default_purpose, now)):
        found.append(said)
    if default_campaign == "" and (said := unnamed(countries, now)):
        found.append(said)
    for country in countries:
        found += doubts(country, today(country, now), purposes)
        found += _unknown_regions(country)
        found += _unmet_prefixes(country)
    return found


def _unknown_regions(country: Country) -> Iterator[str]:
    for region in country.regions:
        if region not in REGIONS and region != _NO_COUNTRY:
            yield f"{country.where}: no number is ever of the region {region}: take its code from ISO 3166-1"


def _unmet_prefixes(country: Country) -> Iterator[str]:
    """Prefixes that no valid number of the country was found to begin with: they bar nobody."""
    prefixes = dict.fromkeys(prefix for rule in country.rules for prefix in rule.not_callable_prefixes)
    for prefix in prefixes:
        tried = (
            int("".join([prefix, *islice(cycle(fill), length - len(prefix))]))
            for length in _LENGTHS
            if length >= len(prefix)
            for fill in _FILLS
        )
        lines = map(line_of, tried)
        if not any(line is not None and line.region in country.regions for line in lines):
            yield (
                f"{country.where}: `not_callable`: no valid number of {', '.join(country.regions)} was found that "
                f"begins with +{prefix}: it bars nobody"
            )


class _Use(NamedTuple):
    """One rule of today or later that names a register. `scoped`: only its lists for single campaigns count. `needed`:
    those and the house's count, and some must be there."""

    country: Country
    kind: RegisterKind
    days: int | None
    scoped: bool
    needed: bool = False


def log_warnings(
    countries: Iterable[Country], index: Index, now: datetime, default_campaign: str = ""
) -> list[str]:
    """The warnings from comparing the log with the rules of today and later."""
    uses = _uses(countries, now)
    found = []
    for name in sorted(uses):
        by = _codes(use for use in uses[name] if not use.scoped)
        there = {INTERNAL, *(index.families() if all(use.needed for use in uses[name]) else index.registers)}
        if by and name not in there:
            found.append(
                f"{name} was never imported, and the rules of {by} need it: prospects there wait, or are blocked as "
                "stale-register"
            )
    for name, register in sorted(index.registers.items()):
        base, scope = RegisterName.split(name)
        found += _held(register, [use for use in uses.get(base, ()) if scope or not use.scoped], now)
    found += _unnamed(index, frozenset(uses)) + _scoped(index, uses)
    return found + ([] if default_campaign else list(_to_nobody(index, uses)))


def _uses(countries: Iterable[Country], now: datetime) -> dict[str, list[_Use]]:
    """For each register, how the rules in force today or later use it."""
    uses: dict[str, list[_Use]] = {INTERNAL: []}
    for country in countries:
        day = today(country, now)
        for rule in country.rules:
            if rule.end is not None and rule.end < day:
                continue
            roles = (
                (rule.deny, RegisterKind.DENY, False),
                (rule.require, RegisterKind.ALLOW, False),
                (rule.scoped, RegisterKind.ALLOW, True),
            )
            for names, kind, scoped in roles:
                for name in names:
                    needed = name in rule.needed
                    use = _Use(country, kind, rule.max_age_days.get(name), scoped and not needed, needed)
                    uses.setdefault(name, []).append(use)
    return uses


def _codes(uses: Iterable[_Use]) -> str:
    return ", ".join(sorted({use.country.code for use in uses}))


def _held(register: Register, uses: list[_Use], now: datetime) -> Iterator[str]:
    """Where a register differs from what the rules need."""
    if others := [use for use in uses if use.kind is not register.kind]:
        yield (
            f"{register.name} is of kind {register.kind} on the log, and the rules of {_codes(others)} need "
            f"{others[0].kind}: it counts as stale there"
        )
    if late := [use for use in uses if use.days is not None and register.older_than(use.days, now)]:
        yield (
            f"{register.name} is of {utc_seconds(register.effective_at)}, too old for the rules of {_codes(late)}: "
            "import a fresh list"
        )
    if uses and register.ends_overdue(now):
        yield f"{register.name} holds numbers that should have left it by now: nobody publishes its ends, so it is stale"


def _unnamed(index: Index, named: frozenset[str]) -> list[str]:
    """Registers that no rule looks in: a list under a wrong name blocks nobody."""
    found = []
    for name in sorted(set(map(family, index.registers)) - named):
        close = get_close_matches(name, named, n=1)
        meant = f': did you mean "{close[0]}"?' if close else ""
        found.append(f"{name} is on the log and no rule of today or after names it: it blocks nobody{meant}")
    return found


def _scoped(index: Index, uses: dict[str, list[_Use]]) -> list[str]:
    """Registers with lists for single campaigns. Such a list does not count for other campaigns."""
    scopes: dict[str, list[str]] = {}
    for name in sorted(index.registers):
        base, scope = RegisterName.split(name)
        if scope and scope[0] != FOR and base in uses:
            scopes.setdefault(base, []).append(scope)
    found = []
    for base, names in scopes.items():
        shown = ", ".join(names[:_SCOPES_SHOWN])
        more = f" and {len(names) - _SCOPES_SHOWN} more" if len(names) > _SCOPES_SHOWN else ""
        found.append(
            f"{base} has lists for single campaigns ({shown}{more}): each counts for that campaign alone"
        )
    return found + (_for_everybody(index, uses.get(CONSENT, [])) if scopes else [])


def _to_nobody(index: Index, uses: dict[str, list[_Use]]) -> Iterator[str]:
    """Consents that name no campaign, where there is no house whose they are."""
    for name in sorted(uses):
        held, asked = index.registers.get(name), _codes(use for use in uses[name] if use.needed)
        if asked and held is not None and held.numbers:
            yield (
                f"{name} holds {len(held.numbers):,} numbers that name no campaign, and by the law of {asked} they let "
                "nobody call: if they consented to you, set prospect.default_campaign; if to a client of yours, keep "
                f"them in {name}@campaign"
            )


def _for_everybody(index: Index, uses: list[_Use]) -> list[str]:
    """Consents that let every campaign call, where there are several."""
    held, asked = (
        index.registers.get(CONSENT),
        _codes(use for use in uses if not use.scoped and not use.needed),
    )
    if held is None or not held.numbers or not asked:
        return []
    says = f"{CONSENT} holds {len(held.numbers):,} numbers that every campaign may call for every purpose"
    keep = f"keep them in {CONSENT}@campaign, or {CONSENT}@campaign+purpose"
    return [f"{says}, and the law of {asked} asks for a consent to each: {keep}"]
