"""Where a reader of the log begins: at its beginning, or at each register's latest full set.

Every seal names the last statement of where registers begin that its publisher knew of. So the last seal on the log is
enough to read what a new follower needs and no more, however old the log is: the full sets and what came after them up
to that statement, and all that came after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import UNSET

from stream_scrub.errors import Corrupt
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import beginning_deleted, scan, seal_of
from stream_scrub.model import Deadline, LogReader, LogRecord

StartPoint = Literal["latest-full", "beginning"]
# Offsets before the log's end that are looked at first. All of them may be markers and aborted parts.
_LOOK_BACK = 16
_FURTHER = 8


class SealHead(NamedTuple):
    """What the last seal of a register must say: its chain, and how many numbers there are after it. None: of rules,
    which have none."""

    chain: str
    numbers: int | None


def begin(
    reader: LogReader,
    deadline: Deadline,
    *,
    start: StartPoint = "latest-full",
    keep_ends: bool = False,
    digest_of: Callable[[bytes], str] | None = None,
) -> Replay:
    """A replay with nothing taken yet, and the reader where it begins. Raises Corrupt, Unavailable, Refused."""
    found = _stated(reader, deadline) if start == "latest-full" else None
    if found is None:
        # Registers of which nothing is left would be taken for ones that never were.
        if first := reader.bounds()[0]:
            raise Corrupt(beginning_deleted(first), first)
        reader.seek(0)
        return Replay(keep_ends=keep_ends, digest_of=digest_of)
    starts, read = found
    reader.seek(min(first for first, _ in starts.values()))
    return Replay.starting(starts, read, keep_ends=keep_ends, digest_of=digest_of)


def _stated(reader: LogReader, deadline: Deadline) -> tuple[wire.RegisterStarts, wire.ReadPosition] | None:
    """Where registers begin and what the publisher had read, by the statement that the last seal names.

    None where it names none: on a young log, or on one of a release that stated it in each seal.
    """
    record = last_seal(reader, deadline)
    if record is None:
        return None
    read = seal_of(record).read
    if read is UNSET or read.stated is None:
        return None
    first, last = read.stated
    if not 0 <= first < last <= read.upto < record.offset:
        raise Corrupt("the seal names a statement of starts that is not before it", record.offset)
    reader.seek(first)
    records = list(_read(reader, last, deadline))
    sealed = records[-1] if records else record
    parts = [each for each in records if each.key == sealed.key and _part(each) == b"starts"]
    if not parts or parts[0].offset != first or sealed.offset != last:
        raise Corrupt("no statement of starts is here, though a later seal says so", first)
    try:
        return _checked(seal_of(sealed), [part.value or b"" for part in parts])
    except ValueError as error:
        raise Corrupt(str(error), last) from error


def _checked(seal: wire.Seal, parts: Sequence[bytes]) -> tuple[wire.RegisterStarts, wire.ReadPosition]:
    """What these parts state, if they are the ones that were sealed. Raises ValueError."""
    starts = wire.decode_starts(parts)
    if wire.digests(parts) != seal.parts[-len(parts) :] or len(starts) != seal.stated or not starts:
        raise ValueError("its statement of starts is not the one that was sealed")
    if seal.read is UNSET or max(last for _, last in starts.values()) != seal.read.upto:
        raise ValueError("its statement of starts does not go to what its publisher had read")
    return starts, seal.read


def _part(record: LogRecord) -> bytes | None:
    return dict(record.headers).get("part")


def last_seal(reader: LogReader, deadline: Deadline) -> LogRecord | None:
    """The last seal on the log; None when there is none. Leaves the reader anywhere."""
    first, upto = reader.bounds()
    step = _LOOK_BACK
    while upto > first:
        since = max(first, upto - step)
        reader.seek(since)
        found = None
        for record in _read(reader, upto - 1, deadline):
            if _part(record) == b"seal":
                found = record
        if found is not None:
            return found
        upto, step = since, step * _FURTHER
    return None


def check_seals(reader: LogReader, heads: Mapping[int, SealHead], deadline: Deadline) -> None:
    """Look whether the record at each offset is the seal with that head, so that this log is the one that was read.

    A seal vouches for all that its publisher had read, so of thousands of registers only the last few are asked for.
    Raises ValueError when one is not, Unavailable, Refused. Leaves the reader anywhere.
    """
    first, end = reader.bounds()
    vouched = -1
    for position, head in sorted(heads.items(), reverse=True):
        if not first <= position < end:
            raise ValueError("it is of a position that the log does not have")
        if position <= vouched:
            continue
        reader.seek(position)
        record = next(_read(reader, position, deadline), None)
        seal = None if record is None else wire.decode_seal(record.value or b"")[0]
        if seal is None or seal.chain != head.chain:
            raise ValueError("the log does not hold the seals that its registers end with")
        if head.numbers not in {None, seal.count}:
            raise ValueError("a register of it has another size than the log says")
        if seal.read is not UNSET:
            vouched = max(vouched, seal.read.upto)


def _read(reader: LogReader, upto: int, deadline: Deadline) -> Iterator[LogRecord]:
    """The records from where the reader is to that offset (included), all of them before the deadline."""
    for records, _ in scan(reader, deadline, upto=upto, renewed=False):
        yield from records
