"""What must be known of a workbook before, and besides, what the library that reads it says of it.

The library has room for every cell between the first one and the farthest, and ends the process where it gets none. So a
workbook is refused beforehand if its cells span too much. And of cells that hold an error (`#N/A`) it gives an empty text:
they are read here.
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO
from xml.parsers import expat

from stream_scrub.config import library_environment
from stream_scrub.errors import Refused

WORKBOOK_BYTES_MAX = 2 << 30  # unpacked; a million rows of ten columns are some 500 MB
WORKBOOK_CELLS_MAX = 64_000_000  # that a sheet spans, empty ones as well
WORKBOOK_ROWS_MAX = 1_048_576
XLS_MEMORY_MAX = 2 << 30  # bytes; a full sheet of XLS takes some 600 MB
_TRIAL_S = 600
_TRIAL = """
import contextlib, io, sys, python_calamine
with contextlib.suppress(ImportError):
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
    for name in book.sheet_names:
        book.get_sheet_by_name(name).to_python(skip_empty_area=False)
except Exception:
    sys.exit(0)  # it is told where the sheet is read
except BaseException:
    sys.exit(3)
"""
_BROKE_OFF = 3
_BLOCK = 1 << 20
_TAG_BYTES = 1 << 20  # bytes up to the next tag; what is longer is looked at closely
_BINARY = "xl/workbook.bin"
_TEXT = "content.xml"  # of an ODS
# A place beyond column Z, or far down, in any spelling that the library reads.
_WIDE = re.compile(rb"\sr\s*=\s*[\"'](?:[A-Za-z]{2,}|[A-Za-z]?[0-9]{7,})")
_CELLS = (b"<c ", b"<c>", b"<c/", b"<c\t", b"<c\n", b"<c\r")
_PREFIXED = re.compile(rb"<[^<>:\s]+:c[\s/>]")
_PLACE = re.compile(r"([A-Za-z]{1,8})([0-9]{1,12})")
_PANIC = "this workbook cannot be opened (it is damaged): save it anew, or as CSV"
_NOT_ONE = "this workbook cannot be opened (its XML is broken)"


class _FarOutError(Exception):
    """A cell stands too far out."""


def need_bounded(name: str, archive: zipfile.ZipFile) -> None:
    """Raises Refused for a workbook (XLSX or ODS) that would take too much memory, or whose cells cannot be told."""
    held = archive.infolist()
    if any(_path(info) == _BINARY for info in held):
        raise Refused(f"{name}: this is a binary workbook (XLSB): save it as XLSX")
    if sum(info.file_size for info in held) > WORKBOOK_BYTES_MAX:
        raise Refused(
            f"{name}: this workbook unpacks to more than {WORKBOOK_BYTES_MAX >> 30} GiB: save it as CSV"
        )
    try:
        for info in held:
            if _path(info) == _TEXT:
                _walk(archive, info, _OdsWalk())
            elif not info.is_dir() and _is_odd(archive, info):
                _walk(archive, info, _SheetWalk())
    except _FarOutError as error:
        raise Refused(
            f"{name}: a cell stands so far out that the sheet spans more than {WORKBOOK_CELLS_MAX:,} cells:"
            " delete that cell, or save the sheet as CSV"
        ) from error
    except Refused as error:
        raise Refused(f"{name}: {error}") from error


def need_small(name: str, document: IO[bytes]) -> None:
    """Raises Refused for an XLS that takes too much memory. Its cells cannot be found in it without reading it, so a
    process of its own tries."""
    document.seek(0)
    try:
        tried = subprocess.run(  # noqa: S603  # of nothing that comes from a file
            [sys.executable, "-P", "-c", _TRIAL, str(XLS_MEMORY_MAX)],
            input=document.read(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=library_environment(),
            timeout=_TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(
            f"{name}: this workbook takes more than {_TRIAL_S} s to open: save it as CSV"
        ) from error
    if tried.returncode < 0:
        raise Refused(
            f"{name}: a cell stands so far out that the workbook takes more than {XLS_MEMORY_MAX >> 30} GiB: save it as CSV"
        )
    if tried.returncode == _BROKE_OFF:
        raise Refused(f"{name}: {_PANIC}")
    document.seek(0)


@contextmanager
def no_panic(name: str) -> Iterator[None]:
    """Raises Refused where the library that reads workbooks meets what it did not foresee: its panics are no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise Refused(f"{name}: {_PANIC}") from error


def put_errors(document: IO[bytes], sheet: str, rows: Sequence[list[object]]) -> None:
    """Put the texts of cells that hold an error into the rows of an XLSX's sheet; nothing is done to other workbooks."""
    document.seek(0)
    if not zipfile.is_zipfile(document):
        return
    with zipfile.ZipFile(document) as archive:
        info = _sheet_of(archive, sheet)
        if info is None or not any(
            b't="e"' in piece or b"t='e'" in piece for piece in _pieces(archive, info)
        ):
            return

        def put(row: int, column: int, text: str) -> None:
            if row < len(rows) and column < len(rows[row]):
                rows[row][column] = text

        _walk(archive, info, _SheetWalk(put))


