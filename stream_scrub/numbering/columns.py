"""A column of typed numbers: for each cell the answer that `normalise` gives, for whole arrays at once.

`normalise` is called one by one for cells that the tables do not settle. So every cell is read as a prospect's number
would be.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering.arrays import DIGITS_MAX, VALID, Answers, Many, Numbers, digits_of
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.row_cache import DIGITS_MIN, Normalise
from stream_scrub.numbering.tables import ASK, FIRST_LINE

_NO_CELL = "?"  # stands in for a cell that is no single line; `normalise` then gets the cell as it came


class Column(NamedTuple):
    """By place: the number (0 if it is not valid), and the place of its line in `lines` (-1 if it is not valid). Some
    of `lines` may not occur."""

    numbers: Numbers
    places: NDArray[np.int32]
    lines: Sequence[Line]


class ColumnReader(Protocol):
    """Reads the cells of a column as typed in a region: texts, or an array of unsigned integers (their digits)."""

    def __call__(self, cells: Sequence[str] | Numbers, region: str) -> Column:
        """Never raises, whatever a cell holds. Fastest with some ten thousand cells at a time."""
        ...


LinesReader = Callable[[bytes, str, Callable[[int], str]], Column]


def cells_reader(
    many: Many, lines_many: Callable[[bytes, str], Answers], normalise: Normalise
) -> LinesReader:
    """The function that reads lines with these tables."""

    def read_lines(chunk: bytes, region: str, text_of: Callable[[int], str]) -> Column:
        r"""The lines of `chunk`, each ending in `\n`, as typed in `region`. `text_of` gives the text of the line at a
        place, and is called for lines that must be parsed."""
        return _column(many, *lines_many(chunk, region), region, text_of, normalise)

    return read_lines


def column_reader(
    many: Many, lines_many: Callable[[bytes, str], Answers], normalise: Normalise
) -> ColumnReader:
    """The function that reads columns with these tables."""

    def read_column(cells: Sequence[str] | Numbers, region: str) -> Column:
        """As `ColumnReader`."""
        if isinstance(cells, np.ndarray):
            numbers, states = _integers(many, cells, region)
        else:
            numbers, states = lines_many(_as_lines(cells), region)
        return _column(many, numbers, states, region, lambda place: str(cells[place]), normalise)

    return read_column


def _column(
    many: Many,
    numbers: Numbers,
    states: NDArray[np.uint8],
    region: str,
    text_of: Callable[[int], str],
    normalise: Normalise,
) -> Column:
    """The column of these answers, with the line of each number. What is not settled is asked one by one."""
    codes, known = many.lines(numbers)
    lines = list(known)
    places = np.where(states == VALID, codes.astype(np.int32) - FIRST_LINE, -1).astype(np.int32)
    numbers[states != VALID] = 0
    open_ = (states == ASK) | ((states == VALID) & (codes < FIRST_LINE))
    for place in np.flatnonzero(open_).tolist():
        found = _ask(text_of(place), region, normalise)
        if found is None:
            numbers[place], places[place] = 0, -1
            continue
        number, line = found
        if line not in lines:
            lines.append(line)
        numbers[place], places[place] = number, lines.index(line)
    return Column(numbers, places, lines)


def _ask(text: str, region: str, normalise: Normalise) -> tuple[int, Line] | None:
    """The answer of `normalise`, which is not called for blank cells."""
    return normalise(text, region) if text and not text.isspace() else None


def _as_lines(cells: Sequence[str]) -> bytes:
    """The cells as lines, each with its line end. A cell that holds a line end, or half a character, becomes a line
    that is not settled."""
    if not cells:
        return b""
    text = "\n".join(cells) + "\n"
    if text.count("\n") != len(cells):
        text = "".join((_NO_CELL if "\n" in cell else cell) + "\n" for cell in cells)
    return text.encode("utf-8", "surrogatepass")


def _integers(many: Many, values: Numbers, region: str) -> Answers:
    """The answers that `lines_many` would give for the digits of each integer."""
    numbers = np.zeros(len(values), np.uint64)
    states = np.full(len(values), ASK, np.uint8)
    lengths = digits_of(values)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        if DIGITS_MIN < length <= DIGITS_MAX:
            chosen = np.flatnonzero(lengths == length)
            numbers[chosen], states[chosen] = many.typed(values[chosen], length, region)
    return Answers(numbers, states)
