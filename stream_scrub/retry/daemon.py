"""`retry --follow`: waits until the registers that blocked prospects needed can be used again, and then brings these
back.

One thread; the follower of the log has its own. A prospect goes back only if its verdict would be another one now, and
not before some seconds are over, so that every worker knows the register as well.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, ScrubError, StaleIndex, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import Reason
from stream_scrub.observability import http_server, logs
from stream_scrub.observability.collect import RetryCollector
from stream_scrub.observability.counters import RetryCounters
from stream_scrub.observability.metric_catalogue import Side, register_label
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.observability.unusable_registers import unusable
from stream_scrub.retry.once import RetryQuestion
from stream_scrub.retry.parcels import Parcel, kind_of, verdict_kind
from stream_scrub.retry.resend import Resend, RetryOrder, Tally, opened
from stream_scrub.wiring import clients, following, preflight, process_family, scrubbing

BEAT_LIMIT_S = 120.0  # twice its longest step: a session that is opened, and a commit
_IDLE_S = 0.2
_RETRY_S = 1.0
_SETTLED_S = 5.0  # from a block to its retry: workers hear of a register within a second
_ANEW_S = 300.0  # so often partitions that were added are found, and its place is committed again
_TELL_EVERY_S = 60.0


def run(settings: Settings, question: RetryQuestion) -> int:
    """Bring back until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    collector = RetryCollector(
        settings.worker.id,
        RetryCounters(),
        limit_s=BEAT_LIMIT_S,
        index_lag_max_s=settings.rules.index_lag_max_s,
    )
    try:
        with http_server.serving(settings.http, Side.RETRY, lambda: [collector()], log):
            RetryDaemon(settings, question, collector, log).run(stopping)
    except ScrubError as error:
        log.error("cannot retry", why=str(error))
        return 1
    return 0


class RetryDaemon:
    """One daemon. `run` returns when `stopping` is set. Raises Refused when it may not work."""

    def __init__(
        self,
        settings: Settings,
        question: RetryQuestion,
        collector: RetryCollector,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._question = question
        self._collector = collector
        self._counters = collector.counters
        self._log = log
        self._scrubber = scrubbing.scrubber(settings, hold=False)
        self._index: Index | None = None
        self._stopping = threading.Event()
        self._kinds: frozenset[str] = frozenset()
        self._begun_at = float("-inf")
        self._problem = RecurringProblem(log, "retrying failed, trying again", "retrying goes on")
        self._sent: Counter[str] = Counter()
        self._told_at = time.monotonic()

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set."""
        self._stopping = stopping
        self._prepare()
        if stopping.is_set():
            return
        follower = following.counted(
            self._settings,
            self._counters,
            self._log,
            lambda: clients.client_log(self._settings, self._log, "follower"),
        )
        self._collector.attach(follower, self._scrubber.rulebook)
        follower.start()
        try:
            self._work(follower)
        finally:
            follower.stop()
            self._counters.stopping = True
            self._log.info("stopped")

    def _prepare(self) -> None:
        """Wait for the brokers. Raises Refused for a right that is missing."""
        while not self._stopping.is_set():
            try:
                with clients.topics(self._settings, self._log) as there:
                    preflight.need(there, self._settings, "retry")
            except Unavailable as error:
                self._counters.waits("broker", str(error))
                self._problem.tell(str(error))
                self._stopping.wait(_RETRY_S)
            else:
                return

    def _work(self, follower: Follower) -> None:
        resend: Resend | None = None
        self._log.info(
            "retrying", topic=str(self._settings.topics.inputs), group=clients.retry_group(self._settings)
        )
        while not self._stopping.is_set():
            self._counters.beat()
            try:
                if resend is not None and self._may_have_new_topics():
                    resend.close()
                    resend = None
                resend = resend or self._resend()
                self._index = follower.usable(self._settings.rules.index_lag_max_s)
                self._turn(resend)
            except StaleIndex:
                self._counters.waiting = None  # the collector says what the index waits for
                self._stopping.wait(_IDLE_S)
            except (Migrated, Unavailable, Uncertain) as error:
                self._failed(error)
                if resend is not None:
                    resend.close()
                resend = None
            self._tell()
        if resend is not None:
            resend.close()

    def _may_have_new_topics(self) -> bool:
        is_due = time.monotonic() - self._begun_at >= _ANEW_S
        return is_due and self._settings.topics.inputs.pattern is not None

    def _failed(self, error: ScrubError) -> None:
        self._counters.gave_up(error)
        self._problem.tell(str(error), failures=self._counters.failures)
        self._begun_at = float("-inf")
        self._stopping.wait(_RETRY_S)

    def _turn(self, resend: Resend) -> None:
        """One batch, of the registers that can be used now."""
        order = self._order()
        if time.monotonic() - self._begun_at >= _ANEW_S:
            resend.start(order)
            resend.keep(order)
            self._begun_at = time.monotonic()
            self._kinds = order.kinds
            self._counters.begins()
        elif order.kinds != self._kinds:
            resend.seek(order.kinds)
            self._kinds = order.kinds
        tally = Tally()
        if order.kinds:
            resend.step(order, tally)
        else:
            self._stopping.wait(_IDLE_S)
        self._problem.end()
        self._counters.failures = 0
        for (kind, outcome), count in tally.counts.items():
            self._counters.retried(register_label(kind.partition(".")[2]), outcome, count)
            self._sent[kind] += count if outcome == "sent" else 0

    def _order(self) -> RetryOrder:
        assert self._index is not None, "there is an index to judge by"
        rulebook = self._scrubber.rulebook
        cannot = {each.register for each in unusable(rulebook, self._index, datetime.now(UTC))}
        usable = [name for name in sorted(rulebook.registers) if name not in cannot]
        return RetryOrder(
            frozenset(kind_of(Reason.STALE_REGISTER, [name]) for name in usable),
            since=self._question.since or 0.0,
            max_tries=self._question.max_tries,
        )

    def _resend(self) -> Resend:
        begin: Callable[[int, int], int] = (
            (lambda _low, end: end) if self._question.since is None else (lambda low, _end: low)
        )
        return opened(
            self._settings,
            self._log,
            self._scrubber.terms.members,
            sends=True,
            is_to_go=self._is_to_go,
            before=self._settle,
            begin=begin,
        )

    def _is_to_go(self, parcel: Parcel) -> str:
        """A verdict that would be the same is left: an area that a list does not cover, say."""
        assert self._index is not None, "there is an index to judge by"
        kind = verdict_kind(self._scrubber, parcel, self._index, datetime.now(UTC))
        return "unchanged" if kind == parcel.kind else ""

    def _settle(self, going: list[Parcel]) -> None:
        """Wait until the youngest of them was blocked some seconds ago. Raises Unavailable when told to stop."""
        youngest = max(each.blocked_at for each in going)
        wait_s = min(_SETTLED_S, youngest + _SETTLED_S - time.time())
        if wait_s > 0 and self._stopping.wait(wait_s):
            raise Unavailable("it was told to stop")

    def _tell(self) -> None:
        """What went back, once a minute."""
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            if self._sent:
                self._log.info("brought back", prospects=dict(self._sent))
                self._sent.clear()
