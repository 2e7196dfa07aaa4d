"""The last deltas on the log, for people: read by their seals, in a thread of its own.

The follower cannot tell of them: it begins at a snapshot or at the latest full sets. So this reads back from the index's
position, a bounded stretch of the log, and from then on what comes.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from typing import NamedTuple

from stream_scrub.errors import ScrubError
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.scan import scan
from stream_scrub.model import Deadline, LogReader, LogRecord
from stream_scrub.timestamps import from_millis

DELTAS_MAX = 50
_STRETCH = 256  # offsets that are read back at once
_STRETCHES_MAX = 16
_BACK_BYTES_MAX = 67_108_864  # after which no further stretch is read back: large lists lie there
_SILENCE_S = 15.0
_LOOK_S = 0.5
_AGAIN_S = 5.0
_STOP_S = 5.0


class SealedDelta(NamedTuple):
    """One delta as its seal tells it. `share` is the larger of what it adds and what it removes, as a share of what the
    register held before (None: it held nothing): what a dry run shows, and lists.max_change bounds."""

    at: datetime | None
    register: str
    reason: str
    adds: int
    removes: int
    share: float | None
    numbers: int
    source: str
    position: int


class LogTail:
    """The thread and the deltas. `position` is that of the index in use. `deltas`, the newest first, and `trouble` from
    any thread."""

    def __init__(
        self, reading: Callable[[], AbstractContextManager[LogReader]], position: Callable[[], int]
    ) -> None:
        self._reading = reading
        self._position = position
        self._upto = -1
        self._found: deque[SealedDelta] = deque(maxlen=DELTAS_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-tail", daemon=True)
        self.deltas: Sequence[SealedDelta] = ()
        self.trouble = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._position() <= self._upto:
                self._stopping.wait(_LOOK_S)
                continue
            try:
                with ExitStack() as stack:
                    reader = stack.enter_context(self._reading())
                    while not self._stopping.is_set():
                        self._look(reader)
            except ScrubError as error:
                self.trouble = str(error)
                self._stopping.wait(_AGAIN_S)

    def _look(self, reader: LogReader) -> None:
        position = self._position()
        if position <= self._upto:
            self._stopping.wait(_LOOK_S)
            return
        if self._upto < 0:
            found = self._back(reader, position)
        else:
            found, _ = self._sealed(reader, self._upto + 1, position)
        self._found.extend(found)
        self._upto, self.trouble = position, ""
        self.deltas = [*reversed(self._found)]

    def _back(self, reader: LogReader, position: int) -> list[SealedDelta]:
        """The last deltas up to that position, as far back as they are looked for."""
        found: list[SealedDelta] = []
        first, upto, read = reader.bounds()[0], position, 0
        for _ in range(_STRETCHES_MAX):
            since = max(first, upto - _STRETCH + 1)
            more, nbytes = self._sealed(reader, since, upto)
            found, upto, read = [*more, *found], since - 1, read + nbytes
            if upto < first or len(found) >= DELTAS_MAX or read > _BACK_BYTES_MAX or self._stopping.is_set():
                break
        return found

    def _sealed(self, reader: LogReader, since: int, upto: int) -> tuple[list[SealedDelta], int]:
        found: list[SealedDelta] = []
        nbytes = 0
        for records, _ in scan(reader, Deadline.after(_SILENCE_S), since=since, upto=upto):
            found += _deltas(records)
            nbytes += sum(len(each.value or b"") for each in records)
            if self._stopping.is_set():
                break
        return found, nbytes


def _deltas(records: Iterable[LogRecord]) -> Iterable[SealedDelta]:
    for record in records:
        if dict(record.headers).get("part") != b"seal":
            continue
        try:
            seal, _ = wire.decode_seal(record.value or b"")
            if seal.register_kind is not wire.SealKind.RULES:
                yield _delta(record, seal)
        except (ValueError, OverflowError, OSError):
            continue  # the follower says what is wrong with the log


def _delta(record: LogRecord, seal: wire.Seal) -> SealedDelta:
    """Raises ValueError, OverflowError and OSError of figures and moments that nobody can show."""
    adds = 0 if seal.reason == "restated" else seal.adds  # it states the whole register, and adds nothing
    before = seal.count - adds + seal.removes
    return SealedDelta(
        at=from_millis(record.timestamp_ms),
        register=seal.register,
        reason=seal.reason,
        adds=adds,
        removes=seal.removes,
        share=max(adds, seal.removes) / before if before > 0 else None,
        numbers=seal.count,
        source=seal.source.name,
        position=record.offset,
    )
