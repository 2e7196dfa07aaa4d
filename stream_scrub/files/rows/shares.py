"""How many of a column's cells are numbers."""

from collections.abc import Sequence

import numpy as np

from stream_scrub.numbering import REGIONS, read_column

Rows = Sequence[Sequence[str]]

NUMBER_DIGITS = 6  # fewer are no phone number
_CELL_CHARS = 40


def phone_share(rows: Rows, region: str) -> float:
    """The largest share of numbers in a column."""
    return max(shares_in(rows, max(map(len, rows), default=0), region, None), default=0.0)


def region_of(row: Sequence[str], where: int | None, region: str) -> str:
    """The region that a row's national numbers are read as of."""
    said = row[where].strip().upper() if where is not None and where < len(row) else region
    return said if said in REGIONS else region


def _may_be_number(cell: str) -> bool:
    return len(cell) <= _CELL_CHARS and digits(cell) >= NUMBER_DIGITS


def shares_in(rows: Rows, width: int, region: str, where: int | None) -> list[float]:
    """For each column, how many of the cells that hold something are numbers. `where` is the place of the column of
    regions."""
    held_in, found = np.zeros(width, np.int64), np.zeros(width, np.int64)
    candidates: dict[str, tuple[list[str], list[int]]] = {}
    for row in rows:
        held = [place for place, cell in enumerate(row) if cell and not cell.isspace()]
        held_in[held] += 1
        likely = [place for place in held if _may_be_number(row[place])]
        cells, places = candidates.setdefault(region_of(row, where, region), ([], []))
        cells += [row[place] for place in likely]
        places += likely
    for of, (cells, places) in candidates.items():
        valid = read_column(cells, of).numbers > 0
        found += np.bincount(np.array(places, np.int64)[valid], minlength=width)
    return [float(share) for share in found / np.maximum(held_in, 1)]


def digits(text: str) -> int:
    """How many digits a text has."""
    return sum(map(str.isdigit, text))


def filled(rows: Rows, place: int) -> list[str]:
    """The cells of a column that hold something."""
    return [row[place] for row in rows if place < len(row) and row[place].strip()]
