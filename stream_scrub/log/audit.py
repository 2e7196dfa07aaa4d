"""The whole log, proven or not: an audit is a replay that reports each fault and goes on.

A follower stops at the first fault, because it must not serve what it cannot prove. An audit goes on, to report
everything that is wrong. A fault of one register takes nothing from the others. After a fault the numbers of its
register are unknown, and only seals and digests are proven, until the register's next full set.
"""

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from stream_scrub.errors import Corrupt
from stream_scrub.index import Register, as_numbers
from stream_scrub.index.index import STATED
from stream_scrub.log import wire
from stream_scrub.log.delta import ReplayTerms, SealedDelta
from stream_scrub.log.ledger import LogChain, LogLedger
from stream_scrub.log.register_replay import LogRules, RegisterReplay
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import beginning_deleted
from stream_scrub.model import LogRecord

PROBLEMS_MAX = 100
_LATE = 8192  # seals by which a publisher may be behind that is believed
_PIECE = 1_000_000  # numbers that a filter is asked for at once: bounds the memory


class LogProblem(msgspec.Struct, frozen=True):
    """What is wrong where. `register` is empty where the record belongs to none."""

    offset: int
    register: str
    what: str


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
    """A timestamp on the log: the offset of its seal, what was read before it, and the answer (base64 of DER)."""

    offset: int
    read: wire.ReadPosition
    timestamp: str


@dataclass(slots=True)
class AuditTally:
    """What was proven of a register."""

    deltas: int = 0
    restated: int = 0  # full sets that equal the deltas before them
    problems: int = 0
    # Spans of offsets whose numbers are unknown, the last one open (None) while they still are.
    unproven: list[tuple[int, int | None]] = field(default_factory=list)


class ProvenState(NamedTuple):
    """What was proven at one position: what a snapshot of it must hold."""

    registers: Mapping[str, Register]
    unproven: frozenset[str]  # registers whose numbers are unknown
    starts: wire.RegisterStarts
    rules: LogRules | None


class RegisterAudit(RegisterReplay):
    """The audit of one register. `report` is called with each problem, with at most one of a delta.

    `is_cut`: the log's beginning has been deleted, so the first delta here need not be the register's first, nor whole.
    """

    def __init__(
        self, name: str, terms: ReplayTerms, report: Callable[[LogProblem], None], *, is_cut: bool
    ) -> None:
        super().__init__(name, terms, None, LogRules())
        self.tally = AuditTally()
        self.seals = 0
        self._report = report
        self._is_cut = is_cut
        self._requested: wire.Cursor | None = None

    def fault(self, offset: int, what: str) -> None:
        """Report a problem with a record of this register, unless its delta has one already."""
        if not self._is_faulty:
            self._is_faulty = True
            self.doubt(offset, what)
        self._lose_at(offset)

    def doubt(self, offset: int, what: str) -> None:
        """Report a problem that leaves the register's numbers as they were."""
        self.tally.problems += 1
        self._report(LogProblem(offset, self.name, what))

    def take_seal(self, record: LogRecord, seq: bytes | None) -> SealedDelta | None:
        """As `RegisterReplay.take_seal`, and tally."""
        self.seals += 1
        delta = super().take_seal(record, seq)
        if delta is not None:
            self.tally.deltas += 1
            self.tally.restated += delta.restates
            self._check_requests(delta)
        return delta

    def end(self) -> None:
        """Nothing more comes."""
        if (unsealed := self.unsealed) is not None:
            self.fault(unsealed, "parts without their seal")

    def _is_cut_off(self, seal: wire.Seal, offset: int) -> bool:
        is_cut_off = len(self.parts) != len(seal.parts)
        if not self._is_cut or self.tally.deltas or (seal.seq == 1 and not is_cut_off):
            return False
        self._lose_at(offset)
        self._previous = frozenset()  # what it continues can only be believed
        return is_cut_off

    def _lose_at(self, offset: int) -> None:
        if self._is_known:
            self._lose()
            self.tally.unproven.append((offset, None))

    def _apply(self, seal: wire.Seal, offset: int) -> bool:
        was_known = self._is_known
        restates = super()._apply(seal, offset)
        if self._is_known and not was_known:
            since, _ = self.tally.unproven.pop()
            self.tally.unproven.append((since, offset))
        return restates

    def _check_requests(self, delta: SealedDelta) -> None:
        """The cursor never goes back and is never left out: requests would be applied again."""
        now = delta.seal.asked if isinstance(delta.seal.asked, wire.Cursor) else None
        before, self._requested = self._requested, now
        if before is None or not delta.sound:
            return
        if _goes_back(before, now) or (
            before.lifts is not None and _goes_back(before.lifts, now and now.lifts)
        ):
            self.doubt(delta.offset, "it goes back to requests that the register has taken before")


