"""Registers that are handed out by area (the US registry is sold by area code): which numbers do they cover at all?

What was bought is declared at the import, and kept on the log with the register. Of a register without a declaration
(older releases knew none), the areas of its numbers count as bought. A number of another area is not free just because
the register lacks it. `Areas` answers as if all numbers of all covered areas were one more
register, so that a batch asks for them in the same pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Filter, Numbers, Register
from stream_scrub.model import RegisterKind

_E164_DIGITS_MAX = 15


class _Covered:
    """The numbers of covered areas, without a list of them. It is made for one batch, and remembers its answers."""

    def __init__(self, registers: Sequence[Register], digits: int, *, declared: bool) -> None:
        self.key = (*registers, digits, declared)
        said = [register.areas for register in registers if declared]
        self._declared = tuple(area for areas in said if areas is not None for area in areas)
        self._held = [r.numbers for r in registers if not declared or r.areas is None]
        self._digits = digits
        self._known: dict[int, bool] = {}

    def __contains__(self, number: int) -> bool:
        return self._covers(int(str(number)[: self._digits]))

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        areas, end = numbers.copy(), np.uint64(10**self._digits)
        while (longer := areas >= end).any():
            areas[longer] //= np.uint64(10)
        distinct, back = np.unique(areas, return_inverse=True)
        return np.array([self._covers(area) for area in distinct.tolist()], np.bool_)[back]

    def _covers(self, area: int) -> bool:
        if area not in self._known:
            self._known[area] = str(area).startswith(self._declared) or any(
                next(held.iter_equal_or_larger(area * size), -1) // size == area
                for held in self._held
                for size in (10**more for more in range(_E164_DIGITS_MAX - self._digits + 1))
            )
        return self._known[area]


class _Open(Filter):
    """A filter that sends every number to the exact look-up: nearly all numbers are in covered areas."""

    __slots__ = ()

    def perhaps(self, numbers: Numbers) -> NDArray[np.bool_]:
        return np.ones(len(numbers), np.bool_)


_OPEN = _Open(np.empty(0, np.uint64))


@dataclass(frozen=True, slots=True, eq=False)
class Areas(Register):
    """The areas that registers of one name cover, as a register. Its name holds a space, so no real register has it.

    Two are equal when they are made from the same registers, so that the many cases of a batch ask once.
    """

    covered: _Covered = field(kw_only=True, repr=False)

    @classmethod
    def of(cls, registers: Sequence[Register], digits: int, *, declared: bool = True) -> "Areas":
        """Made from at least one register. The first `digits` digits of a number name its area. `declared`: what was
        declared of a register counts; before the third reading the areas of its numbers did."""
        first = registers[0]
        covered = _Covered(registers, digits, declared=declared)
        return cls(
            # A batch tells registers apart by their names: other registers of the same family cover other areas.
            name=f"{' '.join(each.name for each in registers)} areas {digits}",
            kind=RegisterKind.ALLOW,
            numbers=cast(Any, covered),  # only `in` is asked of it
            seq=first.seq,
            chain=first.chain,
            effective_at=first.effective_at,
            position=first.position,
            source=first.source,
            filter=_OPEN,
            covered=covered,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Areas) and self.covered.key == other.covered.key

    def __hash__(self) -> int:
        return hash(self.covered.key)

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each number: whether its area is covered."""
        return self.covered.holds(numbers)
