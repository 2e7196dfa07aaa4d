"""When the numbers of a register end: consents, numbers washed clean, oppositions for a time.

A follower only needs the next end, which the seal carries. Whoever publishes a register needs all of them: to remove
what has ended, to say the next one, and to state a register anew.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import Numbers, as_bitmap, as_numbers
from stream_scrub.lists.deltas import Delta, Moments, StatedEnds

# So many changes are kept beside the arrays before the arrays are made anew: copying a dictionary of this size takes
# 0.2 ms, and sorting ten million numbers anew takes a second.
_LATER_MAX = 16_384


class Ends:
    """The ends of one register's numbers. Never changed: `changed` gives the next one, and shares what it can.

    Two arrays in the order of the ends, 16 bytes a number however many different ends there are; and beside them what was
    said since: a number's new end, or 0. `next` is the earliest end, None when nothing ends.
    """

    __slots__ = ("_ends", "_first", "_held", "_later", "_numbers", "next")

    def __init__(
        self, numbers: Numbers, ends: Moments, held: BitMap64, later: Mapping[int, int], first: int
    ) -> None:
        """For `none` and `changed`. `held` are `numbers` as a bitmap; those before `first` are all in `later`."""
        while first < len(numbers) and int(numbers[first]) in later:
            first += 1
        self._numbers, self._ends, self._held, self._later, self._first = numbers, ends, held, later, first
        earliest = [int(ends[first])] if first < len(numbers) else []
        self.next: int | None = min((*earliest, *filter(None, later.values())), default=None)

    @classmethod
    def none(cls) -> "Ends":
        """The ends of a register whose numbers do not end."""
        return cls(*StatedEnds.none(), BitMap64(), {}, 0)

    def changed(self, removed: BitMap64, stated: StatedEnds) -> "Ends":
        """After a delta: what is removed has no end any more, `stated` overrides what was known."""
        gone = removed & self._held
        lost = [number for number in self._later if number in removed] if removed else []
        if not gone and not lost and not len(stated.numbers):
            return self
        if len(gone) + len(stated.numbers) + len(self._later) > _LATER_MAX:
            return self._folded(removed, stated)
        later = dict(self._later)
        for number in (*gone, *lost):
            _say(later, number, 0, self._held)
        for number, end in zip(stated.numbers.tolist(), stated.ends.tolist(), strict=True):
            _say(later, number, end, self._held)
        return Ends(self._numbers, self._ends, self._held, later, self._first)

    def _folded(self, removed: BitMap64, stated: StatedEnds) -> "Ends":
        """The same as `changed`, with everything in the arrays."""
        said = as_bitmap(np.sort(stated.numbers))
        kept = [n for n, end in self._later.items() if end and n not in removed and n not in said]
        touched = as_numbers(BitMap64(self._later) | (removed & self._held) | said)
        numbers, ends = self._numbers[self._first :], self._ends[self._first :]
        if len(touched):
            at = np.minimum(np.searchsorted(touched, numbers), len(touched) - 1)
            stays = touched[at] != numbers
            numbers, ends = numbers[stays], ends[stays]
        live = stated.ends > 0
        numbers = np.concatenate((numbers, np.array(kept, np.uint64), stated.numbers[live]))
        ends = np.concatenate((ends, np.array([self._later[n] for n in kept], np.int64), stated.ends[live]))
        order = np.argsort(
            ends, kind="stable"
        )  # of arrays in order that follow one another: these are merged
        numbers, ends = numbers[order], ends[order]
        return Ends(numbers, ends, as_bitmap(np.sort(numbers)), {}, 0)

    def stated(self) -> StatedEnds:
        """Every number that ends, by its end."""
        whole = self._folded(BitMap64(), StatedEnds.none()) if self._later else self
        return StatedEnds(whole._numbers, whole._ends)  # noqa: SLF001  # another of its own kind

    def numbers(self) -> BitMap64:
        """Every number that ends."""
        return (self._held - BitMap64(self._later)) | BitMap64([n for n, end in self._later.items() if end])

    def until(self, moment: int) -> BitMap64:
        """The numbers whose end has come at that moment."""
        upto = int(np.searchsorted(self._ends, moment, "right"))
        early = as_bitmap(np.sort(self._numbers[self._first : upto]))
        return (early - BitMap64(self._later)) | BitMap64(
            [number for number, end in self._later.items() if 0 < end <= moment]
        )

    def of(self, number: int) -> int | None:
        """When that number ends; None when it does not."""
        if number in self._later:
            return self._later[number] or None
        if number not in self._held:
            return None
        return int(self._ends[np.flatnonzero(self._numbers == np.uint64(number))[0]])

    def of_each(self, numbers: Numbers) -> Moments:
        """For each of these numbers: when it ends, 0 when it does not."""
        known = self.stated()
        found = np.zeros(len(numbers), np.int64)
        if len(known.numbers):
            order = np.argsort(known.numbers)
            ascending = known.numbers[order]
            at = np.minimum(np.searchsorted(ascending, numbers), len(order) - 1)
            hits = ascending[at] == numbers
            found[hits] = known.ends[order[at[hits]]]
        return found

    def are(self, stated: StatedEnds) -> bool:
        """Whether these are all the ends that are known, no more and no less."""
        return len(self.numbers()) == len(stated.numbers) and bool(
            np.array_equal(self.of_each(stated.numbers), stated.ends)
        )


def _say(later: dict[int, int], number: int, end: int, held: BitMap64) -> None:
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
    """The delta that removes what has ended by now; empty when nothing has."""
    return Delta(BitMap64(), known.until(int(now.timestamp())), 0, reason="ended")
