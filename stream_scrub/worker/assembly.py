"""One worker from settings: its source, session and follower, its outputs and its clocks."""

from itertools import groupby
from operator import itemgetter

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.config.inputs import outputs_of
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.admin.topics import smallest_limit
from stream_scrub.kafka.client import options, transactional_ids
from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from stream_scrub.kafka.headers import FROM_HEADER
from stream_scrub.kafka.rewinding.beginnings import Beginnings
from stream_scrub.kafka.rewinding.resume import Resume
from stream_scrub.kafka.session import STAMP_HEADER, Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import BeginAt, Deadline, PartitionKey
from stream_scrub.observability.counters import Counters
from stream_scrub.wiring import clients, following, scrubbing
from stream_scrub.worker.batch_size import BatchLimits
from stream_scrub.worker.clock_watch import ClockWatch
from stream_scrub.worker.input_topics import InputTopics
from stream_scrub.worker.loop import WorkerLoop
from stream_scrub.worker.outputs import Outputs

_LIST_EVERY_S = 30.0
_LIMIT_S = 5.0  # asked in the middle of the work, while the loop waits


def worker(
    settings: Settings,
    identity: str,
    counters: Counters,
    log: FilteringBoundLogger,
    record_limit: int | None,
    identity_of: clients.IdentityOf = clients.topic_identity,
    begin_at: BeginAt | None = None,
) -> tuple[WorkerLoop, Follower]:
    """A worker and the follower whose index it judges by. Start the follower before running the worker. `begin_at` says where partitions begin whose
    committed offset is gone.
    """
    kafka, inputs = settings.kafka, settings.topics.inputs
    brokers = BrokersAway()

    def logs(client: str) -> ClientLog:
        return clients.client_log(settings, log, client, brokers=brokers)

    follower = following.counted(settings, counters, log, lambda: logs("follower"), identity_of)
    source = _source(settings, counters, log, logs("consumer"), identity_of(settings), begin_at)
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
        output_topics(settings),
        of_producer.denied,
        stripped=(STAMP_HEADER,) if inputs.shared else (STAMP_HEADER, FROM_HEADER),
    )
    by = scrubbing.scrubber(settings)
    scrubbing.warn(settings, by.rulebook, log)
    outputs = Outputs(session, inputs, by, log, record_limit, lambda: output_limit(settings, log))
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
        topics=InputTopics(source, session, inputs, counters, log, _refresh_s(settings)),
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
    kafka, inputs = settings.kafka, settings.topics.inputs

    def chosen(offsets: dict[PartitionKey, int]) -> None:
        told = {str(*source.said([key])): offset for key, offset in offsets.items()}
        log.warning(
            "partitions without a committed offset begin where they were told", at=begin_at, offsets=told
        )

    def made_anew(partitions: list[PartitionKey]) -> None:
        for topic, of_it in groupby(partitions, itemgetter(0)):
            clients.made_anew(topic, counters, log, partitions=[partition for _, partition in of_it])

    # The embedded broker forgets every offset that a transaction commits.
    beginnings = None
    if identity is not None:
        siblings = inputs.names if inputs.shared else ()
        beginnings = Beginnings(lambda topic: inputs.route(topic).outputs, begin_at, chosen, siblings)
    source = ProspectSource(
        options.consumer_options(
            kafka.bootstrap_servers,
            kafka.client,
            kafka.consumer,
            group_id=settings.worker.group_id,
            protocol=kafka.group_protocol,
            logs=client_log,
        ),
        [each.input for each in inputs.among(())],
        Resume(settings.topics.log, identity, made_anew, beginnings),
        lambda event, partitions: _moved(event, source.said(partitions), counters, log),
        counters.polls_again,
        several=inputs.several,
        mark=inputs.shared,
    )
    client_log.on_reset = lambda key, offset: source.resets.append((key, offset))
    return source


def _refresh_s(settings: Settings) -> float:
    """How often to ask which topics a pattern matches."""
    told = {**settings.kafka.client, **settings.kafka.consumer}.get("topic.metadata.refresh.interval.ms", "")
    return max(1.0, int(told) / 1000) if told.isdecimal() else _LIST_EVERY_S


def _clock_watch(settings: Settings) -> ClockWatch:
    ask = clients.broker_times(settings).ask
    return ClockWatch(ask, output_topics(settings), settings.rules.clock_skew_max_s)


def output_limit(settings: Settings, log: FilteringBoundLogger) -> int | None:
    """The largest record in bytes that all outputs take now; None where we may not ask. Raises Unavailable,
    Refused."""
    deadline = Deadline.after(_LIMIT_S)
    with clients.topics(settings, log) as there:
        found = there.describe(outputs_of(clients.routes(settings, there, deadline)), deadline)
    return smallest_limit(topic.config for topic in found.values())


def output_topics(settings: Settings) -> list[str]:
    """The outputs that the settings name, those of blocked prospects first; none with a pattern."""
    return outputs_of(settings.topics.inputs.among(()))


def batch_limits(settings: Settings) -> BatchLimits:
    """The configured limits of a batch."""
    worker = settings.worker
    return BatchLimits(
        worker.batch_records, worker.batch_bytes, worker.batch_ms / 1000, settings.rules.index_lag_max_s
    )


def _moved(
    event: str, partitions: list[int] | list[str], counters: Counters, log: FilteringBoundLogger
) -> None:
    counters.moved(event, len(partitions))
    log.info(f"partitions {event}", partitions=partitions, assigned=counters.assigned)
