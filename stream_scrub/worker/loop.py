"""The worker's loop: poll, scrub, emit, commit; and hold when no verdict would be safe.

One thread runs the loop; the follower has its own, and passes the index by one reference. A transaction is one batch,
and one index judges it. Nothing is in flight between two polls, so a partition that is taken away during a poll has no
open transaction: its records are dropped and left to their new owner.
"""

import threading
import time
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field

from stream_scrub import clock
from stream_scrub.clock import Throttle
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
from stream_scrub.kafka.bulk import Fetched
from stream_scrub.kafka.client.options import TRANSACTION_TIMEOUT_MS
from stream_scrub.kafka.client.producer_calls import GRACE_S
from stream_scrub.kafka.session import REOPEN_S, CommitTimes, Session
from stream_scrub.kafka.source import REWIND_S, ProspectSource
from stream_scrub.log import rules_on_log
from stream_scrub.log.follower import Follower
from stream_scrub.model import Deadline, Logger
from stream_scrub.ops import metric_catalogue
from stream_scrub.ops.batch_size import BatchSize
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.ops.daemon import until_answered
from stream_scrub.ops.health import DO
from stream_scrub.ops.log_lines import Limit, RecurringProblem
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.rules import Rulebook
from stream_scrub.worker.outputs import Outputs, Ready
from stream_scrub.worker.partitions import InputTopics, PartitionEvents
from stream_scrub.worker.stale_registers import StaleRegisters

