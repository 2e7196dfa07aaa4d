"""The whole log, proven or not: every chain, digest, count, end, full set, rule and start, and where one is wrong.

A follower stops at the first fault, for it must not serve what it cannot prove. An audit goes on, to tell all that is
wrong: each register is a `RegisterAudit` of its own, and what is wrong with one takes nothing from the others.
"""

import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from msgspec import UNSET

from stream_scrub.errors import Corrupt
from stream_scrub.index import Register, as_numbers
from stream_scrub.lists.audit.register_audit import DeltaOnLog, LogProblem, RegisterAudit
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.ledger import LogMark
from stream_scrub.lists.log.parts import SIDES
from stream_scrub.lists.log.replay import LogRules
from stream_scrub.lists.log.scan import beginning_deleted
from stream_scrub.model import LogRecord

PROBLEMS_MAX = 100
_LATE = 8192  # seals by which a publisher may be behind that is believed
_PIECE = 1_000_000  # numbers that a filter is asked for at once: bounds the memory


class ProvenState(NamedTuple):
    """What was proven at one position: what a snapshot of it must hold. Registers whose numbers could not be followed
    are in `unproven` instead."""

    registers: Mapping[str, Register]
    unproven: frozenset[str]
    starts: wire.RegisterStarts
    rules: LogRules | None


