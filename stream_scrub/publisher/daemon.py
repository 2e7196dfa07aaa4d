"""`lists publish`: the publisher as a daemon. Requests, ends and dropped files become deltas, each exactly once.

One thread does all publishing; a second one only reads a dropped file's numbers. A batch of requests becomes one
transaction for each register that it touches, `in_turn`. The last one also commits the offsets and the refused requests.
What is cut off is taken again: each register's seals say which requests they contain (docs/decisions/0008-*.md).
"""

import threading
import time
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import (
    Corrupt,
    Migrated,
    Refused,
    ScrubError,
    TakenOver,
    TooLarge,
    Unavailable,
    Uncertain,
)
from stream_scrub.kafka.requests_reader import OwnerNote, RequestsReader
from stream_scrub.lists.ends import ended
from stream_scrub.lists.intake.consents import ConsentLaw, belated
from stream_scrub.lists.intake.lifts import Oppositions, recall
from stream_scrub.lists.intake.parse_request import RequestRefusal, RequestTerms
from stream_scrub.lists.intake.requests_to_delta import KnownScopes, RegisterRequests, families, in_turn, take
from stream_scrub.lists.log.wire import Cursor, DeltaSource
from stream_scrub.model import OWN, Deadline, RegisterKind, RegisterName, Request, family
from stream_scrub.observability import http_server, logs
from stream_scrub.observability.collect import PublisherCollector
from stream_scrub.observability.counters import PublisherCounters
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.publisher import ownership, publish_rules
from stream_scrub.publisher.delta_publisher import (
    DeltaPublisher,
    PendingDelta,
    RegisterBusy,
    close_in_background,
)
from stream_scrub.publisher.drop_folder import DropFolder
from stream_scrub.publisher.drop_importer import DropImporter
from stream_scrub.publisher.request_parts import answerable, refused_record
from stream_scrub.publisher.request_topics import RequestTopics
from stream_scrub.wiring import clients, preflight, process_family, scrubbing

_IDLE_S = 0.1
_ENDS_EVERY_S = 1.0
_GROWN_EVERY_S = 30.0
_SUMMARY_EVERY_S = 60.0
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_BEGIN_S = 15.0
_TAKEOVERS_MAX = 5  # takeovers in a row that no publisher explains in its note
# The longest time without a heartbeat. The longest step diffs a list of hundreds of millions of numbers and publishes
# it in one transaction. The loop beats before and after every call to a broker, which has a deadline of about thirty
# seconds (`publisher/delta_publisher.py`), and for each record of the log that it reads.
BEAT_LIMIT_S = 300.0
# A successor needs less than this from fencing the first register to writing its note.
_NEWS_S = 2.0


