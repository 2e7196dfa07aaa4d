"""What the rules ask of the lists of one register (`RegisterLaw`). Every import, drop folder, page, list file and renewal
reads it here. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from stream_scrub.call import VOICE
from stream_scrub.imports.areas import AreaShape
from stream_scrub.imports.consents import ConsentDays, ConsentLaw
from stream_scrub.model import OWN, RegisterKind, family
from stream_scrub.numbering import calling_code
from stream_scrub.rules import Country, Rulebook

_UNLIMITED_DAYS = 36_500


class RegisterLaw(NamedTuple):
    """What the rules ask of one register. Without any rule: nothing, and its consents are to calls."""

    kind: RegisterKind | None = None  # None if no rule names it, or if rules disagree
    holds_answers: bool = False  # clean answers, by which rules wash
    must_be_dated: bool = False  # it may grow too old, so a full list must say its day
    areas: AreaShape | None = None  # how its areas are named, if it is sold by area
    # By calling code: how many days consents, or clean answers, are good by the rules of today.
    good_days: ConsentDays = ()
    # Likewise, of consents that count only with the day on which they were given.
    dated_consents: ConsentDays = ()
    channels: frozenset[str] = frozenset({VOICE})  # that its consents are for
    codes: tuple[str, ...] = ()  # calling codes of the countries whose rules use it; empty: any
    country: str = ""  # the only country whose rules use it, with its states; empty: none or several

    @classmethod
    def of(cls, book: Rulebook, register: str, now: datetime) -> "RegisterLaw":
        """What the book's rules ask of a register, with or without its scope. The terms are those of the rules in force at
        `now`; everything else is that of the rules of any day."""
        name = family(register)
        codes: set[str] = set()
        countries: set[str] = set()
        areas = None
        for country in book.countries.values():
            for rule in country.rules:
                if name in rule.registers:
                    codes |= _codes_of(country)
                if name in rule.asked:
                    countries.add(country.parent or country.code)
                if name in rule.areas and areas is None:
                    areas = AreaShape(rule.areas[name], calling_code(country.regions[0]))
        return cls(
            kind=OWN.get(name, book.kinds.get(name)),
            holds_answers=name in book.washes,
            must_be_dated=name in book.aging,
            areas=areas,
            good_days=_good_days(book, name, now),
            dated_consents=_dated_consents(book, name, now),
            channels=ConsentLaw(book).channels_of(name) or frozenset({VOICE}),
            codes=() if name in OWN else tuple(sorted(codes)),
            country=countries.pop() if len(countries) == 1 and name not in OWN else "",
        )


NO_LAW = RegisterLaw()


def that_end(book: Rulebook, registers: Iterable[str], now: datetime) -> set[str]:
    """Those of the registers whose consents or clean answers end by the rules in force at `now`."""
    registers = list(registers)
    laws = {name: RegisterLaw.of(book, name, now) for name in {family(each) for each in registers}}
    ending = {name for name, law in laws.items() if law.good_days or law.dated_consents}
    return {each for each in registers if family(each) in ending}


def _good_days(book: Rulebook, name: str, now: datetime) -> ConsentDays:
    """The terms of consents; of a register without any, those of clean answers. An answer does not become younger with its
    register, to which newer ones are added."""
    terms: dict[str, int] = {}
    answers: dict[str, int] = {}
    for country in book.countries.values():
        rule = book.rule(country.regions[0], now)
        if rule is None:
            continue
        # Rows of dated consents must say their own day: a list's day says nothing about them.
        if name in rule.consent_days and name not in rule.dated_consents:
            _note(terms, country, rule.consent_days[name])
        if name in (*rule.wash, *rule.wash_named) and name in rule.max_age_days:
            _note(answers, country, rule.max_age_days[name])
    return tuple(sorted((terms or answers).items()))


def _dated_consents(book: Rulebook, name: str, now: datetime) -> ConsentDays:
    terms: dict[str, int] = {}
    for country in book.countries.values():
        rule = book.rule(country.regions[0], now)
        if rule is not None and name in rule.dated_consents:
            _note(terms, country, rule.consent_days.get(name, _UNLIMITED_DAYS))
    return tuple(sorted(terms.items()))


def _note(terms: dict[str, int], country: Country, days: int) -> None:
    """Where countries share a calling code, the fewest days hold for all its numbers."""
    for code in _codes_of(country):
        terms[code] = min(terms.get(code, days), days)


def _codes_of(country: Country) -> set[str]:
    return {calling_code(region) for region in country.regions}
