"""Makes a process's status out of its counters and its index: every metric of the catalogue is set here, and nowhere
else.

Runs in whichever thread asks, about once a second at most. It reads counters, references and files of the system. It
calls no Kafka client, since only a loop's own thread may do that.
"""

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec
from prometheus_client.process_collector import ProcessCollector

from stream_scrub import __version__, clock
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index, Register
from stream_scrub.kafka.client.librdkafka import librdkafka_version
from stream_scrub.lists.log.follower import Follower
from stream_scrub.lists.log.replay import Replay
from stream_scrub.model import family
from stream_scrub.observability import health, metric_catalogue
from stream_scrub.observability.counters import (
    Counters,
    FollowerCounters,
    LoopState,
    PublisherCounters,
    RetryCounters,
    ServerCounters,
    ShadowCounters,
)
from stream_scrub.observability.process_status import (
    Cause,
    Health,
    MetricValues,
    ProcessStatus,
    seconds_or_nan,
)
from stream_scrub.observability.unusable_registers import unusable
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import backend

_OF_PROCESS = (
    metric_catalogue.MEMORY,
    metric_catalogue.OPEN_FDS,
    metric_catalogue.CPU,
    metric_catalogue.STARTED,
)


class _Collector:
    """What all have in common: the process, the registers and the loop."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process = ProcessCollector(registry=None)
        self._sizes: dict[str, tuple[Register, int]] = {}

    def _put_process(self, values: MetricValues) -> None:
        found = {sample.name: sample.value for each in self._process.collect() for sample in each.samples}
        for metric in _OF_PROCESS:
            values.put(metric, found.get(metric.name))
        versions = (__version__, platform.python_version(), librdkafka_version(), backend.BEST.name)
        values.put(metric_catalogue.BUILD_INFO, 1, *versions)

    def _put_registers(self, values: MetricValues, index: Index, rulebook: Rulebook) -> None:
        ages = strictest_ages(rulebook, datetime.now(UTC))
        together: dict[str, list[Register]] = {}
        for name, register in index.registers.items():
            together.setdefault(metric_catalogue.register_label(name), []).append(register)
        for name, registers in together.items():
            values.put(metric_catalogue.REGISTER_NUMBERS, sum(map(self._size, registers)), name)
            values.put(
                metric_catalogue.REGISTER_EFFECTIVE, min(r.effective_at for r in registers).timestamp(), name
            )
            values.put(metric_catalogue.REGISTER_MAX_AGE, ages.get(family(name)), name)
            end = min((r.next_end for r in registers if r.next_end is not None), default=None)
            values.put(metric_catalogue.REGISTER_NEXT_END, None if end is None else end.timestamp(), name)

    def _size(self, register: Register) -> int:
        """How many numbers a register holds. Counted once for each state of it, since roaring walks over all of
        them."""
        known = self._sizes.get(register.name)
        if known is None or known[0] is not register:
            known = self._sizes[register.name] = (register, len(register.numbers))
        return known[1]

    def _health(self, pulse: LoopState, causes: tuple[Cause, ...]) -> Health:
        return Health(time.monotonic() - pulse.heartbeat, self._limit_s, pulse.begun, causes)

    @staticmethod
    def _put_health(values: MetricValues, found: Health) -> None:
        values.put(metric_catalogue.HEARTBEAT_AGE, found.heartbeat_age_s)
        values.put(metric_catalogue.READY, found.is_ready)

    def _put_followed(
        self,
        values: MetricValues,
        counters: FollowerCounters,
        follower: Follower | None,
        rulebook: Rulebook | None,
    ) -> None:
        """How far the log is followed, and the registers that this gave."""
        values.put(metric_catalogue.POSITION, counters.position)
        values.put(metric_catalogue.SWAPS, counters.swaps)
        values.put(metric_catalogue.LOG_LAG, seconds_or_nan(None if follower is None else follower.lag_s))
        if follower is not None and rulebook is not None:
            self._put_registers(values, follower.index, rulebook)


def _unusable_index(follower: Follower | None, lag_max_s: float) -> StaleIndex | None:
    """Why there is no index to judge by. Raises RuntimeError where the follower has ended by a fault."""
    try:
        if follower is not None:
            follower.usable(lag_max_s)
    except StaleIndex as found:
        return found
    return None


_Count = TypeVar("_Count", bound=FollowerCounters)


class _Judging(_Collector, Generic[_Count]):
    """What worker, server, retry and shadow have in common: they judge by a followed index. `limit_s` is how long the loop may
    go without a heartbeat."""

    def __init__(self, identity: str, counters: _Count, *, limit_s: float, index_lag_max_s: float) -> None:
        super().__init__(limit_s)
        self.identity = identity
        self.counters = counters
        self._index_lag_max_s = index_lag_max_s
        self._follower: Follower | None = None
        self._rulebook: Rulebook | None = None

    def attach(self, follower: Follower, rulebook: Rulebook) -> None:
        """Set the follower and the rules that are judged by."""
        self._rulebook, self._follower = rulebook, follower

    def _causes(self) -> tuple[Cause, ...]:
        try:
            stale = _unusable_index(self._follower, self._index_lag_max_s)
        except RuntimeError as fault:
            return (health.cause("fault", str(fault)),)
        return health.causes_of(self._condition(stale))

    def _told(self, values: MetricValues, found: Health) -> ProcessStatus:
        self._put_health(values, found)
        return ProcessStatus(self.identity, found, values.values, values.histograms)

    def _condition(self, stale: StaleIndex | None) -> health.Condition:
        """Of whoever belongs to no group."""
        counters = self.counters
        return health.Condition(
            stopping=counters.stopping,
            waiting=counters.waiting,
            stale=stale,
            member=True,
            failing=_failing(counters),
        )


class ServerCollector(_Judging[ServerCounters]):
    """Call it for the status of a server process."""

    def __call__(self) -> ProcessStatus:
        """The status now."""
        values, counters = MetricValues(), self.counters
        self._put_process(values)
        with counters.lock:
            for (route, status), count in counters.requests.items():
                values.put(metric_catalogue.HTTP_REQUESTS, count, route, status)
            for verdict, reason in metric_catalogue.CHECKS.values:
                values.put(metric_catalogue.CHECKS, counters.checks[reason], verdict, reason)  # type: ignore[index]
            values.put_each(metric_catalogue.LIMIT_HITS, counters.limits)
            values.put_histograms(counters.histograms)
        self._put_followed(values, counters, self._follower, self._rulebook)
        return self._told(values, self._health(counters, self._causes()))


class RetryCollector(_Judging[RetryCounters]):
    """Call it for the status of a `retry --follow`."""

    def __call__(self) -> ProcessStatus:
        """The status now."""
        values, counters = MetricValues(), self.counters
        self._put_process(values)
        with counters.lock:
            sent = dict(counters.prospects)
            values.put_each(metric_catalogue.RETRY_KEPT, counters.kept)
            values.put_each(metric_catalogue.RETRY_FAILURES, counters.causes)
            values.put_each(metric_catalogue.LIMIT_HITS, counters.limits)
            values.put_histograms(counters.histograms)
        # Zero for every register that a rule names, so that the first one is an increase.
        names = () if self._rulebook is None else sorted(self._rulebook.registers)
        values.put_each(metric_catalogue.RETRIED, {**dict.fromkeys(names, 0), **sent})
        self._put_followed(values, counters, self._follower, self._rulebook)
        return self._told(values, self._health(counters, self._causes()))


class ShadowCollector(_Judging[ShadowCounters]):
    """Call it for the status of a shadow."""

    def __call__(self) -> ProcessStatus:
        """The status now."""
        values, counters = MetricValues(), self.counters
        self._put_process(values)
        with counters.lock:
            values.put(metric_catalogue.SHADOW_JUDGED, counters.judged)
            values.put_each(metric_catalogue.SHADOW_DIFFERENCES, counters.differences)
            values.put_each(metric_catalogue.SHADOW_FAILURES, counters.causes)
            values.put_each(metric_catalogue.LIMIT_HITS, counters.limits)
            values.put_histograms(counters.histograms)
        self._put_followed(values, counters, self._follower, self._rulebook)
        return self._told(values, self._health(counters, self._causes()))


class WorkerCollector(_Judging[Counters]):
    """Call it for a worker's status."""

    def __call__(self) -> ProcessStatus:
        """The status now."""
        values, counters = MetricValues(), self.counters
        self._put_process(values)
        with counters.lock:
            _put_counters(values, counters, clock.elapsed())
        self._put_followed(values, counters, self._follower, self._rulebook)
        if self._follower is not None and self._rulebook is not None:
            # Zero for every register that a rule names, so that the first prospect is an increase.
            names = dict.fromkeys(sorted(self._rulebook.registers), 0)
            values.put_each(metric_catalogue.STALE, {**names, **counters.stale})
        found = self._health(counters, self._causes())
        return self._told(values, msgspec.structs.replace(found, degraded=self._degraded()))

    def _degraded(self) -> tuple[Cause, ...]:
        """The registers that prospects were blocked for of late, as long as they cannot be used."""
        if not self.counters.stale_now or self._follower is None or self._rulebook is None:
            return ()
        found = {
            each.register: each for each in unusable(self._rulebook, self._follower.index, datetime.now(UTC))
        }
        return tuple(
            health.cause(
                "register", f"{label}, which the rules of {', '.join(each.countries)} need: {each.why}"
            )
            for label in self.counters.stale_now
            if (each := found.get(family(label))) is not None
        )

    def _condition(self, stale: StaleIndex | None) -> health.Condition:
        counters = self.counters
        return health.Condition(
            stopping=counters.stopping,
            waiting=counters.waiting,
            holding=(counters.holding, counters.why) if counters.holding else None,
            stale=stale,
            assigned=counters.assigned,
            member=counters.member,
            failing=_failing(counters),
        )


