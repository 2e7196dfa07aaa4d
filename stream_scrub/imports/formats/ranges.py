"""`ranges`: prefixes, patterns and ranges of numbers, one a line, for blocks of numbers that may not be called.

Sources: VICIdial's `NNNXXXXXXX`, where an X is any digit; LiveVox' `*`; OpenSIPS' and Kamailio's prefixes. A line is

* a prefix, `+33162` or `0162`, with a `*` behind it or, where it is no whole number by itself, without;
* a pattern, `416XXXXXXX`: its X (or several `*`) stand at the end, one for each digit;
* a range, `from-to`, `from to`, `from..to` or two columns, both ends included and of one length;
* or one number.

With a plus, or 00, it is international, else as it is typed in the import's region. A prefix stands for the numbers of
every length that its country has under it. A line that stands for more than 100 million numbers is refused, and so is
one under which there is no valid number at all.
"""

import array
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from stream_scrub.imports.parsing.cells import clean, number_of
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import NOT_A_LIST, SPAN_MAX, BadList, ParsedList
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say
from stream_scrub.numbering import line_of, normalise, rows
from stream_scrub.numbering.tables import NONE

_SURE, _LIKELY = 90, 60
_DIGITS_MAX = 15  # ITU-T E.164
_NATIONAL_MAX = 17  # with what is dialled before a national number
_PREFIX_MIN = 2
_SPANS_MAX = 100_000  # lines that are no single number, also refused ones: each takes a hundred numbers' time
_LINE_SIGNS_MAX = 120
_TRIES = 12  # typed numbers of one length that are looked up to learn how a prefix is written internationally
_PATTERN = re.compile(r"(?P<typed>(?:\+|00)?\d{1,17})(?P<any>[xX?]{1,15}|\*{1,15})?", re.ASCII)
_BOUND = re.compile(r"\+?\d{7,17}", re.ASCII)
_COLUMNS = re.compile(r"[,;\t|:]")
_BETWEEN = re.compile(
    r"(?<!\s)\s++(?:-++|to)\s++|(?:(?<!\s)\s++)?(?:[\u2013\u2026]|\.\.++|[,;|:])\s*+|(?<!\s)(?=[^\S\t]*+\t)\s++",
    re.IGNORECASE,
)
_PLEASING = str.maketrans("", "", " ()./-\u00a0")  # signs that only please the eye


class _Span(NamedTuple):
    """Numbers from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class _Wide(Exception):  # not an error of the file: a line's reason to be refused
    """A line stands for too many numbers."""


def _bounds(line: str) -> tuple[str, str] | None:
    """Both ends of a line's range; None when it is no range. A hyphen alone is one between two of equal length."""
    text = clean(line)
    sides = _BETWEEN.split(text)
    if len(sides) == 1:
        sides = text.replace(" ", "").split("-")
    plain = [clean(side).translate(_PLEASING) for side in sides]
    if len(plain) == 2 and len(plain[0]) == len(plain[1]) and all(map(_BOUND.fullmatch, plain)):
        return plain[0], plain[1]
    return None


def _recognise(sample: ListSample) -> int:
    lines = sample.filled
    if lines and _is_title(lines[0]):
        lines = lines[1:]
    kinds = [_kind(line) for line in lines]
    if not kinds or kinds.count("") * 4 > len(kinds):
        return NEVER
    if "pattern" in kinds or "range" in kinds:
        return _SURE
    # Short digits alone may be anything (a post code); with a plus they are prefixes.
    short = all(line.lstrip().startswith("+") and len(line.strip()) <= 8 for line in lines)
    return _LIKELY if short else NEVER


def _kind(line: str) -> str:
    """The kind of line by its shape: "range", "pattern", "digits", or "" for none of them."""
    if len(line) > _LINE_SIGNS_MAX:
        return ""
    if _bounds(line) is not None:
        return "" if _COLUMNS.search(line) else "range"  # two columns may be two numbers of one person
    pattern = _PATTERN.fullmatch(clean(line).translate(_PLEASING))
    if pattern is None:
        return ""
    return "pattern" if pattern["any"] else "digits"


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every line's numbers. Raises BadList for more than 100 000 lines that hold something else."""
    wide = spans = 0
    single = array.array("Q")
    for at, line in enumerate(source.text(), 1):
        if not line.strip():
            reading.blank += 1
            continue
        if at == 1 and _is_title(line):
            reading.titles += 1
            continue
        try:
            found = _spans(line, options.region) if len(line) <= _LINE_SIGNS_MAX else []
        except _Wide:
            wide += 1
            found = []
        if not found:
            reading.refuse(at)
        elif len(found) == 1 and found[0].size == 1:
            single.append(found[0].first)
        else:
            spans += 1
            _take_spans(reading, found)
        if spans + reading.refused > _SPANS_MAX:
            why = f"more than {_SPANS_MAX:,} prefixes, ranges and refused lines: this is a list of something else"
            raise BadList(by_door(why, say(NOT_A_LIST)))
    reading.take(np.array(single, np.uint64))
    reading.described = f"prefixes and ranges: {spans}, numbers: {len(single)}" + (
        f", refused as wider than {SPAN_MAX:,} numbers: {wide}" if wide else ""
    )


