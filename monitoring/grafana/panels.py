"""What the dashboard shows: every panel with its meaning and what is normal, its expressions and its unit."""  # noqa: INP001 - beside make.py

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# One installation, the workers that are chosen, and the publisher: what it says carries no `worker` and no `server`.
ALL = 'namespace=~"$namespace"'
OURS = ALL + ',worker=~"$worker"'
PUBLISHER = ALL + ',worker="",server="",retry=""'
SERVER = ALL + ',server!=""'
RETRY = ALL + ',retry!=""'
RECALL = ALL + ',recall!=""'
SHADOW = ALL + ',shadow!=""'
FANOUT = ALL + ',fanout!=""'

GREEN, YELLOW, RED = "green", "yellow", "red"
WAITING = ((None, GREEN), (10_000, YELLOW), (1_000_000, RED))
NONE_IS_WELL = ((None, GREEN), (1, RED))
A_SECOND = ((None, GREEN), (1, RED))
SMALL, HALF = (4, 4), (12, 8)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` are expressions by their legend; `steps` the values from which on a colour holds; `words`
    say what a value is called, and its colour. `size` is width and height on a grid of 24 columns."""

    title: str
    description: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    size: tuple[int, int] = (8, 8)
    stacked: bool = False
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),)
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def rate(metric: str, by: str = "", select: str = OURS) -> str:
    """A counter's growth a second."""
    return f"sum by ({by}) (rate({metric}{{{select}}}[$__rate_interval]))"


def spread(metric: str, select: str = OURS, prefix: str = "") -> dict[str, str]:
    """A histogram's half and its worst hundredth."""
    buckets = rate(f"{metric}_bucket", "le", select)
    return {
        f"{prefix}{name}": f"histogram_quantile({q}, {buckets})"
        for name, q in (("half", 0.5), ("99 %", 0.99))
    }


def each(metric: str) -> dict[str, str]:
    """A gauge of every worker that is chosen."""
    return {"{{worker}}": f"max by (worker) ({metric}{{{OURS}}})"}


def own(expression: str) -> dict[str, str]:
    """What the client library says of every process, of our own ones: `%s` is where the labels go."""
    by = "max by (worker) (%s and on (job, instance, worker) stream_scrub_build_info{%s})"
    return {
        legend: by % (expression % who, who)
        for legend, who in (("{{worker}}", OURS), ("publisher", PUBLISHER))
    }


UNUSABLE = OURS + ',reason=~"invalid-number|no-rule|stale-register|unknown-country|unreadable"'
PROSPECTS = rate("stream_scrub_prospects_total")
EFFECTIVE = f"stream_scrub_register_effective_timestamp_seconds{{{ALL}}}"
MAX_AGE = f"stream_scrub_register_max_age_seconds{{{ALL}}}"
NEXT_END = f"stream_scrub_register_next_end_timestamp_seconds{{{ALL}}}"
READ_AGAIN = f"clamp_min(1 - {PROSPECTS} / {rate('stream_scrub_prospects_read_total')}, 0)"
HELD = f"{rate('stream_scrub_held_seconds_total', 'cause')} / on () group_left () count(stream_scrub_ready{{{OURS}}})"
READY = f'stream_scrub_ready{{{ALL},worker!=""}}'
FIRING = f'count(ALERTS{{alertstate="firing",service="stream-scrub",{ALL}}}) or vector(0)'

WORKING = [
    Panel(
        "Workers ready",
        "How many could scrub now. All of them is normal, one less for seconds while one restarts.",
        {"": f"sum({READY}) / count({READY})"},
        unit="percentunit",
        kind="stat",
        size=SMALL,
        steps=((None, RED), (0.5, YELLOW), (1, GREEN)),
    ),
    Panel(
        "Workers holding",
        "They take no prospects because no verdict would be safe. None is normal, but for a moment at a start.",
        {"": f"sum(max by (namespace, worker) (stream_scrub_holding{{{ALL}}}))"},
        kind="stat",
        size=SMALL,
        steps=NONE_IS_WELL,
    ),
    Panel(
        "Prospects waiting",
        "Records of the prospects topic that no worker has taken yet. Near nothing is normal; producers that use"
        " transactions leave one a partition.",
        {"": f"sum(stream_scrub_partition_lag_records{{{ALL}}})"},
        kind="stat",
        size=SMALL,
        steps=WAITING,
    ),
    Panel(
        "Oldest list",
        "How much of the age that today's rules allow the oldest list has used. At 100 % workers hold on prospects"
        " that need it.",
        {"": f"max((time() - {EFFECTIVE}) / {MAX_AGE})"},
        unit="percentunit",
        kind="stat",
        size=SMALL,
        steps=((None, GREEN), (0.8, YELLOW), (1, RED)),
    ),
    Panel(
        "Publisher at work",
        "Whether one owns its registers: only then are opt-outs taken and ends published.",
        {"": f"max(stream_scrub_owner{{{ALL}}})"},
        kind="stat",
        size=SMALL,
        steps=((None, RED), (1, GREEN)),
        words={"0": ("owns nothing", RED), "1": ("at work", GREEN)},
    ),
    Panel(
        "Alerts firing",
        "Those of monitoring/prometheus/alerts.yaml. Each has its section in docs/runbook.md. None is normal.",
        {"": FIRING},
        kind="stat",
        size=SMALL,
        steps=NONE_IS_WELL,
    ),
    Panel(
        "Prospects a second",
        "What came out, emitted and committed. The shares change slowly, with producers and lists.",
        {"{{verdict}}": rate("stream_scrub_prospects_total", "verdict")},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Prospects waiting, by worker",
        "Between a worker's own next offset and the end of its partitions. It rises and falls again. (The client's own"
        " consumer_lag is wrong under transactions.)",
        {"{{worker}}": f"sum by (worker) (stream_scrub_partition_lag_records{{{OURS}}})"},
        stacked=True,
    ),
    Panel(
        "Prospects' age",
        "From the Kafka timestamp of a batch's first prospect to its commit. A tenth of a second is normal; after an"
        " outage it starts at the outage's length and falls.",
        spread("stream_scrub_prospect_age_seconds"),
        unit="s",
    ),
    Panel(
        "Holding, by cause",
        "Red while any worker holds for that cause. docs/runbook.md says what to do about each. All green is normal.",
        {"{{cause}}": f"max by (cause) (stream_scrub_holding{{{OURS}}})"},
        kind="state-timeline",
        size=HALF,
        words={"0": ("no", GREEN), "1": ("holding", RED)},
    ),
    Panel(
        "Ready, by worker",
        "What /readyz says: the index is usable, and partitions are assigned or the worker stands by. Gaps are restarts.",
        each("stream_scrub_ready"),
        kind="state-timeline",
        size=HALF,
        words={"0": ("not ready", RED), "1": ("ready", GREEN)},
    ),
]
VERDICTS = [
    Panel(
        "Allowed, by reason",
        "consented, contract and exempt, or clear where the law asks for no consent: the mix is that of your leads, and"
        " steady.",
        {"{{reason}}": rate("stream_scrub_prospects_total", "reason", OURS + ',verdict="allowed"')},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Blocked, by reason",
        "opposed, no-consent and not-washed are the law at work. The others are leads, lists or rules to look at.",
        {"{{reason}}": rate("stream_scrub_prospects_total", "reason", OURS + ',verdict="blocked"')},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Not judged by their number",
        "The share that came out blocked because nobody could judge it. A low share that stays as it is is normal; a"
        " jump is a producer, a list or a rule.",
        {
            "{{reason}}": f"{rate('stream_scrub_prospects_total', 'reason', UNUSABLE)} / on () group_left () {PROSPECTS}"
        },
        unit="percentunit",
        stacked=True,
    ),
]
LOOP = [
    Panel(
        "Batches a second, by worker",
        "Committed transactions: at most 1000 / worker.batch_ms of each worker, fewer and fuller ones under load.",
        {"{{worker}}": rate("stream_scrub_batches_total", "worker")},
        unit="ops",
    ),
    Panel(
        "Prospects a batch",
        "Few when prospects come slowly, at most worker.batch_records. All full: a backlog is being worked off.",
        spread("stream_scrub_batch_records"),
    ),
    Panel(
        "Time of a batch",
        "From receipt to commit. It grows with the batch; some tens of milliseconds are normal.",
        spread("stream_scrub_batch_seconds"),
        unit="s",
    ),
    Panel(
        "Commit",
        "What brokers take to end a transaction, and before that to add its offsets. Some tens of milliseconds are"
        " normal; at 10 s a batch is given up.",
        spread("stream_scrub_commit_seconds", prefix="commit, ")
        | spread("stream_scrub_send_offsets_seconds", prefix="send offsets, "),
        unit="s",
    ),
    Panel(
        "Batches given up, by cause",
        "Each is taken again: nothing is lost or doubled. migrated is normal at rebalances; any other is something out of"
        " order.",
        {"{{cause}}": rate("stream_scrub_aborts_total", "cause")},
        unit="ops",
    ),
    Panel(
        "Read again",
        "The share of prospects that were read and not committed from that reading: batches given up, and holds. Near"
        " nothing is normal.",
        {"read again": READ_AGAIN},
        unit="percentunit",
    ),
    Panel(
        "Partitions, by worker",
        "How they are spread: evenly, and all of them together. More workers than partitions leave some that stand by.",
        each("stream_scrub_partitions_assigned"),
        stacked=True,
    ),
    Panel(
        "Rebalances, by event",
        "assigned and revoked come with each start and stop of a worker. lost is a worker that was thrown out of its group.",
        {"{{event}}": rate("stream_scrub_rebalances_total", "event")},
        unit="ops",
    ),
    Panel(
        "Time of a rebalance",
        "From the change of partitions until prospects are taken again. A second or two is normal.",
        spread("stream_scrub_rebalance_seconds"),
        unit="s",
    ),
    Panel(
        "Prospects waiting, by partition",
        "The twenty with the most. Much alike is normal; one that stands out has a hot key, or a worker that is stuck.",
        {"{{partition}}": f"topk(20, max by (partition) (stream_scrub_partition_lag_records{{{OURS}}}))"},
    ),
    Panel(
        "Age of the lag, by partition",
        "The twenty with the oldest. Seconds are normal. While it grows, prospects may wait that no lag shows: the broker that"
        " answers may have been deposed and not know it.",
        {"{{partition}}": f"topk(20, max by (partition) (stream_scrub_partition_end_age_seconds{{{OURS}}}))"},
        unit="s",
    ),
    Panel(
        "Blocked for a stale register, by register",
        "Prospects a second that are blocked because a list that they need is missing, too old or past its next end. None is"
        " normal.",
        {"{{register}}": rate("stream_scrub_prospects_stale_register_total", "register")},
    ),
    Panel(
        "Partitions without a counterpart",
        "Partitions of the prospects that are not read, since the output topics have fewer. None is normal.",
        {"{{worker}}": f"max by (worker) (stream_scrub_partitions_waiting{{{OURS}}})"},
    ),
    Panel(
        "Topics re-created, prospects deleted unread",
        "Topics that were deleted and re-created under their old name, and prospects that retention deleted before they"
        " were read. None is normal: they are lost.",
        {
            "re-created": f"sum(stream_scrub_topics_recreated_total{{{ALL}}})",
            "deleted unread": f"sum(stream_scrub_prospects_deleted_unread_total{{{OURS}}})",
        },
        steps=NONE_IS_WELL,
    ),
    Panel(
        "Snapshots not written",
        "Snapshots of the index that could not be written to worker.state_dir. None is normal: the next start reads the"
        " whole log.",
        {"unwritten": f"sum(increase(stream_scrub_snapshots_unwritten_total{{{ALL}}}[$__rate_interval]))"},
        steps=NONE_IS_WELL,
    ),
    Panel(
        "Limits hit a second",
        "Limits that no other panel tells of. None is normal: `http-connections` is somebody who connects and asks nothing,"
        " `judging-time` prospects that cost more than two seconds a batch.",
        {"{{limit}}": rate("stream_scrub_limit_hits_total", "limit", ALL)},
        unit="ops",
    ),
    Panel(
        "Producer's queue, by worker",
        "Records that the client has not sent yet. It empties with each commit; at 200 000 the loop waits for it.",
        each("stream_scrub_producer_queue_records"),
    ),
    Panel(
        "Producers re-created",
        "After a commit without an answer, or when one of its requests may come late, a new producer takes over. A few when a broker restarts; without the extension also at each commit that takes 80 ms or more.",
        {"{{worker}}": rate("stream_scrub_producer_sessions_total", "worker")},
        unit="ops",
    ),
    Panel(
        "Time held, by cause",
        "The share of their time that workers held. Nothing is normal, but for seconds of log-behind at each start.",
        {"{{cause}}": HELD},
        unit="percentunit",
    ),
    Panel(
        "Heartbeat's age",
        "How long ago each loop last came round. Under a second is normal, some seconds while a broker does not answer."
        " The liveness probe looks at it.",
        each("stream_scrub_heartbeat_age_seconds")
        | {"publisher": f"max(stream_scrub_heartbeat_age_seconds{{{PUBLISHER}}})"},
        unit="s",
    ),
]
INDEX = [
    Panel(
        "Position",
        "The log offset of the last seal that each has applied. All lines lie on one another; one that stays behind judges"
        " by an older index.",
        each("stream_scrub_index_position")
        | {"publisher": f"max(stream_scrub_index_position{{{PUBLISHER}}})"},
        unit="none",
    ),
    Panel(
        "Numbers, by register",
        "The registers' sizes. They change by a little each day; a cliff is a wrong list, or a new one.",
        {"{{register}}": f"max by (register) (stream_scrub_register_numbers{{{ALL}}})"},
    ),
    Panel(
        "Lists' age",
        "Since the day that each list speaks of, and the most that today's rules allow. A saw is normal: it falls with each"
        " import.",
        {
            "{{register}}": f"time() - max by (register) ({EFFECTIVE})",
            "{{register}}, at most": f"min by (register) ({MAX_AGE})",
        },
        unit="s",
    ),
    Panel(
        "Until the next end",
        "When the next number of a register ends. Below zero nobody publishes its ends, and a minute later it is stale.",
        {"{{register}}": f"min by (register) ({NEXT_END}) - time()"},
        unit="s",
    ),
    Panel(
        "Log lag",
        "Since each worker last knew that it was at the log's end. Half a second is normal; above rules.index_lag_max_s"
        " (30 unless changed) it holds.",
        each("stream_scrub_log_lag_seconds"),
        unit="s",
        steps=((None, GREEN), (30, RED)),
    ),
    Panel(
        "From seal to enforcement",
        "From a delta's seal, by its publisher's clock, until a worker judges by it. Within a second is normal.",
        spread("stream_scrub_seal_to_enforcement_seconds"),
        unit="s",
        steps=A_SECOND,
    ),
    Panel(
        "Swaps, by worker",
        "New indexes taken into use: one a delta, and the same for all workers.",
        {"{{worker}}": rate("stream_scrub_swaps_total", "worker")},
        unit="ops",
    ),
    Panel(
        "Time of a swap",
        "What a worker needs to apply a delta, beside its loop. It grows with the delta and the register; milliseconds for"
        " an opt-out.",
        spread("stream_scrub_swap_seconds"),
        unit="s",
    ),
    Panel(
        "Stall of a swap",
        "For how long at a time that keeps the loop waiting. At most 50 ms is normal.",
        spread("stream_scrub_swap_stall_seconds"),
        unit="s",
        steps=((None, GREEN), (0.05, RED)),
    ),
]
PUBLISHING = [
    Panel(
        "Requests a second, by outcome",
        "Opt-outs, consents, withdrawals and corrections. Hardly any refused is normal: behind each is a person.",
        {"{{outcome}}": rate("stream_scrub_requests_total", "outcome", ALL)},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Attempts a second, by outcome",
        "Attempts to call, as diallers report them. Any forgotten or refused is a number that may be called too often.",
        {"{{outcome}}": rate("stream_scrub_attempts_total", "outcome", ALL)},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Requests' age",
        "From a request's own time to the commit of its seal. Half a second is normal.",
        spread("stream_scrub_request_age_seconds", ALL),
        unit="s",
        steps=A_SECOND,
    ),
    Panel(
        "Requests waiting, by partition",
        "Requests that are not taken yet. Near nothing is normal; transactions leave one a partition.",
        {
            "{{topic}} {{partition}}": f"max by (topic, partition) (stream_scrub_requests_lag_records{{{ALL}}})"
        },
    ),
    Panel(
        "Requests missed",
        "Those that Kafka deleted before anybody read them, since the publisher's start. None is normal: any is an opt-out"
        " lost.",
        {"missed": f"sum(stream_scrub_requests_missed_total{{{ALL}}})"},
        steps=NONE_IS_WELL,
    ),
    Panel(
        "Deltas a second, by register",
        "What the publisher put on the log, from requests, ends and files.",
        {"{{register}}": rate("stream_scrub_deltas_published_total", "register", ALL)},
        unit="ops",
    ),
    Panel(
        "Time to publish",
        "One transaction on the log. Some tens of milliseconds are normal, seconds for a large list.",
        spread("stream_scrub_publish_seconds", ALL),
        unit="s",
    ),
    Panel(
        "Numbers ended a second",
        "Numbers whose end came, and that were removed. Bursts at midnight are normal: consents end with a day. held: 1"
        " while no opposition ends, because the publisher's clock may be ahead.",
        {
            "ended": rate("stream_scrub_numbers_ended_total", "", ALL),
            "held": f"max(stream_scrub_ends_held{{{ALL}}})",
        },
        unit="ops",
    ),
    Panel(
        "Files in an hour, by outcome",
        "Lists from the drop folder. A refused one lies beside its report, and its register is as before. None refused is"
        " normal.",
        {"{{outcome}}": f"sum by (outcome) (increase(stream_scrub_files_total{{{ALL}}}[1h]))"},
    ),
    Panel(
        "Failures, by cause",
        "After each the publisher begins anew, and loses nothing. A few when a broker restarts.",
        {"{{cause}}": rate("stream_scrub_publisher_failures_total", "cause", ALL)},
        unit="ops",
    ),
    Panel(
        "Owns its registers",
        "Whether the publisher is at work. Short gaps at restarts are normal.",
        {"owner": f"max(stream_scrub_owner{{{ALL}}})"},
        kind="state-timeline",
        size=(24, 4),
        words={"0": ("owns nothing", RED), "1": ("at work", GREEN)},
    ),
]
PROCESS = [
    Panel(
        "Memory",
        "Resident. Flat is normal: what the registers take, and twice that while a delta is applied.",
        own("process_resident_memory_bytes{%s}"),
        unit="bytes",
    ),
    Panel(
        "Files and connections open",
        "Flat is normal: some for each broker and client. A line that climbs is a leak.",
        own("process_open_fds{%s}"),
    ),
    Panel(
        "CPU",
        "Cores in use. A worker's loop takes one at most, the client's threads about half of another.",
        own("rate(process_cpu_seconds_total{%s}[$__rate_interval])"),
        unit="none",
    ),
    Panel(
        "Running for",
        "Since the start of each process. Many teeth are a process that ends again and again.",
        {legend: f"time() - {expr}" for legend, expr in own("process_start_time_seconds{%s}").items()},
        unit="s",
        size=HALF,
    ),
    Panel(
        "Builds",
        "What runs. One line is normal, two during an upgrade.",
        {"": f"count by (version, python, librdkafka, extension) (stream_scrub_build_info{{{ALL}}})"},
        kind="table",
        size=HALF,
    ),
]

CHECKING = [
    Panel(
        "Servers ready",
        "Which of them answer with verdicts: the index is usable. Gaps are restarts; all that are not ready answer 503.",
        {"{{server}}": f"max by (server) (stream_scrub_ready{{{SERVER}}})"},
        kind="state-timeline",
        words={"0": ("not ready", RED), "1": ("ready", GREEN)},
    ),
    Panel(
        "Requests a second, by answer",
        "200 and 202 are answers. 503 is an index that is not safe to answer from, 500 a fault of ours, any other a"
        " client's mistake.",
        {"{{route}} {{status}}": rate("stream_scrub_http_requests_total", "route, status", SERVER)},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Time of a check",
        "Of questions with one prospect, inside the server. One or two milliseconds are normal.",
        spread("stream_scrub_check_seconds", SERVER),
        unit="s",
    ),
    Panel(
        "Checks, by reason",
        "Verdicts given to who asked, by reason. The mix is that of what diallers ask about, and steady.",
        {"{{reason}}": rate("stream_scrub_checks_total", "reason", SERVER)},
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Verdicts, and new numbers, by token",
        "What each token asks about. New numbers are those that it had not asked about on that day: a token that reads"
        " all verdicts there are has ever more of them.",
        {
            "{{token}}": rate("stream_scrub_token_verdicts_total", "token", SERVER),
            "{{token}}, new numbers": rate("stream_scrub_token_numbers_total", "token", SERVER),
        },
        unit="rps",
    ),
]
RETRYING = [
    Panel(
        "Retry ready",
        "Whether what was blocked for a late list comes back. Gaps are restarts.",
        {"{{retry}}": f"max by (retry) (stream_scrub_ready{{{RETRY}}})"},
        kind="state-timeline",
        words={"0": ("not ready", RED), "1": ("ready", GREEN)},
    ),
    Panel(
        "Brought back by register, kept by outcome",
        "Blocked prospects of registers that can be used again. Some after a late list are normal; `too-often` never is.",
        {
            "{{register}}": rate("stream_scrub_retried_prospects_total", "register", RETRY),
            "{{outcome}}": rate("stream_scrub_retry_kept_total", "outcome", RETRY),
        },
        unit="rps",
        stacked=True,
    ),
    Panel(
        "Retry begun anew, by cause",
        "Times that a batch was given up. One now and then is a broker that restarts, and normal.",
        {"{{cause}}": rate("stream_scrub_retry_failures_total", "cause", RETRY)},
        unit="rps",
    ),
]
SHADOWING = [
    Panel(
        "Judged by a shadow, and different",
        "What came out and was judged again, and how much of it would come out otherwise. Empty while nothing is tried.",
        {
            "judged": rate("stream_scrub_shadow_judged_total", "", SHADOW),
            "another {{change}}": rate("stream_scrub_shadow_differences_total", "change", SHADOW),
        },
        unit="rps",
    ),
    Panel(
        "Shadow begun anew, by cause",
        "Times that a batch was given up. One now and then is a broker that restarts, and normal.",
        {"{{cause}}": rate("stream_scrub_shadow_failures_total", "cause", SHADOW)},
        unit="rps",
    ),
]
RECALLING = [
    Panel(
        "Outstanding numbers",
        "Numbers that were allowed and may still be called, for each partition and kind of call.",
        {"{{recall}}": f"sum by (recall) (stream_scrub_recall_outstanding_numbers{{{RECALL}}})"},
    ),
    Panel(
        "Recall's lag",
        "Allowed prospects that were not judged again yet. Near nothing is normal.",
        {"{{recall}}": f"sum by (recall) (stream_scrub_recall_lag_records{{{RECALL}}})"},
    ),
    Panel(
        "Recalled, by reason",
        "Numbers that were allowed and may no longer be called.",
        {"{{reason}}": rate("stream_scrub_recall_numbers_total", "reason", RECALL)},
        unit="rps",
    ),
    Panel(
        "Recall batches given up, by cause",
        "Times that a batch was given up. One now and then is a rebalance, and normal.",
        {"{{cause}}": rate("stream_scrub_recall_failures_total", "cause", RECALL)},
        unit="rps",
    ),
]
FANNING = [
    Panel(
        "Oldest event that a target lacks",
        "Age of the oldest opt-out or recall that a system has not got yet. Seconds are normal.",
        {"{{fanout}}": f"stream_scrub_fanout_oldest_open_seconds{{{FANOUT}}}"},
        unit="s",
        steps=((None, GREEN), (600, YELLOW), (3600, RED)),
    ),
    Panel(
        "Events that a target lacks",
        "Opt-outs and recalls that were read and not delivered yet. Near nothing is normal.",
        {"{{fanout}}": f"stream_scrub_fanout_open_events{{{FANOUT}}}"},
    ),
    Panel(
        "Delivered, by outcome",
        "Events that need no more tries. `dead` are given up: there must be none.",
        {"{{fanout}} {{outcome}}": rate("stream_scrub_fanout_events_total", "fanout, outcome", FANOUT)},
        unit="rps",
    ),
    Panel(
        "From commit to target",
        "Time from an event's commit in Kafka to the target's answer; 99 of 100 are faster.",
        {
            "{{fanout}}": f"histogram_quantile(0.99, sum by (fanout, le) (rate(stream_scrub_fanout_seconds_bucket{{{FANOUT}}}[$__rate_interval])))"
        },
        unit="s",
    ),
    Panel(
        "Failed tries and batches, by cause",
        "away: the target does not answer; refused: it does not say that it is done. The others are brokers.",
        {
            "{{fanout}} {{cause}}": rate("stream_scrub_fanout_tries_failed_total", "fanout, cause", FANOUT),
            "Kafka: {{cause}}": rate("stream_scrub_fanout_failures_total", "cause", FANOUT),
        },
        unit="rps",
    ),
]
DRILLING = [
    Panel(
        "Last drill, by station",
        "How long the last drill's opt-out took to each station. A station that it did not reach is missing. Empty without drills.",
        {"{{station}}": "stream_scrub_drill_station_seconds"},
        unit="s",
    ),
    Panel(
        "Since the last drill, and the last good one",
        "Two lines that are apart: the last drill failed. Both grow: the drills no longer run.",
        {
            "any": "time() - stream_scrub_drill_end_timestamp_seconds",
            "every station in time": "time() - stream_scrub_drill_success_timestamp_seconds",
        },
        unit="s",
    ),
]
ROWS: Mapping[str, Sequence[Panel]] = {
    "Is it working?": WORKING,
    "Verdicts": VERDICTS,
    "The loop": LOOP,
    "The index": INDEX,
    "Publisher": PUBLISHING,
    "Check API": CHECKING,
    "Retry": RETRYING,
    "Recall": RECALLING,
    "Fan-out": FANNING,
    "Drill": DRILLING,
    "Shadow": SHADOWING,
    "Process": PROCESS,
}
