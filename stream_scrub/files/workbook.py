"""What must be known of a workbook before, and besides, what the library that reads it says of it.

The library has room for every cell between the first one and the farthest, and ends the process where it gets none. So a
workbook is refused beforehand if its cells span, or hold, too much. And of cells that hold an error (`#N/A`) it gives an
empty text: they are read here.
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple
from xml.parsers import expat

from stream_scrub.config import library_environment
from stream_scrub.errors import Refused
from stream_scrub.files.workbook_walk import (
    BLOCK,
    CELL_BYTES,
    TAG_BYTES,
    WORKBOOK_MEMORY_MAX,
    OdsWalk,
    SharedTexts,
    SheetWalk,
    Taken,
    TooLargeError,
    WeighingWalk,
    pieces,
    walk,
)

WORKBOOK_BYTES_MAX = 2 << 30  # unpacked; a million rows of ten columns are some 500 MB
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
_BINARY = "xl/workbook.bin"
_TEXT = "content.xml"  # of an ODS
# A place beyond column Z, or far down, in any spelling that the library reads.
_WIDE = re.compile(rb"\sr\s*=\s*[\"'](?:[A-Za-z]{2,}|[A-Za-z]?[0-9]{7,})")
_SHARED = "sharedstrings.xml"
_ASCII_BYTES = 2  # that a sign of a text takes, once in the library and once in Python
_WIDE_BYTES = 5  # the same by the byte of its UTF-8, at most
_CELLS = (b"<c ", b"<c>", b"<c/", b"<c\t", b"<c\n", b"<c\r")
_PREFIXED = re.compile(rb"<[^<>:\s]+:c[\s/>]")
_PANIC = "this workbook cannot be opened (it is damaged): save it anew, or as CSV"


def need_bounded(name: str, archive: zipfile.ZipFile) -> None:
    """Raises Refused for a workbook (XLSX or ODS) that would take too much memory, or whose cells cannot be told."""
    held = archive.infolist()
    if any(_path(info) == _BINARY for info in held):
        raise Refused(f"{name}: this is a binary workbook (XLSB): save it as XLSX")
    if sum(info.file_size for info in held) > WORKBOOK_BYTES_MAX:
        raise Refused(
            f"{name}: this workbook unpacks to more than {WORKBOOK_BYTES_MAX >> 30} GiB: save it as CSV"
        )
    seen: list[tuple[zipfile.ZipInfo, _Seen]] = []
    try:
        for info in held:
            if _path(info) == _TEXT:
                walk(archive, info, OdsWalk())
            elif not info.is_dir():
                found = _look(archive, info)
                seen.append((info, found))
                if found.odd:
                    walk(archive, info, SheetWalk())
        _need_light(archive, seen)
    except (TooLargeError, Refused) as error:
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
        if info is None or not any(b't="e"' in piece or b"t='e'" in piece for piece in pieces(archive, info)):
            return

        def put(row: int, column: int, text: str) -> None:
            if row < len(rows) and column < len(rows[row]):
                rows[row][column] = text

        walk(archive, info, SheetWalk(put))


def _path(info: zipfile.ZipInfo) -> str:
    """A document's path as the library compares it."""
    return info.filename.replace("\\", "/").lower()


class _Seen(NamedTuple):
    """What was seen of a document's bytes: (a) whether it has cells far out, or such as do not say where they are, or so
    may have: nothing is taken for certain but what programs write. (b) How many cells it has at most, and (c) what its
    texts take at most: `longest` is the longest of those that cells share."""

    odd: bool
    cells: int
    texts: int
    longest: int


def _look(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Seen:
    odd, cells, size, width, longest, since = False, 0, 0, _ASCII_BYTES, 0, 0
    for piece in pieces(archive, info):
        found = sum(map(piece.count, _CELLS))
        prefixed = b":c" in piece and _PREFIXED.search(piece) is not None
        odd = (
            odd
            or found != piece.count(b'<c r="')
            or prefixed
            or _WIDE.search(piece) is not None
            or len(piece) > BLOCK + TAG_BYTES
        )
        cells += piece.count(b"<") if prefixed else found
        size += len(piece)
        if not piece.isascii() or b"&#" in piece:
            width = _WIDE_BYTES
        # Not at what a comment, or a text in brackets, may hold: a text would seem shorter than it is.
        parts = [len(piece)] if b"<!" in piece else list(map(len, piece.split(b"<si>")))
        longest, since = max(longest, since + parts[0]), parts[-1] + (since if len(parts) == 1 else 0)
        longest = max(longest, since, *parts[1:])
    return _Seen(odd, cells, size * width, longest * width)


def _need_light(archive: zipfile.ZipFile, seen: Sequence[tuple[zipfile.ZipInfo, _Seen]]) -> None:
    """Raises TooLargeError if the cells of an XLSX take too much: the library gives each its own copy of a text that many
    share. They are counted only if they may take so much."""
    shared = [(info, each) for info, each in seen if _path(info).endswith(_SHARED)]
    unknown = max((each.longest for _, each in shared), default=0)
    sheets = [(info, each) for info, each in seen if each.cells]
    if sum(each.cells * (CELL_BYTES + unknown) + each.texts for _, each in sheets) <= WORKBOOK_MEMORY_MAX:
        return
    texts = SharedTexts()
    for info, _ in shared:
        walk(archive, info, texts)
    taken = Taken()
    for info, _ in sheets:
        walk(archive, info, WeighingWalk(texts.weights, unknown, taken))


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
