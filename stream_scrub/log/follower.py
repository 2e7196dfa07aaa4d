"""Steps 4 and 6 of a delta's life: follow the log, apply each sealed delta (`replay.py`), swap the index.

`Follower` runs a `Replay` in a thread of the worker and answers the one question of the hot path: which index may be
used now?
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Self

from stream_scrub import clock
from stream_scrub.errors import Corrupt, ScrubError, StaleIndex, TooMany
from stream_scrub.index import Index
from stream_scrub.index.capacity import Capacity
from stream_scrub.log.apply import LogRules
from stream_scrub.log.ledger import LogMark
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, check_known, skip_unwanted
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import Deadline, IndexGuard, LogReader, LogRecord

_RETRY_S = 0.5
_SILENCE_S = 15.0  # for the next record: a fetch of 1 MB comes at 70 kB/s
_LOOK_AGAIN_S = 15.0  # whether the log has become small enough
_TURN_S = 0.001
_ASIDE_MAX_S = 0.01
_TICK_S = 0.001


class Follower:
    """Follows the log in a thread of its own. `usable` never blocks. `index` is replaced, never changed.

    Its `guards` are asked for every index, and run from the first read of the log on.
    It begins at the snapshot in `snapshots`, else at the registers' latest full sets. It holds at most `max_numbers` (`index/capacity.py`): at a
    delta that gives more it stops until the log states that the delta's register begins after it.
    """

    # on_swap(index, seconds, stall_s): a new index, how long it took, and the longest stall of other threads meanwhile
    # on_trouble(text): a new reason why the log cannot be followed
    # on_read(offset, end): so far the first reading is, and the log's end when it began
    # on_end(): the log was read to its end

    def __init__(
        self,
        open_log: Callable[[], LogReader],
        *,
        snapshots: SnapshotWriter | None = None,
        guards: Sequence[IndexGuard] = (),
        max_numbers: float = math.inf,
        on_swap: Callable[[Index, float, float], None] = lambda _index, _s, _stall_s: None,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_read: Callable[[int, int], None] = lambda _offset, _end: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_log = open_log
        self._snapshots = snapshots
        self._guards = guards
        self._max_numbers = max_numbers
        self._on_swap = on_swap
        self._on_trouble = on_trouble
        self._on_read = on_read
        self._on_end = on_end
        self._replay = Replay()
        self._stopping = threading.Event()
        self._started = self._guarding = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._kept = -1
        self._read_upto = self._first_end = 0
        self._begun = False
        # Whether the brokers were away, or another one leads the log: then records that were read may be lost.
        self._doubts = False
        self._leader_epoch = -1
        self._suspect: Corrupt | None = None
        self._confirmed_at: float | None = None
        self._read_at: float | None = None
        # Parts and their seal are one transaction. If parts can be read and their seal cannot, (a) another
        # transaction is still open between them, or (b) a seal was lost, or something else wrote to the log.
        self._unsealed: int | None = None
        self._mark: LogMark | None = None
        self.index = Index.empty()
        # Kafka's timestamp of the last seal (milliseconds since 1970); None while the index is a snapshot's.
        self.sealed_ms: int | None = None
        self.corrupt: Corrupt | None = None
        self.too_many: TooMany | None = None
        self.trouble = ""

    def start(self) -> None:
        """Start the thread."""
        self._started = True
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread, within `timeout_s`, and write a last snapshot."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._snapshots is not None:
            self._snapshots.stop()
        if self._guarding:
            for guard in self._guards:
                guard.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def lag_s(self) -> float | None:
        """Seconds since this follower last knew everything on the log; None before that. It grows while a transaction is
        open on the log: records committed after it cannot be read."""
        return None if self._confirmed_at is None else clock.elapsed() - self._confirmed_at

    @property
    def rules(self) -> LogRules:
        """The rules on the log as far as it was read."""
        return self._replay.rules

    def usable(self, index_lag_max_s: float) -> Index:
        """The index to use now. Raises StaleIndex, with a cause and a sentence, if no index is safe."""
        self._need_log()
        if self._started and not self._thread.is_alive():
            raise RuntimeError(
                "the follower's thread has ended: a bug of stream_scrub, see the log line above"
            )
        confirmed_at = self._confirmed_at
        lag = None if confirmed_at is None else clock.elapsed() - confirmed_at
        if confirmed_at is None or lag is None or lag > index_lag_max_s:
            if self.trouble:
                raise StaleIndex("log-unreachable", f"the opposition log cannot be followed: {self.trouble}")
            if self._read_at is not None and clock.elapsed() - self._read_at <= index_lag_max_s:
                raise StaleIndex("log-open", _open_for(lag))
            if lag is None:
                raise StaleIndex(
                    "log-behind",
                    f"the opposition log is being read for the first time: offset {self._read_upto} of {self._first_end}",
                )
            raise StaleIndex("log-behind", f"the opposition log's end was last reached {lag:.0f} s ago")
        if self._unsealed is not None:
            raise StaleIndex(
                "log-unsealed",
                f"log offset {self._unsealed}: parts of a delta without its seal; if this lasts: `stream-scrub lists verify`",
                self._unsealed,
            )
        index = self.index
        if not index.registers:  # there may be rules already
            raise StaleIndex(
                "no-seal", "the opposition log holds no list yet: import one with `stream-scrub lists import`"
            )
        for guard in self._guards:
            guard.need(index.position, confirmed_at)
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
        while not self._stopping.is_set():
            try:
                if reader is None:
                    reader = self._open_log()
                self._prepare(reader)
                if self.too_many is not None and not self._is_smaller(reader):
                    self._stopping.wait(_LOOK_AGAIN_S)
                    continue
                self._step(reader)
            except Corrupt as error:
                if self._begun and self._suspect is None:
                    self._suspect = error  # the log may have been replaced: its records do not fit the ones that were read
                    continue
                self.corrupt = error
                self._report(str(error))
                break
            except TooMany as error:
                self.too_many = error
                self._report(str(error))
            except ScrubError as error:  # the log is still there: ask again
                self._doubts = True
                self._report(str(error))
                self._stopping.wait(_RETRY_S)
        if reader is not None:
            with suppress(ScrubError):
                reader.close()

    def _prepare(self, reader: LogReader) -> None:
        """Begin, or after an outage find out whether the log is still the one that was read. Raises Corrupt if it is, and does
        not fit."""
        if not self._begun:
            self._begin(reader)
            self._begun = True
        elif (
            (self._doubts or self._suspect is not None)
            and not self._has_lost(reader)
            and self._suspect is not None
        ):
            raise self._suspect
        self._doubts, self._suspect = False, None

    def _begin(self, reader: LogReader) -> None:
        deadline = Deadline.after(_SILENCE_S)
        started = time.perf_counter()
        _, self._first_end = reader.bounds()
        self._leader_epoch = reader.leader_epoch
        kept = None if self._snapshots is None else self._snapshots.begin(reader, deadline)
        self._replay = kept or begin(reader, deadline)
        self._replay.terms.capacity = Capacity(self._max_numbers)
        if kept is not None:
            self.index = kept.index
            self._on_swap(kept.index, time.perf_counter() - started, 0.0)

    def _has_lost(self, reader: LogReader) -> bool:
        """Whether the log lost records that were read; then it is read again."""
        deadline = Deadline.after(_SILENCE_S)
        try:
            check_known(reader, self._replay, deadline)
        except ValueError as lost:
            self._report(f"the log lost records that were read, and is read again: {lost}")
            self.index, self.sealed_ms, self._kept = Index.empty(), None, -1
            self._confirmed_at = self._unsealed = self._mark = self.too_many = None
            self._replay = begin(reader, deadline)
            self._replay.terms.capacity = Capacity(self._max_numbers)
            return True
        return False

    def _is_smaller(self, reader: LogReader) -> bool:
        """Whether registers were restated since the log became too large; if so, begin again there."""
        again = begin(reader, Deadline.after(_SILENCE_S))
        if not again.begins_behind(self._replay):
            return False
        again.terms.capacity = Capacity(self._max_numbers)
        self._replay, self.too_many = again, None
        return True

    def _step(self, reader: LogReader) -> None:
        # What follows is true of the moment before the question: silence is not "no news", a confirmed end is.
        asked_at = clock.elapsed()
        records, at_end = reader.read(0.1)
        if not self._guarding:
            # Not before: their view of a log that was deleted meanwhile says nothing about this one.
            self._guarding = True
            for guard in self._guards:
                guard.start()
        if records:
            self._take(records)
            if self._confirmed_at is None:
                self._on_read(self._read_upto, self._first_end)
            skip_unwanted(reader, self._replay, records[-1].offset + 1)
        if not at_end:
            return
        complete_at = reader.complete_at()
        if reader.leader_epoch != self._leader_epoch:
            self._leader_epoch, self._doubts = reader.leader_epoch, True
        else:
            self._unsealed = self._replay.unsealed
            # Not before the end: a file scrubbed by this snapshot would allow people whose opt-outs come later.
            is_new = self.index.position != self._kept
            if self._snapshots is not None and is_new and (state := self._replay.state) is not None:
                self._kept = self.index.position
                self._snapshots.offer(state)
            self._confirmed_at = complete_at or self._confirmed_at
            self._read_at = asked_at
            self.trouble = ""
            self._on_end()

    def _take(self, records: list[LogRecord]) -> None:
        """Swap in the index of each seal. A worker that has an index already runs in between."""
        in_use = self._confirmed_at is not None
        if in_use:
            self._replay.terms.pause = CooperativeYield().pause
        with StallMonitor() if in_use else nullcontext() as watch:
            started = time.perf_counter()
            for record in records:
                is_seal = self._replay.take(record) is not None
                self._read_upto = record.offset
                if is_seal:
                    self._mark = self._replay.known("").log.mark
                    self.index, self.sealed_ms = self._replay.index, record.timestamp_ms
                    now = time.perf_counter()
                    self._on_swap(self.index, now - started, watch.longest_s() if watch is not None else 0.0)
                    started = now

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


class CooperativeYield:
    """Gives the hot path its turns while a delta is applied. `pause` may be called at any time; it sleeps if a turn is over.

    Only one thread runs Python at a time, and a thread that computes gives way after 5 ms. But the hot path asks again
    after every call that releases the interpreter, and a commit makes such a call for each record (the client's delivery
    reports). Next to a thread that computes for 300 ms a commit of 10 ms would take 300 ms. So after each piece of work
    the applying thread sleeps for as long as that piece took.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since = clock()

    def pause(self) -> None:
        """Sleep for as long as the turn took, if it took long enough to be felt."""
        took_s = self._clock() - self._since
        if took_s >= _TURN_S:
            self._sleep(min(took_s, _ASIDE_MAX_S))
            self._since = self._clock()


class StallMonitor:
    """Measures, while it is entered, how long a thread that wants to run every millisecond is kept from running.

    An upper bound for what the hot path feels of the applying thread: the measuring thread also waits for the hot path
    and for the rest of the machine.
    """

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._over = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            asleep_at = time.perf_counter()
            time.sleep(_TICK_S)
            self._longest_s = max(self._longest_s, time.perf_counter() - asleep_at - _TICK_S)

    def longest_s(self) -> float:
        """The longest stall since the last call."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s
