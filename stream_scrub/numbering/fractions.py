"""What a text with a fraction or an exponent is: `301234567.0`, `3.01234567E8`, `301.234.567,00`.

Spreadsheets and programs hold phone numbers as floats and write them so. phonenumbers would take the fraction, or the
exponent, for digits: another person's number. `readings` gives the texts without them, and a text with two different valid
readings is invalid. Every reader of numbers asks here; nothing else repairs a number.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_POINT: Final = "[.,\u066b\uff0c\uff0e]"
_SIGN: Final = "[+\uff0b-]?"
_LETTER: Final = "[DEPQdepq\uff25\uff45]"  # before an exponent, as C, Fortran, Go and Java write it
_ZEROS = re.compile("[.,]0+(?:[^0-9]|$)")
_LETTERS = re.compile(f"[0-9][.,]? ?(?:{_LETTER}|[*x] ?10)|0[Xx]")
# A number up to its last group of digits, which follows a point.
_FRACTION = re.compile(rf"(?P<whole>.*\d)(?P<point>\D*{_POINT})(?P<fraction>\d+)\D*", re.DOTALL)
_EXPONENT = re.compile(
    rf"\s*(?P<sign>{_SIGN})(?P<whole>\d*)(?:{_POINT}(?P<fraction>\d*))?\s?{_LETTER}(?P<power>{_SIGN}\d{{1,3}})[DFLMdflm]?\s*"
)
_HAS_EXPONENT = re.compile(
    rf"\d{_POINT}?\s?(?:{_LETTER}[+\uff0b\u2212-]?|[*x\u00b7\u00d7]\s?10\s?(?:\*\*|\^))\d"
)
_HEX = re.compile(rf"\s*{_SIGN}0[Xx][0-9A-Fa-f]*\.?[0-9A-Fa-f]*(?:[Pp]{_SIGN}\d+)?\s*")
# A fraction of zeros before other digits, as in `301234567.0 ext. 5`.
_INNER_FRACTION = re.compile(rf"\d{{5}}{_POINT}0+\D.*\d", re.DOTALL)
# What a program writes: one run of digits, or groups of thousands.
_RUN = re.compile(
    rf"\s*(?P<sign>{_SIGN})(?P<digits>\d+"
    r"|(?![0\u0660\u06f0\uff10])\d{1,3}(?:(?P<by>[.,'\u2019\u066c])\d{2,3}(?:(?P=by)\d{2,3})*|(?P<gap>[ \u00a0\u2009\u202f])\d{3}(?:(?P=gap)\d{3})*)"
    r")\s*"
)
_RUN_DIGITS_MIN = 5  # with fewer, the zeros behind the dot are digits of the number: 0800.000000
# Only from the beginning of a run: tried from each digit, a request of digits would take a time that grows with the square.
_WITH_EXPONENT = re.compile(
    rf"(?<![\d{_POINT[1:-1]}]){_POINT}*\d(?:\d|{_POINT})*\s?{_LETTER}[+\uff0b\u2212-]?\d+"
)
_FLOAT = re.compile(rf"(?<!\d)(\d{{4,}}){_POINT}0+(?!\d)")


def is_suspect(text: str) -> bool:
    """Whether a text may have a fraction of zeros or an exponent. Any other text stands for itself."""
    if not text.isascii() or ((".0" in text or ",0" in text) and _ZEROS.search(text) is not None):
        return True
    has_words = "*" in text or text.upper() != text.lower()
    return has_words and _LETTERS.search(text) is not None


def readings(text: str) -> Sequence[str]:
    """The texts that a suspect text may stand for: only itself if it has neither a fraction of zeros nor an exponent; none if
    its last digits are lost, as in `3.01E8`, or if it is not a whole number. A run of digits with a plus is an
    international number, or a national one that a program wrote with its sign."""
    exponent = _EXPONENT.fullmatch(text)
    if exponent is not None:
        digits = _in_full(exponent["whole"], exponent["fraction"] or "", int(_ascii(exponent["power"])))
        return _signed(exponent["sign"], digits) if digits else ()
    if _HAS_EXPONENT.search(text) or _HEX.fullmatch(text) or _INNER_FRACTION.search(text):
        return ()
    match = _FRACTION.fullmatch(text)
    if match is None or any(map(int, match["fraction"])):
        return (text,)
    run, point = _RUN.fullmatch(match["whole"]), match["point"][-1]
    if run is not None and run["by"] != point:
        digits = "".join(filter(str.isdecimal, run["digits"]))
        if len(digits) >= _RUN_DIGITS_MIN:
            return _signed(run["sign"], digits)
    if point not in ".\uff0e":
        return (match["whole"],)
    # A dot also separates groups of digits, of which the last may be zeros: 06.12.34.56.00.
    return match["whole"], f"{match['whole']} {text[match.start('fraction') :]}"


def only(texts: Sequence[str], read: Callable[[str], T | None]) -> T | None:
    """The one number that texts stand for; None for none, for several, and for one that stands only without its plus."""
    numbers = {text: number for text in texts if (number := read(text)) is not None}
    if len({*numbers.values()}) != 1:
        return None
    needs_plus = texts[0].startswith("+")
    if needs_plus and not any(text.startswith("+") for text in numbers):
        return None
    return next(iter(numbers.values()))


def has_lost_digits(text: str) -> bool:
    """Whether a program has cut off digits of the number, as in `3.01E8`."""
    return _EXPONENT.fullmatch(text) is not None and not readings(text)


def without_fractions(text: str) -> str:
    """A text that may hold several numbers, without their fractions of zeros."""
    return _FLOAT.sub(r"\1", text)


def without_exponents(text: str) -> str:
    """The same without the numbers that have an exponent."""
    return _WITH_EXPONENT.sub(";", text)


def has_exponent(text: str) -> bool:
    """Whether a text that may hold several numbers has one with an exponent."""
    return _HAS_EXPONENT.search(text) is not None


def _in_full(whole: str, fraction: str, power: int) -> str:
    """The digits of a number with an exponent. Empty if some are lost, if it has a fraction other than zeros, or if it
    begins with a zero, which no float does."""
    digits, point = whole + fraction, len(whole) + power
    begins_with_zero = len(whole) > 1 and int(whole[0]) == 0
    if begins_with_zero or not 0 < point <= len(digits) or any(map(int, digits[point:])):
        return ""
    return digits[:point].lstrip("0")


def _signed(sign: str, digits: str) -> Sequence[str]:
    return (f"+{digits}", digits) if sign in ("+", "\uff0b") else (digits,)


def _ascii(power: str) -> str:
    return power.replace("\uff0b", "+")
