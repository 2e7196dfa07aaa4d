"""Step 3 of a delta's life: parts and seal onto the log, all in one transaction; now and then the whole register anew.

A full set lets a new follower begin there instead of at the log's beginning. A full set is due when a follower would
otherwise have to read `full_every` records since the last one, of whatever register. A large register, or one of very
many, waits for more records: restating then adds no more than a few times what the log grows by anyway
(`ledger.py: Weights`). The same measure says when a seal states where all registers begin.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET
from msgspec.structs import replace
from pyroaring import BitMap64

from stream_scrub.errors import Refused, ScrubError
from stream_scrub.index import Register
from stream_scrub.lists.deltas import Delta, StatedEnds
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.replay import LogRules, RegisterView
from stream_scrub.lists.log.wire import Cursor, DeltaSource, RegisterStarts, Seal
from stream_scrub.model import Header, LogWriter
from stream_scrub.timestamps import from_seconds, utc_seconds

FULL_EVERY = 1000
# The line that says where a register begins has a tenth of an opt-out's bytes. It is stated once in so many records of
# each register.
_RECORDS_A_START = 2

DeltaRecords = list[tuple[bytes, bytes, Sequence[Header]]]


class NeedsTime(ScrubError):
    """The writer has no time for that many bytes: close it, open one that has, and look at the register again. Nothing
    was published."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(f"a delta of {nbytes:,} bytes needs a longer transaction")
        self.nbytes = nbytes


@dataclass(frozen=True, slots=True)
class PublishedDelta:
    """What is on the log now: its last seal, and the position that this gives the index."""

    seal: Seal
    position: int


class _PartToWrite(NamedTuple):
    side: wire.PartKind
    value: bytes
    digest: str = ""


def records_of(
    base: Register,
    delta: Delta,
    effective_at: datetime,
    source: DeltaSource,
    *,
    known: RegisterView | None = None,
    full_every: int = FULL_EVERY,
    cursor: Cursor | None = None,
    may_state: bool = True,
) -> tuple[DeltaRecords, Seal]:
    """The records (key, value, headers) of a delta on `base`, in the order of the log, and the last seal among them.

    `known` is what the replay that `base` comes from knows of it; without it nothing is restated. `cursor`: up to
    which requests this delta is, where it comes from requests. `may_state`: of several deltas in one transaction, one
    is enough to state where registers begin. Raises Refused on a marked log, ValueError where `known` lacks its ends.
    """
    _need_no_mark(known)
    ends = Ends.none() if known is None else known.ends
    if _rfc3339(ends.next) != (base.next_end and utc_seconds(base.next_end)):
        raise ValueError(f"register {base.name}: its ends are not known here; replay the log with them")
    after = ends.changed(delta.removes, delta.ends)
    areas = base.areas if delta.areas is None else delta.areas
    seal = Seal(
        format=wire.FORMAT,
        register=base.name,
        register_kind=wire.SealKind(base.kind.value),
        kind="full" if base.seq == 0 else "delta",
        seq=base.seq,
        adds=len(delta.adds),
        removes=len(delta.removes),
        ends=len(delta.ends.numbers),
        requests=len(delta.requests),
        count=len(base.numbers) + len(delta.adds) - len(delta.removes),
        next_end=_rfc3339(after.next),
        effective_at=utc_seconds(effective_at),
        reason=delta.reason,
        source=source,
        parts=[],
        read=UNSET if known is None else known.log.read,
        asked=cursor or (known and known.asked) or UNSET,
        areas=UNSET if areas is None else list(areas),
        chain=base.chain,
    )
    records: DeltaRecords = []
    asked = [_PartToWrite("requests", lines) for lines in wire.pack_lines(delta.requests)]
    due = _is_due(known, seal.count, full_every)
    starts = _starts(known, full_every) if may_state else {}
    if not (due and delta.is_empty):  # else the restatement says it all
        parts = [
            *_numbers("adds", delta.adds),
            *_numbers("removes", delta.removes),
            *_ends(delta.ends),
            *asked,
        ]
        seal = _seal_up(records, seal, parts, {} if due else starts)
    if due:
        seal = _restate(records, seal, (base.numbers | delta.adds) - delta.removes, after, asked, starts)
    return records, seal


