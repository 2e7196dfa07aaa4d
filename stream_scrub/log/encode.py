"""Step 3 of a delta's life: its parts and its seal as records; at times the whole register again, as a full set.

A new follower begins at a full set instead of at the log's beginning. A full set is due `full_every` records after the
last one, counting the records of all registers. A large register, or one of very many, waits for more records
(`ledger.py: Weights`). The same measure decides when a seal states where all registers begin. A renewed log begins with
`restated` registers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pyroaring import BitMap64

from stream_scrub.clock import from_seconds, utc_seconds
from stream_scrub.errors import Refused, ScrubError
from stream_scrub.index import Numbers, Register, as_bitmap
from stream_scrub.index.deltas import Delta, Ends, StatedEnds
from stream_scrub.log import wire
from stream_scrub.log.apply import LogRules, lists_after
from stream_scrub.log.replay import RegisterView, Replay
from stream_scrub.log.wire import RENEWED, Cursor, DeltaSource, RegisterStarts, Seal
from stream_scrub.model import Header, LogWriter

FULL_EVERY = 1000
# Where registers begin is stated once in so many records for each register: its line has a tenth of an opt-out's bytes.
_RECORDS_A_START = 2

DeltaRecords = list[tuple[bytes, bytes, Sequence[Header]]]


class NeedsTime(ScrubError):
    """The writer's transaction timeout is too short for that many bytes. Nothing was published: open a writer with a longer
    one, and read the register again."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(f"a delta of {nbytes:,} bytes needs a longer transaction")
        self.nbytes = nbytes


@dataclass(frozen=True, slots=True)
class PublishedDelta:
    """A published delta: its last seal, and the position that it gives the index."""

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

    `known` is from the replay that `base` comes from; without it nothing is restated. `cursor`: the requests that the
    delta takes, if it comes from requests. `may_state`: whether it may state where registers begin, which one delta of a
    transaction does. Raises Refused on a marked log, ValueError if `known` lacks the register's ends.
    """
    _need_no_mark(known)
    ends = Ends.none() if known is None else known.ends
    if _rfc3339(ends.next) != (base.next_end and utc_seconds(base.next_end)):
        raise ValueError(f"register {base.name}: its ends are not known here; replay the log with them")
    after = ends.changed(delta.removes, delta.ends)
    areas = base.areas if delta.areas is None else delta.areas
    hashed = delta.hashed or (None if base.is_removed else base.hashed)
    lists = {} if known is None else known.lists
    seal = _draft(
        base,
        register=base.name,
        register_kind=wire.SealKind(base.kind.value),
        adds=len(delta.adds),
        removes=len(delta.removes),
        ends=len(delta.ends.numbers),
        requests=len(delta.requests),
        count=len(base.numbers) + len(delta.adds) - len(delta.removes),
        next_end=_rfc3339(after.next),
        effective_at=utc_seconds(effective_at),
        reason=delta.reason,
        source=source,
        read=wire.NOTHING_READ if known is None else known.log.read,
        asked=cursor or (known and known.asked) or UNSET,
        lists=_lists(lists) if base.seq == 0 else UNSET,
        areas=UNSET if areas is None else list(areas),
        hashed=hashed or UNSET,
    )
    records: DeltaRecords = []
    asked = [_PartToWrite("requests", lines) for lines in wire.packed(delta.requests)]
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
        numbers = (base.numbers | delta.adds) - delta.removes
        seal = replace(seal, kind="full", adds=len(numbers), removes=0, ends=len(after.numbers()))
        if records:  # else the requests go with the restatement
            lists = lists_after(lists, seal)
            seal, asked = replace(seal, requests=0, reason="restated"), []
        seal = replace(seal, lists=_lists(lists))
        parts = [*_numbers("adds", numbers), *_ends(after.stated()), *asked]
        seal = _seal_up(records, seal, parts, starts)
    return records, seal


def _draft(before: Register | LogRules, **members: Any) -> Seal:
    """What the seal of a delta says, for `_seal_up`: still with the sequence number and the chain that it continues."""
    return Seal(
        format=wire.FORMAT,
        kind="full" if before.seq == 0 else "delta",
        seq=before.seq,
        stated=0,
        parts=[],
        previous=before.chain,
        chain=before.chain,
        **members,
    )


def rules_records(
    rules: LogRules,
    texts: Mapping[str, bytes],
    effective_at: datetime,
    source: DeltaSource,
    *,
    known: RegisterView,
    full_every: int = FULL_EVERY,
    reason: str = "rules",
    timestamp: str | UnsetType = UNSET,
) -> tuple[DeltaRecords, Seal]:
    """The records that put rules' texts on the log, by their digests, and the last seal among them. Texts that are
    there already are left out. Raises Refused on a marked log, ValueError if the log has another text under a digest,
    or if `rules` keeps no texts."""
    _need_no_mark(known)
    for digest, text in texts.items():
        if digest in rules.texts and rules.texts[digest] != text:
            raise ValueError(
                f"{digest}: another text is on the log under this digest, or its text was not kept"
            )
    new = {digest: text for digest, text in texts.items() if digest not in rules.texts}
    whole = {digest: text for digest, text in {**rules.texts, **new}.items() if text is not None}
    seal = _draft(
        rules,
        register=wire.RULES,
        register_kind=wire.SealKind.RULES,
        adds=0,
        removes=0,
        ends=0,
        requests=0,
        count=len(rules.texts) + len(new),
        next_end=None,
        effective_at=utc_seconds(effective_at),
        reason=reason,
        source=source,
        read=known.log.read,
        timestamp=timestamp,
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
    """Put a delta on the log. `base` must be the register at the log's end, read after the writer was opened: opening it
    fences every older publisher of the register.

    Raises what `LogWriter.publish` and `records_of` raise, and NeedsTime. The delta is on the log whole or not at all.
    """
    records, seal = records_of(base, delta, effective_at, source, known=known, full_every=full_every)
    if not writer.takes(nbytes := nbytes_of(records)):
        raise NeedsTime(nbytes)
    return PublishedDelta(seal, writer.publish(records, after=base.position if known is None else known.upto))


def nbytes_of(records: DeltaRecords) -> int:
    """The size of these records before compression."""
    return sum(len(value) for _, value, _ in records)


def _need_no_mark(known: RegisterView | None) -> None:
    """Readers of the log that this one became, or will be, would never see a delta here. Raises Refused."""
    if known is not None and known.log.mark is not None:
        raise Refused(known.log.mark.why)


def _is_due(known: RegisterView | None, count: int, full_every: int) -> bool:
    """Whether a register of so many numbers must be restated."""
    if known is None or known.span is None:
        return False
    return known.upto - known.span[0] >= max(full_every, known.log.weights.restated_after(count))


def _starts(known: RegisterView | None, full_every: int) -> RegisterStarts:
    """Where all registers begin, if a seal must state it now; else empty."""
    # Unknown while parts of another register wait for their seal: a follower that began here would miss them.
    starts = None if known is None else known.log.starts
    if known is None or not starts:
        return {}
    before = -1 if known.log.read.stated is None else known.log.read.stated[1]
    due = known.upto - before >= max(full_every, _RECORDS_A_START * len(starts))
    return starts if due else {}


def _seal_up(
    records: DeltaRecords, before: Seal, parts: Sequence[_PartToWrite], starts: RegisterStarts
) -> Seal:
    """Append the parts, the parts that state where registers begin, and the seal that `before` is a draft of."""
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


def _lists(moments: Mapping[str, datetime]) -> dict[str, str] | UnsetType:
    return {sha256: utc_seconds(moment) for sha256, moment in moments.items()} or UNSET


def _texts(texts: Mapping[str, bytes]) -> list[_PartToWrite]:
    return [_PartToWrite("rules", text, digest) for digest, text in sorted(texts.items())]


def _rfc3339(seconds: int | None) -> str | None:
    moment = from_seconds(seconds)
    return None if moment is None else utc_seconds(moment)


_NEVER = 1 << 62


class Restated(NamedTuple):
    """A register's records for the new log."""

    records: DeltaRecords
    kept: int  # numbers that it keeps
    ending: int  # numbers of these that end
    left_out: int  # numbers that were left out


