"""Where a reader of the log begins: at its beginning, or at each register's latest full set.

Every seal names the latest full sets that its publisher knew of. So the last seal on the log is enough to read what
a new follower needs and no more, however old the log is.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.lists import wire
from stream_scrub.lists.replay import Replay
from stream_scrub.model import Deadline, LogReader, LogRecord

Start = Literal["latest-full", "beginning"]
# Offsets that are looked at first behind the log's end; markers and aborted parts may be all of them.
_LOOK_BACK = 16
_FURTHER = 8


def begin(
    reader: LogReader,
    deadline: Deadline,
    *,
    start: Start = "latest-full",
    keep_ends: bool = False,
    digest_of: Callable[[bytes], str] | None = None,
) -> Replay:
    """A replay with nothing taken yet, and the reader where it begins. Raises Corrupt, Unavailable, Refused."""
    starts = _starts(reader, deadline) if start == "latest-full" else {}
    reader.seek(min((first for first, _ in starts.values()), default=reader.bounds()[0]))
    return Replay.starting(starts, keep_ends=keep_ends, digest_of=digest_of)


def _starts(reader: LogReader, deadline: Deadline) -> wire.Starts:
    """Where the last seal on the log says that a follower may begin; nothing on an empty log."""
    record = last_seal(reader, deadline)
    if record is None:
        return {}
    try:
        starts = wire.decode_seal(record.value or b"")[0].starts
    except ValueError as error:
        raise Corrupt(f"log offset {record.offset}: {error}") from error
    if not all(0 <= start <= last < record.offset for start, last in starts.values()):
        raise Corrupt(f"log offset {record.offset}: the seal names starts that are not before it")
    return starts


def last_seal(reader: LogReader, deadline: Deadline) -> LogRecord | None:
    """The last seal on the log; None when there is none. Leaves the reader anywhere."""
    first, upto = reader.bounds()
    step = _LOOK_BACK
    while upto > first:
        since = max(first, upto - step)
        reader.seek(since)
        found = None
        for record in _read(reader, upto, deadline):
            if dict(record.headers).get("part") == b"seal":
                found = record
        if found is not None:
            return found
        upto, step = since, step * _FURTHER
    return None


def check_seals(reader: LogReader, chains: Mapping[int, str], deadline: Deadline) -> None:
    """Look whether the record at each offset is the seal with that chain: whether this log once said what was known
    then. Raises ValueError when one is not, Unavailable, Refused. Leaves the reader anywhere.
    """
    first, end = reader.bounds()
    for position, chain in sorted(chains.items()):
        if not first <= position < end:
            raise ValueError("it is of a position that the log does not have")
        reader.seek(position)
        record = next(_read(reader, position + 1, deadline), None)
        if record is None or wire.decode_seal(record.value or b"")[0].chain != chain:
            raise ValueError("the log does not hold the seals that its registers end with")


def _read(reader: LogReader, upto: int, deadline: Deadline) -> Iterator[LogRecord]:
    """The records from where the reader is to that offset, which the log's end has reached. Raises Unavailable."""
    while True:
        records, at_end = reader.read(0.5)
        yield from (record for record in records if record.offset < upto)
        if at_end or (records and records[-1].offset >= upto - 1):
            return
        if deadline.passed:
            raise Unavailable("the opposition log could not be read in time")
