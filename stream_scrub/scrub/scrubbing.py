"""From settings to what verdicts depend on: rules, terms and the Scrubber."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from stream_scrub import rules
from stream_scrub.call import Call
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.index import HashKeys
from stream_scrub.model import HASHED, OWN, Logger, family
from stream_scrub.numbering import calling_code
from stream_scrub.rules import Country, Rulebook
from stream_scrub.rules.purposes import Vocabulary, shipped
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.facts import purposes_of
from stream_scrub.texts import plain

_UNLIMITED_DAYS = 36_500


def rulebook(settings: Settings) -> Rulebook:
    """The shipped rules and the user's own. Raises ConfigError."""
    own = Path(settings.rules.folder) if settings.rules.folder else None
    return Rulebook.load(own, always_query=settings.rules.reassigned_query == "always")


def warnings(settings: Settings, book: Rulebook) -> Iterator[tuple[str, str]]:
    """A log event and a sentence for each fact that prospects need and the settings have no default for."""
    countries, now, prospect = book.countries.values(), datetime.now(UTC), settings.prospect
    if sentence := rules.missing_purpose(countries, prospect.default_purpose, now):
        yield "prospects without a purpose will be blocked", sentence
    if not prospect.default_campaign and (sentence := rules.missing_campaign(countries, now)):
        yield "prospects without a campaign will be blocked", sentence


def warn(settings: Settings, book: Rulebook, log: Logger) -> None:
    """Log the warnings, at a start."""
    for event, sentence in warnings(settings, book):
        log.warning(event, reason=sentence)


def terms(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Terms:
    """What verdicts and stamps depend on, as configured. `header` and `hold` override the settings, for commands that
    only show verdicts."""
    prospect = settings.prospect
    in_header = prospect.stamp == "header" if header is None else header
    return Terms(
        members=Members.of(prospect.numbers, prospect.region, prospect.facts, prospect.case),
        default_region=prospect.default_region,
        default_purpose=prospect.default_purpose,
        default_campaign=prospect.default_campaign,
        contract_shapes=prospect.contract_shapes,
        professionals=prospect.professionals,
        mixed=prospect.mixed,
        stamp="header" if in_header else "value",
        hash_keys=HashKeys(settings.lists.hash_keys),
        stale=settings.rules.stale if hold else "block",
        stale_by_register=settings.rules.stale_by_register if hold else {},
    )


def scrubber(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Scrubber:
    """The Scrubber as configured; `header` and `hold` as for `terms`."""
    return Scrubber(terms(settings, header=header, hold=hold), rulebook(settings))


def calling_codes(book: Rulebook, register: str) -> tuple[str, ...]:
    """The calling codes of the countries whose rules, of any date, use that register."""
    return tuple(
        sorted(
            {
                calling_code(region)
                for country in book.countries.values()
                if any(register in rule.registers for rule in country.rules)
                for region in country.regions
            }
        )
    )


def vocabulary(book: Rulebook) -> Vocabulary:
    """The words for purposes that the rules know."""
    found = [rule.purposes for country in book.countries.values() for rule in country.rules if rule.purposes]
    return found[0] if found else shipped()


def need_known_purposes(call: Call, book: Rulebook) -> None:
    """Raises ConfigError for a purpose of the call that no rule knows: it would lift nothing, and block where the law asks
    for one."""
    known = {*vocabulary(book)}
    for country in book.countries.values():
        for rule in country.rules:
            known |= {*rule.named_purposes}
    for word in purposes_of(call.members().get("purpose")):
        if plain(word) not in known:
            near = get_close_matches(plain(word), known, n=3)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ConfigError(
                [f"--purpose: {word!r} is not a known purpose{hint}: `stream-scrub purposes` lists them all"]
            )


def known_registers(book: Rulebook, settings: Settings) -> frozenset[str]:
    """The registers, without scopes, that some rule of any day asks, or that the settings name."""
    return book.asked | {family(each) for each in (*OWN, HASHED, *settings.lists.registers)}


def unasked(book: Rulebook, register: str, at: datetime) -> str:
    """Why a list in that register changes no verdict: no rule in force at that moment asks the register. Empty if one
    does, and for the operator's own registers. `at`: now, or the moment whose rules decide."""
    name = family(register)
    if name in (*OWN, HASHED) or any(name in rule.asked for rule, _ in book.in_force(at)):
        return ""
    return (
        f"no rule of {'today' if name in book.asked else 'any day'} uses {name}: this list changes no verdict"
    )


def good_days(book: Rulebook, register: str) -> tuple[tuple[str, int], ...]:
    """How long consents or clean answers in that register are good by the rules of today: as `consent_days`. An answer
    does not become younger with its register, to which newer ones are added."""
    now, name = datetime.now(UTC), family(register)
    answers = {
        calling_code(rule_country.regions[0]): rule.max_age_days[name]
        for rule_country in book.countries.values()
        if (rule := book.rule(rule_country.regions[0], now)) is not None
        and name in (*rule.wash, *rule.wash_named)
        and name in rule.max_age_days
    }
    return consent_days(book, name) or tuple(sorted(answers.items()))


def consent_days(book: Rulebook, register: str) -> tuple[tuple[str, int], ...]:
    """How long consents of that register last by the rules of today: days by calling code. Where countries share a
    code, the fewest days hold for all its numbers."""
    now, name = datetime.now(UTC), family(register)
    by_code: dict[str, int] = {}
    for country in book.countries.values():
        rule = book.rule(country.regions[0], now)
        # Rows of dated consents must say their own day: a list's day says nothing about them.
        if rule is not None and name in rule.consent_days and name not in rule.dated_consents:
            days = rule.consent_days[name]
            for code in _codes_of(country):
                by_code[code] = min(by_code.get(code, days), days)
    return tuple(sorted(by_code.items()))


def dated_consents(book: Rulebook, register: str) -> tuple[tuple[str, int], ...]:
    """How long consents in that register last that count only with the day on which they were given, by the rules of
    today: as `consent_days`. Where countries share a code, all its numbers."""
    now, name = datetime.now(UTC), family(register)
    by_code: dict[str, int] = {}
    for country in book.countries.values():
        rule = book.rule(country.regions[0], now)
        if rule is not None and name in rule.dated_consents:
            days = rule.consent_days.get(name, _UNLIMITED_DAYS)
            for code in _codes_of(country):
                by_code[code] = min(by_code.get(code, days), days)
    return tuple(sorted(by_code.items()))


def _codes_of(country: Country) -> set[str]:
    return {calling_code(region) for region in country.regions}


def consents_that_end(book: Rulebook, registers: Iterable[str]) -> set[str]:
    """Those of the registers whose consents or clean answers end by the rules of today."""
    limited = {
        name
        for country in book.countries.values()
        for rule in country.rules
        for name in (*rule.consent_days, *rule.dated_consents, *rule.wash, *rule.wash_named)
    }
    limited = {name for name in limited if good_days(book, name) or dated_consents(book, name)}
    return {name for name in registers if family(name) in limited}
