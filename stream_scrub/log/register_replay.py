"""One register's deltas in the order of the log: parts and seals in, the register out, every promise checked.

schemas/README.md says what is checked. Each fault goes to `RegisterReplay.fault`. In a follower that raises Corrupt
and ends the replay. In an audit (`log/audit.py`) it returns, and the register's numbers are unknown from
there until its next full set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.clock import from_seconds, parse_zoned
from stream_scrub.errors import Corrupt
from stream_scrub.index import Filter, Hashing, Register, as_numbers
from stream_scrub.index.deltas import Ends, StatedEnds
from stream_scrub.index.end_table import EndTable
from stream_scrub.log import wire
from stream_scrub.log.delta import Part, ReplayTerms, SealedDelta
from stream_scrub.model import RESTED, LogRecord, RegisterKind, family

_COMPARED = 500_000  # numbers of a restatement that are compared in one call
_LISTED_MAX = 32  # lists of a register whose moments are kept: a month of daily ones
_NO_FULL_SET = "no full set, though a later seal says that one begins here"
_ANOTHER_REGISTER = "the seal is of another register"
_NOT_RESTATED = "a full restatement differs from what the deltas before it gave"


@dataclass(frozen=True, slots=True)
class LogRules:
    """The rules' texts on the log by digest (None where texts are not kept), and the chain of their seals."""

    seq: int = 0
    chain: str = wire.GENESIS
    position: int = -1
    texts: Mapping[str, bytes | None] = field(default_factory=dict)


