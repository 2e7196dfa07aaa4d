"""A register and its next delta in, the register after it out: every promise of the format checked. Pure.

schemas/README.md says what is checked. A follower stops at the first fault. An audit (`log/audit.py`) goes on: the
register's numbers are unknown from the fault until its next full set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.clock import from_seconds, parse_zoned
from stream_scrub.index import Filter, Hashing, Index, Register, as_numbers
from stream_scrub.index.capacity import Capacity
from stream_scrub.index.deltas import Ends, StatedEnds
from stream_scrub.index.end_table import EndTable
from stream_scrub.log import wire
from stream_scrub.log.delta import LogProblem, Part, SealedDelta
from stream_scrub.model import RESTED, RegisterKind, RegisterName, family

_COMPARED = 500_000  # numbers of a restatement that are compared in one call
_LISTS_MAX = 32  # lists of a register whose moments are kept: a month of daily ones
_ANY_CHAIN: frozenset[str] = frozenset()
_NO_FULL_SET = "no full set, though a later seal says that one begins here"
_ANOTHER_REGISTER = "the seal is of another register"
_NOT_RESTATED = "a full restatement differs from what the deltas before it gave"


def _go_on() -> None:
    """Do not pause."""


@dataclass(slots=True)
class ReplayTerms:
    """How one replay applies deltas. `keep_ends`: keep each number's end; without it only the next end of each register
    is known. `digest_of` gives the digest of a rule's text: with it the texts are kept and checked. `pause`: see
    `Register.changed`."""

    keep_ends: bool = False
    digest_of: Callable[[bytes], str] | None = None
    capacity: Capacity = field(default_factory=Capacity)
    pause: Callable[[], None] = _go_on


@dataclass(frozen=True, slots=True)
class LogRules:
    """The rules' texts on the log by digest (None where texts are not kept), and the chain of their seals."""

    seq: int = 0
    chain: str = wire.GENESIS
    position: int = -1
    texts: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegisterState:
    """One register, or the rules, after its last delta.

    `register` and `rules` are None while they are unknown; `seq` and `chain` are of the last seal. `ends` is empty unless
    ends are kept; so is `lists`, the moments of the latest lists by their SHA-256.
    """

    name: str
    register: Register | None = None
    rules: LogRules | None = None
    seq: int = 0
    chain: str = wire.GENESIS
    # The chains that the next seal may continue. Two after a damaged chain, none (any will do) where it is unknown.
    previous: frozenset[str] = frozenset({wire.GENESIS})
    ends: Ends = field(default_factory=Ends.none)
    asked: wire.Cursor | None = None
    lists: Mapping[str, datetime] = field(default_factory=dict)
    # Spans of offsets whose numbers are unknown, the last one open (None) while they still are.
    unknown: tuple[tuple[int, int | None], ...] = ()
    must_be_full: bool = False  # the next delta is a full set, as a later seal states

    @classmethod
    def of(cls, name: str, register: Register | None, rules: LogRules) -> "RegisterState":
        """The state to go on from: a register that a snapshot holds, or `rules` for the rules."""
        if name == wire.RULES:
            return cls(name, None, rules, rules.seq, rules.chain, frozenset({rules.chain}))
        if register is None:
            return cls(name)
        return cls(name, register, None, register.seq, register.chain, frozenset({register.chain}))

    @property
    def is_known(self) -> bool:
        """Whether what the register holds is known."""
        return not self.unknown or self.unknown[-1][1] is not None

    def lost(self, offset: int) -> "RegisterState":
        """The register whose numbers are unknown from that offset on."""
        if not self.is_known:
            return self
        unknown = (*self.unknown, (offset, None))
        return replace(self, register=None, rules=None, ends=Ends.none(), unknown=unknown)

    def continuing_any(self) -> "RegisterState":
        """The register whose next seal may continue any chain."""
        return replace(self, previous=_ANY_CHAIN)

    def begins_at_full_set(self, offset: int) -> "RegisterState":
        """The register whose next record, at that offset, begins a full set. The chain up to there is believed."""
        return replace(self.lost(offset).continuing_any(), must_be_full=True)


class Applied(NamedTuple):
    """The register after a delta, and the first fault. `restates`: the delta is a full set that equals what was known.
    `is_placed`: the delta is the register's last one now; a doubled one is not."""

    state: RegisterState
    fault: LogProblem | None = None
    restates: bool = False
    is_placed: bool = True


