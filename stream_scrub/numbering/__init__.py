"""Step 3, normalise: a number is valid exactly when phonenumbers says so, at the speed of a table.

For digits in a shape whose parsing phonenumbers' metadata proves, tables made from that metadata
(`tools/numbering_tables.py`) answer validity, region and type with one look-up. phonenumbers itself answers everything
else. A text that may be two numbers is none (`two_numbers`). Tables of another version than the installed one are ignored. This room never logs or keeps a number, never guesses, never raises for a text.
"""

from stream_scrub.model import Why
from stream_scrub.numbering.arrays import DIGITS_MAX, Column, Many, Typed, validator
from stream_scrub.numbering.assumed_region import AssumedRegion
from stream_scrub.numbering.fractions import has_lost_digits, is_suspect, readings
from stream_scrub.numbering.library import TEXT_MAX, Line, calling_code, national_digits, split
from stream_scrub.numbering.regions import (
    NOWHERE,
    UNKNOWN,
    is_blank,
    region_named,
    region_of_user,
    residence_named,
)
from stream_scrub.numbering.row_cache import Learnt, LineOf, Normalise, liner, normaliser
from stream_scrub.numbering.tables import REGIONS, Tables
from stream_scrub.numbering.two_numbers import all_in, least_digits, may_be_two, pair_digits, parted

__all__ = [
    "DATA_VERSION",
    "DIGITS_MAX",
    "NOWHERE",
    "REGIONS",
    "UNKNOWN",
    "AssumedRegion",
    "Column",
    "Line",
    "calling_code",
    "e164",
    "has_lost_digits",
    "is_blank",
    "line_of",
    "lines_many",
    "may_be_several",
    "national_digits",
    "normalise",
    "numbers_in",
    "pair_digits",
    "parted_in",
    "read_column",
    "read_lines",
    "region_named",
    "region_of_user",
    "residence_named",
    "rows",
    "split",
    "tables_in_use",
    "valid_many",
    "why_invalid",
]

_TABLES = Tables.shipped()
DATA_VERSION: str = _TABLES.version  # the version of phonenumbers that the tables were made from
rows = Learnt(_TABLES)  # the rows met so far, for code that looks numbers up without `normalise`
normalise: Normalise = normaliser(rows)
line_of: LineOf = liner(_TABLES)
_MANY = Many(_TABLES)
_TYPED = Typed(_MANY, normalise)
lines_many = _TYPED.lines  # the same for whole chunks of lines and arrays of numbers: lists
valid_many = validator(_MANY, line_of)
read_column = _TYPED.read_column  # the cells of a table's column, with their lines
read_lines = _TYPED.read_lines  # the same for cells that are lines of bytes: files


def e164(number: int) -> str:
    """A number in ITU-T E.164 with a plus: 33612345678 is "+33612345678"."""
    return f"+{number}"


def numbers_in(text: str, region: str) -> tuple[tuple[int, ...], bool]:
    """The valid numbers in an invalid text, and whether they cover the whole text (`two_numbers.all_in`). For a number with
    a fraction, those of each reading."""
    texts = readings(text) if is_suspect(text) else ()
    if not texts or tuple(texts) == (text,):
        return all_in(text, region, _number_of)
    numbers = dict[int, None]()
    for each in texts:
        numbers.update(dict.fromkeys(all_in(each, region, _number_of)[0]))
    return tuple(numbers), False


def may_be_several(text: str, region: str) -> bool:
    """Whether a text may be two numbers, and so is invalid."""
    return len(text) <= TEXT_MAX and may_be_two(text, region, rows.is_number)


def parted_in(text: str, region: str) -> tuple[str, ...]:
    """The numbers in a text that `normalise` takes for none because it holds several, each as it takes it; empty if the
    text holds none or one, or if it is not clear where one ends."""
    if len(text) > TEXT_MAX or sum(map(str.isdigit, text)) < pair_digits(region):
        return ()
    return parted(text, region, _number_of)


def _number_of(text: str, region: str) -> int | None:
    normalised = normalise(text, region)
    return None if normalised is None else normalised[0]


def why_invalid(text: str, region: str) -> Why:
    """Why `normalise` takes a text for no number."""
    digits = sum(map(str.isdigit, text))
    if not text.strip():
        return Why.NO_NUMBER
    if not digits:
        return Why.NO_DIGITS
    if may_be_several(text, region):
        return Why.SEVERAL_NUMBERS
    if has_lost_digits(text):
        return Why.LOST_DIGITS
    if digits < least_digits(region):
        return Why.TOO_SHORT
    return Why.TOO_LONG if digits > DIGITS_MAX else Why.NOT_VALID


def tables_in_use() -> bool:
    """Whether the tables answer. False if another version of phonenumbers is installed: it answers everything then."""
    return _TABLES.in_use
