"""Step 2 of a delta's life: the change after which a register is what a list says.

A delta is exact: it adds no number that the register holds, and removes none that it lacks. So it fits only the register
that it was made against: the publisher makes it against the register at the log's end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.index import Hashing, Numbers, as_bitmap, as_numbers

Moments = NDArray[np.int64]  # seconds since 1970-01-01T00:00Z


class StatedEnds(NamedTuple):
    """When each of these numbers ends; 0: it does not end (any more). No number is named twice."""

    numbers: Numbers
    ends: Moments

    @classmethod
    def none(cls) -> "StatedEnds":
        """No statement about any number."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Delta:
    """A change of one register."""

    adds: BitMap64  # none of them is in the register
    removes: BitMap64  # all of them are in the register
    unchanged: int
    # Of numbers that are in the register afterwards. Others keep their end; added numbers that are not named do not end.
    ends: StatedEnds = field(default_factory=StatedEnds.none)
    reason: str = "list"  # one word: list, requests, ended ...
    requests: Sequence[bytes] = ()  # the requests that it was made from, as lines (`wire.request_line`)
    areas: tuple[str, ...] | None = None  # what the register covers from now on; None: as before
    hashed: Hashing | None = None  # how its numbers were hashed; None: as before

    @property
    def is_empty(self) -> bool:
        """Whether the numbers stay as they are. Publishing such a delta renews the register's date."""
        return not self.adds and not self.removes and not len(self.ends.numbers)


def nothing(register: BitMap64, reason: str) -> Delta:
    """No change, for a seal that says something else."""
    return Delta(BitMap64(), BitMap64(), len(register), reason=reason)


