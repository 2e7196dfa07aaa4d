r"""Two European registers in plain lines: `tps-fixed` and `dncm-txt`. Numbers are British or Belgian, whatever region the
import names.

`tps-fixed`: British lists of fixed width (TPS, CTPS), twelve signs a line and nothing but digits and spaces. Either five
for the dialling code, from the left, and seven for the rest, to the right; or twelve from the left. Both are a British
number with spaces in it.

`dncm-txt`: the Belgian "do not call me" list, one number and the date of its registration a line; the full file. Source:
dncm.be, "Purchase the list": a TXT with phone number and registration date, rebuilt every night. It does not say what
stands between number and date, so any of space, tab, `;` `,` `|` is taken, with quotes or without. The date is not needed to
oppose: a line without a readable one counts. A list of another country has the same shape, and a French number may be a
Belgian one as well. So by its content a file is only recognised when its numbers say +32 or 32, or when its name says dncm.
"""

import re

import numpy as np

from stream_scrub.imports.parsing.cells import (
    EntryBuffer,
    clean,
    days,
    number_of,
    numbers_of,
    numbers_of_lines,
)
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample, mostly
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.imports.parsing.unpack import ListSource

_HALVES = re.compile(r"(?=.{12}$)0[1-9]\d{1,3} {0,4}\d{5,7}", re.ASCII)
_PADDED = re.compile(r"(?=.{12}$)0[1-9]\d{7,10} *+", re.ASCII)
_NUMBER = re.compile(r"""["']?(?P<number>[+0-9][-+0-9 ./()\xa0]*+)["']?""", re.ASCII)
_BETWEEN = re.compile(r"\s++(?:[;,|]\s*+)?|[;,|]\s*+", re.ASCII)
_DAY = re.compile(
    r"""["']?(?P<day>\d{4}[-/.]?\d{2}[-/.]?\d{2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})
        (?:[T ]\d{1,2}:\d{2}[0-9:.,Z+ ]*+)?["']?[;,|\s]*+""",
    re.ASCII | re.VERBOSE,
)
_CUT = re.compile(r"[;,|\t]")
_BELGIAN = re.compile(r"(?:\+|00)?\s?32")
_HEADER = re.compile(r"[^0-9]{1,80}")
_LINE_SIGNS_MAX = 200  # a date begins no later
_NAMED, _SURE = 90, 80


def _recognise_tps(sample: ListSample) -> int:
    """Lines are of that width and shape, and at least half of them are British numbers."""
    lines = sample.filled
    alike = sum(bool(_HALVES.fullmatch(line) or _PADDED.fullmatch(line)) for line in lines)
    if not mostly(alike, len(lines)):
        return NEVER
    _, valid = numbers_of(lines, "GB")
    return 90 if int(valid.sum()) * 2 >= len(lines) else NEVER


def _read_tps(source: ListSource, _: ListOptions, reading: ParsedList) -> None:
    before = 0  # lines
    for chunk in source.chunks():
        if not before:
            inner = any(b" " in line.strip() for line in chunk.split(b"\n", 50)[:50])
            reading.described = "dialling code in 5 signs, the rest in 7" if inner else "12 signs, padded"
        numbers, valid = numbers_of_lines(chunk, "GB")
        reading.take(numbers[valid])
        if not valid.all():
            lines, places = chunk.split(b"\n"), np.flatnonzero(~valid)
            blank = np.array([not lines[place].strip() for place in places.tolist()], bool)
            reading.blank += int(blank.sum())
            reading.refuse_many(before + 1 + places[~blank])
        before += len(valid)


def _parted(line: str) -> tuple[str, bool]:
    """The number's part of a line, and whether a date follows it."""
    for between in _BETWEEN.finditer(line[:_LINE_SIGNS_MAX]):
        number = _NUMBER.fullmatch(line, 0, between.start())
        if number is None:
            break
        if day := _DAY.fullmatch(line, between.end()):
            return number["number"], bool(days(day["day"]))
    return _CUT.split(line, maxsplit=1)[0], False


def _recognise_dncm(sample: ListSample) -> int:
    lines = sample.filled
    if lines and _HEADER.fullmatch(lines[0].strip()):
        lines = lines[1:]
    parted = [_parted(line.strip()) for line in lines]
    dated = [number for number, has_date in parted if has_date]
    if not dated or len(dated) * 3 < len(lines) * 2:
        return NEVER
    valid = [number for number in dated if number_of(number, "BE") is not None]
    if len(valid) * 3 < len(dated) * 2:
        return NEVER
    if "dncm" in sample.member.casefold():
        return _NAMED
    return _SURE if all(_BELGIAN.match(number) for number in valid) else NEVER


def _read_dncm(source: ListSource, _: ListOptions, reading: ParsedList) -> None:
    """Every number of the list, and for none of them an end."""
    batch = EntryBuffer(reading, "BE")
    undated = 0
    for at, line in enumerate(source.text(), 1):
        text = line.strip()
        if not text:
            reading.blank += 1
        elif at == 1 and _HEADER.fullmatch(text):
            reading.titles += 1
        else:
            number, has_date = _parted(text)
            undated += not has_date
            batch.put(clean(number), at)
    batch.close()
    reading.described = "Belgian numbers, each with the date of its registration" + (
        f", without a readable date: {undated}" if undated else ""
    )


TPS = FormatSpec(
    "tps-fixed",
    "fixed width, dialling code 5 and rest 7, or 12 padded (GB: TPS, CTPS)",
    _recognise_tps,
    _read_tps,
    oppositions=True,
)
DNCM = FormatSpec(
    "dncm-txt",
    "the Belgian list: number and registration date",
    _recognise_dncm,
    _read_dncm,
    oppositions=True,
)