class LogAudit:
    """Feed it every record in offset order, then `finish`. It never raises for what a record holds.

    `first` is the first offset that the log has, `digest_of` gives the digest of a rule's text. `watch` is a position
    of interest: what was proven there is `seen`. `filed` are sequences and chains of registers that were kept outside
    the log: whoever wrote the whole log anew could make every chain right, but not these. Only so many problems are
    kept; all are counted.
    """

    def __init__(
        self,
        digest_of: Callable[[bytes], str],
        *,
        first: int = 0,
        watch: int | None = None,
        filed: Mapping[str, tuple[int, str]] | None = None,
        problems_max: int = PROBLEMS_MAX,
    ) -> None:
        self.problems: list[LogProblem] = []
        self.problems_left_out = 0
        self.registers: dict[str, RegisterAudit] = {}
        self.seen: ProvenState | None = None
        self.seals = 0
        self._last = first - 1
        self._digest_of = digest_of
        self._first = first
        self._watch = watch
        self._filed = dict(filed or {})
        self._max = problems_max
        self._stands: dict[str, _DeltaOffsets] = {}
        self._log = _LogChain(begins=first == 0)
        self._statements: dict[int, int] = {}  # by the seal's offset, that of the first part
        self._mark: tuple[int, LogMark] | None = None
        self._faulty = -1  # where something was wrong last
        self._told_starts: set[tuple[str, int, int]] = set()
        if first:
            self._report(LogProblem(first, "", beginning_deleted(first)))

    @property
    def unsealed(self) -> bool:
        """Whether some register's parts still wait for their seal."""
        return any(audit.unsealed is not None for audit in self.registers.values())

    def take(self, record: LogRecord) -> None:
        """The next record."""
        self._last = record.offset
        if self._watch is not None and self.seen is None and record.offset > self._watch:
            self.seen = self._look()
        what = _misfit(record)
        if what is not None:
            self._foreign(record, what)
            return
        name = (record.key or b"").decode("utf-8", "replace")
        audit = self.registers.get(name)
        if audit is None:
            audit = RegisterAudit(name, self._digest_of, self._report, cut=self._first > 0)
            self.registers[name] = audit
        if dict(record.headers)["part"] != b"seal":
            audit.part(record)
            return
        self.seals += 1
        delta = audit.seal(record)
        if delta is None:
            return
        if delta.sound:
            self._check_log(name, delta)
            self._check_starts(name, delta)
        if name == wire.RULES:
            before = None if self._mark is None else self._mark[1]
            if (mark := LogMark.after(delta.said, before)) is not before:
                self._mark = None if mark is None else (record.offset, mark)
        self._log.add(record.offset, delta.said.chain)
        self._stands.setdefault(name, _DeltaOffsets()).add(delta)
        if delta.stating:
            self._statements[record.offset] = delta.stating[0].offset
        self._check_filed(audit, record.offset)

    def damaged(self, error: Corrupt) -> None:
        """Records that could not be read from the broker: what they held is missing from here on."""
        named = re.search(r"offset (\d++)", str(error))
        self._report(LogProblem(int(named[1]) if named else self._last + 1, "", str(error)))

    def finish(self) -> None:
        """The log's end was reached."""
        for audit in self.registers.values():
            audit.end()
        if self._mark is not None and not self._mark[1].goes_on_as:
            self._report(LogProblem(self._mark[0], wire.RULES, self._mark[1].why))
        for name, (seq, _) in sorted(self._filed.items()):
            self._report(
                LogProblem(self._last + 1, name, f"sequence {seq} was filed, and the log does not reach it")
            )
        if self._watch is not None and self.seen is None:
            self.seen = self._look()

    def _report(self, problem: LogProblem) -> None:
        self._faulty = max(self._faulty, problem.offset)
        if len(self.problems) < self._max:
            self.problems.append(problem)
        else:
            self.problems_left_out += 1

    def _foreign(self, record: LogRecord, what: str) -> None:
        """A record that no publisher wrote in this form. It may have been a register's, so each one that it names is in doubt."""
        header = dict(record.headers).get("register")
        named = {name.decode("utf-8", "replace") for name in (record.key, header) if name is not None}
        doubted = sorted(named & self.registers.keys())
        for name in doubted:
            self.registers[name].fault(record.offset, what)
        if not doubted:  # a foreign key may be anything, a phone number too: it is not shown
            self._report(LogProblem(record.offset, "", what))

    def _check_filed(self, audit: RegisterAudit, offset: int) -> None:
        """Whether the chain is the one that was filed, at the sequence that was."""
        if audit.name in self._filed and audit.seq >= self._filed[audit.name][0]:
            seq, chain = self._filed.pop(audit.name)
            if (audit.seq, audit.head) != (seq, chain):
                audit.doubt(offset, f"sequence {seq} was filed with another chain: the log was written anew")

    def _check_log(self, name: str, delta: DeltaOnLog) -> None:
        """Whether what a seal's publisher had read of the log as a whole is what is here."""
        read = delta.said.read
        if read is UNSET:
            return
        agreed, wrong = self._log.agreed, self._log.differs(read, delta.seal)
        # A fault that was reported where it is need not be reported again by the seals that miss something.
        if wrong and self._faulty <= agreed:
            self.registers[name].doubt(
                delta.seal, f"{wrong}, behind offset {agreed}: the log is not as it was written"
            )
        if read.stated is not None and read.stated[0] >= self._first:
            first, last = read.stated
            if (
                self._statements.get(last) != first
                and not wrong
                and ("", first, last) not in self._told_starts
            ):
                self._told_starts.add(("", first, last))
                self.registers[name].doubt(
                    delta.seal, f"at offset {first} begins no statement of starts, as it says"
                )
        if delta.stating and not wrong:
            self._check_statement(name, delta, read.upto)

    def _check_statement(self, name: str, delta: DeltaOnLog, upto: int) -> None:
        """Whether registers begin where a seal states it. A new follower trusts that, and skips what it does not need."""
        try:
            starts = wire.decode_starts(part.value or b"" for part in delta.stating)
        except ValueError as error:
            self.registers[name].doubt(delta.seal, str(error))
            return
        for other in sorted(starts.keys() | self._stands.keys()):
            stands = self._stands.get(other) or _DeltaOffsets()
            start, last = starts.get(other, (-1, -1))
            if (
                stands.upto(upto) != (start, last)
                and not self._doubted(other)
                and not 0 <= start < self._first
            ):
                what = (
                    f"it states that {other} begins at offset {start} and goes to {last}, and that is not so"
                )
                self.registers[name].doubt(delta.seal, what)
                return

    def _check_starts(self, name: str, delta: DeltaOnLog) -> None:
        """Whether the `starts` in a seal are true. Only releases that stated them in each seal have them there."""
        starts = {} if delta.said.starts is UNSET else delta.said.starts
        known_upto = max((last for _, last in starts.values()), default=-1)
        for other, (start, last) in starts.items():
            if (other, start, last) in self._told_starts or start < self._first or self._doubted(other):
                continue
            stands = self._stands.get(other) or _DeltaOffsets()
            expected = stands.at(last, self._unsealed_of(other))
            if expected != (start, last) or stands.seals_between(last, known_upto):
                self._told_starts.add((other, start, last))
                what = f"it says that {other} begins at offset {start} and goes to {last}, and that is not so"
                self.registers[name].doubt(delta.seal, what)
        for other in self._stands.keys() - starts.keys() if starts else ():
            if self._stands[other].seals_between(-1, known_upto) and (other, -1, -1) not in self._told_starts:
                self._told_starts.add((other, -1, -1))
                self.registers[name].doubt(delta.seal, f"it does not say where {other} begins")

    def _doubted(self, name: str) -> bool:
        return name in self.registers and self.registers[name].tally.problems > 0

    def _unsealed_of(self, name: str) -> int | None:
        return self.registers[name].unsealed if name in self.registers else None

    def _look(self) -> ProvenState:
        registers = {name: s.register for name, s in self.registers.items() if s.register is not None}
        rules = self.registers[wire.RULES].rules if wire.RULES in self.registers else LogRules()
        names = self.registers.keys() - {wire.RULES}
        starts = {name: stands.last for name, stands in sorted(self._stands.items())}
        return ProvenState(registers, frozenset(names - registers.keys()), starts, rules)


