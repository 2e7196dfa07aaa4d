"""Every metric that a worker, a publisher or a server gives, declared once: its name as it is scraped, its labels, its meaning.

Only a declaration: `counters.py` counts, `collect.py` gathers, `prometheus.py` renders. What is not declared here cannot
be given, and a test holds that all of it is. No label ever holds a number, a key or an id of a prospect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stream_scrub.model import Reason, RegisterName

PREFIX = "stream_scrub_"
_TOTAL = "_total"


def register_label(name: str) -> str:
    """The value of the label `register`. Whoever writes requests may create scopes by the thousand, so all scopes of
    one name share one series, as `internal@*`."""
    base, scope = RegisterName.split(name)
    return f"{base}@*" if scope else base


class MetricKind(StrEnum):
    """The kind of a metric, as Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Side(StrEnum):
    """Which process gives a metric. Metrics of a worker and of a server have a label with its identity besides their
    own."""

    WORKER = "worker"
    PUBLISHER = "publisher"
    SERVER = "server"
    RETRY = "retry"
    SHADOW = "shadow"

    @property
    def identity(self) -> tuple[str, ...]:
        """The name of the label that holds the identity; of a publisher there is but one."""
        return () if self is Side.PUBLISHER else (str(self),)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `name` is what is scraped, with prefix, unit and `_total`; `labels` are those besides the identity.

    `values` are the values of the labels where they are a closed set: they are all given from the start, so that the
    first abort is an increase and not a new series. `buckets` are a histogram's upper bounds, without infinity.
    `grows` says that a gauge is an age: it grows while the process reports nothing.
    """

    name: str
    kind: MetricKind
    sides: tuple[Side, ...]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()
    grows: bool = False

    def all_labels(self, side: Side) -> tuple[str, ...]:
        """The labels of a series, in their order."""
        return (*side.identity, *self.labels)


_WORKER, _PUBLISHER, _SERVER = (Side.WORKER,), (Side.PUBLISHER,), (Side.SERVER,)
_RETRY, _SHADOW = (Side.RETRY,), (Side.SHADOW,)
_BOTH, _ALL = (Side.WORKER, Side.PUBLISHER), tuple(Side)
_FOLLOWERS = (Side.WORKER, Side.SERVER, Side.RETRY, Side.SHADOW)
_UNITS = ("seconds", "records", "bytes")
_declared: list[Metric] = []

# What one step takes; what a prospect or a request waits; how many prospects a batch has.
_STEP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ANSWER_S = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
_WAIT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)
_RECORDS = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 25_000, 100_000)

# Causes: of a hold, as `StaleIndex` is raised with them, and of what is given up, as the errors are called.
HOLDS = (
    *("no-seal", "log-behind", "log-unreachable", "log-open", "log-unsealed", "log-corrupt"),
    *("log-moved", "log-unfinished"),
    *("too-many-numbers", "clock", "register", "no-offsets"),
)
ABORTS = ("migrated", "uncertain", "unavailable", "too_large", "unwritable", "refused", "corrupt")
FAILURES = ("migrated", "taken_over", "uncertain", "unavailable", "too_large", "unwritable")
KEPT = (
    "unchanged",
    "no-input",
    "too-often",
    "too-old",
    "lost-bytes",
    "refused",
)  # what becomes of a blocked prospect that stays
LIMITS = ("http-connections", "judging-time")  # those that no other metric shows


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


def _metric(
    name: str,
    kind: MetricKind,
    sides: tuple[Side, ...],
    help_: str,
    labels: tuple[str, ...] = (),
    *,
    values: tuple[tuple[str, ...], ...] = (),
    buckets: Sequence[float] = (),
    grows: bool = False,
) -> Metric:
    full = name if name.startswith("process_") else PREFIX + name
    unit = next((unit for unit in _UNITS if full.removesuffix(_TOTAL).endswith(f"_{unit}")), "")
    made = Metric(full, kind, sides, help_, labels, unit, values, tuple(buckets), grows)
    _declared.append(made)
    return made


# fmt: off
BUILD_INFO = _metric("build_info", MetricKind.GAUGE, _ALL,
    "1; the versions are in the labels, `extension` is who reads plain prospects (native or python).",
    ("version", "python", "librdkafka", "extension"))
READY = _metric("ready", MetricKind.GAUGE, _ALL, "1 while /readyz says so, else 0.")
HEARTBEAT_AGE = _metric("heartbeat_age_seconds", MetricKind.GAUGE, _ALL,
    "Since the loop last said that it goes on.", grows=True)

# -- The way of the prospects.
READ = _metric("prospects_read_total", MetricKind.COUNTER, _WORKER,
    "Prospects polled, also those whose batch was given up and that are read again.")
PROSPECTS = _metric("prospects_total", MetricKind.COUNTER, _WORKER,
    "Prospects emitted and committed, by verdict and reason.",
    ("verdict", "reason"), values=tuple((str(reason.verdict), str(reason)) for reason in Reason))
STALE = _metric("prospects_stale_register_total", MetricKind.COUNTER, _WORKER,
    "Prospects blocked because a register that they need is missing, too old or past its next end, by register.", ("register",))
BATCHES = _metric("batches_total", MetricKind.COUNTER, _WORKER, "Batches committed: one transaction each.")
BATCH_RECORDS = _metric("batch_records", MetricKind.HISTOGRAM, _WORKER, "Prospects in a committed batch.", buckets=_RECORDS)
BATCH_SECONDS = _metric("batch_seconds", MetricKind.HISTOGRAM, _WORKER,
    "From the receipt of a batch to its commit.", buckets=_STEP_S)
PROSPECT_AGE = _metric("prospect_age_seconds", MetricKind.HISTOGRAM, _WORKER,
    "Age, by Kafka's timestamp, of a batch's first prospect at its commit.", buckets=_WAIT_S)
SEND_OFFSETS = _metric("send_offsets_seconds", MetricKind.HISTOGRAM, _WORKER,
    "Sending a batch's offsets to the transaction.", buckets=_STEP_S)
COMMIT = _metric("commit_seconds", MetricKind.HISTOGRAM, _WORKER, "Committing the transaction.", buckets=_STEP_S)
ABORTS_TOTAL = _metric("aborts_total", MetricKind.COUNTER, _WORKER,
    "Batches given up, and recoveries that failed, by cause; migrated is normal in a rebalance.",
    ("cause",), values=_each(*ABORTS))
SESSIONS = _metric("producer_sessions_total", MetricKind.COUNTER, _WORKER, "Times that the producer was made anew.")
QUEUE = _metric("producer_queue_records", MetricKind.GAUGE, _WORKER,
    "Records in the producer's queue when the last batch had been emitted.")
LAG = _metric("partition_lag_records", MetricKind.GAUGE, _WORKER,
    "Prospects from what is committed to the partition's end (topic/partition with several inputs). Markers count: it stays at 1 where producers are transactional.",
    ("partition",))
ASSIGNED = _metric("partitions_assigned", MetricKind.GAUGE, _WORKER, "Partitions that this worker has.")
WAITING = _metric("partitions_waiting", MetricKind.GAUGE, _WORKER,
    "Partitions that this worker has and does not read: the output topics have fewer than the prospects.")
DELETED_UNREAD = _metric("prospects_deleted_unread_total", MetricKind.COUNTER, _WORKER,
    "Prospects that retention deleted before they were read, at most so many: transaction markers count too.", ("partition",))
MADE_ANEW = _metric("topics_made_anew_total", MetricKind.COUNTER, _BOTH,
    "Times that a topic was found deleted and made anew: it is read from its start, and what was unread on the old one is lost.")
LIMIT_HITS = _metric("limit_hits_total", MetricKind.COUNTER, _ALL,
    "Times that a limit was hit which no other metric tells of (docs/reference/limits.md).",
    ("limit",), values=_each(*LIMITS))
REBALANCES = _metric("rebalances_total", MetricKind.COUNTER, _WORKER, "Changes of the assignment.",
    ("event",), values=_each("assigned", "revoked", "lost"))
REBALANCE_SECONDS = _metric("rebalance_seconds", MetricKind.HISTOGRAM, _WORKER,
    "From a change of the assignment to polling again.", buckets=_STEP_S)

# -- Holds, and the index.
HOLDING = _metric("holding", MetricKind.GAUGE, _WORKER, "1 for the cause that it holds for now, else 0.",
    ("cause",), values=_each(*HOLDS))
HELD = _metric("held_seconds_total", MetricKind.COUNTER, _WORKER, "Time spent holding, by cause.",
    ("cause",), values=_each(*HOLDS))
POSITION = _metric("index_position", MetricKind.GAUGE, _ALL, "Log offset of the last seal applied; -1 before the first.")
LOG_LAG = _metric("log_lag_seconds", MetricKind.GAUGE, _FOLLOWERS,
    "Since the log's end was last confirmed; NaN before the first time.", grows=True)
SEAL_TO_ENFORCEMENT = _metric("seal_to_enforcement_seconds", MetricKind.HISTOGRAM, _FOLLOWERS,
    "From a seal's timestamp in Kafka to the swap.", buckets=_WAIT_S)
SWAPS = _metric("swaps_total", MetricKind.COUNTER, _FOLLOWERS, "New indexes taken into use.")
SWAP_SECONDS = _metric("swap_seconds", MetricKind.HISTOGRAM, _FOLLOWERS, "Applying a delta until the swap.", buckets=_STEP_S)
SWAP_STALL = _metric("swap_stall_seconds", MetricKind.HISTOGRAM, _FOLLOWERS,
    "The longest that applying a delta kept other threads from running.", buckets=_STEP_S)
REGISTER_NUMBERS = _metric("register_numbers", MetricKind.GAUGE, _ALL, "Numbers in a register; the scoped ones of one name are told together, as `internal@*`.", ("register",))
REGISTER_EFFECTIVE = _metric("register_effective_timestamp_seconds", MetricKind.GAUGE, _ALL,
    "The moment that a register's list speaks of, since 1970.", ("register",))
REGISTER_MAX_AGE = _metric("register_max_age_seconds", MetricKind.GAUGE, _ALL,
    "The strictest age that today's rules ask of a register; absent where none does.", ("register",))
REGISTER_NEXT_END = _metric("register_next_end_timestamp_seconds", MetricKind.GAUGE, _ALL,
    "When the next of a register's numbers ends, since 1970; absent where none does.", ("register",))

# -- The publisher.
OWNER = _metric("owner", MetricKind.GAUGE, _PUBLISHER, "1 while it owns its registers, else 0.")
REQUESTS = _metric("requests_total", MetricKind.COUNTER, _PUBLISHER, "Requests consumed, by what became of them.",
    ("outcome",), values=_each("taken", "refused"))
REQUESTS_MISSED = _metric("requests_missed_total", MetricKind.COUNTER, _PUBLISHER,
    "Requests that Kafka deleted before they were read.")
REQUEST_AGE = _metric("request_age_seconds", MetricKind.HISTOGRAM, _PUBLISHER,
    "From a request's timestamp in Kafka to the commit of its seal.", buckets=_WAIT_S)
REQUESTS_LAG = _metric("requests_lag_records", MetricKind.GAUGE, _PUBLISHER,
    "Requests from what is taken to the partition's end; `topic` is `requests` or `lifts`.", ("topic", "partition"))
DELTAS = _metric("deltas_published_total", MetricKind.COUNTER, _PUBLISHER, "Deltas published, by register.", ("register",))
PUBLISH_SECONDS = _metric("publish_seconds", MetricKind.HISTOGRAM, _PUBLISHER,
    "Publishing the deltas of one transaction.", buckets=_STEP_S)
ENDED = _metric("numbers_ended_total", MetricKind.COUNTER, _PUBLISHER, "Numbers removed because their end had come.")
FILES = _metric("files_total", MetricKind.COUNTER, _PUBLISHER, "Dropped files worked on.",
    ("outcome",), values=_each("published", "refused"))
PUBLISHER_FAILURES = _metric("publisher_failures_total", MetricKind.COUNTER, _PUBLISHER,
    "Times that everything was given up and begun anew, by cause.", ("cause",), values=_each(*FAILURES))

# -- The server.
HTTP_REQUESTS = _metric("http_requests_total", MetricKind.COUNTER, _SERVER,
    "Requests answered, by what was asked and the answer's status; `other` are paths that there are not.", ("route", "status"))
CHECKS = _metric("checks_total", MetricKind.COUNTER, _SERVER,
    "Verdicts given to who asked, by verdict and reason.",
    ("verdict", "reason"), values=tuple((str(reason.verdict), str(reason)) for reason in Reason))
CHECK_SECONDS = _metric("check_seconds", MetricKind.HISTOGRAM, _SERVER,
    "From a question's headers to its answer, of questions with one prospect.", buckets=_ANSWER_S)

# -- The retry.
RETRIED = _metric("retried_prospects_total", MetricKind.COUNTER, _RETRY,
    "Blocked prospects that were sent back since their register can be used again, by register.", ("register",))
RETRY_KEPT = _metric("retry_kept_total", MetricKind.COUNTER, _RETRY,
    "Blocked prospects of registers that can be used again which were not sent back: the verdict would be the same, they went too often, they are too old, their bytes are not on the blocked topic, or the topic refused them.",
    ("outcome",), values=_each(*KEPT))
RETRY_FAILURES = _metric("retry_failures_total", MetricKind.COUNTER, _RETRY,
    "Times that a batch was given up and everything begun anew, by cause.", ("cause",), values=_each(*FAILURES))

# -- The shadow.
SHADOW_JUDGED = _metric("shadow_judged_total", MetricKind.COUNTER, _SHADOW,
    "Prospects that came out and were judged again by the shadow's settings.")
SHADOW_DIFFERENCES = _metric("shadow_differences_total", MetricKind.COUNTER, _SHADOW,
    "Of them, those that would come out otherwise: with another verdict, or with another reason alone.",
    ("change",), values=_each("verdict", "reason"))
SHADOW_FAILURES = _metric("shadow_failures_total", MetricKind.COUNTER, _SHADOW,
    "Times that a batch was given up and everything begun anew, by cause.", ("cause",), values=_each(*FAILURES))

# -- The process, by the names that everybody uses.
MEMORY = _metric("process_resident_memory_bytes", MetricKind.GAUGE, _ALL, "Resident memory of the process.")
OPEN_FDS = _metric("process_open_fds", MetricKind.GAUGE, _ALL, "Open file descriptors.")
CPU = _metric("process_cpu_seconds_total", MetricKind.COUNTER, _ALL, "User and system time.")
STARTED = _metric("process_start_time_seconds", MetricKind.GAUGE, _ALL, "When the process began, since 1970.")
# fmt: on

CATALOGUE: tuple[Metric, ...] = tuple(_declared)


def of(side: Side) -> list[Metric]:
    """The metrics that one side gives, in their order."""
    return [metric for metric in CATALOGUE if side in metric.sides]