class PublisherCollector(_Collector):
    """Call it for a publisher's status. `limit_s` is how long its loop may go without a heartbeat."""

    def __init__(self, counters: PublisherCounters, *, limit_s: float) -> None:
        super().__init__(limit_s)
        self.counters = counters
        self._replay: Replay | None = None
        self._rulebook: Rulebook | None = None

    def attach(self, replay: Replay, rulebook: Rulebook) -> None:
        """Set the replay and the rules that the publisher works with."""
        self._rulebook, self._replay = rulebook, replay

    def __call__(self) -> ProcessStatus:
        """The status now."""
        values, counters = MetricValues(), self.counters
        self._put_process(values)
        with counters.lock:
            _put_publisher(values, counters)
        values.put(metric_catalogue.POSITION, -1 if self._replay is None else self._replay.index.position)
        if self._replay is not None and self._rulebook is not None:
            self._put_registers(values, self._replay.index, self._rulebook)
        found = self._health(counters, self._causes())
        self._put_health(values, found)
        return ProcessStatus("", found, values.values, values.histograms)

    def _causes(self) -> tuple[Cause, ...]:
        counters = self.counters
        if counters.stopping:
            return (health.cause("stopping", "it was told to stop"),)
        if counters.waiting is not None:
            return (health.cause(*counters.waiting),)
        if not counters.owner:
            return (health.cause("owner", counters.failure or "it does not own its registers at the moment"),)
        failing = _failing(counters)
        return (health.cause("failing", failing),) if failing else ()


