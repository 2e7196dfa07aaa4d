"""The state of a daemon's loop: its heartbeat, why it does no work, what it counts. One class for each kind of daemon.

The loop and the follower write, once a batch or a swap and never once a record. `status` may be called in any thread,
about once a second: it calls no Kafka client, since only the loop's own thread may do that.
"""

import math
import platform
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

from stream_scrub import __version__, clock
from stream_scrub.config import Settings
from stream_scrub.errors import ScrubError, StaleIndex
from stream_scrub.index import Index, Register
from stream_scrub.kafka.client.options import librdkafka_version
from stream_scrub.log.follower import Follower
from stream_scrub.log.replay import Replay
from stream_scrub.model import Logger, Reason, Verdict, family
from stream_scrub.ops import health, metric_catalogue
from stream_scrub.ops.health import Cause, Health
from stream_scrub.ops.metric_catalogue import Metric, Side
from stream_scrub.ops.metrics import Metrics, ProcessStatus
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import backend
from stream_scrub.scrub.plans import strictest_ages, unusable

_CAUSES = {*metric_catalogue.ABORTS, *metric_catalogue.FAILURES}


def cause_of(error: ScrubError) -> str:
    """The short word under which an error is counted, as `taken_over`: that of its nearest class that has one."""
    words = (re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower() for kind in type(error).__mro__)
    return next((word for word in words if word in _CAUSES), "other")


class LoopState:
    """The state of any daemon's loop. `limit_s`: how long it may go without a heartbeat."""

    side: ClassVar[Side]
    given_up: ClassVar[Metric]  # counts failures by cause

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        self.identity = identity if self.side.identity else ""
        self.metrics = Metrics(self.side, identity)
        self.heartbeat = time.monotonic()
        self.waiting: tuple[str, str] | None = ("starting", "just started")  # a cause, a sentence
        self.begun = False  # whether it was ever ready
        self.stopping = False
        self.transport = ""  # how records are taken and emitted, once that is known
        self.failures = 0  # in a row
        self.failure = ""  # the last one's reason
        self.failed_at = 0.0
        self.lock = threading.Lock()  # held for a few assignments
        self._index_lag_max_s = settings.rules.index_lag_max_s
        self._limit_s = limit_s
        self._collecting = threading.Lock()
        self._sizes: dict[str, tuple[Register, int]] = {}
        versions = (__version__, platform.python_version(), librdkafka_version(), backend.BEST.name)
        self.metrics[metric_catalogue.BUILD_INFO].labels(*versions).set(1)

    def beat(self) -> None:
        """A heartbeat: the loop goes on."""
        self.heartbeat = time.monotonic()

    def waits(self, cause: str, why: str) -> None:
        """A heartbeat of a loop that cannot begin yet, and why."""
        self.waiting = (cause, why)
        self.beat()

    def begins(self) -> None:
        """The loop is ready to work."""
        self.waiting = None
        self.begun = True
        self.beat()

    def gave_up(self, error: ScrubError) -> None:
        """A batch was given up, or a recovery has failed."""
        self.metrics[self.given_up].labels(cause_of(error)).inc()
        with self.lock:
            self.failures += 1
            self.failure, self.failed_at = str(error), time.monotonic()

    def limit_hit(self, limit: str) -> None:
        """Count a hit of one of `metric_catalogue.LIMITS`."""
        self.metrics[metric_catalogue.LIMIT_HITS].labels(limit).inc()

    def topic_recreated(self, topic: str, log: Logger, **more: Any) -> None:
        """Count and log that a topic was deleted and created again under its name."""
        self.metrics[metric_catalogue.RECREATED].inc()
        log.error("topic deleted and created again, reading it from its start", topic=topic, **more)

    def status(self) -> ProcessStatus:
        """What this process reports now."""
        with self._collecting:
            self._collect()
            age_s = time.monotonic() - self.heartbeat
            found = Health(age_s, self._limit_s, self.begun, self._causes(), self._degraded(), self.transport)
            self.metrics[metric_catalogue.HEARTBEAT_AGE].set(age_s)
            self.metrics[metric_catalogue.READY].set(found.is_ready)
            return ProcessStatus(self.identity, found, list(self.metrics.families()))

    def _collect(self) -> None:
        """Set the gauges that are computed when somebody asks."""

    def _causes(self) -> tuple[Cause, ...]:
        raise NotImplementedError

    def _not_ready(self, *obstacles: Cause | None) -> tuple[Cause, ...]:
        """Why the loop is not ready: the obstacles, unless it has not begun or is stopping."""
        if self.stopping:
            return (health.cause("stopping", "shutting down"),)
        if self.waiting is not None:
            return (health.cause(*self.waiting),)
        failing = None
        if self.failures >= health.FAILING and time.monotonic() - self.failed_at < health.FAILING_S:
            failing = health.cause("failing", f"failed {self.failures} times in a row: {self.failure}")
        return tuple(filter(None, (*obstacles, failing)))

    def _degraded(self) -> tuple[Cause, ...]:
        return ()

    def _collect_registers(self, index: Index, rulebook: Rulebook) -> None:
        ages = strictest_ages(rulebook, datetime.now(UTC))
        together: dict[str, list[Register]] = {}
        for register in index.present():
            together.setdefault(metric_catalogue.register_label(register.name), []).append(register)
        values: dict[Metric, Callable[[str, list[Register]], float | None]] = {
            metric_catalogue.REGISTER_NUMBERS: lambda _, each: sum(map(self._size, each)),
            metric_catalogue.REGISTER_EFFECTIVE: lambda _, each: min(
                r.effective_at for r in each
            ).timestamp(),
            metric_catalogue.REGISTER_MAX_AGE: lambda name, _: ages.get(family(name)),
            metric_catalogue.REGISTER_NEXT_END: lambda _, each: min(
                (r.next_end.timestamp() for r in each if r.next_end is not None), default=None
            ),
        }
        for metric, of in values.items():
            found = {(name,): of(name, each) for name, each in together.items()}
            self._set_each(metric, {labels: value for labels, value in found.items() if value is not None})

    def _set_each(self, metric: Metric, values: Mapping[tuple[Any, ...], float]) -> None:
        """Set a gauge for these values of its labels, and for no others."""
        self.metrics[metric].clear()
        for labels, value in values.items():
            self.metrics[metric].labels(*labels).set(value)

    def _size(self, register: Register) -> int:
        """How many numbers a register has. Counted once for each state of it: roaring walks over all of them."""
        known = self._sizes.get(register.name)
        if known is None or known[0] is not register:
            known = self._sizes[register.name] = (register, len(register.numbers))
        return known[1]


