"""When the numbers of a register end, to the minute, for a look-up of any of them: an index has it of numbers that rest, and
of consents to a window of time."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_LATER_MAX = 16_384  # changes next to the arrays: copying a dictionary of this size takes 0.2 ms
_MINUTE = 60

Numbers = NDArray[np.uint64]
Seconds = NDArray[np.int64]  # since 1970-01-01T00:00Z; 0: it does not end


class EndTable:
    """Two arrays in the order of the numbers, 12 bytes each, and a dictionary of later changes. Immutable: `changed` returns
    the next version, with shared arrays. No call holds the interpreter for long."""

    __slots__ = ("_later", "_minutes", "_numbers")

    def __init__(self, numbers: Numbers, minutes: NDArray[np.uint32], later: Mapping[int, int]) -> None:
        """For `none`, `changed` and readers of `arrays`. `later` is in seconds."""
        self._numbers, self._minutes, self._later = numbers, minutes, later

    @classmethod
    def none(cls) -> "EndTable":
        """No number ends."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint32), {})

    def __bool__(self) -> bool:
        return bool(len(self._numbers) or self._later)

    def changed(self, removed: Numbers, numbers: Numbers, ends: Seconds) -> "EndTable":
        """The table after a delta: removed numbers have no end any more, and others the end that is stated."""
        if not len(removed) and not len(numbers):
            return self
        if len(removed) + len(numbers) + len(self._later) <= _LATER_MAX:
            stated = zip(numbers.tolist(), ends.tolist(), strict=True)
            return EndTable(
                self._numbers,
                self._minutes,
                {**self._later, **dict.fromkeys(removed.tolist(), 0), **dict(stated)},
            )
        later = np.array([*self._later], np.uint64), np.array([*self._later.values()], np.int64)
        joined = np.concatenate((self._numbers, later[0], removed, numbers))
        minutes = np.concatenate(
            (self._minutes, _minutes(later[1]), np.zeros(len(removed), np.uint32), _minutes(ends))
        )
        order = np.argsort(joined, kind="stable")  # it merges sorted runs
        joined, minutes = joined[order], minutes[order]
        stays = minutes > 0
        stays[:-1] &= joined[:-1] != joined[1:]  # the last word on each number counts
        return EndTable(joined[stays], minutes[stays], {})

    def of_each(self, numbers: Numbers) -> Seconds:
        """For each of these numbers: the first whole minute at which it has ended, 0 if it does not end."""
        ends = np.zeros(len(numbers), np.int64)
        if len(self._numbers):
            places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
            hits = self._numbers[places] == numbers
            ends[hits] = self._minutes[places[hits]].astype(np.int64) * _MINUTE
        for at, number in enumerate(numbers.tolist()) if self._later else ():
            if number in self._later:
                ends[at] = -(-self._later[number] // _MINUTE) * _MINUTE
        return ends

    def of(self, number: int) -> int:
        """The same for one number."""
        return int(self.of_each(np.array([number], np.uint64))[0]) if self else 0

    def arrays(self) -> tuple[Numbers, NDArray[np.uint32]]:
        """The numbers that end, in order, and the minutes since 1970 of their ends."""
        numbers = np.unique(np.concatenate((self._numbers, np.array([*self._later], np.uint64))))
        ends = self.of_each(numbers)
        return numbers[ends > 0], (ends[ends > 0] // _MINUTE).astype(np.uint32)

    def same_as(self, other: "EndTable") -> bool:
        """Whether the same numbers end in the same minutes."""
        ours, other_arrays = self.arrays(), other.arrays()
        return np.array_equal(ours[0], other_arrays[0]) and np.array_equal(ours[1], other_arrays[1])


def _minutes(ends: Seconds) -> NDArray[np.uint32]:
    return (-(-ends // _MINUTE)).astype(np.uint32)
