"""The opposition log in memory, as honest as a broker: one order, whole transactions or none, offsets that skip."""

import time
from collections.abc import Sequence

from stream_scrub.model import Header, LogRecord


class Log:
    """What the broker keeps. Every transaction ends with a control record, which takes an offset and is never read;
    `start` is the first offset, for a log whose topic is not new.
    """

    def __init__(self, start: int = 0) -> None:
        self.records: list[LogRecord] = []
        self.end = start

    def append(self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> int:
        """One record, without a transaction around it."""
        offset = self.end
        self.records.append(LogRecord(offset, key, value, tuple(headers)))
        self.end += 1
        return offset

    def skip(self, offsets: int = 1) -> None:
        """Offsets that no reader sees: control records, aborted ones."""
        self.end += offsets


class Writer:
    """A LogWriter; `trouble`, while there is some, is raised before anything is written."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.trouble: list[Exception] = []
        self.closed = False

    def publish(self, records: Sequence[tuple[bytes, bytes, Sequence[Header]]]) -> int:
        if self.trouble:
            self.log.skip(len(records) + 1)  # the aborted ones and the abort marker
            raise self.trouble.pop(0)
        last = -1
        for record in records:
            last = self.log.append(*record)
        self.log.skip()
        return last

    def close(self) -> None:
        self.closed = True


class Reader:
    """A LogReader from the log's start, at most `at_once` records a call; `trouble` is raised, one a call; while it is
    `silent` it has nothing and does not know where the end is.
    """

    def __init__(self, log: Log, at_once: int = 1000) -> None:
        self.log = log
        self.trouble: list[Exception] = []
        self.silent = False
        self.closed = False
        self._at_once = at_once
        self._next = 0

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        if self.trouble:
            raise self.trouble.pop(0)
        if self.silent:
            time.sleep(min(timeout_s, 0.01))
            return [], False
        found = self.log.records[self._next : self._next + self._at_once]
        self._next += len(found)
        if not found:
            time.sleep(min(timeout_s, 0.002))  # as a broker that waits for news
        return found, self._next == len(self.log.records)

    def close(self) -> None:
        self.closed = True
