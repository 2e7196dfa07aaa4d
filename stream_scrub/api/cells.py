"""Turns what programs hold numbers in into what the engine takes: a text, or a column of texts or unsigned
integers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def text_of(cell: object) -> str:
    """The text of a cell, read as a prospect's member is: texts and integers may be numbers; all else gives ""."""
    if isinstance(cell, str):
        return cell
    whole = isinstance(cell, int | np.integer) and not isinstance(cell, bool)
    return str(cell) if whole else ""


def cells_of(numbers: Any) -> list[str] | NDArray[np.uint64]:
    """A column as `judge_column` takes it. Raises TypeError for anything that is no column of texts or integers."""
    if isinstance(numbers, str | bytes):
        raise TypeError("a column is a list or an array of numbers; use `check` for a single one")
    cells = numbers
    if not isinstance(numbers, list | tuple):
        array = np.asarray(numbers)
        if array.ndim != 1 or array.dtype.kind not in "uiOUT":
            raise TypeError(
                f"a column of numbers is a one-dimensional array of texts or integers; this one is of"
                f" {array.dtype}, with {array.ndim} dimensions. Integers with some missing become floats: fill these first"
            )
        if array.dtype.kind in "ui" and not (array.dtype.kind == "i" and (array < 0).any()):
            return array.astype(np.uint64, copy=False)
        cells = array.tolist()
    if set(map(type, cells)) <= {str}:
        return list(cells)
    return [text_of(cell) for cell in cells]