def restated(
    held: Register, known: RegisterView, without: Numbers | None, there: RegisterView, source: DeltaSource
) -> Restated:
    """The first delta of `held` on another log. It keeps its kind, its list's day, its lists, its areas and its hashing.

    `known` is the old log's view of it, `there` the new log's. The numbers `without` are left out.
    """
    kept, ends = _kept(held, known.ends, without)
    base = Register.empty(held.name, held.kind, held.effective_at)
    there = _unmarked(there)._replace(lists=known.lists)
    delta = Delta(
        kept, BitMap64(), 0, ends=ends.stated(), reason=RENEWED, areas=held.areas, hashed=held.hashed
    )
    records, _ = records_of(base, delta, held.effective_at, source, known=there, may_state=False)
    return Restated(records, len(kept), len(ends.numbers()), len(held.numbers) - len(kept))


def differing(old: Replay, without: Mapping[str, Numbers], new: Replay) -> Iterator[str]:
    """The registers that are not on the new log as `restated` would state them. Both replays keep ends."""
    was, now = old.index.registers, new.index.registers
    for name in sorted(was.keys() | now.keys()):
        if name not in was or name not in now:
            yield name
            continue
        known = old.known(name)
        kept, ends = _kept(was[name], known.ends, without.get(name))
        same = all(
            getattr(was[name], each) == getattr(now[name], each)
            for each in ("kind", "effective_at", "areas", "hashed")
        )
        same = same and now[name].numbers == kept and new.known(name).lists == known.lists
        if not same or not new.known(name).ends.are(ends.stated()):
            yield name


def marked(
    rules: LogRules, reason: str, source: DeltaSource, at: datetime, known: RegisterView
) -> DeltaRecords:
    """A seal of the rules that changes no rule, and whose reason marks the log or ends its mark (`ledger.LogMark`)."""
    records, _ = rules_records(
        rules, {}, at, source, known=_unmarked(known), full_every=_NEVER, reason=reason
    )
    return records


def anchored(
    rules: LogRules, timestamp: str, source: DeltaSource, at: datetime, known: RegisterView
) -> DeltaRecords:
    """A seal of the rules that changes no rule, with the timestamp of the head that `known` was read to. Raises Refused on a
    marked log."""
    records, _ = rules_records(
        rules,
        {},
        at,
        source,
        known=known,
        full_every=_NEVER,
        reason=wire.ANCHORED,
        timestamp=timestamp,
    )
    return records


def _kept(held: Register, ends: Ends, without: Numbers | None) -> tuple[BitMap64, Ends]:
    gone = BitMap64() if without is None else as_bitmap(without) & held.numbers
    return held.numbers - gone, ends.changed(gone, StatedEnds.none())


def _unmarked(known: RegisterView) -> RegisterView:
    """The view without the mark, for the process that set it."""
    return known._replace(log=known.log._replace(mark=None))