def full(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register holds exactly the listed numbers."""
    return Delta(listed - register, register - listed, listed.intersection_cardinality(register))


def adding(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register also holds the listed numbers."""
    return Delta(listed - register, BitMap64(), listed.intersection_cardinality(register))


def removing(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register holds no listed number."""
    removes = listed & register
    return Delta(BitMap64(), removes, len(listed) - len(removes))


# Changes that are kept next to the arrays before the arrays are rebuilt: copying a dictionary of this size takes 0.2 ms,
# and sorting ten million numbers takes a second.
_LATER_MAX = 16_384


class Ends:
    """The ends of one register's numbers. Immutable: `changed` returns the next version, with shared arrays.

    Two arrays in the order of the ends take 16 bytes a number. A dictionary has the later changes: a number's new end, or
    0. `next` is the earliest end, None if no number ends.
    """

    __slots__ = ("_ends", "_first", "_held", "_later", "_numbers", "_order", "next")

    def __init__(
        self,
        numbers: Numbers,
        ends: Moments,
        held: BitMap64,
        later: Mapping[int, int],
        first: int,
        order: list[NDArray[np.uint32]],
    ) -> None:
        """For `none` and `changed`. `held` is `numbers` as a bitmap; the numbers before `first` are all in `later`.
        `order` sorts the numbers; it is empty until it is needed, and shared by all versions with these arrays."""
        while first < len(numbers) and int(numbers[first]) in later:
            first += 1
        self._numbers, self._ends, self._held, self._later, self._first = numbers, ends, held, later, first
        self._order = order
        earliest = [int(ends[first])] if first < len(numbers) else []
        self.next: int | None = min((*earliest, *filter(None, later.values())), default=None)

    @classmethod
    def none(cls) -> "Ends":
        """The ends of a register whose numbers do not end."""
        return cls(*StatedEnds.none(), BitMap64(), {}, 0, [])

    def changed(self, removed: BitMap64, stated: StatedEnds) -> "Ends":
        """The ends after a delta: removed numbers have no end any more, and `stated` overrides earlier ends."""
        removed_ends = removed & self._held
        lost = [number for number in self._later if number in removed] if removed else []
        if not removed_ends and not lost and not len(stated.numbers):
            return self
        if len(removed_ends) + len(stated.numbers) + len(self._later) > _LATER_MAX:
            return self._folded(removed, stated)
        later = dict(self._later)
        for number in (*removed_ends, *lost):
            _put(later, number, 0, self._held)
        for number, end in zip(stated.numbers.tolist(), stated.ends.tolist(), strict=True):
            _put(later, number, end, self._held)
        return Ends(self._numbers, self._ends, self._held, later, self._first, self._order)

    def _folded(self, removed: BitMap64, stated: StatedEnds) -> "Ends":
        """The same as `changed`, with everything in the arrays."""
        stated_numbers = as_bitmap(np.sort(stated.numbers))
        later_numbers = [
            n for n, end in self._later.items() if end and n not in removed and n not in stated_numbers
        ]
        touched = as_numbers(BitMap64(self._later) | (removed & self._held) | stated_numbers)
        numbers, ends = self._numbers[self._first :], self._ends[self._first :]
        if len(touched):
            at = np.minimum(np.searchsorted(touched, numbers), len(touched) - 1)
            stays = touched[at] != numbers
            numbers, ends = numbers[stays], ends[stays]
        live = stated.ends > 0
        numbers = np.concatenate((numbers, np.array(later_numbers, np.uint64), stated.numbers[live]))
        ends = np.concatenate(
            (ends, np.array([self._later[n] for n in later_numbers], np.int64), stated.ends[live])
        )
        order = np.argsort(ends, kind="stable")  # the three pieces are sorted: a stable sort merges them
        numbers, ends = numbers[order], ends[order]
        return Ends(numbers, ends, as_bitmap(np.sort(numbers)), {}, 0, [])

    def stated(self) -> StatedEnds:
        """Every number that ends, by its end."""
        folded = self._folded(BitMap64(), StatedEnds.none()) if self._later else self
        return StatedEnds(folded._numbers, folded._ends)  # noqa: SLF001  # of the same class

    def numbers(self) -> BitMap64:
        """Every number that ends."""
        return (self._held - BitMap64(self._later)) | BitMap64([n for n, end in self._later.items() if end])

    def until(self, moment: int) -> BitMap64:
        """The numbers that have ended by that moment."""
        upto = int(np.searchsorted(self._ends, moment, "right"))
        early = as_bitmap(np.sort(self._numbers[self._first : upto]))
        return (early - BitMap64(self._later)) | BitMap64(
            [number for number, end in self._later.items() if 0 < end <= moment]
        )

    def of_each(self, numbers: Numbers) -> Moments:
        """For each of these numbers: when it ends, 0 when it does not."""
        # The publisher asks for some numbers at each delta: sorting millions for that would take a second.
        if not self._order:
            self._order.append(np.argsort(self._numbers).astype(np.uint32))
        ends = np.zeros(len(numbers), np.int64)
        later = np.array(sorted(self._later), np.uint64)
        latest = np.array([self._later[number] for number in later.tolist()], np.int64)
        of_later = np.arange(len(later), dtype=np.uint32)
        for known, until, order in ((self._numbers, self._ends, self._order[0]), (later, latest, of_later)):
            if len(known):
                places = np.minimum(np.searchsorted(known, numbers, sorter=order), len(known) - 1)
                places = order[places]
                hits = known[places] == numbers
                ends[hits] = until[places[hits]]
        return ends

    def are(self, stated: StatedEnds) -> bool:
        """Whether these are exactly the ends that are known."""
        return len(self.numbers()) == len(stated.numbers) and bool(
            np.array_equal(self.of_each(stated.numbers), stated.ends)
        )


def _put(later: dict[int, int], number: int, end: int, held: BitMap64) -> None:
    if end or number in held:
        later[number] = end
    else:
        later.pop(number, None)


def with_ends(delta: Delta, known: Ends, listed: BitMap64, wanted: StatedEnds) -> Delta:
    """The delta after which every listed number ends as the list says: at its moment in `wanted`, or not at all.

    `wanted` names listed numbers only; `delta` is `deltas.full` or `deltas.adding` of `listed`.
    """
    changes = known.of_each(wanted.numbers) != wanted.ends
    endless = as_numbers((listed - as_bitmap(np.sort(wanted.numbers))) & known.numbers())
    return replace(
        delta,
        ends=StatedEnds(
            np.concatenate((wanted.numbers[changes], endless)),
            np.concatenate((wanted.ends[changes], np.zeros(len(endless), np.int64))),
        ),
    )


def ended(known: Ends, now: datetime) -> Delta:
    """The delta that removes the numbers whose end has passed; empty if there are none."""
    return Delta(BitMap64(), known.until(int(now.timestamp())), 0, reason="ended")
