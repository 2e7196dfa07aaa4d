"""From settings to what verdicts depend on: rules, terms and the Scrubber."""

from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches

from stream_scrub import rules
from stream_scrub.call import Call
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.index import HashKeys
from stream_scrub.languages import by_door, say, translatable
from stream_scrub.model import HASHED, OWN, Logger, family
from stream_scrub.rules import Rulebook
from stream_scrub.rules.purposes import Vocabulary, shipped
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.facts import purposes_of
from stream_scrub.texts import plain

UNKNOWN_PURPOSE = translatable("“%(word)s” is not a known purpose: choose one of the list")


def rulebook(settings: Settings) -> Rulebook:
    """The rules by which verdicts are given: those of the countries in use. Raises ConfigError."""
    return law(settings).narrowed(settings.rules.countries)


def law(settings: Settings) -> Rulebook:
    """The shipped rules and the user's own, whichever countries are in use: for lists, requests and evidence, which
    outlive that setting. Raises ConfigError."""
    return Rulebook.load(settings.rules.own_folder, always_query=settings.rules.reassigned_query == "always")


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


def vocabulary(book: Rulebook) -> Vocabulary:
    """The words for purposes that the rules know."""
    return next((rule.purposes for rule in book.rules if rule.purposes), None) or shipped()


def need_known_purposes(call: Call, book: Rulebook) -> None:
    """Raises ConfigError for a purpose of the call that no rule knows: it would lift nothing, and block where the law asks
    for one."""
    known_purposes = {*vocabulary(book)}
    for rule in book.rules:
        known_purposes |= {*rule.named_purposes}
    for word in purposes_of(call.members().get("purpose")):
        if plain(word) not in known_purposes:
            near = get_close_matches(plain(word), known_purposes, n=3)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            why = f"--purpose: {word!r} is not a known purpose{hint}: `stream-scrub purposes` lists them all"
            page = say(UNKNOWN_PURPOSE, word=word)
            raise ConfigError([by_door(why, page)])


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
