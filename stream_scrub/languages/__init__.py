"""The languages of the report, the dossier and the pages. A translator changes `<language>.po` here; `make tables` compiles it to
the `.mo` next to it and adds new texts (`tools/catalogues.py`)."""

import gettext
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from stream_scrub.clock import local_minutes
from stream_scrub.errors import ConfigError
from stream_scrub.terminal import pages

ENGLISH = "en"
_BEGINS_WITH_FILE = re.compile(r"[^:,]+\.\w{1,8}[:,]")  # as in "leads.csv: it holds no rows"
_REFUSED = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*$")  # of a language in the header Accept-Language


class Language(NamedTuple):
    """A language's own name, and how it writes numbers and the first day of a month."""

    name: str
    thousands: str
    decimal: str
    first: str = "1"


LANGUAGES = {
    ENGLISH: Language("English", ",", "."),
    "fr": Language("Français", "\u202f", ",", "1er"),
    "de": Language("Deutsch", ".", ","),
    "it": Language("Italiano", ".", ",", "1º"),
    "es": Language("Español", ".", ","),
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAY = "%(weekday)s, %(day)s %(month)s %(year)d"
DATE = "%(day)s %(month)s %(year)d"


def need_language(code: str) -> None:
    """Raises ConfigError for a language without a catalogue."""
    if code not in LANGUAGES:
        raise ConfigError([f"--language: {code!r} is none of {', '.join(LANGUAGES)}"])


def preferred(accepted: str) -> str:
    """The first language in the header Accept-Language that we have and that is not refused (`q=0`); else English. Browsers
    name the preferred one first."""
    for each in accepted.split(","):
        code = each.strip()[:2].lower()
        if code in LANGUAGES and not _REFUSED.search(each):
            return code
    return ENGLISH


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The texts of a language. English needs none: its texts are the keys."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    with files(__package__).joinpath(f"{language}.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def pages_in(language: str, *folders: Path) -> Any:
    """The page templates in these folders (a jinja2.Environment), whose texts are said in a language."""
    environment: Any = pages(*folders, extensions=["jinja2.ext.i18n"])
    environment.policies["ext.i18n.trimmed"] = True
    environment.filters["sentence"] = sentence
    environment.install_gettext_translations(catalogue(language), newstyle=True)
    return environment


def sentence(text: str) -> str:
    """A reason as a sentence: a capital, except for the name of a file, and a full stop."""
    return f"{text}." if _BEGINS_WITH_FILE.match(text) else f"{text[:1].upper()}{text[1:]}."


def count(number: int, language: str) -> str:
    """A whole number with the language's separator."""
    return f"{number:,}".replace(",", LANGUAGES[language].thousands)


def percent(share: float, language: str) -> str:
    """A share in percent, with one decimal."""
    return f"{share * 100:.1f} %".replace(".", LANGUAGES[language].decimal)


def day(on: date, language: str) -> str:
    """A day as people write it, with its name: numbers alone are read in two ways."""
    weekday = catalogue(language).gettext(WEEKDAYS[on.weekday()])
    return _written(DAY, on, language, weekday)


def _written(pattern: str, on: date, language: str, weekday: str = "") -> str:
    text = catalogue(language).gettext
    number = LANGUAGES[language].first if on.day == 1 else str(on.day)
    month = text(MONTHS[on.month - 1])
    return text(pattern) % {"weekday": weekday, "day": number, "month": month, "year": on.year}


class Audience(NamedTuple):
    """Who reads the sentences that `say` makes: the language, the clock of the moments in them, and whether the reader is
    on a page of the server or in a terminal."""

    language: str
    zone: tzinfo
    on_page: bool = False


_OPERATOR = Audience(ENGLISH, UTC)
_AUDIENCE = ContextVar("audience", default=_OPERATOR)


@contextmanager
def read_in(language: str, zone: tzinfo, *, on_page: bool = False) -> Iterator[None]:
    """Say everything in a language and by one clock, up to the end of the block. `on_page`: to a reader of a page."""
    before = _AUDIENCE.set(Audience(language, zone, on_page))
    try:
        yield
    finally:
        _AUDIENCE.reset(before)


def by_door(command: str, page: str) -> str:
    """The text for the interface that the reader uses: it names the options of the command, or the fields of the page."""
    return page if _AUDIENCE.get().on_page else command


def translatable(text: str) -> str:
    """Mark a text for the catalogues, for `say` to say later."""
    return text


def translated(text: str) -> str:
    """A text of the catalogues in the reader's language, any other one as it is: `text` is no pattern."""
    return catalogue(_AUDIENCE.get().language).gettext(text)


def day_in_words(on: date) -> str:
    """A day as the reader writes it: 12 November 2026."""
    return _written(DATE, on, _AUDIENCE.get().language)


def say(text: str, **values: str | int | date) -> str:
    """A text in the reader's language, with its values: numbers, days and moments as people there write them."""
    audience = _AUDIENCE.get()
    return catalogue(audience.language).gettext(text) % {
        name: value if isinstance(value, str) else _in_words(value, audience)
        for name, value in values.items()
    }


def _in_words(value: int | date, audience: Audience) -> str:
    if isinstance(value, int):
        return count(value, audience.language)
    if not isinstance(value, datetime):
        return _written(DATE, value, audience.language)
    there = local(value)
    return f"{_written(DATE, there, audience.language)}, {there:%H:%M} {offset(there)}"


def local(moment: datetime) -> datetime:
    """A moment by the reader's clock; as it is if that would be after the year 9999, or before the first."""
    try:
        return moment.astimezone(_AUDIENCE.get().zone)
    except OverflowError:
        return moment


def offset(moment: datetime) -> str:
    """A moment's distance from UTC, as +01:00; in UTC itself UTC."""
    return "UTC" if moment.tzinfo is UTC else local_minutes(moment)[-6:]
