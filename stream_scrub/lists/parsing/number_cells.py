"""Many lines or cells of text to numbers at once, for every format with typed numbers in it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers
from stream_scrub.numbering import lines_many, normalise
from stream_scrub.numbering.arrays import VALID
from stream_scrub.numbering.tables import ASK


def clean(cell: str) -> str:
    """A cell as text: quotes off, and Latin-1 bytes that were kept as surrogates read as Latin-1."""
    cell = cell.strip().strip("\"'").strip()
    if not cell.isascii() and any("\udc80" <= sign <= "\udcff" for sign in cell):
        kept = _bytes(cell)
        return cell if kept is None else kept.decode("latin-1")
    return cell


def _bytes(text: str) -> bytes | None:
    """The bytes that a file had for it; None for what no file of text has, as JSON's lone halves of UTF-16."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def number_of(cell: str, region: str) -> int | None:
    """The number in a cell as typed in `region`; None unless it is a valid one."""
    if not any(
        map(str.isdecimal, cell)
    ):  # blanks, words, signs: the reference takes ten times as long to say so
        return None
    found = normalise(cell.strip(), region) or normalise(clean(cell), region)
    return None if found is None else found[0]


def numbers_of_lines(chunk: bytes, region: str) -> tuple[Numbers, NDArray[np.bool_]]:
    r"""`number_of` every line of `chunk` (each ends in `\n`): the numbers, and whether there is one."""
    numbers, states = lines_many(chunk, region)
    valid: NDArray[np.bool_] = states == VALID
    asked = np.flatnonzero(states == ASK).tolist()
    if asked:
        lines = chunk.split(b"\n")
        for at in asked:
            found = number_of(lines[at].decode("utf-8", "surrogateescape"), region) if lines[at] else None
            if found is not None:
                numbers[at], valid[at] = found, True
    return numbers, valid


def numbers_of(cells: Sequence[str], region: str) -> tuple[Numbers, NDArray[np.bool_]]:
    """`number_of` every cell: the numbers (anything where there is none), and whether there is one. Some ten thousand
    cells at a time are quickest.
    """
    if not cells:
        return np.empty(0, np.uint64), np.empty(0, bool)
    text = "\n".join(cells) + "\n"
    lines = _bytes(text) if text.count("\n") == len(cells) else None  # a cell may have a line end in it
    if lines is not None:
        return numbers_of_lines(lines, region)
    found = [number_of(cell, region) for cell in cells]
    return (
        np.array([one or 0 for one in found], np.uint64),
        np.array([one is not None for one in found], bool),
    )