def run(settings: Settings) -> int:
    """Publish until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    collector = PublisherCollector(PublisherCounters(), limit_s=BEAT_LIMIT_S)
    try:
        publisher = PublisherDaemon(settings, ownership.identity(), collector, log)
        with http_server.serving(settings.http, Side.PUBLISHER, lambda: [collector()], log):
            publisher.run(stopping)
    except Corrupt as error:
        log.error("stopped on a corrupt log", why=str(error), offset=error.offset)
        return 3
    except ScrubError as error:
        log.error("cannot publish", why=str(error))
        return 1
    return 0


class PublisherDaemon:
    """One daemon. `run` returns when `stopping` is set. Raises Refused when it may not go on, saying who publishes
    instead or what to change, and Corrupt.
    """

    def __init__(
        self, settings: Settings, identity: str, collector: PublisherCollector, log: FilteringBoundLogger
    ) -> None:
        self._settings, self._identity = settings, identity
        self._collector, self._counters = collector, collector.counters
        self._log = log
        drop_folder = DropFolder(Path(settings.lists.folder)) if settings.lists.folder else None
        self._delta_publisher = DeltaPublisher(
            settings, self._counters, log, lambda: ownership.need_ours(self._request_topics().note, identity)
        )
        self._drop_importer = (
            None if drop_folder is None else DropImporter(drop_folder, self._delta_publisher, settings, log)
        )
        self._topics: RequestTopics | None = None
        self._topic_ids: dict[str, str] = {}
        self._rulebook = scrubbing.rulebook(settings)
        self._ruled = dict(self._rulebook.kinds)
        self._law = ConsentLaw(self._rulebook, settings.lists.consent_proof == "required")
        kinds = dict.fromkeys(settings.lists.registers, RegisterKind.DENY) | dict(OWN)
        self._own = [each[0] for each in families(settings.lists.registers, kinds.__getitem__)]
        self._oppositions: Oppositions | None = None
        self._scopes_seen, self._scoped = KnownScopes(most=settings.lists.max_scopes), 0
        self._committed_at = self._ended_at = self._looked_at = self._summed_at = time.monotonic()
        self._takeovers = self._unlawful = self._beat = 0
        self._slim, self._unlimited = False, set[str]()  # registers whose consents may lack their lawful ends
        self._problem = RecurringProblem(log, "trying again", "publishing goes on")

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set."""
        with nullcontext() if self._drop_importer is None else self._drop_importer.open():
            self._work(stopping)
        self._log.info("stopped", **self._counters.sums())

    def _work(self, stopping: threading.Event) -> None:
        self._prepare(stopping)
        while not stopping.is_set():
            try:
                self._begin()
                while not stopping.is_set():
                    self._step()
                self._counters.stopping = True
                self._hand_over()
            except TakenOver as error:
                self._gave_up(error)
                self._find_who_took_over(error, stopping)
            except (Unavailable, Uncertain, Migrated) as error:
                self._gave_up(error)
                self._slim |= isinstance(error, TooLarge)
                failures = self._counters.failures
                self._problem.tell(str(error), failures=failures)
                stopping.wait(_RETRY_S[min(failures, len(_RETRY_S)) - 1])
            finally:
                self._delta_publisher.close()
                self._close_request_topics()

    def _gave_up(self, error: ScrubError) -> None:
        self._counters.owner = False
        self._counters.gave_up(error)
        self._counters.beat()

    def _prepare(self, stopping: threading.Event) -> None:
        """See that the topics are there and that nobody else alive publishes by requests. Raises Refused."""
        problem = RecurringProblem(self._log, "no broker answers, trying again", "brokers answer")
        while not stopping.is_set():
            self._counters.beat()
            try:
                self._need_topics()
                ownership.need_free(self._request_topics().note, self._settings.lists.registers)
            except (Unavailable, Uncertain) as error:
                self._counters.waits("broker", str(error))
                problem.tell(str(error))
                self._close_request_topics()
                stopping.wait(_RETRY_S[-1])
            else:
                problem.end()
                return

    def _need_topics(self) -> None:
        with clients.topics(self._settings, self._log) as there:
            preflight.need(there, self._settings, "publish")
            preflight.need_log(there, self._settings, ("requests", "lifts", "refused"))

    def _begin(self) -> None:
        """Fence every older publisher, say so, and only then look at what is on the log and what was read."""
        asked = self._request_topics()
        self._counters.waiting = None
        self._delta_publisher.fence(self._own, [self._settings.topics.refused])
        self._counters.beat()
        asked.begin(Deadline.after(_BEGIN_S), self._counters)
        self._beat = asked.note().beat
        self._commit(asked.skipped())
        self._counters.beat()
        self._delta_publisher.read_on()
        self._collector.attach(self._delta_publisher.replay, self._rulebook)
        self._recalled(datetime.now(UTC))
        self._unlimited = scrubbing.consents_that_end(self._rulebook, self._delta_publisher.registers)
        if self._drop_importer is not None:
            self._drop_importer.recover()
        with suppress(Migrated):  # somebody else puts them there just now
            publish_rules.keep_rules(self._settings, self._log, self._delta_publisher.replay)
        self._counters.begins()
        self._counters.owner = True
        self._log.info(
            "publishing",
            registers=self._own,
            topic=self._settings.topics.requests,
            position=self._delta_publisher.replay.index.position,
        )

    def _step(self) -> None:
        """One round: what was asked, what has ended, what was dropped."""
        lists, counters = self._settings.lists, self._counters
        counters.beat()
        idle = True
        for topic, batch in self._request_topics().poll(_IDLE_S, lists.batch_ms / 1000, lists.batch_requests):
            idle = False
            for part in answerable(batch, self._terms(datetime.now(UTC))):
                self._answer(topic, part)
        if idle:
            self._delta_publisher.glance()
        counters.failures = 0
        self._problem.end()
        now = time.monotonic()
        if now - self._ended_at >= _ENDS_EVERY_S:
            self._ended_at = now
            counters.lags = self._request_topics().behind()
            self._request_topics().look()
            self._end(datetime.now(UTC))
        if self._drop_importer is not None:
            counters.beat()
            came = self._drop_importer.step()
            counters.worked_on(came["files"], came["files_refused"])
        if now - self._committed_at >= ownership.BEAT_S:
            self._commit({})
        if now - self._looked_at >= _GROWN_EVERY_S:
            self._looked_at = now
            self._request_topics().need_partitions()
        if now - self._summed_at >= _SUMMARY_EVERY_S:
            self._summed_at, self._takeovers = now, 0
            self._log.info("published", **counters.sums(), lag=sum(counters.lags.values()))
            if self._unlawful:
                self._log.warning("requests that may not lift were refused", requests=self._unlawful)
                self._unlawful = 0

    def _answer(self, topic: RequestsReader, batch: Sequence[Request]) -> None:
        """Publish everything that a batch of one topic's requests asks for. The last transaction commits the offsets
        after them."""
        now = datetime.now(UTC)
        self._counters.beat()
        for each in self._own:
            self._delta_publisher.ready(each)
        cursor_of = partial(self._cursor_of, topic)
        held, said = self._delta_publisher.registers, self._recalled(now)
        self._oppositions = None  # if this is cut off, only what is on the log was said
        wanted, turned = take(batch, self._terms(now), cursor_of, said, held, self._scopes())
        consumed = {r.partition: r.offset + 1 for r in sorted(batch, key=lambda each: each.offset)}
        groups = in_turn(wanted)
        for group in groups[:-1]:
            self._delta_publisher.publish(
                [self._pending_delta(topic, name, wanted[name], now) for name in group]
            )
        last = [self._pending_delta(topic, name, wanted[name], now) for name in groups[-1]] if groups else []
        refused = [refused_record(each, topic.topic, slim=self._slim) for each in turned]
        self._commit({topic.topic: consumed}, last, refused)
        self._oppositions = said
        self._unlawful += sum(each.reason is RequestRefusal.MAY_NOT_LIFT for each in turned)
        if (scopes := self._scopes_seen).refused:
            self._log.warning("no room for more scopes", requests=scopes.refused, max_scopes=scopes.most)
            scopes.refused = 0
        at = time.time()
        self._counters.answered(
            len(batch), len(turned), (at - each.timestamp_ms / 1000 for each in batch if each.timestamp_ms)
        )
        self._log.debug("requests", requests=len(batch), refused=len(turned), registers=sorted(wanted))

    def _terms(self, now: datetime) -> RequestTerms:
        held = {name: register.kind for name, register in self._delta_publisher.registers.items()}
        prospect, spelt = self._settings.prospect, self._delta_publisher.replay.index.spelt()
        region, campaign = prospect.default_region, prospect.default_campaign
        return RequestTerms(
            frozenset(self._own), ChainMap(held, self._ruled), region, now, spelt, self._law, campaign
        )

    def _recalled(self, now: datetime) -> Oppositions:
        """When each number was opposed. Read from the log before the first request after a start."""
        if self._oppositions is None:
            with clients.reading(self._settings, self._log) as reader:
                self._oppositions = recall(reader, self._terms(now), _BEGIN_S, heard=self._counters.beat)
        return self._oppositions

    def _scopes(self) -> KnownScopes:
        """The scopes on the log. Collected again when the number of registers has changed."""
        registers = self._delta_publisher.registers
        if len(registers) != self._scoped:
            self._scoped = len(registers)
            self._scopes_seen.known |= {RegisterName.split(name).scope for name in registers} - {""}
        return self._scopes_seen

    def _cursor_of(self, topic: RequestsReader, register: str) -> Cursor | None:
        """Up to which requests of this very topic a register's seals contain them."""
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
        made: Sequence[PendingDelta] = (),
        refused: Sequence[Request] = (),
    ) -> None:
        """Deltas of one name with the offsets, the refused requests, and the note of who this is."""
        asked = self._request_topics()
        self._beat += 1
        note = OwnerNote(self._identity, self._beat, frozenset(self._own))
        self._delta_publisher.publish(made, asked.beside(note, consumed, refused))
        asked.consumed(consumed)
        self._committed_at = time.monotonic()

    def _end(self, now: datetime) -> None:
        """Publish the removals whose time has come: one transaction for each register with its scoped ones."""
        due = [
            each.name
            for each in self._delta_publisher.registers.values()
            if (each.name in self._unlimited or (each.next_end is not None and each.next_end <= now))
            and (self._settings.lists.ends == "all" or family(each.name) in self._own)
        ]
        kinds = {name: self._delta_publisher.registers[name].kind for name in due}
        for group in reversed(families(due, kinds.__getitem__)):  # a consent ends before an opposition does
            try:
                if not self._delta_publisher.ready(group[0]):
                    continue  # its writer is being opened: the next second asks again
                deltas = [self._ended_delta(name, now) for name in group]
                made = [each for each in deltas if not each.delta.is_empty]
                if made:
                    self._delta_publisher.publish(made)
                self._unlimited.difference_update(group)
            except RegisterBusy as busy:
                self._log.info("ends wait", register=family(group[0]), why=str(busy))
                continue
            for each in made:
                self._counters.ended += len(each.delta.removes)
                self._log.info("ended", register=each.base.name, removes=len(each.delta.removes))
        self._delta_publisher.give_back()

    def _ended_delta(self, name: str, now: datetime) -> PendingDelta:
        base, known = self._delta_publisher.registers[name], self._delta_publisher.replay.known(name)
        source = DeltaSource("ends", sha256(base.chain.encode()).hexdigest())
        days = scrubbing.consent_days(self._rulebook, name) if name in self._unlimited else ()
        due = (
            belated(base.numbers, known.ends, days, base.effective_at, now)
            if days
            else ended(known.ends, now)
        )
        return PendingDelta(base, due, base.effective_at, source, known)

    def _find_who_took_over(self, error: TakenOver, stopping: threading.Event) -> None:
        """Find out why this publisher was fenced: (a) a successor did it, who says so in the note; (b) a transaction
        took too long; (c) an import took this publisher for dead. Raises Refused for (a), naming the successor.
        """
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
                "registers are taken away again and again, and no note says by whom: is there another publisher, with"
                " another lists.requests_group?"
            ) from error
        self._log.warning("a register was taken away for a moment: opening it again", why=str(error))

    def _hand_over(self) -> None:
        """Write a note without an owner: the next publisher need not watch for this one."""
        self._identity = ""
        self._commit({})

    def _request_topics(self) -> RequestTopics:
        if self._topics is None:
            self._topics = RequestTopics(self._settings, self._log, self._topic_ids)
        return self._topics

    def _close_request_topics(self) -> None:
        if self._topics is not None:
            close_in_background(self._topics.close)
            self._topics = None
