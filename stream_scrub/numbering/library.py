"""The reference: phonenumbers itself. It answers everything that the tables do not settle, in 14 to 40 us.

The fast path may only give answers that these functions would give. phonenumbers looks for extensions with patterns
that backtrack: 250 blanks before a hash keep it busy for 80 ms. So a text is shortened first, and is invalid if it
is still too long. phonenumbers also reads a second number as an extension of the first one, or drops it: a text with
two numbers is invalid (`two_numbers`). And it reads some national numbers as those of the wrong country: these are
given in the form of their own territory (`homes`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    country_code_for_region,
    format_number,
    is_valid_number,
    national_significant_number,
    number_type,
    parse,
    region_code_for_number,
)

from stream_scrub.homes import chosen, homes_of
from stream_scrub.numbering.fractions import is_suspect, only, readings
from stream_scrub.numbering.two_numbers import IsNumber, may_be_two

TYPES: Final[dict[int, str]] = {
    value: name.lower() for name, value in vars(PhoneNumberType).items() if isinstance(value, int)
}
NSN_DIGITS_MAX: Final = 17  # phonenumbers' own limit; ITU-T E.164 says 15 with the calling code
CALLING_CODE_DIGITS_MAX: Final = 3  # ITU-T E.164
TEXT_MAX: Final = 250  # characters; phonenumbers refuses longer texts, whatever they hold
# Of these, counted from the first that may begin a number; a repeated separator counts once. phonenumbers never sees a
# longer text: its time for a character grows with the length.
ASKED_MAX: Final = 40
EXTENSION_DIGITS_MAX: Final = 6  # more may be another person's number
_QUICK = 20  # characters: so few take no time, whatever they are
_PLUSES = ("+", "\uff0b")
_WORD = re.compile(
    "[A-Za-z](?:.*[A-Za-z]){2}", re.DOTALL
)  # phonenumbers dials letters only if they are three
_START = re.compile(r"[+\uff0b\d]")  # phonenumbers drops what stands before the first of these
_REPEATED = re.compile("([ \u00a0\t-])\\1+")
_CROWD = re.compile("[ \u00a0\t,-]{7}")  # so many separators in a row, not all the same: no number needs them
# Signs that phonenumbers takes for the beginning of an extension, and people for a separator.
_EXTENSION_SIGN = re.compile(r"[~\uff5e,#\uff03]|;(?!ext=)")
# What phonenumbers drops unread, with any number in it: (a) what follows /x, (b) two parameters of RFC 3966 (and what
# stands before "tel:" in a text that has the second one).
_DROPPED = re.compile(r"[\\/] *x.*\d|;isub=|;phone-context=", re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The region and type of a valid number: one object for each, cheap as a key. Only `Line.of` makes one.

    `region` is the ISO 3166-1 code of the region that the number itself belongs to ("FR", "RE", "GG", "US"), or
    "001" for the calling codes that no region owns (+800, +882, ...). `type` is phonenumbers' name of its type in
    lower case ("fixed_line", "mobile", "fixed_line_or_mobile", "premium_rate", "voicemail", ...). `zones` are the
    time zones of its first digits; empty if they are those of the region, or were not asked for.
    """

    region: str
    type: str
    zones: tuple[str, ...] = ()

    @classmethod
    def of(cls, region: str, type_: str, zones: tuple[str, ...] = ()) -> "Line":
        """The one Line of this region, type and zones in this process."""
        key = (region, type_, zones)
        return _LINES.get(key) or _LINES.setdefault(key, cls(*key))

    def __reduce__(self) -> tuple[object, tuple[str, str, tuple[str, ...]]]:
        # After pickling to another process or copy(), it must again be the one Line of these.
        return Line.of, (self.region, self.type, self.zones)


_LINES: Final[dict[tuple[str, str, tuple[str, ...]], Line]] = {}


def ask(text: str, region: str, is_number: IsNumber | None = None) -> tuple[int, Line] | None:
    """The number in `text`, read as someone in `region` would write it, and its line; None unless valid.

    Also None for more than ASKED_MAX characters that may all mean something, for a crowd of separators, for what may be two
    numbers, and for a number with a word. `is_number` answers for plain digits: faster than phonenumbers, and the same.
    """
    if len(text) <= TEXT_MAX and is_suspect(text):
        texts = readings(text)
        if tuple(texts) != (text,):
            return only(texts, lambda each: ask(each, region, is_number))
    short = text if len(text) <= _QUICK else _shortened(text)
    if short is None or _DROPPED.search(text) is not None:
        return None
    answer = _read(short, region)
    if answer is None or answer[2] > EXTENSION_DIGITS_MAX:
        return None
    is_number = is_number or _is_number
    if may_be_two(text, region, is_number) or _dials_a_word(short, answer[0], region, is_number):
        return None
    return None if answer[2] and _may_be_longer(short, region, is_number) else answer[:2]


