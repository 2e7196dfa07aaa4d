"""What a worker, a publisher and a server count. Everything that shows figures reads them here; nothing else counts.

The loop and the follower write, once a batch or a swap and never once a record; any thread reads. The lock is held
for a few additions only, so that values that are read together are of the same moment.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stream_scrub import clock
from stream_scrub.errors import (
    Corrupt,
    Migrated,
    Refused,
    ScrubError,
    TakenOver,
    TooLarge,
    Unavailable,
    Uncertain,
    Unwritable,
)
from stream_scrub.model import Reason, Verdict
from stream_scrub.observability import metric_catalogue

_CAUSES: Mapping[type[BaseException], str] = {
    Corrupt: "corrupt",
    Migrated: "migrated",
    Refused: "refused",
    TakenOver: "taken_over",
    TooLarge: "too_large",
    Unavailable: "unavailable",
    Uncertain: "uncertain",
    Unwritable: "unwritable",
}


def cause_of(error: ScrubError) -> str:
    """The short word under which an error is counted: that of its nearest class that has one."""
    return next((_CAUSES[kind] for kind in type(error).__mro__ if kind in _CAUSES), "other")


class Histogram:
    """How often a value fell into each bucket, and the sum of all values. `counts` has one element more than there
    are bounds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, metric: metric_catalogue.Metric) -> None:
        self._bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value. A negative one, which clocks that differ may give, counts as zero."""
        value = max(0.0, value)
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


def _histograms(side: metric_catalogue.Side) -> dict[metric_catalogue.Metric, Histogram]:
    return {
        metric: Histogram(metric)
        for metric in metric_catalogue.of(side)
        if metric.kind is metric_catalogue.MetricKind.HISTOGRAM
    }


@dataclass(slots=True)
class LoopState:
    """The state of a loop, besides what it counts.

    `heartbeat` is the time of its last heartbeat (`time.monotonic`). `waiting` is a cause and a sentence while it waits at
    its start; `begun` says whether it was ever ready to work, `stopping` whether it has to stop. `made_anew` counts how
    often a topic was found deleted and created again; `limits` counts hits of `metric_catalogue.LIMITS`. `failures`
    counts failures in a row, the last one at `failed_at` for the reason `failure`.
    """

    heartbeat: float = field(default_factory=time.monotonic)
    waiting: tuple[str, str] | None = ("starting", "it has just been started")
    begun: bool = False
    stopping: bool = False
    made_anew: int = 0
    limits: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    failure: str = ""
    failed_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

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

    def _fails(self, error: ScrubError) -> None:
        self.failures += 1
        self.failure, self.failed_at = str(error), time.monotonic()


@dataclass(slots=True)
class FollowerCounters(LoopState):
    """What a follower counts beside a worker or a server. `position` is the log offset of the index in use; `histograms`
    are by metric."""

    swaps: int = 0
    position: int = -1
    histograms: dict[metric_catalogue.Metric, Histogram] = field(default_factory=dict, repr=False)

    def swapped(self, position: int, seconds: float, stall_s: float, waited_s: float | None = None) -> None:
        """Count one new index: the seconds that it took, the longest time that it kept other threads from running,
        and the time since its seal was written, where that is known and the index is news. Called from the follower's
        thread."""
        with self.lock:
            self.swaps += 1
            self.histograms[metric_catalogue.SWAP_SECONDS].observe(seconds)
            self.histograms[metric_catalogue.SWAP_STALL].observe(stall_s)
            if waited_s is not None:
                self.histograms[metric_catalogue.SEAL_TO_ENFORCEMENT].observe(waited_s)
            self.position = position


@dataclass(slots=True)
class Counters(FollowerCounters):
    """Totals since the start of one worker.

    `aborts` is by cause (`cause_of`). `held_s` is the time of ended holds by cause, in seconds; `held` adds the
    present hold. `lags` is by partition, and `member` says whether the group knows this worker; the loop updates both
    about once a second. `unread` counts its partitions that the output topics lack.
    `deleted` is by partition: at most so many prospects that were deleted unread. `stale` counts by
    register the prospects that were blocked because it could not be used; `stale_now` are those of late.
    """

    read: int = 0
    prospects: Counter[Reason] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    stale_now: tuple[str, ...] = ()
    batches: int = 0
    queued: int = 0
    aborts: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    rebalances: Counter[str] = field(default_factory=Counter)
    assigned: int = 0
    unread: int = 0
    deleted: Counter[str] = field(default_factory=Counter)
    member: bool = False
    lags: Mapping[str, int] = field(default_factory=dict)
    held_s: dict[str, float] = field(default_factory=dict)
    holding: str = ""
    why: str = ""
    held_since: float = 0.0
    histograms: dict[metric_catalogue.Metric, Histogram] = field(
        default_factory=lambda: _histograms(metric_catalogue.Side.WORKER), repr=False
    )

    def emitted(
        self,
        tally: Counter[Reason],
        batch_s: float,
        send_offsets_s: float,
        commit_s: float,
        age_s: float | None = None,
        stale: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Count one committed batch: the seconds from its receipt to its commit, those for sending its offsets and
        for the commit, and the age of its first prospect where Kafka has its timestamp. `stale` says by register
        how many were blocked for it.
        """
        with self.lock:
            self.prospects.update(tally)
            for name, count in stale.items():
                self.stale[metric_catalogue.register_label(name)] += count
            self.batches += 1
            self.histograms[metric_catalogue.BATCH_RECORDS].observe(tally.total())
            self.histograms[metric_catalogue.BATCH_SECONDS].observe(batch_s)
            self.histograms[metric_catalogue.SEND_OFFSETS].observe(send_offsets_s)
            self.histograms[metric_catalogue.COMMIT].observe(commit_s)
            if age_s is not None:
                self.histograms[metric_catalogue.PROSPECT_AGE].observe(age_s)
            self.failures = 0

    def gave_up(self, error: ScrubError) -> None:
        """One batch given up, or a recovery that failed."""
        with self.lock:
            self.aborts[cause_of(error)] += 1
            self._fails(error)

    def found_nothing(self, looked_at: float) -> bool:
        """A poll brought nothing. Whether what failed is over: by the loop's last look, at that monotonic moment, nothing
        waits in any partition, as a batch does between its tries."""
        known = self.member and len(self.lags) >= self.assigned and self.failed_at < looked_at
        if over := known and not any(self.lags.values()):
            self.failures = 0
        return over

    def moved(self, event: str, partitions: int) -> None:
        """Count partitions that were assigned, revoked or lost."""
        with self.lock:
            self.rebalances[event] += 1
            self.assigned += partitions if event == "assigned" else -partitions

    def lost_unread(self, partition: str, at_most: int) -> None:
        """Count prospects that were deleted before they were read."""
        with self.lock:
            self.deleted[partition] += at_most

    def polls_again(self, seconds: float) -> None:
        """Count the time from a change of the assignment to the next poll."""
        with self.lock:
            self.histograms[metric_catalogue.REBALANCE_SECONDS].observe(seconds)

    def hold(self, cause: str, why: str) -> bool:
        """Begin or continue a hold; returns whether it is a new one."""
        with self.lock:
            self.why = why
            if self.holding == cause:
                return False
            self._end_hold()
            self.holding, self.held_since = cause, clock.elapsed()
            return True

    def resume(self) -> float:
        """End the hold; returns how long it was, in seconds."""
        with self.lock:
            return self._end_hold()

    def _end_hold(self) -> float:
        held_s = clock.elapsed() - self.held_since
        if self.holding:
            self.held_s[self.holding] = self.held_s.get(self.holding, 0.0) + held_s
        self.holding = ""
        return held_s

    def held(self, now: float) -> dict[str, float]:
        """Seconds held so far, by cause, with the present hold. The caller holds the lock."""
        held = dict(self.held_s)
        if self.holding:
            held[self.holding] = held.get(self.holding, 0.0) + now - self.held_since
        return held

    @property
    def total(self) -> int:
        """Prospects emitted."""
        return sum(self.prospects.values())

    @property
    def lag(self) -> int:
        """Prospects that wait, in all partitions of this worker."""
        return sum(self.lags.values())

    def of(self, verdict: Verdict) -> int:
        """Prospects emitted with that verdict."""
        return sum(count for reason, count in self.prospects.items() if reason.verdict is verdict)