def rules_records(
    rules: LogRules,
    texts: Mapping[str, bytes],
    effective_at: datetime,
    source: DeltaSource,
    *,
    known: RegisterView,
    full_every: int = FULL_EVERY,
    reason: str = "rules",
) -> tuple[DeltaRecords, Seal]:
    """The records that put rules' texts, by their digests, on the log, and the last seal among them. What is there
    already is left out. Raises Refused as `records_of`, and ValueError for another text under a digest that is there, or that is not kept.
    """
    _need_no_mark(known)
    for digest, text in texts.items():
        if digest in rules.texts and rules.texts[digest] != text:
            raise ValueError(
                f"{digest}: another text is on the log under this digest, or its text was not kept"
            )
    new = {digest: text for digest, text in texts.items() if digest not in rules.texts}
    whole = {digest: text for digest, text in {**rules.texts, **new}.items() if text is not None}
    seal = Seal(
        format=wire.FORMAT,
        register=wire.RULES,
        register_kind=wire.SealKind.RULES,
        kind="full" if rules.seq == 0 else "delta",
        seq=rules.seq,
        adds=0,
        removes=0,
        count=len(rules.texts) + len(new),
        effective_at=utc_seconds(effective_at),
        reason=reason,
        source=source,
        parts=[],
        read=known.log.read,
        chain=rules.chain,
    )
    records: DeltaRecords = []
    due = _is_due(known, seal.count, full_every) and len(whole) == seal.count
    starts = _starts(known, full_every)
    seal = _seal_up(records, seal, _texts(new), {} if due else starts)
    if due:
        seal = _seal_up(records, replace(seal, kind="full", reason="restated"), _texts(whole), starts)
    return records, seal


def publish(
    writer: LogWriter,
    base: Register,
    delta: Delta,
    effective_at: datetime,
    source: DeltaSource,
    *,
    known: RegisterView | None = None,
    full_every: int = FULL_EVERY,
) -> PublishedDelta:
    """Put a delta on the log. `base` must be the register at the log's end, read after the writer was opened: the
    writer fences every older publisher of the register, so nothing can come between.

    Raises what `LogWriter.publish` raises; then the delta is on the log whole or not at all. Raises NeedsTime, and
    ValueError as `records_of`.
    """
    records, seal = records_of(base, delta, effective_at, source, known=known, full_every=full_every)
    if not writer.takes(nbytes := nbytes_of(records)):
        raise NeedsTime(nbytes)
    return PublishedDelta(seal, writer.publish(records))


def nbytes_of(records: DeltaRecords) -> int:
    """How much these records put on the log, before it is compressed."""
    return sum(len(value) for _, value, _ in records)


def _need_no_mark(known: RegisterView | None) -> None:
    """Whoever reads the log that it became, or will be, would not know of a delta here."""
    if known is not None and known.log.mark is not None:
        raise Refused(known.log.mark.why)


def _is_due(known: RegisterView | None, count: int, full_every: int) -> bool:
    """Whether a register of so many numbers is to be stated anew."""
    if known is None or known.span is None:
        return False
    return known.upto - known.span[0] >= max(full_every, known.log.weights.beside(count))


def _starts(known: RegisterView | None, full_every: int) -> RegisterStarts:
    """Where all registers begin, if it is to be stated now."""
    starts = None if known is None else known.log.starts
    if known is None or not starts:
        return {}
    before = -1 if known.log.read.stated is None else known.log.read.stated[1]
    due = known.upto - before >= max(full_every, _RECORDS_A_START * len(starts))
    return starts if due else {}


def _restate(
    records: DeltaRecords,
    before: Seal,
    numbers: BitMap64,
    ends: Ends,
    asked: Sequence[_PartToWrite],
    starts: RegisterStarts,
) -> Seal:
    """Append the whole register. Where nothing else is said in this transaction, the requests go with it."""
    seal = replace(before, kind="full", adds=len(numbers), removes=0, ends=len(ends.numbers()))
    if records:
        seal, asked = replace(seal, requests=0, reason="restated"), ()
    return _seal_up(records, seal, [*_numbers("adds", numbers), *_ends(ends.stated()), *asked], starts)


def _seal_up(
    records: DeltaRecords, before: Seal, parts: Sequence[_PartToWrite], starts: RegisterStarts
) -> Seal:
    """Append the parts, those that state where registers begin, and their seal. `before` says all that the seal says,
    but still has the sequence number and the chain that it continues."""
    name, seq, key = before.register, before.seq + 1, before.register.encode()
    parts = [*parts, *(_PartToWrite("starts", part) for part in wire.encode_starts(starts))]
    for i, (side, value, digest) in enumerate(parts):
        records.append((key, value, wire.part_headers(side, name, seq, i, digest)))
    digests = wire.digests([part.value for part in parts])
    seal = replace(before, seq=seq, parts=digests, stated=len(starts), previous=before.chain)
    value, chain = wire.encode_seal(seal, before.chain)
    records.append((key, value, wire.seal_headers(name, seq)))
    return replace(seal, chain=chain)


def _numbers(side: wire.PartKind, numbers: BitMap64) -> Iterable[_PartToWrite]:
    return (_PartToWrite(side, part) for part in wire.split(numbers))


def _ends(stated: StatedEnds) -> Iterable[_PartToWrite]:
    return (_PartToWrite("ends", part) for part in wire.encode_ends(stated))


def _texts(texts: Mapping[str, bytes]) -> list[_PartToWrite]:
    return [_PartToWrite("rules", text, digest) for digest, text in sorted(texts.items())]


def _rfc3339(seconds: int | None) -> str | None:
    moment = from_seconds(seconds)
    return None if moment is None else utc_seconds(moment)
