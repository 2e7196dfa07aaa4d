"""`lists publish`: the publisher as a daemon. Requests, ends and dropped files become deltas, each exactly once.

One thread publishes; a second one only reads a dropped file's numbers. A batch of requests becomes one transaction for
each register that it touches, `publication_order`. The last one also commits the offsets and the refused requests. After a crash
requests are read again: each register's seals say which ones they contain (docs/decisions.md, Requests exactly once).
"""

import math
import threading
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from stream_scrub.clock import Throttle
from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, Refused, ScrubError, TakenOver, TooLarge, Unavailable, Uncertain
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.imports.drop_folder import DropFolder
from stream_scrub.imports.drop_importer import DropImporter
from stream_scrub.imports.register_law import that_end
from stream_scrub.kafka import clients
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.kafka.requests_reader import OwnerNote, RequestsReader
from stream_scrub.log.wire import Cursor, DeltaSource
from stream_scrub.model import OWN, RESTED, Deadline, RegisterKind, RegisterName, Request
from stream_scrub.ops import preflight
from stream_scrub.ops.daemon import RETRY_S, Daemon, Process
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.publisher import ownership, publish_rules
from stream_scrub.publisher.delta_publisher import (
    DeltaPublisher,
    PendingDelta,
    close_in_background,
)
from stream_scrub.requests import unread
from stream_scrub.requests.backlog import LARGE_BYTES, Backlog
from stream_scrub.requests.ended_numbers import EndedNumbers
from stream_scrub.requests.lifts import Oppositions, recall
from stream_scrub.requests.parse_request import RequestRefusal, RequestTerms
from stream_scrub.requests.requests_to_delta import (
    KnownScopes,
    RefusedRequest,
    RegisterRequests,
    families,
    publication_order,
    split_safely,
    take,
)
from stream_scrub.requests.rested_numbers import RestedNumbers
from stream_scrub.scrub import scrubbing

_IDLE_S = 0.1
_ENDS_EVERY_S = 1.0
_GROWN_EVERY_S = 30.0
_SUMMARY_EVERY_S = 60.0
_BEGIN_S = 15.0
_TAKEOVERS_MAX = 5  # in a row, without a successor's note
# The longest time without a heartbeat. The longest step diffs a list of hundreds of millions of numbers and publishes
# it in one transaction. The loop beats before and after every call to a broker, which has a deadline of about thirty
# seconds (`publisher/delta_publisher.py`), and for each record of the log that it reads.
BEAT_LIMIT_S = 300.0
# A successor needs less than this from fencing the first register to writing its note.
_NEWS_S = 2.0
_TURN_S = 0.1