def apply(state: RegisterState, delta: SealedDelta, index: Index, terms: ReplayTerms) -> Applied:
    """Apply a register's next delta. Of a delta that is not sound only sequence and chain are checked.

    `index` has all registers: capacity counts them together. Raises TooMany.
    """
    seal, offset, name = delta.seal, delta.offset, state.name
    fault: LogProblem | None = None
    # 1. The seal belongs here.
    if seal.register != name or delta.seq != seal.seq:
        fault = LogProblem(offset, name, "the seal and its headers differ")
    is_whole = delta.sound and fault is None
    if seal.seq <= state.seq:
        doubled = LogProblem(offset, name, f"sequence {seal.seq} follows {state.seq}: it is doubled or late")
        return Applied(state if fault is None else state.lost(offset), fault or doubled, is_placed=False)
    # 2. It continues the seal before it.
    chain = wire.chain_of(seal.previous, delta.content)
    if state.previous and seal.seq != state.seq + 1:
        what = f"sequence {seal.seq} follows {state.seq}: a delta is missing"
        fault = fault or LogProblem(offset, name, what)
    elif seal.chain != chain or (state.previous and seal.previous not in state.previous):
        what = "the chain is broken: this seal does not continue the one before it"
        fault = fault or LogProblem(offset, name, what)
    after = state if fault is None else state.lost(offset)
    # 3. Its parts give what it says. A seal whose chain is not that of its own content is not believed, even if it seals
    # a full set.
    restates = False
    if is_whole and seal.chain == chain:
        restates = after.is_known and seal.kind == "full" and after.seq > 0
        changed = _changed(after, delta, index, terms, restates=restates)
        if isinstance(changed, LogProblem):
            fault, after, restates = fault or changed, after.lost(changed.offset), False
        else:
            after = changed
    # 4. The next seal continues this one, by its own word or by its content.
    previous = frozenset((seal.chain, chain))
    return Applied(replace(after, seq=seal.seq, chain=seal.chain, previous=previous), fault, restates)


def _changed(
    state: RegisterState, delta: SealedDelta, index: Index, terms: ReplayTerms, *, restates: bool
) -> RegisterState | LogProblem:
    """What the register holds after the delta. It stays unknown if it was and the delta is no full set."""
    seal = delta.seal
    only_digests = not state.is_known and seal.kind != "full"  # no more can be checked
    if only_digests and state.must_be_full:
        return LogProblem(delta.offset, state.name, _NO_FULL_SET)
    if not only_digests:
        terms.capacity.expects(state.name, max(seal.adds, seal.count))
    if (wrong := delta.wrong_part()) is not None:
        return wrong
    if only_digests:
        return state
    try:
        after = _holding(state, delta, index, terms, restates=restates)
    except ValueError as error:
        return LogProblem(delta.offset, state.name, str(error))
    if not state.is_known:
        since, _ = state.unknown[-1]
        after = replace(after, unknown=(*state.unknown[:-1], (since, delta.offset)), must_be_full=False)
    return after


def _holding(
    state: RegisterState, delta: SealedDelta, index: Index, terms: ReplayTerms, *, restates: bool
) -> RegisterState:
    """Check a seal against its parts and what was before, and take the change. Raises ValueError, TooMany."""
    seal = delta.seal
    is_rules = state.name == wire.RULES
    if (seal.register_kind is wire.SealKind.RULES) != is_rules:
        raise ValueError(_ANOTHER_REGISTER)
    if not state.is_known and (seal.seq == 1) != (seal.previous == wire.GENESIS):
        raise ValueError(_NO_FULL_SET)
    content = _content_of(delta.parts, seal)
    if is_rules:
        rules = _rules_after(state.rules, delta, content, terms, restates=restates)
        state = replace(state, rules=rules)
    else:
        register, ends = _register_after(state, delta, content, index, terms, restates=restates)
        lists = _lists_before(state, seal, terms, restates=restates)
        lists = lists_after(lists, seal) if terms.keep_ends else {}
        state = replace(state, register=register, ends=ends, lists=lists)
    if isinstance(seal.asked, wire.Cursor):
        return replace(state, asked=seal.asked)
    return state


def _lists_before(
    state: RegisterState, seal: wire.Seal, terms: ReplayTerms, *, restates: bool
) -> Mapping[str, datetime]:
    """The lists before a seal's own: what a full set states of them must be what the deltas gave. Raises ValueError."""
    if not isinstance(seal.lists, dict):
        return state.lists
    stated = {sha256: parse_zoned(moment) for sha256, moment in seal.lists.items()}
    if len(stated) > _LISTS_MAX:
        raise ValueError(f"it states more than {_LISTS_MAX} lists")
    if restates and terms.keep_ends and stated != state.lists:
        raise ValueError(_NOT_RESTATED)
    return stated


