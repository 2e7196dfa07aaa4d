"""The last deltas on the log for the status page, read from their seals in a separate thread.

The follower starts at a snapshot or at the latest full sets and so misses earlier deltas. This thread reads a bounded
part of the log backwards from the index's position, and then forwards.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple

from stream_scrub.clock import from_millis
from stream_scrub.errors import ScrubError
from stream_scrub.log import wire
from stream_scrub.log.scan import scan
from stream_scrub.model import Deadline, LogReader, LogRecord

DELTAS_MAX = 50
_CHUNK = 256  # offsets per step backwards
_CHUNKS_MAX = 16
_BACK_BYTES_MAX = 67_108_864  # stop reading backwards after this many: the log has large lists there
_SILENCE_S = 15.0
_LOOK_S = 0.5
_AGAIN_S = 5.0
_STOP_S = 5.0


class DeltaSummary(NamedTuple):
    """One delta, from its seal.

    `share` is the larger of `adds` and `removes` divided by the register's size before (None: it was empty), as in a
    dry run and `lists.max_change`.
    """

    at: datetime | None
    register: str
    reason: str
    adds: int
    removes: int
    share: float | None
    numbers: int
    source: str
    position: int


class Tail:
    """A thread that reads a topic for the page. `trouble`, why it cannot, may be read from any thread."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.trouble = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        raise NotImplementedError


class LogTail(Tail):
    """`position` returns the position of the index in use. `deltas` (newest first) may be read from any thread."""

    def __init__(
        self, reading: Callable[[], AbstractContextManager[LogReader]], position: Callable[[], int]
    ) -> None:
        super().__init__("log-tail")
        self._reading = reading
        self._position = position
        self._upto = -1
        self._latest: deque[DeltaSummary] = deque(maxlen=DELTAS_MAX)
        self.deltas: Sequence[DeltaSummary] = ()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._position() <= self._upto:
                self._stopping.wait(_LOOK_S)
                continue
            try:
                with self._reading() as reader:
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
            deltas = self._back(reader, position)
        else:
            deltas, _ = self._sealed(reader, self._upto + 1, position)
        self._latest.extend(deltas)
        self._upto, self.trouble = position, ""
        self.deltas = [*reversed(self._latest)]

    def _back(self, reader: LogReader, position: int) -> list[DeltaSummary]:
        """Return the last deltas up to a position, within the limits on reading backwards."""
        deltas: list[DeltaSummary] = []
        first, upto, read = reader.bounds()[0], position, 0
        for _ in range(_CHUNKS_MAX):
            since = max(first, upto - _CHUNK + 1)
            earlier, nbytes = self._sealed(reader, since, upto)
            deltas, upto, read = [*earlier, *deltas], since - 1, read + nbytes
            if upto < first or len(deltas) >= DELTAS_MAX or read > _BACK_BYTES_MAX or self._stopping.is_set():
                break
        return deltas

    def _sealed(self, reader: LogReader, since: int, upto: int) -> tuple[list[DeltaSummary], int]:
        deltas: list[DeltaSummary] = []
        nbytes = 0
        for records, _ in scan(reader, Deadline.after(_SILENCE_S), since=since, upto=upto):
            deltas += _deltas(records)
            nbytes += sum(len(each.value or b"") for each in records)
            if self._stopping.is_set():
                break
        return deltas, nbytes


def _deltas(records: Iterable[LogRecord]) -> Iterable[DeltaSummary]:
    for record in records:
        if wire.part_of(record) != "seal":
            continue
        try:
            seal, _ = wire.decode_seal(record.value or b"")
            if seal.register_kind is not wire.SealKind.RULES:
                yield _delta(record, seal)
        except (ValueError, OverflowError, OSError):
            continue  # the follower reports a corrupt log


def _delta(record: LogRecord, seal: wire.Seal) -> DeltaSummary:
    """Raises ValueError, OverflowError, OSError for figures and times out of range."""
    adds = 0 if seal.reason == "restated" else seal.adds  # a restatement has every number, and adds none
    before = seal.count - adds + seal.removes
    return DeltaSummary(
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