class RegisterReplay:
    """The replay of one register, or of the rules. Feed it the register's records in offset order.

    `register` and `rules` are None while they are unknown, `seq` and `head` are of the last seal. `ends` is empty unless
    ends are kept. `listed` has the moments of the latest lists by their SHA-256.
    """

    def __init__(self, name: str, terms: ReplayTerms, register: Register | None, rules: LogRules) -> None:
        """`register` or `rules`: the state to go on from, where a snapshot holds one."""
        self.name = name
        self.register = register
        self.rules: LogRules | None = rules if name == wire.RULES else None
        self.seq, self.head = (rules.seq, rules.chain) if self.rules is not None else (0, wire.GENESIS)
        if register is not None:
            self.seq, self.head = register.seq, register.chain
        self.ends = Ends.none()
        self.asked: wire.Cursor | None = None
        self.listed: dict[str, datetime] = {}
        self.parts: list[Part] = []
        self._terms = terms
        self._is_known = True
        self._must_be_full = False
        self._is_faulty = False  # something was wrong with the delta that is being taken
        # The chains that the next seal may continue. Two after a damaged chain, none (any will do) where it is unknown.
        self._previous = frozenset({self.head})

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that still waits for a seal."""
        return self.parts[0].offset if self.parts else None

    def begin_at_full_set(self) -> None:
        """The next record begins a full set, as a later seal states. The chain up to there is believed."""
        self._lose()
        self._previous, self._must_be_full = frozenset(), True

    def fault(self, offset: int, what: str) -> None:
        """A record of this register is wrong: its numbers are unknown from here on."""
        raise Corrupt(f"register {self.name}: {what}", offset)

    def doubt(self, offset: int, what: str) -> None:
        """A record of this register is wrong, and its numbers are as they were."""
        raise Corrupt(f"register {self.name}: {what}", offset)

    def take_part(self, part: Part) -> None:
        """The next part."""
        if self.parts and (self.parts[0].seq != part.seq or part.i == 0):
            self.fault(self.parts[0].offset, "parts without their seal, then others")
            self.parts = []
        self.parts.append(part)

    def take_seal(self, record: LogRecord, seq: bytes | None) -> SealedDelta | None:
        """The delta that this record seals; `seq` is its header. None, after a fault, if it cannot be placed.

        Raises TooMany.
        """
        offset = record.offset
        try:
            seal, content = wire.decode_seal(record.value or b"")
        except ValueError as error:
            self.fault(offset, str(error))
            self._reset()
            self._previous = frozenset()
            return None
        if seal.register != self.name or seq != b"%d" % seal.seq:
            self.fault(offset, "the seal and its headers differ")
        is_whole = not self._is_cut_off(seal, offset) and not self._is_faulty
        chain = wire.chain_of(seal.previous, content)
        if seal.seq <= self.seq:
            if not self._is_faulty:
                self.doubt(offset, f"sequence {seal.seq} follows {self.seq}: it is doubled or late")
            self._reset()
            return None
        if self._previous and seal.seq != self.seq + 1:
            self.fault(offset, f"sequence {seal.seq} follows {self.seq}: a delta is missing")
        elif seal.chain != chain or (self._previous and seal.previous not in self._previous):
            self.fault(offset, "the chain is broken: this seal does not continue the one before it")
        # A seal whose chain is not that of its own content is not believed, even if it seals a full set.
        restates = is_whole and seal.chain == chain and self._apply(seal, offset)
        self.seq, self.head, self._previous = seal.seq, seal.chain, frozenset((seal.chain, chain))
        first = self.parts[0].offset if self.parts else offset
        delta = SealedDelta(first, offset, seal, self.parts, restates, sound=not self._is_faulty)
        self._reset()
        return delta

    def _is_cut_off(self, _seal: wire.Seal, _offset: int) -> bool:
        """Whether parts of this delta were deleted with the log's beginning: only an audit reads on then."""
        return False

    def _reset(self) -> None:
        self.parts, self._is_faulty = [], False

    def _lose(self) -> None:
        self.register = self.rules = None
        self.ends, self._is_known = Ends.none(), False

    def _apply(self, seal: wire.Seal, offset: int) -> bool:
        """Apply the delta. Returns whether it is a full set of a register that was known."""
        only_digests = not self._is_known and seal.kind != "full"  # no more can be checked
        if only_digests and self._must_be_full:
            self.fault(offset, _NO_FULL_SET)
            return False
        if not only_digests:
            self._terms.capacity.expects(self.name, max(seal.adds, seal.count))
        if (wrong := _wrong_part(self.parts, seal, offset)) is not None:
            self.fault(*wrong)
            return False
        if only_digests:
            return False
        restates = self._is_known and seal.kind == "full" and self.seq > 0
        try:
            self._change(seal, offset, restates=restates)
        except ValueError as error:
            self.fault(offset, str(error))
            return False
        self._is_known, self._must_be_full = True, False
        return restates

    def _change(self, seal: wire.Seal, offset: int, *, restates: bool) -> None:
        """Check a seal against its parts and what was before, and take the change. Raises ValueError, TooMany."""
        effective_at = parse_zoned(seal.effective_at)
        is_rules = self.name == wire.RULES
        if (seal.register_kind is wire.SealKind.RULES) != is_rules:
            raise ValueError(_ANOTHER_REGISTER)
        if not self._is_known and (seal.seq == 1) != (seal.previous == wire.GENESIS):
            raise ValueError(_NO_FULL_SET)
        content = _content_of(self.parts, seal)
        if is_rules:
            self.rules = self._rules_after(seal, content, offset, restates=restates)
        else:
            self.register = self._register_after(seal, content, offset, effective_at, restates=restates)
        if isinstance(seal.asked, wire.Cursor):
            self.asked = seal.asked
        elif self._terms.keep_ends and seal.source.sha256:
            # The same bytes under another name make the register no younger.
            self.listed.pop(seal.source.sha256, None)
            self.listed[seal.source.sha256] = effective_at
            if len(self.listed) > _LISTED_MAX:
                del self.listed[next(iter(self.listed))]

    def _register_after(
        self, seal: wire.Seal, content: "DeltaContent", offset: int, effective_at: datetime, *, restates: bool
    ) -> Register:
        kind, terms = RegisterKind(seal.register_kind.value), self._terms
        base = self.register or Register.empty(self.name, kind, effective_at)
        if base.kind is not kind:
            raise ValueError(_ANOTHER_REGISTER)
        if content.texts:
            raise ValueError("a register holds no rules")
        if not restates:
            terms.capacity.take(terms.index.registers, self.name, content.adds, content.removes)
        hashed = seal.hashed if isinstance(seal.hashed, Hashing) else None
        if hashed != base.hashed and len(content.removes) < len(base.numbers):
            raise ValueError("its numbers are hashed in another way than those that it keeps")
        numbers, filter_ = _numbers_after(base, seal, content, terms.pause, restates=restates)
        if not content.ending.issubset(numbers):
            raise ValueError("it states ends of numbers that the register does not hold")
        next_end = None if seal.next_end is None else parse_zoned(seal.next_end)
        if terms.keep_ends:
            stated = content.stated_ends()
            if restates and not self.ends.are(stated):
                raise ValueError(_NOT_RESTATED)
            ends = self.ends if restates else self.ends.changed(content.removes, stated)
            if next_end != from_seconds(ends.next):
                raise ValueError("the next end is not the earliest of the register's ends")
            self.ends = ends
        elif not _may_be_next(next_end, None if restates else base, content):
            raise ValueError("the next end cannot be the earliest of the register's ends")
        return replace(
            base,
            numbers=numbers,
            seq=seal.seq,
            chain=seal.chain,
            effective_at=effective_at,
            position=offset,
            source=seal.source.name,
            filter=filter_,
            next_end=next_end,
            areas=tuple(seal.areas) if isinstance(seal.areas, list) else None,
            ends=_ends_after(base.ends, seal, content) if family(self.name) == RESTED else base.ends,
            hashed=hashed,
        )

    def _rules_after(
        self, seal: wire.Seal, content: "DeltaContent", offset: int, *, restates: bool
    ) -> LogRules:
        digest_of = self._terms.digest_of
        if content.adds or content.removes or content.ends or seal.next_end is not None:
            raise ValueError("the rules hold no numbers")
        for digest, text in content.texts.items():
            if not digest or (digest_of is not None and digest_of(text) != digest):
                raise ValueError("a rule's text has another digest than its part says")
        texts = {} if self.rules is None else dict(self.rules.texts)
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
        return LogRules(seal.seq, seal.chain, offset, texts)


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


def _wrong_part(parts: Sequence[Part], seal: wire.Seal, offset: int) -> tuple[int, str] | None:
    """The offset of the first part that is not the one that was sealed, and what is wrong with it."""
    for i, (part, digest) in enumerate(zip(parts, wire.digests([p.value for p in parts]), strict=True)):
        if part.seq != seal.seq or part.i != i:
            return part.offset, "a part that is not the seal's, or not in order"
        if i < len(seal.parts) and digest != seal.parts[i]:
            return part.offset, "its bytes are not the ones that were sealed"
    if len(parts) != len(seal.parts):
        return offset, f"{len(seal.parts)} parts were sealed, and {len(parts)} are here"
    return None


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
