r"""`tps-fixed`: British lists of fixed width (TPS, CTPS), twelve signs a line and nothing but digits and spaces.

Either five for the dialling code, from the left, and seven for the rest, to the right; or twelve from the left. Both
are a British number with spaces in it. Numbers are read in GB, whatever region the import names.
"""

import re

import numpy as np
from numpy.typing import NDArray

from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample, mostly
from stream_scrub.lists.parsing.number_cells import numbers_of, numbers_of_lines
from stream_scrub.lists.parsing.parsed_list import ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_REGION = "GB"
_SURE = 90
_HALVES = re.compile(r"(?=.{12}$)0[1-9]\d{1,3} {0,4}\d{5,7}", re.ASCII)
_PADDED = re.compile(r"(?=.{12}$)0[1-9]\d{7,10} *+", re.ASCII)


def _recognise(sample: ListSample) -> int:
    """Lines are of that width and shape, and at least half of them are British numbers."""
    lines = sample.filled
    alike = sum(bool(_HALVES.fullmatch(line) or _PADDED.fullmatch(line)) for line in lines)
    if not mostly(alike, len(lines)):
        return NEVER
    _, valid = numbers_of(lines, _REGION)
    return _SURE if int(valid.sum()) * 2 >= len(lines) else NEVER


def _read(source: ListSource, _: ListOptions, reading: ParsedList) -> None:
    before = 0  # lines
    for chunk in source.chunks():
        if not before:
            inner = any(b" " in line.strip() for line in chunk.split(b"\n", 50)[:50])
            reading.described = "dialling code in 5 signs, the rest in 7" if inner else "12 signs, padded"
        numbers, valid = numbers_of_lines(chunk, _REGION)
        reading.take(numbers[valid])
        if not valid.all():
            _account(chunk, np.flatnonzero(~valid), before, reading)
        before += len(valid)


def _account(chunk: bytes, places: NDArray[np.int64], before: int, reading: ParsedList) -> None:
    lines = chunk.split(b"\n")
    blank = np.array([not lines[place].strip() for place in places.tolist()], bool)
    reading.blank += int(blank.sum())
    reading.refuse_many(before + 1 + places[~blank])


FORMAT = FormatSpec(
    "tps-fixed", "fixed width, dialling code 5 and rest 7, or 12 padded (GB: TPS, CTPS)", _recognise, _read
)
