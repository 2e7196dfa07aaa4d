"""`rules check` and `rules show`: a rule in words and figures, and the warnings. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from itertools import cycle, islice
from typing import NamedTuple

import msgspec

from stream_scrub.call import VOICE
from stream_scrub.clock import utc_seconds
from stream_scrub.errors import ConfigError
from stream_scrub.index import Index, Register
from stream_scrub.model import CONSENT, HASHED, INTERNAL, RESTED, RegisterKind, RegisterName, family
from stream_scrub.numbering import REGIONS, line_of
from stream_scrub.rules import (
    Country,
    Rule,
    doubts,
    in_words,
    missing_campaign,
    missing_purpose,
    purposes_of,
    read_text,
)
from stream_scrub.rules.country import toml
from stream_scrub.rules.purposes import Vocabulary

_NO_COUNTRY = "001"  # the region of calling codes without a country
_FILLS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "123456789", "21436587")
_PUBLISH = "`rules publish`, or the next import, puts the rules in use there"
_LENGTHS = range(7, 16)  # digits of an E.164 number


class RegisterUse(msgspec.Struct, frozen=True, kw_only=True):
    """A register that a rule names, its role, and the allowed age of its list."""

    register: str
    role: str
    max_age_days: int | None


class RuleInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in words and figures. `start` and `end`: its first and last day. `rules`: the digest of `text`."""

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
    """The next rule and its first day."""

    start: str = msgspec.field(name="from")
    rules: str
    source: str


class CountryDay(msgspec.Struct, frozen=True, kw_only=True):
    """One country or state on one day: its rule for some channels, and the next rule. Without a rule, everything is
    blocked; in a state, its country's rule holds."""

    country: str
    channels: list[str]
    on: str
    where: str
    regions: list[str]
    prefixes: list[str]  # how its numbers begin; empty for all of a country
    timezone: str
    rule: RuleInForce | None
    next: NextRule | None


class CheckedCountry(CountryDay, frozen=True, kw_only=True):
    """A country today, and whether its file is in the user's folder."""

    from_folder: bool


class RulesCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Every country's rule today, the edition of the shipped rules, and the warnings and errors. `position` is None if the
    log was not read."""

    countries: list[CheckedCountry]
    edition: str  # of the shipped rules: the day of their last change, and their folder
    position: int | None
    warnings: list[str]
    errors: list[str]


def of_day(country: Country, day: date, channel: str = VOICE) -> CountryDay:
    """Return one country's rule for a channel on a day, and the next rule."""
    rule, following = country.on(day, channel), country.after(day, channel)
    rule_shown = rule or following
    return CountryDay(
        country=country.code,
        channels=[channel] if rule_shown is None else list(rule_shown.channels),
        on=day.isoformat(),
        where=country.where,
        regions=list(country.regions),
        prefixes=[f"+{prefix}" for prefix in country.prefixes],
        timezone=country.timezone,
        rule=None if rule is None else _rule(rule),
        next=None
        if following is None
        else NextRule(start=following.start.isoformat(), rules=following.digest, source=following.source),
    )


def checked(country: Country, now: datetime, *, from_folder: bool) -> list[CheckedCountry]:
    """Return one country today, once per group of channels."""
    day = country.day(now)
    of_channels = {tuple(each.channels): each for each in (of_day(country, day, c) for c in country.channels)}
    return [
        CheckedCountry(**msgspec.structs.asdict(of_channel), from_folder=from_folder)
        for of_channel in of_channels.values()
    ]