class RequestTopics:
    """One thread. Every method blocks and raises as those of `kafka/requests_reader.py: RequestsReader`."""

    def __init__(self, brokers: clients.Brokers, ids: dict[str, str]) -> None:
        """`ids` are the topics' ids at the last `begin`, by name; they are updated for the next one."""
        self._requests = brokers.requests()
        self._lifts = brokers.requests(lifts=True)
        self._topics = (self._requests, self._lifts)
        self._backlogs = (Backlog(), Backlog())
        topics = brokers.settings.topics
        self._refused, self._log_topic = topics.refused, topics.log
        self._log = brokers.log
        self._ids = ids

    def note(self) -> OwnerNote:
        """Who publishes by the requests."""
        return self._requests.note()

    def mark(self, deadline: Deadline) -> TransactionExtras:
        """What to commit before `begin`."""
        return self._requests.mark(self._log_topic, deadline)

    def log_name(self) -> str:
        """The log's name and its topic's id, for the note."""
        return f"{self._log_topic}/{self._requests.id_of(self._log_topic)}"

    def again(self, deadline: Deadline) -> None:
        """Seek to the oldest requests. Those that the seals contain are left out as after a crash."""
        for each in self._topics:
            each.begin(deadline, again=True)

    def begin(self, deadline: Deadline, mark: TransactionExtras, state: PublisherState) -> None:
        """Seek to the committed offsets, once `mark` was committed. Logs and counts (a) requests that were deleted before
        they were read, (b) topics that were deleted and created again."""
        for each in self._topics:
            each.confirm(mark, deadline)
            each.begin(deadline, self._ids.get(each.topic, ""))
            if not each.id:
                raise Refused("the broker is too old: requests need Kafka 2.8, whose topics have an id")
            if each.recreated:
                state.topic_recreated(each.topic, self._log)
            self._ids[each.topic] = each.id
        if missed := sum(each.missed for each in self._topics):
            state.missed(missed)
            self._log.error("requests were deleted from their topic before they were read", count=missed)

    def poll(
        self, idle_s: float, batch_s: float, requests_max: int
    ) -> Iterator[tuple[RequestsReader, Sequence[Request]]]:
        """The next requests of each topic that has some. Requests that protect come first, and only for them does it wait,
        if none are left from before."""
        for each, backlog in zip(self._topics, self._backlogs, strict=True):
            waits = each is self._requests and not any(self._backlogs)
            if not (backlog and each.is_damaged):  # what came before the damage is answered first
                backlog.add(each.poll(idle_s if waits else 0.0, batch_s if waits else 0.0, requests_max))
                each.pause(backlog.full)
            if backlog:
                yield each, backlog.part(requests_max)

    def give_back(self, to: RequestsReader, left: Sequence[Request]) -> None:
        """Requests of the last part of that topic that come again with the next one."""
        self._backlogs[self._topics.index(to)].give_back(left)

    def look(self) -> None:
        """Check that both topics are still the same ones. Raises Migrated where one is not."""
        for each in self._topics:
            each.look()

    def need_partitions(self) -> None:
        """Raises Unavailable when a topic has other partitions than before: a new one is read from its beginning."""
        if any(each.partitions() != each.assigned for each in self._topics):
            raise Unavailable("a topic of requests has other partitions than before: starting again")

    def behind(self) -> dict[tuple[str, int], int]:
        """By topic (as the metrics name it) and partition: how many requests wait."""
        return {
            ("lifts" if each.lifts else "requests", partition): behind
            for each in self._topics
            for partition, behind in each.behind().items()
        }

    def skipped(self) -> dict[str, Mapping[int, int]]:
        """The offsets that `begin` skipped, as `extras` and `consumed` take them."""
        return {each.topic: each.skipped for each in self._topics}

    def extras(
        self, note: OwnerNote, consumed: Mapping[str, Mapping[int, int]], refused: Sequence[Request] = ()
    ) -> TransactionExtras:
        """What a writer commits together with a delta: the offset after the last consumed request, by topic and
        partition; the note; and the refused requests."""
        made = [
            each.extras(note, consumed.get(each.topic, {}), self._refused, refused) for each in self._topics
        ]
        return made[0]._replace(offsets=[place for each in made for place in each.offsets])

    def consumed(self, upto: Mapping[str, Mapping[int, int]]) -> None:
        """Remember that these offsets were committed."""
        for each in self._topics:
            each.consumed(upto.get(each.topic, {}))

    def cursor(self, of: RequestsReader, reached: Cursor, asked: Cursor | None) -> Cursor:
        """The cursor `asked` of a register's last seal, advanced to the positions reached since in one of the topics."""
        before = Cursor(self._requests.topic, self._requests.id, {}) if asked is None else asked
        return before.with_(reached, lifts=of.lifts)

    def close(self) -> None:
        """Release the connections."""
        for each in self._topics:
            each.close()


def refused_record(refused: RefusedRequest, topic: str, topic_id: str, *, slim: bool) -> Request:
    """The record of a refused request: as it came, with the reason, and how many of its numbers were taken. With `slim`
    a large request goes without its bytes, since the topic of refused requests takes smaller records than that of
    requests."""
    request = refused.request
    place = f"{request.partition}/{request.offset}".encode()
    ours = {"reason": refused.reason.encode(), "taken": b"%d" % refused.taken, "from": place}
    ours["topic"] = topic.encode()  # offsets of two topics come here
    ours |= {unread.UNREAD: unread.place_of(topic_id, request).encode()} if refused.unread else {}
    ours |= {unread.SETTLES: refused.settles.encode()} if refused.settles else {}
    value = request.value or b""
    if slim and len(value) > LARGE_BYTES:
        ours[unread.OMITTED] = b"%d" % len(value)
    own = {*ours, unread.UNREAD, unread.SETTLES, unread.OMITTED}
    kept = [(name, content) for name, content in request.headers if name not in own]
    return request._replace(
        headers=[*kept, *ours.items()], value=None if unread.OMITTED in ours else request.value
    )


def run(settings: Settings) -> int:
    """Publish until SIGTERM or SIGINT; returns the exit code."""
    return Daemon(
        settings,
        PublisherState,
        lambda process: PublisherDaemon(process, ownership.identity()).run(),
        BEAT_LIMIT_S,
    ).run()