def _goes_back(before: wire.Cursor, now: wire.Cursor | None) -> bool:
    if now is None:
        return True
    return (now.topic, now.id) == (before.topic, before.id) and any(
        now.next.get(partition, 0) < upto
        and now.epochs.get(partition, -1) <= before.epochs.get(partition, -1)
        for partition, upto in before.next.items()
    )


class LogAudit(Replay):
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
        super().__init__(keep_ends=True, digest_of=digest_of)
        self.problems: list[LogProblem] = []
        self.problems_left_out = 0
        self.anchors: list[LogAnchor] = []
        self.registers: dict[str, RegisterAudit] = {}
        self.seen: ProvenState | None = None
        self._ledger: _WholeLedger = _WholeLedger(first)
        self._first = first
        self._watch = watch
        self._filed = dict(filed or {})
        self._faulty = -1  # the last offset with a problem
        self._marked_at = -1
        self._taken = first - 1
        if first:
            self._report(LogProblem(first, "", beginning_deleted(first)))

    @property
    def seals(self) -> int:
        """How many seals there are, sound or not."""
        return sum(each.seals for each in self.registers.values())

    def take(self, record: LogRecord) -> None:
        """The next record."""
        if self._watch is not None and self.seen is None and record.offset > self._watch:
            self.seen = self._proven()
        self._take(record)
        self._taken = record.offset

    def damaged(self, error: Corrupt) -> None:
        """Records that could not be read from the broker: what they held is missing from here on."""
        named = re.search(r"offset (\d++)", str(error))
        self._report(LogProblem(int(named[1]) if named else self._taken + 1, "", str(error)))

    def finish(self) -> None:
        """The log's end was reached."""
        for register in self.registers.values():
            register.end()
        if (mark := self._ledger.mark) is not None and not mark.goes_on_as:
            self._report(LogProblem(self._marked_at, wire.RULES, mark.why))
        for name, (seq, _) in sorted(self._filed.items()):
            self._report(
                LogProblem(self._taken + 1, name, f"sequence {seq} was filed, and the log does not reach it")
            )
        if self._watch is not None and self.seen is None:
            self.seen = self._proven()

    def _report(self, problem: LogProblem) -> None:
        self._faulty = max(self._faulty, problem.offset)
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)
        else:
            self.problems_left_out += 1

    def _open(self, name: str) -> RegisterReplay:
        register = RegisterAudit(name, self.terms, self._report, is_cut=self._first > 0)
        self._registers[name] = self.registers[name] = register
        return register

    def _foreign(self, record: LogRecord, what: str) -> None:
        """A record that no publisher wrote in this form. Each register that it names may have lost a record."""
        header = dict(record.headers).get("register")
        named = {name.decode("utf-8", "replace") for name in (record.key, header) if name is not None}
        registers = sorted(named & self.registers.keys())
        for name in registers:
            self.registers[name].fault(record.offset, what)
        if not registers:  # a foreign key may be anything, a phone number too: it is not shown
            self._report(LogProblem(record.offset, "", what))

    def _check_log(self, register: RegisterReplay, delta: SealedDelta) -> None:
        if not delta.sound:
            return
        agreed = self._ledger.chain.agreed
        if not (missing := self._ledger.missing(delta)):
            super()._check_log(register, delta)
        elif self._faulty <= agreed:  # else a fault that explains it has been reported
            register.doubt(delta.offset, missing)
        if missing or self._ledger.chain.is_empty:
            self._ledger.chain.believe(delta.seal.read)

    def _is_excused(self, name: str, start: int) -> bool:
        doubted = name in self.registers and self.registers[name].tally.problems > 0
        return doubted or 0 <= start < self._first

    def _accept(self, register: RegisterReplay, delta: SealedDelta) -> None:
        mark = self._ledger.mark
        super()._accept(register, delta)
        if self._ledger.mark is not mark:
            self._marked_at = delta.offset
        if isinstance(delta.seal.timestamp, str):
            self.anchors.append(LogAnchor(delta.offset, delta.seal.read, delta.seal.timestamp))
        if register.name in self._filed and register.seq >= self._filed[register.name][0]:
            seq, chain = self._filed.pop(register.name)
            if (register.seq, register.head) != (seq, chain):
                what = f"sequence {seq} was filed with another chain: the log was rewritten"
                register.doubt(delta.offset, what)

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
    """A ledger that keeps where each register was after each seal: 16 bytes a delta."""

    chain: _WholeChain

    def __init__(self, first: int) -> None:
        super().__init__()
        self.chain = _WholeChain(wire.NOTHING_READ if first == 0 else None)
        self.since = first - 1
        self._spans: dict[str, tuple[array[int], array[int]]] = {}

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
    """What differs in a snapshot's registers from what was proven of the log at its position."""
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