def lists_after(before: Mapping[str, datetime], seal: wire.Seal) -> Mapping[str, datetime]:
    """The latest lists with the one of the seal, if it is of a list: the same bytes under a later name make the register no
    younger."""
    if seal.reason != wire.LIST or not seal.source.sha256:
        return before
    lists = {sha256: moment for sha256, moment in before.items() if sha256 != seal.source.sha256}
    lists[seal.source.sha256] = parse_zoned(seal.effective_at)
    if len(lists) > _LISTS_MAX:
        del lists[next(iter(lists))]
    return lists


def _register_after(
    state: RegisterState,
    delta: SealedDelta,
    content: "DeltaContent",
    index: Index,
    terms: ReplayTerms,
    *,
    restates: bool,
) -> tuple[Register, Ends]:
    """The register and its ends after a delta. Raises ValueError, TooMany."""
    seal, kind = delta.seal, RegisterKind(delta.seal.register_kind.value)
    effective_at = parse_zoned(seal.effective_at)
    base = state.register or Register.empty(state.name, kind, effective_at)
    if base.kind is not kind:
        raise ValueError(_ANOTHER_REGISTER)
    if content.texts:
        raise ValueError("a register holds no rules")
    if not restates:
        terms.capacity.take(index.registers, state.name, content.adds, content.removes)
    hashed = seal.hashed if isinstance(seal.hashed, Hashing) else None
    if hashed != base.hashed and len(content.removes) < len(base.numbers):
        raise ValueError("its numbers are hashed in another way than those that it keeps")
    numbers, filter_ = _numbers_after(base, seal, content, terms.pause, restates=restates)
    if not content.ending.issubset(numbers):
        raise ValueError("it states ends of numbers that the register does not hold")
    next_end = None if seal.next_end is None else parse_zoned(seal.next_end)
    ends = state.ends
    if terms.keep_ends:
        ends = _kept_ends(ends, content, next_end, restates=restates)
    elif not _may_be_next(next_end, None if restates else base, content):
        raise ValueError("the next end cannot be the earliest of the register's ends")
    register = replace(
        base,
        numbers=numbers,
        seq=seal.seq,
        chain=seal.chain,
        effective_at=effective_at,
        position=delta.offset,
        source=seal.source.name,
        filter=filter_,
        next_end=next_end,
        areas=tuple(seal.areas) if isinstance(seal.areas, list) else None,
        ends=_ends_after(base.ends, seal, content) if _tells_ends(state.name) else base.ends,
        hashed=hashed,
    )
    return register, ends


def _kept_ends(before: Ends, content: "DeltaContent", next_end: datetime | None, *, restates: bool) -> Ends:
    """When each number ends, after a delta. Raises ValueError."""
    stated = content.stated_ends()
    if restates and not before.are(stated):
        raise ValueError(_NOT_RESTATED)
    ends = before if restates else before.changed(content.removes, stated)
    if next_end != from_seconds(ends.next):
        raise ValueError("the next end is not the earliest of the register's ends")
    return ends


def _rules_after(
    before: LogRules | None,
    delta: SealedDelta,
    content: "DeltaContent",
    terms: ReplayTerms,
    *,
    restates: bool,
) -> LogRules:
    """The rules after a delta. Raises ValueError."""
    seal, digest_of = delta.seal, terms.digest_of
    parse_zoned(seal.effective_at)  # raises ValueError
    if content.adds or content.removes or content.ends or seal.next_end is not None:
        raise ValueError("the rules hold no numbers")
    for digest, text in content.texts.items():
        if not digest or (digest_of is not None and digest_of(text) != digest):
            raise ValueError("a rule's text has another digest than its part says")
    texts = {} if before is None else dict(before.texts)
    if restates and content.texts.keys() != texts.keys():
        raise ValueError(_NOT_RESTATED)
    if not restates and not texts.keys().isdisjoint(content.texts):
        raise ValueError("a rule with this digest is on the log already")
    for digest, text in content.texts.items():
        if texts.get(digest) not in (None, text):
            raise ValueError(_NOT_RESTATED)
        texts[digest] = text if digest_of is not None else None
    if len(texts) != seal.count:
        raise ValueError(f"there would be {len(texts)} rules, not {seal.count}")
    return LogRules(seal.seq, seal.chain, delta.offset, texts)


