"""From settings to Kafka clients, and the log read with them. Only `wiring` and the assembly of a worker build
clients from settings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.config.inputs import Route
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.index import Index
from stream_scrub.kafka.admin.broker_time import BrokerTimes
from stream_scrub.kafka.admin.group_offsets import GroupOffsets
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.admin.topics import TopicAdmin, smallest_limit
from stream_scrub.kafka.client import options, transactional_ids
from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.requests_reader import RequestsReader
from stream_scrub.kafka.requests_writer import RequestsWriter
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.topic_tail import last_values
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.start_point import StartPoint, begin
from stream_scrub.model import Deadline, LogReader
from stream_scrub.observability.counters import LoopState

ASK_S = 15.0
_TAKE_S = 30.0  # a publisher of another register that died may hide the log's end for 20 s of them


def deadline() -> Deadline:
    """The deadline for one question to the brokers, or for their silence while a log is read."""
    return Deadline.after(ASK_S)


def refused_properties(settings: Settings) -> list[str]:
    """Client properties that would break a promise, each with its reason: for `config.load`."""
    kafka = settings.kafka
    problems = options.refusals(kafka.client, kafka.consumer, kafka.producer, protocol=kafka.group_protocol)
    if settings.worker.processes > 1 and "group.instance.id" in {**kafka.client, **kafka.consumer}:
        problems.append(
            "kafka.consumer: group.instance.id belongs to one worker: it cannot serve worker.processes > 1"
        )
    return problems


def client_log(
    settings: Settings,
    log: FilteringBoundLogger,
    client: str,
    *,
    brokers: BrokersAway | None = None,
    quiet: bool = False,
) -> ClientLog:
    """Where a client's own log lines go. The arguments are as for `ClientLog`."""
    return ClientLog(log, client, properties=settings.kafka.client, brokers=brokers, quiet=quiet)


@contextmanager
def _said_why(settings: Settings, logs: ClientLog) -> Iterator[None]:
    """Add the reason to an error. If a broker refuses us, the call only times out, and only the client's log knows
    why."""
    try:
        yield
    except Unavailable as error:
        if (refusal := logs.refusal()) is not None:
            raise refusal from error
        # A broker that expects another protocol says nothing at all.
        protocol = settings.kafka.client.get("security.protocol", "plaintext")
        tried = f"tried {settings.kafka.bootstrap_servers} with security.protocol = {protocol}"
        raise Unavailable(f"{error}; {tried}{logs.said and f'; {logs.said}'}") from error


@contextmanager
def topics(settings: Settings, log: FilteringBoundLogger) -> Iterator[TopicAdmin]:
    """The broker's topics."""
    kafka = settings.kafka
    logs = client_log(settings, log, "admin", quiet=True)
    with _said_why(settings, logs):
        yield TopicAdmin(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=logs), logs)


def routes(settings: Settings, there: TopicAdmin, deadline: Deadline) -> list[Route]:
    """The inputs with their outputs: as they are named, or as a pattern matches them now. Raises Unavailable, Refused."""
    inputs = settings.topics.inputs
    return inputs.among(() if inputs.pattern is None else there.names(deadline))


def routes_now(settings: Settings, log: FilteringBoundLogger) -> list[Route]:
    """As `routes`, for whoever has no admin client."""
    with topics(settings, log) as there:
        return routes(settings, there, deadline())


def topic_identity(settings: Settings) -> TopicIdentity:
    """Asks the brokers for the ids of topics."""
    kafka = settings.kafka
    return TopicIdentity(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None))


def broker_times(settings: Settings) -> BrokerTimes:
    """Asks the brokers for their time. Its client is never polled, so it must have no callbacks."""
    kafka = settings.kafka
    return BrokerTimes(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None))


def latest_moment(settings: Settings) -> datetime:
    """The latest timestamp on the log: a marker's, by its broker's clock, or a record's, by its publisher's. Raises
    Unavailable."""
    found = broker_times(settings).ask([(settings.topics.log, 0)])
    if not found:
        raise Unavailable(f"asking for the latest moment on {settings.topics.log}: no broker answers now")
    return datetime.fromtimestamp(found[0].at, UTC)


def no_identity(_: Settings) -> None:
    """In place of `topic_identity` for brokers that tell no ids, as the embedded one."""


IdentityOf = Callable[[Settings], TopicIdentity | None]


