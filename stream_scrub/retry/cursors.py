"""How far each kind of blocked prospect was brought back. Pure.

A kind is a reason, and for `stale-register` a register as well: one may be usable again while another is not. Each has
its own offset in each partition. They stand together in the note of the partition's committed offset, so that one
transaction moves them all.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

_NOTE = re.compile(r"retry since=(\d+)(?: topic-id=(\S+))?((?: [a-z0-9.-]+=\d+)*)")


@dataclass(slots=True)
class Cursors:
    """Of one partition. `since` is where a kind begins that was never retried; `topic_id` tells the topic from another of
    its name, and is empty where that is not known."""

    since: int
    offsets: dict[str, int] = field(default_factory=dict)
    topic_id: str = ""

    @classmethod
    def read(cls, note: str) -> Self | None:
        """From a note; None if that is none of ours."""
        found = _NOTE.fullmatch(note)
        if found is None:
            return None
        pairs = (pair.split("=") for pair in found[3].split())
        return cls(int(found[1]), {kind: int(offset) for kind, offset in pairs}, found[2] or "")

    def __str__(self) -> str:
        told = "".join(f" {kind}={offset}" for kind, offset in sorted(self.offsets.items()))
        of = f" topic-id={self.topic_id}" if self.topic_id else ""
        return f"retry since={self.since}{of}{told}"

    def of(self, kind: str) -> int:
        """From where on a kind was not brought back yet."""
        return self.offsets.get(kind, self.since)

    def first(self, kinds: Iterable[str]) -> int:
        """From where on one must read for these kinds."""
        return min(map(self.of, kinds))

    def passed(self, kinds: Iterable[str], offset: int) -> None:
        """Everything before `offset` has been brought back of these kinds."""
        for kind in kinds:
            self.offsets[kind] = max(offset, self.of(kind))

    @property
    def furthest(self) -> int:
        """The furthest of all: what is committed as the offset itself."""
        return max([self.since, *self.offsets.values()])