class PublisherDaemon:
    """One daemon. `run` returns when `process.stopping` is set. Raises Corrupt, and Refused with the name of another
    publisher or with what to change."""

    def __init__(self, process: Process[PublisherState], identity: str) -> None:
        settings, log = process.settings, process.log
        self._process = process
        self._settings, self._state, self._log = settings, process.state, log
        self._brokers = clients.Brokers(settings, log)
        self._identity = identity
        drop_folder = DropFolder(Path(settings.lists.folder)) if settings.lists.folder else None
        self._delta_publisher = DeltaPublisher(
            settings, self._state, log, lambda: ownership.need_ours(self._request_topics().note, identity)
        )
        self._drop_importer = (
            None if drop_folder is None else DropImporter(drop_folder, self._delta_publisher, settings, log)
        )
        self._topics: RequestTopics | None = None
        self._topic_ids: dict[str, str] = {}
        self._rulebook = scrubbing.law(settings)
        self._ruled = dict(self._rulebook.kinds)
        self._law = ConsentLaw(self._rulebook, proof_required=settings.lists.consent_proof == "required")
        kinds = dict.fromkeys(settings.lists.registers, RegisterKind.DENY) | dict(OWN)
        self._asked = frozenset(settings.lists.registers)
        self._own = [*(each[0] for each in families(self._asked, kinds.__getitem__)), RESTED]
        self._ended = EndedNumbers(settings, self._rulebook, self._delta_publisher, self._state, log)
        self._rested = RestedNumbers(
            settings,
            self._rulebook,
            self._delta_publisher,
            self._state,
            log,
            lambda deltas: self._commit({}, deltas),
        )
        self._oppositions: Oppositions | None = None
        self._scopes_seen, self._scoped = KnownScopes(most=settings.lists.max_scopes), 0
        self._owner_note = Throttle(ownership.BEAT_S, at_once=False)
        self._end_check = Throttle(_ENDS_EVERY_S, at_once=False)
        self._partition_check = Throttle(_GROWN_EVERY_S, at_once=False)
        self._summary = Throttle(_SUMMARY_EVERY_S, at_once=False)
        self._takeovers = self._unlawful = self._unread = self._beat = 0
        self._slim = False
        self._seal = ""  # of the last delta that the committed offsets rest on
        self._log_name = ""  # of the log that the committed offsets are for
        self._problem = RecurringProblem(log, "trying again", "publishing goes on")

    def run(self) -> None:
        """Work until `process.stopping` is set."""
        with nullcontext() if self._drop_importer is None else self._drop_importer.open():
            self._work(self._process.stopping)
        self._log.info("stopped", **self._state.sums())

    def _work(self, stopping: threading.Event) -> None:
        self._process.wait_for_brokers(self._prepare)
        while not stopping.is_set():
            try:
                self._begin()
                while not stopping.is_set():
                    self._step()
                self._state.stopping = True
                self._identity = ""  # a note without an owner: the next publisher need not wait for this one
                self._commit({})
            except TakenOver as error:
                self._gave_up(error)
                self._find_who_took_over(error, stopping)
            except (Unavailable, Uncertain, Migrated) as error:
                self._gave_up(error)
                self._slim |= isinstance(error, TooLarge)
                failures = self._state.failures
                self._problem.occurred(str(error), failures=failures)
                stopping.wait(RETRY_S[min(failures, len(RETRY_S)) - 1])
            finally:
                self._delta_publisher.close()
                self._rested.close()
                self._close_request_topics()

    def _gave_up(self, error: ScrubError) -> None:
        self._state.owner = False
        self._state.gave_up(error)
        self._state.beat()

    def _prepare(self) -> None:
        """Check that the topics exist and that no other live publisher takes the requests. Raises Refused."""
        self._state.beat()
        try:
            with self._brokers.topics() as there:
                preflight.need(there, self._brokers, "publish")
                preflight.need_log(there, self._settings, ("requests", "lifts", "refused", "attempts"))
            ownership.need_free(self._request_topics().note, self._settings.lists.registers)
        except (Unavailable, Uncertain):
            self._close_request_topics()
            raise

    def _begin(self) -> None:
        """Fence every older publisher, write our note, and only then read the log and the committed offsets."""
        topics = self._request_topics()
        self._state.waiting = None
        self._delta_publisher.fence(
            self._own, [self._settings.topics.refused, self._settings.topics.requests]
        )
        self._state.beat()
        deadline = Deadline.after(_BEGIN_S)
        mark = topics.mark(deadline)
        self._delta_publisher.publish([], lambda _: mark)
        topics.begin(deadline, mark, self._state)
        before = topics.note()
        self._beat, self._seal, self._log_name = before.beat, before.seal, before.log
        self._commit(topics.skipped())
        self._state.beat()
        self._delta_publisher.read_on()
        log_name = topics.log_name()
        is_another = self._log_name not in ("", log_name)
        if is_another or not self._delta_publisher.holds(self._seal):
            if is_another:
                self._log.error(
                    "requests were published to another log, taking all requests again",
                    before=self._log_name,
                    log=log_name,
                )
            else:
                self._log.error("the log lost deltas of requests, taking all requests again", seal=self._seal)
            topics.again(Deadline.after(_BEGIN_S))
            self._rested.again()
            self._seal = ""
        self._log_name = log_name
        self._commit(topics.skipped())
        self._state.open = unread.open_places(self._settings, self._log)
        self._state.attach(self._delta_publisher.replay, scrubbing.rulebook(self._settings))
        self._recalled(datetime.now(UTC))
        self._ended.unlimited = that_end(self._rulebook, self._delta_publisher.registers, datetime.now(UTC))
        if self._drop_importer is not None:
            self._drop_importer.recover()
        with suppress(Migrated):  # another process publishes them at this moment
            publish_rules.keep_rules(self._settings, self._log, self._delta_publisher.replay)
        self._state.begins()
        self._state.owner = True
        self._log.info(
            "publishing",
            registers=self._own,
            topic=self._settings.topics.requests,
            position=self._delta_publisher.replay.index.position,
        )

    def _step(self) -> None:
        """One round: requests, attempts, ends, dropped files."""
        lists, state = self._settings.lists, self._state
        state.beat()
        idle = True
        now = datetime.now(UTC)
        idle_s = 0.0 if self._rested.step(now) else _IDLE_S
        for topic, batch in self._request_topics().poll(idle_s, lists.batch_ms / 1000, lists.batch_requests):
            idle = False
            for part in split_safely(batch, self._terms(datetime.now(UTC))):
                self._answer(topic, part)
        if idle:
            self._delta_publisher.glance()
        state.failures = 0
        self._problem.end()
        if self._end_check.is_due():
            state.lags = self._request_topics().behind()
            self._request_topics().look()
            self._ended.publish(datetime.now(UTC))
        if self._drop_importer is not None:
            state.beat()
            came = self._drop_importer.step()
            state.worked_on(came["files"], came["files_refused"])
        if self._owner_note.age_s >= ownership.BEAT_S:
            self._commit({})
        if self._partition_check.is_due():
            self._request_topics().need_partitions()
            self._rested.look()
        if self._summary.is_due():
            self._sum_up()

    def _sum_up(self) -> None:
        """Log the publications and refusals since the last call."""
        self._takeovers = 0
        self._log.info("published", **self._state.sums(), lag=sum(self._state.lags.values()))
        if self._unlawful:
            self._log.warning("requests refused: they may not lift", requests=self._unlawful)
        if self._unread:
            self._log.error("oppositions could not be read, and are not in force", requests=self._unread)
        self._unlawful = self._unread = 0
        self._rested.sum_up()

    def _answer(self, topic: RequestsReader, batch: Sequence[Request]) -> None:
        """Publish everything that a batch of one topic's requests asks for. The last transaction commits the offsets
        after them."""
        now = datetime.now(UTC)
        self._state.beat()
        for each in self._own:
            self._delta_publisher.ready(each)
        cursor_of = partial(self._cursor_of, topic)
        registers, oppositions = self._delta_publisher.registers, self._recalled(now)
        self._oppositions = None  # after a failure only the log counts
        # The desk's requests were put into safe parts, which must be taken whole.
        turn_s = math.inf if topic.lifts else _TURN_S
        wanted, turned, left = take(
            batch, self._terms(now), cursor_of, oppositions, registers, self._scopes(), turn_s
        )
        if left:
            self._request_topics().give_back(topic, left)
            later = {(each.partition, each.offset) for each in left}
            batch = [each for each in batch if (each.partition, each.offset) not in later]
        consumed = {r.partition: r.offset + 1 for r in sorted(batch, key=lambda each: each.offset)}
        groups = publication_order(wanted)
        for group in groups[:-1]:
            self._delta_publisher.publish(
                [self._pending_delta(topic, name, wanted[name], now) for name in group]
            )
        last = [self._pending_delta(topic, name, wanted[name], now) for name in groups[-1]] if groups else []
        refused = [refused_record(each, topic.topic, topic.id, slim=self._slim) for each in turned]
        self._commit({topic.topic: consumed}, last, refused)
        self._oppositions = oppositions
        self._unlawful += sum(each.reason is RequestRefusal.MAY_NOT_LIFT for each in turned)
        self._unread += sum(each.unread for each in turned)
        self._state.open = unread.still_open(self._state.open, refused)
        if (scopes := self._scopes_seen).refused:
            self._log.warning("no room for more scopes", requests=scopes.refused, max_scopes=scopes.most)
            scopes.refused = 0
        at = time.time()
        self._state.answered(
            len(batch),
            sum(each.reason is not RequestRefusal.SETTLED for each in turned),
            (at - each.timestamp_ms / 1000 for each in batch if each.timestamp_ms),
        )
        self._log.debug("requests", requests=len(batch), refused=len(turned), registers=sorted(wanted))

    def _terms(self, now: datetime) -> RequestTerms:
        kinds = {name: register.kind for name, register in self._delta_publisher.registers.items()}
        prospect, parts = self._settings.prospect, self._delta_publisher.replay.index.parts()
        region, campaign = prospect.default_region, prospect.default_campaign
        return RequestTerms(
            self._asked, ChainMap(kinds, self._ruled), region, now, parts, self._law, campaign
        )

    def _recalled(self, now: datetime) -> Oppositions:
        """When each number was opposed. Read from the log before the first request."""
        if self._oppositions is None:
            with self._brokers.reading() as reader:
                self._oppositions = recall(reader, self._terms(now), _BEGIN_S, heard=self._state.beat)
        return self._oppositions

    def _scopes(self) -> KnownScopes:
        """The scopes on the log. Collected again when the number of registers changes."""
        registers = self._delta_publisher.registers
        if len(registers) != self._scoped:
            self._scoped = len(registers)
            self._scopes_seen.known |= {RegisterName.split(name).scope for name in registers} - {""}
        return self._scopes_seen

    def _cursor_of(self, topic: RequestsReader, register: str) -> Cursor | None:
        """The last request of this topic that a register's seals contain."""
        asked = self._delta_publisher.replay.known(register).asked
        return None if asked is None else asked.of(topic.id, lifts=topic.lifts)

    def _pending_delta(
        self, topic: RequestsReader, name: str, wanted: RegisterRequests, now: datetime
    ) -> PendingDelta:
        base = self._delta_publisher.base(name, wanted.kind)
        known = self._delta_publisher.replay.known(name)
        reached = wanted.cursor(topic.topic, topic.id, self._cursor_of(topic, name))
        cursor = self._request_topics().cursor(topic, reached, known.asked)
        source = DeltaSource(topic.topic, sha256(b"".join(wanted.lines)).hexdigest())
        # A request says nothing about the age of the register's lists.
        effective_at = base.effective_at if base.seq else now
        return PendingDelta(base, wanted.delta(base, known.ends), effective_at, source, known, cursor)

    def _commit(
        self,
        consumed: Mapping[str, Mapping[int, int]],
        deltas: Sequence[PendingDelta] = (),
        refused: Sequence[Request] = (),
    ) -> None:
        """Commit deltas of one name with the offsets, the refused requests and our note."""
        topics = self._request_topics()
        self._beat += 1
        note = OwnerNote(self._identity, self._beat, frozenset(self._own), log=self._log_name)

        def extras_of(seal: str) -> TransactionExtras:
            self._seal = seal or self._seal
            return topics.extras(note._replace(seal=self._seal), consumed, refused)

        self._delta_publisher.publish(deltas, extras_of)
        topics.consumed(consumed)
        self._owner_note.restart()

    def _find_who_took_over(self, error: TakenOver, stopping: threading.Event) -> None:
        """Find out why this publisher was fenced: (a) by a successor, which the note names; (b) a transaction took too long;
        (c) an import took this publisher for dead. Raises Refused for (a)."""
        stopping.wait(_NEWS_S)
        try:
            note = self._request_topics().note()
        except (Unavailable, Uncertain):
            note = OwnerNote("", 0, frozenset())
        if note.owner not in {"", self._identity}:
            raise Refused(
                f"{ownership.named(note.owner)} publishes {', '.join(self._own)} now: this one ends"
            ) from error
        self._takeovers += 1
        if self._takeovers > _TAKEOVERS_MAX:
            raise Refused(
                "another publisher keeps taking over our registers: does one run with another lists.requests_group?"
            ) from error
        self._log.warning("register taken over for a moment, opening it again", why=str(error))

    def _request_topics(self) -> RequestTopics:
        if self._topics is None:
            self._topics = RequestTopics(self._brokers, self._topic_ids)
        return self._topics

    def _close_request_topics(self) -> None:
        if self._topics is not None:
            close_in_background(self._topics.close)
            self._topics = None
