"""`retry --follow`: waits until the registers that blocked prospects needed can be used again, and then sends these back.

One thread; the follower of the log has its own. A prospect goes back only if its verdict would be another one now, and
only after some seconds, so that every worker knows the register too.
"""

import time
from collections import Counter
from datetime import UTC, datetime

from stream_scrub.clock import Throttle
from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.model import Reason
from stream_scrub.ops import following, preflight
from stream_scrub.ops.daemon import Daemon, Process, judge_until_stopped
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import RetryState
from stream_scrub.ops.metric_catalogue import register_label
from stream_scrub.registry.records import records, warn_if_away
from stream_scrub.retry.blocked import BlockedProspect, kind_of, verdict_kind
from stream_scrub.retry.once import RetryQuestion
from stream_scrub.retry.resend import Resend, RetryOptions, RetryTally, opened
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.plans import unusable

BEAT_LIMIT_S = 120.0  # twice its longest step: a session that is opened, and a commit
_IDLE_S = 0.2
_SETTLED_S = 5.0  # from a block to its retry: workers learn of a register within a second
_REFRESH_S = 300.0  # how often it looks for added partitions, and commits its place again
_SUMMARY_EVERY_S = 60.0


def run(settings: Settings, question: RetryQuestion) -> int:
    """Retry until SIGTERM or SIGINT; returns the exit code."""
    return Daemon(
        settings, RetryState, lambda process: RetryDaemon(process, question).run(), BEAT_LIMIT_S
    ).run()


class RetryDaemon:
    """One daemon. `run` returns when `process.stopping` is set. Raises Refused for a missing right."""

    def __init__(self, process: Process[RetryState], question: RetryQuestion) -> None:
        self._process = process
        self._settings, self._state, self._log = process.settings, process.state, process.log
        self._brokers = clients.Brokers(self._settings, self._log)
        self._question = question
        self._scrubber = scrubbing.scrubber(process.settings, hold=False)
        self._records = records(process.settings, self._scrubber.terms.members, self._log)
        warn_if_away(process.settings, self._log)
        self._resend: Resend | None = None
        self._index = Index.empty()
        self._kinds: frozenset[str] = frozenset()
        self._refresh = Throttle(_REFRESH_S)
        self._sent: Counter[str] = Counter()
        self._summary = Throttle(_SUMMARY_EVERY_S, at_once=False)

    def run(self) -> None:
        """Work until `process.stopping` is set."""
        self._process.wait_for_brokers(self._check_rights)
        if self._process.stopping.is_set():
            return
        follower = following.counted(self._brokers, self._state)
        self._state.attach(follower, self._scrubber.rulebook)
        self._log.info(
            "retrying",
            topic=str(self._settings.topics.inputs),
            group=clients.side_group(self._settings, "retry"),
        )
        problem = RecurringProblem(self._log, "retrying failed, trying again", "retrying continues")
        with follower:
            judge_until_stopped(self._process, follower, self._turn, self._close, problem)
        self._close()
        self._log.info("stopped")

    def _check_rights(self) -> None:
        with self._brokers.topics() as there:
            preflight.need(there, self._brokers, "retry")

    def _close(self) -> None:
        if self._resend is not None:
            self._resend.close()
        self._resend = None

    def _turn(self, index: Index) -> None:
        """One batch, for the registers that can be used now."""
        self._index = index
        options = self._options()
        refresh = self._resend is None or self._refresh.age_s >= _REFRESH_S
        if refresh and self._settings.topics.inputs.pattern is not None:
            self._close()  # there may be new topics
        if self._resend is None:
            self._resend = self._opened()
        if refresh:
            self._resend.start(options)
            self._resend.keep(options)
            self._refresh.restart()
            self._state.begins()
        elif options.kinds != self._kinds:
            self._resend.seek(options.kinds)
        self._kinds = options.kinds
        tally = RetryTally()
        if options.kinds:
            self._resend.step(options, tally)
        else:
            self._process.stopping.wait(_IDLE_S)
        self._state.failures = 0
        for (kind, outcome), count in tally.items():
            self._state.retried(register_label(kind.partition(".")[2]), outcome, count)
            self._sent[kind] += count if outcome == "sent" else 0
        if self._summary.is_due() and self._sent:
            self._log.info("sent back", prospects=dict(self._sent))
            self._sent.clear()

    def _options(self) -> RetryOptions:
        rulebook = self._scrubber.rulebook
        cannot = {each.register for each in unusable(rulebook, self._index, datetime.now(UTC))}
        usable = [name for name in sorted(rulebook.registers) if name not in cannot]
        return RetryOptions(
            frozenset(kind_of(Reason.STALE_REGISTER, [name]) for name in usable),
            since=self._question.since or 0.0,
            max_tries=self._question.max_tries,
        )

    def _opened(self) -> Resend:
        at_end = self._question.since is None
        return opened(
            self._brokers,
            self._scrubber.terms.members,
            sends=True,
            is_to_go=self._is_to_go,
            before=self._settle,
            begin=lambda low, end: end if at_end else low,
        )

    def _is_to_go(self, prospect: BlockedProspect) -> str:
        """A prospect whose verdict would be the same stays, for instance in an area that a list does not cover."""
        kind = verdict_kind(self._scrubber, self._records, prospect, self._index, datetime.now(UTC))
        return "unchanged" if kind == prospect.kind else ""

    def _settle(self, going: list[BlockedProspect]) -> None:
        """Wait until the youngest of them was blocked some seconds ago. Raises Unavailable when asked to stop."""
        youngest = max(each.blocked_at for each in going)
        wait_s = min(_SETTLED_S, youngest + _SETTLED_S - time.time())
        if wait_s > 0 and self._process.stopping.wait(wait_s):
            raise Unavailable("the process was asked to stop")