def log_reader(
    settings: Settings, logs: ClientLog, identity_of: IdentityOf = topic_identity
) -> KafkaLogReader:
    """A reader at the log's beginning."""
    return KafkaLogReader(
        _reader_options(settings, logs), settings.topics.log, identity=identity_of(settings)
    )


def _reader_options(settings: Settings, logs: ClientLog) -> dict[str, Any]:
    """The options of a reader that joins no group. The group's name is there for the brokers' access rights alone."""
    kafka = settings.kafka
    return options.log_reader_options(
        kafka.bootstrap_servers, kafka.client, kafka.consumer, group_id=settings.worker.group_id, logs=logs
    )


def log_writer(
    settings: Settings, register: str, log: FilteringBoundLogger, also: Sequence[str] = (), nbytes: int = 0
) -> KafkaLogWriter:
    """The writer of a register and its scoped ones. It fences every other writer of them. When this returns,
    everything that others published to the register can be read. `also` are other topics that it writes to; `nbytes`
    is the size of its largest transaction. Raises Unavailable, Refused.
    """
    deadline = Deadline.after(_TAKE_S)
    writer = taken_over(settings, register, log, also, deadline, nbytes)
    try:
        writer.wait_for_others(deadline)
    except ScrubError:
        writer.close()
        raise
    return writer


def taken_over(
    settings: Settings,
    register: str,
    log: FilteringBoundLogger,
    also: Sequence[str] = (),
    deadline: Deadline | None = None,
    nbytes: int = 0,
) -> KafkaLogWriter:
    """As `log_writer`, without the wait: for a caller that takes over several registers and then waits once."""
    kafka = settings.kafka
    made = options.publisher_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.producer,
        log_topic=settings.topics.log,
        register=register,
        logs=client_log(settings, log, "publisher"),
        nbytes=nbytes,
    )
    return KafkaLogWriter(made, settings.topics.log, deadline or Deadline.after(_TAKE_S), also)


def last_prospects(settings: Settings, log: FilteringBoundLogger, count: int) -> list[bytes | None]:
    """The values of about the last `count` prospects. Raises Unavailable, Refused."""
    made = _reader_options(settings, client_log(settings, log, "sample"))
    found = routes_now(settings, log)
    values: list[bytes | None] = []
    for each in found:
        values += last_values(made, each.input, -(-count // len(found)), Deadline.after(ASK_S))
    return values


def requests(settings: Settings, log: FilteringBoundLogger, *, lifts: bool = False) -> RequestsReader:
    """The reader of the requests topic and of the publisher's note there; with `lifts`, of the topic of lifts."""
    kafka, logs = settings.kafka, client_log(settings, log, "requests")
    made = options.requests_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.consumer,
        group_id=settings.lists.requests_group,
        logs=logs,
    )
    admin = options.admin_options(kafka.bootstrap_servers, kafka.client, logs=logs)
    topic = settings.topics.lifts if lifts else settings.topics.requests
    return RequestsReader(made, admin, topic, lifts=lifts)


def requests_writer(settings: Settings, log: FilteringBoundLogger) -> RequestsWriter:
    """What puts requests on their topic."""
    kafka = settings.kafka
    made = options.requests_writer_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.producer,
        logs=client_log(settings, log, "requests", quiet=True),
    )
    return RequestsWriter(made, settings.topics.requests)


def prospects_writer(settings: Settings, log: FilteringBoundLogger, topic: str) -> RequestsWriter:
    """What puts a file's rows on a topic of prospects."""
    kafka = settings.kafka
    made = options.prospects_writer_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.producer,
        logs=client_log(settings, log, "prospects", quiet=True),
    )
    return RequestsWriter(made, topic)


def replayed(
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    start: StartPoint | None = None,
    keep_ends: bool = False,
    digest_of: Callable[[bytes], str] | None = None,
    before: Replay | None = None,
) -> Replay:
    """The log replayed to its end, for commands that look once. `start` None means as configured. `before` is an
    earlier replay to continue. The other arguments are as for `Replay`.

    Raises Corrupt, Unavailable, Refused.
    """
    with reading(settings, log) as reader:
        deadline = Deadline.after(ASK_S)
        if before is not None and (taken := before.known("").upto) >= 0:
            replay = before
            reader.seek(taken + 1)
        else:
            begun = start or settings.lists.start
            replay = begin(reader, deadline, start=begun, keep_ends=keep_ends, digest_of=digest_of)
        replay_to_end(reader, deadline, replay=replay)
    return replay


