"""Reads a sheet of a workbook (XLSX, XLS, ODS), or a table in Avro or Parquet, in a process of its own (`workbook_process`), in bounded memory and time:
a few kilobytes can ask for 400 GB."""

import csv
import io
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from importlib.util import find_spec
from typing import IO, Any, Final
from zipfile import ZipInfo

import msgspec

from stream_scrub import bounded_process
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.imports.parsing.parsed_list import NO_ROWS
from stream_scrub.imports.parsing.workbook_process import (
    SheetHeader,
    TooManyEmptyRowsError,
    UnsavedResultsError,
    unpacked,
)
from stream_scrub.languages import by_door, say
from stream_scrub.texts import shown

_SHEET_HEADER = msgspec.msgpack.Decoder(SheetHeader)

WORKBOOK_MEMORY_MAX = 3 << 30  # bytes; a million rows of ten short texts take about half
_READ_S = 600
_DAMAGED = "this workbook cannot be opened (it is damaged): save it again, or as CSV"
_OPTIONAL = {"Avro": ("fastavro", "avro"), "Parquet": ("pyarrow", "arrow")}  # the library, and its extra
_OFFICE = ("[Content_Types].xml", "content.xml")
_BLOCK_SIGNS = 1 << 18
_BINARY = "xl/workbook.bin"
ZIP: Final = b"PK\x03\x04"
OLE: Final = b"\xd0\xcf\x11\xe0"  # the beginning of .xls and .doc files
TABLES: Final = {b"Obj\x01": "Avro", b"PAR1": "Parquet"}
Row = Sequence[Any]


class UnclearSheet(ConfigError):
    """A workbook has rows on several `sheets`, or lacks the sheet that was named."""

    def __init__(self, problem: str, sheets: Sequence[str]) -> None:
        super().__init__([problem])
        self.sheets = [*sheets]


def is_office(name: str, members: Sequence[ZipInfo]) -> bool:
    """Whether a zip of these files is an office document. Raises BadFile for a binary workbook."""
    names = {info.filename for info in members}
    if names.isdisjoint(_OFFICE):
        return False
    if any(each.replace("\\", "/").lower() == _BINARY for each in names):
        why = say("this is a binary workbook (XLSB): save it as XLSX")
        raise BadFile(f"{name}: {why}")
    return True


def read_sheet(
    name: str, document: IO[bytes], wanted: str, table: str = ""
) -> tuple[str, Iterator[tuple[int, Row]]]:
    """The name of the sheet that is `wanted` (by name, or by its place from 1), else of the only one with rows; and its
    rows that hold something, each with its number from 1. A `table` ("Avro", "Parquet") is a sheet with its columns' names
    above.

    `name` is the file's, for errors. Raises BadFile for what cannot be read, ConfigError if the sheet is not clear.
    """
    # A reader starts in half of the time without the settings.
    from stream_scrub.config import library_environment  # noqa: PLC0415

    if table in _OPTIONAL:
        library, extra = _OPTIONAL[table]
        if find_spec(library) is None:  # the other process needs it
            why = f"files in {table} need another library: pip install 'stream-scrub[{extra}]'"
            page = say("the server cannot read files in %(table)s: save the file as CSV", table=table)
            raise BadFile(by_door(why, page))
    document.seek(0)
    max_bytes = bounded_process.affordable(WORKBOOK_MEMORY_MAX)
    bounds = (str(max_bytes), str(_READ_S))
    process = subprocess.Popen(  # noqa: S603  # of nothing that comes from a file
        [sys.executable, "-P", "-m", "stream_scrub.imports.parsing.workbook_process", table, wanted, *bounds],
        stdin=document.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=library_environment(),
        start_new_session=True,  # Ctrl-C is for the command
    )
    with process:
        assert process.stdout is not None, "it has a pipe"
        header, blocks = _taken(process.stdout)
    if process.returncode or header.error:
        raise BadFile(f"{name}: {_why(process.returncode, header.error, table, max_bytes)}")
    return _chosen(name, header, wanted), _rows(blocks)


