"""Steps 4 and 6 of a delta's life: follow the log, have each sealed delta applied (`replay.py`), swap the reference.

`Follower` runs a `Replay` in a thread beside a worker and answers the one question that the hot path asks: which
index may I use now?
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress

from stream_scrub import clock
from stream_scrub.errors import Corrupt, ScrubError, StaleIndex, TooMany
from stream_scrub.index import Index
from stream_scrub.lists.capacity import Capacity
from stream_scrub.lists.log.ledger import LogMark
from stream_scrub.lists.log.parts import SET_ASIDE_BY
from stream_scrub.lists.log.replay import LogRules, Replay
from stream_scrub.lists.log.scan import skip_unwanted
from stream_scrub.lists.log.snapshot_writer import SnapshotWriter
from stream_scrub.lists.log.start_point import StartPoint, begin
from stream_scrub.lists.log.yielding import CooperativeYield, StallMonitor
from stream_scrub.model import Deadline, LogReader, LogRecord

_RETRY_S = 0.5
_BEGIN_S = 15.0
_LOOK_AGAIN_S = 15.0  # whether the log has become small enough


class Follower:
    """Follows the log in a thread of its own. `usable` never blocks; `index` is replaced, never changed, and `sealed_ms`
    is when Kafka says that its last seal was written (milliseconds since 1970; None when it came from a snapshot).

    It begins with the snapshot that `snapshots` has, else where `start` says. `open_log` connects to the log.
    It holds at most `max_numbers` (`lists/capacity.py`). A delta that gives more is not applied, nor is what follows it,
    until the log states that its register begins behind that delta.

    It calls (a) `on_swap(index, seconds, stall_s)` for each new index, with how long the applying took and for how long
    at a time it kept other threads from running; (b) `on_trouble(text)` for each new reason why the log cannot be
    followed; (c) `on_end()` each time that it has read the log to its end.
    """

    def __init__(
        self,
        open_log: Callable[[], LogReader],
        *,
        start: StartPoint = "latest-full",
        snapshots: SnapshotWriter | None = None,
        max_numbers: float = math.inf,
        on_swap: Callable[[Index, float, float], None] = lambda _index, _s, _stall_s: None,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_log = open_log
        self._start = start
        self._snapshots = snapshots
        self._max_numbers = max_numbers
        self._on_swap = on_swap
        self._on_trouble = on_trouble
        self._on_end = on_end
        self._replay = Replay()
        self._stopping = threading.Event()
        self._started = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._kept = -1
        self._confirmed_at: float | None = None
        self._read_at: float | None = None
        # Parts and their seal are one transaction: they can be read together or not at all. So if parts can be read
        # and their seal cannot, either a seal was lost, or somebody wrote who is no publisher.
        self._unsealed: int | None = None
        self._mark: LogMark | None = None
        self.index = Index.empty()
        self.sealed_ms: int | None = None
        self.corrupt: Corrupt | None = None
        self.too_many: TooMany | None = None
        self.trouble = ""

    def start(self) -> None:
        """Begin to follow."""
        self._started = True
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; waits for it at most `timeout_s`, and then for the snapshot of what it knew last."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._snapshots is not None:
            self._snapshots.stop()

    @property
    def lag_s(self) -> float | None:
        """Seconds since the moment of which this follower knows all that was on the log; None before the first one.
        It grows while a transaction is open on the log: nobody can read what is committed behind that."""
        return None if self._confirmed_at is None else clock.elapsed() - self._confirmed_at

    @property
    def rules(self) -> LogRules:
        """The rules on the log as far as it was read, by their digests."""
        return self._replay.rules

    def usable(self, index_lag_max_s: float) -> Index:
        """The index to judge by now. Raises StaleIndex, with a cause and a sentence, when none is safe."""
        self._need_log()
        if self._started and not self._thread.is_alive():
            raise RuntimeError("the follower's thread has ended: a fault of ours, see the line above")
        lag = self.lag_s
        if lag is None or lag > index_lag_max_s:
            if self.trouble:
                raise StaleIndex("log-unreachable", f"the opposition log cannot be followed: {self.trouble}")
            if self._read_at is not None and clock.elapsed() - self._read_at <= index_lag_max_s:
                raise StaleIndex("log-open", _open_for(lag))
            if lag is None:
                raise StaleIndex("log-behind", "the opposition log is being read for the first time")
            raise StaleIndex("log-behind", f"the opposition log's end was last reached {lag:.0f} s ago")
        if self._unsealed is not None:
            raise StaleIndex(
                "log-unsealed",
                f"log offset {self._unsealed}: parts of a delta without its seal; {SET_ASIDE_BY}",
                self._unsealed,
            )
        index = self.index
        if not index.registers:  # there may be rules already
            raise StaleIndex(
                "no-seal", "the opposition log holds no list yet: import one with `stream-scrub lists import`"
            )
        return index

    def _need_log(self) -> None:
        if self.corrupt is not None:
            raise StaleIndex("log-corrupt", f"the opposition log is corrupt: {self.corrupt}")
        if self.too_many is not None:
            raise StaleIndex("too-many-numbers", str(self.too_many))
        if self._mark is not None:
            raise self._mark.stale()

    def _run(self) -> None:
        reader: LogReader | None = None
        begun = False
        while not self._stopping.is_set():
            try:
                if reader is None:
                    reader = self._open_log()
                if not begun:
                    self._begin(reader)
                    begun = True
                if self.too_many is not None and not self._is_smaller(reader):
                    self._stopping.wait(_LOOK_AGAIN_S)
                    continue
                self._step(reader)
            except Corrupt as error:
                self.corrupt = error
                self._report(str(error))
                break
            except TooMany as error:
                self.too_many = error
                self._report(str(error))
            except (
                ScrubError
            ) as error:  # whatever the client says meanwhile, the log is still there: ask again
                self._report(str(error))
                self._stopping.wait(_RETRY_S)
        if reader is not None:
            with suppress(ScrubError):
                reader.close()

    def _begin(self, reader: LogReader) -> None:
        deadline = Deadline.after(_BEGIN_S)
        started = time.perf_counter()
        kept = None if self._snapshots is None else self._snapshots.begin(reader, deadline)
        self._replay = kept or begin(reader, deadline, start=self._start)
        self._replay.capacity = Capacity(self._max_numbers)
        if kept is not None:
            self.index = kept.index
            self._on_swap(kept.index, time.perf_counter() - started, 0.0)

    def _is_smaller(self, reader: LogReader) -> bool:
        """Whether registers were stated anew since the log became too large; if so, begin again from there."""
        again = begin(reader, Deadline.after(_BEGIN_S), start=self._start)
        if not again.begins_behind(self._replay):
            return False
        again.capacity = Capacity(self._max_numbers)
        self._replay, self.too_many = again, None
        return True

    def _step(self, reader: LogReader) -> None:
        asked_at = clock.elapsed()
        records, at_end = reader.read(0.1)
        if records:
            self._take(records)
            skip_unwanted(reader, self._replay, records[-1].offset + 1)
        if at_end:
            self._unsealed = self._replay.unsealed
            self._keep()
            self._confirmed_at = reader.complete_at() or self._confirmed_at
            self._read_at = asked_at
            self.trouble = ""
            self._on_end()

    def _take(self, records: list[LogRecord]) -> None:
        """Swap in the index that each seal gives. A worker that has an index already gets its turns in between."""
        in_use = self._confirmed_at is not None
        if in_use:
            self._replay.pause = CooperativeYield().pause
        with StallMonitor() if in_use else nullcontext() as watch:
            started = time.perf_counter()
            for record in records:
                index = self._replay.take(record)
                if index is not None:
                    self._mark = self._replay.known("").log.mark
                    self.index, self.sealed_ms = index, record.timestamp_ms
                    now = time.perf_counter()
                    self._on_swap(index, now - started, watch.longest_s() if watch is not None else 0.0)
                    started = now

    def _keep(self) -> None:
        if self._snapshots is None or self.index.position == self._kept:
            return
        state = self._replay.state
        if state is not None:
            self._kept = self.index.position
            self._snapshots.offer(state)

    def _report(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._on_trouble(text)


def _open_for(lag: float | None) -> str:
    since = (
        "is open on the opposition log"
        if lag is None
        else f"has been open on the opposition log for {lag:.0f} s"
    )
    return (
        f"a transaction {since}, and nothing that was committed behind it can be read: a very large import, a"
        " publisher that was killed, or one that hangs (see docs/operator.md, An open transaction)"
    )
