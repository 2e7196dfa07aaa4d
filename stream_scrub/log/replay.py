"""Step 5 of a delta's life: the log as a fold. Records in, deltas (`delta.py: Deltas`), registers (`apply.py: apply`) and
the next index out. Pure.

schemas/README.md says what is checked; a follower in any language does the same. A replay starts at the log's
beginning, at the registers' latest full sets (`scan.py: begin`), or at what a snapshot holds (`snapshot.py`).
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from stream_scrub.errors import Corrupt, ScrubError, TooMany
from stream_scrub.index import Index
from stream_scrub.index.deltas import Ends
from stream_scrub.log import wire
from stream_scrub.log.apply import LogRules, RegisterState, ReplayTerms, apply
from stream_scrub.log.delta import SEAL, Deltas, LogProblem, SealedDelta, read_part
from stream_scrub.log.ledger import LogLedger, LogView
from stream_scrub.model import LogRecord


class RegisterView(NamedTuple):
    """What a publisher must know apart from the register itself."""

    ends: Ends
    span: tuple[int, int] | None  # first and last offset since its latest full set; None before its first
    upto: int  # the last offset that was taken
    log: LogView
    asked: wire.Cursor | None = None  # up to which requests its seals go
    lists: Mapping[str, datetime] = MappingProxyType({})  # the moments of its latest lists by their SHA-256


@dataclass(frozen=True, slots=True)
class ReplayState:
    """All that a follower needs to go on after `index.position`."""

    index: Index
    starts: wire.RegisterStarts
    rules: LogRules
    read: wire.ReadPosition


def _stop(fault: LogProblem) -> None:
    raise fault.error


class Replay:
    """The log so far as an index. Feed it every record in offset order.

    Each fault goes to `sink`, at most one of each delta. Without a sink it raises Corrupt for the first fault, or TooMany
    where the capacity of `terms` does not suffice, and then takes no more. Publishers and audits keep ends. `last` is the
    register of the last record.
    """

    def __init__(
        self,
        *,
        keep_ends: bool = False,
        digest_of: Callable[[bytes], str] | None = None,
        ledger: LogLedger | None = None,
        sink: Callable[[LogProblem], None] = _stop,
        first: int = 0,
    ) -> None:
        """`first`: the log's records before that offset were deleted, and the reader goes on nevertheless."""
        self.terms = ReplayTerms(keep_ends, digest_of)
        self.index = Index.empty()
        self.rules = LogRules()
        self.registers: dict[str, RegisterState] = {}
        self.last = ""
        self.seals = 0  # sound or not
        self._deltas = Deltas()
        self._ledger = ledger or LogLedger()
        self._sink = sink
        self._first = first
        self._faulty: set[str] = set()  # registers whose next delta has a fault already
        self._awaited: dict[str, int] = {}
        self._firsts: deque[int] = deque()
        self._spans: deque[tuple[int, int]] = deque()
        self._taken = -1
        self._ended: ScrubError | None = None

    @classmethod
    def starting(
        cls, starts: wire.RegisterStarts, read: wire.ReadPosition, *, keep_ends: bool = False
    ) -> "Replay":
        """A replay that takes each register from its latest full set on. A seal states the `starts`, and its publisher
        had `read` so far. The chains up to there are believed; `lists verify` proves them."""
        replay = cls(keep_ends=keep_ends, ledger=LogLedger(starts, read))
        replay._await(starts)
        return replay

    @classmethod
    def of_rules(cls, span: tuple[int, int] | None, digest_of: Callable[[bytes], str]) -> "Replay":
        """A replay for the records of the rules alone, whose latest full set begins where `span` does. It cannot check
        what their seals say of the log as a whole."""
        replay = cls(digest_of=digest_of, ledger=LogLedger.unchecked())
        if span is not None:
            replay._await({wire.RULES: span})
        return replay

    @classmethod
    def resuming(cls, state: ReplayState) -> "Replay":
        """A replay that goes on after `state`, with the record after its position. It keeps no ends."""
        replay = cls(ledger=LogLedger.resuming(state.starts, state.read))
        replay.index, replay.rules = state.index, state.rules
        replay._taken = state.index.position
        return replay

    def _await(self, starts: wire.RegisterStarts) -> None:
        self._awaited = {name: start for name, (start, _) in starts.items()}
        self._spans = deque(sorted(starts.values()))
        self._firsts = deque(first for first, _ in self._spans)

    def wanted(self, offset: int) -> int:
        """The first offset from `offset` on whose record may be needed. Years may lie between the last seal of a
        register that is hardly ever published and the first start of the others."""
        while self._spans and self._spans[0][1] < offset:
            self._spans.popleft()
        return max(offset, self._spans[0][0]) if self._spans else offset  # after the last one all is needed

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        return self._deltas.unsealed

    @property
    def state(self) -> ReplayState | None:
        """What a snapshot must hold. None while parts wait for their seal, while registers wait for their full set, and
        while the log is marked: the mark must be read again."""
        if self.unsealed is not None or self._awaited or self._ledger.mark is not None:
            return None
        rules = replace(self.rules, texts=dict.fromkeys(self.rules.texts))
        return ReplayState(self.index, self._ledger.starts, rules, self._ledger.read)

    def known(self, name: str) -> RegisterView:
        """What the publisher of that register must know. Its ends are empty unless ends are kept."""
        starts = None if self.unsealed is not None else self._ledger.starts
        log = LogView(self._ledger.read, starts, self._ledger.weights, self._ledger.mark)
        register, span = self.registers.get(name), self._ledger.starts.get(name)
        if register is None:
            return RegisterView(Ends.none(), span, self._taken, log)
        return RegisterView(
            register.ends, span, self._taken, log, register.asked, MappingProxyType(register.lists)
        )

    def begins_behind(self, ended: "Replay") -> bool:
        """Whether this replay, which has not begun, starts behind the delta at which another one stopped."""
        return self._awaited.get(ended.last, -1) > ended.known("").upto

    def take(self, record: LogRecord) -> SealedDelta | None:
        """Take the next record: if it is a seal, `index` has its delta, which is returned. Raises Corrupt or TooMany,
        naming the offset, and from then on always."""
        if self._ended is not None:
            raise self._ended
        try:
            return self._take(record)
        except Corrupt as error:
            self._ended = error
            raise
        except TooMany as error:
            self._ended = TooMany(f"log offset {record.offset}: {error}")
            raise self._ended from error

    def finish(self) -> None:
        """The log's end was reached: parts without their seal are a fault."""
        for name in tuple(self.registers):
            if (unsealed := self._deltas.unsealed_of(name)) is not None:
                self._fault(LogProblem(unsealed, name, "parts without their seal"))

    def _take(self, record: LogRecord) -> SealedDelta | None:
        # 1. Read the record, and pass over what precedes its register's start.
        part = read_part(record, self.registers)
        if isinstance(part, LogProblem):
            self._foreign(record, part)
            return None
        name = part.register
        if self._awaited and not self._counts(name, part.offset):
            return None
        self._taken, self.last = part.offset, name
        self._ledger.passes(part.offset)
        state = self._opened(name)
        # 2. Assemble the delta.
        self.seals += part.side == SEAL
        delta = self._deltas.take(part)
        if isinstance(delta, LogProblem):
            self._fault(delta)
            if part.side == SEAL:
                self.registers[name] = self.registers[name].continuing_any()
                self._faulty.discard(name)
            return None
        if delta is None:
            return None
        # 3. Apply it, and check what its publisher knew of the log as a whole.
        delta = self._applied(state, delta._replace(sound=name not in self._faulty))
        self._faulty.discard(name)
        if delta is None:
            return None
        for what in self._ledger.faults(delta):
            self._sink(LogProblem(delta.offset, name, what))
        # 4. Make the next index.
        state = self.registers[name]
        if state.register is not None:
            self.index = self.index.with_register(state.register)
        else:
            self.index = replace(self.index, position=delta.offset)
        if state.rules is not None:
            self.rules = state.rules
        self._ledger.add(name, delta)
        return delta

    def _applied(self, state: RegisterState, delta: SealedDelta) -> SealedDelta | None:
        """Apply a delta to its register; None if it is not the register's next one."""
        is_cut_off = False
        if self._first and not state.seq:
            # The log's beginning was deleted: the first delta here need not be the register's first, nor whole.
            is_cut_off = len(delta.parts) != len(delta.seal.parts)
            if is_cut_off or delta.seal.seq != 1:
                state = state.lost(delta.offset).continuing_any()
        applied = apply(state, delta._replace(sound=delta.sound and not is_cut_off), self.index, self.terms)
        if applied.fault is not None:
            self._report(applied.fault)
        self.registers[state.name] = applied.state
        if not applied.is_placed:
            return None
        return delta._replace(restates=applied.restates, sound=state.name not in self._faulty)

    def _foreign(self, record: LogRecord, fault: LogProblem) -> None:
        """A record that no publisher wrote in this form. Each register that it names may have lost a record."""
        header = dict(record.headers).get("register")
        named = {name.decode("utf-8", "replace") for name in (record.key, header) if name is not None}
        registers = sorted(named & self.registers.keys())
        for name in registers:
            self._fault(msgspec.structs.replace(fault, register=name))
        if not registers:  # a foreign key may be anything, a phone number too: it is not shown
            self._sink(fault)

    def _fault(self, fault: LogProblem) -> None:
        """A record of a register is wrong: what it holds is unknown from there on."""
        self._report(fault)
        self.registers[fault.register] = self.registers[fault.register].lost(fault.offset)

    def _report(self, fault: LogProblem) -> None:
        """Give the sink a delta's first fault."""
        if fault.register not in self._faulty:
            self._faulty.add(fault.register)
            self._sink(fault)

    def _opened(self, name: str) -> RegisterState:
        """The state of a register, which this record may be the first of."""
        if name not in self.registers:
            self.registers[name] = RegisterState.of(name, self.index.registers.get(name), self.rules)
        return self.registers[name]

    def _counts(self, name: str, offset: int) -> bool:
        """Whether a record is at or after the start of its register, while starts are still awaited."""
        if offset > self._firsts[0]:
            missed = self._firsts[0]
            raise Corrupt("no full set begins here, though a later seal says so", missed)
        if offset == self._awaited.get(name):
            del self._awaited[name]
            self._firsts.popleft()
            self.registers[name] = self._opened(name).begins_at_full_set(offset)
        return name not in self._awaited