class _DeltaOffsets:
    """Where the deltas of one register stand: for each its first record, its seal, and the start of the latest full
    set then. Twenty-four bytes a delta."""

    def __init__(self) -> None:
        self._waiting, self._seals, self._starts = array("q"), array("q"), array("q")

    def add(self, delta: DeltaOnLog) -> None:
        full = delta.full or not self._starts
        self._starts.append(delta.first if full else self._starts[-1])
        self._waiting.append(delta.waiting)
        self._seals.append(delta.seal)

    @property
    def last(self) -> tuple[int, int]:
        return self._starts[-1], self._seals[-1]

    def upto(self, offset: int) -> tuple[int, int]:
        """Where the register stood when the log ended at that offset; (-1, -1) before its first seal."""
        i = bisect_right(self._seals, offset) - 1
        return (self._starts[i], self._seals[i]) if i >= 0 else (-1, -1)

    def at(self, offset: int, unsealed: int | None) -> tuple[int, int] | None:
        """What a publisher knew that had read up to that offset: if a seal is there, or parts waited for theirs; else
        None. `unsealed` is where the parts begin that still wait."""
        i = bisect_right(self._seals, offset) - 1
        waiting = self._waiting[i + 1] if i + 1 < len(self._waiting) else unsealed
        if waiting is not None and waiting <= offset:
            return (self._starts[i] if i >= 0 else waiting), offset
        return (self._starts[i], offset) if i >= 0 and self._seals[i] == offset else None

    def seals_between(self, after: int, upto: int) -> bool:
        """Whether a seal stands behind the one offset and not behind the other."""
        return bisect_right(self._seals, upto) > bisect_right(self._seals, after)


class _LogChain:
    """The chain over the seals of all registers, and what it was after each. Forty bytes a seal.

    Where the log's beginning is gone (`begins`), the chain is what the first seal says it was. `agreed` is the offset up
    to which a seal last said the same.
    """

    def __init__(self, *, begins: bool) -> None:
        self.agreed = -1
        self._offsets, self._chains = array("q"), bytearray()
        self._late: deque[tuple[int, str]] = deque(maxlen=_LATE)
        self._known = begins
        if begins:
            self._push(-1, wire.GENESIS)

    def _push(self, offset: int, chain: str) -> None:
        self._offsets.append(offset)
        self._chains += bytes.fromhex(chain)

    def _at(self, i: int) -> str:
        return self._chains[i * 32 : i * 32 + 32].hex()

    def add(self, offset: int, chain: str) -> None:
        """One more seal, and its own chain."""
        self._late.append((offset, chain))
        if self._known:
            self._push(offset, wire.next_log_chain(self._at(len(self._offsets) - 1), chain))

    def differs(self, read: wire.ReadPosition, offset: int) -> str:
        """How the log that a publisher had read differs from the one here; empty where it does not. `offset` is its
        seal's. From then on the chain is taken to be what that seal says.
        """
        wrong = ""
        if self._known:
            i = bisect_right(self._offsets, read.upto) - 1
            if i < 0:  # it is not known what was there then
                return ""
            if self._offsets[i] != read.upto or read.upto >= offset:
                wrong = f"its publisher had read a seal at offset {read.upto} that is not here"
            elif self._at(i) != read.log_chain:
                wrong = f"its publisher had read other seals up to offset {read.upto}"
        if wrong or not self._known:
            self._believe(read)
        self.agreed = max(self.agreed, read.upto)
        return wrong

    def _believe(self, read: wire.ReadPosition) -> None:
        after = [(offset, chain) for offset, chain in self._late if offset > read.upto]
        self._known = not self._late or len(after) < len(self._late) or len(self._late) < _LATE
        kept = bisect_right(self._offsets, read.upto - 1)
        del self._offsets[kept:], self._chains[kept * 32 :]
        self._push(read.upto, read.log_chain)
        for offset, chain in after:
            self._push(offset, wire.next_log_chain(self._at(len(self._offsets) - 1), chain))


def _misfit(record: LogRecord) -> str | None:
    """Why a record is no record of a log; None when it is, by its form."""
    headers = dict(record.headers)
    part = (headers.get("part") or b"").decode("utf-8", "replace")
    if part not in SIDES | {"seal"} or record.value is None or not record.key:
        return "a record that is neither part nor seal; only publishers may write"
    if headers.get("register") != record.key:
        return "the key and the header name different registers"
    if len(headers) < len(record.headers):
        return "a header occurs twice, and readers differ in which counts"
    counts = [headers.get("seq")] if part == "seal" else [headers.get("seq"), headers.get("i")]
    return None if all(map(_is_count, counts)) else "a part without its numbers"


def _is_count(header: bytes | None) -> bool:
    """Whether it is a number in the one spelling that publishers use."""
    return header is not None and header.isdigit() and len(header) < 20 and header == b"%d" % int(header)


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
    for field in ("kind", "seq", "chain", "effective_at", "position", "source", "next_end", "areas"):
        if getattr(ours, field) != getattr(proven, field):
            yield f"register {name}: its {field} is {getattr(ours, field)}, and {getattr(proven, field)} on the log"
    if ours.numbers != proven.numbers:
        yield f"register {name} holds other numbers than on the log"
    elif not all(ours.filter.perhaps(as_numbers(piece)).all() for piece in wire.pieces(ours.numbers, _PIECE)):
        yield f"register {name}: its filter misses numbers that it holds"
