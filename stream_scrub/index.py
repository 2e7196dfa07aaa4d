"""The index: every register at one position of the log. Where the two planes meet.

The lists room builds the next index, the scrub room reads it. Nothing in it is ever changed: a delta gives a new
index, and a worker swaps one reference. A register's numbers are one 64-bit roaring bitmap; beside it stands a filter,
derived from it for speed alone, which answers "surely not in here" for a whole batch at once.
"""

import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.byname import ByName
from stream_scrub.model import FOR, INTERNAL, RegisterKind, RegisterName, family, scoped_name

Numbers = NDArray[np.uint64]

# 13 bits a number, four of them set in one 64-bit word: one false hit in a hundred, one cache line a look-up. Of very
# many numbers ten bits each: two false hits in a hundred when full; at 250 million as much memory as the register.
_BITS_A_NUMBER = 13
_BITS_OF_MANY = 10
_MANY = 100_000_000
_MIX_WORD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Knuth's multiplicative hashing
_MIX_BITS = np.uint64(0xC2B2AE3D27D4EB4F)  # an odd constant unrelated to it, of xxHash's
_ONE = np.uint64(1)
_SIX = np.uint64(63)
_S32 = np.uint64(32)
_SHIFTS = tuple(np.uint64(shift) for shift in (40, 46, 52, 58))  # the best mixed bits are the high ones
_CHUNK = 32_768

# A call into roaring keeps the interpreter from every other thread until it returns: 20 ms for a copy of 50 M
# numbers, 800 ms for an array of them. So work on a whole register goes in ranges of numbers: 2**24 for a copy (half
# a millisecond), 2**22 for an array, and wider ones if the numbers are too sparse for that.
_COPY = (24, 256)  # bits, and the most ranges: each range costs a walk over all that was put together before
_LIST = (22, 4096)
_WIDEST_BITS = 32


# Ends are published as they come. If an end lies further back than this, nobody publishes them: the register is stale.
ENDS_GRACE_S = 60.0
# A day ends first on earth where clocks are this far ahead of UTC: there a number's last day ends, see `end_dates`.
FIRST_ZONE = timedelta(hours=14)


def _no_pause() -> None:
    """For callers that share the interpreter with nobody."""


