"""Kafka clients from settings: `Brokers` makes them all."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from stream_scrub.config import Settings
from stream_scrub.config.settings import Route, allowed_of
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka.admin.topics import TopicAdmin, smallest_limit
from stream_scrub.kafka.client import options
from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from stream_scrub.kafka.client.options import Role, client_options
from stream_scrub.kafka.client.producer_calls import id_of_publisher, id_of_recall
from stream_scrub.kafka.dialler.allowed_reader import AllowedReader
from stream_scrub.kafka.dialler.recalls_reader import RecallsReader
from stream_scrub.kafka.guards.judged_positions import JudgedPositions
from stream_scrub.kafka.guards.waiting_requests import WaitingRequests
from stream_scrub.kafka.log_reader import KafkaLogReader, last_records
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.offsets import GroupOffsets
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.requests_reader import RequestsReader
from stream_scrub.kafka.requests_writer import RequestsWriter
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.made_by import MadeBy
from stream_scrub.made_by import made_by as made_by_process
from stream_scrub.model import BeginAt, Deadline, IndexGuard, Logger, LogReader, LogRecord

ASK_S = 15.0
_LIST_EVERY_S = 30.0
_TAKE_S = 30.0  # a publisher of another register that died may hide the log's end for 20 s of them


def deadline() -> Deadline:
    """The deadline for one question to the brokers."""
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


def made_by(settings: Settings, token: str = "") -> MadeBy:
    """Who publishes: this process, for the owner of that token."""
    client = settings.kafka.client
    signs_in = client.get("security.protocol", "").upper().startswith("SASL")
    return made_by_process(token=token, kafka_user=client.get("sasl.username", "") if signs_in else "")


def side_group(settings: Settings, side: str) -> str:
    """The group under whose name a process beside the workers commits its progress."""
    return f"{settings.worker.group_id}-{side}"


def refresh_s(settings: Settings) -> float:
    """How often to ask which topics a pattern matches."""
    chosen = {**settings.kafka.client, **settings.kafka.consumer}
    refresh_ms = chosen.get("topic.metadata.refresh.interval.ms", "")
    return max(1.0, int(refresh_ms) / 1000) if refresh_ms.isdecimal() else _LIST_EVERY_S


class Brokers:
    """Makes the Kafka clients that the settings describe, and has the witnesses that they share. Making it connects to nothing.
    `embedded`: the broker of a trial, which has no topic ids and forgets every offset that a transaction commits."""

    def __init__(self, settings: Settings, log: Logger, *, embedded: bool = False) -> None:
        self.settings = settings
        self.log = log
        self.embedded = embedded
        self.witnesses = Witnesses(self._reader_options(Role.REQUESTS_READER, None), has_ids=not embedded)
        """Its clients are made at the first question."""

    def log_reader(self, logs: ClientLog | None = None) -> KafkaLogReader:
        """A reader at the log's beginning. `logs`: the log of its client."""
        logs = self.client_log("follower") if logs is None else logs
        chosen = self._reader_options(Role.LOG_READER, logs)
        return KafkaLogReader(chosen, self.settings.topics.log, witnesses=self.witnesses)

    def index_guards(self, *, judged: bool = True) -> list[IndexGuard]:
        """What an index of the log must fulfil besides being fresh. `judged`: for all but workers and members of a recall, which
        read their own group's positions."""
        guards: list[IndexGuard] = []
        if self.embedded:
            return guards
        if judged:
            guards.append(self.judged_positions())
        if (requests := self.waiting_requests()) is not None:
            guards.append(requests)
        return guards

    def waiting_requests(self, *, reads_log: bool = True) -> WaitingRequests | None:
        """Tells whether requests wait for the publisher; None if `rules.request_lag_max_s` is 0. It needs Describe on both topics
        of requests and on the publisher's group. `reads_log`: for a process that may describe the log, and asks whether the
        publisher publishes to that one."""
        topics, lag_max_s = self.settings.topics, self.settings.rules.request_lag_max_s
        if not lag_max_s:
            return None
        return WaitingRequests(
            self.witnesses,
            self.settings.lists.requests_group,
            (topics.requests, topics.lifts),
            topics.log,
            lag_max_s,
            reads_log=reads_log,
        )

    def judged_positions(self) -> JudgedPositions:
        """Tells by which position of which log the workers have judged. It needs Describe on the inputs and on the workers'
        group."""
        topics = self.settings.topics
        return JudgedPositions(self.witnesses, self.settings.worker.group_id, topics.inputs, topics.log)

    def latest_moment(self) -> datetime:
        """The latest timestamp on the log: a marker's, by its broker's clock, or a record's, by its publisher's. Raises
        Unavailable."""
        topic = self.settings.topics.log
        times = self.witnesses.now([(topic, 0)])
        if not times:
            raise Unavailable(f"asking for the latest moment on {topic}: no broker answers now")
        return datetime.fromtimestamp(times[0].at, UTC)

    def close(self) -> None:
        """Close the clients that ask."""
        self.witnesses.close()

    def client_log(
        self,
        client: str,
        *,
        brokers: BrokersAway | None = None,
        quiet: bool = False,
    ) -> ClientLog:
        """The log of one client, as `ClientLog`."""
        return ClientLog(
            self.log, client, properties=self.settings.kafka.client, brokers=brokers, quiet=quiet
        )

    @contextmanager
    def _explained(self, logs: ClientLog) -> Iterator[None]:
        """Add the reason to an error. If a broker refuses us, the call times out, and only the client's log has the reason."""
        try:
            yield
        except Unavailable as error:
            if (refusal := logs.refusal()) is not None:
                raise refusal from error
            # A broker that expects another protocol does not answer at all.
            protocol = self.settings.kafka.client.get("security.protocol", "plaintext")
            tried = f"tried {self.settings.kafka.bootstrap_servers} with security.protocol = {protocol}"
            if "bootstrap_servers" not in self.settings.kafka.model_fields_set:
                tried += " (if your brokers are elsewhere, set STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS)"
            raise Unavailable(f"{error}; {tried}{logs.last_line and f'; {logs.last_line}'}") from error

    # -- The brokers' topics.

    @contextmanager
    def topics(self) -> Iterator[TopicAdmin]:
        """The broker's topics."""
        logs = self.client_log("admin", quiet=True)
        with self._explained(logs):
            yield TopicAdmin(client_options(self.settings.kafka, Role.ADMIN, logs), logs)

    def routes(self, there: TopicAdmin | None = None, deadline: Deadline | None = None) -> list[Route]:
        """The inputs with their outputs, as named, or as a pattern matches them now. Without `there` it makes an admin client.
        Raises Unavailable, Refused."""
        inputs = self.settings.topics.inputs
        if inputs.pattern is None:
            return inputs.among(())
        if there is None:
            with self.topics() as topics:
                return self.routes(topics, deadline)
        return inputs.among(there.names(deadline or Deadline.after(ASK_S)))

    # -- The log.

    def _reader_options(self, role: Role, logs: ClientLog | None, group: str = "") -> dict[str, Any]:
        """The properties of a reader that joins no group. It needs a group's name all the same: librdkafka demands one, and
        the brokers' access rights refer to it."""
        return client_options(
            self.settings.kafka, role, logs, {"group.id": group or self.settings.worker.group_id}
        )

    @contextmanager
    def reading(
        self,
        topic: str = "",
        partition: int = 0,
        *,
        uncommitted: bool = False,
    ) -> Iterator[LogReader]:
        """A reader of the log, or of a partition of another topic. `uncommitted`: it waits for no open transaction."""
        logs = self.client_log("follower", quiet=True)
        chosen = self._reader_options(Role.LOG_READER, logs) | (options.UNCOMMITTED if uncommitted else {})
        reader = KafkaLogReader(chosen, topic or self.settings.topics.log, partition)
        with closing(reader), self._explained(logs):
            yield reader

    def log_writer(self, register: str, also: Sequence[str] = (), nbytes: int = 0) -> KafkaLogWriter:
        """The writer of a register and its scoped ones. It fences every other writer of them, and returns when everything that
        they published can be read. `also`: other topics that it writes to. `nbytes`: the size of its largest transaction.
        Raises Unavailable, Refused."""
        deadline = Deadline.after(_TAKE_S)
        writer = self.taken_over(register, also, deadline, nbytes)
        try:
            writer.wait_for_others(deadline)
        except ScrubError:
            writer.close()
            raise
        return writer

    def taken_over(
        self,
        register: str,
        also: Sequence[str] = (),
        deadline: Deadline | None = None,
        nbytes: int = 0,
    ) -> KafkaLogWriter:
        """As `log_writer`, without the wait: for a caller that takes over several registers and then waits once."""
        own = {
            "transactional.id": id_of_publisher(self.settings.topics.log, register),
            "transaction.timeout.ms": options.publish_timeout_ms(nbytes),
        }
        chosen = client_options(self.settings.kafka, Role.PUBLISHER, self.client_log("publisher"), own)
        reading = self._reader_options(Role.LOG_READER, None)
        return KafkaLogWriter(
            chosen, reading, self.settings.topics.log, deadline or Deadline.after(_TAKE_S), also
        )

    # -- Requests and prospects.

    def requests(self, *, lifts: bool = False) -> RequestsReader:
        """The reader of the requests topic and of the publisher's note there; with `lifts`, of the topic of lifts."""
        logs = self.client_log("requests")
        topic = self.settings.topics.lifts if lifts else self.settings.topics.requests
        chosen = self._reader_options(Role.REQUESTS_READER, logs, self.settings.lists.requests_group)
        return RequestsReader(chosen, Witnesses(chosen), topic, lifts=lifts)

    def requests_writer(self, topic: str) -> RequestsWriter:
        """Puts requests, or attempts, on their topic."""
        logs = self.client_log("requests", quiet=True)
        return RequestsWriter(client_options(self.settings.kafka, Role.REQUESTS_WRITER, logs), topic)

    def prospects_writer(self, topic: str) -> RequestsWriter:
        """Puts a file's rows on a topic of prospects."""
        logs = self.client_log("prospects", quiet=True)
        return RequestsWriter(client_options(self.settings.kafka, Role.PROSPECTS_WRITER, logs), topic)

    def last_prospects(self, count: int) -> list[bytes | None]:
        """The values of at most `count` of the last prospects. Raises Unavailable, Refused."""
        chosen = self._reader_options(Role.LOG_READER, self.client_log("sample"))
        inputs = [each.input for each in self.routes()]
        values: list[bytes | None] = []
        for topic in inputs:
            last = last_records(chosen, topic, -(-count // len(inputs)), deadline())
            values += [each.value for each in last]
        return values[:count]

    def last_refused(self, count: int | None) -> Iterator[LogRecord]:
        """Yield the last `count` refused requests or a few more; None: all. Raises Unavailable, Refused."""
        logs = self.client_log("refused", quiet=True)
        with self._explained(logs):
            yield from last_records(
                self._reader_options(Role.LOG_READER, logs), self.settings.topics.refused, count, deadline()
            )

    @contextmanager
    def group_offsets(self) -> Iterator[GroupOffsets]:
        """The committed offsets of the workers' group."""
        logs = self.client_log("offsets", quiet=True)
        chosen = client_options(
            self.settings.kafka, Role.MEMBER, logs, {"group.id": self.settings.worker.group_id}
        )
        chosen.pop("group.instance.id", None)  # a worker's own place in the group
        group = GroupOffsets(chosen, [each.input for each in self.routes()])
        with closing(group), self._explained(logs):
            yield group

    def output_reader(self, names: Sequence[str], group: str, mark_on: str = "") -> OutputReader:
        """A reader of output topics, whose place is committed under the name of that group. `mark_on`: in place of the log, the
        topic of the marks that show the coordinator's truth."""
        logs = self.client_log("outputs")
        chosen = self._reader_options(Role.OUTPUT_READER, logs, group)
        return OutputReader(chosen, names, Witnesses(chosen), mark_on or self.settings.topics.log)

    def allowed_reader(self, group: str, begin_at: BeginAt | None = None) -> AllowedReader:
        """The allowed topics but the drill's, as a member of a dialler's group reads them. Raises Unavailable, Refused."""
        routes = [each for each in self.routes() if each.input != self.settings.topics.drill]
        topics = allowed_of(routes)
        logs = self.client_log("allowed")
        chosen = client_options(self.settings.kafka, Role.MEMBER, logs, {"group.id": group})
        return AllowedReader(chosen, topics, begin_at, self.log)

    def recalls_reader(self, group: str, since: datetime) -> RecallsReader:
        """A reader of the topic of recalls from a moment on, for a dialler of that group."""
        logs = self.client_log("recalls")
        options = self._reader_options(Role.OUTPUT_READER, logs, group)
        return RecallsReader(options, self.settings.topics.recalled, since)

    def side_session(self, names: Sequence[str], transactional_id: str, **options: Any) -> Session:
        """The session of a process next to the workers, which writes to these topics; `options` as there. Raises Unavailable,
        Refused."""
        with self.topics() as there:
            described = there.describe(names, deadline())
        logs = self.client_log("side")
        chosen = client_options(
            self.settings.kafka,
            Role.WORKER,
            logs,
            {"transactional.id": transactional_id},
            max_bytes=smallest_limit(each.config for each in described.values()),
        )
        return Session(chosen, names, logs.denied, is_member=False, **options)

    def recall_session(self, identity: str) -> Session:
        """The session of a member of a recall."""
        own = {
            "transactional.id": id_of_recall(self.settings.worker.group_id, identity),
            "partitioner": "murmur2_random",  # as in Java's clients: all recalls of a number are on one partition
        }
        logs = self.client_log("producer")
        return Session(
            client_options(self.settings.kafka, Role.WORKER, logs, own),
            [self.settings.topics.recalled],
            logs.denied,
            stripped=(),  # its headers are its own
        )