class FollowerState(LoopState):
    """The state of a loop that judges by a followed index: all daemons but the publisher."""

    by_register: ClassVar[Metric | None] = None  # a counter of prospects by register

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        self.position = -1  # log offset of the index in use
        self._follower: Follower | None = None
        self._rulebook: Rulebook | None = None

    def attach(self, follower: Follower, rulebook: Rulebook) -> None:
        """Set the follower and the rules to judge by."""
        if self.by_register is not None:
            for name in sorted(rulebook.registers):  # so that the first prospect of a register is an increase
                self.metrics[self.by_register].labels(name)
        self._rulebook, self._follower = rulebook, follower

    def swapped(self, position: int, seconds: float, stall_s: float, waited_s: float | None = None) -> None:
        """Count a new index: the time that it took, the longest time that it kept other threads from running, and the
        time since its seal was written, if known. Called from the follower's thread."""
        self.metrics[metric_catalogue.SWAPS].inc()
        self.metrics[metric_catalogue.SWAP_SECONDS].observe(max(0.0, seconds))
        self.metrics[metric_catalogue.SWAP_STALL].observe(max(0.0, stall_s))
        if waited_s is not None:
            self.metrics[metric_catalogue.SEAL_TO_ENFORCEMENT].observe(max(0.0, waited_s))
        self.position = position

    def snapshot_unwritten(self) -> None:
        """Count a snapshot that could not be written. Called from the thread that writes them."""
        self.metrics[metric_catalogue.SNAPSHOTS_UNWRITTEN].inc()

    def _collect(self) -> None:
        follower, rulebook = self._follower, self._rulebook
        lag_s = None if follower is None else follower.lag_s
        self.metrics[metric_catalogue.POSITION].set(self.position)
        self.metrics[metric_catalogue.LOG_LAG].set(math.nan if lag_s is None else lag_s)
        if follower is not None and rulebook is not None:
            self._collect_registers(follower.index, rulebook)

    def _causes(self) -> tuple[Cause, ...]:
        stale = None
        try:
            if self._follower is not None:
                self._follower.usable(self._index_lag_max_s)
        except StaleIndex as error:
            stale = health.cause(error.cause, str(error))
        except RuntimeError as fault:  # the follower's thread has ended
            return (health.cause("fault", str(fault)),)
        return self._not_ready(*self._obstacles(stale))

    def _obstacles(self, stale: Cause | None) -> tuple[Cause | None, ...]:
        return (stale,)


