"""`plain`: one number a line, or one column of a CSV, with or without a header.

Read by these rules: a list without a column separator is lines; else it is CSV (RFC 4180, any of `,` `;` tab `|`),
and the column is the chosen one, else the one whose header says phone, else the only one that holds numbers.
"""

import csv
import io
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stream_scrub.lists.parsing.csv_rows import COLUMNS_MAX, CsvRows, broken, rows_of, separator_of, spoken
from stream_scrub.lists.parsing.format import FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.number_cells import clean, numbers_of, numbers_of_lines
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import ListSource, text_of
from stream_scrub.numbering import normalise

_HEADERS = frozenset(
    {
        *(
            "phone",
            "phone_number",
            "phonenumber",
            "phone number",
            "telephone",
            "tel",
            "mobile",
            "msisdn",
            "number",
        ),
        *(
            "numero",
            "numéro",
            "numéro de téléphone",
            "numero de telephone",
            "téléphone",
            "rufnummer",
            "telefon",
        ),
        *("telefono", "teléfono", "telefoon", "e164", "portable"),
    }
)
_SAMPLE_LINES = 50
_TOLD_COLUMNS = 20
_CHUNK_BYTES = 1 << 18  # what the arrays of a chunk stay in the caches for


def _recognise(_: ListSample) -> int:
    return 1  # whatever no other format knows


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every number of the list. Raises BadList when it cannot be told where the numbers are."""
    chunks = source.chunks(_CHUNK_BYTES)
    first = next(chunks, b"")
    sample = [
        line + "\n" for line in first.decode("utf-8", "surrogateescape").split("\n", _SAMPLE_LINES)[:-1]
    ]
    separator = separator_of(sample)
    column = options.column
    if separator is None:
        if column not in ("", "1") and column.casefold() != (clean(sample[0]).casefold() if sample else ""):
            raise BadList(f"column {column!r} was asked for, but the list has one column")
        reading.described = "one number a line"
        _read_lines(chain((first,), chunks), options.region, reading)
    else:
        place, titled = _column(sample, separator, options.region, column)
        reading.described = f"column {place + 1} of CSV by {spoken(separator)}" + (
            ", with header" if titled else ""
        )
        lines = text_of(chain((first,), chunks))
        _read_csv(rows_of(lines, separator), place, options.region, reading, titled=titled)


def _is_title(cell: str, region: str) -> bool:
    """A header, rather than a bad number: it has letters, and is no number."""
    return any(sign.isalpha() for sign in cell) and normalise(clean(cell), region) is None


def _read_lines(chunks: Iterator[bytes], region: str, reading: ParsedList) -> None:
    before = 0  # lines
    for chunk in chunks:
        numbers, valid = numbers_of_lines(chunk, region)
        reading.take(numbers[valid])
        if not valid.all():
            _account(chunk, np.flatnonzero(~valid), before, region, reading)
        before += len(valid)


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
        else:
            refused.append(before + place + 1)
    reading.refuse_many(np.array(refused, np.int64))


def _column(sample: list[str], separator: str, region: str, wanted: str) -> tuple[int, bool]:
    """The place of the number column, and whether the first line is a header."""
    try:
        rows = [row for row in csv.reader(io.StringIO("".join(sample)), delimiter=separator) if any(row)] or [
            []
        ]
    except csv.Error as error:
        raise broken(1, error) from error
    if len(rows[0]) > COLUMNS_MAX:
        raise BadList(f"a row has more than {COLUMNS_MAX:,} columns: this is no list")
    first = [clean(cell).casefold() for cell in rows[0]]
    titled = not any(normalise(clean(cell), region) for cell in rows[0]) and any(
        c.isalpha() for c in "".join(first)
    )
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(first):
            raise BadList(f"column {wanted} was asked for, but the list has {len(first)}")
        return int(wanted) - 1, titled
    if wanted:
        if not titled or wanted.casefold() not in first:
            known = (
                ", ".join(map(_speakable, first[:_TOLD_COLUMNS]))
                if titled
                else "none: the first line is no header"
            )
            raise BadList(f"no column is called {wanted!r}; columns: {known}")
        return first.index(wanted.casefold()), True
    if titled and len(named := [i for i, cell in enumerate(first) if cell in _HEADERS]) == 1:
        return named[0], True
    body = rows[1:] if titled else rows
    holding = [i for i in range(len(first)) if _holds_numbers(body, i, region)]
    if len(holding) != 1:
        raise BadList(
            f"{len(holding)} of the list's {len(first)} columns hold phone numbers: choose one with --column "
            + ("(a header's name or a number from 1)" if titled else "(a number from 1)")
        )
    return holding[0], titled


def _speakable(title: str) -> str:
    """A header's name as an error may show it. A name with as many digits as a phone number is not shown."""
    return "..." if sum(sign.isdigit() for sign in title) >= 6 else title[:40]


def _holds_numbers(rows: list[list[str]], place: int, region: str) -> bool:
    cells = [clean(row[place]) for row in rows if len(row) > place and row[place].strip()]
    valid = sum(normalise(cell, region) is not None for cell in cells)
    return valid > 0 and valid * 2 >= len(cells)


def _read_csv(
    batches: Iterator[CsvRows], place: int, region: str, reading: ParsedList, *, titled: bool
) -> None:
    for starts, rows in batches:
        numbers, valid = numbers_of([row[place] if len(row) > place else "" for row in rows], region)
        refused = []
        for at in range(len(rows)) if titled else np.flatnonzero(~valid).tolist():
            if not any(rows[at]):
                reading.blank += 1
            elif titled:
                titled, valid[at] = False, False
                reading.titles += 1
            elif not valid[at]:
                refused.append(starts[at])
        reading.take(numbers[valid])
        reading.refuse_many(np.array(refused, np.int64))


FORMAT = FormatSpec(
    "plain", "one number a line, or one column of a CSV, with or without a header", _recognise, _read
)