def _rule(rule: Rule) -> RuleInForce:
    roles = (
        ("deny", rule.deny),
        ("require", rule.require),
        ("require named", rule.require_named),
        *((f"require named for {kind}", names) for kind, names in sorted(rule.require_named_for.items())),
        ("wash", rule.wash),
        ("wash named", rule.wash_named),
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


def warnings(
    countries: Iterable[Country],
    shipped: Iterable[Country],
    now: datetime,
    known: Vocabulary | None = None,
    default_purpose: str | None = None,
    default_campaign: str | None = None,
) -> list[str]:
    """Return the warnings about the rule files. A purpose is compared with those in `shipped` and `known` for
    misspellings. `default_purpose` or `default_campaign` None: the setting is not checked."""
    countries, shipped = tuple(countries), tuple(shipped)
    of_code = {country.code: country for country in shipped}
    purposes = frozenset[str]().union(*map(purposes_of, shipped), *(known or {}).values())
    result = []
    if default_purpose is not None and (warning := missing_purpose(countries, default_purpose, now)):
        result.append(warning)
    if default_campaign == "" and (warning := missing_campaign(countries, now)):
        result.append(warning)
    for country in countries:
        result += doubts(country, country.day(now), purposes)
        result += [
            f"{country.where}: no number has the region {region}: use an ISO 3166-1 code"
            for region in country.regions
            if (country.parent or region) not in REGIONS and region != _NO_COUNTRY
        ]
        result += _unmet_prefixes(country)
        theirs = of_code.get(country.code) or of_code.get(country.parent, country)
        if theirs.text != country.text:
            result += _behind(country, theirs, country.day(now))
        if theirs.code == country.code and theirs.prefixes and not country.prefixes:
            result.append(
                f"{country.where}: the shipped file lists how its numbers begin, and holds all others: take `prefixes` over"
            )
    return result


def _behind(country: Country, shipped: Country, day: date) -> Iterator[str]:
    """Yield a warning for each shipped rule of today or later that asks what the user's own rule of that day does not."""
    for rule in shipped.rules:
        first = max(day, rule.start)
        ours = country.on(first, rule.channels[0])
        if ours is None or (rule.end is not None and rule.end < day):
            continue
        lacking = (*_lacking(ours, rule), *_lacking_when(ours, rule, first))
        points = [f"{key} {', '.join(names)}" for key, names in lacking if names]
        if points:
            yield (
                f"{country.where}: on {first} the shipped rule {rule.digest} ({rule.source}) asks more: "
                f"{'; '.join(points)}: take it over, unless you know better"
            )


def _lacking(ours: Rule, theirs: Rule) -> Iterator[tuple[str, list[str]]]:
    """Yield each key of a rule with what theirs has there and ours lacks."""
    register_names = {*ours.deny, *ours.require, *ours.require_named, *ours.wash, *ours.wash_named}
    for key in ("deny", "require", "require_named", "wash", "wash_named"):
        yield key, [name for name in getattr(theirs, key) if name not in register_names]
    despite_consent = {*theirs.wash_despite_consent} & register_names
    yield "wash_despite_consent", sorted(despite_consent - {*ours.wash_despite_consent})
    yield "require_named_for", sorted({*theirs.require_named_for} - {*ours.require_named_for})
    yield "banned purposes", sorted(theirs.banned - ours.banned)
    despite = theirs.banned_despite_contract & ours.banned
    yield "banned_despite_contract", sorted(despite - ours.banned_despite_contract)
    for key in ("max_age_days", "consent_days"):
        own_days: Mapping[str, int] = getattr(ours, key)
        yield (
            key,
            [
                f"{name} = {days}"
                for name, days in sorted(getattr(theirs, key).items())
                if name in register_names and own_days.get(name, days + 1) > days
            ],
        )
    yield "dated_consents", [name for name in theirs.dated_consents if name not in ours.dated_consents]
    yield "areas", sorted({*theirs.areas} & {*ours.deny} - {*ours.areas})
    yield "not_callable", sorted(theirs.not_callable_types - ours.not_callable_types)


def _lacking_when(ours: Rule, theirs: Rule, first: date) -> Iterator[tuple[str, list[str]]]:
    """As `_lacking`, of when and how often people may be called from that day on."""
    days = theirs.valid_days
    if days is not None and (ours.valid_days is None or ours.valid_days > days):
        yield "valid_days", [str(days)]
    if theirs.attempts is not None and theirs.attempts.asks_more_than(ours.attempts):
        limits = ((name, getattr(theirs.attempts, name)) for name in theirs.attempts.__slots__)
        yield "attempts", [f"{name} = {toml(limit)}" for name, limit in limits if limit]
    if theirs.hours is not None and theirs.hours.asks_more_than(ours.hours, first):
        yield "hours", [theirs.hours.in_words]


def _unmet_prefixes(country: Country) -> Iterator[str]:
    """Yield a warning for each prefix without a valid number of the country: it blocks nothing."""
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
                f"{country.where}: `not_callable`: no valid number of {', '.join(country.regions)} seems to begin "
                f"with +{prefix}: it blocks nothing"
            )


def not_on_log(countries: Iterable[Country], texts: Mapping[str, bytes | None], now: datetime) -> list[str]:
    """Return a warning for each rule of today or later that the log does not hold, with what it changes. `texts` are
    those on the log by digest, in the order of their publication."""
    if not texts:
        return [f"no rule is on the log yet: {_PUBLISH}"]
    result, without = [], []
    for country in countries:
        day = country.day(now)
        for rule in country.rules:
            if rule.digest in texts or (rule.end is not None and rule.end < day):
                continue
            former = _former(rule, max(day, rule.start), texts)
            if former is None:
                without.append(rule.digest)
            else:
                result.append(_changed(rule, former))
    if without:
        result.append(f"{', '.join(without)} are not on the log, nor any rule before them: {_PUBLISH}")
    return result


def _former(rule: Rule, day: date, texts: Mapping[str, bytes | None]) -> Rule | None:
    """Return the rule for the same channels and day that the log got last; None without one."""
    published = None
    for digest, text in texts.items():
        if text is None or not digest.upper().startswith(f"{rule.country}@"):
            continue
        try:
            read = read_text(text).on(day, rule.channels[0])
        except ConfigError:  # the text of a later release
            continue
        published = published if read is None else read
    return published