class _SheetWalk:
    """Goes through a sheet of XLSX as the library does. `found` is told each error, with its place counted from 0."""

    def __init__(self, found: Callable[[int, int, str], None] | None = None) -> None:
        self._found = found
        self.sheet = False
        self._row = self._column = 0
        self._at: tuple[int, int] | None = None
        self._filled = self._error = False
        self._text: list[str] | None = None
        self._rows = self._columns = 0

    def start(self, name: str, told: dict[str, str]) -> None:
        """An element begins."""
        tag = name.rpartition(":")[2]
        if not self.sheet:
            self.sheet = tag == "sheetData"
        elif self._at is not None:
            self._filled = True
            self._text = [] if tag == "v" and self._error else None
        elif tag == "row":
            if "r" in told:
                self._row = _number(told["r"]) - 1
        elif tag == "c":
            row = self._row
            if "r" in told:
                place = _PLACE.fullmatch(told["r"])
                if place is None:
                    raise Refused(_NOT_ONE)
                row, self._column = _number(place[2]) - 1, _column(place[1]) - 1
            self._at, self._filled, self._error = (row, self._column), False, told.get("t") == "e"

    def text(self, text: str) -> None:
        """Text between tags."""
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        """An element ends."""
        tag = name.rpartition(":")[2]
        if not self.sheet:
            return
        if tag == "c" and self._at is not None:
            if self._filled:
                self._take(*self._at)
            self._column += 1
            self._at = None
        elif tag == "v" and self._at is not None and self._text is not None:
            if self._found is not None:
                self._found(*self._at, "".join(self._text))
            self._text = None
        elif tag == "row":
            self._row, self._column = self._row + 1, 0

    def _take(self, row: int, column: int) -> None:
        self._rows, self._columns = max(self._rows, row + 1), max(self._columns, column + 1)
        _need_near(self._rows, self._columns)


class _OdsWalk:
    """Goes through the tables of an ODS: how many cells each spans, with those that are said once for many."""

    def __init__(self) -> None:
        self.sheet = False
        self._begin()
        self._repeated = self._column = self._last = 0
        self._cells = 0

    def _begin(self) -> None:
        self._rows = self._columns = self._filled = 0

    def start(self, name: str, told: dict[str, str]) -> None:
        """An element begins."""
        tag = name.rpartition(":")[2]
        if tag == "table":
            self.sheet = True
            self._begin()
        elif tag == "table-row":
            self._repeated, self._column, self._last = _times(told, "number-rows-repeated"), 0, 0
        elif tag in {"table-cell", "covered-table-cell"}:
            self._column += _times(told, "number-columns-repeated")
            if any(each.rpartition(":")[2].endswith("value-type") for each in told):
                self._last = self._column
        elif self._column:  # what is in a cell
            self._last = self._column

    def text(self, text: str) -> None:
        """Text between tags."""

    def end(self, name: str) -> None:
        """An element ends."""
        if name.rpartition(":")[2] == "table-row":
            self._rows += self._repeated
            if self._last:
                self._filled, self._columns = self._rows, max(self._columns, self._last)
                _need_near(self._filled, self._columns)
            self._column = 0


def _path(info: zipfile.ZipInfo) -> str:
    """A document's path as the library compares it."""
    return info.filename.replace("\\", "/").lower()


def _need_near(rows: int, columns: int) -> None:
    if rows > WORKBOOK_ROWS_MAX or rows * columns > WORKBOOK_CELLS_MAX:
        raise _FarOutError


def _times(told: dict[str, str], what: str) -> int:
    return next((_number(text) for name, text in told.items() if name.rpartition(":")[2] == what), 1)


def _number(text: str) -> int:
    """Raises Refused for what is no count."""
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(_NOT_ONE)
    return int(text)


def _column(letters: str) -> int:
    """The number of a column, counted from 1."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def _is_odd(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether a document has cells far out, or such as do not say where they are, or so may have: nothing is taken for
    certain but what programs write."""
    return any(
        sum(map(piece.count, _CELLS)) != piece.count(b'<c r="')
        or (b":c" in piece and _PREFIXED.search(piece))
        or _WIDE.search(piece)
        or len(piece) > _BLOCK + _TAG_BYTES
        for piece in _pieces(archive, info)
    )


def _walk(archive: zipfile.ZipFile, info: zipfile.ZipInfo, walk: _SheetWalk | _OdsWalk) -> None:
    """Raises Refused for a table whose XML is broken; other documents are let be."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = walk.start, walk.end
    parser.CharacterDataHandler = walk.text
    try:
        with archive.open(info) as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        if walk.sheet or any(b"sheetData" in piece for piece in _pieces(archive, info)):
            raise Refused(_NOT_ONE) from error


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A document's bytes; no tag begins in one piece and ends in the next, unless it is a very long one."""
    with archive.open(info) as file:
        rest = b""
        while block := file.read(_BLOCK):
            block = rest + block
            cut = block.rfind(b"<")
            if cut <= 0 or len(block) - cut > _TAG_BYTES:
                cut = len(block)
            yield block[:cut]
            rest = block[cut:]
        yield rest


def _sheet_of(archive: zipfile.ZipFile, sheet: str) -> zipfile.ZipInfo | None:
    """Where an XLSX keeps a sheet; None if that cannot be told."""
    documents = {info.filename: info for info in archive.infolist()}
    names: dict[str, str] = {}
    targets: dict[str, str] = {}

    def named(tag: str, told: dict[str, str]) -> None:
        if tag.rpartition(":")[2] == "sheet" and "name" in told:
            names[told["name"]] = next((v for k, v in told.items() if k.rpartition(":")[2] == "id"), "")

    def related(tag: str, told: dict[str, str]) -> None:
        if tag.rpartition(":")[2] == "Relationship":
            targets[told.get("Id", "")] = told.get("Target", "")

    for path, told in (("xl/workbook.xml", named), ("xl/_rels/workbook.xml.rels", related)):
        parser = expat.ParserCreate()
        parser.StartElementHandler = told
        if path in documents:
            parser.Parse(archive.read(path), True)
    target = targets.get(names.get(sheet, ""), "")
    return documents.get(target.removeprefix("/") if target.startswith("/") else f"xl/{target}")
