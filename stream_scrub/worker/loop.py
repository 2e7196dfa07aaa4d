"""The main job: poll, scrub, emit, commit, again and again, and hold when no verdict would be safe.

One thread runs the loop; the follower has its own and hands over by one reference. A transaction is one batch, and a
batch is judged by one index. Nothing is in flight between two polls, so a partition that is taken away during a poll
has no open transaction: its records are dropped and left to their new owner.
"""

import threading
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from stream_scrub import clock
from stream_scrub.errors import (
    Migrated,
    ScrubError,
    StaleIndex,
    TakenOver,
    Unavailable,
    Uncertain,
    Unwritable,
)
from stream_scrub.index import Index
from stream_scrub.kafka.client.bounded_call import GRACE_S
from stream_scrub.kafka.client.options import TRANSACTION_TIMEOUT_MS
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.session import REOPEN_S, CommitTimes, Session
from stream_scrub.kafka.source import REWIND_S, ProspectSource
from stream_scrub.lists.audit import rules_on_log
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import Deadline
from stream_scrub.observability.counters import Counters
from stream_scrub.observability.limits_hit import Limit
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.rules import Rulebook
from stream_scrub.worker.batch_size import BatchLimits, BatchSize
from stream_scrub.worker.clock_watch import ClockWatch
from stream_scrub.worker.deleted_unread import DeletedUnread
from stream_scrub.worker.input_topics import InputTopics
from stream_scrub.worker.minute_summary import MinuteSummary, by_verdict
from stream_scrub.worker.outputs import Outputs, ReadyBatch
from stream_scrub.worker.stale_registers import StaleRegisters

_IDLE_S = 0.1
_LONG_WAITS, _LONG = 20, ("register", "no-offsets")
# Both under transaction.timeout.ms: after that the broker has ended the transaction by itself.
_COMMIT_S = 10.0
_RECOVER_S = 10.0
_OPEN_S = 5.0
_RETRY_S = 1.0
_PREFLIGHT_S = 20.0  # `supervisor` asks for the topics, and waits before it asks again
_SLOWEST_S = 50e-6  # a prospect whose every look-up goes to the reference libraries
_SCRUB_S = 2.0  # judging prospects one by one: the rest of the batch is judged with the next one
_NORMAL = 2  # batches in a row that a rebalance may cost
_LOOK_EVERY_S = 1.0
_ASK_EVERY_S, _ASK_S = 5.0, 1.0


def beat_limit_s(limits: BatchLimits) -> float:
    """The longest time that a loop with these limits may go without a heartbeat: twice its longest step, so that a
    wait that will end is never taken for a loop that hangs. No step waits for a broker longer than its deadline.
    """
    steps = (
        _PREFLIGHT_S,
        REWIND_S + limits.batch_s,
        limits.batch_records * _SLOWEST_S + _SCRUB_S,
        # Emitting may need another session first, and then wait in a full queue until its records time out.
        REOPEN_S + GRACE_S + TRANSACTION_TIMEOUT_MS / 1000,
        _COMMIT_S + GRACE_S,
        _RETRY_S + _RECOVER_S + 2 * GRACE_S,  # an abort that overruns, and then another session
    )
    return 2 * max(steps)