def _may_be_longer(text: str, region: str, is_number: IsNumber) -> bool:
    """Whether all digits are a number too, and a sign that people also write between groups of digits begins the
    extension: `030 123~4567`."""
    start = _START.search(text)
    if start is None or _EXTENSION_SIGN.search(text, start.end()) is None:
        return False
    sign = "+" if start[0] in _PLUSES else ""
    return bool(is_number(sign + _digits(text[start.start() :]), region))


def _dials_a_word(text: str, number: int, region: str, is_number: IsNumber) -> bool:
    """Whether letters became digits of the number, although the digits before them, or all digits, are one without: in
    `030 1234567 mobil` the last word is the kind of the line."""
    start = _START.search(text)
    word = None if start is None else _WORD.search(text, start.end())
    if start is None or word is None or split(number)[1].lstrip("0") in _digits(text):
        return False
    sign = "+" if start[0] in _PLUSES else ""
    read = (text[start.start() : word.start()], text[start.start() :])
    return any(is_number(sign + _digits(each), region) for each in read)


def _digits(text: str) -> str:
    return "".join(str(int(sign)) for sign in text if sign.isdecimal())


def _read(text: str, region: str) -> tuple[int, Line, int] | None:
    """The number in a text, its line, and how many digits its extension has."""
    try:
        parsed = parse(text, region)
    except NumberParseException:
        return None
    significant = national_significant_number(parsed)
    number = int(f"{parsed.country_code}{significant}")
    homes = homes_of(str(parsed.country_code), significant)
    if homes:
        number = _at_home(homes)
        line = _line(_parsed(number)) if number else None
    else:
        line = _line(parsed)
    return None if line is None else (number, line, len(parsed.extension or ""))


def _at_home(homes: Sequence[str]) -> int:
    """The one of these forms that is the number; 0 if there is none or it is not clear which."""
    return chosen([number for home in homes if _line(_parsed(number := int(home))) is not None]) or 0


def _is_number(digits: str, region: str) -> bool:
    return _read(digits, region) is not None


def national_digits(number: int) -> str:
    """The digits to dial in the number's own country: 33612345678 is 0612345678. The number must be valid."""
    written = format_number(parse(f"+{number}"), PhoneNumberFormat.NATIONAL)
    return "".join(sign for sign in written if sign.isdigit())


def _shortened(text: str) -> str | None:
    """The text without what makes no difference to phonenumbers; None if it is too long, or would take too long."""
    if len(text) > TEXT_MAX:
        return None
    start = _START.search(text)
    if start is None:
        return None
    text = _REPEATED.sub(r"\1", text[start.start() :])
    return text if len(text) <= ASKED_MAX and _CROWD.search(text) is None else None


def ask_line(number: int) -> Line | None:
    """The line of the integer of a number's E.164 digits; None unless valid. Strips no national prefix."""
    calling_code, significant = split(number)
    if calling_code == 0 or not 2 <= len(significant) <= NSN_DIGITS_MAX:
        return None
    homes = homes_of(str(calling_code), significant)
    return None if homes and _at_home(homes) != number else _line(_parsed(number))


def _parsed(number: int) -> PhoneNumber:
    """A number as phonenumbers takes it. It must have a calling code."""
    calling_code, significant = split(number)
    zeros = min(len(significant) - len(significant.lstrip("0")), len(significant) - 1)
    return PhoneNumber(
        country_code=calling_code,
        national_number=int(significant),
        italian_leading_zero=zeros > 0 or None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )


def split(number: int) -> tuple[int, str]:
    """The calling code and the national significant digits of a number; (0, "") when no calling code fits."""
    if number <= 0 or number >= 10 ** (CALLING_CODE_DIGITS_MAX + NSN_DIGITS_MAX):
        return 0, ""
    digits = str(number)
    for length in range(1, CALLING_CODE_DIGITS_MAX + 1):
        if int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE:
            return int(digits[:length]), digits[length:]
    return 0, ""


def _line(parsed: PhoneNumber) -> Line | None:
    if not is_valid_number(parsed):
        return None
    region = region_code_for_number(parsed)
    return None if region is None else Line.of(region, TYPES[number_type(parsed)])


def calling_code(region: str) -> str:
    """The digits of the calling code of a region (ISO 3166-1) or a state ("US-CT"), as in "33"; "0" for a region without
    one."""
    return str(country_code_for_region(region.partition("-")[0]))
