"""`stream-scrub worker`: from settings to a running worker.

Each process is a whole worker with an identity of its own, hence its own transactional id, consumer and index.
"""

from functools import partial

from stream_scrub.config import Settings
from stream_scrub.config.settings import outputs_of
from stream_scrub.kafka import clients, self_test
from stream_scrub.kafka.admin.topics import smallest_limit
from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from stream_scrub.kafka.client.options import Role, client_options
from stream_scrub.kafka.client.producer_calls import id_of_worker
from stream_scrub.kafka.clients import Brokers
from stream_scrub.kafka.cloud_events import events_of
from stream_scrub.kafka.headers import FROM_HEADER, RENEWS_HEADER
from stream_scrub.kafka.resume import Resume, StartOffsets
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.log.follower import Follower
from stream_scrub.model import BeginAt, Deadline, Logger
from stream_scrub.ops import following, preflight
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.ops.daemon import Daemon, Process, keep_freed_memory, settle_garbage
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.registry.records import records, warn_if_away
from stream_scrub.scrub import backend, scrubbing
from stream_scrub.stamp import STAMP
from stream_scrub.worker.loop import BatchLimits, WorkerLoop, beat_limit_s
from stream_scrub.worker.outputs import Outputs
from stream_scrub.worker.partitions import InputTopics, PartitionEvents

_LIMIT_S = 5.0  # asked in the middle of the work, while the loop waits


def run(settings: Settings, begin_at: BeginAt | None = None) -> int:
    """Run the worker or workers until SIGTERM or SIGINT; returns the exit code. `begin_at`: where to start when a
    partition's committed offset has expired."""
    return daemon(settings, begin_at).run()


def daemon(settings: Settings, begin_at: BeginAt | None = None) -> Daemon[WorkerState]:
    """The worker as a daemon."""
    return Daemon(
        settings,
        WorkerState,
        partial(start, begin_at=begin_at),
        limit_s=beat_limit_s(batch_limits(settings)),
        processes=settings.worker.processes,
    )


def start(process: Process[WorkerState], begin_at: BeginAt | None = None) -> None:
    """Wait for the brokers, check topics and rights, and work until `process.stopping`. Raises Refused if the topics are
    not as a worker needs them, TakenOver, Corrupt."""
    keep_freed_memory()
    brokers = Brokers(process.settings, process.log)
    limit = process.wait_for_brokers(lambda: preflight.record_limit(brokers))
    if not process.stopping.is_set():
        settings = process.settings
        preflight.warn_of_session_timeout(brokers, settings.worker.group_id)
        warn_if_away(settings, process.log)
        work(process, limit, begin_at=begin_at)


def work(
    process: Process[WorkerState],
    record_limit: int | None,
    begin_at: BeginAt | None = None,
    *,
    embedded: bool = False,
) -> None:
    """Work until `process.stopping`. The topics exist, and the outputs take records of at most `record_limit` bytes.
    `embedded` is as for `Brokers`."""
    settings = process.settings
    brokers = Brokers(settings, process.log, embedded=embedded)
    loop, follower = worker(process, brokers, record_limit, begin_at)
    process.state.attach(follower, loop.rulebook)
    process.state.uses(loop.transport)
    process.log.info(
        "started",
        topic=str(settings.topics.inputs),
        group=settings.worker.group_id,
        record_limit=record_limit,
        countries=", ".join(settings.rules.countries) or "all",
        reader=backend.BEST.name,
        transport=loop.transport,
    )
    with follower:
        settle_garbage()
        loop.run(process.stopping)


def worker(
    process: Process[WorkerState],
    brokers: Brokers,
    record_limit: int | None,
    begin_at: BeginAt | None = None,
) -> tuple[WorkerLoop, Follower]:
    """Build a worker: its loop, and the follower that must be started before the loop runs."""
    settings, state, log = process.settings, process.state, process.log
    kafka, inputs = settings.kafka, settings.topics.inputs
    away = BrokersAway()  # the clients log a broker's absence once together

    def logs(client: str) -> ClientLog:
        return brokers.client_log(client, brokers=away)

    # The index.
    follower = following.counted(brokers, state, lambda: logs("follower"), judged=False)

    scrubber = scrubbing.scrubber(settings)
    reading = records(settings, scrubber.terms.members, log)
    cloud_events = events_of(settings.prospect.cloudevents)
    bulk = scrubber.takes_records and _can_take_records(log)

    # Step 1: the consumer.
    events = PartitionEvents(state, log, begin_at, multi_topic=inputs.several)
    consumer_logs = logs("consumer")
    consumer_logs.on_reset = events.reset
    start_offsets = None
    if not brokers.embedded:  # it would forget them
        siblings = inputs.names if inputs.shared else ()
        start_offsets = StartOffsets(
            lambda topic: inputs.route(topic).outputs, begin_at, events.chosen, siblings
        )
    source = ProspectSource(
        client_options(kafka, Role.MEMBER, consumer_logs, {"group.id": settings.worker.group_id}),
        [each.input for each in inputs.among(())],
        Resume(settings.topics.log, brokers.witnesses, events.recreated, start_offsets),
        events.moved,
        events.settled,
        multi_topic=inputs.several,
        tag_topic=inputs.shared,
        bulk=bulk,
    )

    # Steps 2 to 5: the verdict and its stamp.
    scrubbing.warn(settings, scrubber.rulebook, log)

    # Steps 6 and 7: the transactional producer.
    session = _session(settings, state.identity, logs("producer"), record_limit, bulk=bulk)
    limits = record_limit, lambda: output_limit(brokers)
    outputs = Outputs(session, inputs, scrubber, reading, log, *limits, cloud_events)

    loop = WorkerLoop(
        source,
        session,
        follower,
        scrubber.rulebook,
        outputs,
        events,
        state,
        log,
        limits=batch_limits(settings),
        watch=ClockWatch(brokers.witnesses.now, output_topics(settings), settings.rules.clock_skew_max_s),
        topics=InputTopics(source, session, inputs, events, state, log, clients.refresh_s(settings)),
    )
    return loop, follower


def _can_take_records(log: Logger) -> bool:
    fault = self_test.fault()
    if fault:
        log.warning("extension failed its self-test, continuing without it", why=fault)
    return not fault


def _session(
    settings: Settings, identity: str, logs: ClientLog, record_limit: int | None, *, bulk: bool
) -> Session:
    own = {"transactional.id": id_of_worker(settings.worker.group_id, identity)}
    return Session(
        client_options(settings.kafka, Role.WORKER, logs, own, max_bytes=record_limit, refits=True),
        output_topics(settings),
        logs.denied,
        stripped=(STAMP, RENEWS_HEADER, *(() if settings.topics.inputs.shared else (FROM_HEADER,))),
        bulk=bulk,
    )


def output_limit(brokers: Brokers) -> int | None:
    """The largest record in bytes that all outputs take now; None without the right to ask. Raises Unavailable,
    Refused."""
    deadline = Deadline.after(_LIMIT_S)
    with brokers.topics() as there:
        described = there.describe(outputs_of(brokers.routes(there, deadline)), deadline)
    return smallest_limit(topic.config for topic in described.values())


def output_topics(settings: Settings) -> list[str]:
    """Output topics named in the settings, blocked first. Empty when inputs are a pattern."""
    return outputs_of(settings.topics.inputs.among(()))


def batch_limits(settings: Settings) -> BatchLimits:
    """The configured limits of a batch."""
    worker = settings.worker
    return BatchLimits(
        worker.batch_records, worker.batch_bytes, worker.batch_ms / 1000, settings.rules.index_lag_max_s
    )