def _failing(pulse: LoopState) -> str:
    is_recent = time.monotonic() - pulse.failed_at < health.FAILING_S
    if pulse.failures < health.FAILING or not is_recent:
        return ""
    return f"failed {pulse.failures} times in a row: {pulse.failure}"


def _put_counters(values: MetricValues, counters: Counters, now: float) -> None:
    values.put(metric_catalogue.READ, counters.read)
    for verdict, reason in metric_catalogue.PROSPECTS.values:
        values.put(metric_catalogue.PROSPECTS, counters.prospects[reason], verdict, reason)  # type: ignore[index]
    values.put(metric_catalogue.BATCHES, counters.batches)
    values.put_each(metric_catalogue.ABORTS_TOTAL, counters.aborts)
    values.put(metric_catalogue.SESSIONS, max(0, counters.sessions))
    values.put(metric_catalogue.QUEUE, counters.queued)
    values.put_each(metric_catalogue.LAG, counters.lags)
    # Zero for every partition of ours, so that the first one is an increase.
    values.put_each(metric_catalogue.DELETED_UNREAD, {**dict.fromkeys(counters.lags, 0), **counters.deleted})
    values.put(metric_catalogue.ASSIGNED, counters.assigned)
    values.put(metric_catalogue.WAITING, counters.unread)
    values.put(metric_catalogue.MADE_ANEW, counters.made_anew)
    values.put_each(metric_catalogue.LIMIT_HITS, counters.limits)
    values.put_each(metric_catalogue.REBALANCES, counters.rebalances)
    values.put_each(metric_catalogue.HOLDING, {counters.holding: 1} if counters.holding else {})
    values.put_each(metric_catalogue.HELD, counters.held(now))
    values.put_histograms(counters.histograms)


def _put_publisher(values: MetricValues, counters: PublisherCounters) -> None:
    values.put(metric_catalogue.OWNER, counters.owner)
    values.put_each(metric_catalogue.REQUESTS, counters.requests)
    values.put(metric_catalogue.REQUESTS_MISSED, counters.missed)
    values.put(metric_catalogue.MADE_ANEW, counters.made_anew)
    values.put_each(metric_catalogue.LIMIT_HITS, counters.limits)
    for (topic, partition), lag in counters.lags.items():
        values.put(metric_catalogue.REQUESTS_LAG, lag, topic, str(partition))
    values.put_each(metric_catalogue.DELTAS, counters.deltas)
    values.put(metric_catalogue.ENDED, counters.ended)
    values.put_each(metric_catalogue.FILES, counters.files)
    values.put_each(metric_catalogue.PUBLISHER_FAILURES, counters.causes)
    values.put_histograms(counters.histograms)


def strictest_ages(rulebook: Rulebook, at: datetime) -> Mapping[str, float]:
    """By register without its scope: the smallest maximum age, in seconds, among the rules in force at that
    moment."""
    ages: dict[str, float] = {}
    for rule, _ in rulebook.in_force(at):
        for name, days in rule.max_age_days.items():
            ages[name] = min(ages.get(name, float("inf")), days * 86_400.0)
    return ages
