"""What a reader knows of the log as a whole: where every register stands on it, and the chain over all its seals.

A register's own chain orders its deltas, and cannot tell that its end is missing. The log's chain goes over the seals
of all registers in the order of the log. Every seal says what that chain was when its publisher last read the log. So
the next seal, of whichever register, shows that something was dropped; this costs one line in each seal. Now and then
a seal states where all registers begin, for a reader that begins later.
"""

from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET

from stream_scrub.byname import ByName
from stream_scrub.errors import StaleIndex
from stream_scrub.lists.log import wire

# For so many seals the log's chain is kept: a publisher that reads, computes for minutes and then publishes does not
# know what the others published meanwhile. A seal that is further behind is not checked by this; the next one is.
_KEPT = 8192
_LISTED_MAX = 32  # lists of a register whose moments are known: a month of daily ones


class Weights:
    """How large the registers' full sets are, in records of the log."""

    # A record of the log weighs half a kilobyte or more, a number in a full set about two bytes; a full set has two
    # records that are there whatever it holds.
    _NUMBERS_A_RECORD = 128
    _LEAST = 2

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._counts: Counter[int] = (
            Counter()
        )  # by the length of a weight in bits: bounded, whatever is added up
        self._totals: Counter[int] = Counter()

    @classmethod
    def of(cls, count: int) -> int:
        """The weight of a register of so many numbers."""
        return cls._LEAST + count // cls._NUMBERS_A_RECORD

    def put(self, name: str, count: int) -> None:
        """A register holds so many numbers now."""
        for weight, sign in ((self._of.get(name, 0), -1), (self.of(count), 1)):
            if weight:
                self._counts[weight.bit_length()] += sign
                self._totals[weight.bit_length()] += sign * weight
        self._of[name] = self.of(count)

    def beside(self, count: int) -> int:
        """The weight of a register of so many numbers and of all others, none counted for more than that one.

        That much of the log may come before it is stated anew: then what is restated of all registers is no more than
        a few times what the log grows by anyway, however many there are and whatever their sizes.
        """
        own = self.of(count)
        rank = own.bit_length()
        light = sum(total for bits, total in self._totals.items() if bits <= rank)
        return max(own, light + own * sum(count for bits, count in self._counts.items() if bits > rank))


class LogMark(NamedTuple):
    """Why nobody may judge by a log or publish to it, sound as it is, in a sentence; and the log that it goes on as, empty
    where it is not put together yet."""

    why: str
    goes_on_as: str = ""

    @classmethod
    def after(cls, seal: wire.Seal, before: "LogMark | None") -> "LogMark | None":
        """The mark of a log behind that seal of its rules, given the one `before` it. Rules that somebody puts there who has
        not seen a mark do not end it."""
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
        """For whoever judges."""
        if self.goes_on_as:
            return StaleIndex("log-moved", self.why)
        return StaleIndex("log-unfinished", self.why)


class LogLedger:
    """What one replay knows of the log. `starts` says where every register stands. `begun` is the statement with which
    a reader began that did not begin at the log's beginning: it must find that all of it is so.
    """

    def __init__(
        self, begun: wire.RegisterStarts | None = None, read: wire.ReadPosition = wire.NOTHING_READ
    ) -> None:
        self.starts: ByName[tuple[int, int]] = ByName()
        self.weights = Weights()
        self.mark: LogMark | None = None
        self._begun = begun
        self._since = read.upto
        self._read = read
        self._offsets: deque[int] = deque([read.upto])
        self._chains = {read.upto: read.log_chain}

    @classmethod
    def resuming(cls, starts: wire.RegisterStarts, read: wire.ReadPosition) -> "LogLedger":
        """The ledger of a reader that knew this much."""
        made = cls(None, read)
        made.starts = ByName(starts)
        return made

    @property
    def read(self) -> wire.ReadPosition:
        """As the next seal says it."""
        return self._read

    def passes(self, offset: int) -> None:
        """The next record is at this offset. Raises ValueError when a register is not where the statement said."""
        if self._begun is not None and offset > self._since:
            for name, stated in self._begun.items():
                if self.starts.get(name) != stated:
                    raise ValueError(f"register {name} is said to go to offset {stated[1]}, and does not")
            self._begun = None

    def check(self, seal: wire.Seal, offset: int) -> None:
        """Whether what the seal's publisher had read is what is here. Raises ValueError."""
        if seal.read is UNSET or offset <= self._since:
            return
        read = seal.read
        chain = self._chains.get(read.upto)
        if read.upto >= offset or read.upto > self._read.upto:
            raise ValueError(f"its publisher had read a seal at offset {read.upto}: a delta is missing")
        if chain != read.log_chain and (chain is not None or read.upto > self._offsets[0]):
            raise ValueError(
                f"its publisher had read other seals up to offset {read.upto}: a delta is missing"
            )

    def check_starts(self, seal: wire.Seal, starts: wire.RegisterStarts) -> None:
        """Whether registers begin where a seal states it, as its publisher knew them. Raises ValueError."""
        if seal.read is UNSET or self._begun is not None:
            return
        for name in self.starts.keys() | starts.keys():
            mine, theirs = self.starts.get(name, (-1, -1)), starts.get(name)
            if mine[1] <= seal.read.upto and mine != theirs:
                raise ValueError(f"it states that register {name} begins where it does not")

    def add(self, name: str, seal: wire.Seal, offset: int, start: int | None, stated: int | None) -> None:
        """One more seal, at its offset. `start` is where its delta begins if that is a full set, `stated` where the
        parts begin that state where registers do.
        """
        kept = self.starts[name][0] if start is None else start
        self.starts = self.starts.put(name, (kept, offset))
        self.weights.put(name, seal.count)
        if name == wire.RULES:
            self.mark = LogMark.after(seal, self.mark)
        if (
            offset <= self._since
        ):  # before the statement with which this reader began, which says the chain up to there
            return
        chain = wire.next_log_chain(self._read.log_chain, seal.chain)
        self._read = wire.ReadPosition(
            offset, chain, self._read.stated if stated is None else (stated, offset)
        )
        self._offsets.append(offset)
        self._chains[offset] = chain
        if len(self._offsets) > _KEPT:
            del self._chains[self._offsets.popleft()]


class ListDays:
    """Of which moment the latest lists of each register were, by their SHA-256: another name makes none younger."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, datetime]] = {}

    def of(self, name: str) -> Mapping[str, datetime]:
        """Those of that register."""
        return self._listed.get(name, {})

    def note(self, name: str, digest: str, moment: datetime) -> None:
        """One more list; its latest moment where it was imported several times."""
        listed = self._listed.setdefault(name, {})
        listed.pop(digest, None)
        listed[digest] = moment
        if len(listed) > _LISTED_MAX:
            del listed[next(iter(listed))]


class LogView(NamedTuple):
    """What a publisher must know of the log as a whole: what it has read, where every register stands (None while
    parts wait for their seal, for nobody can say then), how large the registers are, and what keeps it away."""

    read: wire.ReadPosition
    starts: wire.RegisterStarts | None
    weights: Weights
    mark: LogMark | None = None