class WorkerState(FollowerState):
    """The state of a worker."""

    side = Side.WORKER
    given_up = metric_catalogue.ABORTS_TOTAL
    by_register = metric_catalogue.STALE

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        self.totals: Counter[str] = Counter()  # prospects, batches and aborts, and prospects by verdict
        self.assigned = 0  # partitions
        self.unread: Sequence[int | str] = ()  # partitions that the output topics lack
        self.member = False  # whether the group knows this worker
        self.lags: Mapping[str, int] = {}  # by partition
        # By partition: when its end was last confirmed, by `clock.elapsed`.
        self.ends_at: Mapping[str, float] = {}
        self.stale_now: tuple[str, ...] = ()  # registers for which prospects were blocked in the last minutes
        self.holding = ""  # the cause of the present hold
        self.why = ""
        self.held_since = 0.0
        self._held_counted_s = 0.0  # how much of the present hold is counted
        prospects = self.metrics[metric_catalogue.PROSPECTS]
        self._prospects = {reason: prospects.labels(reason.verdict, reason) for reason in Reason}

    def uses(self, transport: str) -> None:
        """Set how records are taken and emitted: "bulk" or "python"."""
        self.transport = transport
        self.metrics[metric_catalogue.TRANSPORT].labels(transport).set(1)

    def emitted(
        self,
        tally: Counter[Reason],
        batch_s: float,
        send_offsets_s: float,
        commit_s: float,
        age_s: float | None = None,
        stale: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Count a committed batch: the time from its receipt to its commit, the times of sending the offsets and of
        the commit, and the age of its first prospect, if known. `stale`: how many were blocked for each register."""
        metrics, count = self.metrics, tally.total()
        self.totals["batches"] += 1
        self.totals["prospects"] += count
        for reason, of_reason in tally.items():
            self._prospects[reason].inc(of_reason)
            self.totals[str(reason.verdict)] += of_reason
        for name, blocked in stale.items():
            metrics[metric_catalogue.STALE].labels(metric_catalogue.register_label(name)).inc(blocked)
        metrics[metric_catalogue.BATCHES].inc()
        metrics[metric_catalogue.BATCH_RECORDS].observe(count)
        metrics[metric_catalogue.BATCH_SECONDS].observe(batch_s)
        metrics[metric_catalogue.SEND_OFFSETS].observe(send_offsets_s)
        metrics[metric_catalogue.COMMIT].observe(commit_s)
        if age_s is not None:
            metrics[metric_catalogue.PROSPECT_AGE].observe(max(0.0, age_s))
        self.failures = 0

    def gave_up(self, error: ScrubError) -> None:
        """A batch was given up, or a recovery has failed."""
        super().gave_up(error)
        self.totals["aborts"] += 1

    def verdicts(self) -> dict[str, int]:
        """Prospects emitted, by verdict."""
        return {str(verdict): self.totals[str(verdict)] for verdict in Verdict}

    def found_nothing(self, looked_at: float) -> bool:
        """A poll returned nothing. Whether the last failure is over: by the loop's last look, at that monotonic
        moment, no partition has waiting prospects, as a batch between its tries would be."""
        known = self.member and len(self.lags) >= self.assigned and self.failed_at < looked_at
        if over := known and not any(self.lags.values()):
            self.failures = 0
        return over

    def moved(self, event: str, partitions: int) -> None:
        """Count partitions that were assigned, revoked or lost."""
        self.metrics[metric_catalogue.REBALANCES].labels(event).inc()
        self.assigned += partitions if event == "assigned" else -partitions

    def hold(self, cause: str, why: str) -> bool:
        """Begin or continue a hold; returns whether it is a new one."""
        with self.lock:
            self.why = why
            if self.holding == cause:
                return False
            self._end_hold()
            self.holding, self.held_since, self._held_counted_s = cause, clock.elapsed(), 0.0
            self.metrics[metric_catalogue.HOLDING].labels(cause).set(1)
            return True

    def resume(self) -> float:
        """End the hold; returns how long it was, in seconds."""
        with self.lock:
            return self._end_hold()

    def _end_hold(self) -> float:
        self._count_hold()
        if self.holding:
            self.metrics[metric_catalogue.HOLDING].labels(self.holding).set(0)
        self.holding = ""
        return clock.elapsed() - self.held_since

    def _count_hold(self) -> None:
        if self.holding:
            held_s = max(self._held_counted_s, clock.elapsed() - self.held_since)
            self.metrics[metric_catalogue.HELD].labels(self.holding).inc(held_s - self._held_counted_s)
            self._held_counted_s = held_s

    def _collect(self) -> None:
        super()._collect()
        self._set_each(metric_catalogue.LAG, {(partition,): lag for partition, lag in self.lags.items()})
        now = clock.elapsed()
        self._set_each(
            metric_catalogue.END_AGE, {(partition,): now - at for partition, at in self.ends_at.items()}
        )
        for partition in self.lags:
            self.metrics[metric_catalogue.DELETED_UNREAD].labels(partition)
        self.metrics[metric_catalogue.ASSIGNED].set(self.assigned)
        self.metrics[metric_catalogue.WAITING].set(len(self.unread))
        with self.lock:
            self._count_hold()

    def _degraded(self) -> tuple[Cause, ...]:
        """Partitions that are not read, and registers for which prospects were blocked in the last minutes, while they
        cannot be used."""
        causes = []
        if unread := self.unread:
            partitions = ", ".join(map(str, unread))
            causes.append(
                health.cause(
                    "partitions",
                    f"{partitions} not read: the output topics are missing or have fewer partitions",
                )
            )
        if self.stale_now and self._follower is not None and self._rulebook is not None:
            states = {
                state.register: state
                for state in unusable(self._rulebook, self._follower.index, datetime.now(UTC))
            }
            for label in self.stale_now:
                if (state := states.get(family(label))) is not None:
                    why = f"{label}, which the rules of {', '.join(state.countries)} need: {state.why}"
                    causes.append(health.cause("register", why))
        return tuple(causes)

    def _obstacles(self, stale: Cause | None) -> tuple[Cause | None, ...]:
        # A worker with an index and without partitions is ready as a member that waits for some.
        joining = None
        if not self.assigned and not self.member:
            joining = health.cause("joining", "not a member of its group at the moment")
        return health.cause(self.holding, self.why) if self.holding else stale, joining


class ServerState(FollowerState):
    """The state of a server process."""

    side = Side.SERVER

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        # Each request asks for them. Routes are those that the server declares, and one for all others.
        self._answers = cache(self.metrics[metric_catalogue.HTTP_REQUESTS].labels)
        checks = self.metrics[metric_catalogue.CHECKS]
        self._checks = {each: checks.labels(each.verdict, each) for each in Reason}
        self._seconds = self.metrics[metric_catalogue.CHECK_SECONDS]

    def answered(self, route: str, status: int) -> None:
        """Count one answer."""
        self._answers(route, status).inc()

    def checked(self, tally: Mapping[Reason, int], seconds: float | None = None) -> None:
        """Count verdicts, and the time that a question with one prospect took."""
        for reason, count in tally.items():
            self._checks[reason].inc(count)
        if seconds is not None:
            self._seconds.observe(seconds)

    def asked(self, token: str, verdicts: int, numbers: int) -> None:
        """Count verdicts given to a token, and the numbers among them that it had not asked about on this day."""
        self.metrics[metric_catalogue.TOKEN_VERDICTS].labels(token).inc(verdicts)
        self.metrics[metric_catalogue.TOKEN_NUMBERS].labels(token).inc(numbers)

    def checks(self) -> dict[Reason, int]:
        """Verdicts given so far."""
        samples = self.metrics.samples(metric_catalogue.CHECKS)
        return {Reason(each.labels["reason"]): int(each.value) for each in samples}


class RetryState(FollowerState):
    """The state of a `retry --follow`."""

    side = Side.RETRY
    given_up = metric_catalogue.RETRY_FAILURES
    by_register = metric_catalogue.RETRIED

    def retried(self, register: str, outcome: str, count: int) -> None:
        """Count blocked prospects that were sent back, or kept for some reason."""
        if outcome == "sent":
            self.metrics[metric_catalogue.RETRIED].labels(register).inc(count)
        else:
            self.metrics[metric_catalogue.RETRY_KEPT].labels(outcome).inc(count)


class ShadowState(FollowerState):
    """The state of a shadow."""

    side = Side.SHADOW
    given_up = metric_catalogue.SHADOW_FAILURES

    def compared(self, counts: Mapping[str, int]) -> None:
        """Count prospects whose comparison is committed: `judged`, and differences of `verdict` or `reason`."""
        self.metrics[metric_catalogue.SHADOW_JUDGED].inc(counts.get("judged", 0))
        for change in ("verdict", "reason"):
            self.metrics[metric_catalogue.SHADOW_DIFFERENCES].labels(change).inc(counts.get(change, 0))
        self.failures = 0


class RecallState(FollowerState):
    """The state of a member of a recall."""

    side = Side.RECALL
    given_up = metric_catalogue.RECALL_FAILURES

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        self._outstanding: Mapping[tuple[str, date], int] = {}
        self._lags: Mapping[str, int] = {}

    def recalled(self, reasons: Mapping[str, int], waited_s: float | None) -> None:
        """Count committed recalls by reason, and the time since the seal that caused them, if one did."""
        for reason, count in reasons.items():
            self.metrics[metric_catalogue.RECALLED].labels(reason).inc(count)
        if waited_s is not None:
            self.metrics[metric_catalogue.RECALL_SECONDS].observe(max(0.0, waited_s))

    def holds(self, outstanding: Mapping[tuple[str, date], int], lags: Mapping[str, int]) -> None:
        """Set how many numbers are outstanding, by region and last day, and how many prospects were not judged again, by
        partition."""
        self._outstanding, self._lags = outstanding, lags

    def _collect(self) -> None:
        super()._collect()
        self._set_each(metric_catalogue.OUTSTANDING, self._outstanding)
        self._set_each(
            metric_catalogue.RECALL_LAG, {(partition,): lag for partition, lag in self._lags.items()}
        )


class FanoutState(LoopState):
    """The state of the fan-out to one target."""

    side = Side.FANOUT
    given_up = metric_catalogue.FANOUT_FAILURES

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        self.away = ""  # why nothing can be delivered now

    def settled(self, outcome: str, waited_s: float | None = None) -> None:
        """Count an event that needs no more tries, and the time since its commit if the target has it."""
        self.metrics[metric_catalogue.FANOUT_EVENTS].labels(outcome).inc()
        if waited_s is not None:
            self.metrics[metric_catalogue.FANOUT_SECONDS].observe(max(0.0, waited_s))

    def failed(self, *, away: bool) -> None:
        """Count a try that failed."""
        self.metrics[metric_catalogue.FANOUT_TRIES_FAILED].labels("away" if away else "refused").inc()

    def holds(self, count: int, oldest_s: float) -> None:
        """Set how many events are open, and the age of the oldest."""
        self.metrics[metric_catalogue.FANOUT_OPEN].set(count)
        self.metrics[metric_catalogue.FANOUT_OLDEST].set(max(0.0, oldest_s))

    def _causes(self) -> tuple[Cause, ...]:
        return self._not_ready()

    def _degraded(self) -> tuple[Cause, ...]:
        return (health.cause("target", self.away),) if self.away else ()


class PublisherState(LoopState):
    """The state of a publisher."""

    side = Side.PUBLISHER
    given_up = metric_catalogue.PUBLISHER_FAILURES

    def __init__(self, identity: str, settings: Settings, limit_s: float) -> None:
        super().__init__(identity, settings, limit_s)
        self.owner = False  # whether it owns its registers now
        self.ends_held = False  # whether ended oppositions stay because the clock may be wrong
        self.open: Collection[str] = ()  # refused requests that may be oppositions and are not settled
        self.lags: Mapping[tuple[str, int], int] = {}  # by topic and partition
        self.totals: Counter[str] = Counter()  # for log lines
        self._replay: Replay | None = None
        self._rulebook: Rulebook | None = None

    def attach(self, replay: Replay, rulebook: Rulebook) -> None:
        """Set the replay and the rules that the publisher works with."""
        self._rulebook, self._replay = rulebook, replay

    def answered(self, requests: int, refused: int, ages_s: Iterable[float]) -> None:
        """Count consumed requests, how many of them were refused, and the age of each in seconds."""
        self.metrics[metric_catalogue.REQUESTS].labels("taken").inc(requests - refused)
        self.metrics[metric_catalogue.REQUESTS].labels("refused").inc(refused)
        for age_s in ages_s:
            self.metrics[metric_catalogue.REQUEST_AGE].observe(max(0.0, age_s))
        self.totals.update(requests=requests, refused=refused)

    def attempted(self, taken: int, refused: int, forgotten: int) -> None:
        """Count attempts that were read, and those that no longer count."""
        for outcome, count in (("taken", taken), ("refused", refused), ("forgotten", forgotten)):
            self.metrics[metric_catalogue.ATTEMPTS].labels(outcome).inc(count)
        self.totals.update(attempts=taken)

    def missed(self, requests: int) -> None:
        """Count requests that were deleted before they were read."""
        self.metrics[metric_catalogue.REQUESTS_MISSED].inc(requests)

    def published(self, registers: Iterable[str], seconds: float) -> None:
        """Count one transaction with a delta of each of these registers."""
        for register in registers:
            self.metrics[metric_catalogue.DELTAS].labels(register).inc()
        self.metrics[metric_catalogue.PUBLISH_SECONDS].observe(seconds)

    def ended(self, numbers: int) -> None:
        """Count numbers removed because their end had come."""
        self.metrics[metric_catalogue.ENDED].inc(numbers)
        self.totals["ended"] += numbers

    def worked_on(self, files: int, refused: int) -> None:
        """Count dropped files."""
        self.metrics[metric_catalogue.FILES].labels("published").inc(files)
        self.metrics[metric_catalogue.FILES].labels("refused").inc(refused)
        self.totals.update(files=files, files_refused=refused)

    def sums(self) -> dict[str, int]:
        """All totals that are not zero, for a log line."""
        return {name: count for name, count in self.totals.items() if count}

    def _collect(self) -> None:
        self.metrics[metric_catalogue.OWNER].set(self.owner)
        self.metrics[metric_catalogue.ENDS_HELD].set(self.ends_held)
        self.metrics[metric_catalogue.OPPOSITIONS_UNREAD].set(len(self.open))
        self._set_each(metric_catalogue.REQUESTS_LAG, self.lags)
        replay, rulebook = self._replay, self._rulebook
        self.metrics[metric_catalogue.POSITION].set(-1 if replay is None else replay.index.position)
        if replay is not None and rulebook is not None:
            self._collect_registers(replay.index, rulebook)

    def _causes(self) -> tuple[Cause, ...]:
        if self.owner:
            return self._not_ready()
        return self._not_ready(
            health.cause("owner", self.failure or "not the owner of its registers at the moment")
        )[:1]
