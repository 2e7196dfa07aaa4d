"""How many numbers of a file stand in it more than once, in bounded memory: they wait on disk, in a file without a name."""

from typing import IO

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 1 << 19  # numbers that are spilt at once: 4 MiB
_PARTS_BITS = 6
# 2**64 divided by the golden ratio: neighbours land in different parts, and no two numbers become one.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_EDGES = np.arange(1 << _PARTS_BITS, dtype=np.uint64) << np.uint64(64 - _PARTS_BITS)
_BYTES = 8


class Duplicates:
    """Counts repeated numbers. `scratch` is an empty file of ours, which holds eight bytes a number until the run ends.

    Each spill is sorted by a spread of the number, so that a part of all numbers is one stretch of each spill."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._held: list[NDArray[np.uint64]] = []
        self._waiting = 0
        self._spilt = 0
        self._bounds: list[
            list[int]
        ] = []  # of each spill: where its parts begin in the file, and where it ends

    def add(self, numbers: NDArray[np.uint64]) -> None:
        """Add numbers; 0 is none. Raises OSError."""
        found = numbers[numbers > 0]
        self._held.append(found)
        self._waiting += len(found)
        if self._waiting > _TOGETHER:
            self._spill()

    def _spill(self) -> None:
        spread = np.concatenate(self._held) * _SPREAD
        spread.sort()
        begins = self._spilt + np.searchsorted(spread, _EDGES)
        self._spilt += len(spread)
        self._bounds.append([*begins.tolist(), self._spilt])
        self._scratch.write(spread.tobytes())
        self._held, self._waiting = [], 0

    def count(self) -> int:
        """How many of all numbers were there before. Raises OSError."""
        if self._held:
            self._spill()
        return sum(map(self._of_part, range(len(_EDGES)))) if self._spilt else 0

    def _of_part(self, part: int) -> int:
        """The repeated numbers among those of one part."""
        chosen = []
        for bounds in self._bounds:
            self._scratch.seek(bounds[part] * _BYTES)
            chosen.append(
                np.frombuffer(self._scratch.read((bounds[part + 1] - bounds[part]) * _BYTES), np.uint64)
            )
        ordered = np.sort(np.concatenate(chosen))  # np.unique takes twenty times as long
        return int((ordered[1:] == ordered[:-1]).sum())
