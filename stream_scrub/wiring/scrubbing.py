"""From settings to what verdicts depend on: rules, terms, the pure composition."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream_scrub import rules
from stream_scrub.config import Settings
from stream_scrub.lists.intake.list_areas import AreaShape
from stream_scrub.model import family
from stream_scrub.numbering import calling_code
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members


def rulebook(settings: Settings) -> Rulebook:
    """The shipped rules and the user's own. Raises ConfigError."""
    return Rulebook.load(Path(settings.rules.folder) if settings.rules.folder else None)


def unsaid(settings: Settings, book: Rulebook) -> str:
    """A sentence for people if some country blocks prospects that do not say what their call is for; else empty."""
    return rules.unsaid(book.countries.values(), settings.prospect.default_purpose, datetime.now(UTC))


def unnamed(settings: Settings, book: Rulebook) -> str:
    """A sentence for people if some country blocks prospects that do not say who calls; else empty."""
    own = settings.prospect.default_campaign
    return "" if own else rules.unnamed(book.countries.values(), datetime.now(UTC))


def warn(settings: Settings, book: Rulebook, log: FilteringBoundLogger) -> None:
    """At a start: which prospects come out blocked for what neither they nor the settings say."""
    if left_out := unsaid(settings, book):
        log.warning("some prospects must say what their call is for", reason=left_out)
    if left_out := unnamed(settings, book):
        log.warning("some prospects must say who calls", reason=left_out)


def terms(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Terms:
    """What verdicts and stamps depend on, as configured. `header` and `hold` override the settings, for commands that
    only show verdicts."""
    prospect = settings.prospect
    in_header = prospect.stamp == "header" if header is None else header
    return Terms(
        members=Members.of(
            prospect.numbers,
            prospect.region,
            prospect.purpose,
            prospect.contract,
            prospect.campaign,
            prospect.case,
            channel=prospect.channel,
            who=prospect.who,
            relation=prospect.relation,
            voice_kind=prospect.voice_kind,
            residence=prospect.residence,
        ),
        default_region=prospect.default_region,
        default_purpose=prospect.default_purpose,
        default_campaign=prospect.default_campaign,
        contract_shapes=prospect.contract_shapes,
        mixed=prospect.mixed,
        stamp="header" if in_header else "value",
        stale=settings.rules.stale if hold else "block",
        stale_by_register=settings.rules.stale_by_register if hold else {},
    )


def scrubber(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Scrubber:
    """The Scrubber as configured; `header` and `hold` as for `terms`."""
    return Scrubber(terms(settings, header=header, hold=hold), rulebook(settings))


def area_shape(book: Rulebook, register: str) -> AreaShape | None:
    """How the areas of a register are named, by the rules; None if none says that it is handed out by area."""
    name = family(register)
    found = None
    for country in book.countries.values():
        for rule in country.rules:
            if name in rule.areas:
                found = AreaShape(rule.areas[name], calling_code(country.regions[0]))
    return found


def consent_days(book: Rulebook, register: str) -> tuple[tuple[str, int], ...]:
    """How long consents of that register last by the rules of today: days by calling code. Where countries share a
    code, the fewest days hold for all its numbers."""
    now, name = datetime.now(UTC), family(register)
    found: dict[str, int] = {}
    for country in book.countries.values():
        rule = book.rule(country.regions[0], now)
        if rule is not None and name in rule.consent_days:
            code, days = calling_code(country.regions[0]), rule.consent_days[name]
            found[code] = min(found.get(code, days), days)
    return tuple(sorted(found.items()))


def consents_that_end(book: Rulebook, registers: Iterable[str]) -> set[str]:
    """Those of the registers whose consents end by the rules of today."""
    limited = {
        name for country in book.countries.values() for rule in country.rules for name in rule.consent_days
    }
    limited = {name for name in limited if consent_days(book, name)}
    return {name for name in registers if family(name) in limited}