class WorkerLoop:
    """One worker. `run` returns when `stopping` is set; it gives up by itself only when another worker has its place.

    `rulebook` are the rules that it judges by.
    """

    def __init__(
        self,
        source: ProspectSource,
        session: Session,
        follower: Follower,
        rulebook: Rulebook,
        outputs: Outputs,
        counters: Counters,
        log: FilteringBoundLogger,
        *,
        limits: BatchLimits,
        watch: ClockWatch,
        topics: InputTopics,
    ) -> None:
        self._source = source
        self._session = session
        self._follower = follower
        self.rulebook = rulebook
        self._counters = counters
        self._log = log
        self._limits = limits
        self._watch = watch
        self._outputs = outputs
        self._size = BatchSize(limits.batch_records)
        self._batch: ReadyBatch | None = None
        self._topics = topics
        self._failure: ScrubError | None = None
        self._problem = RecurringProblem(log, "batch given up, trying again", "batches fail no more")
        self._looked_at = self._asked_at = self._polled_at = float("-inf")
        self._summary = MinuteSummary(counters, log)
        self._stale = StaleRegisters(counters, log)
        self._deleted = DeletedUnread(source, counters, log)
        self._slow = Limit("judging-time", counters.limits, log)

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set. Raises TakenOver when another worker has this one's place in the group.

        Raises Corrupt if the log was found corrupt, so that the exit code says so.
        """
        counters, replaced = self._counters, None
        self._wait_for_index(stopping)
        if not stopping.is_set():
            self._look_for_rules()
        self._open_session(stopping)
        if not stopping.is_set():
            self._source.subscribe()
            counters.begins()
        while not stopping.is_set():
            counters.beat()
            self._look()
            try:
                self._turn(stopping)
            except TakenOver as error:  # two workers that both go on would throw each other out for ever
                replaced = error
                break
            except ScrubError as error:
                self._fail(error)
            self._summary.tell()
        counters.stopping = True
        counters.beat()
        self._session.close(Deadline.after(5.0))
        self._source.close()
        self._log.info("stopped", prospects=counters.total, **by_verdict(counters))
        if (ended := self._follower.corrupt or replaced) is not None:
            raise ended

    def _turn(self, stopping: threading.Event) -> None:
        """One turn: (a) a batch, (b) recovering from the last one, or (c) holding."""
        try:
            if self._failure is not None:
                self._look_at_index()
                self._recover(stopping)
            else:
                self._step()
        except StaleIndex as stale:
            self._source.drop()
            self._hold(stale)
            self._wait_for_news(stale, stopping)

    def _wait_for_index(self, stopping: threading.Event) -> None:
        """Wait for the first usable index: a partition that is taken before would only lie idle."""
        self._counters.waiting = None
        while not stopping.is_set():
            self._counters.beat()
            try:
                self._follower.usable(self._limits.index_lag_max_s)
            except StaleIndex as stale:
                self._hold(stale)
                stopping.wait(_IDLE_S)
            else:
                return

    def _look_for_rules(self) -> None:
        """Warn about rules whose texts are not on the log: stamps by them could not be replayed. A worker cannot
        publish them itself, since it may only read the log."""
        if lacking := rules_on_log.lacking(self._follower.rules, self.rulebook):
            self._log.warning(
                "texts of rules in use are not on the log", rules=sorted(lacking), do=rules_on_log.HOW
            )
        self._stale.tell_unusable(self.rulebook, self._follower.index)

    def _open_session(self, stopping: threading.Event) -> None:
        """Take over the transactional id before any partition. Raises Refused."""
        problem = RecurringProblem(self._log, "opening the session, trying again", "session open")
        while not stopping.is_set():
            try:
                self._session.open(Deadline.after(_OPEN_S))
            except (Unavailable, Uncertain) as error:
                self._counters.waits("session", str(error))
                problem.tell(str(error))
                stopping.wait(_RETRY_S)
            else:
                self._topics.measure(Deadline.after(_OPEN_S))
                self._watch.first_look()
                problem.end()
                return

    def _wait_for_news(self, stale: StaleIndex, stopping: threading.Event) -> None:
        """Stay in the group until something may have changed. Prospects that wait for a register are read again only
        when the index has changed, or after a while, since the day may have changed. So are offsets that are gone."""
        position = self._follower.index.position
        for _ in range(_LONG_WAITS if stale.cause in _LONG else 1):
            self._source.idle(_IDLE_S)
            self._session.idle()
            self._counters.beat()
            if stopping.is_set() or self._follower.index.position != position:
                return

    def _look(self) -> None:
        """About once a second, read what only this thread may ask the clients: membership and lag. They answer from what
        they have fetched, and may not know a partition's new end while nothing is polled: then the broker is asked, every
        `_ASK_EVERY_S` seconds, for at most `_ASK_S`. So a partition that is not read shows its real lag."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        ask = now - max(self._polled_at, self._asked_at) >= _ASK_EVERY_S
        if ask:
            self._asked_at = now
        self._counters.member = self._source.is_member
        waiting = self._source.waiting
        lags = self._source.lag(Deadline.after(_ASK_S), self._source.partitions if ask else waiting)
        self._counters.lags = {str(*self._source.said([key])): lag for key, lag in lags.items()}
        self._counters.sessions = self._session.reopened
        self._topics.look(Deadline.after(_ASK_S), anew=bool(waiting or self._counters.failures))
        self._stale.look()
        self._deleted.look(Deadline.after(_ASK_S))

    def _look_at_index(self) -> None:
        """While batches fail, no batch checks the index. One that has grown stale meanwhile is a hold all the
        same."""
        try:
            self._usable()
        except StaleIndex as stale:
            self._hold(stale)

    def _step(self) -> None:
        """One batch, from poll to commit."""
        self._usable()
        fetched = self._polled()
        self._begin_partitions()
        if not fetched.messages:
            self._session.idle()
            if self._counters.found_nothing(self._looked_at):
                self._problem.end()
            # A hold for a register ends when a batch needs no stale register any more, not when there is none.
            if self._counters.holding != "register":
                self._resumed()
            return
        self._polled_at = time.monotonic()
        counters, started = self._counters, time.perf_counter()
        counters.beat()
        counters.read += len(fetched.messages)
        known_at = clock.elapsed() - (self._follower.lag_s or 0.0)  # of this index, or of one before it
        index = self._usable()
        ready = self._batch = self._outputs.judge(fetched, index, self._time_is_up())
        if ready.rest.messages:
            self._slow.hit()
            self._source.put_back(ready.rest)
        self._resumed()
        counters.beat()
        took = self._emit(ready, index, known_at)
        self._problem.end()
        self._outputs.committed(ready)
        counters.emitted(
            ready.batch.tally,
            time.perf_counter() - started,
            took.offsets_s,
            took.commit_s,
            ready.fetched.age_s,
            ready.batch.stale,
        )
        self._stale.blocked(ready.batch.stale)

    def _begin_partitions(self) -> None:
        """Commit where partitions begin before anything of them comes out, so that one without a committed offset was
        never begun, or its offset was forgotten."""
        if begun := self._source.begun:
            self._session.emit((), (), (), (), (), ())
            self._session.commit(begun, self._source.metadata, Deadline.after(_COMMIT_S))
            self._source.has_begun()
        self._source.need_siblings()

    def _polled(self) -> Fetched:
        """The next batch. While a record that an output refuses is searched for, only as many records as may go
        together."""
        limits = self._limits
        fetched = self._source.poll(
            self._watch.at_most(self._size.records), limits.batch_bytes, limits.batch_s
        )
        if (count := self._outputs.together(fetched)) is not None:
            fetched, rest = fetched.parted(count)
            self._source.put_back(rest)
        return fetched

    def _time_is_up(self) -> Callable[[], bool]:
        """A function that says, while a batch is judged, whether its time is up."""
        until = Deadline.after(_SCRUB_S)

        def enough() -> bool:
            self._counters.beat()
            return until.passed

        return enough

    def _emit(self, ready: ReadyBatch, index: Index, known_at: float) -> CommitTimes:
        """Emit and commit. A batch that is not committed in time has too many records for this link."""
        fetched, batch = ready.fetched, ready.batch
        count, begun = len(fetched.messages), time.monotonic()
        try:
            self._session.emit(
                ready.records, fetched.partitions, ready.headers, ready.topics(), batch.values, batch.stamps
            )
            self._counters.beat()
            self._counters.queued = self._session.queued
            offsets = self._source.offsets(fetched, index.position)
            self._watch.begins()
            took = self._session.commit(
                offsets,
                self._source.metadata,
                Deadline.after(_COMMIT_S),
                lambda: self._need_fresh(index, known_at),
            )
        except (Unavailable, Uncertain):
            self._size.failed(count)
            raise
        self._source.has_committed(offsets)
        self._watch.committed(ready.places)
        self._size.committed(count, time.monotonic() - begun)
        return took

    def _usable(self) -> Index:
        """The index to judge by: never older than an index by which our partitions were judged before. Raises
        StaleIndex."""
        index = self._follower.usable(self._limits.index_lag_max_s)
        self._watch.need_right()
        if index.position < self._source.floor:
            raise StaleIndex(
                "log-behind",
                f"another worker has judged by position {self._source.floor}, this one knows position {index.position}",
            )
        return index

    def _need_fresh(self, index: Index, known_at: float) -> None:
        """A verdict must still be good when it is committed, however long the batch took. Otherwise raises Migrated:
        the transaction is aborted and its prospects are judged again, or the worker holds where no index is fresh.
        """
        try:
            self._usable()
        except StaleIndex as stale:
            raise Migrated(f"the batch is not committed: {stale}") from stale
        age_s = clock.elapsed() - known_at
        if index is not self._follower.index and age_s > self._limits.index_lag_max_s:
            raise Migrated(f"the batch is not committed: it was judged by an index of {age_s:.0f} s ago")

    def _fail(self, error: ScrubError) -> None:
        """Nothing of the batch was or will be emitted (or only the broker knows): remember the failure, and recover
        next."""
        self._source.drop()
        if isinstance(error, Unwritable) and self._batch is not None:
            self._outputs.failed(self._batch, error)
        self._batch = None
        self._counters.gave_up(error)
        self._failure = error
        # During a rebalance the coordinator answers with such errors: that is no outage yet.
        if isinstance(error, Migrated | Unavailable) and self._counters.failures <= _NORMAL:
            self._log.info("batch given up", why=str(error))
        else:
            self._problem.tell(str(error), failures=self._counters.failures)

    def _recover(self, stopping: threading.Event) -> None:
        """Abort the transaction or re-create the producer. While the broker cannot be asked, try again on the next
        turn."""
        assert self._failure is not None, "recovering from something"
        if self._counters.failures > 1:
            self._source.idle(min(_RETRY_S, 0.1 * self._counters.failures))
        if stopping.is_set():
            return
        # A record that was refused leaves a gap in the sequence, by which the producer's next transaction would fail.
        reopen = not isinstance(self._failure, Migrated) or isinstance(self._failure, Unwritable)
        reopen = reopen or self._counters.failures > _NORMAL
        self._session.recover(reopen=reopen, deadline=Deadline.after(_RECOVER_S))
        self._failure = None

    def _hold(self, stale: StaleIndex) -> None:
        if self._counters.hold(stale.cause, str(stale)):
            corrupt = self._follower.corrupt
            level = self._log.error if corrupt is not None else self._log.warning
            if stale.cause == "log-behind" and self._follower.lag_s is None:
                level = self._log.info  # every start begins so
            at = corrupt.offset if corrupt is not None else stale.offset
            level("holding: nothing is emitted", cause=stale.cause, why=str(stale), offset=at)

    def _resumed(self) -> None:
        if self._counters.holding:
            held_s = self._counters.resume()
            self._log.info("hold ended", held_s=round(held_s, 1), index=self._follower.index.position)
