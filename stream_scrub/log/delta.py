"""A delta as it stands on the log, and what the replays of all registers share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_scrub.index import Index
from stream_scrub.index.capacity import Capacity
from stream_scrub.log import wire


class Part(NamedTuple):
    """One part of a delta. `digest` is the header that only a part of rules has."""

    offset: int
    side: str
    seq: int
    i: int
    value: bytes
    digest: str


class SealedDelta(NamedTuple):
    """A delta on the log."""

    first: int  # the offset of its first record
    offset: int  # the offset of its seal
    seal: wire.Seal
    parts: Sequence[Part]
    restates: bool  # a full set that equals what the deltas before it gave
    sound: bool  # nothing was wrong with it

    @property
    def is_full(self) -> bool:
        """Whether a follower may begin here."""
        return self.seal.kind == "full" or self.seal.seq == 1

    @property
    def starts(self) -> list[Part]:
        """The parts that state where all registers begin."""
        return [part for part in self.parts if part.side == "starts"]


def _go_on() -> None:
    """Pause for nobody."""


@dataclass(slots=True)
class ReplayTerms:
    """What the replays of all registers of one log share. `keep_ends`: keep each number's end; without it only the next end
    of each register is known. `digest_of` gives the digest of a rule's text: with it the texts are kept and checked.
    `pause`: see `Register.changed`. `index` is the log so far."""

    keep_ends: bool = False
    digest_of: Callable[[bytes], str] | None = None
    capacity: Capacity = field(default_factory=Capacity)
    pause: Callable[[], None] = _go_on
    index: Index = field(default_factory=Index.empty)
