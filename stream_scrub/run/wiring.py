"""From settings to parts. The one place where rooms meet: nothing else builds a source, a session or a follower."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.index import Index
from stream_scrub.kafka import clientlog, options, transactional_ids
from stream_scrub.kafka.brokertime import BrokerTimes
from stream_scrub.kafka.identity import Identity
from stream_scrub.kafka.log import KafkaLogReader
from stream_scrub.kafka.requests import Requests
from stream_scrub.kafka.sample import last_values
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import Source
from stream_scrub.kafka.topics import Topics, smallest_limit
from stream_scrub.kafka.writer import KafkaLogWriter
from stream_scrub.lists.begin import Start, begin
from stream_scrub.lists.follow import Follower, replay_to_end
from stream_scrub.lists.keeper import Keeper
from stream_scrub.lists.replay import Replay
from stream_scrub.model import Deadline, LogReader
from stream_scrub.rules import Rulebook
from stream_scrub.run.clockwatch import ClockWatch
from stream_scrub.run.counters import Counters, Pulse
from stream_scrub.run.outputs import Outputs
from stream_scrub.run.swaps import SwapLines
from stream_scrub.run.trouble import Trouble
from stream_scrub.run.worker import Pace, Worker
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members

ASK_S = 15.0
_LIMIT_S = 5.0  # in the middle of the work: the loop waits
_TAKE_S = 30.0  # another register's publisher that died may keep the log's end hidden for twenty of these


def refused_properties(settings: Settings) -> list[str]:
    """Client properties that would break a promise, each with its reason: for `config.load`."""
    kafka = settings.kafka
    problems = options.refusals(kafka.client, kafka.consumer, kafka.producer, protocol=kafka.group_protocol)
    if settings.worker.processes > 1 and "group.instance.id" in {**kafka.client, **kafka.consumer}:
        problems.append(
            "kafka.consumer: group.instance.id is one worker's own, it cannot serve worker.processes > 1"
        )
    return problems


def rulebook(settings: Settings) -> Rulebook:
    """The shipped rules and the user's own. Raises ConfigError."""
    return Rulebook.load(Path(settings.rules.folder) if settings.rules.folder else None)


def terms(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Terms:
    """What verdicts and stamps depend on, as configured; `header` and `hold` say otherwise for surfaces that only show
    verdicts."""
    prospect = settings.prospect
    in_header = prospect.stamp == "header" if header is None else header
    return Terms(
        members=Members.of(
            prospect.numbers,
            prospect.region,
            prospect.purpose,
            prospect.contract,
            prospect.campaign,
            prospect.case,
        ),
        default_region=prospect.default_region,
        mixed=prospect.mixed,
        stamp="header" if in_header else "value",
        stale=settings.rules.stale if hold else "block",
    )


def scrubber(settings: Settings, *, header: bool | None = None, hold: bool = True) -> Scrubber:
    """The pure composition as configured, with `terms` as they are said."""
    return Scrubber(terms(settings, header=header, hold=hold), rulebook(settings))


def client_log(
    settings: Settings,
    log: FilteringBoundLogger,
    client: str,
    *,
    brokers: clientlog.Brokers | None = None,
    quiet: bool = False,
) -> clientlog.ClientLog:
    """Where a client's own lines go; as `ClientLog`."""
    return clientlog.ClientLog(log, client, properties=settings.kafka.client, brokers=brokers, quiet=quiet)


@contextmanager
def _said_why(settings: Settings, logs: clientlog.ClientLog) -> Iterator[None]:
    """A broker that turns us away looks like one that is away: the call times out, only the client's log knows."""
    try:
        yield
    except Unavailable as error:
        if (refusal := logs.refusal()) is not None:
            raise refusal from error
        # A broker that listens for something else says nothing at all.
        protocol = settings.kafka.client.get("security.protocol", "plaintext")
        tried = f"tried {settings.kafka.bootstrap_servers} with security.protocol = {protocol}"
        raise Unavailable(f"{error}; {tried}{logs.said and f'; {logs.said}'}") from error


@contextmanager
def topics(settings: Settings, log: FilteringBoundLogger) -> Iterator[Topics]:
    """The broker's topics."""
    kafka = settings.kafka
    logs = client_log(settings, log, "admin", quiet=True)
    with _said_why(settings, logs):
        yield Topics(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=logs), logs)


