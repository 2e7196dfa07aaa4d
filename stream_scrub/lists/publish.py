"""Step 3 of a delta's life: parts and seal onto the log, all in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from stream_scrub.index import Register
from stream_scrub.lists import wire
from stream_scrub.lists.diff import Delta
from stream_scrub.lists.wire import Seal, Source
from stream_scrub.model import Header, LogWriter


@dataclass(frozen=True, slots=True)
class Published:
    """What is on the log now: the seal and the position that it gives the index."""

    seal: Seal
    position: int


def records_of(
    base: Register, delta: Delta, effective_at: datetime, source: Source
) -> tuple[list[tuple[bytes, bytes, Sequence[Header]]], Seal]:
    """The records (key, value, headers) of a delta on `base`, in the order of the log, and the seal among them."""
    seq = base.seq + 1
    key = base.name.encode()
    records: list[tuple[bytes, bytes, Sequence[Header]]] = []
    values: list[bytes] = []
    sides: tuple[tuple[Literal["adds", "removes"], list[bytes]], ...] = (
        ("adds", wire.split(delta.adds)),
        ("removes", wire.split(delta.removes)),
    )
    for side, parts in sides:
        for part in parts:
            records.append((key, part, wire.part_headers(side, base.name, seq, len(values))))
            values.append(part)
    seal = Seal(
        format=wire.FORMAT,
        register=base.name,
        register_kind=base.kind,
        kind="full" if base.seq == 0 else "delta",
        seq=seq,
        adds=len(delta.adds),
        removes=len(delta.removes),
        count=len(base.numbers) + len(delta.adds) - len(delta.removes),
        effective_at=wire.utc_seconds(effective_at),
        source=source,
        parts=wire.digests(values),
        chain="",
    )
    value, chain = wire.encode_seal(seal, base.chain)
    records.append((key, value, wire.seal_headers(base.name, seq)))
    return records, msgspec.structs.replace(seal, chain=chain)


def publish(
    writer: LogWriter, base: Register, delta: Delta, effective_at: datetime, source: Source
) -> Published:
    """Put a delta on the log. `base` must be the register at the log's end, read after the writer was opened: the
    writer fences every older publisher of the register, so nothing can come between.

    Raises what `LogWriter.publish` raises; then the delta is on the log whole or not at all.
    """
    records, seal = records_of(base, delta, effective_at, source)
    return Published(seal, writer.publish(records))
