"""`dncm-txt`: the Belgian "do not call me" list, one number and the date of its registration a line; the full file.

Source: dncm.be, "Purchase the list": a TXT with phone number and registration date, rebuilt every night. It does not say
what stands between number and date, so any of space, tab, `;` `,` `|` is taken, with quotes or without. National numbers are
Belgian, whatever the region of the import. The date is not needed to oppose: a line without a readable one counts.

A list of another country has the same shape, and a French number may be a Belgian one as well. So by its content a
file is only recognised when its numbers say +32 or 32, or when its name says dncm.
"""

import re

from stream_scrub.lists.parsing.end_dates import days
from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.number_cells import clean, number_of
from stream_scrub.lists.parsing.parsed_list import ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_REGION = "BE"
_NAMED, _SURE = 90, 80
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


def _parted(line: str) -> tuple[str, bool]:
    """The number's part of a line, and whether a date follows it."""
    for between in _BETWEEN.finditer(line[:_LINE_SIGNS_MAX]):
        number = _NUMBER.fullmatch(line, 0, between.start())
        if number is None:
            break
        if day := _DAY.fullmatch(line, between.end()):
            return number["number"], bool(days(day["day"]))
    return _CUT.split(line, maxsplit=1)[0], False


def _recognise(sample: ListSample) -> int:
    lines = sample.filled
    if lines and _HEADER.fullmatch(lines[0].strip()):
        lines = lines[1:]
    parted = [_parted(line.strip()) for line in lines]
    dated = [number for number, has_date in parted if has_date]
    if not dated or len(dated) * 3 < len(lines) * 2:
        return NEVER
    valid = [number for number in dated if number_of(number, _REGION) is not None]
    if len(valid) * 3 < len(dated) * 2:
        return NEVER
    if "dncm" in sample.member.casefold():
        return _NAMED
    return _SURE if all(_BELGIAN.match(number) for number in valid) else NEVER


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:  # noqa: ARG001  # Belgian whatever is said
    """Every number of the list, and for none of them an end."""
    batch = EntryBuffer(reading, _REGION)
    undated = 0
    for at, line in enumerate(source.text(), 1):
        text = line.strip()
        if not text:
            reading.blank += 1
            continue
        if at == 1 and _HEADER.fullmatch(text):
            reading.titles += 1
            continue
        number, has_date = _parted(text)
        undated += not has_date
        batch.put(clean(number), at)
    batch.close()
    reading.described = "Belgian numbers, each with the date of its registration" + (
        f", without a readable date: {undated}" if undated else ""
    )


FORMAT = FormatSpec("dncm-txt", "the Belgian list: number and registration date", _recognise, _read)