class DeltaContent(NamedTuple):
    """What the parts of a delta hold."""

    adds: BitMap64
    removes: BitMap64
    ends: list[tuple[int, BitMap64]]  # each end that is stated, 0 for none, with its numbers
    ending: BitMap64  # the numbers whose end is stated
    texts: dict[str, bytes]  # of rules, by digest

    def stated_ends(self) -> StatedEnds:
        """The ends as arrays."""
        if not self.ends:
            return StatedEnds.none()
        numbers = [as_numbers(bitmap) for _, bitmap in self.ends]
        ends = [np.full(len(each), end, np.int64) for each, (end, _) in zip(numbers, self.ends, strict=True)]
        return StatedEnds(np.concatenate(numbers), np.concatenate(ends))


def _content_of(parts: Sequence[Part], seal: wire.Seal) -> DeltaContent:
    """What the parts hold. Raises ValueError if it is not as many as the seal says."""
    adds = _union([wire.bitmap_of(part.value) for part in parts if part.side == "adds"])
    removes = _union([wire.bitmap_of(part.value) for part in parts if part.side == "removes"])
    ends = [entry for part in parts if part.side == "ends" for entry in wire.decode_ends(part.value)]
    ending = _union([bitmap for _, bitmap in ends])
    requests, starts = (
        sum(part.value.count(b"\n") for part in parts if part.side == side) for side in ("requests", "starts")
    )
    counts = (len(adds), len(removes), len(ending), requests, starts)
    sealed = (seal.adds, seal.removes, seal.ends, seal.requests, seal.stated)
    for what, count, expected in zip(_COUNTED, counts, sealed, strict=True):
        if count != expected:
            raise ValueError(f"the parts hold {count} {what}, and the seal says {expected}")
    texts = {part.digest: part.value for part in parts if part.side == "rules"}
    if len(texts) != sum(part.side == "rules" for part in parts):
        raise ValueError("two parts are of the same rule")
    return DeltaContent(adds, removes, ends, ending, texts)


_COUNTED = ("adds", "removes", "ends", "requests", "starts")


def _union(bitmaps: Sequence[BitMap64]) -> BitMap64:
    """All of them as one. Raises ValueError when two hold the same number."""
    if len(bitmaps) == 1:
        return bitmaps[0]
    whole = BitMap64()
    for numbers in bitmaps:
        whole |= numbers
    if sum(map(len, bitmaps)) != len(whole):
        raise ValueError("two parts hold the same number")
    return whole


def _numbers_after(
    base: Register, seal: wire.Seal, content: DeltaContent, pause: Callable[[], None], *, restates: bool
) -> tuple[BitMap64, Filter]:
    """The register's numbers after a seal, and a filter for them. Raises ValueError.

    A full set in mid-log restates the register: it must be what the deltas gave.
    """
    if restates:
        count = len(base.numbers)
        same = not content.removes and len(content.adds) == seal.count == count
        for piece in wire.pieces(content.adds, _COMPARED) if same else ():
            same = same and piece.issubset(base.numbers)
            pause()
        if not same:
            raise ValueError(_NOT_RESTATED)
        return base.numbers, base.filter
    numbers, filter_ = base.changed(content.adds, content.removes, pause)
    if len(numbers) != seal.count:
        raise ValueError(f"the register would hold {len(numbers)} numbers, not {seal.count}")
    return numbers, filter_


def _tells_ends(register: str) -> bool:
    """Whether verdicts need the ends of a register's numbers."""
    return family(register) == RESTED or RegisterName.split(register).window is not None


def _ends_after(before: EndTable, seal: wire.Seal, content: DeltaContent) -> EndTable:
    """When a register's numbers end, after a seal. A full set states every end."""
    base = EndTable.none() if seal.kind == "full" else before
    return base.changed(as_numbers(content.removes), *content.stated_ends())


def _may_be_next(next_end: datetime | None, base: Register | None, content: DeltaContent) -> bool:
    """Whether a seal's next end can be right, for a replay that keeps no ends. `base` is None where the delta states
    every end there is."""
    stated = from_seconds(min((end for end, _ in content.ends if end), default=None))
    before = None if base is None else base.next_end
    if base is None or (not content.removes and not content.ends):
        return next_end == (stated if base is None else before)
    if next_end is None:
        return stated is None
    return next_end in (stated, before) or (
        before is not None and before < next_end and (stated is None or next_end < stated)
    )
