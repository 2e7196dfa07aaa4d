"""`plain`: one number a line, or one column of a CSV, with or without a header.

Read by these rules: a list without a column separator is lines; else it is CSV (RFC 4180, any of `,` `;` tab `|`),
and the column is the chosen one, else the one whose header says phone, else the only one that holds numbers.
"""

import csv
import io
from collections.abc import Iterator
from typing import IO

from stream_scrub.lists.formats.reading import BadList, Reading
from stream_scrub.numbering import normalise

_SEPARATORS = ";,\t|"
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


def read_plain(text: IO[str], region: str, column: str = "") -> Reading:
    """Every number of the list, national ones read in `region` (ISO 3166-1). `column` is a header's name, or a
    number from 1. Raises BadList when it cannot be told where the numbers are.
    """
    sample = [line for _, line in zip(range(_SAMPLE_LINES), text, strict=False)]
    lines = _chain(sample, text)
    separator = _separator(sample)
    reading = Reading()
    if separator is None:
        if column not in ("", "1") and column.casefold() != (_clean(sample[0]).casefold() if sample else ""):
            raise BadList(f"column {column!r} was asked for, but the list has one column")
        reading.described = "one number a line"
        _read_lines(lines, region, reading)
    else:
        place, titled = _column(sample, separator, region, column)
        reading.described = f"column {place + 1} of CSV by {_spoken(separator)}" + (
            ", with header" if titled else ""
        )
        _read_csv(lines, separator, place, titled, region, reading)
    return reading


def _chain(sample: list[str], rest: IO[str]) -> Iterator[str]:
    yield from sample
    yield from rest


def _separator(sample: list[str]) -> str | None:
    """The separator that most lines of the sample share, or most rows where quoted cells have line ends in them;
    None for a list of lines.
    """
    filled = [line for line in sample if line.strip()]
    lines = {s: sum(s in line for line in filled) for s in _SEPARATORS}
    best = max(lines, key=lambda s: lines[s])
    if lines[best] * 2 > len(filled):
        return best
    rows = {s: _rows_share(sample, s) for s in _SEPARATORS if any('"' in line for line in filled)}
    best = max(rows, key=lambda s: rows[s], default="")
    return best if best and rows[best] > 0.5 else None


def _rows_share(sample: list[str], separator: str) -> float:
    """The share of rows with more than one cell, if that is the separator."""
    try:
        rows = [row for row in csv.reader(sample, delimiter=separator) if any(row)]
    except csv.Error:
        return 0.0
    return sum(len(row) > 1 for row in rows) / max(1, len(rows))


def _spoken(separator: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[separator]


def _is_title(cell: str, region: str) -> bool:
    """A header, rather than a bad number: it has letters, and is no number."""
    return any(sign.isalpha() for sign in cell) and normalise(_clean(cell), region) is None


def _clean(cell: str) -> str:
    """A cell as text: quotes off, and Latin-1 bytes that were kept as surrogates read as Latin-1."""
    cell = cell.strip().strip("\"'").strip()
    if not cell.isascii() and any("\udc80" <= sign <= "\udcff" for sign in cell):
        cell = cell.encode("utf-8", "surrogateescape").decode("latin-1")
    return cell


def _read_lines(lines: Iterator[str], region: str, reading: Reading) -> None:
    take = reading.numbers.append
    for at, line in enumerate(lines, 1):
        found = normalise(line.strip(), region) or normalise(_clean(line), region)
        if found is not None:
            take(found[0])
        elif not line.strip():
            reading.blank += 1
        elif at > 1 or not _is_title(line, region):
            reading.refuse(at)


def _column(sample: list[str], separator: str, region: str, wanted: str) -> tuple[int, bool]:
    """The place of the number column, and whether the first line is a header."""
    try:
        rows = [row for row in csv.reader(io.StringIO("".join(sample)), delimiter=separator) if any(row)] or [
            []
        ]
    except csv.Error as error:
        raise _broken(1, error) from error
    first = [_clean(cell).casefold() for cell in rows[0]]
    titled = not any(normalise(_clean(cell), region) for cell in rows[0]) and any(
        c.isalpha() for c in "".join(first)
    )
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(first):
            raise BadList(f"column {wanted} was asked for, but the list has {len(first)}")
        return int(wanted) - 1, titled
    if wanted:
        if not titled or wanted.casefold() not in first:
            known = ", ".join(map(_speakable, first)) if titled else "none: the first line is no header"
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
    """A header's name as an error may tell it: what has as many digits as a phone number is not told."""
    return "..." if sum(sign.isdigit() for sign in title) >= 6 else title[:40]


def _holds_numbers(rows: list[list[str]], place: int, region: str) -> bool:
    cells = [_clean(row[place]) for row in rows if len(row) > place and row[place].strip()]
    valid = sum(normalise(cell, region) is not None for cell in cells)
    return valid > 0 and valid * 2 >= len(cells)


def _read_csv(
    lines: Iterator[str], separator: str, place: int, titled: bool, region: str, reading: Reading
) -> None:
    rows = csv.reader(lines, delimiter=separator)
    take = reading.numbers.append
    at = 0
    try:
        for row in rows:
            at, started = rows.line_num, at + 1
            if not any(row):
                reading.blank += 1
                continue
            if titled:
                titled = False
                continue
            found = normalise(_clean(row[place]), region) if len(row) > place else None
            if found is not None:
                take(found[0])
            else:
                reading.refuse(started)
    except csv.Error as error:
        raise _broken(at + 1, error) from error


def _broken(line: int, error: csv.Error) -> BadList:
    return BadList(f"line {line}: broken CSV ({error}); a quote that is never closed, perhaps")
