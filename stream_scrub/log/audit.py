"""The whole log, proven or not: an audit is a replay that reports each fault and goes on.

A follower stops at the first fault, because it must not serve what it cannot prove. An audit goes on, to report
everything that is wrong. A fault of one register takes nothing from the others. After a fault the numbers of its
register are unknown, and only seals and digests are proven, until the register's next full set.
"""

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from stream_scrub.errors import Corrupt
from stream_scrub.index import Register, as_numbers
from stream_scrub.index.index import STATED
from stream_scrub.log import wire
from stream_scrub.log.apply import LogRules, RegisterState
from stream_scrub.log.delta import LogProblem, SealedDelta
from stream_scrub.log.ledger import LogChain, LogLedger
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import beginning_deleted
from stream_scrub.model import LogRecord

PROBLEMS_MAX = 100
_LATE = 8192  # seals by which a publisher may be behind that is believed
_PIECE = 1_000_000  # numbers that a filter is asked for at once: bounds the memory


class FiledRegister(msgspec.Struct):
    """The sequence and the chain of a register in an earlier proof."""

    register: str
    seq: int
    chain: str


class FiledProof(msgspec.Struct):
    """What counts of an earlier proof of the log, as `lists verify --json` wrote it."""

    registers: list[FiledRegister]

    @property
    def chains(self) -> dict[str, tuple[int, str]]:
        """The sequence and chain of each register that was not only problems."""
        return {each.register: (each.seq, each.chain) for each in self.registers if each.seq}


class LogAnchor(NamedTuple):
    """A timestamp on the log: the offset of its seal, the state read before it, and the answer (base64 of DER)."""

    offset: int
    read: wire.ReadPosition
    timestamp: str


@dataclass(slots=True)
class AuditTally:
    """What was counted of a register."""

    deltas: int = 0
    restated: int = 0  # full sets that equal the deltas before them
    problems: int = 0


class ProvenState(NamedTuple):
    """The proven registers at one position, which a snapshot of it must hold."""

    registers: Mapping[str, Register]
    unproven: frozenset[str]  # registers whose numbers are unknown
    starts: wire.RegisterStarts
    rules: LogRules | None


def _goes_back(before: wire.Cursor, now: wire.Cursor | None) -> bool:
    """Whether a cursor of the requests, or its cursor of the lifts, is behind an earlier one."""
    if now is None:
        return True
    if (now.topic, now.id) == (before.topic, before.id):
        for partition, upto in before.next.items():
            is_later = now.epochs.get(partition, -1) > before.epochs.get(partition, -1)
            if now.next.get(partition, 0) < upto and not is_later:
                return True
    return before.lifts is not None and _goes_back(before.lifts, now.lifts)


class LogAudit:
    """Feed it every record in offset order, then `finish`. `take` never raises for what a record holds.

    `first` is the first offset that the log has. What was proven at the position `watch` is `seen`. `filed` are
    sequences and chains of registers that were kept outside the log, which would show that all of it was rewritten.
    At most PROBLEMS_MAX problems are kept; all are counted.
    """

    def __init__(
        self,
        digest_of: Callable[[bytes], str],
        *,
        first: int = 0,
        watch: int | None = None,
        filed: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self.problems: list[LogProblem] = []
        self.problems_left_out = 0
        self.anchors: list[LogAnchor] = []
        self.tallies: defaultdict[str, AuditTally] = defaultdict(AuditTally)
        self.seen: ProvenState | None = None
        self._first = first
        self._watch = watch
        self._filed = dict(filed or {})
        self._faulty = -1  # the last offset with a problem
        self._marked_at = -1
        self._taken = first - 1
        self._ledger = _WholeLedger(first, self)
        self._replay = Replay(
            keep_ends=True, digest_of=digest_of, ledger=self._ledger, sink=self._fault, first=first
        )
        if first:
            self._report(LogProblem(first, "", beginning_deleted(first)))

    @property
    def registers(self) -> Mapping[str, RegisterState]:
        """Every register at the last record."""
        return self._replay.registers

    @property
    def seals(self) -> int:
        """How many seals there are, sound or not."""
        return self._replay.seals

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        return self._replay.unsealed

    def take(self, record: LogRecord) -> None:
        """The next record."""
        if self._watch is not None and self.seen is None and record.offset > self._watch:
            self.seen = self._proven()
        mark = self._ledger.mark
        delta = self._replay.take(record)
        if delta is not None:
            self._count(delta)
        if self._ledger.mark is not mark:
            self._marked_at = record.offset
        self._taken = record.offset

    def damaged(self, error: Corrupt) -> None:
        """Records that could not be read from the broker: their content is missing from here on."""
        named = re.search(r"offset (\d++)", str(error))
        self._report(LogProblem(int(named[1]) if named else self._taken + 1, "", str(error)))

    def finish(self) -> None:
        """The log's end was reached."""
        self._replay.finish()
        if (mark := self._ledger.mark) is not None and not mark.goes_on_as:
            self._report(LogProblem(self._marked_at, wire.RULES, mark.why))
        for name, (seq, _) in sorted(self._filed.items()):
            self._report(
                LogProblem(self._taken + 1, name, f"sequence {seq} was filed, and the log does not reach it")
            )
        if self._watch is not None and self.seen is None:
            self.seen = self._proven()

    def explains(self, agreed: int) -> bool:
        """Whether a fault that was reported is behind that offset."""
        return self._faulty > agreed

    def excuses(self, name: str, start: int) -> bool:
        """Whether a statement about that register cannot be checked."""
        doubted = name in self.tallies and self.tallies[name].problems > 0
        return doubted or 0 <= start < self._first

    def _fault(self, fault: LogProblem) -> None:
        """The sink of the replay."""
        if fault.register:
            self.tallies[fault.register].problems += 1
        self._report(fault)

    def _report(self, problem: LogProblem) -> None:
        self._faulty = max(self._faulty, problem.offset)
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)
        else:
            self.problems_left_out += 1

    def _count(self, delta: SealedDelta) -> None:
        """Count a delta, keep its timestamp, and compare its register with what was filed."""
        name, seal = delta.register, delta.seal
        self.tallies[name].deltas += 1
        self.tallies[name].restated += delta.restates
        if isinstance(seal.timestamp, str):
            self.anchors.append(LogAnchor(delta.offset, seal.read, seal.timestamp))
        if name in self._filed and seal.seq >= self._filed[name][0]:
            seq, chain = self._filed.pop(name)
            if (seal.seq, seal.chain) != (seq, chain):
                what = f"sequence {seq} was filed with another chain: the log was rewritten"
                self._fault(LogProblem(delta.offset, name, what))

    def _proven(self) -> ProvenState:
        registers = {
            name: each.register for name, each in self.registers.items() if each.register is not None
        }
        rules = self.registers[wire.RULES].rules if wire.RULES in self.registers else LogRules()
        names = self.registers.keys() - {wire.RULES}
        return ProvenState(registers, frozenset(names - registers.keys()), self._ledger.starts, rules)


