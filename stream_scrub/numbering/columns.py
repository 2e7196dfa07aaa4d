"""A column of typed numbers: for each cell what `normalise` says of it, whole arrays at once.

What the tables do not settle is asked of `normalise` one by one, so no cell is read as no prospect would be.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering.arrays import DIGITS_MAX, VALID, Answers, Many, Numbers, digits_of
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.row_cache import DIGITS_MIN, Normalise
from stream_scrub.numbering.tables import ASK, FIRST_LINE

_NO_CELL = "?"  # stands in a line for a cell that is no line; it is asked about as it came


class Column(NamedTuple):
    """By place: the number (0 where there is no valid one), and which of `lines` is its line (-1 where there is none).
    Not all of `lines` need occur."""

    numbers: Numbers
    places: NDArray[np.int32]
    lines: Sequence[Line]


class ColumnReader(Protocol):
    """Reads the cells of a column as typed in a region: texts, or an array of unsigned integers (their digits)."""

    def __call__(self, cells: Sequence[str] | Numbers, region: str) -> Column:
        """Never raises for what a cell holds. Some ten thousand cells at a time are quickest."""
        ...


def column_reader(
    many: Many, lines_many: Callable[[bytes, str], Answers], normalise: Normalise
) -> ColumnReader:
    """The function that reads columns by these tables."""

    def read_column(cells: Sequence[str] | Numbers, region: str) -> Column:
        """As `ColumnReader`."""
        if isinstance(cells, np.ndarray):
            numbers, states = _integers(many, cells, region)
        else:
            numbers, states = lines_many(_as_lines(cells), region)
        codes, known = many.lines(numbers)
        lines = list(known)
        places = np.where(states == VALID, codes.astype(np.int32) - FIRST_LINE, -1).astype(np.int32)
        numbers[states != VALID] = 0
        open_ = (states == ASK) | ((states == VALID) & (codes < FIRST_LINE))
        for place in np.flatnonzero(open_).tolist():
            found = _ask(str(cells[place]), region, normalise)
            if found is None:
                numbers[place], places[place] = 0, -1
                continue
            number, line = found
            if line not in lines:
                lines.append(line)
            numbers[place], places[place] = number, lines.index(line)
        return Column(numbers, places, lines)

    return read_column


def _ask(text: str, region: str, normalise: Normalise) -> tuple[int, Line] | None:
    """Blank cells are not worth the question."""
    return normalise(text, region) if text and not text.isspace() else None


def _as_lines(cells: Sequence[str]) -> bytes:
    """The cells as lines, each with its end; a cell with a line end in it, or with half a character, settles nothing."""
    if not cells:
        return b""
    text = "\n".join(cells) + "\n"
    if text.count("\n") != len(cells):
        text = "".join((_NO_CELL if "\n" in cell else cell) + "\n" for cell in cells)
    return text.encode("utf-8", "surrogatepass")


def _integers(many: Many, values: Numbers, region: str) -> Answers:
    """What `lines_many` says of the digits of each."""
    numbers = np.zeros(len(values), np.uint64)
    states = np.full(len(values), ASK, np.uint8)
    lengths = digits_of(values)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        if DIGITS_MIN < length <= DIGITS_MAX:
            chosen = np.flatnonzero(lengths == length)
            numbers[chosen], states[chosen] = many.typed(values[chosen], length, region)
    return Answers(numbers, states)
