"""Step 5 of a delta's life: records of the log in, indexes out, every promise of the format checked. Pure.

schemas/README.md says what is checked; a follower in any language does the same. A replay starts at the log's
beginning, at the registers' latest full sets (`start_point.py`), or at what a snapshot kept (`snapshot.py`).
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from msgspec import UNSET
from pyroaring import BitMap64

from stream_scrub.errors import Corrupt, ScrubError, TooMany
from stream_scrub.index import Filter, Index, Register
from stream_scrub.lists.capacity import Capacity
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.ledger import ListDays, LogLedger, LogView
from stream_scrub.lists.log.parts import SIDES, DeltaContent, Part, count_of, of_seal, sealed
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.timestamps import from_seconds, parse_zoned

_COMPARED = 500_000  # numbers of a restatement that are compared in one call


@dataclass(frozen=True, slots=True)
class LogRules:
    """The rules' texts on the log by digest (None where they are not kept), and the chain that they are sealed in."""

    seq: int = 0
    chain: str = wire.GENESIS
    position: int = -1
    texts: Mapping[str, bytes | None] = field(default_factory=dict)


class RegisterView(NamedTuple):
    """What a publisher must know beside a register.

    In order: its ends; the first and last offset of its records since its latest full set (None before its first); the
    last offset that was taken; the log as a whole; up to which requests its seals go; the offset of its first part
    that waits for a seal; the moments of its latest lists by their SHA-256.
    """

    ends: Ends
    span: tuple[int, int] | None
    upto: int
    log: LogView
    asked: wire.Cursor | None = None
    unsealed: int | None = None
    listed: Mapping[str, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ReplayState:
    """All that a follower needs to go on after `index.position`: where every register stands, and what it has `read`."""

    index: Index
    starts: wire.RegisterStarts
    rules: LogRules
    read: wire.ReadPosition


class Replay:
    """The log so far as an index. Feed it every record in offset order; it raises Corrupt, or TooMany where there is no
    `capacity` for what it would hold, and then takes no more.

    `keep_ends`: keep each number's end, for whoever publishes or verifies; without it only the next end of each
    register is known, as its seal says. `digest_of` gives the digest of a rule's text: with it the texts are kept,
    and each is checked to have the digest that its part says.
    """

    def __init__(self, *, keep_ends: bool = False, digest_of: Callable[[bytes], str] | None = None) -> None:
        self.index = Index.empty()
        self.pause: Callable[[], None] = lambda: None  # as `Register.changed` takes it
        self.capacity = Capacity()
        self.last = ""  # the register of the last record
        self.rules = LogRules()
        self._keep_ends = keep_ends
        self._digest_of = digest_of
        self._ends: dict[str, Ends] = {}
        self._ledger = LogLedger()
        self._asked: dict[str, wire.Cursor] = {}
        self._listed = ListDays()
        self._awaited: dict[str, int] = {}
        self._firsts: deque[int] = deque()
        self._spans: deque[tuple[int, int]] = deque()
        self._trusted: set[str] = set()
        self._parts: dict[str, list[Part]] = {}
        self._taken = -1
        self._ended: ScrubError | None = None

    @classmethod
    def starting(
        cls,
        starts: wire.RegisterStarts,
        read: wire.ReadPosition,
        *,
        keep_ends: bool = False,
        digest_of: Callable[[bytes], str] | None = None,
    ) -> "Replay":
        """A replay that takes each register from its latest full set on, as a seal stated them whose publisher had
        `read` so far. The chains up to there are believed; what `lists verify` proves is that they continue what was
        before.
        """
        made = cls(keep_ends=keep_ends, digest_of=digest_of)
        made._ledger = LogLedger(starts, read)
        made._await(starts)
        return made

    def _await(self, starts: wire.RegisterStarts) -> None:
        self._awaited = {name: start for name, (start, _) in starts.items()}
        self._spans = deque(sorted(starts.values()))
        self._firsts = deque(first for first, _ in self._spans)

    def wanted(self, offset: int) -> int:
        """The first offset from `offset` on whose record may be needed. Years may lie between the
        last seal of a register that is hardly ever published and the first start of the others."""
        while self._spans and self._spans[0][1] < offset:
            self._spans.popleft()
        return max(offset, self._spans[0][0]) if self._spans else offset  # after the last one all is needed

    @classmethod
    def resuming(cls, state: ReplayState) -> "Replay":
        """A replay that goes on after `state`, with the record after its position. It keeps no ends."""
        made = cls()
        made.index, made.rules = state.index, state.rules
        made._ledger = LogLedger.resuming(state.starts, state.read)
        made._taken = state.index.position
        return made

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        return min((parts[0].offset for parts in self._parts.values()), default=None)

    @property
    def waiting(self) -> Mapping[str, Sequence[Part]]:
        """The parts that have no seal yet, by register."""
        return self._parts

    @property
    def state(self) -> ReplayState | None:
        """What a snapshot must keep; None while parts wait for their seal or registers for their full set, or
        the log is marked: the mark must be read again."""
        if self._parts or self._awaited or self._ledger.mark is not None:
            return None
        rules = replace(self.rules, texts=dict.fromkeys(self.rules.texts))
        return ReplayState(self.index, self._ledger.starts, rules, self._ledger.read)

    def known(self, name: str) -> RegisterView:
        """What the publisher of that register must know. Its ends are empty unless ends are kept."""
        ends, asked = self._ends.get(name, Ends.none()), self._asked.get(name)
        span = self._ledger.starts.get(name)
        if parts := self._parts.get(name):  # another publisher's: they must be read again, and their seal
            span = (parts[0].offset if span is None else span[0], self._taken)
        starts = None if self._parts else self._ledger.starts
        log = LogView(self._ledger.read, starts, self._ledger.weights, self._ledger.mark)
        return RegisterView(
            ends,
            span,
            self._taken,
            log,
            asked,
            parts[0].offset if parts else None,
            self._listed.of(name),
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
        except (Corrupt, TooMany) as error:
            self._ended = error
            raise

    def _take(self, record: LogRecord) -> Index | None:
        headers = dict(record.headers)
        part = (headers.get("part") or b"").decode("utf-8", "replace")
        name = (record.key or b"").decode("utf-8", "replace")
        if part not in SIDES | {"seal"} or record.value is None or not name:
            raise Corrupt("a record that is neither part nor seal; only publishers may write", record.offset)
        if headers.get("register") != record.key:
            raise Corrupt("the key and the header name different registers", record.offset)
        if len(headers) < len(record.headers):
            raise Corrupt("a header occurs twice, and readers differ in which counts", record.offset)
        if self._awaited and not self._counts(name, record.offset):
            return None
        self._taken, self.last = record.offset, name
        try:
            self._ledger.passes(record.offset)
        except ValueError as error:
            raise Corrupt(str(error), record.offset) from error
        if part != "seal":
            self._keep(name, part, record, headers)
            return None
        try:
            seal, content = _opened(record.value, headers.get("seq"))
            self.index = self._apply(name, seal, content, record.offset)
        except ValueError as error:
            raise Corrupt(f"register {name}: {error}", record.offset) from error
        except TooMany as error:
            raise TooMany(f"log offset {record.offset}: {error}") from error
        return self.index

    def _counts(self, name: str, offset: int) -> bool:
        """Whether a record is at or after the start of its register, while starts are still awaited."""
        if offset > self._firsts[0]:
            missed = self._firsts[0]
            raise Corrupt("no full set begins here, though a later seal says so", missed)
        if offset == self._awaited.get(name):
            del self._awaited[name]
            self._firsts.popleft()
            self._trusted.add(name)
        return name not in self._awaited

    def _keep(self, name: str, side: str, record: LogRecord, headers: Mapping[str, bytes | None]) -> None:
        try:
            seq, i = count_of(headers.get("seq")), count_of(headers.get("i"))
            digest = (headers.get("digest") or b"").decode()
        except ValueError as error:
            raise Corrupt("a part without its numbers", record.offset) from error
        parts = self._parts.setdefault(name, [])
        if parts and parts[0].seq != seq:
            raise Corrupt(f"register {name}: parts without seal, then others", parts[0].offset)
        if i == 0:  # what came before was never sealed, and this delta takes its place
            parts.clear()
        parts.append(Part(record.offset, side, seq, i, record.value or b"", digest))

    def _apply(self, name: str, seal: wire.Seal, content: bytes, offset: int) -> Index:
        """Check a seal against its parts and what was before it. Raises ValueError with what is wrong."""
        parts = of_seal(self._parts.pop(name, []), seal)
        effective_at = parse_zoned(seal.effective_at)
        if seal.register != name or (seal.register_kind is wire.SealKind.RULES) != (name == wire.RULES):
            raise ValueError("the seal is of another register")
        if seal.register_kind is wire.SealKind.RULES:
            before = (self.rules.seq, self.rules.chain)
        else:
            held = self.index.registers.get(name)
            base = held or Register.empty(name, RegisterKind(seal.register_kind.value), effective_at)
            if seal.register_kind.value != base.kind.value:
                raise ValueError("the seal is of another register")
            before = (base.seq, base.chain)
        if trusted := name in self._trusted:
            if seal.kind != "full" or (seal.seq == 1) != (seal.previous == wire.GENESIS):
                raise ValueError("no full set, though a later seal says that one begins here")
            before = (seal.seq - 1, seal.previous)
        _continues(seal, content, *before)
        self.capacity.expects(name, max(seal.adds, seal.count))
        held_by_parts = sealed(parts, seal)
        self._check_log(seal, held_by_parts.starts, offset)
        restates = seal.kind == "full" and before[0] > 0 and not trusted
        if seal.register_kind is wire.SealKind.RULES:
            self.rules = self._ruled(seal, held_by_parts, offset, restates=restates)
            index = replace(self.index, position=offset)
        else:
            register = self._registered(base, seal, held_by_parts, offset, restates=restates)
            index = self.index.with_register(replace(register, effective_at=effective_at))
        start = parts[0].offset if parts else offset
        stated = next((part.offset for part in parts if part.side == "starts"), None)
        full = seal.kind == "full" or seal.seq == 1
        self._ledger.add(name, seal, offset, start if full else None, stated)
        if isinstance(seal.asked, wire.Cursor):
            self._asked[name] = seal.asked
        elif self._keep_ends and seal.source.sha256:
            self._listed.note(name, seal.source.sha256, effective_at)
        self._trusted.discard(name)
        return index

    def _check_log(self, seal: wire.Seal, starts: wire.RegisterStarts, offset: int) -> None:
        """What the publisher knew of the log as a whole is what is known here: so a delta that is dropped together with
        everything after it in its own register is missed all the same. Raises ValueError.
        """
        self._ledger.check(seal, offset)
        if starts:
            self._ledger.check_starts(seal, starts)
        for name, (start, last) in () if seal.starts is UNSET else seal.starts.items():
            if name in self._awaited or name in self._trusted or name in self._parts:
                continue
            mine = self._ledger.starts.get(name, (-1, -1))
            if mine[1] < last or (mine[1] == last and mine[0] != start):
                raise ValueError(f"its publisher had read more of register {name}: a delta is missing")

    def _registered(
        self, base: Register, seal: wire.Seal, content: DeltaContent, offset: int, *, restates: bool
    ) -> Register:
        if content.texts:
            raise ValueError("a register holds no rules")
        if not restates:
            self.capacity.take(self.index.registers, base.name, content.adds, content.removes)
        numbers, filter_ = _after(base, seal, content, self.pause, restates=restates)
        if not content.ending.issubset(numbers):
            raise ValueError("it states ends of numbers that the register does not hold")
        next_end = None if seal.next_end is None else parse_zoned(seal.next_end)
        if self._keep_ends:
            known = self._ends.get(base.name, Ends.none())
            stated = content.stated()
            if restates and not known.are(stated):
                raise ValueError("a full restatement differs from what the deltas before it gave")
            ends = known if restates else known.changed(content.removes, stated)
            if next_end != from_seconds(ends.next):
                raise ValueError("the next end is not the earliest of the register's ends")
            self._ends[base.name] = ends
        elif not _may_be_next(next_end, None if restates else base, content):
            raise ValueError("the next end cannot be the earliest of the register's ends")
        return replace(
            base,
            numbers=numbers,
            seq=seal.seq,
            chain=seal.chain,
            position=offset,
            source=seal.source.name,
            filter=filter_,
            next_end=next_end,
            areas=tuple(seal.areas) if isinstance(seal.areas, list) else None,
        )

    def _ruled(self, seal: wire.Seal, content: DeltaContent, offset: int, *, restates: bool) -> LogRules:
        texts = content.texts
        if content.adds or content.removes or content.ends or seal.next_end is not None:
            raise ValueError("the rules hold no numbers")
        for digest, text in texts.items():
            if not digest or (self._digest_of is not None and self._digest_of(text) != digest):
                raise ValueError("a rule's text has another digest than its part says")
        held = dict(self.rules.texts)
        if restates and texts.keys() != held.keys():
            raise ValueError("a full restatement differs from what the deltas before it gave")
        if not restates and not held.keys().isdisjoint(texts):
            raise ValueError("a rule with this digest is on the log already")
        for digest, text in texts.items():
            if held.get(digest) not in (None, text):
                raise ValueError("a full restatement differs from what the deltas before it gave")
            held[digest] = text if self._digest_of is not None else None
        if len(held) != seal.count:
            raise ValueError(f"there would be {len(held)} rules, not {seal.count}")
        return LogRules(seal.seq, seal.chain, offset, held)


def _after(
    base: Register, seal: wire.Seal, content: DeltaContent, pause: Callable[[], None], *, restates: bool
) -> tuple[BitMap64, Filter]:
    """The register's numbers after a seal, and a filter for them. Raises ValueError.

    A `full` part set in mid-log restates the register: it must be what the deltas gave.
    """
    if restates:
        count = len(base.numbers)
        same = not content.removes and len(content.adds) == seal.count == count
        for piece in wire.pieces(content.adds, _COMPARED) if same else ():
            same = same and piece.issubset(base.numbers)
            pause()
        if not same:
            raise ValueError("a full restatement differs from what the deltas before it gave")
        return base.numbers, base.filter
    numbers, filter_ = base.changed(content.adds, content.removes, pause)
    if len(numbers) != seal.count:
        raise ValueError(f"the register would hold {len(numbers)} numbers, not {seal.count}")
    return numbers, filter_


def _may_be_next(next_end: datetime | None, base: Register | None, content: DeltaContent) -> bool:
    """Whether a seal's next end can be right, for one that does not know every number's end. `base` is None where
    the delta states every end there is."""
    stated = from_seconds(content.earliest)
    before = None if base is None else base.next_end
    if base is None or (not content.removes and not content.ends):
        return next_end == (stated if base is None else before)
    if next_end is None:
        return stated is None
    return next_end in (stated, before) or (
        before is not None and before < next_end and (stated is None or next_end < stated)
    )


def _continues(seal: wire.Seal, content: bytes, seq: int, chain: str) -> None:
    """Whether a seal is the next one after a sequence number and its chain. Raises ValueError."""
    if seal.seq != seq + 1:
        raise ValueError(f"sequence {seal.seq} follows {seq}: a delta is missing or doubled")
    if seal.previous not in ("", chain) or wire.chain_of(chain, content) != seal.chain:
        raise ValueError("the chain is broken: this seal does not continue the one before it")


def _opened(value: bytes, seq: bytes | None) -> tuple[wire.Seal, bytes]:
    """A seal and the content that its chain covers, if its header tells the same sequence. Raises ValueError."""
    seal, content = wire.decode_seal(value)
    if seq != b"%d" % seal.seq:
        raise ValueError("the seal and its header differ in their sequence")
    return seal, content
