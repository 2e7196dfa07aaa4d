"""Reads a sheet of a workbook (XLSX, XLS, ODS), or a table in Avro or Parquet, in a process of its own (`workbook_process`), in bounded memory and time:
a few kilobytes can ask for 400 GB."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import IO, Any

import msgspec

from stream_scrub import bounded_process
from stream_scrub.config import library_environment
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files.columns import shown
from stream_scrub.files.workbook_process import SheetHeader, TooManyEmptyRowsError, unpacked

WORKBOOK_MEMORY_MAX = 3 << 30  # bytes; a million rows of ten short texts take about half
_READ_S = 600
_DAMAGED = "this workbook cannot be opened (it is damaged): save it again, or as CSV"
_OPTIONAL = {"Avro": ("fastavro", "avro"), "Parquet": ("pyarrow", "arrow")}  # the library, and its extra
Row = Sequence[Any]


class UnclearSheet(ConfigError):
    """A workbook has rows on several `sheets`, or lacks the sheet that was named."""

    def __init__(self, problem: str, sheets: Sequence[str]) -> None:
        super().__init__([problem])
        self.sheets = [*sheets]


def read_sheet(
    name: str, document: IO[bytes], wanted: str, table: str = ""
) -> tuple[str, list[tuple[int, Row]]]:
    """The name of the sheet that is `wanted` (by name, or by its place from 1), else of the only one with rows; and its
    rows that hold something, each with its number from 1. A `table` ("Avro", "Parquet") is a sheet with its columns' names
    above.

    `name` is the file's, for errors. Raises BadFile for what cannot be read, ConfigError if the sheet is not clear.
    """
    if table in _OPTIONAL:
        library, extra = _OPTIONAL[table]
        if find_spec(library) is None:  # the other process needs it
            raise BadFile(f"files in {table} need another library: pip install 'stream-scrub[{extra}]'")
    document.seek(0)
    max_bytes = bounded_process.affordable(WORKBOOK_MEMORY_MAX)
    bounds = (str(max_bytes), str(_READ_S))
    process = subprocess.Popen(  # noqa: S603  # of nothing that comes from a file
        [sys.executable, "-P", "-m", "stream_scrub.files.workbook_process", table, wanted, *bounds],
        stdin=document.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=library_environment(),
        start_new_session=True,  # Ctrl-C is for the command
    )
    with process:
        assert process.stdout is not None, "it has a pipe"
        header, rows = _taken(process.stdout)
    if process.returncode or header.error:
        raise BadFile(f"{name}: {_why(process.returncode, header.error, table, max_bytes)}")
    return _chosen(name, header, wanted), rows


def _taken(pipe: IO[bytes]) -> tuple[SheetHeader, list[tuple[int, Row]]]:
    """What the process has read; it may have ended in the middle."""
    header = msgspec.msgpack.decode(_payload(pipe) or b"\x80", type=SheetHeader)
    decoder = msgspec.msgpack.Decoder(list[tuple[int, list[Any]]], ext_hook=unpacked)
    rows: list[tuple[int, Row]] = []
    while payload := _payload(pipe):
        rows += decoder.decode(payload)
    return header, rows


def _payload(pipe: IO[bytes]) -> bytes:
    size = int.from_bytes(pipe.read(4), "little")
    payload = pipe.read(size)
    return payload if len(payload) == size else b""


def _why(code: int, error: str, table: str, max_bytes: int) -> str:
    what, cure = (
        (f"this {table} file", "convert it to CSV") if table else ("this workbook", "save the sheet as CSV")
    )
    if code == -signal.SIGALRM:
        return f"{what} takes more than {_READ_S} s to read: {cure}"
    if code or error == "MemoryError":
        return (
            f"{what} takes more than {max_bytes >> 20:,} MiB of memory (a cell stands far out, or"
            f" many cells share a long text): {cure}"
        )
    if error == TooManyEmptyRowsError.__name__:
        return f"{what} holds more than a million empty rows: {cure}"
    return _DAMAGED if error == "PanicException" else f"{what} cannot be opened ({error})"


def _chosen(name: str, header: SheetHeader, wanted: str) -> str:
    """The sheet that was read. Raises ConfigError, BadFile."""
    if not header.looked:
        listed = ", ".join(map(shown, header.names))
        raise UnclearSheet(f"--sheet: no sheet is called {wanted!r}; there are: {listed}", header.names)
    if len(header.filled) > 1:
        listed, rest = ", ".join(map(shown, header.filled)), len(header.names) - header.looked
        more = f", and {rest} more" if rest else ""
        why = f"{name}: it has 2 sheets ({listed}) with rows{more}: name one with --sheet"
        raise UnclearSheet(
            why, [*header.filled, *(each for each in header.names if each not in header.filled)]
        )
    if not header.filled:
        raise BadFile(f"{name}: it holds no rows")
    return header.filled[0]
