"""Gathers the numbers of a list in bounded memory: chunks at first, folded into a bitmap every few million.

What a file says later about a number holds: an addition after a removal is an addition, and the other way round.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.errors import TooMany
from stream_scrub.index import Numbers, as_bitmap, as_numbers
from stream_scrub.lists.capacity import weight

EndTimes = NDArray[np.int64]

_FOLD = 1 << 22  # numbers; 32 MB of them, sorted within a processor's larger caches' reach
_NEVER = np.iinfo(np.int64).max  # the end of a number that does not end, while ends are compared


class _Piece(NamedTuple):
    """Numbers in the file's order. `ends` None: they do not end."""

    numbers: Numbers
    ends: EndTimes | None
    removed: NDArray[np.bool_] | bool = False  # of each, or of all


def _no_numbers() -> Numbers:
    return np.empty(0, np.uint64)


def _no_ends() -> EndTimes:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class ListAccumulator:
    """`endless` and `ending` are disjoint after `fold`, and so are both from `removed`. All of it together counts as no
    more than `most` numbers (`capacity.weight`): whatever gives more raises TooMany.
    """

    most: float = math.inf
    endless: BitMap64 = field(default_factory=BitMap64)
    removed: BitMap64 = field(default_factory=BitMap64)
    ending: Numbers = field(default_factory=_no_numbers)  # ascending, distinct
    ending_at: EndTimes = field(default_factory=_no_ends)  # epoch seconds UTC, one for each of `ending`
    _pieces: list[_Piece] = field(default_factory=list)
    _waiting: int = 0
    _at_most: float = 0

    def add(self, numbers: Numbers, ends: EndTimes | None) -> None:
        """Numbers that the list holds; an end of 0 is none."""
        self._put(_Piece(numbers, ends if ends is not None and ends.any() else None))

    def remove(self, numbers: Numbers) -> None:
        """Numbers that the list takes away."""
        self._put(_Piece(numbers, None, removed=True))

    def change(self, numbers: Numbers, removed: NDArray[np.bool_], ends: EndTimes | None) -> None:
        """`add` and `remove` in one, where they take turns."""
        self._put(_Piece(numbers, ends if ends is not None and ends.any() else None, removed))

    def span(self, first: int, last: int) -> None:
        """Every number from `first` to `last`, both included."""
        self.fold()
        self.endless.add_range(first, last + 1)
        self.removed.remove_range(first, last + 1)
        self._keep_ending(~((self.ending >= np.uint64(first)) & (self.ending <= np.uint64(last))))
        self.need_room(last - first + 1)

    def _put(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._waiting += len(piece.numbers)
        # Numbers that end are sorted anew with every fold. Waiting for half as many as there are keeps that in proportion.
        if self._waiting >= max(_FOLD, len(self.ending) // 2):
            self.fold()

    def fold(self) -> None:
        """Bring what waits into the bitmaps."""
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        if not any(len(piece.numbers) for piece in pieces):
            return
        numbers = np.concatenate([piece.numbers for piece in pieces])
        if any(np.any(piece.removed) for piece in pieces):
            self._fold_changes(numbers, pieces)
        elif any(piece.ends is not None for piece in pieces):
            self._fold_added(numbers, _ends_of(pieces))
        else:
            self._fold_added(numbers, None)
        self.need_room()

    def need_room(self, more: float = math.inf) -> None:
        """For so many more at most, that are there already; they are counted when it may be too many. Raises TooMany."""
        self._at_most += more
        if self._at_most <= self.most or math.isinf(self.most):
            return
        self._at_most = weight(self.endless) + weight(self.removed) + len(self.ending)
        if self._at_most > self.most:
            raise TooMany(
                f"it holds more than lists.max_numbers ({self.most:,}) allows, scattered ones counted as up to 21 each."
                " Give publisher and workers the memory that more takes (docs/sizing.md), then raise it"
            )

    def _fold_added(self, numbers: Numbers, ends: EndTimes | None) -> None:
        endless = numbers if ends is None else numbers[ends == _NEVER]
        if not bool((endless[1:] > endless[:-1]).all()):  # registers are mostly sorted already
            endless = np.sort(endless)
        added = as_bitmap(endless)
        self.endless |= added
        if self.removed:
            self.removed -= as_bitmap(np.sort(numbers))
        if ends is not None:
            some = ends != _NEVER
            self.ending, self.ending_at = _latest(
                np.concatenate([self.ending, numbers[some]]), np.concatenate([self.ending_at, ends[some]])
            )
        if len(self.ending) and (both := as_bitmap(self.ending) & self.endless):
            self._keep_ending(~np.isin(self.ending, as_numbers(both)))

    def _fold_changes(self, numbers: Numbers, pieces: list[_Piece]) -> None:
        """Additions and removals in the file's order: of each number only what follows its last removal counts."""
        ends = _ends_of(pieces)
        removed = np.concatenate([np.broadcast_to(piece.removed, len(piece.numbers)) for piece in pieces])
        order = np.argsort(numbers, kind="stable")
        numbers, ends, removed = numbers[order], ends[order], removed[order]
        places = np.arange(len(numbers))
        head = np.concatenate(([True], numbers[1:] != numbers[:-1]))
        last_removal = np.maximum.reduceat(np.where(removed, places, -1), np.flatnonzero(head))
        gone = numbers[head][last_removal >= 0]
        gone_bitmap = as_bitmap(gone)
        self.endless -= gone_bitmap
        self.removed |= gone_bitmap
        self._keep_ending(~np.isin(self.ending, gone))
        after = places > last_removal[np.cumsum(head) - 1]
        if after.any():
            self._fold_added(numbers[after], ends[after])

    def _keep_ending(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self.ending, self.ending_at = self.ending[kept], self.ending_at[kept]


def _ends_of(pieces: list[_Piece]) -> EndTimes:
    """One end for each number of the pieces, _NEVER for those that do not end."""
    return np.concatenate(
        [
            np.full(len(piece.numbers), _NEVER)
            if piece.ends is None
            else np.where(piece.ends == 0, _NEVER, piece.ends)
            for piece in pieces
        ]
    )


def _latest(numbers: Numbers, ends: EndTimes) -> tuple[Numbers, EndTimes]:
    """The distinct numbers, ascending, each with its latest end."""
    order = np.lexsort((ends, numbers))
    numbers, ends = numbers[order], ends[order]
    last = np.concatenate((numbers[1:] != numbers[:-1], [True])) if len(numbers) else np.empty(0, bool)
    return numbers[last], ends[last]
