"""The one way to read the log from one offset to another: `scan`, and what is made of it.

`replay_to_end` is for whoever needs the registers, `read_into` for evidence, which goes on over damage, `find_seal` for
a publisher that was killed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.index import Index
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.replay import Replay
from stream_scrub.model import Deadline, LogReader, LogRecord

_SETTLED_S = 12.0  # parts and their seal are one transaction: who waits so long for a seal waits for none
# A shorter stretch that nobody needs is read all the same: a seek empties what the client has fetched ahead.
_SEEK_OFFSETS = 1000
_TRIES = 5000  # offsets in one damaged batch; a batch is at most a megabyte


class ScannedSpan(NamedTuple):
    """What was read: the first offset that the log still holds, the end that it had at the start, and how many
    records."""

    first: int
    end: int
    records: int


def scan(
    reader: LogReader,
    deadline: Deadline,
    *,
    since: int | None = None,
    upto: int | None = None,
    renewed: bool = True,
) -> Iterator[tuple[Sequence[LogRecord], bool]]:
    """The records of the log as they come, and whether the broker confirmed with them that the log ends here.

    From offset `since` on, else from where the reader is; up to offset `upto` (included), else to the log's end. Every
    record that arrives renews the deadline, so it limits silence: a limit for all of a log would be too short for some
    log, and a publisher of that log could never start again. Without `renewed` it limits the whole reading.
    Raises Corrupt, Unavailable, Refused. Leaves the reader anywhere.
    """
    if since is not None:
        reader.seek(since)
    patience = deadline.left()
    while True:
        records, at_end = reader.read(0.5)
        passed = upto is not None and bool(records) and records[-1].offset >= upto
        yield [each for each in records if upto is None or each.offset <= upto], at_end and not passed
        if at_end or passed:
            return
        if records and renewed:  # only now: what the caller does with them is no silence
            deadline = Deadline.after(patience)
        elif deadline.passed:
            raise Unavailable("the opposition log could not be read to its end in time: nothing comes")


def replay_to_end(
    reader: LogReader,
    deadline: Deadline,
    on_record: Callable[[int], None] = lambda _: None,
    *,
    replay: Replay | None = None,
) -> Index:
    """Have a replay take the log from where the reader is to its end. The deadline is for silence.

    `replay` is one that `begin` gave with this reader; without one the reader is at the log's beginning.
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
    """Seek over what this replay does not need from that offset on, if it is much."""
    wanted = replay.wanted(offset)
    if wanted - offset > _SEEK_OFFSETS:
        reader.seek(wanted)


def find_seal(
    reader: LogReader, after: int, register: str, source: wire.DeltaSource, quiet_s: float
) -> tuple[wire.Seal, int] | None:
    """The register's first seal behind the offset `after` that came from that list, and its own offset; None when
    there is none: a publisher that was killed learns by this whether the list was published. Waits at most `quiet_s`
    for the next record. Raises as `scan`. Leaves the reader anywhere.
    """
    for records, _ in scan(reader, Deadline.after(quiet_s), since=after + 1):
        for record in records:
            if record.offset <= after or not _is_seal(record, register):
                continue
            if (seal := seal_of(record)).source == source:
                return seal, record.offset
    return None


def mark_seals(reader: LogReader, after: int, upto: int, quiet_s: float) -> list[wire.Seal]:
    """The seals behind the offset `after` and before the record at `upto` that put a mark on the log or end one. The reader
    may be one that does not know which transactions were committed, so where it says that the log ends does not count.
    Waits at most `quiet_s` for the next record. Raises as `scan`. Leaves the reader anywhere.
    """
    found, at, deadline = [], after, Deadline.after(quiet_s)
    reader.seek(after + 1)
    while at < upto:
        records, _ = reader.read(0.5)
        for record in records:
            at = record.offset
            if at < upto and _is_seal(record, wire.RULES) and (seal := seal_of(record)).reason in wire.MARKS:
                found.append(seal)
        if records:
            deadline = Deadline.after(quiet_s)
        elif deadline.passed:
            raise Unavailable(f"the opposition log could not be read to offset {upto}: nothing comes")
    return found


def _is_seal(record: LogRecord, register: str) -> bool:
    return record.key == register.encode() and dict(record.headers).get("part") == b"seal"


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
    """Give every record from offset `since` on, else from the log's first one, to `take`: up to offset `upto`
    (included), else to the log's end. The deadline is for silence: every record that arrives renews it.

    At the end, wait until `settled`, at most as long as a transaction may last: one publisher's parts may be readable
    a moment before their seal. `on_damage(error)` is called for what the broker's copy has lost or damaged, which is
    then passed over as far as possible; without it, Corrupt is raised. `on_read(offset, end)` reports progress.
    Raises Unavailable, Refused, and what `take` raises. When the log's beginning has been deleted nothing can be
    proven, and the text of a Corrupt says so.
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
    """Gets a reader past damage in the broker's copy. Nobody knows where the damage ends, so it tries offset after offset."""

    def __init__(self, reader: LogReader, on_damage: Callable[[Corrupt], None] | None) -> None:
        self._reader = reader
        self._on_damage = on_damage or (lambda _: None)
        self._said = ""
        self._at = -1
        self._tries = 0

    def goes_on(self, error: Corrupt, at: int, end: int) -> bool:
        """Whether reading on is worth a try; `at` is the offset after the last record that the reader gave."""
        self._at = max(self._at, at)
        self._tries += 1
        first = self._reader.bounds()[0]
        if str(error) != self._said:
            self._on_damage(error)
            self._said, self._tries = str(error), 0
        self._at = max(self._at + 1, first)
        if self._at > end or self._tries > _TRIES:
            return False
        self._reader.seek(self._at)
        return True


def beginning_deleted(first: int) -> str:
    """What to say of a log whose first offsets are gone."""
    return (
        f"the log begins at offset {first}: what was before it has been deleted, and is proven by nothing any more"
        " (retention.ms and retention.bytes of the log's topic must be -1)"
    )


def _explained(error: Corrupt, first: int) -> Corrupt:
    if not first:
        return error
    made = Corrupt(f"{error}; {beginning_deleted(first)}")
    made.offset = error.offset
    return made
