"""Step 5 of a delta's life: records of the log in, indexes out, every promise of the format checked. Pure.

schemas/README.md says what is checked; a follower in any language does the same. A replay starts at the log's
beginning, at the registers' latest full sets (`scan.py: begin`), or at what a snapshot holds (`snapshot.py`).
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from stream_scrub.errors import Corrupt, ScrubError, TooMany
from stream_scrub.index import Index
from stream_scrub.index.deltas import Ends
from stream_scrub.log import wire
from stream_scrub.log.delta import Part, ReplayTerms, SealedDelta
from stream_scrub.log.ledger import LogLedger, LogView
from stream_scrub.log.register_replay import LogRules, RegisterReplay
from stream_scrub.model import LogRecord, RegisterName


class RegisterView(NamedTuple):
    """What a publisher must know apart from the register itself."""

    ends: Ends
    span: tuple[int, int] | None  # first and last offset since its latest full set; None before its first
    upto: int  # the last offset that was taken
    log: LogView
    asked: wire.Cursor | None = None  # up to which requests its seals go
    listed: Mapping[str, datetime] = MappingProxyType({})  # the moments of its latest lists by their SHA-256


@dataclass(frozen=True, slots=True)
class ReplayState:
    """All that a follower needs to go on after `index.position`."""

    index: Index
    starts: wire.RegisterStarts
    rules: LogRules
    read: wire.ReadPosition


class Replay:
    """The log so far as an index. Feed it every record in offset order.

    It raises Corrupt for the first fault, or TooMany where the capacity of `terms` does not suffice, and then takes no
    more. Publishers and audits keep ends. `last` is the register of the last record.
    """

    def __init__(self, *, keep_ends: bool = False, digest_of: Callable[[bytes], str] | None = None) -> None:
        self.terms = ReplayTerms(keep_ends, digest_of)
        self.last = ""
        self.rules = LogRules()
        self._registers: dict[str, RegisterReplay] = {}
        self._waiting: dict[str, RegisterReplay] = {}
        self._ledger = LogLedger()
        self._awaited: dict[str, int] = {}
        self._firsts: deque[int] = deque()
        self._spans: deque[tuple[int, int]] = deque()
        self._taken = -1
        self._ended: ScrubError | None = None

    @property
    def index(self) -> Index:
        """The log so far."""
        return self.terms.index

    @classmethod
    def starting(
        cls, starts: wire.RegisterStarts, read: wire.ReadPosition, *, keep_ends: bool = False
    ) -> "Replay":
        """A replay that takes each register from its latest full set on. A seal states the `starts`, and its publisher
        had `read` so far. The chains up to there are believed; `lists verify` proves them."""
        replay = cls(keep_ends=keep_ends)
        replay._ledger = LogLedger(starts, read)
        replay._await(starts)
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

    @classmethod
    def resuming(cls, state: ReplayState) -> "Replay":
        """A replay that goes on after `state`, with the record after its position. It keeps no ends."""
        replay = cls()
        replay.terms.index, replay.rules = state.index, state.rules
        replay._ledger = LogLedger.resuming(state.starts, state.read)
        replay._taken = state.index.position
        return replay

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        offsets = (each.unsealed for each in self._waiting.values())
        return min((offset for offset in offsets if offset is not None), default=None)

    @property
    def state(self) -> ReplayState | None:
        """What a snapshot must hold. None while parts wait for their seal, while registers wait for their full set, and
        while the log is marked: the mark must be read again."""
        if self._waiting or self._awaited or self._ledger.mark is not None:
            return None
        rules = replace(self.rules, texts=dict.fromkeys(self.rules.texts))
        return ReplayState(self.index, self._ledger.starts, rules, self._ledger.read)

    def known(self, name: str) -> RegisterView:
        """What the publisher of that register must know. Its ends are empty unless ends are kept."""
        starts = None if self._waiting else self._ledger.starts
        log = LogView(self._ledger.read, starts, self._ledger.weights, self._ledger.mark)
        register, span = self._registers.get(name), self._ledger.starts.get(name)
        if register is None:
            return RegisterView(Ends.none(), span, self._taken, log)
        return RegisterView(
            register.ends, span, self._taken, log, register.asked, MappingProxyType(register.listed)
        )

    def begins_behind(self, ended: "Replay") -> bool:
        """Whether this replay, which has not begun, starts behind the delta at which another one stopped."""
        return self._awaited.get(ended.last, -1) > ended.known("").upto

    def take(self, record: LogRecord) -> Index | None:
        """The next index if this record is a seal. Raises Corrupt or TooMany, naming the offset, and from then on
        always."""
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

    def _take(self, record: LogRecord) -> Index | None:
        headers = dict(record.headers)
        if (misfit := wire.misfit(record, headers)) is not None:
            self._foreign(record, misfit)
            return None
        name = (record.key or b"").decode("utf-8", "replace")
        if name not in self._registers and RegisterName.parse(name) is None:
            self._foreign(
                record, "the key is no register's name as look-ups spell it, so no verdict would ask for it"
            )
            return None
        if self._awaited and not self._counts(name, record.offset):
            return None
        self._taken, self.last = record.offset, name
        self._ledger.passes(record.offset)
        register = self._registers.get(name) or self._open(name)
        side, seq = (headers["part"] or b"").decode(), headers["seq"] or b""
        if side != "seal":
            digest = (headers.get("digest") or b"").decode("utf-8", "replace")
            i = int(headers["i"] or b"")
            register.take_part(Part(record.offset, side, int(seq), i, record.value or b"", digest))
            self._waiting[name] = register
            return None
        self._waiting.pop(name, None)
        delta = register.take_seal(record, seq)
        if delta is None:
            return None
        self._check_log(register, delta)
        self._accept(register, delta)
        return self.index

    def _foreign(self, record: LogRecord, what: str) -> None:
        """A record that is no part and no seal."""
        raise Corrupt(what, record.offset)

    def _open(self, name: str) -> RegisterReplay:
        """The replay of a register whose first record this is."""
        self._registers[name] = RegisterReplay(name, self.terms, self.index.registers.get(name), self.rules)
        return self._registers[name]

    def _counts(self, name: str, offset: int) -> bool:
        """Whether a record is at or after the start of its register, while starts are still awaited."""
        if offset > self._firsts[0]:
            missed = self._firsts[0]
            raise Corrupt("no full set begins here, though a later seal says so", missed)
        if offset == self._awaited.get(name):
            del self._awaited[name]
            self._firsts.popleft()
            self._open(name).begin_at_full_set()
        return name not in self._awaited

    def _check_log(self, register: RegisterReplay, delta: SealedDelta) -> None:
        """Check that what the publisher knew of the log as a whole is what is known here. So a delta that is dropped
        together with everything after it in its own register is missed all the same."""
        what = self._ledger.missing(delta) or self._ledger.misstated(delta, self._is_excused)
        if what:
            register.doubt(delta.offset, what)

    def _is_excused(self, _name: str, _start: int) -> bool:
        """Whether a statement about that register cannot be checked: a follower checks them all."""
        return False

    def _accept(self, register: RegisterReplay, delta: SealedDelta) -> None:
        """Swap in the index that a delta gives."""
        if register.register is not None:
            self.terms.index = self.index.with_register(register.register)
        else:
            self.terms.index = replace(self.index, position=delta.offset)
        if register.rules is not None:
            self.rules = register.rules
        self._ledger.add(register.name, delta)