def log_reader(settings: Settings, logs: clientlog.ClientLog) -> KafkaLogReader:
    """A reader at the log's beginning."""
    return KafkaLogReader(_reader_options(settings, logs), settings.topics.log)


def _reader_options(settings: Settings, logs: clientlog.ClientLog) -> dict[str, Any]:
    """For whoever reads by itself, in no group: the group's name is for the broker's access rights alone."""
    kafka = settings.kafka
    return options.log_reader_options(
        kafka.bootstrap_servers, kafka.client, kafka.consumer, group_id=settings.worker.group_id, logs=logs
    )


def log_writer(
    settings: Settings, register: str, log: FilteringBoundLogger, also: Sequence[str] = (), nbytes: int = 0
) -> KafkaLogWriter:
    """The writer of a register and its scoped ones; it fences any other. What others of the register published can be
    read when it is there. `also` are other topics that it writes to, `nbytes` how much it takes in a transaction.
    Raises Unavailable, Refused.
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
    """As `log_writer`, without waiting: for whoever takes over several registers and then waits once."""
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
    """About the last so many prospects. Raises Unavailable, Refused."""
    made = _reader_options(settings, client_log(settings, log, "sample"))
    return last_values(made, settings.topics.prospects, count, Deadline.after(ASK_S))


def requests(settings: Settings, log: FilteringBoundLogger, *, lifts: bool = False) -> Requests:
    """The requests topic, and who publishes by it; or the topic of what lifts."""
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
    return Requests(made, admin, topic, lifts=lifts)


def replayed(
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    start: Start | None = None,
    keep_ends: bool = False,
    digest_of: Callable[[bytes], str] | None = None,
    before: Replay | None = None,
) -> Replay:
    """The log replayed to its end, for commands that look once. `start` None: as configured; the rest as `Replay`.
    `before` is a replay that was there already, and is read on.

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
    settings: Settings, log: FilteringBoundLogger, topic: str = "", partition: int = 0
) -> Iterator[LogReader]:
    """The log, or a partition of another topic, for commands that read it by themselves."""
    logs = client_log(settings, log, "follower", quiet=True)
    reader = KafkaLogReader(_reader_options(settings, logs), topic or settings.topics.log, partition)
    try:
        with _said_why(settings, logs):
            yield reader
    finally:
        reader.close()


def read_index(settings: Settings, log: FilteringBoundLogger) -> Index:
    """The index at the log's end, for commands that look once. Raises Corrupt, Unavailable, Refused."""
    return replayed(settings, log).index


def topic_identity(settings: Settings) -> Identity:
    """Which topic the prospects are, as the brokers tell."""
    kafka = settings.kafka
    asking = options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None)
    return Identity(asking, settings.topics.prospects)


