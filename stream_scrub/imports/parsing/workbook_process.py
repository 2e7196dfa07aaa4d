"""The process that reads one workbook or table. `python -m stream_scrub.imports.parsing.workbook_process TABLE WANTED MAX_BYTES MAX_S`,
the file on standard input, which can be sought in. TABLE is "Avro", "Parquet", or "" for a workbook.

The library has room for every cell between the first one and the farthest, copies a text for each cell that shares
it, and ends its process where it gets no memory. So the whole reading is done here, in bounded memory and time. Standard
output gets a `SheetHeader` and then the rows in blocks, each after its length in four bytes.
"""

import gc
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from importlib import import_module
from typing import IO, Any
from xml.parsers import expat

import msgspec

from stream_scrub import bounded_process

BLOCK_ROWS = 8192
_PLAIN = {str, int, float, bool}
_EMPTY_ROWS_MAX = 1 << 20  # one after another; a sheet has no more rows
_SHORT_EXACT = 1 << 24  # below, a float of 32 bits has all digits of a whole number
# A formula's cell without a result. A text may be empty.
_UNSAVED_XLSX = re.compile(
    rb"""<(?:\w{1,9}:)?c\b(?![^>]{0,250}\bt=["']str["'])[^>]*+>\s*+"""
    rb"""<(?:\w{1,9}:)?f\b[^>]{0,250}(?:/>|>[^<]*+</(?:\w{1,9}:)?f>)\s*+"""
    rb"""(?:<(?:\w{1,9}:)?v\s*+(?:/>|>\s*+</(?:\w{1,9}:)?v>)\s*+)?+</(?:\w{1,9}:)?c>"""
)
_ODS_CELL = re.compile(rb"""<table:table-cell\b(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
# Each kind of date and time, as it is read from its text.
_READERS: dict[type, Callable[[str], Any]] = {
    date: date.fromisoformat,
    time: time.fromisoformat,
    datetime: datetime.fromisoformat,
    timedelta: lambda seconds: timedelta(seconds=float(seconds)),
}


class TooManyEmptyRowsError(Exception):
    """The table has more empty rows than a file of leads."""


class UnsavedResultsError(Exception):
    """Formulas of the sheet have no results, so their cells would be read as empty."""


class SheetHeader(msgspec.Struct, frozen=True):
    """What is in the workbook, or why it could not be read."""

    names: list[str] = []  # of its sheets
    filled: list[str] = []  # the first sheets with rows; after the second one no other was read
    looked: int = 0  # how many sheets were read
    error: str = ""  # the kind of the error


def main(arguments: list[str]) -> None:
    """Read the sheet that is wanted, else the only one that holds rows."""
    bounded_process.end_with_parent()
    table, wanted, max_bytes, max_s = arguments
    document, out = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    library = import_module(_LIBRARIES[table])  # before the bound, which counts what is loaded by now
    gc.disable()  # all that it makes is kept until it ends
    bounded_process.bound(int(max_bytes), float(max_s))
    try:
        if table:
            header, rows = SheetHeader([table], [table], 1), list(_filled(_TABLES[table](document, library)))
        else:
            header, rows = _read(document, library, wanted)
    except BaseException as error:  # noqa: BLE001 - the library's panics are no Exception; only the kind may be shown
        header, rows = SheetHeader(error=type(error).__name__), []
    _put(out, msgspec.msgpack.encode(header))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        for _, row in block:
            if not _PLAIN.issuperset(map(type, row)):
                row[:] = [cell if type(cell) in _PLAIN else _packed(cell) for cell in row]
        _put(out, msgspec.msgpack.encode(block))
    out.flush()
    # No library gets to end itself: pyarrow aborts a process that ends before its threads have started.
    os._exit(0)


def _avro(document: IO[bytes], fastavro: Any) -> Iterator[list[Any]]:
    records = fastavro.reader(document)
    fields = records.writer_schema["fields"]
    names = [each["name"] for each in fields]
    short = [each["type"] == "float" or "float" in each["type"] for each in fields]
    yield names
    empty = 0
    for record in records:
        row = [_cell(record[name], short=is_short) for name, is_short in zip(names, short, strict=True)]
        # A record of nulls takes no byte: a file of 153 bytes may claim 2**40 of them.
        empty = 0 if any(cell != "" for cell in row) else empty + 1
        if empty > _EMPTY_ROWS_MAX:
            raise TooManyEmptyRowsError
        yield row


def _parquet(document: IO[bytes], parquet: Any) -> Iterator[list[Any]]:
    file = parquet.ParquetFile(document)
    yield file.schema_arrow.names
    for batch in file.iter_batches(BLOCK_ROWS, use_threads=False):
        columns = ((column.to_pylist(), str(column.type) in ("float", "halffloat")) for column in batch)
        cells = ([_cell(each, short=is_short) for each in column] for column, is_short in columns)
        yield from map(list, zip(*cells, strict=True))


_TABLES: dict[str, Callable[[IO[bytes], Any], Iterator[list[Any]]]] = {"Avro": _avro, "Parquet": _parquet}
_LIBRARIES = {"": "python_calamine", "Avro": "fastavro", "Parquet": "pyarrow.parquet"}


def _cell(value: Any, *, short: bool = False) -> Any:
    """A value of a table as a workbook would hold it: several of a list as one text, an object as JSON. `short`: a float
    of 32 bits, or fewer."""
    if value is None:
        return ""
    if short and not abs(value) < _SHORT_EXACT:
        return f"{value:.6e}"  # a number that has lost its last digits says so, as in a spreadsheet
    if isinstance(value, list):
        return " / ".join(map(str, map(_cell, value)))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if type(value) in _PLAIN | _READERS.keys() else str(value)


def _read(document: IO[bytes], calamine: Any, wanted: str) -> tuple[SheetHeader, list[tuple[int, list[Any]]]]:
    book = calamine.CalamineWorkbook.from_filelike(document)
    names = book.sheet_names
    chosen = names if not wanted else [wanted] if wanted in names else _by_place(names, wanted)
    filled: list[str] = []
    first: list[tuple[int, list[Any]]] = []
    looked = 0
    for name in chosen:
        looked += 1
        cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
        content = _content_of(document, name)
        if _lacks_results(content):
            raise UnsavedResultsError
        if b't="e"' in content or b"t='e'" in content:
            _ErrorCells(cells).parse(content)
        if rows := list(_filled(cells)):
            filled.append(name)
            first = first or rows
        if len(filled) > 1:
            break
    return SheetHeader(names, filled, looked), first


def _by_place(names: list[str], wanted: str) -> list[str]:
    at = int(wanted) if wanted.isascii() and wanted.isdigit() else 0
    return names[at - 1 : at] if at else []


def _filled(rows: Iterable[list[Any]]) -> Iterator[tuple[int, list[Any]]]:
    """The rows that hold something, without empty cells at their ends, each with its number from 1."""
    for number, row in enumerate(rows, 1):
        while row and row[-1] == "":
            row.pop()
        if row:
            yield number, row


def _packed(cell: Any) -> msgspec.msgpack.Ext:
    """A date or time as msgpack keeps it: its kind and text."""
    text = str(cell.total_seconds()) if isinstance(cell, timedelta) else cell.isoformat()
    return msgspec.msgpack.Ext(list(_READERS).index(type(cell)), text.encode())


def unpacked(kind: int, text: memoryview) -> Any:
    """The date or time that `_packed` packed."""
    return list(_READERS.values())[kind](str(text, "ascii"))


def _put(out: IO[bytes], payload: bytes) -> None:
    out.write(len(payload).to_bytes(4, "little"))
    out.write(payload)


def _content_of(document: IO[bytes], sheet: str) -> bytes:
    """The XML of an XLSX's sheet, or of an ODS; empty for other workbooks."""
    document.seek(0)
    if not zipfile.is_zipfile(document):
        return b""
    with zipfile.ZipFile(document) as archive:
        for path in (_path_of(archive, sheet), "content.xml"):
            if path in archive.namelist():
                return archive.read(path)
    return b""


def _lacks_results(content: bytes) -> bool:
    """Whether a formula of an XLSX's sheet, or of an ODS, has no result."""
    if _UNSAVED_XLSX.search(content):
        return True
    cells = (match[0] for match in _ODS_CELL.finditer(content))
    return any(b"table:formula=" in cell and b"office:value-type=" not in cell for cell in cells)


class _ErrorCells:
    """Goes through a sheet's XML and puts the text of each error (`#N/A`) at the place of its cell: the library gives an
    empty text for each."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self._rows = rows
        self._row = self._column = 0
        self._error = False
        self._text: list[str] | None = None

    def parse(self, content: bytes) -> None:
        """Go through it. Raises expat.ExpatError."""
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = lambda text: self._text.append(text) if self._text is not None else None
        parser.Parse(content, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag, place = name.rpartition(":")[2], attributes.get("r", "")
        if tag == "row":
            self._row, self._column = int(place or self._row + 1), 0
        elif tag == "c":
            letters = place.rstrip("0123456789").upper()
            self._column = _column(letters) if letters else self._column + 1
            self._row = int(place[len(letters) :] or self._row)
            self._error = attributes.get("t") == "e"
        elif tag == "v" and self._error:
            self._text = []

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] != "v" or self._text is None:
            return
        if self._row <= len(self._rows) and self._column <= len(row := self._rows[self._row - 1]):
            row[self._column - 1] = "".join(self._text)
        self._text = None


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _path_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """Where an XLSX keeps a sheet; empty if that is unknown."""
    found: dict[str, dict[str, str]] = {"sheet": {}, "Relationship": {}}
    keys = {"sheet": ("name", "id"), "Relationship": ("Id", "Target")}

    def start(tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag in keys:
            plain = {name.rpartition(":")[2]: value for name, value in attributes.items()}
            key, value = keys[tag]
            found[tag][plain.get(key, "")] = plain.get(value, "")

    for path in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels"):
        if path in archive.namelist():
            parser = expat.ParserCreate()
            parser.StartElementHandler = start
            parser.Parse(archive.read(path), True)
    target = found["Relationship"].get(found["sheet"].get(sheet, ""), "")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


if __name__ == "__main__":
    main(sys.argv[1:])
