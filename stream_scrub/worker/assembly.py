"""One worker from settings: its source, session and follower, its outputs and its clocks."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.kafka.admin.broker_time import BrokerTimes
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.admin.topics import smallest_limit
from stream_scrub.kafka.beginnings import Beginnings
from stream_scrub.kafka.client import options, transactional_ids
from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import BeginAt, Deadline
from stream_scrub.observability.counters import Counters
from stream_scrub.wiring import clients, following, scrubbing
from stream_scrub.worker.batch_size import BatchLimits
from stream_scrub.worker.clock_watch import ClockWatch
from stream_scrub.worker.loop import WorkerLoop
from stream_scrub.worker.outputs import Outputs

_LIMIT_S = 5.0  # asked in the middle of the work, while the loop waits


def topic_identity(settings: Settings) -> TopicIdentity:
    """Asks the brokers for the id of the prospects topic."""
    kafka = settings.kafka
    asking = options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None)
    return TopicIdentity(asking, settings.topics.prospects)


def worker(
    settings: Settings,
    identity: str,
    counters: Counters,
    log: FilteringBoundLogger,
    record_limit: int | None,
    of_topic: Callable[[Settings], TopicIdentity | None] = topic_identity,
    begin_at: BeginAt | None = None,
) -> tuple[WorkerLoop, Follower]:
    """A worker and the follower whose index it judges by. Start the follower before running the worker. `of_topic`
    returns None for a broker that has no topic ids, as the embedded one. `begin_at` says where partitions begin whose
    committed offset is gone.
    """
    kafka, topics = settings.kafka, settings.topics
    brokers = BrokersAway()

    def logs(client: str) -> ClientLog:
        return clients.client_log(settings, log, client, brokers=brokers)

    follower = following.counted(settings, counters, log, lambda: logs("follower"))
    source = _source(settings, counters, log, logs("consumer"), of_topic(settings), begin_at)
    of_producer = logs("producer")
    session = Session(
        options.producer_options(
            kafka.bootstrap_servers,
            kafka.client,
            kafka.producer,
            transactional_id=transactional_ids.of_worker(settings.worker.group_id, identity),
            max_bytes=record_limit,
            logs=of_producer,
        ),
        topics.allowed,
        topics.blocked,
        of_producer.denied,
    )
    by = scrubbing.scrubber(settings)
    if unsaid := scrubbing.unsaid(settings, by.rulebook):
        log.warning("some prospects must say what their call is for", reason=unsaid)
    outputs = Outputs(session, by, log, record_limit, lambda: output_limit(settings, log))
    watch = _clock_watch(settings)
    made = WorkerLoop(
        source,
        session,
        follower,
        by.rulebook,
        outputs,
        counters,
        log,
        limits=batch_limits(settings),
        watch=watch,
    )
    return made, follower


def _source(
    settings: Settings,
    counters: Counters,
    log: FilteringBoundLogger,
    client_log: ClientLog,
    identity: TopicIdentity | None,
    begin_at: BeginAt | None,
) -> ProspectSource:
    kafka, topics = settings.kafka, settings.topics

    def chosen(offsets: dict[int, int]) -> None:
        log.warning(
            "partitions without a committed offset begin where they were told", at=begin_at, offsets=offsets
        )

    # The embedded broker forgets every offset that a transaction commits.
    beginnings = Beginnings((topics.allowed, topics.blocked), begin_at, chosen) if identity else None
    source = ProspectSource(
        options.consumer_options(
            kafka.bootstrap_servers,
            kafka.client,
            kafka.consumer,
            group_id=settings.worker.group_id,
            protocol=kafka.group_protocol,
            logs=client_log,
        ),
        topics.prospects,
        topics.log,
        lambda event, partitions: _moved(event, partitions, counters, log),
        counters.polls_again,
        identity,
        lambda partitions: clients.made_anew(topics.prospects, counters, log, partitions=partitions),
        beginnings,
    )
    client_log.on_reset = lambda partition, offset: source.resets.append((partition, offset))
    return source


def _clock_watch(settings: Settings) -> ClockWatch:
    kafka, topics = settings.kafka, settings.topics
    # This client is never polled, so it must have no callbacks.
    times = BrokerTimes(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None))
    return ClockWatch(times.ask, (topics.blocked, topics.allowed), settings.rules.clock_skew_max_s)


def output_limit(settings: Settings, log: FilteringBoundLogger) -> int | None:
    """The largest record in bytes that both outputs take now; None where we may not ask. Raises Unavailable,
    Refused."""
    with clients.topics(settings, log) as there:
        found = there.describe([settings.topics.allowed, settings.topics.blocked], Deadline.after(_LIMIT_S))
    return smallest_limit(topic.config for topic in found.values())


def batch_limits(settings: Settings) -> BatchLimits:
    """The configured limits of a batch."""
    worker = settings.worker
    return BatchLimits(
        worker.batch_records, worker.batch_bytes, worker.batch_ms / 1000, settings.rules.index_lag_max_s
    )


def _moved(event: str, partitions: list[int], counters: Counters, log: FilteringBoundLogger) -> None:
    counters.moved(event, len(partitions))
    log.info(f"partitions {event}", partitions=partitions, assigned=counters.assigned)
