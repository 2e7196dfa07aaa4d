"""What an import would do: the regions that it touches, and the verdicts that would change.

The last prospects on their topic are judged twice by the very Scrubber that a worker runs: by the index as it is, and
by the index as it would be. Nothing is written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Refused
from stream_scrub.index import Index, Numbers, Register, as_numbers
from stream_scrub.lists.deltas import Delta
from stream_scrub.numbering import line_of
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.wiring import clients, scrubbing

_BATCH = 2_000
# Looking up the regions of this many numbers takes some seconds. Of a longer list, this many evenly spread numbers
# stand for all.
_LOOKED_UP = 1_000_000


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """Added and removed numbers by region, how many prospects were judged, and how many of their verdicts would change,
    by the reason before and the reason after."""

    added_in: dict[str, int]
    removed_in: dict[str, int]
    judged: int
    changed: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]  # a dict of a dataclass


def preview(
    settings: Settings, log: FilteringBoundLogger, index: Index, base: Register, delta: Delta, sample: int
) -> ImportPreview:
    """What `delta` on `base`, which is `index`'s or a new register, would do. Raises Unavailable, Refused."""
    numbers, filter_ = base.changed(delta.adds, delta.removes)
    now = datetime.now(UTC)
    after = index.with_register(
        Register(
            name=base.name,
            kind=base.kind,
            numbers=numbers,
            seq=base.seq + 1,
            chain=base.chain,
            effective_at=max(base.effective_at, now),
            position=index.position + 1,
            source=base.source,
            filter=filter_,
        )
    )
    values = _sample(settings, log, sample) if sample else []
    scrubber = scrubbing.scrubber(settings, header=True, hold=False)
    changed: Counter[str] = Counter()
    for at in range(0, len(values), _BATCH):
        part = values[at : at + _BATCH]
        changed += changes(scrubber, part, index, after, now)
    return ImportPreview(
        regions_of(as_numbers(delta.adds)),
        regions_of(as_numbers(delta.removes)),
        len(values),
        dict(changed.most_common()),
    )


def changes(
    scrubber: Scrubber, values: Sequence[bytes | None], before: Index, after: Index, now: datetime
) -> Counter[str]:
    """How many of these prospects' reasons differ between two indexes: "clear -> opposed" and so on."""
    pair = [
        [_reason(stamp) for stamp in scrubber.scrub(values, index, now).stamps] for index in (before, after)
    ]
    return Counter(f"{was} -> {becomes}" for was, becomes in zip(*pair, strict=True) if was != becomes)


def regions_of(numbers: Numbers) -> dict[str, int]:
    """How many of the numbers belong to each region, the largest first. For more than `_LOOKED_UP` numbers this is an
    estimate from a part of them."""
    step = max(1, -(-len(numbers) // _LOOKED_UP))
    looked_up = numbers[::step]
    lines = (line_of(number) for number in looked_up.tolist())
    counts = Counter("none" if line is None else line.region for line in lines)
    scale = len(numbers) / max(1, len(looked_up))
    return {region: round(count * scale) for region, count in counts.most_common()}


def _reason(stamp: bytes | None) -> str:
    """The reason; for a prospect with several numbers, the reasons of all, joined by +."""
    said = msgspec.json.decode(stamp or b"{}")
    numbers = said.get("numbers")
    return str(said.get("reason")) if not numbers else "+".join(each["reason"] for each in numbers)


def _sample(settings: Settings, log: FilteringBoundLogger, count: int) -> list[bytes | None]:
    """The last prospects on their topic; none where it may not be read."""
    try:
        return clients.last_prospects(settings, log, count)
    except Refused:
        return []
