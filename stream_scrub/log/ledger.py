"""What a reader knows of the log as a whole: where every register is on it, and the chain over all its seals.

A register's own chain orders its deltas, and cannot show that its end is missing. The log's chain goes over the seals of
all registers in the order of the log. Every seal holds that chain as its publisher last read it. So the next seal of any
register shows that something was dropped. At times a seal states where all registers begin, for readers that begin
later.
"""

import sys
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from stream_scrub.errors import Corrupt, StaleIndex
from stream_scrub.index.index import ByName
from stream_scrub.log import wire
from stream_scrub.log.delta import SealedDelta

# Seals for which the log's chain is kept. A publisher may compute for minutes between reading and publishing, and does
# not know what others published meanwhile. A seal that is further behind is not checked by this; the next one is.
_KEPT = 8192
_DIGEST_BYTES = 32
_NOWHERE = (-1, -1)


class Weights:
    """How large the registers' full sets are, in records of the log."""

    # A record takes half a kilobyte or more, a number in a full set about two bytes. A full set has at least two records.
    _NUMBERS_A_RECORD = 128
    _LEAST = 2

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._counts: Counter[int] = Counter()  # by the length of a weight in bits: a bounded number of keys
        self._totals: Counter[int] = Counter()

    @classmethod
    def of(cls, count: int) -> int:
        """The weight of a register of so many numbers."""
        return cls._LEAST + count // cls._NUMBERS_A_RECORD

    def put(self, name: str, count: int) -> None:
        """Note how many numbers a register holds now."""
        for weight, sign in ((self._of.get(name, 0), -1), (self.of(count), 1)):
            if weight:
                self._counts[weight.bit_length()] += sign
                self._totals[weight.bit_length()] += sign * weight
        self._of[name] = self.of(count)

    def restated_after(self, count: int) -> int:
        """After how many records a register of so many numbers is restated: its weight and that of all others, none
        counted for more than its own.

        So restatements are at most a few times what the log grows by anyway, for any number and size of registers.
        """
        own = self.of(count)
        rank = own.bit_length()
        light = sum(total for bits, total in self._totals.items() if bits <= rank)
        return max(own, light + own * sum(count for bits, count in self._counts.items() if bits > rank))


class LogMark(NamedTuple):
    """Why a sound log may not be used, for verdicts or for publishing: it is not complete yet, or was renewed as another log
    (`goes_on_as`)."""

    why: str
    goes_on_as: str = ""

    @classmethod
    def after(cls, seal: wire.Seal, before: "LogMark | None") -> "LogMark | None":
        """The log's mark after that seal of its rules. Rules from a publisher that has not seen a mark do not end it."""
        if seal.reason == wire.MOVED:
            return cls.moved(seal.source.name)
        if seal.reason == wire.RENEWING:
            return cls(
                "`stream-scrub lists renew` has not put this log together yet; if it was cut off, see docs/privacy.md"
            )
        return None if seal.reason in {wire.RENEWED, wire.TAKEN_BACK} else before

    @classmethod
    def moved(cls, name: str) -> "LogMark":
        """The log goes on as the topic of that name."""
        return cls(f"the opposition log was renewed as {name}: set topics.log to {name}", name)

    def stale(self) -> StaleIndex:
        """The error for a process that gives verdicts."""
        if self.goes_on_as:
            return StaleIndex("log-moved", self.why)
        return StaleIndex("log-unfinished", self.why)


class LogChain:
    """The chain over the seals of all registers, with its value after each of the latest seals. 40 bytes a seal.

    An unknown chain is empty. `agreed` is the last offset at which a publisher is known to have read the same.
    """

    def __init__(self, read: wire.ReadPosition | None, kept: float = _KEPT) -> None:
        self.agreed = -1
        self._kept = kept
        self._offsets, self._chains = array("q"), bytearray()
        if read is not None:
            self._push(read.upto, read.log_chain)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not self._offsets

    @property
    def last(self) -> tuple[int, str]:
        """The offset of the last seal, and the chain after it."""
        return self._offsets[-1], self._at(-1)

    def add(self, offset: int, chain: str) -> None:
        """One more seal, and its register's own chain after it."""
        if self._offsets:
            self._push(offset, wire.next_log_chain(self._at(-1), chain))

    def differs(self, read: wire.ReadPosition, offset: int) -> str:
        """Compare what a publisher read with this log; empty if equal or too old to check. `offset` is
        that of the publisher's seal."""
        i = bisect_right(self._offsets, read.upto) - 1
        if i < 0:
            return ""
        if self._offsets[i] != read.upto or read.upto >= offset:
            return f"its publisher had read a seal at offset {read.upto} that is not here"
        if self._at(i) != read.log_chain:
            return f"its publisher had read other seals up to offset {read.upto}"
        self.agreed = max(self.agreed, read.upto)
        return ""

    def _at(self, i: int) -> str:
        at = i % len(self._offsets) * _DIGEST_BYTES
        return self._chains[at : at + _DIGEST_BYTES].hex()

    def _push(self, offset: int, chain: str) -> None:
        if len(self._offsets) >= 2 * self._kept:
            self._cut(slice(len(self._offsets) - int(self._kept)))
        self._offsets.append(offset)
        self._chains += bytes.fromhex(chain)

    def _cut(self, seals: slice) -> None:
        first, stop, _ = seals.indices(len(self._offsets))
        del self._offsets[first:stop], self._chains[first * _DIGEST_BYTES : stop * _DIGEST_BYTES]


