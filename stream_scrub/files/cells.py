"""From the cells of a column to numbers, and to the facts of rows.

A number is read as the stream reads a prospect's, what a spreadsheet did to it included (`numbering.fractions`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.call import FACTS, Call
from stream_scrub.model import Why
from stream_scrub.numbering import (
    AssumedRegion,
    Line,
    has_lost_digits,
    normalise,
    parted_in,
    read_lines,
    why_invalid,
)
from stream_scrub.scrub.facts import Facts, FactsOf

_LF = 10
# The no-break spaces that people type or paste between digits, in every encoding in use: UTF-8 (plain, narrow, thin),
# cp1252, MacRoman and cp850.
_SPACE = rb"(?:\xc2\xa0|\xe2\x80[\x80-\x8b\xaf]|[\xa0\xca\xff])"
# What follows two of them may be another number.
_TWO_SPACES = re.compile(rb"(?<=[0-9+)(])%b{2,}(?=[0-9(])" % _SPACE)
_ONE_SPACE = re.compile(rb"(?<=[0-9+)(])%b(?=[0-9(])" % _SPACE)
_SHORT = 7  # bytes of a cell that is compared as one word, with its size
# What a row says that is too short for a fact's column. It is unknown which of its cells is missing, so this one cannot be
# understood: it lifts nothing, whatever the fact.
CUT_OFF = "?"
DESTROYED = "a spreadsheet has cut off its last digits"
_TABLE = 65_536  # codes: up to so many, a table is cheaper than sorting
_REMEMBERED = 10_000  # combinations of cells
_SIGNS = 200  # of a combination that is remembered: a cell may hold megabytes

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


class BadCell(NamedTuple):
    """A cell with digits that are no number: its row in the block, its text, and why it is none."""

    row: int
    text: str
    why: str


class CellColumn(NamedTuple):
    """By row: the number (0 for none), and the place of its line in `lines` (-1 for none); whether the cell holds no digit,
    and whether a spreadsheet destroyed the number in it. Of a cell with several numbers this is the first; `others` are
    columns of the second ones, the third ones and so on."""

    numbers: NDArray[np.uint64]
    places: NDArray[np.int32]
    blank: Mask
    destroyed: Mask
    bad: list[BadCell]
    others: list["CellColumn"]

    @classmethod
    def empty(cls, count: int) -> "CellColumn":
        """Blank cells."""
        return cls(
            np.zeros(count, np.uint64),
            np.full(count, -1, np.int32),
            np.ones(count, np.bool_),
            np.zeros(count, np.bool_),
            [],
            [],
        )


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
        assumed: AssumedRegion,
        is_assumed: Mask | None = None,
    ) -> CellColumn:
        """The column whose cells are `block[begins:ends]`. `regions` are those that national numbers are read as of;
        `of_region` has the place of each row's in it, None for the first for all. `assumed` counts the rows that name no
        region: those of `is_assumed`, None for all."""
        made = CellColumn.empty(len(begins))
        met = [0] if of_region is None else np.flatnonzero(np.bincount(of_region, minlength=1)).tolist()
        for place in met:
            rows = slice(None) if len(met) == 1 else np.flatnonzero(of_region == place)
            chunk = self._read(block, begins[rows], ends[rows], regions[place], made, rows)
            if place == 0 and chunk:
                places, numbers = made.places[rows], made.numbers[rows]
                chosen = places >= 0 if is_assumed is None else (places >= 0) & is_assumed[rows]
                assumed.count(chunk, numbers, chosen)
        return made

    def _read(
        self, block: bytes, begins: Places, ends: Places, region: str, into: CellColumn, rows: slice | Places
    ) -> bytes:
        """Read these rows into a column. Returns their cells as lines."""
        if not len(begins):
            return b""
        blank = ends <= begins
        destroyed = np.zeros(len(begins), np.bool_)

        def text_of(place: int) -> str:
            """The text of a cell that must be parsed."""
            text = _text(block[begins[place] : ends[place]])
            if not any(map(str.isdigit, text)):  # a dash, or a word: it says nothing
                blank[place] = True
                return ""
            return text

        chunk = _lines(block, begins, ends)
        column = read_lines(chunk, region, text_of)
        mapped = np.array([*map(self._place, column.lines), -1], np.int32)  # the last one is found by -1
        into.numbers[rows], into.places[rows] = column.numbers, mapped[column.places]
        into.blank[rows] = blank
        for place in np.flatnonzero((column.numbers == 0) & ~blank).tolist():
            text = _text(block[begins[place] : ends[place]])
            row = place if isinstance(rows, slice) else int(rows[place])
            destroyed[place] = has_lost_digits(text)
            found = parted_in(text, region)
            if found:
                self._several(found, region, row, into)
                continue
            into.bad.append(BadCell(row, text, _in_words(why_invalid(text, region), text, region)))
        into.destroyed[rows] = destroyed
        return chunk

    def _several(self, found: Sequence[str], region: str, row: int, into: CellColumn) -> None:
        """Put the numbers of one cell into its column and into the columns of other numbers."""
        while len(into.others) < len(found) - 1:
            into.others.append(CellColumn.empty(len(into.numbers)))
        for column, text in zip((into, *into.others), found, strict=False):
            answer = normalise(text, region)
            assert answer is not None, "parted_in gives valid numbers"
            column.numbers[row], column.places[row] = answer[0], self._place(answer[1])
            column.blank[row] = False

    def _place(self, line: Line) -> int:
        place = self._known.setdefault(line, len(self.lines))
        if place == len(self.lines):
            self.lines.append(line)
        return place


def _in_words(why: Why, text: str, region: str) -> str:
    digits = sum(map(str.isdigit, text))
    if why is Why.SEVERAL_NUMBERS:
        return "may be several numbers, and it is not clear where one ends"
    if why is Why.LOST_DIGITS:
        return DESTROYED
    if why in (Why.TOO_SHORT, Why.TOO_LONG):
        return f"{why.replace('-', ' ')}: {digits} digits"
    return "no valid number" if "+" in text else f"no valid number of {region}"


def distinct(block: bytes, begins: Places, ends: Places, text_of: Callable[[bytes], str]) -> Distinct:
    """The different cells of a column, as texts, and by row which one it has."""
    sizes = ends - begins
    if not len(sizes) or int(sizes.max()) > _SHORT:
        pairs = zip(begins.tolist(), ends.tolist(), strict=True)
        return Distinct.of([text_of(block[begin:end]) for begin, end in pairs])
    padded = np.frombuffer(block + bytes(_SHORT + 1), np.uint8)
    words = np.ndarray(len(block) + 1, "<u8", padded, strides=(1,))[begins]  # eight bytes at every place
    shift = (8 * (_SHORT + 1 - sizes)).astype(np.uint64)
    keys = (words << shift) | sizes.astype(np.uint64)  # the lowest byte is free, or holds the size alone
    keys[sizes == 0] = 0
    if (keys == keys[0]).all():
        return Distinct([text_of(block[begins[0] : ends[0]])], np.zeros(len(keys), np.int32))
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    texts = [text_of(block[begins[place] : ends[place]]) for place in first.tolist()]
    return Distinct(texts, back.astype(np.int32))


def _spaced(cell: bytes) -> bytes:
    return cell if cell.isascii() else _ONE_SPACE.sub(b" ", _TWO_SPACES.sub(b"  ", cell))


def bare(cell: bytes) -> bytes:
    """The bytes without quotes, and with a plain space for each no-break space between digits."""
    if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"'):
        cell = cell[1:-1].replace(b'""', b'"')
    return _spaced(cell)


def _text(cell: bytes) -> str:
    cell = bare(cell)
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
    return _spaced(made.tobytes())


class FactsReader:
    """Reads the facts of rows. `call` holds for all of them."""

    def __init__(self, facts_of: FactsOf, call: Call) -> None:
        self._facts_of = facts_of
        self._shared = call.members()
        self._all = [facts_of(*map(self._shared.get, FACTS))]
        self._known: dict[tuple[tuple[str, str], ...], Facts] = {}

    def read(self, columns: Mapping[str, Distinct]) -> tuple[list[Facts], NDArray[np.int32] | None]:
        """The different facts of some rows, and by row the place of its own; None for the first for all. `columns` has the
        cells of each fact's column."""
        if not columns:
            return self._all, None
        first, ids = combinations([column.ids for column in columns.values()])
        met: dict[Facts, int] = {}
        places = []
        for row in first.tolist():
            cells = tuple((fact, column.texts[column.ids[row]]) for fact, column in columns.items())
            places.append(met.setdefault(self._of(cells), len(met)))
        return list(met), np.array(places, np.int32)[ids]

    def _of(self, cells: tuple[tuple[str, str], ...]) -> Facts:
        facts = self._known.get(cells)
        if facts is None:
            members = self._shared | {fact: FACTS[fact].member(text) for fact, text in cells}
            facts = self._facts_of(*map(members.get, FACTS))
            if len(self._known) < _REMEMBERED and sum(len(text) for _, text in cells) <= _SIGNS:
                self._known[cells] = facts
        return facts


def combinations(columns: Sequence[NDArray[np.signedinteger[Any]]]) -> tuple[Places, Places]:
    """The first row of each combination that occurs in a row, and by row the place of its own among them. `columns` have
    small numbers that stand for the cells, by row."""
    first, ids = _distinct(columns[0].astype(np.int64))
    for column in columns[1:]:
        # Joined column by column: the codes of all together may be too large.
        first, ids = _distinct(ids * (int(column.max(initial=0)) + 1) + column)
    return first, ids


def _distinct(codes: Places) -> tuple[Places, Places]:
    """The first row of each code, and by row the place of its own among them."""
    size = int(codes.max(initial=0)) + 1
    if size > _TABLE:
        _, first, ids = np.unique(codes, return_index=True, return_inverse=True)
        return first, ids
    row_of = np.full(size, -1)
    row_of[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes the last one counts
    return row_of[row_of >= 0], (np.cumsum(row_of >= 0) - 1)[codes]