def _changed(rule: Rule, former: Rule) -> str:
    """Return what the rule says that the one on the log does not, and the other way round."""
    new, old = in_words(rule), in_words(former)
    parts = {
        "adds": [each for each in new if each not in old],
        "drops": [each for each in old if each not in new],
    }
    changes = "; ".join(f"{verb} {' '.join(sentences)}" for verb, sentences in parts.items() if sentences)
    difference = changes or "differs in its first day, source, doubts or holidays alone"
    return f"{rule.digest} is not on the log, which holds {former.digest} for that day. It {difference}: {_PUBLISH}"


class _Use(NamedTuple):
    """A rule of today or later that names a register."""

    country: Country
    kind: RegisterKind
    days: int | None
    scoped: bool  # only the lists for single campaigns count
    needed: bool = False  # those and the operator's own list count, and one of them must exist


def log_warnings(
    countries: Iterable[Country], index: Index, now: datetime, default_campaign: str = ""
) -> list[str]:
    """Return the warnings from comparing the log with the rules of today and later."""
    uses = _uses(countries, now)
    result, of_states = [], []
    for name in sorted(uses):
        by = _codes(use for use in uses[name] if not use.scoped)
        on_log = {INTERNAL, *(index.families() if all(use.needed for use in uses[name]) else index.registers)}
        if by and name not in on_log and all(use.country.parent for use in uses[name]):
            of_states.append(name)
        elif by and name not in on_log:
            result.append(
                f"{name} was never imported, and the rules of {by} need it: prospects there wait, or are blocked as "
                "stale-register"
            )
    if of_states:  # in one line: who calls no Americans needs none of them
        result.append(
            f"{', '.join(of_states)} were never imported, and the rules of these states need them: prospects there wait, "
            "or are blocked as stale-register"
        )
    for name, register in sorted(index.registers.items()):
        base, scope = RegisterName.split(name)
        result += _mismatches(register, [use for use in uses.get(base, ()) if scope or not use.scoped], now)
    result += _unused(index, frozenset(uses)) + _for_all_campaigns(index, uses.get(CONSENT, []))
    return result + ([] if default_campaign else list(_without_campaign(index, uses)))


def _uses(countries: Iterable[Country], now: datetime) -> dict[str, list[_Use]]:
    """Return for each register how the rules of today or later use it."""
    uses: dict[str, list[_Use]] = {INTERNAL: [], HASHED: []}
    for country in countries:
        day = country.day(now)
        for rule in country.rules:
            if rule.end is not None and rule.end < day:
                continue
            if rule.attempts:
                uses.setdefault(RESTED, [])
            roles = (
                (rule.deny, RegisterKind.DENY, False),
                ((*rule.require, *rule.wash), RegisterKind.ALLOW, False),
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


def _mismatches(register: Register, uses: list[_Use], now: datetime) -> Iterator[str]:
    """Yield where a register differs from what the rules need."""
    if others := [use for use in uses if use.kind is not register.kind]:
        yield (
            f"{register.name} is of kind {register.kind} on the log, and the rules of {_codes(others)} need "
            f"{others[0].kind}: it counts as stale there"
        )
    if late := [use for use in uses if use.days is not None and register.older_than(use.days, now)]:
        yield (
            f"{register.name} is from {utc_seconds(register.effective_at)}, too old for the rules of {_codes(late)}: "
            "import a fresh list"
        )
    if uses and register.ends_overdue(now):
        yield f"{register.name} still has expired numbers, so it is stale: run `lists publish`"


def _unused(index: Index, named: frozenset[str]) -> list[str]:
    """Return a warning for each register that no rule names: a list under a wrong name blocks nothing."""
    result = []
    for name in sorted({family(each.name) for each in index.present()} - named):
        close = get_close_matches(name, named, n=1)
        hint = f': did you mean "{close[0]}"?' if close else ""
        result.append(f"{name} is on the log and no rule of today or later names it: it blocks nothing{hint}")
    return result


def _without_campaign(index: Index, uses: dict[str, list[_Use]]) -> Iterator[str]:
    """Yield a warning for consents without a campaign, if the operator's own campaign is not set."""
    for name in sorted(uses):
        register, by = index.registers.get(name), _codes(use for use in uses[name] if use.needed)
        if by and register is not None and register.numbers:
            yield (
                f"{name} has {len(register.numbers):,} numbers without a campaign, and under the law of {by} they "
                "permit no call: if they consented to you, set prospect.default_campaign; if to a client of yours, "
                f"keep them in {name}@campaign"
            )


def _for_all_campaigns(index: Index, uses: list[_Use]) -> list[str]:
    """Return a warning for consents that count for every campaign, if some lists are for single ones."""
    register = index.registers.get(CONSENT)
    by = _codes(use for use in uses if not use.scoped and not use.needed)
    is_divided = any(RegisterName.split(name).campaign for name in index.registers)
    if register is None or not register.numbers or not by or not is_divided:
        return []
    fact = f"{CONSENT} has {len(register.numbers):,} numbers that every campaign may call for every purpose"
    cure = f"keep them in {CONSENT}@campaign, or {CONSENT}@campaign+purpose"
    return [f"{fact}, and the law of {by} requires a consent to each: {cure}"]