class _WholeChain(LogChain):
    """The log's chain after every seal. Where the log's beginning is deleted, it is what the first seal says."""

    def __init__(self, read: wire.ReadPosition | None) -> None:
        super().__init__(read, math.inf)
        self._late: deque[tuple[int, str]] = deque(maxlen=_LATE)

    def add(self, offset: int, chain: str) -> None:
        """As `LogChain.add`."""
        self._late.append((offset, chain))
        super().add(offset, chain)

    def believe(self, read: wire.ReadPosition) -> None:
        """From here on the chain is what a publisher said that it was."""
        self.agreed = max(self.agreed, read.upto)
        after = [(offset, chain) for offset, chain in self._late if offset > read.upto]
        if len(after) == _LATE:  # seals between are not kept: the next publisher is believed instead
            self._cut(slice(None))
            return
        self._cut(slice(bisect_left(self._offsets, read.upto), None))
        self._push(read.upto, read.log_chain)
        for offset, chain in after:
            super().add(offset, chain)


class _WholeLedger(LogLedger):
    """An audit's ledger. It keeps where each register was after each seal (16 bytes a delta) and goes on after a fault."""

    chain: _WholeChain

    def __init__(self, first: int, audit: LogAudit) -> None:
        super().__init__()
        self.chain = _WholeChain(wire.NOTHING_READ if first == 0 else None)
        self.since = first - 1
        self._audit = audit
        self._requested: dict[str, wire.Cursor | None] = {}
        self._spans: dict[str, tuple[array[int], array[int]]] = {}

    def faults(self, delta: SealedDelta) -> Iterator[str]:
        """As `LogLedger.faults`, for a sound delta, and without what an earlier fault explains."""
        before = self._requested.get(delta.register)
        now = delta.seal.asked if isinstance(delta.seal.asked, wire.Cursor) else None
        self._requested[delta.register] = now
        if not delta.sound:
            return
        # The cursor never goes back and is never left out: requests would be applied again.
        if before is not None and _goes_back(before, now):
            yield "it goes back to requests that the register has taken before"
        agreed = self.chain.agreed
        missing = self.missing(delta)
        if not missing:
            yield from super().faults(delta)
        elif not self._audit.explains(agreed):
            yield missing
        if missing or self.chain.is_empty:
            self.chain.believe(delta.seal.read)

    def is_excused(self, name: str, start: int) -> bool:
        """As `LogLedger.is_excused`."""
        return self._audit.excuses(name, start)

    def span_at(self, name: str, upto: int) -> tuple[int, int] | None:
        """As `LogLedger.span_at`, and never unknown."""
        starts, seals = self._spans.get(name, (array("q"), array("q")))
        i = bisect_right(seals, upto) - 1
        return (starts[i], seals[i]) if i >= 0 else (-1, -1)

    def add(self, name: str, delta: SealedDelta) -> None:
        """As `LogLedger.add`."""
        super().add(name, delta)
        for offsets, offset in zip(
            self._spans.setdefault(name, (array("q"), array("q"))), self.starts[name], strict=True
        ):
            offsets.append(offset)


def compare(held: Mapping[str, Register], seen: ProvenState) -> Iterator[str]:
    """The differences between a snapshot's registers and the log's proven ones at its position."""
    for name in sorted(held.keys() | seen.registers.keys()):
        if name in seen.unproven:
            yield f"register {name} could not be compared: its numbers are not proven on the log"
        elif name not in held or name not in seen.registers:
            yield f"register {name} is {'not in it' if name not in held else 'in it, and not on the log'}"
        else:
            yield from _differences(name, held[name], seen.registers[name])


def _differences(name: str, ours: Register, proven: Register) -> Iterator[str]:
    for member in STATED:
        if getattr(ours, member) != getattr(proven, member):
            yield f"register {name}: its {member} is {getattr(ours, member)}, and {getattr(proven, member)} on the log"
    if ours.numbers != proven.numbers:
        yield f"register {name} holds other numbers than on the log"
    elif not ours.ends.same_as(proven.ends):
        yield f"register {name}: its numbers end at other moments than on the log"
    elif not all(ours.filter.perhaps(as_numbers(piece)).all() for piece in wire.pieces(ours.numbers, _PIECE)):
        yield f"register {name}: its filter misses numbers that it holds"
