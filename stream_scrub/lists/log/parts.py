"""What a delta holds, once its parts are the ones that its seal names. Every failure is a ValueError in words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import UNSET
from pyroaring import BitMap64

from stream_scrub.index import as_numbers
from stream_scrub.lists.deltas import StatedEnds
from stream_scrub.lists.log import wire

SET_ASIDE_BY = "the register's next delta, or `stream-scrub lists mend`, takes their place"
SIDES = frozenset({"adds", "removes", "ends", "requests", "rules", "starts"})


class Part(NamedTuple):
    """A part as it came, and the digest that a part of rules has in its headers."""

    offset: int
    side: str
    seq: int
    i: int
    value: bytes
    digest: str


class DeltaContent(NamedTuple):
    """A delta's numbers, the ends that it states, those numbers as one set, the texts of rules by digest, and where it
    says that registers begin."""

    adds: BitMap64
    removes: BitMap64
    ends: list[tuple[int, BitMap64]]
    ending: BitMap64
    texts: dict[str, bytes]
    starts: wire.RegisterStarts

    @property
    def earliest(self) -> int | None:
        """The earliest end that is stated."""
        return min((end for end, _ in self.ends if end), default=None)

    def stated(self) -> StatedEnds:
        """The ends as arrays."""
        if not self.ends:
            return StatedEnds.none()
        numbers = [as_numbers(bitmap) for _, bitmap in self.ends]
        ends = [np.full(len(each), end, np.int64) for each, (end, _) in zip(numbers, self.ends, strict=True)]
        return StatedEnds(np.concatenate(numbers), np.concatenate(ends))


def count_of(header: bytes | None) -> int:
    """The number in a header, in the one spelling that publishers use. Raises ValueError."""
    number = int(header or b"")
    if header != b"%d" % number or number < 0:
        raise ValueError("not a plain number")
    return number


def of_seal(parts: list[Part], seal: wire.Seal) -> list[Part]:
    """The parts that a seal may be about. A seal that names none stands by itself, in the place of parts of the same
    sequence number that were never sealed."""
    unsealed = not seal.parts and all(part.seq == seal.seq for part in parts)
    return [] if unsealed else parts


def sealed(parts: Sequence[Part], seal: wire.Seal) -> DeltaContent:
    """What the parts hold, if they are the ones that were sealed. Raises ValueError."""
    if any(part.seq != seal.seq or part.i != i for i, part in enumerate(parts)):
        raise ValueError("the parts are not the seal's, or not in order")
    if wire.digests([part.value for part in parts]) != seal.parts:
        raise ValueError("a part's bytes are not the ones that were sealed")
    adds = union([wire.bitmap_of(part.value) for part in parts if part.side == "adds"])
    removes = union([wire.bitmap_of(part.value) for part in parts if part.side == "removes"])
    if (len(adds), len(removes)) != (seal.adds, seal.removes):
        raise ValueError(
            f"the parts hold {len(adds)} adds and {len(removes)} removes, not {seal.adds} and {seal.removes}"
        )
    ends = [entry for part in parts if part.side == "ends" for entry in wire.decode_ends(part.value)]
    ending = union([bitmap for _, bitmap in ends])
    requests = sum(part.value.count(b"\n") for part in parts if part.side == "requests")
    if (len(ending), requests) != (seal.ends, seal.requests):
        raise ValueError(
            f"the parts hold {len(ending)} ends and {requests} requests, not {seal.ends} and {seal.requests}"
        )
    starts = wire.decode_starts(part.value for part in parts if part.side == "starts")
    if len(starts) != seal.stated or (starts and seal.read is UNSET):
        raise ValueError(f"the parts state where {len(starts)} registers begin, not {seal.stated}")
    texts = {part.digest: part.value for part in parts if part.side == "rules"}
    if len(texts) != sum(part.side == "rules" for part in parts):
        raise ValueError("two parts are of the same rule")
    return DeltaContent(adds, removes, ends, ending, texts, starts)


def union(bitmaps: Sequence[BitMap64]) -> BitMap64:
    """All of them as one. Raises ValueError when two hold the same number."""
    whole = BitMap64()
    held = 0
    for numbers in bitmaps:
        held += len(numbers)
        whole |= numbers
    if held != len(whole):
        raise ValueError("two parts hold the same number")
    return whole
