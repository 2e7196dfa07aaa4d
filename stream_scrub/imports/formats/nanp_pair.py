r"""`nanp-pair`: `416,5550123`, an area code and seven digits a line, as the national lists of the United States and
Canada are handed out (flat text, whole or by area code, zipped).

Twelve bytes a line, so a line is three 32-bit words and a chunk of them is read with a few operations on whole
arrays. What is not of that shape (a header, quotes, spaces) is looked at line by line. Numbers are of calling code 1,
whatever region the import names.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample, mostly
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.index import Numbers
from stream_scrub.numbering import valid_many
from stream_scrub.numbering.arrays import eight_digits

_SURE = 95
_LINE_BYTES: Final = 12  # with its end
_LINE: Final = np.arange(_LINE_BYTES)
_END: Final = ord("\n")
_NANP: Final = np.uint64(10_000_000_000)  # calling code 1 before ten digits
_LOOSE_BYTES_MAX: Final = 64  # quotes and spaces around ten digits and a comma
_LOOSE = re.compile(rb'\s*+"?+\s*+(\d{3})\s*+"?+\s*+,\s*+"?+\s*+(\d{7})\s*+"?+\s*+')
# A line as three words, the first sign lowest: digits' high halves are 3, and the comma and the end are themselves.
_PATTERN = np.frombuffer(b"000,0000000\n", "<u4")
# Carries 10 to 15 into the high half.
_DIGIT_OVER = np.frombuffer(bytes([6, 6, 6, 0, 6, 6, 6, 6, 6, 6, 6, 0]), "<u4")
_MUST_BE_0 = np.frombuffer(bytes([*[0xF0] * 3, 0xFF, *[0xF0] * 7, 0xFF]), "<u4")


def _recognise(sample: ListSample) -> int:
    lines = [line.encode("utf-8", "surrogateescape") for line in sample.filled]
    if lines and _is_title(lines[0]):
        lines = lines[1:]
    alike = sum((found := _loose(line)) is not None and found[1] >= b"2" for line in lines)
    return _SURE if mostly(alike, len(lines)) else NEVER


def _read(source: ListSource, _: ListOptions, reading: ParsedList) -> None:
    reading.described = "area code and number"
    before = 0  # lines
    for chunk in source.chunks():
        raw = np.frombuffer(chunk, np.uint8)
        if len(raw) % _LINE_BYTES == 0 and not (wrong := _wrong(words := _words(raw))).any():
            numbers = _numbers(words)
            before += _count(numbers, np.arange(before + 1, before + 1 + len(numbers)), reading)
            continue
        ends = np.flatnonzero(raw == _END)
        starts = np.concatenate(([0], ends[:-1] + 1))
        alike = np.flatnonzero(ends - starts == _LINE_BYTES - 1)
        words = _words(raw[starts[alike][:, None] + _LINE])
        wrong = _wrong(words)
        places = alike[~wrong]
        other = ends > starts
        reading.blank += len(other) - int(other.sum())
        other[places] = False
        odd, at = _loosely(chunk, np.flatnonzero(other), before, reading)
        numbers = np.concatenate((_numbers(words[~wrong]), odd))
        places = np.concatenate((places, at))
        order = np.argsort(places)
        _count(numbers[order], before + 1 + places[order], reading)
        before += len(ends)


def _count(numbers: Numbers, lines: NDArray[np.int64], reading: ParsedList) -> int:
    """Take the valid numbers, refuse the lines of the others; how many there were."""
    valid = valid_many(numbers)
    if valid.all():
        reading.take(numbers)
    else:
        reading.take(numbers[valid])
        reading.refuse_many(lines[~valid])
    return len(numbers)


def _words(raw: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Lines of twelve bytes as rows of three words."""
    return np.ascontiguousarray(raw).view("<u4").reshape(-1, 3)


def _wrong(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which rows do not have the shape of a pair."""
    digits = words ^ _PATTERN
    wrong: NDArray[np.bool_] = (((digits + _DIGIT_OVER) | digits) & _MUST_BE_0).any(axis=1)
    return wrong


def _numbers(words: NDArray[np.uint32]) -> Numbers:
    """The numbers of rows of three words."""
    columns = [words[:, column].astype(np.uint64) for column in range(3)]
    area = (columns[0] & np.uint64(0x0F0F0F)) << np.uint64(8)  # a leading zero, three digits
    front = eight_digits(columns[1] << np.uint64(32) | area)
    rest = eight_digits((columns[2] & np.uint64(0x0F0F0F)) << np.uint64(40))
    return _NANP + front * np.uint64(1000) + rest


def _loosely(
    chunk: bytes, places: NDArray[np.int64], before: int, reading: ParsedList
) -> tuple[Numbers, NDArray[np.int64]]:
    """The lines at these places one by one: their numbers, 0 for none, and which lines of them should have one."""
    lines = chunk.split(b"\n") if len(places) else []
    numbers, kept = [], []
    for place in places.tolist():
        line = lines[place]
        found = _loose(line)
        if found is None and not line.decode("utf-8", "surrogateescape").strip():
            reading.blank += 1
        elif found is None and before + place == 0 and _is_title(line):
            reading.titles += 1
        else:
            numbers.append(0 if found is None else int(_NANP) + int(found[1] + found[2]))
            kept.append(place)
    return np.array(numbers, np.uint64), np.array(kept, np.int64)


def _loose(line: bytes) -> "re.Match[bytes] | None":
    """An area code and a number in a line, with spaces and quotes around each."""
    return _LOOSE.fullmatch(line) if len(line) <= _LOOSE_BYTES_MAX else None


def _is_title(line: bytes) -> bool:
    """A header: it has letters and no digits."""
    text = line.decode("utf-8", "surrogateescape")
    return any(map(str.isalpha, text)) and not any(map(str.isdigit, text))


FORMAT = FormatSpec(
    "nanp-pair", "area code and number, `416,5550123` (US, Canada)", _recognise, _read, oppositions=True
)