def text_of(cell: Any) -> str:
    """A cell as a text: whole numbers without a point, dates as in 2026-11-24."""
    match cell:
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1 << 53 else repr(cell)
        case None:
            return ""
        case datetime():
            return cell.isoformat(" ")
        case date() | time():
            return cell.isoformat()
    return str(cell)


def csv_blocks(rows: Iterator[tuple[int, Row]]) -> Iterator[bytes]:
    """The rows as CSV in UTF-8, each on the line of its number, and as wide as the widest row above it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines = width = 0
    for number, row in rows:
        text.write("\n" * (number - lines - 1))
        # A line end in a cell would move the lines below it.
        cells = [" ".join(text_of(cell).splitlines()) for cell in row]
        width = max(width, len(cells))
        writer.writerow(cells + [""] * (width - len(cells)))
        lines = number
        if text.tell() > _BLOCK_SIGNS:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _taken(pipe: IO[bytes]) -> tuple[SheetHeader, list[bytes]]:
    """What the process has read, packed; it may have ended in the middle."""
    header = _SHEET_HEADER.decode(_payload(pipe) or b"\x80")
    blocks = []
    while payload := _payload(pipe):
        blocks.append(payload)
    return header, blocks


def _rows(blocks: list[bytes]) -> Iterator[tuple[int, Row]]:
    """The rows in the blocks, each of which is dropped before the next one."""
    decoder = msgspec.msgpack.Decoder(list[tuple[int, list[Any]]], ext_hook=unpacked)
    blocks.reverse()
    while blocks:
        yield from decoder.decode(blocks.pop())


def _payload(pipe: IO[bytes]) -> bytes:
    size = int.from_bytes(pipe.read(4), "little")
    payload = pipe.read(size)
    return payload if len(payload) == size else b""


def _why(code: int, error: str, table: str, max_bytes: int) -> str:
    what, cure = (
        (f"this {table} file", "convert it to CSV") if table else ("this workbook", "save the sheet as CSV")
    )
    if code == -signal.SIGALRM:
        page = say(
            "the file takes more than %(seconds)s s to read: save its sheet as a CSV file",
            seconds=str(_READ_S),
        )
        return by_door(f"{what} takes more than {_READ_S} s to read: {cure}", page)
    if code or error == "MemoryError":
        why = (
            f"{what} takes more than {max_bytes >> 20:,} MiB of memory (a cell stands far out, or"
            f" many cells share a long text): {cure}"
        )
        page = say(
            "the file takes more than %(most)s MiB of memory: save its sheet as a CSV file",
            most=max_bytes >> 20,
        )
        return by_door(why, page)
    if error == TooManyEmptyRowsError.__name__:
        page = say("the sheet holds more than a million empty rows: delete them, or save it as a CSV file")
        return by_door(f"{what} holds more than a million empty rows: {cure}", page)
    if error == UnsavedResultsError.__name__:
        return say("it holds formulas without results: open it in a spreadsheet program, and save it")
    page = say("the file cannot be opened: save it again, or as a CSV file")
    return by_door(_DAMAGED if error == "PanicException" else f"{what} cannot be opened ({error})", page)


def _chosen(name: str, header: SheetHeader, wanted: str) -> str:
    """The sheet that was read. Raises ConfigError, BadFile."""
    if not header.looked:
        listed = ", ".join(map(shown, header.names))
        why = f"--sheet: no sheet is called {wanted!r}; there are: {listed}"
        page = say("the workbook has no such sheet: choose one of %(sheets)s", sheets=listed)
        raise UnclearSheet(by_door(why, page), header.names)
    if len(header.filled) > 1:
        listed, rest = ", ".join(map(shown, header.filled)), len(header.names) - header.looked
        more = f", and {rest} more" if rest else ""
        why = f"{name}: it has 2 sheets ({listed}) with rows{more}: name one with --sheet"
        page = say("several sheets of the workbook have rows: choose one of %(sheets)s", sheets=listed)
        raise UnclearSheet(
            by_door(why, page),
            [*header.filled, *(each for each in header.names if each not in header.filled)],
        )
    if not header.filled:
        raise BadFile(by_door(f"{name}: it holds no rows", say(NO_ROWS)))
    return header.filled[0]