class LogLedger:
    """What one replay knows of the log. `starts` says where every register is on it.

    `begun` is the statement at which a reader began that did not begin at the log's beginning: the reader checks that all
    of it is true. Nothing up to the offset `since` is checked against the log's chain.
    """

    def __init__(
        self, begun: wire.RegisterStarts | None = None, read: wire.ReadPosition = wire.NOTHING_READ
    ) -> None:
        self.starts: ByName[tuple[int, int]] = ByName()
        self.weights = Weights()
        self.mark: LogMark | None = None
        self.chain = LogChain(read)
        self.since = read.upto
        self._stated = read.stated
        # By the offset of a seal, that of the first part that states starts.
        self._statements: dict[int, int] = {}
        self._begun = begun

    @classmethod
    def resuming(cls, starts: wire.RegisterStarts, read: wire.ReadPosition) -> "LogLedger":
        """The ledger of a reader that knew this much."""
        ledger = cls(None, read)
        ledger.starts = ByName(starts)
        return ledger

    @classmethod
    def unchecked(cls) -> "LogLedger":
        """The ledger of a reader that does not take all records: nothing is checked."""
        ledger = cls()
        ledger.since = sys.maxsize
        return ledger

    @property
    def read(self) -> wire.ReadPosition:
        """As the next seal says it."""
        return wire.ReadPosition(*self.chain.last, self._stated)

    def passes(self, offset: int) -> None:
        """The next record is at this offset. Raises Corrupt if a register did not reach the offset that the statement
        said."""
        if self._begun is not None and offset > self.since:
            for name, stated in self._begun.items():
                if self.starts.get(name) != stated:
                    raise Corrupt(
                        f"register {name} is said to go to offset {stated[1]}, and does not", offset
                    )
            self._begun = None

    def faults(self, delta: SealedDelta) -> Iterator[str]:
        """What is wrong with what a delta's publisher knew of the log. So a delta that is dropped together with everything
        after it in its own register is missed all the same."""
        if what := self.missing(delta) or self.misstated(delta):
            yield what

    def missing(self, delta: SealedDelta) -> str:
        """Compare what a delta's publisher had read with this log; empty if nothing differs."""
        differs = "" if delta.offset <= self.since else self.chain.differs(delta.seal.read, delta.offset)
        return differs and f"{differs}: a delta is missing behind offset {self.chain.agreed}"

    def misstated(self, delta: SealedDelta) -> str:
        """What is wrong with the statements of starts that a delta names or makes; empty if nothing is."""
        if delta.offset <= self.since:
            return ""
        read = delta.seal.read
        if read.stated is not None and read.stated[0] > self.since:
            first, last = read.stated
            if self._statements.setdefault(last, -1) != first:
                self._statements[last] = first  # the seals that repeat it are not reported again
                return f"no statement of starts begins at offset {first}, as it says"
        if not delta.starts:
            return ""
        try:
            starts = wire.decode_starts(part.value for part in delta.starts)
        except ValueError as error:
            return str(error)
        for name in sorted(self.starts.keys() | starts.keys()):
            start, last = starts.get(name, _NOWHERE)
            known = self.span_at(name, read.upto)
            if known not in (None, (start, last)) and not self.is_excused(name, start):
                return f"it states that {name} begins at offset {start} and goes to {last}, which is not so"
        return ""

    def is_excused(self, _name: str, _start: int) -> bool:
        """Whether a statement about that register cannot be checked: a follower checks them all."""
        return False

    def span_at(self, name: str, upto: int) -> tuple[int, int] | None:
        """Where a register was when the log ended at that offset; None if that is not known any more."""
        span = self.starts.get(name, _NOWHERE)
        return span if span[1] <= upto else None

    def add(self, name: str, delta: SealedDelta) -> None:
        """One more delta."""
        start = delta.first if delta.is_full else self.starts.get(name, (delta.first, 0))[0]
        self.starts = self.starts.put(name, (start, delta.offset))
        self.weights.put(name, delta.seal.count)
        if name == wire.RULES:
            self.mark = LogMark.after(delta.seal, self.mark)
        if delta.offset <= self.since:  # the chain up to there is the statement's at which this reader began
            return
        self.chain.add(delta.offset, delta.seal.chain)
        if delta.starts:
            self._stated = delta.starts[0].offset, delta.offset
            self._statements[delta.offset] = delta.starts[0].offset


class LogView(NamedTuple):
    """What a publisher must know of the log as a whole."""

    read: wire.ReadPosition
    starts: wire.RegisterStarts | None  # None while parts wait for their seal: it is not known then
    weights: Weights
    mark: LogMark | None = None
