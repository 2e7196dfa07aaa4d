"""The index: every register at one position of the log. Where the two planes meet.

The lists room builds the next index, the scrub room reads it. Nothing in it is ever changed: a delta gives a new
index, and a worker swaps one reference. A register's numbers are one 64-bit roaring bitmap; beside it stands a filter,
derived from it for speed alone, which answers "surely not in here" for a whole batch at once.
"""

import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.model import RegisterKind

Numbers = NDArray[np.uint64]

# 13 bits a number and four bits of one 64-bit word each: about one false hit in a hundred, one cache line a look-up.
_BITS_A_NUMBER = 13
_MIX_WORD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Knuth's multiplicative hashing
_MIX_BITS = np.uint64(0xC2B2AE3D27D4EB4F)  # an odd constant unrelated to it, of xxHash's
_ONE = np.uint64(1)
_SIX = np.uint64(63)
_S32 = np.uint64(32)
_SHIFTS = tuple(np.uint64(shift) for shift in (40, 46, 52, 58))  # the best mixed bits are the high ones


class Filter:
    """A register-blocked Bloom filter over numbers (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom
    Filters, 2007). It never misses a number that was added; about 1 % of others hit and are then looked up exactly.

    One filter serves a register through its deltas: adding only ever turns "surely not" into "perhaps", so an older
    index that still reads the same words stays right.
    """

    __slots__ = ("_size", "_words", "left")

    def __init__(self, numbers: Numbers) -> None:
        capacity = max(1024, len(numbers) + len(numbers) // 4)
        self._size = np.uint64(capacity * _BITS_A_NUMBER // 64)
        self._words: Numbers = np.zeros(int(self._size), dtype=np.uint64)
        self.left = capacity
        self.add(numbers)

    def _place(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        mixed = numbers * _MIX_WORD
        words = ((mixed >> _S32) * self._size) >> _S32
        mixed ^= mixed >> _S32
        mixed *= _MIX_BITS
        bits = _ONE << (mixed >> _SHIFTS[3])
        for shift in _SHIFTS[:3]:
            bits |= _ONE << ((mixed >> shift) & _SIX)
        return words, bits

    def add(self, numbers: Numbers) -> None:
        """Make every one of `numbers` a hit from now on. Uses up `left`; rebuild when that is below zero."""
        for start in range(0, len(numbers), 65_536):  # short calls: each holds the interpreter for its length
            words, bits = self._place(numbers[start : start + 65_536])
            np.bitwise_or.at(self._words, words, bits)
        self.left -= len(numbers)

    def perhaps(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each number: False if it is surely not in the register."""
        words, bits = self._place(numbers)
        hits: NDArray[np.bool_] = (self._words[words] & bits) == bits
        return hits

    @property
    def nbytes(self) -> int:
        """Memory of the filter, in bytes."""
        return int(self._words.nbytes)


def as_numbers(bitmap: BitMap64) -> Numbers:
    """The members of a bitmap, ascending, as an array of unsigned 64-bit integers."""
    return np.frombuffer(bitmap.to_array(), dtype=np.uint64) if len(bitmap) else np.empty(0, dtype=np.uint64)


def as_bitmap(numbers: Numbers) -> BitMap64:
    """A bitmap of sorted distinct numbers (unsorted ones work, a hundred times slower)."""
    return BitMap64(array.array("Q", numbers.astype(np.uint64, copy=False).tobytes()))


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """One named set of numbers after one of its deltas.

    `seq` counts its deltas from 1, `chain` is the head of its hash chain (hex), `effective_at` the moment that the
    source list speaks of, `position` the log offset of its last seal.
    """

    name: str
    kind: RegisterKind
    numbers: BitMap64
    seq: int
    chain: str
    effective_at: datetime
    position: int
    source: str
    filter: Filter = field(repr=False)

    @classmethod
    def empty(cls, name: str, kind: RegisterKind, at: datetime) -> "Register":
        """A register before its first delta."""
        none = np.empty(0, dtype=np.uint64)
        return cls(name, kind, BitMap64(), 0, "0" * 64, at, -1, "", Filter(none))

    def changed(self, adds: BitMap64, removes: BitMap64) -> tuple[BitMap64, Filter]:
        """The numbers after a delta, and a filter that covers them. This register stays as it is."""
        numbers = self.numbers
        if adds:
            numbers = numbers | adds
        if removes:
            numbers = numbers - removes
        if len(adds) > self.filter.left:
            return numbers, Filter(as_numbers(numbers))
        self.filter.add(as_numbers(adds))
        return numbers, self.filter

    def older_than(self, days: int, now: datetime) -> bool:
        """Whether the list that this register holds is more than `days` days old."""
        return now - self.effective_at > timedelta(days=days)

    @property
    def scope(self) -> str:
        """The campaign that a scoped register counts for, or the empty string."""
        return self.name.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Index:
    """Every register at one position: the log offset of the last seal applied, -1 before the first."""

    registers: Mapping[str, Register]
    position: int

    @classmethod
    def empty(cls) -> "Index":
        """What is known before the first seal: nothing, so nothing may be allowed by it."""
        return cls(MappingProxyType({}), -1)

    def with_register(self, register: Register) -> "Index":
        """The next index, in which `register` replaces its older self."""
        registers = MappingProxyType({**self.registers, register.name: register})
        return replace(self, registers=registers, position=register.position)

    def named(self, name: str, scopes: Iterable[str] = ()) -> list[Register]:
        """The register of that name and its scoped ones for `scopes`, as far as the log has held them."""
        names = [name, *(f"{name}@{scope}" for scope in scopes)]
        return [self.registers[n] for n in names if n in self.registers]
