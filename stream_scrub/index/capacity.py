"""How many numbers there is room for: one bound for reading a list, publishing it and following the log.

Numbers are counted, not bytes, so that one setting holds everywhere. Numbers that are close together take about four and
a half bytes each, with their filter. A number that is alone in its block of 65 536 takes twenty times as much. So each
block with numbers counts as twenty numbers more.
"""

import math
from collections.abc import Mapping

from pyroaring import BitMap64

from stream_scrub.errors import TooMany
from stream_scrub.index import Register

_BLOCK = 20  # 90 bytes, in numbers of a dense block


def weight(numbers: BitMap64) -> int:
    """What these numbers count as: between their count and 21 times that. It walks all blocks: 0.1 us each."""
    return len(numbers) + _BLOCK * int(numbers.get_statistics()["n_containers"]) if numbers else 0


class Capacity:
    """At most `most` numbers in all registers together. Call `take` before each change; a removal frees capacity."""

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self._at_most: dict[str, int] = {}  # an upper bound for each register
        self._together: int | None = None

    def expects(self, name: str, count: int) -> None:
        """Check that one register alone may hold so many. Raises TooMany."""
        if count > self.most:
            raise TooMany(_refusal(name, count, count, self.most))

    def take(self, registers: Mapping[str, Register], name: str, adds: BitMap64, removes: BitMap64) -> None:
        """Count the change of one of these registers, or of a new one. Raises TooMany, and then nothing has changed."""
        # The exact figure takes a walk over all numbers. It is computed only if the upper bound is too large.
        if math.isinf(self.most):
            return
        if self._together is None:  # the registers may come from a snapshot
            self._at_most = {each: weight(register.numbers) for each, register in registers.items()}
            self._together = sum(self._at_most.values())
        numbers_max = self._at_most.get(name, 0)
        others = self._together - numbers_max
        after = numbers_max + (1 + _BLOCK) * len(adds)
        if others + after > self.most:
            after = numbers_max + weight(adds)
        if others + after > self.most:
            at_most = {other: weight(each.numbers) for other, each in registers.items() if other != name}
            others = sum(at_most.values())
            before = registers[name].numbers if name in registers else BitMap64()
            numbers = (before | adds) - removes
            after = weight(numbers)
            if others + after > self.most:
                raise TooMany(_refusal(name, len(numbers), others + after, self.most))
            self._at_most = at_most
        self._at_most[name] = after
        self._together = others + after


def _refusal(name: str, count: int, together: int, most: float) -> str:
    return (
        f"{name} would hold {count:,} numbers, and all registers together count as {together:,} (scattered ones as up"
        f" to {1 + _BLOCK} each): more than lists.max_numbers ({most:,}). Give publisher and workers the memory that"
        " more takes (docs/sizing.md), then raise it"
    )
