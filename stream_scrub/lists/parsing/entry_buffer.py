"""Entries one by one to a Reading: for the formats whose numbers come with an end, a removal or a region of their own.

Numbers are read by the ten thousand, which is several times faster than one at a time, and counted in their order.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers
from stream_scrub.lists.parsing.number_cells import clean, numbers_of
from stream_scrub.lists.parsing.parsed_list import ParsedList

_SIZE = 10_000
_CELL_SIGNS_MAX = 250  # no number is longer; what waits here is as short
NO_END = 0


class EntryBuffer:
    """Collects cells that should hold a number as typed in a region (ISO 3166-1), and hands them to `reading` in batches.

    `close` must be called at the end of the file, or the last of them are lost. `removals_last`: a removal holds over
    every addition of the same number, wherever in the file it stands.
    """

    def __init__(self, reading: ParsedList, region: str, *, removals_last: bool = False) -> None:
        self._removals_last = removals_last
        self._held: list[Numbers] = []
        self._reading = reading
        self._region = region
        self._empty()

    def _empty(self) -> None:
        self._cells: list[str] = []
        self._elsewhere: defaultdict[str, list[int]] = defaultdict(
            list
        )  # the places of cells, by their region
        self._lines: list[int] = []
        self._ends: list[int] = []
        self._removed: list[bool] = []

    def put(
        self, cell: str, line: int, end: int = NO_END, *, removed: bool = False, region: str = ""
    ) -> None:
        """One cell and the line that it stands on; a cell without a valid number is a refused line. `end` is in epoch
        seconds UTC, `region` another one than the batch's.
        """
        if len(self._cells) >= _SIZE:
            self._flush()
        if region and region != self._region:
            self._elsewhere[region].append(len(self._cells))
        self._cells.append(cell if len(cell) <= _CELL_SIGNS_MAX else clean(cell)[: _CELL_SIGNS_MAX + 1])
        self._lines.append(line)
        self._ends.append(end)
        self._removed.append(removed)

    def refuse(self, line: int) -> None:
        """A line that is no entry, in its place among the others."""
        self.put("", line)

    def close(self) -> None:
        """Hand everything that was put to the reading."""
        self._flush()
        held, self._held = self._held, []
        for numbers in held:
            self._reading.remove(numbers)

    def _flush(self) -> None:
        if not self._cells:
            return
        cells = self._cells
        there = {place: cells[place] for places in self._elsewhere.values() for place in places}
        numbers, valid = numbers_of(
            ["" if at in there else cell for at, cell in enumerate(cells)] if there else cells, self._region
        )
        for region, places in self._elsewhere.items():
            numbers[places], valid[places] = numbers_of([there[place] for place in places], region)
        lines = np.array(self._lines, np.int64)
        ends = np.array(self._ends, np.int64)
        removed = np.array(self._removed, bool)
        self._empty()
        self._hand_on(numbers[valid], removed[valid], ends[valid])
        self._reading.refuse_many(lines[~valid])

    def _hand_on(self, numbers: Numbers, removed: NDArray[np.bool_], ends: NDArray[np.int64]) -> None:
        """Additions and removals. Their order matters only for a number that is among both: to keep that of all would
        cut them into as many pieces as they take turns.
        """
        if not removed.any():
            self._reading.take(numbers, ends)
            return
        if self._removals_last:
            self._reading.take(numbers[~removed], ends[~removed])
            self._held.append(numbers[removed])
            return
        both = np.isin(numbers, np.intersect1d(numbers[removed], numbers[~removed]))
        taken, removed_only = ~removed & ~both, removed & ~both
        self._reading.take(numbers[taken], ends[taken])
        self._reading.remove(numbers[removed_only])
        self._reading.change_many(numbers[both], removed[both], ends[both])
