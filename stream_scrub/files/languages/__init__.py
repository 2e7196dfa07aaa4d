"""The languages of the report. A translator changes `<language>.po` here; `make tables` compiles it to the `.mo` next to
it and adds what is new in the report's text (`tools/catalogues.py`)."""

import gettext
from datetime import date
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from stream_scrub.errors import ConfigError

ENGLISH = "en"


class Language(NamedTuple):
    """A language's own name, and how it writes numbers."""

    name: str
    thousands: str
    decimal: str


LANGUAGES = {
    ENGLISH: Language("English", ",", "."),
    "fr": Language("Français", "\u202f", ","),
    "de": Language("Deutsch", ".", ","),
    "it": Language("Italiano", ".", ","),
    "es": Language("Español", ".", ","),
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAY = "%(weekday)s, %(day)d %(month)s %(year)d"


def need_language(code: str) -> None:
    """Raises ConfigError for a language without a catalogue."""
    if code not in LANGUAGES:
        raise ConfigError([f"--language: {code!r} is none of {', '.join(LANGUAGES)}"])


def preferred(accepted: str) -> str:
    """The first language in the header Accept-Language that we have; else English. Browsers name the preferred one first."""
    codes = (each.strip()[:2].lower() for each in accepted.split(","))
    return next((code for code in codes if code in LANGUAGES), ENGLISH)


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The texts of a language. English needs none: its texts are the keys."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    with files(__package__).joinpath(f"{language}.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def count(number: int, language: str) -> str:
    """A whole number with the language's separator."""
    return f"{number:,}".replace(",", LANGUAGES[language].thousands)


def percent(share: float, language: str) -> str:
    """A share in percent, with one decimal."""
    return f"{share * 100:.1f} %".replace(".", LANGUAGES[language].decimal)


def day(on: date, language: str) -> str:
    """A day as people write it, with its name: numbers alone are read in two ways."""
    text = catalogue(language).gettext
    weekday, month = text(WEEKDAYS[on.weekday()]), text(MONTHS[on.month - 1])
    return text(DAY) % {"weekday": weekday, "day": on.day, "month": month, "year": on.year}