_IDLE_S = 0.1
# Single prospects wait for these, not the whole index.
_PROSPECT_CAUSES = ("register", "hash-key", "registry")
_SLOW_CAUSES = (*_PROSPECT_CAUSES, "no-offsets")
_TURNS_BETWEEN_SLOW_RETRIES = 20  # about 2 s
# Both under transaction.timeout.ms: after that the broker has ended the transaction by itself.
_COMMIT_S = 10.0
_RECOVER_S = 10.0
_OPEN_S = 5.0
_RETRY_S = 1.0
_PREFLIGHT_S = 20.0  # the start asks for the topics, and waits before it asks again
_SLOWEST_S = 50e-6  # a prospect whose every look-up goes to the reference libraries
_SCRUB_S = 2.0  # judging prospects one by one: the rest of the batch is judged with the next one
_NORMAL = 2  # batches in a row that a rebalance may cost
_LOOK_EVERY_S = 1.0
_ASK_S = 1.0
_UNCONFIRMED_S = 60.0
_UNCONFIRMED = "no two brokers agree on who leads these partitions, or their leader does not answer"
_SUMMARY_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much and how long a batch may be, and how old an index."""

    batch_records: int = 10_000
    batch_bytes: int = 8 << 20
    batch_s: float = 0.05
    index_lag_max_s: float = 30.0


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


@dataclass(eq=False)
class WorkerLoop:
    """One worker. `rulebook`: the rules that it judges by."""

    source: ProspectSource
    session: Session
    follower: Follower
    rulebook: Rulebook
    outputs: Outputs
    events: PartitionEvents
    state: WorkerState
    log: Logger
    _: KW_ONLY
    limits: BatchLimits
    watch: ClockWatch
    topics: InputTopics
    _batch: Ready | None = field(default=None, init=False)
    _failure: ScrubError | None = field(default=None, init=False)
    _looking: Throttle = field(default_factory=lambda: Throttle(_LOOK_EVERY_S), init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _summary: Throttle = field(default_factory=lambda: Throttle(_SUMMARY_EVERY_S, at_once=False), init=False)
    _summarised: Counter[str] = field(default_factory=Counter, init=False)
    _reopened: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._size = BatchSize(self.limits.batch_records)
        self._problem = RecurringProblem(self.log, "batch given up, trying again", "batches succeed again")
        self._unconfirmed = RecurringProblem(self.log, "lag may be too low", "lag is confirmed again")
        self._stale = StaleRegisters(self.state, self.log)
        self._slow = Limit("judging-time", self.state.limit_hit, self.log)

    @property
    def transport(self) -> str:
        """How records are taken and emitted: "bulk" by the extension, or "python"."""
        return self.source.transport

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set. Raises TakenOver if another worker has this one's place in the group, and at the
        end Corrupt if the log is corrupt, so that the exit code shows it."""
        state, replaced = self.state, None
        self._wait_for_index(stopping)
        if not stopping.is_set():
            self._check_rules()
        self._open_session(stopping)
        if not stopping.is_set():
            self.source.subscribe()
            state.begins()
        while not stopping.is_set():
            state.beat()
            self._look()
            try:
                self._turn(stopping)
            except TakenOver as error:  # two workers that both continue would evict each other for ever
                replaced = error
                break
            except ScrubError as error:
                self._fail(error)
            self._summarise()
        state.stopping = True
        state.beat()
        self.session.close(Deadline.after(5.0))
        self.source.close()
        self.log.info("stopped", prospects=state.totals["prospects"], **state.verdicts())
        if (ended := self.follower.corrupt or replaced) is not None:
            raise ended

    def _turn(self, stopping: threading.Event) -> None:
        """One turn: (a) a batch, (b) the recovery from a failed one, or (c) a hold."""
        try:
            if self._failure is not None:
                try:  # while batches fail, none of them checks the index: if it grows stale meanwhile, that is a hold too
                    self._usable()
                except StaleIndex as stale:
                    self._hold(stale)
                self._recover(stopping)
            else:
                self._step()
        except StaleIndex as stale:
            self.source.drop()
            self._hold(stale)
            self._wait_for_news(stale, stopping)

    def _wait_for_index(self, stopping: threading.Event) -> None:
        """Wait for the first usable index: partitions assigned earlier would only be idle."""
        self.state.waiting = None
        while not stopping.is_set():
            self.state.beat()
            try:
                self.follower.usable(self.limits.index_lag_max_s)
            except StaleIndex as stale:
                self._hold(stale)
                stopping.wait(_IDLE_S)
            else:
                return

    def _check_rules(self) -> None:
        """Warn about rules whose texts are not on the log: stamps by them could not be replayed. A worker cannot publish
        them, since it may only read the log."""
        if lacking := rules_on_log.lacking(self.follower.rules, self.rulebook):
            self.log.warning(
                "texts of rules in use are not on the log", rules=sorted(lacking), do=rules_on_log.HOW
            )
        self._stale.log_unusable(self.rulebook, self.follower.index)

    def _open_session(self, stopping: threading.Event) -> None:
        """Take over the transactional id before any partition. Raises Refused."""
        until_answered(
            lambda: self.session.open(Deadline.after(_OPEN_S)),
            self.state,
            stopping,
            RecurringProblem(self.log, "session cannot be opened, trying again", "session open"),
            cause="session",
            retry_s=[_RETRY_S],
        )
        if not stopping.is_set():
            self.topics.measure(Deadline.after(_OPEN_S))
            self.watch.first_look()

    def _wait_for_news(self, stale: StaleIndex, stopping: threading.Event) -> None:
        """Stay in the group until something may have changed. If prospects wait for a register, they are read again only
        after a new index, or after a while, since the day may have changed. The same goes for expired offsets."""
        position = self.follower.index.position
        turns = _TURNS_BETWEEN_SLOW_RETRIES if stale.cause in _SLOW_CAUSES else 1
        for _ in range(turns):
            self.source.idle(_IDLE_S)
            self.session.idle()
            self.state.beat()
            if stopping.is_set() or self.follower.index.position != position:
                return

    def _look(self) -> None:
        """About once a second, read what only this thread may ask the clients: membership, lag, and since when the ends
        behind it are confirmed."""
        if not self._looking.is_due():
            return
        self._looked_at = time.monotonic()
        state, waiting = self.state, self.source.waiting
        state.member = self.source.is_member
        label = self.events.label
        state.lags = {label(key): lag for key, lag in self.source.lag().items()}
        state.ends_at = {label(key): at for key, at in self.source.confirmed_at.items()}
        old = [which for which, at in state.ends_at.items() if clock.elapsed() - at > _UNCONFIRMED_S]
        self._unconfirmed.report(f"{_UNCONFIRMED}: {', '.join(old)}" if old else "")
        if (reopened := max(0, self.session.reopened)) > self._reopened:
            state.metrics[metric_catalogue.SESSIONS].inc(reopened - self._reopened)
            self._reopened = reopened
        self.topics.look(Deadline.after(_ASK_S), ask=bool(waiting or state.failures))
        self._stale.look()
        self.events.count_deleted(self.source.first, Deadline.after(_ASK_S))

    def _summarise(self) -> None:
        """Log a line a minute if something was done."""
        state, since_s = self.state, self._summary.age_s
        if not self._summary.is_due():
            return
        since, self._summarised = state.totals - self._summarised, Counter(state.totals)
        if since:
            self.log.info(
                "scrubbed",
                prospects=since["prospects"],
                per_s=round(since["prospects"] / since_s),
                batches=since["batches"],
                aborts=since["aborts"],
                lag=sum(state.lags.values()),
                index=state.position,
                **{verdict: since[verdict] for verdict in state.verdicts()},
            )

    def _step(self) -> None:
        """One batch, from poll to commit."""
        self._usable()
        fetched = self._polled()
        self._begin_partitions()
        if not fetched:
            self.session.idle()
            if self.state.found_nothing(self._looked_at):
                self._problem.end()
            # Such a hold ends when a batch needs no stale register, key or schema any more, not when there is no batch.
            if self.state.holding not in _PROSPECT_CAUSES:
                self._resumed()
            return
        state, started = self.state, time.perf_counter()
        state.beat()
        state.metrics[metric_catalogue.READ].inc(len(fetched))
        known_at = clock.elapsed() - (self.follower.lag_s or 0.0)  # of this index, or of one before it
        index = self._usable()
        until = Deadline.after(_SCRUB_S)

        def enough() -> bool:
            state.beat()
            return until.passed

        ready = self._batch = self.outputs.judge(fetched, index, enough)
        if ready.rest:
            if until.passed:
                self._slow.hit()
            self.source.put_back(ready.rest)
        self._resumed()
        state.beat()
        took = self._emit(ready, index, known_at)
        self._problem.end()
        self.outputs.committed(ready)
        state.emitted(
            ready.batch.tally,
            time.perf_counter() - started,
            took.offsets_s,
            took.commit_s,
            ready.fetched.age_s,
            ready.batch.stale,
        )
        self._stale.blocked(ready.batch.stale)

    def _begin_partitions(self) -> None:
        """Commit the start of new partitions before any of their prospects is emitted. So a partition without a committed
        offset was never begun, or its offset has expired."""
        if begun := self.source.begun:
            self.session.emit((), (), (), (), (), ())
            self.session.commit(begun, self.source.metadata, Deadline.after(_COMMIT_S))
            self.source.has_begun()
        self.source.need_siblings()

    def _polled(self) -> Fetched:
        """The next batch. While we search for a record that an output refuses, the batch is cut."""
        limits = self.limits
        fetched = self.source.poll(self.watch.at_most(self._size.records), limits.batch_bytes, limits.batch_s)
        if (count := self.outputs.together(fetched)) is not None:
            fetched, rest = fetched.parted(count)
            self.source.put_back(rest)
        return fetched

    def _emit(self, ready: Ready, index: Index, known_at: float) -> CommitTimes:
        """Emit and commit. A batch that misses its deadline has too many records for this link."""
        fetched = ready.fetched
        count, begun = len(fetched), time.monotonic()
        try:
            ready.emit(self.session)
            self.state.beat()
            self.state.metrics[metric_catalogue.QUEUE].set(self.session.queued)
            offsets = self.source.offsets(fetched, index.position)
            self.watch.begins()
            took = self.session.commit(
                offsets,
                self.source.metadata,
                Deadline.after(_COMMIT_S),
                lambda: self._need_fresh(index, known_at),
            )
        except (Unavailable, Uncertain):
            self._size.failed(count)
            raise
        self.source.has_committed(offsets)
        self.watch.committed(ready.places)
        self._size.committed(count, time.monotonic() - begun)
        return took

    def _usable(self) -> Index:
        """The index to judge by: never older than one that has judged our partitions before. Raises StaleIndex."""
        index = self.follower.usable(self.limits.index_lag_max_s)
        self.watch.need_right()
        if index.position < self.source.floor:
            raise StaleIndex(
                "log-behind",
                f"another worker has judged by position {self.source.floor}, this one knows position {index.position}",
            )
        return index

    def _need_fresh(self, index: Index, known_at: float) -> None:
        """Raises Migrated if the verdicts are too old to be committed: the transaction is aborted and its prospects are
        judged again, or the worker holds if no index is fresh."""
        try:
            self._usable()
        except StaleIndex as stale:
            raise Migrated(f"the batch is not committed: {stale}") from stale
        age_s = clock.elapsed() - known_at
        if index is not self.follower.index and age_s > self.limits.index_lag_max_s:
            raise Migrated(f"the batch is not committed: it was judged by an index of {age_s:.0f} s ago")

    def _fail(self, error: ScrubError) -> None:
        """The batch was not emitted, or only the broker knows: remember the failure, and recover next."""
        if isinstance(error, Uncertain):
            self.source.rejoin()
        else:
            self.source.drop()
        if isinstance(error, Unwritable) and self._batch is not None:
            self.outputs.failed(self._batch, error)
        self._batch = None
        self.state.gave_up(error)
        self._failure = error
        # During a rebalance the coordinator answers with these errors: no outage yet.
        if isinstance(error, Migrated | Unavailable) and self.state.failures <= _NORMAL:
            self.log.info("batch given up", why=str(error))
        else:
            self._problem.occurred(str(error), failures=self.state.failures)

    def _recover(self, stopping: threading.Event) -> None:
        """Abort the transaction or re-create the producer. If no broker answers, the next turn tries again."""
        assert self._failure is not None, "recovering from something"
        if self.state.failures > 1:
            self.source.idle(min(_RETRY_S, 0.1 * self.state.failures))
        if stopping.is_set():
            return
        reopen = self._failure.reopens or self.state.failures > _NORMAL
        self.session.recover(reopen=reopen, deadline=Deadline.after(_RECOVER_S))
        self._failure = None

    def _hold(self, stale: StaleIndex) -> None:
        if self.state.hold(stale.cause, str(stale)):
            corrupt = self.follower.corrupt
            level = self.log.error if corrupt is not None else self.log.warning
            if stale.cause == "log-behind" and not self.state.begun:
                level = self.log.info  # as at every start
            at = corrupt.offset if corrupt is not None else stale.offset
            level(
                "holding: nothing is emitted",
                cause=stale.cause,
                why=str(stale),
                offset=at,
                do=DO[stale.cause],
            )

    def _resumed(self) -> None:
        if self.state.holding:
            held_s = self.state.resume()
            self.log.info("hold ended", held_s=round(held_s, 1), index=self.follower.index.position)