@dataclass(slots=True)
class ServerCounters(FollowerCounters):
    """Totals since the start of one server process: `requests` by route and status, `checks` by reason."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    checks: Counter[Reason] = field(default_factory=Counter)
    histograms: dict[metric_catalogue.Metric, Histogram] = field(
        default_factory=lambda: _histograms(metric_catalogue.Side.SERVER), repr=False
    )

    def answered(self, route: str, status: int) -> None:
        """Count one answer."""
        with self.lock:
            self.requests[route, str(status)] += 1

    def checked(self, tally: Mapping[Reason, int], seconds: float | None = None) -> None:
        """Count verdicts, and the seconds that a question with one prospect took."""
        with self.lock:
            for reason, count in tally.items():
                self.checks[reason] += count
            if seconds is not None:
                self.histograms[metric_catalogue.CHECK_SECONDS].observe(seconds)


@dataclass(slots=True)
class PublisherCounters(LoopState):
    """Totals since the start of one publisher. `owner` says whether it owns its registers now."""

    owner: bool = False
    requests: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    lags: Mapping[tuple[str, int], int] = field(default_factory=dict)
    deltas: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    files: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    histograms: dict[metric_catalogue.Metric, Histogram] = field(
        default_factory=lambda: _histograms(metric_catalogue.Side.PUBLISHER), repr=False
    )

    def answered(self, requests: int, refused: int, ages_s: Iterable[float]) -> None:
        """Count consumed requests, how many of them were refused, and the age of each in seconds."""
        with self.lock:
            self.requests["taken"] += requests - refused
            self.requests["refused"] += refused
            ages = self.histograms[metric_catalogue.REQUEST_AGE]
            for age_s in ages_s:
                ages.observe(age_s)

    def published(self, registers: Iterable[str], seconds: float) -> None:
        """One transaction with a delta of each of these registers."""
        with self.lock:
            self.deltas.update(registers)
            self.histograms[metric_catalogue.PUBLISH_SECONDS].observe(seconds)

    def worked_on(self, files: int, refused: int) -> None:
        """So many files published, and refused."""
        with self.lock:
            self.files["published"] += files
            self.files["refused"] += refused

    def gave_up(self, error: ScrubError) -> None:
        """Everything is begun anew."""
        with self.lock:
            self.causes[cause_of(error)] += 1
            self._fails(error)

    def sums(self) -> dict[str, int]:
        """All totals that are not zero, for a log line."""
        with self.lock:
            totals = {
                "requests": self.requests.total(),
                "refused": self.requests["refused"],
                "ended": self.ended,
                "files": self.files["published"],
                "files_refused": self.files["refused"],
            }
        return {name: count for name, count in totals.items() if count}


@dataclass(slots=True)
class SideCounters(FollowerCounters):
    """Of whoever works beside the workers, and begins everything anew after a failure: `causes` says how often, and for
    what."""

    causes: Counter[str] = field(default_factory=Counter)

    def gave_up(self, error: ScrubError) -> None:
        """Everything is begun anew."""
        with self.lock:
            self.causes[cause_of(error)] += 1
            self._fails(error)


@dataclass(slots=True)
class ShadowCounters(SideCounters):
    """Totals since the start of one shadow: prospects `judged`, differences by what they change, failures by cause."""

    judged: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    histograms: dict[metric_catalogue.Metric, Histogram] = field(
        default_factory=lambda: _histograms(metric_catalogue.Side.SHADOW), repr=False
    )

    def compared(self, judged: int, verdicts: int, reasons: int) -> None:
        """Count prospects whose comparison is committed, and among them those with another verdict or reason."""
        with self.lock:
            self.judged += judged
            self.differences["verdict"] += verdicts
            self.differences["reason"] += reasons
            self.failures = 0


@dataclass(slots=True)
class RetryCounters(SideCounters):
    """Totals since the start of one `retry --follow`: `prospects` sent back by register, those `kept` by outcome, failures by
    cause."""

    prospects: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    histograms: dict[metric_catalogue.Metric, Histogram] = field(
        default_factory=lambda: _histograms(metric_catalogue.Side.RETRY), repr=False
    )

    def retried(self, register: str, outcome: str, count: int) -> None:
        """Count prospects of a register that were dealt with."""
        with self.lock:
            if outcome == "sent":
                self.prospects[register] += count
            else:
                self.kept[outcome] += count