@contextmanager
def reading(
    settings: Settings,
    log: FilteringBoundLogger,
    topic: str = "",
    partition: int = 0,
    *,
    uncommitted: bool = False,
) -> Iterator[LogReader]:
    """A reader of the log, or of a partition of another topic, for commands that read by themselves. One that also reads
    what is not committed waits for nobody's open transaction."""
    logs = client_log(settings, log, "follower", quiet=True)
    made = _reader_options(settings, logs) | (options.UNCOMMITTED if uncommitted else {})
    reader = KafkaLogReader(made, topic or settings.topics.log, partition)
    try:
        with _said_why(settings, logs):
            yield reader
    finally:
        reader.close()


@contextmanager
def group_offsets(settings: Settings, log: FilteringBoundLogger) -> Iterator[GroupOffsets]:
    """The committed offsets of the workers' group."""
    kafka = settings.kafka
    logs = client_log(settings, log, "offsets", quiet=True)
    made = options.consumer_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.consumer,
        group_id=settings.worker.group_id,
        protocol=kafka.group_protocol,
        logs=logs,
    )
    made.pop("group.instance.id", None)  # a worker's own place in the group
    group = GroupOffsets(made, [each.input for each in routes_now(settings, log)])
    try:
        with _said_why(settings, logs):
            yield group
    finally:
        group.close()


def retry_routes(settings: Settings, log: FilteringBoundLogger) -> list[Route]:
    """The inputs whose blocked topic is there: without it nothing of theirs has come out. Raises Unavailable, Refused."""
    with topics(settings, log) as there:
        names = set(there.names(deadline()))
        return [each for each in settings.topics.inputs.among(names) if each.blocked in names]


def retry_group(settings: Settings) -> str:
    """The group under whose name `retry` commits how far it came."""
    return f"{settings.worker.group_id}-retry"


def output_reader(
    settings: Settings, log: FilteringBoundLogger, names: Sequence[str], group: str
) -> OutputReader:
    """A reader of output topics, whose place is committed under the name of that group."""
    kafka, logs = settings.kafka, client_log(settings, log, "outputs")
    made = options.output_options(
        kafka.bootstrap_servers, kafka.client, kafka.consumer, group_id=group, logs=logs
    )
    return OutputReader(made, names, topic_identity(settings))


def side_session(
    settings: Settings, log: FilteringBoundLogger, names: Sequence[str], transactional_id: str
) -> Session:
    """The session of what works beside the workers and writes to these topics. Raises Unavailable, Refused."""
    kafka = settings.kafka
    with topics(settings, log) as there:
        found = there.describe(names, deadline())
    logs = client_log(settings, log, "side")
    made = options.producer_options(
        kafka.bootstrap_servers,
        kafka.client,
        kafka.producer,
        transactional_id=transactional_id,
        max_bytes=smallest_limit(each.config for each in found.values()),
        logs=logs,
    )
    return Session(made, names, logs.denied, is_member=False)


def retry_session(settings: Settings, log: FilteringBoundLogger, inputs: Sequence[str]) -> Session:
    """The session that brings blocked prospects back to these topics. Raises Unavailable, Refused."""
    return side_session(settings, log, inputs, transactional_ids.of_retry(settings.worker.group_id))


def shadow_group(settings: Settings) -> str:
    """The group under whose name a shadow commits how far it came."""
    return f"{settings.worker.group_id}-shadow"


def shadow_session(settings: Settings, log: FilteringBoundLogger) -> Session:
    """The session that writes what a shadow finds. Raises Unavailable, Refused."""
    name = transactional_ids.of_shadow(settings.worker.group_id)
    return side_session(settings, log, [settings.topics.shadow], name)


def read_index(settings: Settings, log: FilteringBoundLogger) -> Index:
    """The index at the log's end, for commands that judge once. Raises Corrupt, Unavailable, Refused, and StaleIndex
    where the log was renewed or is not finished."""
    replay = replayed(settings, log)
    if (mark := replay.known("").log.mark) is not None:
        raise mark.stale()
    return replay.index


def made_anew(topic: str, counters: LoopState, log: FilteringBoundLogger, **more: Any) -> None:
    """Count and log that a topic was deleted and created again under its name."""
    with counters.lock:
        counters.made_anew += 1
    log.error("a topic was deleted and made anew: it is read from its start", topic=topic, **more)
