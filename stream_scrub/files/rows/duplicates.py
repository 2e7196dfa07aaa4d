"""How many numbers of a file stand in it more than once, in bounded memory: they wait on disk, in a file without a name."""

from typing import IO

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 1 << 21  # numbers that are sorted at once: 16 MiB
_READ = 1 << 20  # numbers
_SPREAD = np.uint64(
    0x9E3779B97F4A7C15
)  # 2**64 divided by the golden ratio: neighbours land in different parts


class Duplicates:
    """Counts repeated numbers. `scratch` is an empty file of ours, which holds eight bytes a number until the run ends."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._held: list[NDArray[np.uint64]] = []
        self._waiting = 0
        self._spilt = 0

    def add(self, numbers: NDArray[np.uint64]) -> None:
        """Add numbers; 0 is none. Raises OSError."""
        found = numbers[numbers > 0]
        self._held.append(found)
        self._waiting += len(found)
        if self._waiting > _TOGETHER:
            self._spill()

    def _spill(self) -> None:
        for each in self._held:
            self._scratch.write(each.tobytes())
        self._spilt += self._waiting
        self._held, self._waiting = [], 0

    def count(self) -> int:
        """How many of all numbers were there before. Raises OSError."""
        if not self._spilt:
            return _repeated(np.concatenate(self._held)) if self._held else 0
        self._spill()
        parts = 1 << (-(-self._spilt // _TOGETHER) - 1).bit_length()
        return sum(self._of_part(np.uint64(part), parts) for part in range(parts))

    def _of_part(self, part: np.uint64, parts: int) -> int:
        """The repeated numbers among those that belong to one part of so many, a power of two; a number belongs to one part
        only."""
        self._scratch.seek(0)
        chosen = []
        while block := self._scratch.read(_READ * 8):
            numbers = np.frombuffer(block, np.uint64)
            chosen.append(numbers[(numbers * _SPREAD >> np.uint64(33)) & np.uint64(parts - 1) == part])
        return _repeated(np.concatenate(chosen))


def _repeated(numbers: NDArray[np.uint64]) -> int:
    ordered = np.sort(numbers)  # np.unique looks each up in a hash table, which takes twenty times as long
    return int((ordered[1:] == ordered[:-1]).sum())
