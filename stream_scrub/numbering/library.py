"""The reference: what phonenumbers itself says. Everything that the tables do not settle comes here (14 to 40 us).

The fast path may answer only what these functions would have answered. phonenumbers looks for extensions with
patterns that backtrack: 250 blanks before a hash keep it busy for 80 ms. So a text is shortened before phonenumbers
sees it. A text that is still too long is no number. This bounds a call to 2 ms.
"""

import re
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
    number_type,
    parse,
    region_code_for_number,
)

from stream_scrub.numbering.line import Line

TYPES: Final[dict[int, str]] = {
    value: name.lower() for name, value in vars(PhoneNumberType).items() if isinstance(value, int)
}
NSN_DIGITS_MAX: Final = 17  # phonenumbers' own limit; ITU-T E.164 says 15 with the calling code
CALLING_CODE_DIGITS_MAX: Final = 3  # ITU-T E.164
TEXT_MAX: Final = 250  # characters; phonenumbers refuses longer texts, whatever they hold
ASKED_MAX: Final = (
    80  # of these, counted from the first that may begin a number, with a repeated separator counted once
)
_QUICK = 20  # characters: so few take no time, whatever they are
_START = re.compile(r"[+\uff0b\d]")  # phonenumbers drops what stands before the first of these
_REPEATED = re.compile("([ \u00a0\t-])\\1+")
_CROWD = re.compile("[ \u00a0\t,-]{7}")  # so many separators in a row, not all the same: no number needs them


def ask(text: str, region: str) -> tuple[int, Line] | None:
    """The number in `text`, read as someone in `region` would write it, and its line; None unless valid.

    Also None for more than ASKED_MAX characters that may all mean something, and for a crowd of separators.
    """
    short = text if len(text) <= _QUICK else _shortened(text)
    if short is None:
        return None
    try:
        parsed = parse(short, region)
    except NumberParseException:
        return None
    line = _line(parsed)
    return None if line is None else (int(format_number(parsed, PhoneNumberFormat.E164)[1:]), line)


def national_digits(number: int) -> str:
    """The digits that somebody in the number's own country dials: 33612345678 is 0612345678. The number must be valid."""
    written = format_number(parse(f"+{number}"), PhoneNumberFormat.NATIONAL)
    return "".join(sign for sign in written if sign.isdigit())


def _shortened(text: str) -> str | None:
    """The text without what makes no difference to phonenumbers; None for a text that is too long or would take too
    long."""
    if len(text) > TEXT_MAX:
        return None
    if ";" not in text:  # parameters (RFC 3966) may change where a number begins
        start = _START.search(text)
        if start is None:
            return None
        text = text[start.start() :]
    text = _REPEATED.sub(r"\1", text)
    return text if len(text) <= ASKED_MAX and _CROWD.search(text) is None else None


def ask_line(number: int) -> Line | None:
    """The line of the integer of a number's E.164 digits; None unless valid. Strips no national prefix."""
    calling_code, significant = split(number)
    if calling_code == 0 or not 2 <= len(significant) <= NSN_DIGITS_MAX:
        return None
    zeros = min(len(significant) - len(significant.lstrip("0")), len(significant) - 1)
    return _line(
        PhoneNumber(
            country_code=calling_code,
            national_number=int(significant),
            italian_leading_zero=zeros > 0 or None,
            number_of_leading_zeros=zeros if zeros > 1 else None,
        )
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
    """The digits of the calling code of a region (ISO 3166-1), as in "33"; "0" for a region without one."""
    return str(country_code_for_region(region))
