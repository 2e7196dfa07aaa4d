"""From the cells of a column, as bytes in a block, to numbers: what a spreadsheet did to them is undone where that is
sure, and everything else is read as the stream reads a prospect's text."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering import Line, read_lines

_LF = 10
# The no-break spaces that people type or paste between digits, in every encoding in use: UTF-8 (plain, narrow, thin),
# cp1252, MacRoman and cp850.
_SPACES = re.compile(rb"(?<=[0-9+)(])(?:\xc2\xa0|\xe2\x80[\x80-\x8b\xaf]|[\xa0\xca\xff])+(?=[0-9(])")
_WHOLE = re.compile(rb'(?m)^("?\+?[0-9]{6,15})[.,]0("?)$')  # a number that was held as a float
_SCIENTIFIC = re.compile(r"\s*\+?([1-9])(?:[.,]([0-9]+))?[eE]\+?([0-9]{1,2})\s*")
_E164_DIGITS = 15
_SHORT = 7  # bytes of a cell that is compared as one word, with its size

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


class CellColumn(NamedTuple):
    """By row: the number (0 for none), and the place of its line in `lines` (-1 for none); whether the cell is blank, and
    whether a spreadsheet destroyed the number in it."""

    numbers: NDArray[np.uint64]
    places: NDArray[np.int32]
    blank: Mask
    destroyed: Mask


class Distinct(NamedTuple):
    """The different texts of a column, and by row the place of its text among them."""

    texts: Sequence[str]
    ids: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Distinct":
        """Of the texts by row."""
        known: dict[str, int] = {}
        ids = [known.setdefault(text, len(known)) for text in texts]
        return cls(list(known), np.array(ids, np.int32))


class CellReader:
    """Reads columns of cells. `lines` are those of all numbers so far; it only grows."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._known: dict[Line, int] = {}

    def read(
        self,
        block: bytes,
        begins: Places,
        ends: Places,
        regions: Sequence[str],
        of_region: NDArray[np.int32] | None,
    ) -> CellColumn:
        """The column whose cells are `block[begins:ends]`. `regions` are those that national numbers are read as of;
        `of_region` has the place of each row's in it, None for the first for all."""
        count = len(begins)
        made = CellColumn(
            np.zeros(count, np.uint64),
            np.full(count, -1, np.int32),
            np.zeros(count, np.bool_),
            np.zeros(count, np.bool_),
        )
        if of_region is None:
            self._read(block, begins, ends, regions[0], made, None)
            return made
        met = np.flatnonzero(np.bincount(of_region, minlength=1)).tolist()
        if len(met) == 1:
            self._read(block, begins, ends, regions[met[0]], made, None)
            return made
        for place in met:
            chosen = np.flatnonzero(of_region == place)
            self._read(block, begins[chosen], ends[chosen], regions[place], made, chosen)
        return made

    def _read(
        self, block: bytes, begins: Places, ends: Places, region: str, into: CellColumn, rows: Places | None
    ) -> None:
        if not len(begins):
            return
        blank = ends <= begins
        destroyed = np.zeros(len(begins), np.bool_)

        def text_of(place: int) -> str:
            """The text of a cell that must be parsed, repaired."""
            text = _text(block[begins[place] : ends[place]])
            if not text or text.isspace():
                blank[place] = True
                return ""
            if "E" not in text and "e" not in text:
                return text
            repaired = repair(text)
            destroyed[place] = repaired is None
            return "" if repaired is None else repaired

        column = read_lines(_lines(block, begins, ends), region, text_of)
        mapped = np.array([*map(self._place, column.lines), -1], np.int32)  # the last one is found by -1
        where: slice | Places = slice(None) if rows is None else rows
        into.numbers[where], into.places[where] = column.numbers, mapped[column.places]
        into.blank[where], into.destroyed[where] = blank, destroyed

    def _place(self, line: Line) -> int:
        place = self._known.setdefault(line, len(self.lines))
        if place == len(self.lines):
            self.lines.append(line)
        return place


def distinct(block: bytes, begins: Places, ends: Places, text_of: Callable[[bytes], str]) -> Distinct:
    """The different cells of a column, as texts, and by row which one it has."""
    sizes = ends - begins
    if not len(sizes) or int(sizes.max()) > _SHORT:
        pairs = zip(begins.tolist(), ends.tolist(), strict=True)
        return Distinct.of([text_of(block[begin:end]) for begin, end in pairs])
    padded = np.frombuffer(block + bytes(_SHORT + 1), np.uint8)
    words = np.ndarray(len(block) + 1, "<u8", padded, strides=(1,))[
        begins
    ]  # a word of eight bytes at every place
    shift = (8 * (_SHORT + 1 - sizes)).astype(np.uint64)
    keys = (words << shift) | sizes.astype(np.uint64)  # the lowest byte is free, or holds the size alone
    keys[sizes == 0] = 0
    if (keys == keys[0]).all():
        return Distinct([text_of(block[begins[0] : ends[0]])], np.zeros(len(keys), np.int32))
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    texts = [text_of(block[begins[place] : ends[place]]) for place in first.tolist()]
    return Distinct(texts, back.astype(np.int32))


def repair(text: str) -> str | None:
    """A number in scientific notation in full; None if some of its digits are gone; any other text as it is."""
    found = _SCIENTIFIC.fullmatch(text)
    if found is None:
        return text
    first, rest, power = found[1], found[2] or "", int(found[3])
    return first + rest if len(rest) == power < _E164_DIGITS else None


def mended(text: str) -> str:
    """A number's text as it is judged: what a spreadsheet did to it is undone where that is sure."""
    whole = _WHOLE.sub(rb"\1\2", text.encode("utf-8", "replace")).decode()
    return repair(whole) or text


def spaced(cell: bytes) -> bytes:
    """The bytes with a plain space for each no-break space between digits."""
    return cell if cell.isascii() else _SPACES.sub(b" ", cell)


def _text(cell: bytes) -> str:
    if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"'):
        cell = cell[1:-1].replace(b'""', b'"')
    cell = spaced(cell)
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("latin-1")


def _lines(block: bytes, begins: Places, ends: Places) -> bytes:
    r"""The cells as lines, each ending in `\n`."""
    sizes = ends - begins + 1
    stops = np.cumsum(sizes)
    shift = np.repeat(begins - stops + sizes, sizes)
    raw = np.frombuffer(block, np.uint8)
    made = raw.take(np.arange(int(stops[-1])) + shift, mode="clip")
    made[stops - 1] = _LF
    inner = made == _LF
    if int(inner.sum()) != len(stops):  # a line end in a cell: such a line is not settled
        inner[stops - 1] = False
        made[inner] = ord("?")
    chunk: bytes = made.tobytes()
    chunk = spaced(chunk)
    if b".0\n" in chunk or b'.0"' in chunk:
        chunk = _WHOLE.sub(rb"\1\2", chunk)
    return chunk