class Filter:
    """A register-blocked Bloom filter over numbers (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom
    Filters, 2007). It never misses a number that was added; 1 or 2 % of others hit and are then looked up exactly. One
    filter serves a register through its deltas: adding only ever turns "surely not" into "perhaps".
    """

    __slots__ = ("_size", "_words", "left")

    def __init__(self, numbers: Numbers) -> None:
        self._make(len(numbers))
        self.add(numbers)

    def _make(self, count: int, pause: Callable[[], None] = _no_pause) -> None:
        """An empty filter with room for `count` numbers and a quarter more."""
        self.left = max(1024, count + count // 4)
        size = self.left * (_BITS_A_NUMBER if count < _MANY else _BITS_OF_MANY) // 64
        self._size = np.uint64(size)
        self._words: Numbers = np.empty(size, dtype=np.uint64)
        # The kernel clears memory when it is first touched: here in pieces, not in one call of `add`.
        for start in range(0, size, _CHUNK):
            self._words[start : start + _CHUNK] = 0
            pause()

    @classmethod
    def of(cls, bitmap: BitMap64, pause: Callable[[], None] = _no_pause) -> "Filter":
        """A filter for the members of a bitmap. `pause`: see `add`."""
        made = cls.__new__(cls)
        made._make(len(bitmap), pause)
        made.add_all(bitmap, pause)
        return made

    @property
    def room(self) -> int:
        """How many more numbers it may take before it should be made anew. With twice as many as it was made for, one
        in twenty other numbers hits; one in ten in a filter of very many."""
        return self.left + int(self._size) * 64 // _BITS_A_NUMBER

    def _place(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        mixed = numbers * _MIX_WORD
        words = ((mixed >> _S32) * self._size) >> _S32
        mixed ^= mixed >> _S32
        mixed *= _MIX_BITS
        bits = _ONE << (mixed >> _SHIFTS[3])
        for shift in _SHIFTS[:3]:
            bits |= _ONE << ((mixed >> shift) & _SIX)
        return words, bits

    def add(self, numbers: Numbers, pause: Callable[[], None] = _no_pause) -> None:
        """Make every one of `numbers` a hit from now on. Uses up `left`.

        The work is done in short calls. Between them `pause` may let other threads have the interpreter.
        """
        for start in range(0, len(numbers), _CHUNK):
            places, bits = self._place(numbers[start : start + _CHUNK])
            # When two numbers share a word, only the last one is written. The other still misses, and is added again
            # in the next round. That is twice as fast as `bitwise_or.at`. No bit that a reader has seen is ever
            # cleared.
            while len(places):
                words = self._words[places] | bits
                self._words[places] = words
                missing = (self._words[places] & bits) != bits
                places, bits = places[missing], bits[missing]
            pause()
        self.left -= len(numbers)

    def add_all(self, bitmap: BitMap64, pause: Callable[[], None] = _no_pause) -> None:
        """`add` for the members of a bitmap. They are never all in memory as an array."""
        for mask in _ranges([bitmap], *_LIST):
            self.add(as_numbers(bitmap if mask is None else bitmap & mask), pause)

    def perhaps(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each number: False if it is surely not in the register."""
        words, bits = self._place(numbers)
        hits: NDArray[np.bool_] = (self._words[words] & bits) == bits
        return hits

    @classmethod
    def restored(cls, words: Numbers, left: int) -> "Filter":
        """The filter that had these `words` and this much room `left`."""
        made = cls.__new__(cls)
        made.left = left
        made._size = np.uint64(len(words))  # noqa: SLF001  # its own
        made._words = words  # noqa: SLF001
        return made

    @property
    def words(self) -> Numbers:
        """The words that the filter is made of. Bits in them are only ever set, never cleared."""
        return self._words

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


def _ranges(bitmaps: Sequence[BitMap64], bits_min: int, most: int) -> Iterator[BitMap64 | None]:
    """At most `most` masks, each of 2**`bits_min` numbers or more, that together cover every member of the bitmaps.
    If that would take too many masks, one None stands for everything at once: no numbering plan is so sparse."""
    for bits in range(bits_min, _WIDEST_BITS + 1, 2):
        starts = {start for bitmap in bitmaps for start in _starts(bitmap, bits, most)}
        if len(starts) <= most:
            for start in sorted(starts):
                last = start + 2**bits - 1
                mask = BitMap64(range(start, last))
                mask.add(last)  # added by itself, because no range can end at 2**64
                yield mask
            return
    yield None


def _starts(bitmap: BitMap64, bits: int, most: int) -> list[int]:
    """Where the ranges of 2**`bits` numbers begin that hold a member. It stops after `most` + 1 of them."""
    starts: list[int] = []
    last = bitmap.max() if bitmap else -1
    at = 0
    while at <= last and len(starts) <= most:
        at = bitmap.next_set_bit(at) >> bits << bits
        starts.append(at)
        at += 2**bits
    return starts


def _piece(held: BitMap64, adds: BitMap64, removes: BitMap64, mask: BitMap64 | None) -> BitMap64:
    """The numbers in the mask after a delta. Raises ValueError if the delta does not fit them."""
    if mask is None:
        before, piece = len(held), held | adds
    else:
        piece, adds, removes = held & mask, adds & mask, removes & mask
        before = len(piece)
        piece |= adds
    between = len(piece)
    piece -= removes
    exact = (between - before, between - len(piece)) == (len(adds), len(removes))
    if not exact or not adds.isdisjoint(removes):
        raise ValueError("it adds numbers that the register holds, or removes some that it does not hold")
    return piece


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """One named set of numbers after one of its deltas.

    `seq` counts its deltas from 1. `chain` is the head of its hash chain (hex). `effective_at` is the moment that the
    source list speaks of. `position` is the log offset of its last seal. `next_end` is the earliest end of its
    numbers: at that moment the first of them should leave. `areas` are the first digits of the numbers that its list
    covers, "" for all; None if nobody declared them.
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
    next_end: datetime | None = None
    areas: tuple[str, ...] | None = None

    @classmethod
    def empty(cls, name: str, kind: RegisterKind, at: datetime) -> "Register":
        """A register before its first delta."""
        none = np.empty(0, dtype=np.uint64)
        return cls(name, kind, BitMap64(), 0, "0" * 64, at, -1, "", Filter(none))

    def changed(
        self, adds: BitMap64, removes: BitMap64, pause: Callable[[], None] = _no_pause
    ) -> tuple[BitMap64, Filter]:
        """The numbers after a delta, and a filter that covers them. This register stays as it is. `adds` may become
        the register's numbers: do not change it afterwards. `pause`: see `Filter.add`.

        Raises ValueError if the register holds a number of `adds` or does not hold one of `removes`.
        """
        if self.numbers or removes:
            numbers = BitMap64()
            for mask in _ranges([self.numbers, adds, removes], *_COPY):
                piece = _piece(self.numbers, adds, removes, mask)
                if mask is None:
                    numbers = piece
                else:
                    numbers |= piece
                pause()
        else:
            numbers = adds  # a copy would be the largest thing in memory at a register's first import
        if len(adds) > self.filter.room:
            return numbers, Filter.of(numbers, pause)
        self.filter.add_all(adds, pause)
        return numbers, self.filter

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each number: whether the register holds it. Numbers are looked up one by one: a national register has
        thousands of containers, and intersecting it with a bitmap made for the purpose takes twice as long."""
        held = self.numbers
        return np.array([number in held for number in numbers.tolist()], np.bool_)

    def older_than(self, days: int, now: datetime) -> bool:
        """Whether the list that this register holds is more than `days` days old."""
        return now - self.effective_at > timedelta(days=days)

    def ends_overdue(self, now: datetime) -> bool:
        """Whether it still holds numbers that should have ended: then nobody publishes this register's ends."""
        return self.next_end is not None and now - self.next_end > timedelta(seconds=ENDS_GRACE_S)

    @property
    def scope(self) -> str:
        """The campaign that a scoped register counts for, or the empty string."""
        return RegisterName.split(self.name).scope


ANYBODY = "*"  # the scope of all scoped registers of opposition as one; no register of the log has it
_SCOPED = scoped_name(INTERNAL, "")


@dataclass(slots=True)
class _Derived:
    """What follows from an index's registers, once somebody has asked for it; None before.

    `spelt` has the registers whose campaign is not spelt as campaigns are compared, by the name that they are compared
    by; and those of a campaign's purposes, by the campaign's with FOR behind it. `opposed` has the registers for ANYBODY
    by channel ("": of all), empty if there are no scoped ones. `families` are the names of all registers so.
    """

    spelt: dict[str, tuple[str, ...]] | None = None
    opposed: dict[str, Register] = field(default_factory=dict)
    families: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """Every register at one position: the log offset of the last seal applied, -1 before the first."""

    registers: ByName[Register]
    position: int
    _derived: _Derived = field(default_factory=_Derived, repr=False, compare=False)

    @classmethod
    def empty(cls) -> "Index":
        """The index before the first seal. It knows nothing, so it must allow nothing."""
        return cls(ByName(), -1)

    def with_register(self, register: Register) -> "Index":
        """The next index, in which `register` replaces its older self."""
        made = Index(self.registers.put(register.name, register), register.position)
        known, before = self._derived, self.registers.get(register.name)
        spelt, opposed, families = known.spelt, known.opposed, known.families
        if spelt is not None and before is None:
            spelt = _spelt([register.name], spelt)
        of_it = [channel for channel in opposed if _opposes(register.name, channel)]
        opposed = opposed | {each: made._joined(opposed[each], before, register, each) for each in of_it}
        families = None if families is None else families | {family(register.name)}
        return replace(made, _derived=_Derived(spelt, opposed, families))

    def scoped(self, name: str, scope: str) -> list[Register]:
        """The registers of that name and scope (as it is compared), however they are spelt; none for an empty purpose."""
        whole = scoped_name(name, scope)
        also = () if scope.endswith(FOR) else self.spelt().get(whole, ())
        return [self.registers[n] for n in (whole, *also) if n in self.registers]

    def spelt(self) -> dict[str, tuple[str, ...]]:
        """Registers by a name that is not theirs, see `_Derived`: those that an older release spelt otherwise, and under
        `consent@acme+` those of a campaign's purposes."""
        if self._derived.spelt is None:
            self._derived.spelt = _spelt(self.registers, {})
        return self._derived.spelt

    def families(self) -> frozenset[str]:
        """The names of all registers without their scopes."""
        if self._derived.families is None:
            self._derived.families = frozenset(map(family, self.registers))
        return self._derived.families

    def opposed_to_anybody(self, channel: str = "") -> Register | None:
        """The numbers that are opposed to one campaign or another, by that channel ("": by any), as the register for
        ANYBODY; None if there is none. It is as old as the oldest, and of kind `allow` if one is, so that nobody trusts it."""
        found = self._derived.opposed.get(channel)
        if found is None:
            scoped = self._opposing(channel)
            numbers = _union([each.numbers for each in scoped])
            found = Register.empty(scoped_name(INTERNAL, ANYBODY), RegisterKind.DENY, datetime.now(UTC))
            found = replace(found, numbers=numbers, filter=Filter.of(numbers), seq=len(scoped))
            found = _limited(found, scoped)
            self._derived.opposed = self._derived.opposed | {channel: found}
        return found if found.seq else None

    def _opposing(self, channel: str) -> list[Register]:
        return [self.registers[name] for name in self.registers if _opposes(name, channel)]

    def _joined(self, whole: Register, before: Register | None, after: Register, channel: str) -> Register:
        """The one for ANYBODY once a scoped register has changed from `before` to `after`; this index has `after`."""
        was = before or Register.empty(after.name, after.kind, after.effective_at)
        gone = was.numbers - after.numbers
        for each in self._opposing(channel) if gone else ():
            gone -= each.numbers
        numbers, filter_ = whole.changed(after.numbers - was.numbers - whole.numbers, gone)
        joined = replace(whole, numbers=numbers, filter=filter_, seq=whole.seq + (before is None))
        if before is None:
            return _limited(joined, [whole, after] if whole.seq else [after])
        return joined if _limits(was) == _limits(after) else _limited(joined, self._opposing(channel))


def _opposes(name: str, channel: str) -> bool:
    return name.startswith(_SCOPED) and (not channel or RegisterName.split(name).purpose in ("", channel))


_limits = attrgetter("effective_at", "next_end", "kind")


def _limited(joined: Register, of_it: Sequence[Register]) -> Register:
    """The register with the limits of the strictest of these."""
    odd = any(each.kind is not RegisterKind.DENY for each in of_it)
    return replace(
        joined,
        effective_at=min((each.effective_at for each in of_it), default=joined.effective_at),
        next_end=min((each.next_end for each in of_it if each.next_end is not None), default=None),
        kind=RegisterKind.ALLOW if odd else RegisterKind.DENY,
    )


def _union(bitmaps: Sequence[BitMap64]) -> BitMap64:
    """All numbers of these. Small ones are joined as arrays: 20 000 of them take 1.3 s one by one, and 50 ms so."""
    small = [as_numbers(each) for each in bitmaps if len(each) < _CHUNK]
    whole = as_bitmap(np.unique(np.concatenate(small))) if small else BitMap64()
    for each in bitmaps:
        if len(each) >= _CHUNK:
            whole |= each
    return whole


def _spelt(names: Iterable[str], before: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found = dict(before)
    for name in names:
        for key in RegisterName.split(name).others:
            found[key] = (*found.get(key, ()), name)
    return found
