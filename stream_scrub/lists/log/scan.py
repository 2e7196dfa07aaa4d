"""The log once more from its beginning, up to a position or to its end: what all evidence rests on."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.model import Deadline, LogReader, LogRecord

_SETTLED_S = 12.0  # parts and their seal are one transaction: who waits so long for a seal waits for none
_TRIES = 5000  # offsets in one damaged batch; a batch is at most a megabyte


class Passage(NamedTuple):
    """What was read: the first offset that the log still holds, the end that it had at the start, and how many
    records."""

    first: int
    end: int
    records: int


def batches(reader: LogReader, since: int, quiet_s: float) -> Iterator[tuple[Sequence[LogRecord], bool]]:
    """The records from an offset on as they come, and whether the log's end was reached with them: then it is over. However
    long the log is, it goes on as long as something comes within `quiet_s`: one deadline for all of it would be too short
    for some log, and for each start after it. Raises Corrupt, Unavailable, Refused. Leaves the reader anywhere.
    """
    reader.seek(since)
    silence = Deadline.after(quiet_s)
    while True:
        records, at_end = reader.read(0.5)
        if records:
            silence = Deadline.after(quiet_s)
        yield records, at_end
        if at_end:
            return
        if silence.passed:
            raise Unavailable("the opposition log cannot be read: nothing comes")


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
) -> Passage:
    """Give every record from offset `since` on, else from the log's first one, to `take`: up to offset `upto`
    (included), else to the log's end.

    The deadline is for silence: every record that arrives renews it. At the end it is waited until `settled`, at most
    as long as a transaction may last: one publisher's parts may be readable a moment before their seal.
    With `on_damage`, what the broker's copy has lost or damaged is told to it and passed over, as far as that can be.
    `on_read(offset, end)` is told now and then how far it is. Raises Unavailable, Refused, and what `take` raises; a Corrupt of it
    says as well when the log's beginning has been deleted, for then nothing can be proven.
    """
    first, end = reader.bounds()
    at = first if since is None else max(first, since)
    reader.seek(at)
    patience = deadline.left()
    unsettled: Deadline | None = None
    count, stuck = 0, _Stuck(reader, on_damage)
    while True:
        try:
            records, at_end = reader.read(0.5)
        except Corrupt as error:
            if on_damage is None:
                raise _explained(error, first) from error
            if not stuck.goes_on(error, at, end):
                return Passage(first, end, count)
            continue
        wanted = records if upto is None else [record for record in records if record.offset <= upto]
        _give(wanted, take, first)
        count += len(wanted)
        if records:
            at = records[-1].offset + 1
            on_read(at - 1, max(end, at))
            deadline = Deadline.after(patience)
        if at_end:
            unsettled = unsettled or Deadline.after(_SETTLED_S)
        if len(wanted) < len(records) or (unsettled is not None and (settled() or unsettled.passed)):
            return Passage(first, end, count)
        if deadline.passed and not at_end:
            raise Unavailable("the end of the opposition log could not be reached in time")


def _give(records: Sequence[LogRecord], take: Callable[[LogRecord], object], first: int) -> None:
    try:
        for record in records:
            take(record)
    except Corrupt as error:
        raise _explained(error, first) from error


class _Stuck:
    """Gets a reader past what the broker's copy has damaged: nobody knows where it ends, so offset after offset."""

    def __init__(self, reader: LogReader, tell: Callable[[Corrupt], None] | None) -> None:
        self._reader = reader
        self._tell = tell or (lambda _: None)
        self._said = ""
        self._at = -1
        self._tries = 0

    def goes_on(self, error: Corrupt, at: int, end: int) -> bool:
        """Whether it is worth to read on; `at` is the offset after the last record that the reader gave."""
        self._at = max(self._at, at)
        self._tries += 1
        first = self._reader.bounds()[0]
        if str(error) != self._said:
            self._tell(error)
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