def _take_spans(reading: ParsedList, found: list[_Span]) -> None:
    """One line of several spans, for countries whose numbers have several lengths, is counted once."""
    taken = reading.taken
    for span in found:
        reading.span(span.first, span.last)
    reading.taken = taken + 1


def _is_title(line: str) -> bool:
    """A header: it has letters other than the X of a pattern, and hardly a digit."""
    return (
        any(sign.isalpha() and sign not in "xX" for sign in line)
        and sum(map(str.isdigit, line)) < _PREFIX_MIN
    )


def _spans(line: str, region: str) -> list[_Span]:
    """What a line stands for; nothing when it is no such line or has no valid number. Raises _Wide."""
    bounds = _bounds(line)
    if bounds is not None:
        return _between(*bounds, region)
    pattern = _PATTERN.fullmatch(clean(line).translate(_PLEASING))
    wild = (pattern and pattern["any"]) or ""
    if not wild:  # phonenumbers reads an X as the 9 that it is on a telephone's keys
        number = number_of(line, region)
        if number is not None:
            return [_Span(number, number)]
    if pattern is None:
        return []
    exactly = 0 if wild in ("", "*") else len(wild)
    prefix = _international(pattern["typed"], exactly, region)
    if prefix is None:
        return []
    lengths = [len(prefix) + exactly] if exactly else range(len(prefix), _DIGITS_MAX + 1)
    found = [span for length in lengths if (span := _under(prefix, length)) is not None]
    if sum(span.size for span in found) > SPAN_MAX:
        raise _Wide
    return found


def _under(prefix: str, length: int) -> _Span | None:
    """All numbers of so many digits that begin with a prefix; None when none of them is valid."""
    wild = 10 ** (length - len(prefix))
    span = _Span(int(prefix) * wild, int(prefix) * wild + wild - 1)
    return span if _some_valid(*span, length) else None


def _some_valid(first: int, last: int, length: int) -> bool:
    """Whether there may be a valid number among these, all of `length` digits. Exact by the tables; True without."""
    if len(str(first)) != length or len(str(last)) != length:
        return False
    if last - first < _TRIES:
        return any(line_of(number) is not None for number in range(first, last + 1))
    if not rows.tables.in_use:
        return True
    found = rows.tables.significant(str(first)), rows.tables.significant(str(last))
    if found[0] is None or found[1] is None:
        return False
    row = found[0][1]
    if row.first != found[1][1].first:  # of two calling codes: part of each is meant
        return True
    cells = row.cells[first // row.size - row.first : last // row.size - row.first + 1]
    return cells.count(NONE) < len(cells)


def _international(typed: str, wild: int, region: str) -> str | None:
    """A typed prefix as the digits of E.164 numbers begin; None when no number begins so. `wild`: digits behind it,
    0 for any count.
    """
    if typed.startswith(("+", "00")):
        digits = typed[1:] if typed[0] == "+" else typed[2:]
        return digits if digits and not digits.startswith("0") else None
    if len(typed) < _PREFIX_MIN:
        return None
    lengths = [wild] if wild else range(1, _NATIONAL_MAX - len(typed))
    for count in lengths:
        for behind in _digits(count):
            found = normalise(typed + behind, region)
            if found is not None and str(found[0]).endswith(behind):
                return str(found[0])[:-count]
    return None


def _digits(count: int) -> Iterator[str]:
    """Some strings of so many digits, always the same."""
    chance = random.Random(count)  # noqa: S311  # spread, not secrecy
    yield from ("0" * count, "9" * count, "1234567890123456789"[:count])
    yield from ("".join(chance.choices("0123456789", k=count)) for _ in range(_TRIES))


def _between(first: str, last: str, region: str) -> list[_Span]:
    """The numbers of a range; nothing when its ends are not of one length, or turned round. Raises _Wide."""
    if first.startswith("+") != last.startswith("+") or len(first) != len(last) or first > last:
        return []
    low, high = int(first), int(last)
    if high - low >= SPAN_MAX:
        raise _Wide
    if first.startswith("+"):
        return [_Span(low, high)] if _some_valid(low, high, len(first) - 1) else []
    chance = random.Random(len(first))  # noqa: S311
    tries = (low, high, *(chance.randint(low, high) for _ in range(_TRIES)))
    for number in tries:
        found = normalise(str(number).zfill(len(first)), region)
        # What the region puts before a number is the same for both ends, so the difference is too.
        if found is not None and number % 10_000 == found[0] % 10_000:
            return [_Span(low + found[0] - number, high + found[0] - number)]
    return []


FORMAT = FormatSpec(
    "ranges",
    "prefixes, patterns (416XXXXXXX, +33162*) and ranges (from-to)",
    _recognise,
    _read,
    oppositions=True,
)
