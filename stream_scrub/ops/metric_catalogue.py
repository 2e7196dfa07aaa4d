"""Every metric of every daemon, declared once: its name as it is scraped, its labels, its meaning.

`metrics.py` makes them, `loop_state.py` sets them. A metric that is not declared here cannot be set, and a test checks
that each of these is. No label ever holds a number, a key or an id of a prospect.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from stream_scrub.model import Reason, RegisterName, Verdict

PREFIX = "stream_scrub_"
_TOTAL = "_total"


def register_label(name: str) -> str:
    """The value of the label `register`. Requests may create scopes by the thousand, so all scopes of one name share
    one series, as in `internal@*`."""
    base, scope = RegisterName.split(name)
    return f"{base}@*" if scope else base


class MetricKind(StrEnum):
    """The kind of a metric, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Side(StrEnum):
    """The kind of daemon that exposes a metric, or a drill, which sends them. Except for the publisher, its series also have a label with its
    identity."""

    WORKER = "worker"
    PUBLISHER = "publisher"
    SERVER = "server"
    RETRY = "retry"
    SHADOW = "shadow"
    RECALL = "recall"
    FANOUT = "fanout"
    DRILL = "drill"

    @property
    def identity(self) -> tuple[str, ...]:
        """The name of the label with the identity. None for the publisher: there is only one."""
        return () if self is Side.PUBLISHER else (str(self),)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric."""

    name: str  # as it is scraped, with prefix, unit and `_total`
    kind: MetricKind
    sides: tuple[Side, ...]
    help: str
    labels: tuple[str, ...] = ()  # apart from the identity
    unit: str = ""
    # The label values, where they are a closed set. All exist from the start, so that the first abort is an increase
    # and not a new series.
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()  # a histogram's upper bounds, without infinity
    grows: bool = False  # an age, which grows while the process reports nothing


_WORKER, _PUBLISHER, _SERVER = (Side.WORKER,), (Side.PUBLISHER,), (Side.SERVER,)
_RETRY, _SHADOW, _RECALL, _FANOUT = (Side.RETRY,), (Side.SHADOW,), (Side.RECALL,), (Side.FANOUT,)
_BOTH, _ALL = (Side.WORKER, Side.PUBLISHER), tuple(each for each in Side if each is not Side.DRILL)
_WITH_INDEX = tuple(each for each in _ALL if each is not Side.FANOUT)
_FOLLOWERS = (Side.WORKER, Side.SERVER, Side.RETRY, Side.SHADOW, Side.RECALL)
_UNITS = ("seconds", "records", "bytes")
_declared: list[Metric] = []

# The time of one step; how long a prospect or a request waits; the prospects of a batch.
_STEP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ANSWER_S = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
_WAIT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86_400)
_RECORDS = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 25_000, 100_000)

# Causes of a hold (`StaleIndex.cause`), and of failures (`loop_state.cause_of`).
HOLDS = (
    *("no-seal", "log-behind", "log-unreachable", "log-open", "log-unsealed", "log-corrupt"),
    *("log-moved", "log-unfinished", "requests-waiting"),
    *("too-many-numbers", "clock", "register", "hash-key", "registry", "no-offsets", "leads-deleted"),
)
ABORTS = ("migrated", "uncertain", "unavailable", "too_large", "unwritable", "refused", "corrupt")
FAILURES = ("migrated", "taken_over", "uncertain", "unavailable", "too_large", "unwritable")
# Why a blocked prospect is not sent back.
KEPT = ("unchanged", "no-input", "too-often", "too-old", "lost-bytes", "refused")
_REASONS = tuple((str(reason.verdict), str(reason)) for reason in Reason)
LIMITS = ("http-connections", "judging-time")  # without a metric of their own


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


def _metric(
    kind: MetricKind,
    name: str,
    sides: tuple[Side, ...],
    help_: str,
    labels: tuple[str, ...] = (),
    **more: Any,
) -> Metric:
    full = name if name.startswith("process_") else PREFIX + name
    unit = next((unit for unit in _UNITS if full.removesuffix(_TOTAL).endswith(f"_{unit}")), "")
    metric = Metric(full, kind, sides, help_, labels, unit, **more)
    _declared.append(metric)
    return metric


_counter = partial(_metric, MetricKind.COUNTER)
_gauge = partial(_metric, MetricKind.GAUGE)
_histogram = partial(_metric, MetricKind.HISTOGRAM)

# fmt: off
BUILD_INFO = _gauge("build_info", _ALL,
    "Always 1; the labels have the versions, and `extension` (native or python) the reader of plain prospects.", ("version", "python", "librdkafka", "extension"))
TRANSPORT = _gauge("transport", _WORKER,
    "1 for this worker's transport, otherwise 0: `bulk` (the extension) or `python` (the client's Python binding).",
    ("transport",), values=(("bulk",), ("python",)))
READY = _gauge("ready", _ALL, "1 while /readyz answers 200, otherwise 0.")
HEARTBEAT_AGE = _gauge("heartbeat_age_seconds", _ALL, "Time since the loop's last heartbeat.", grows=True)

# -- Prospects.
READ = _counter("prospects_read_total", _WORKER, "Prospects polled, including those of a batch that was given up, which are read again.")
PROSPECTS = _counter("prospects_total", _WORKER, "Prospects emitted and committed, by verdict and reason.", ("verdict", "reason"), values=_REASONS)
STALE = _counter("prospects_stale_register_total", _WORKER,
    "Prospects blocked because a register that they need is missing, too old or past its next end.", ("register",))
BATCHES = _counter("batches_total", _WORKER, "Batches committed: one transaction each.")
BATCH_RECORDS = _histogram("batch_records", _WORKER, "Prospects in a committed batch.", buckets=_RECORDS)
BATCH_SECONDS = _histogram("batch_seconds", _WORKER, "From the receipt of a batch to its commit.", buckets=_STEP_S)
PROSPECT_AGE = _histogram("prospect_age_seconds", _WORKER, "Age, by Kafka's timestamp, of a batch's first prospect at its commit.", buckets=_WAIT_S)
SEND_OFFSETS = _histogram("send_offsets_seconds", _WORKER, "Sending a batch's offsets to the transaction.", buckets=_STEP_S)
COMMIT = _histogram("commit_seconds", _WORKER, "Committing the transaction.", buckets=_STEP_S)
ABORTS_TOTAL = _counter("aborts_total", _WORKER,
    "Batches given up, and recoveries that failed, by cause; migrated is normal in a rebalance.", ("cause",), values=_each(*ABORTS))
SESSIONS = _counter("producer_sessions_total", _WORKER, "Times that the producer was re-created.")
QUEUE = _gauge("producer_queue_records", _WORKER, "Records in the producer's queue after the last batch was emitted.")
LAG = _gauge("partition_lag_records", _WORKER,
    "Prospects between the committed offset and the partition's end (topic/partition with several inputs). Transaction markers count: with transactional producers it stays at 1. May be too low while `partition_end_age_seconds` grows.", ("partition",))
END_AGE = _gauge("partition_end_age_seconds", _WORKER,
    "Time since the partition's end was last confirmed, by an answer of the leader that another broker names; before the first answer since the partition was assigned.",
    ("partition",), grows=True)
ASSIGNED = _gauge("partitions_assigned", _WORKER, "Partitions assigned to this worker.")
WAITING = _gauge("partitions_waiting", _WORKER, "Assigned partitions that are not read, because the output topics have fewer.")
DELETED_UNREAD = _counter("prospects_deleted_unread_total", _WORKER,
    "Upper bound of prospects that retention deleted before they were read: transaction markers count too.", ("partition",))
RECREATED = _counter("topics_recreated_total", _BOTH,
    "Times that a topic was deleted and created again: it is read from its start, and unread records of the old one are lost.")
LIMIT_HITS = _counter("limit_hits_total", _ALL,
    "Times that a limit without a metric of its own was reached (docs/reference/limits.md).", ("limit",), values=_each(*LIMITS))
REBALANCES = _counter("rebalances_total", _WORKER, "Changes of the assigned partitions.", ("event",), values=_each("assigned", "revoked", "lost"))
REBALANCE_SECONDS = _histogram("rebalance_seconds", _WORKER, "From a change of the assignment to polling again.", buckets=_STEP_S)

# -- Holds, and the index.
HOLDING = _gauge("holding", _WORKER, "1 for the cause of the current hold, otherwise 0.", ("cause",), values=_each(*HOLDS))
HELD = _counter("held_seconds_total", _WORKER, "Time spent holding, by cause.", ("cause",), values=_each(*HOLDS))
POSITION = _gauge("index_position", _WITH_INDEX, "Log offset of the last seal applied; -1 before the first.")
LOG_LAG = _gauge("log_lag_seconds", _FOLLOWERS, "Time since the log's end was last confirmed; NaN before the first time.", grows=True)
SEAL_TO_ENFORCEMENT = _histogram("seal_to_enforcement_seconds", _FOLLOWERS, "From a seal's timestamp in Kafka to the swap.", buckets=_WAIT_S)
SWAPS = _counter("swaps_total", _FOLLOWERS, "Index swaps: new indexes in use.")
SWAP_SECONDS = _histogram("swap_seconds", _FOLLOWERS, "Time to apply a delta, up to the swap.", buckets=_STEP_S)
SWAP_STALL = _histogram("swap_stall_seconds", _FOLLOWERS, "The longest time that applying a delta kept other threads from running.", buckets=_STEP_S)
SNAPSHOTS_UNWRITTEN = _counter("snapshots_unwritten_total", _FOLLOWERS,
    "Times that a snapshot of the index could not be written to `worker.state_dir`.")
REGISTER_NUMBERS = _gauge("register_numbers", _WITH_INDEX, "Numbers in a register; all scopes of one name together, as in `internal@*`.", ("register",))
REGISTER_EFFECTIVE = _gauge("register_effective_timestamp_seconds", _WITH_INDEX, "The date of a register's list, seconds since 1970.", ("register",))
REGISTER_MAX_AGE = _gauge("register_max_age_seconds", _WITH_INDEX,
    "The smallest maximum age of a register in today's rules; absent without one.", ("register",))
REGISTER_NEXT_END = _gauge("register_next_end_timestamp_seconds", _WITH_INDEX,
    "When the next of a register's numbers ends, seconds since 1970; absent if none does.", ("register",))

# -- The publisher.
OWNER = _gauge("owner", _PUBLISHER, "1 while the publisher owns its registers, otherwise 0.")
REQUESTS = _counter("requests_total", _PUBLISHER, "Requests consumed, by outcome.", ("outcome",), values=_each("taken", "refused"))
OPPOSITIONS_UNREAD = _gauge("oppositions_unread", _PUBLISHER,
    "Refused requests that may be opt-outs and are not settled: people who opted out may be called.")
REQUESTS_MISSED = _counter("requests_missed_total", _PUBLISHER, "Requests that Kafka deleted before they were read.")
ATTEMPTS = _counter("attempts_total", _PUBLISHER,
    "Attempts to call that were read, by outcome; `forgotten`: there was no room to count them as long as the law requires.", ("outcome",), values=_each("taken", "refused", "forgotten"))
REQUEST_AGE = _histogram("request_age_seconds", _PUBLISHER, "From a request's timestamp in Kafka to the commit of its seal.", buckets=_WAIT_S)
REQUESTS_LAG = _gauge("requests_lag_records", _PUBLISHER,
    "Requests between the committed offset and the partition's end; `topic` is `requests` or `lifts`.", ("topic", "partition"))
DELTAS = _counter("deltas_published_total", _PUBLISHER, "Deltas published, by register.", ("register",))
PUBLISH_SECONDS = _histogram("publish_seconds", _PUBLISHER, "Time to publish the deltas of one transaction.", buckets=_STEP_S)
ENDED = _counter("numbers_ended_total", _PUBLISHER, "Numbers removed because they reached their end.")
ENDS_HELD = _gauge("ends_held", _PUBLISHER,
    "1 while oppositions stay after their end, because this machine's clock may be ahead of the brokers', otherwise 0.")
FILES = _counter("files_total", _PUBLISHER, "Dropped files, by outcome.", ("outcome",), values=_each("published", "refused"))
PUBLISHER_FAILURES = _counter("publisher_failures_total", _PUBLISHER,
    "Times that the publisher re-created its clients after a failure, by cause.", ("cause",), values=_each(*FAILURES))

# -- The server.
HTTP_REQUESTS = _counter("http_requests_total", _SERVER, "HTTP requests answered, by route and status; `other`: unknown paths.", ("route", "status"))
CHECKS = _counter("checks_total", _SERVER, "Verdicts given, by verdict and reason.", ("verdict", "reason"), values=_REASONS)
CHECK_SECONDS = _histogram("check_seconds", _SERVER, "From a request's headers to its answer, for requests with one prospect.", buckets=_ANSWER_S)
TOKEN_VERDICTS = _counter("token_verdicts_total", _SERVER, "Verdicts given to a token.", ("token",))
TOKEN_NUMBERS = _counter("token_numbers_total", _SERVER,
    "Numbers that a token asked about for the first time on a day (UTC), by spelling; an estimate of each process.", ("token",))

# -- The retry.
RETRIED = _counter("retried_prospects_total", _RETRY, "Blocked prospects sent back because their register can be used again.", ("register",))
RETRY_KEPT = _counter("retry_kept_total", _RETRY,
    "Blocked prospects not sent back although their register can be used again: same verdict, no input topic, retried too often, too old, bytes not on the blocked topic, or refused by the topic.", ("outcome",), values=_each(*KEPT))
RETRY_FAILURES = _counter("retry_failures_total", _RETRY,
    "Batches given up, after which the clients are re-created, by cause.", ("cause",), values=_each(*FAILURES))

# -- The shadow.
SHADOW_JUDGED = _counter("shadow_judged_total", _SHADOW, "Emitted prospects that the shadow has judged again.")
SHADOW_DIFFERENCES = _counter("shadow_differences_total", _SHADOW,
    "Judged prospects with a different verdict, or a different reason only.", ("change",), values=_each("verdict", "reason"))
SHADOW_FAILURES = _counter("shadow_failures_total", _SHADOW,
    "Batches given up, after which the clients are re-created, by cause.", ("cause",), values=_each(*FAILURES))

# -- The recall.
OUTSTANDING = _gauge("recall_outstanding_numbers", _RECALL, "Numbers that were allowed and may still be called, by country and the last day on which they may; a number counts for each partition and kind of call.", ("country", "last_day"))
RECALLED = _counter("recall_numbers_total", _RECALL, "Numbers recalled, by reason.", ("reason",), values=_each(*(str(each) for each in Reason if each.verdict is Verdict.BLOCKED)))
RECALL_SECONDS = _histogram("recall_seconds", _RECALL, "From a seal's timestamp in Kafka to the commit of the recalls that it causes.", buckets=_WAIT_S)
RECALL_LAG = _gauge("recall_lag_records", _RECALL, "Allowed prospects that were not judged again yet; transaction markers count.", ("partition",))
RECALL_FAILURES = _counter("recall_failures_total", _RECALL, "Batches given up, by cause; migrated is normal in a rebalance.", ("cause",), values=_each(*FAILURES))

# -- The fan-out.
FANOUT_EVENTS = _counter("fanout_events_total", _FANOUT,
    "Events that need no more tries, by outcome. confirmed: read back; accepted: the target says so; superseded: a later event replaced it; dead: given up.", ("outcome",), values=_each("confirmed", "accepted", "superseded", "dead"))
FANOUT_TRIES_FAILED = _counter("fanout_tries_failed_total", _FANOUT,
    "Tries that failed: away (no answer, or an error of the whole target) or refused (the answer does not confirm the event).", ("cause",), values=_each("away", "refused"))
FANOUT_OPEN = _gauge("fanout_open_events", _FANOUT, "Events that were read and not delivered yet.")
FANOUT_OLDEST = _gauge("fanout_oldest_open_seconds", _FANOUT, "Age of the oldest open event, since its commit in Kafka; 0 if there is none.")
FANOUT_SECONDS = _histogram("fanout_seconds", _FANOUT, "From an event's commit in Kafka to the target's confirming answer.", buckets=_WAIT_S)
FANOUT_FAILURES = _counter("fanout_failures_total", _FANOUT,
    "Batches given up, after which the clients are re-created, by cause.", ("cause",), values=_each(*FAILURES))

# -- A drill, which no one scrapes: it sends them to a Pushgateway at its end.
DRILL_ENDED = _gauge("drill_end_timestamp_seconds", (Side.DRILL,), "When the last drill ended, seconds since 1970.")
DRILL_SUCCESS = _gauge("drill_success_timestamp_seconds", (Side.DRILL,), "When the last drill ended that reached every station in time, seconds since 1970.")
DRILL_STATION = _gauge("drill_station_seconds", (Side.DRILL,), "How long the last drill took to reach a station; absent for one that it did not reach.", ("station",))

# -- The process, by Prometheus' own names.
MEMORY = _gauge("process_resident_memory_bytes", _ALL, "Resident memory of the process.")
OPEN_FDS = _gauge("process_open_fds", _ALL, "Open file descriptors.")
CPU = _counter("process_cpu_seconds_total", _ALL, "User and system time.")
STARTED = _gauge("process_start_time_seconds", _ALL, "When the process began, seconds since 1970.")
# fmt: on

CATALOGUE: tuple[Metric, ...] = tuple(_declared)


def of(side: Side) -> list[Metric]:
    """The metrics of one side, in their order."""
    return [metric for metric in CATALOGUE if side in metric.sides]
