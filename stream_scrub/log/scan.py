"""Reading the log from one offset to another.

`scan` yields the records. `replay_to_end` gives the registers, `read_into` reads evidence and can go on over damage, and
`find_seal` tells a publisher that was killed whether its list was published.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.index import Index
from stream_scrub.log import wire
from stream_scrub.log.replay import Replay
from stream_scrub.model import Deadline, LogReader, LogRecord

_SETTLED_S = 12.0  # parts and their seal are one transaction: a seal does not come later than this
# A shorter stretch is read even if it is not needed: a seek drops what the client has fetched ahead.
_SEEK_OFFSETS = 1000
_TRIES = 5000  # offsets in one damaged batch; a batch is at most a megabyte


class ScannedSpan(NamedTuple):
    """What was read."""

    first: int  # the first offset that the log still holds
    end: int  # the log's end when the reading began
    records: int


def scan(
    reader: LogReader,
    deadline: Deadline,
    *,
    since: int | None = None,
    upto: int | None = None,
) -> Iterator[tuple[Sequence[LogRecord], bool]]:
    """The records of the log as they come, and whether the broker confirmed with them that the log ends here.

    From offset `since` on, else from where the reader is; up to offset `upto` (included), else to the log's end. Each
    record renews the deadline. Raises Corrupt, Unavailable, Refused. The reader is left at an unspecified offset.
    """
    # The deadline limits silence: a limit for a whole log would be too short for some log, whose publisher could never
    # start again.
    if since is not None:
        reader.seek(since)
    patience = deadline.left()
    while True:
        records, at_end = reader.read(0.5)
        passed = upto is not None and bool(records) and records[-1].offset >= upto
        yield [each for each in records if upto is None or each.offset <= upto], at_end and not passed
        if at_end or passed:
            return
        if records:  # only now: the caller's own time is not the log's silence
            deadline = Deadline.after(patience)
        elif deadline.passed:
            raise Unavailable("the opposition log could not be read to its end in time: no records arrive")


def replay_to_end(
    reader: LogReader,
    deadline: Deadline,
    on_record: Callable[[int], None] = lambda _: None,
    *,
    replay: Replay | None = None,
) -> Index:
    """Replay the log from where the reader is to its end, and return the index. The deadline limits silence.

    `replay` is what `begin` returned with this reader; without it the reader is at the log's beginning.
    `on_record(offset)` is called after each record. Raises Corrupt, Unavailable, Refused.
    """
    replay = replay or Replay()
    for records, _ in scan(reader, deadline):
        for record in records:
            replay.take(record)
            on_record(record.offset)
        if records:
            skip_unwanted(reader, replay, records[-1].offset + 1)
    return replay.index


def skip_unwanted(reader: LogReader, replay: Replay, offset: int) -> None:
    """Seek over a long stretch from that offset on that this replay does not need."""
    wanted = replay.wanted(offset)
    if wanted - offset > _SEEK_OFFSETS:
        reader.seek(wanted)


def find_seal(
    reader: LogReader, after: int, register: str, source: wire.DeltaSource, quiet_s: float
) -> tuple[wire.Seal, int] | None:
    """The register's first seal after the offset `after` that came from that list, and its offset; None if there is none.

    Waits at most `quiet_s` for each next record. Raises as `scan`.
    """
    for records, _ in scan(reader, Deadline.after(quiet_s), since=after + 1):
        for record in records:
            if record.offset <= after or not _is_seal(record, register):
                continue
            if (seal := seal_of(record)).source.is_from(source):
                return seal, record.offset
    return None


def mark_seals(reader: LogReader, after: int, upto: int, quiet_s: float) -> list[wire.Seal]:
    """The seals after the offset `after` and before `upto` that put a mark on the log or end one.

    The reader may be one of uncommitted records, so its end of the log does not count. Waits at most `quiet_s` for each
    next record. Raises as `scan`.
    """
    seals, at, deadline = [], after, Deadline.after(quiet_s)
    reader.seek(after + 1)
    while at < upto:
        records, _ = reader.read(0.5)
        for record in records:
            at = record.offset
            if at < upto and _is_seal(record, wire.RULES) and (seal := seal_of(record)).reason in wire.MARKS:
                seals.append(seal)
        if records:
            deadline = Deadline.after(quiet_s)
        elif deadline.passed:
            raise Unavailable(f"the opposition log could not be read to offset {upto}: no records arrive")
    return seals


def _is_seal(record: LogRecord, register: str) -> bool:
    return record.key == register.encode() and wire.part_of(record) == "seal"


def seal_of(record: LogRecord) -> wire.Seal:
    """The seal that a record holds. Raises Corrupt."""
    try:
        return wire.decode_seal(record.value or b"")[0]
    except ValueError as error:
        raise Corrupt(str(error), record.offset) from error


def read_into(
    reader: LogReader,
    take: Callable[[LogRecord], object],
    deadline: Deadline,
    *,
    since: int | None = None,
    upto: int | None = None,
    settled: Callable[[], bool] = lambda: True,
    on_damage: Callable[[Corrupt], None] | None = None,
    on_read: Callable[[int, int], None] = lambda _offset, _end: None,
) -> ScannedSpan:
    """Pass every record from offset `since` on (else the log's first) to `take`, up to offset `upto` (included) or the end.

    At the end, wait until `settled`, at most as long as a transaction may last: parts may be readable a moment before
    their seal. `on_damage(error)` is called for each damage in the broker's copy, which is then passed over; without it,
    Corrupt is raised. `on_read(offset, end)` reports progress. The deadline limits silence. Raises Unavailable, Refused,
    and what `take` raises; a Corrupt also says when the log's beginning has been deleted.
    """
    first, end = reader.bounds()
    at = first if since is None else max(first, since)
    reader.seek(at)
    patience = deadline.left()
    unsettled: Deadline | None = None
    count, stuck = 0, _Stuck(reader, on_damage)
    batches = scan(reader, deadline, upto=upto)
    while True:
        try:
            records, at_end = next(batches)
        except Corrupt as error:
            if on_damage is None:
                raise _explained(error, first) from error
            if not stuck.goes_on(error, at, end):
                return ScannedSpan(first, end, count)
            batches = scan(reader, Deadline.after(patience), upto=upto)
            continue
        except StopIteration:
            if not at_end:  # `upto` was reached; else read on until it is settled
                return ScannedSpan(first, end, count)
            batches = scan(reader, Deadline.after(patience), upto=upto)
            continue
        _give(records, take, first)
        count += len(records)
        if records:
            at = records[-1].offset + 1
            on_read(at - 1, max(end, at))
        if at_end:
            unsettled = unsettled or Deadline.after(_SETTLED_S)
        if unsettled is not None and (settled() or unsettled.passed):
            return ScannedSpan(first, end, count)


def _give(records: Sequence[LogRecord], take: Callable[[LogRecord], object], first: int) -> None:
    try:
        for record in records:
            take(record)
    except Corrupt as error:
        raise _explained(error, first) from error


class _Stuck:
    """Gets a reader past damage in the broker's copy. Where the damage ends is unknown, so it tries offset after offset."""

    def __init__(self, reader: LogReader, on_damage: Callable[[Corrupt], None] | None) -> None:
        self._reader = reader
        self._on_damage = on_damage or (lambda _: None)
        self._reported = ""
        self._at = -1
        self._tries = 0

    def goes_on(self, error: Corrupt, at: int, end: int) -> bool:
        """Whether to go on; `at` is the offset after the last record that was read."""
        self._at = max(self._at, at)
        self._tries += 1
        first = self._reader.bounds()[0]
        if str(error) != self._reported:
            self._on_damage(error)
            self._reported, self._tries = str(error), 0
        self._at = max(self._at + 1, first)
        if self._at > end or self._tries > _TRIES:
            return False
        self._reader.seek(self._at)
        return True


def beginning_deleted(first: int) -> str:
    """The problem of a log whose first offsets are gone."""
    return (
        f"the log begins at offset {first}: the records before it were deleted, and nothing proves them"
        " (retention.ms and retention.bytes of the log's topic must be -1)"
    )


def _explained(error: Corrupt, first: int) -> Corrupt:
    if not first:
        return error
    explained = Corrupt(f"{error}; {beginning_deleted(first)}")
    explained.offset = error.offset
    return explained


StartPoint = Literal["latest-full", "beginning"]
# Offsets before the log's end that are read first: a seal and its transaction's marker. All of them may be markers and
# aborted records.
_LOOK_BACK = 2
_FURTHER = 8
_NEAR = 16  # seals no further apart than this are read in one go
_OTHER_SEALS = "the log does not hold the seals that its registers end with"


class SealHead(NamedTuple):
    """What the last seal of a register must say."""

    chain: str
    numbers: int | None  # how many numbers the register holds; None for rules


def begin(
    reader: LogReader,
    deadline: Deadline,
    *,
    start: StartPoint = "latest-full",
    keep_ends: bool = False,
) -> Replay:
    """A replay that has taken nothing yet, with the reader at its first record. The deadline limits silence. Raises Corrupt,
    Unavailable, Refused."""
    statement = _stated(reader, deadline.left()) if start == "latest-full" else None
    if statement is None:
        # A register whose records were all deleted would look like one that never was.
        if first := reader.bounds()[0]:
            raise Corrupt(beginning_deleted(first), first)
        reader.seek(0)
        return Replay(keep_ends=keep_ends)
    starts, read = statement
    reader.seek(min(first for first, _ in starts.values()))
    return Replay.starting(starts, read, keep_ends=keep_ends)


def _stated(reader: LogReader, quiet_s: float) -> tuple[wire.RegisterStarts, wire.ReadPosition] | None:
    """Where registers begin and what the publisher had read, by the statement that the last seal names. None if it names
    none: the log is young."""
    record = last_seal(reader, quiet_s)
    if record is None:
        return None
    read = seal_of(record).read
    if read.stated is None:
        return None
    first, last = read.stated
    if not 0 <= first < last <= read.upto < record.offset:
        raise Corrupt("the seal names a statement of starts that is not before it", record.offset)
    reader.seek(first)
    records = list(_read(reader, last, quiet_s))
    sealed = records[-1] if records else record
    parts = [each for each in records if each.key == sealed.key and wire.part_of(each) == "starts"]
    if not parts or parts[0].offset != first or sealed.offset != last:
        raise Corrupt("no statement of starts is here, though a later seal says so", first)
    seal, values = seal_of(sealed), [part.value or b"" for part in parts]
    try:
        starts = wire.decode_starts(values)
    except ValueError as error:
        raise Corrupt(str(error), last) from error
    if wire.digests(values) != seal.parts[-len(values) :] or len(starts) != seal.stated or not starts:
        raise Corrupt("its statement of starts is not the one that was sealed", last)
    if max(end for _, end in starts.values()) != seal.read.upto:
        raise Corrupt("its statement of starts does not go to what its publisher had read", last)
    return starts, seal.read


def last_seal(reader: LogReader, quiet_s: float) -> LogRecord | None:
    """The last seal on the log; None when there is none. Waits at most `quiet_s` for each next record. The reader is left
    at an unspecified offset. Raises as `scan`."""
    first, upto = reader.bounds()
    step = _LOOK_BACK
    while upto > first:
        since = max(first, upto - step)
        reader.seek(since)
        last = None
        for record in _read(reader, upto - 1, quiet_s):
            if wire.part_of(record) == "seal":
                last = record
        if last is not None:
            return last
        upto, step = since, step * _FURTHER
    return None


def check_seals(reader: LogReader, heads: Mapping[int, SealHead], deadline: Deadline) -> None:
    """Check that the record at each offset is the seal with that head, so that this log is the one that was read before.

    The deadline limits silence. Raises ValueError if one is not, Unavailable, Refused. The reader is left at an
    unspecified offset.
    """
    # A seal vouches for all that its publisher had read: of thousands of registers usually the last one is read here. Those
    # of one transaction vouch for none of each other, and lie close together: a seek to each would take minutes.
    quiet_s = deadline.left()
    first, end = reader.bounds()
    waiting, vouched, near = sorted(heads), -1, 0
    if waiting and not first <= waiting[0] <= waiting[-1] < end:
        raise ValueError("it is of a position that the log does not have")
    while waiting and waiting[-1] > vouched:
        last = since = waiting.pop()
        wanted = {last}
        while waiting and waiting[-1] > max(vouched, since - near):
            since = waiting.pop()
            wanted.add(since)
        reader.seek(since)
        for record in _read(reader, last, quiet_s):
            if record.offset in wanted:
                wanted.remove(record.offset)
                vouched = max(vouched, _vouched(record, heads[record.offset]))
        if wanted:
            raise ValueError(_OTHER_SEALS)
        near = _NEAR


def _vouched(record: LogRecord, head: SealHead) -> int:
    """Up to which offset the publisher of this seal had read the log. Raises ValueError unless the seal has that head."""
    seal = wire.decode_seal(record.value or b"")[0]
    if seal.chain != head.chain:
        raise ValueError(_OTHER_SEALS)
    if head.numbers not in {None, seal.count}:
        raise ValueError("a register of it has another size than the log says")
    return seal.read.upto


def check_known(reader: LogReader, replay: Replay, deadline: Deadline) -> None:
    """Check that the log still holds the last seals that a replay has taken, and leave the reader after its last record.

    Kafka loses acknowledged records if a replica that lacks them is elected, or all lose their power. Raises ValueError if the
    log is another one, Unavailable, Refused.
    """
    heads = {each.position: SealHead(each.chain, None) for each in replay.index.registers.values()}
    if replay.rules.seq:
        heads[replay.rules.position] = SealHead(replay.rules.chain, None)
    first, _ = reader.bounds()  # a deletion at the log's beginning is not a loss
    check_seals(reader, {at: head for at, head in heads.items() if at >= first}, deadline)
    reader.seek(replay.known("").upto + 1)


def _read(reader: LogReader, upto: int, quiet_s: float) -> Iterator[LogRecord]:
    """The records from where the reader is to that offset (included). Waits at most `quiet_s` for each next one."""
    for records, _ in scan(reader, Deadline.after(quiet_s), upto=upto):
        yield from records