def worker(
    settings: Settings,
    identity: str,
    counters: Counters,
    log: FilteringBoundLogger,
    record_limit: int | None,
    of_topic: Callable[[Settings], Identity | None] = topic_identity,
) -> tuple[Worker, Follower]:
    """A worker and the follower that it judges by; start the follower before running the worker. `of_topic` gives None
    for a broker that has no identities to tell, as the embedded one.
    """
    kafka, topics = settings.kafka, settings.topics
    brokers = clientlog.Brokers()

    def logs(client: str) -> clientlog.ClientLog:
        return client_log(settings, log, client, brokers=brokers)

    follower = _follower(settings, counters, log, lambda: logs("follower"))
    source = Source(
        options.consumer_options(
            kafka.bootstrap_servers,
            kafka.client,
            kafka.consumer,
            group_id=settings.worker.group_id,
            protocol=kafka.group_protocol,
            logs=logs("consumer"),
        ),
        topics.prospects,
        topics.log,
        lambda event, partitions: _moved(event, partitions, counters, log),
        counters.polls_again,
        of_topic(settings),
        lambda partitions: made_anew(settings.topics.prospects, counters, log, partitions=partitions),
    )
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
    by = scrubber(settings)
    outputs = Outputs(session, by, log, record_limit, lambda: output_limit(settings, log))
    watch = _clock_watch(settings)
    made = Worker(
        source, session, follower, by.rulebook, outputs, counters, log, pace=pace(settings), watch=watch
    )
    return made, follower


def _clock_watch(settings: Settings) -> ClockWatch:
    kafka, topics = settings.kafka, settings.topics
    # Never polled, so it may have nothing to tell.
    times = BrokerTimes(options.admin_options(kafka.bootstrap_servers, kafka.client, logs=None))
    return ClockWatch(times.ask, (topics.blocked, topics.allowed), settings.rules.clock_skew_max_s)


def output_limit(settings: Settings, log: FilteringBoundLogger) -> int | None:
    """The largest record that both outputs take now, None where nobody may ask. Raises Unavailable, Refused."""
    with topics(settings, log) as there:
        found = there.describe([settings.topics.allowed, settings.topics.blocked], Deadline.after(_LIMIT_S))
    return smallest_limit(topic.config for topic in found.values())


def pace(settings: Settings) -> Pace:
    """How much and how long a batch may be, as configured."""
    worker = settings.worker
    return Pace(
        worker.batch_records, worker.batch_bytes, worker.batch_ms / 1000, settings.rules.index_lag_max_s
    )


def _follower(
    settings: Settings,
    counters: Counters,
    log: FilteringBoundLogger,
    logs: Callable[[], clientlog.ClientLog],
) -> Follower:
    """Follows the log as a worker does, and says what becomes of it."""
    trouble = Trouble(log, "the log cannot be followed, trying again", "the log is followed")
    lines = SwapLines(log)

    def swapped(index: Index, seconds: float, stall_s: float) -> None:
        """Indexes on the way to the log's end for the first time are history, and not news."""
        is_news, sealed_ms = follower.lag_s is not None, follower.sealed_ms
        waited_s = time.time() - sealed_ms / 1000 if is_news and sealed_ms is not None else None
        counters.swapped(index.position, seconds, stall_s, waited_s)
        if is_news:
            lines.tell(index, seconds, stall_s, waited_s)

    def at_end() -> None:
        trouble.end()
        lines.tell_rest()

    follower = Follower(
        lambda: log_reader(settings, logs()),
        start=settings.lists.start,
        keeper=_keeper(settings, log),
        max_numbers=settings.lists.max_numbers,
        on_swap=swapped,
        on_trouble=trouble.tell,
        on_end=at_end,
    )
    return follower


def _keeper(settings: Settings, log: FilteringBoundLogger) -> Keeper | None:
    if not settings.worker.state_dir:
        return None
    return Keeper(
        Path(settings.worker.state_dir),
        settings.topics.log,
        on_trouble=lambda text: log.warning("keeping a snapshot", trouble=text),
    )


def _moved(event: str, partitions: list[int], counters: Counters, log: FilteringBoundLogger) -> None:
    counters.moved(event, len(partitions))
    log.info(f"partitions {event}", partitions=partitions, assigned=counters.assigned)


def made_anew(topic: str, counters: Pulse, log: FilteringBoundLogger, **more: Any) -> None:
    """Count and tell that a topic is another one than was read under its name."""
    with counters.lock:
        counters.made_anew += 1
    log.error("a topic was deleted and made anew: it is read from its start", topic=topic, **more)
