"""`plain`: one number a line, or one column of a CSV, with or without a header.

Read by these rules: a list without a column separator is lines; else it is CSV (RFC 4180, any of `,` `;` tab `|`),
and the column is the chosen one, else the one whose header says phone, else the only one that holds numbers.

Such a list states consents only if it has nothing but numbers, under a title that says phone at most.
"""

import re
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stream_scrub.imports.parsing.cells import EntryBuffer, clean, numbers_of_lines
from stream_scrub.imports.parsing.csv_table import CsvTable, place_of, separator_of, title
from stream_scrub.imports.parsing.format import FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.list_columns import ColumnCounter
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import (
    all_read,
    countries,
    holding_numbers,
    several,
    unread_phones,
)
from stream_scrub.imports.parsing.titles import PHONES
from stream_scrub.imports.parsing.unpack import ListSource, text_of
from stream_scrub.numbering import normalise, numbers_in

_SAMPLE_LINES = 50
# What a line of a number and nothing else may hold, with the blanks of Latin-1 and UTF-8.
_NUMBER_SIGNS = b"0123456789+()./-\"' \t\r\xa0\xc2\xe2\x80\xaf\x89"
_CROSSED_OUT = re.compile(rb"^[-/]", re.MULTILINE)
_CHUNK_BYTES = 1 << 18  # what the arrays of a chunk stay in the caches for


def _recognise(_: ListSample) -> int:
    return 1  # whatever no other format knows


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every number of the list. Raises BadList if it is unclear where the numbers are."""
    chunks = source.chunks(_CHUNK_BYTES)
    first = next(chunks, b"")
    sample = [
        line + "\n" for line in first.decode("utf-8", "surrogateescape").split("\n", _SAMPLE_LINES)[:-1]
    ]
    column = options.column
    if separator_of(sample) is None:
        if column not in ("", "1") and column.casefold() != (clean(sample[0]).casefold() if sample else ""):
            raise BadList(f"column {column!r} was asked for, but the list has one column")
        reading.described = "one number a line"
        _read_lines(chain((first,), chunks), options.region, reading)
    else:
        _read_csv(CsvTable(text_of(chain((first,), chunks)), reading, strict=False), options, reading)


def _is_title(text: str, region: str) -> bool:
    """A header, rather than a bad number: it has letters, and no number in it."""
    return any(map(str.isalpha, text)) and not _holds_number(clean(text), region)


def _holds_number(text: str, region: str) -> bool:
    return normalise(text, region) is not None or bool(numbers_in(text, region)[0])


def _read_lines(chunks: Iterator[bytes], region: str, reading: ParsedList) -> None:
    before = 0  # lines
    for chunk in chunks:
        numbers, valid = numbers_of_lines(chunk, region)
        reading.count(chunk, numbers, valid, region)
        reading.take(numbers[valid])
        if not valid.all():
            _account(chunk, np.flatnonzero(~valid), before, region, reading)
        if not reading.unstated:
            reading.unstated = _says_more(chunk, valid)
        before += len(valid)


def _says_more(chunk: bytes, valid: NDArray[np.bool_]) -> bool:
    """Whether a line has words beside its number, as in `no +33612345678`."""
    if not (chunk.translate(None, _NUMBER_SIGNS).strip(b"\n") or _CROSSED_OUT.search(chunk)):
        return False
    lines = chunk.split(b"\n")
    numbers = (lines[index] for index in np.flatnonzero(valid).tolist())
    return any(line.translate(None, _NUMBER_SIGNS) or _CROSSED_OUT.match(line) for line in numbers)


def _account(chunk: bytes, places: NDArray[np.int64], before: int, region: str, reading: ParsedList) -> None:
    """Count the lines of a chunk that hold no number."""
    lines = chunk.split(b"\n")
    refused = []
    for place in places.tolist():
        line = lines[place].decode("utf-8", "surrogateescape")
        if not line.strip():
            reading.blank += 1
        elif before + place == 0 and _is_title(line, region):
            reading.titles += 1
            if title(line) not in PHONES:
                reading.unstated = True
        else:
            refused.append(before + place + 1)
    reading.refuse_many(np.array(refused, np.int64))


def _read_csv(table: CsvTable, options: ListOptions, reading: ParsedList) -> None:
    place, titles = _column(table, options.region, options.column)
    reading.unread_columns = True
    reading.described = f"column {place + 1} of CSV by {table.spoken}" + (", with header" if titles else "")
    batch = EntryBuffer(reading, options.region)
    headed, named = bool(titles), bool(options.column)
    counter = ColumnCounter(table.head[0].cells if titles else (), options.region, [place])
    rows = all_read(table, [place], options.region, reading, headed=headed, named=named)
    country = countries(table, headed=headed)
    for row in counter.counted(rows):
        batch.put(row.cell(place), row.line, region=country.of(row))
    batch.close()
    reading.columns = reading.columns or counter.columns({country.place: "country", place: "phone"})
    is_titled = place < len(titles)  # the first row may have fewer cells than the others
    says_phone = named or not titles or (is_titled and titles[place] in PHONES)
    if counter.others_filled(place) or not says_phone:
        reading.unstated = True


def _column(table: CsvTable, region: str, wanted: str) -> tuple[int, list[str]]:
    """The place of the number column, and the titles if the first row is a header."""
    heads = [row.cells for row in table.head] or [[]]
    lettered = any(map(str.isalpha, "".join(heads[0])))
    titled = lettered and not any(_holds_number(clean(cell), region) for cell in heads[0])
    titles = [title(cell) for cell in heads[0]] if titled else []
    if wanted:
        return place_of(wanted, titles, table.width), titles
    body = heads[titled:]
    if len(named := [place for place, name in enumerate(titles) if name in PHONES]) == 1:
        holding = named + unread_phones(heads[0], body, named, region)
    else:
        holding = holding_numbers(body, table.width, region)
    if len(holding) != 1:
        raise several(len(holding), table.width, titled=titled)
    return holding[0], titles


FORMAT = FormatSpec(
    "plain", "one number a line, or one column of a CSV, with or without a header", _recognise, _read
)
