"""The opposition log in memory, as honest as a broker: one order, whole transactions or none, offsets that skip."""

import math
import time
from bisect import bisect_left
from collections.abc import Sequence

from stream_scrub import clock
from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.model import Header, LogRecord, family


class Log:
    """What the broker keeps. Every transaction ends with a control record, which takes an offset and is never read.
    `start` is the first offset, for a log whose first records were deleted.
    """

    def __init__(self, start: int = 0) -> None:
        self.records: list[LogRecord] = []
        self.start = start
        self.end = start
        self.open_since: int | None = None

    @classmethod
    def behind_aborted(cls, offsets: int) -> "Log":
        """One before whose first record are so many offsets that nobody reads."""
        made = cls()
        made.skip(offsets)
        return made

    @property
    def readable(self) -> int:
        """The end of what can be read: (a) where the oldest open transaction began, else (b) the log's end."""
        return self.end if self.open_since is None else self.open_since

    def open(self) -> None:
        """Begin a transaction that stays open: from here on nothing can be read, whoever writes it."""
        self.open_since = self.end
        self.skip()

    def abort(self) -> None:
        """End that transaction. What was committed behind it can be read now."""
        self.open_since = None
        self.skip()

    def append(self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> int:
        """One record, without a transaction around it."""
        offset = self.end
        self.records.append(LogRecord(offset, key, value, tuple(headers), int(time.time() * 1000)))
        self.end += 1
        return offset

    def skip(self, offsets: int = 1) -> None:
        """Take offsets that no reader sees: control records, aborted records."""
        self.end += offsets


class Writer:
    """A LogWriter. If `trouble` is set, it is raised before anything is written. One transaction takes `at_most`
    bytes.
    """

    def __init__(self, log: Log, at_most: float = math.inf) -> None:
        self.log = log
        self.at_most = at_most
        self.trouble: list[Exception] = []
        self.closed = False

    def takes(self, nbytes: int) -> bool:
        return nbytes <= self.at_most

    def wait_for_others(self, deadline: object) -> None:
        """Whoever had the register before has no transaction open."""

    def publish(
        self,
        records: Sequence[tuple[bytes, bytes, Sequence[Header]]],
        extras: object = None,
        *,
        after: int = 1 << 62,
    ) -> int:
        if self.trouble:
            self.log.skip(len(records) + 1)  # the aborted ones and the abort marker
            raise self.trouble.pop(0)
        mine = {family(key.decode()) for key, _, _ in records}
        if any(
            each.offset > after and family((each.key or b"").decode()) in mine for each in self.log.records
        ):
            self.log.skip(len(records) + 1)
            raise Unavailable("this register was published by somebody else meanwhile")
        last = -1
        for record in records:
            last = self.log.append(*record)
        self.log.skip()
        return last

    def close(self) -> None:
        self.closed = True


class Reader:
    """A LogReader that gives at most `at_once` records a call. Each call raises one error of `trouble`, while there
    are some. While it is `silent` it gives nothing, and does not know where the end is. `read_offsets` are the
    offsets of every record that it gave.
    """

    def __init__(self, log: Log, at_once: int = 1000) -> None:
        self.log = log
        self.trouble: list[Exception] = []
        self.silent = False
        self.closed = False
        self.leader_epoch = 0
        self.read_offsets: list[int] = []
        self._at_once = at_once
        self._next = log.start
        self._mark: tuple[float, int] | None = None
        self._complete_at: float | None = None

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        if self.trouble:
            raise self.trouble.pop(0)
        if self.silent:
            time.sleep(min(timeout_s, 0.01))
            return [], False
        if self._next < self.log.start:
            raise Corrupt("offsets that were never read are gone")
        since = bisect_left(self.log.records, self._next, key=lambda record: record.offset)
        upto = bisect_left(self.log.records, self.log.readable, key=lambda record: record.offset)
        found = self.log.records[since : min(since + self._at_once, upto)]
        at_end = since + len(found) >= upto
        self._next = self.log.readable if at_end else found[-1].offset + 1
        self.read_offsets += [record.offset for record in found]
        if not found:
            time.sleep(min(timeout_s, 0.002))  # like a broker that waits for news
        return found, at_end

    def seek(self, offset: int) -> None:
        self._next = offset
        self._mark = self._complete_at = None

    def complete_at(self) -> float | None:
        if self._mark is not None and self._next < self._mark[1]:
            return self._complete_at
        if self._mark is not None:
            self._complete_at = self._mark[0]
        self._mark = clock.elapsed(), self.log.end
        if self._next >= self._mark[1]:
            self._complete_at = self._mark[0]
        return self._complete_at

    def bounds(self) -> tuple[int, int]:
        if self.trouble:
            raise self.trouble.pop(0)
        if self.silent:
            raise Unavailable("silent")
        return self.log.start, self.log.readable

    def close(self) -> None:
        self.closed = True
