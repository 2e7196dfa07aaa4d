"""Goes through the documents of a workbook before the library that reads it does: how far out its cells stand, and what
memory they take."""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from xml.parsers import expat

from stream_scrub.errors import Refused

WORKBOOK_CELLS_MAX = 64_000_000  # that a sheet spans, empty ones as well
WORKBOOK_ROWS_MAX = 1_048_576
WORKBOOK_MEMORY_MAX = (
    2 << 30
)  # bytes that the cells with something in them take, as the library holds them and Python
WORKBOOK_TAG_BYTES_MAX = 8 << 20  # of one tag, or comment, where cells must be looked at closely
CELL_BYTES = 100  # of a cell without its text
BLOCK = 1 << 20
TAG_BYTES = 1 << 20  # bytes up to the next tag; what is longer is looked at closely
NOT_ONE = "this workbook cannot be opened (its XML is broken)"
_INDEX_DIGITS = 12
_ODS_CELLS = frozenset({"table-cell", "covered-table-cell"})
_PLACE = re.compile(r"([A-Za-z]{1,8})([0-9]{1,12})")


class TooLargeError(Exception):
    """The cells span, or take, too much. Its text says it for people."""


class Text:
    """What a text takes in memory, told piece by piece: the library's UTF-8, and Python's signs of equal width."""

    def __init__(self) -> None:
        self._signs = self._bytes = 0
        self._width = 1

    def add(self, piece: str, times: int = 1) -> None:
        """A piece, so many times."""
        widest = max(piece, default="")
        self._width = max(self._width, 1 if widest <= "\xff" else 2 if widest <= "\uffff" else 4)
        self._signs += times * len(piece)
        self._bytes += times * (len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace")))

    @property
    def weight(self) -> int:
        """Bytes."""
        return self._bytes + self._width * self._signs


class Walk(Protocol):
    """Is shown a document. `sheet`: it has a table."""

    sheet: bool

    def start(self, name: str, told: dict[str, str]) -> None:
        """An element begins."""
        ...

    def text(self, text: str) -> None:
        """Text between tags."""
        ...

    def end(self, name: str) -> None:
        """An element ends."""
        ...


class SheetWalk:
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
                    raise Refused(NOT_ONE)
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


class SharedTexts:
    """Goes through the texts that cells share. `weights` has what each takes in memory."""

    def __init__(self) -> None:
        self.sheet = False
        self.weights: list[int] = []
        self._text: Text | None = None

    def start(self, name: str, _told: dict[str, str]) -> None:
        """An element begins."""
        if name.rpartition(":")[2] == "si":
            self._text = Text()

    def text(self, text: str) -> None:
        """Text between tags."""
        if self._text is not None:
            self._text.add(text)

    def end(self, name: str) -> None:
        """An element ends."""
        if name.rpartition(":")[2] == "si" and self._text is not None:
            self.weights.append(self._text.weight)
            self._text = None


class WeighingWalk(SheetWalk):
    """Goes through a sheet of XLSX and adds to `taken` what its cells take in memory. Each has its text for itself, also
    one that it shares: `shared` has what these take, `unknown` what one takes that is not there."""

    def __init__(self, shared: Sequence[int], unknown: int, taken: "Taken") -> None:
        super().__init__()
        self._shared, self._unknown, self._taken = shared, unknown, taken
        self._of_shared = False
        self._own, self._index = Text(), ""

    def start(self, name: str, told: dict[str, str]) -> None:
        """An element begins."""
        outside = self._at is None
        super().start(name, told)
        if outside and self._at is not None:
            self._of_shared = told.get("t") == "s"
            self._own, self._index = Text(), ""
        elif name.rpartition(":")[2] == "v":
            self._index = ""

    def text(self, text: str) -> None:
        """Text between tags."""
        super().text(text)
        if self._at is not None:
            self._own.add(text)
            self._index = (self._index + text)[:_INDEX_DIGITS]

    def end(self, name: str) -> None:
        """An element ends."""
        if self._of_shared and self._at is not None and name.rpartition(":")[2] == "v":
            told = self._index.strip()
            place = int(told) if told.isascii() and told.isdigit() else len(self._shared)
            self._taken.add(self._shared[place] if place < len(self._shared) else self._unknown)
        super().end(name)

    def _take(self, row: int, column: int) -> None:
        super()._take(row, column)
        self._taken.add(CELL_BYTES + self._own.weight)


class Taken:
    """The memory that the cells of a workbook take, so far."""

    def __init__(self) -> None:
        self.bytes = 0

    def add(self, count: int) -> None:
        """Some bytes more. Raises TooLargeError."""
        self.bytes += count
        if self.bytes > WORKBOOK_MEMORY_MAX:
            raise TooLargeError(
                f"the cells of this workbook take more than {WORKBOOK_MEMORY_MAX >> 30} GiB of memory: save the sheet as CSV"
            )


class OdsWalk:
    """Goes through the tables of an ODS: how many cells each spans, and what all of them take, with those that are said
    once for many."""

    def __init__(self) -> None:
        self.sheet = False
        self._begin()
        self._repeated = self._column = self._last = self._times = 0
        self._taken, self._row, self._own = Taken(), 0, Text()

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
            self._row = 0
        elif tag in _ODS_CELLS:
            self._times, self._own = _times(told, "number-columns-repeated"), Text()
            self._column += self._times
            if any(each.rpartition(":")[2].endswith("value-type") for each in told):
                self._last = self._column
            for text in told.values():
                self._own.add(text)
        elif self._column:  # what is in a cell
            self._last = self._column
            if tag == "s":  # so many spaces
                self._own.add(" ", _times(told, "c"))

    def text(self, text: str) -> None:
        """Text between tags."""
        self._own.add(text)

    def end(self, name: str) -> None:
        """An element ends."""
        tag = name.rpartition(":")[2]
        if tag in _ODS_CELLS and self._last == self._column:
            self._row += self._times * (CELL_BYTES + self._own.weight)
        elif tag == "table-row":
            self._rows += self._repeated
            if self._last:
                self._filled, self._columns = self._rows, max(self._columns, self._last)
                _need_near(self._filled, self._columns)
                self._taken.add(self._repeated * self._row)
            self._column = 0


def _need_near(rows: int, columns: int) -> None:
    if rows > WORKBOOK_ROWS_MAX or rows * columns > WORKBOOK_CELLS_MAX:
        raise TooLargeError(
            f"a cell stands so far out that the sheet spans more than {WORKBOOK_CELLS_MAX:,} cells:"
            " delete that cell, or save the sheet as CSV"
        )


def _times(told: dict[str, str], what: str) -> int:
    return next((_number(text) for name, text in told.items() if name.rpartition(":")[2] == what), 1)


def _number(text: str) -> int:
    """Raises Refused for what is no count."""
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(NOT_ONE)
    return int(text)


def _column(letters: str) -> int:
    """The number of a column, counted from 1."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def walk(archive: zipfile.ZipFile, info: zipfile.ZipInfo, through: Walk) -> None:
    """Raises Refused for a table whose XML is broken; other documents are let be."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = through.start, through.end
    parser.CharacterDataHandler = through.text
    try:
        with archive.open(info) as file:
            fed = 0
            while block := file.read(BLOCK):
                parser.Parse(block)
                fed += len(block)
                # A tag that is not whole yet is gone through anew with each block.
                if fed - parser.CurrentByteIndex > WORKBOOK_TAG_BYTES_MAX:
                    raise Refused(
                        f"a tag in it is longer than {WORKBOOK_TAG_BYTES_MAX >> 20} MiB: save it anew"
                    )
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        if through.sheet or any(b"sheetData" in piece for piece in pieces(archive, info)):
            raise Refused(NOT_ONE) from error


def pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A document's bytes; no tag begins in one piece and ends in the next, unless it is a very long one."""
    with archive.open(info) as file:
        rest = b""
        while block := file.read(BLOCK):
            block = rest + block
            cut = block.rfind(b"<")
            if cut <= 0 or len(block) - cut > TAG_BYTES:
                cut = len(block)
            yield block[:cut]
            rest = block[cut:]
        yield rest
