"""`stream-scrub fanout`: delivers opt-outs and recalls to systems that do not read Kafka.

One process for each target, with a group of its own: the outage of one delays no other. A target gets each event at
least once, under ids that do not change. Receipts and its place are committed in one transaction. One thread.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from stream_scrub import clock
from stream_scrub.clock import Throttle, parse_zoned, utc_millis
from stream_scrub.config import Settings
from stream_scrub.config.settings import FanoutTarget
from stream_scrub.errors import ConfigError, Migrated, StaleIndex, Unavailable, Uncertain
from stream_scrub.fanout.events import Event, LogEvents, Progress, recall_of
from stream_scrub.fanout.queue import EventQueue, Waiting
from stream_scrub.fanout.receipt import FanoutReceipt, Outcome, encode
from stream_scrub.fanout.target import DryRequest, dry_delivery, problems_of, target_of
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.topics import TopicState
from stream_scrub.kafka.client.producer_calls import id_of_fanout
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.session import Session, StandIn
from stream_scrub.model import Deadline, Header, PartitionKey
from stream_scrub.numbering import e164
from stream_scrub.ops.daemon import Daemon, Process
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import FanoutState

BEAT_LIMIT_S = 180.0  # twice its longest step: a delivery, and a commit
DELIVER_S = 60.0
ASK_S = 10.0
CLOSE_S = 1.0
OPEN_MAX = 10_000  # events in memory
_WAIT_S = 0.2
_RECORDS = 500
_COMMIT_EVERY_S, _LOOK_EVERY_S = 1.0, 5.0
_OWNER_FOR_S = 3.0  # after a commit, no other process of the target is believed to have taken over
_RECEIPTS_MAX = 1000  # in one transaction
_SUMMARY_EVERY_S = 60.0
_AGAIN_S = 1.0
_KEEP_MS = 400 * 86_400_000


def run(settings: Settings) -> int:
    """Deliver to every target until SIGTERM or SIGINT; returns the exit code. Raises ConfigError."""
    targets = _checked(settings)
    return Daemon(settings, FanoutState, _work, BEAT_LIMIT_S, names=tuple(targets)).run()


def dry_run(settings: Settings) -> list[DryRequest]:
    """The requests to every target for an invented number; nothing is sent. Raises ConfigError."""
    targets = _checked(settings)
    return [request for name, target in targets.items() for request in dry_delivery(name, target)]


def _checked(settings: Settings) -> Mapping[str, FanoutTarget]:
    targets = settings.fanout.targets
    problems = [problem for name, target in targets.items() for problem in problems_of(name, target)]
    if problems or not targets:
        raise ConfigError(problems or ["fanout.targets: name at least one system (docs/fanout.md)"])
    return targets


def _work(process: Process[FanoutState]) -> None:
    if process.wait_for_brokers(partial(_need_topics, process)) is not None:
        FanoutLoop(process).run()


def _need_topics(process: Process[FanoutState]) -> bool:
    """Create the topics of receipts and of dead letters if they are missing. Raises Unavailable, Refused."""
    topics = process.settings.topics
    topic_of = {"receipts": topics.receipts, "dead": topics.dead}
    config = {"cleanup.policy": "delete", "retention.ms": str(_KEEP_MS)}
    with clients.Brokers(process.settings, process.log).topics() as there:
        topics_found = there.describe(list(topic_of.values()), Deadline.after(ASK_S))
        missing = [
            TopicState(role, name, "missing", 1, config)
            for role, name in topic_of.items()
            if name not in topics_found
        ]
        there.create(missing, None, Deadline.after(ASK_S))
    return True


class FanoutLoop:
    """The fan-out to one target, which is called as the process."""

    def __init__(self, process: Process[FanoutState]) -> None:
        self._process = process
        self._settings, self._state, self._log = process.settings, process.state, process.log
        self._brokers = clients.Brokers(process.settings, process.log)
        self._name = process.state.identity
        self._wants = self._settings.fanout.targets[self._name]
        self._target = target_of(self._wants)
        self._away = RecurringProblem(
            self._log, "events not delivered, trying again", "events are delivered again"
        )
        self._session: Session | None = None
        self._reader: OutputReader | None = None
        self._commit_due = Throttle(_COMMIT_EVERY_S)
        self._look = Throttle(_LOOK_EVERY_S)
        self._summary = Throttle(_SUMMARY_EVERY_S, at_once=False)
        self._counts: Counter[str] = Counter()  # since the last summary
        self._forget()

    def _forget(self) -> None:
        """What was not committed is read and delivered again."""
        self._queue = EventQueue()
        self._events = LogEvents(self._wants)
        self._coming: Iterator[Event] = iter(())
        self._progress: dict[PartitionKey, Progress] = {}
        self._receipts: list[FanoutReceipt] = []
        self._committed_at = float("-inf")  # by `clock.elapsed`

    def run(self) -> None:
        """Work until `process.stopping` is set. Raises Refused, Corrupt."""
        problem = RecurringProblem(self._log, "fan-out failed, trying again", "fan-out continues")
        stopping, state = self._process.stopping, self._state
        while not stopping.is_set():
            state.beat()
            try:
                if self._session is None or self._session.is_spent:
                    self._end()
                    self._begin()
                self._step()
                problem.end()
            except (Migrated, Unavailable, Uncertain) as error:
                state.gave_up(error)
                problem.occurred(str(error), failures=state.failures)
                self._end()
                stopping.wait(_AGAIN_S)
        state.stopping = True
        try:
            if self._session is not None:
                self._commit()
        except (Migrated, Unavailable, Uncertain) as error:
            problem.occurred(str(error))
        self._end()
        self._target.close()
        self._summarise()

    def _begin(self) -> None:
        """Take over from another process of this target, and read on where it stopped; the first one reads everything."""
        topics, deadline = self._settings.topics, Deadline.after(ASK_S)
        own = [topics.receipts, topics.dead]
        identity = id_of_fanout(self._settings.worker.group_id, self._name)
        session = self._session = self._brokers.side_session(own, identity)
        session.open(deadline)
        if self._wants.lists:
            self._need_log(deadline)
        sources = [topics.log] * bool(self._wants.lists) + [topics.recalled] * self._wants.recalls
        group = clients.side_group(self._settings, f"fanout-{self._name}")
        reader = self._brokers.output_reader(sources, group, topics.receipts)
        self._reader = reader
        reader.confirm(session, deadline)
        ids = reader.ids(deadline)
        for key, note in reader.noted(deadline).items():
            self._progress[key] = Progress(ids[key[0]], *(note or ()))
        # An offset that retention deleted is replaced by the first one there is.
        reader.assign({key: each.start for key, each in self._progress.items()})
        self._state.begins()
        self._log.info("fan-out started", topics=sources, group=group)

    def _need_log(self, deadline: Deadline) -> None:
        """Check that the log is the one by which workers judge. Raises Unavailable, Refused."""
        with closing(clients.Brokers(self._settings, self._log)) as brokers:
            judged = brokers.judged_positions()
            judged.look(deadline)
            known_at = clock.elapsed()
            with brokers.reading() as reader:
                _, end = reader.bounds()
            try:
                judged.need(end, known_at)
            except StaleIndex as stale:
                raise Unavailable(str(stale)) from stale

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        if self._session is not None:
            self._session.close(Deadline.after(CLOSE_S))
        self._session = None
        self._forget()

    def _step(self) -> None:
        self._read()
        if self._queue.is_due(clock.elapsed()):
            # A process that was stopped meanwhile may have a successor that delivered newer events: its commit is refused.
            if clock.elapsed() - self._committed_at > _OWNER_FOR_S:
                self._commit()
            self._deliver(self._queue.take(clock.elapsed(), self._target.batch))
        if self._look.is_due():
            self._watch()
        if len(self._receipts) >= _RECEIPTS_MAX or (self._receipts and self._commit_due.is_due()):
            self._commit()
        if self._summary.is_due():
            self._summarise()

    def _read(self) -> None:
        """Hand out the events read, and read on when all are handed out and there is room."""
        assert self._reader is not None, "it has begun"
        while len(self._queue) < OPEN_MAX and (event := next(self._coming, None)) is not None:
            progress = self._progress[event.partition]
            if not progress.takes(event.place):
                continue
            progress.hand_out(event)
            if (replaced := self._queue.add(event)) is not None:
                self._settle(replaced, "superseded")
        if len(self._queue) >= OPEN_MAX:
            return
        for key, progress in self._progress.items():
            upto = self._reader.read_upto(key)
            unsealed = self._events.unsealed if key[0] == self._settings.topics.log else None
            progress.read_upto(upto if unsealed is None else unsealed, upto)
        fetched = self._reader.poll(_RECORDS, 0.0 if self._queue.is_due(clock.elapsed()) else _WAIT_S)
        if self._reader.gone_back:
            self._deliver_again(self._reader.gone_back)
        self._coming = chain.from_iterable(
            self._events_of(
                (topic, partition), message.offset() or 0, value or b"", headers or (), message.timestamp()[1]
            )
            for topic, partition, message, value, headers in zip(
                fetched.topics,
                fetched.partitions,
                fetched.messages,
                fetched.values,
                fetched.headers.each,
                strict=True,
            )
        )

    def _deliver_again(self, lost: Collection[PartitionKey]) -> None:
        """Begin at the start of partitions that lost records: new ones may have the offsets of those that were delivered.
        Raises Migrated."""
        assert self._reader is not None, "it has begun"
        ids = self._reader.ids(Deadline.after(ASK_S))
        self._progress |= {key: Progress(ids[key[0]]) for key in lost}
        self._commit()
        topics = sorted({topic for topic, _ in lost})
        self._log.error("topics lost records, delivering everything on them again", topics=topics)
        raise Migrated(f"{', '.join(topics)} lost records: reading from the start")

    def _events_of(
        self, key: PartitionKey, offset: int, value: bytes, headers: Sequence[Header], moment_ms: int
    ) -> Iterable[Event]:
        if key[0] == self._settings.topics.log:
            is_delivered = self._progress[key].has_delivered(offset)
            return self._events.read(key, offset, value, headers, moment_ms, is_delivered=is_delivered)
        event = recall_of(key, offset, value, moment_ms)
        if event is None:
            topic = self._settings.topics.recalled
            self._log.error("record is not a recall, ignored", topic=topic, partition=key[1], offset=offset)
        return () if event is None else event

    def _deliver(self, waiting: list[Waiting]) -> None:
        delivery = self._target.deliver([each.event for each in waiting], Deadline.after(DELIVER_S))
        self._state.beat()
        if delivery.done:
            self._queue.done(waiting)
            outcome: Outcome = "confirmed" if delivery.confirmed else "accepted"
            for each in waiting:
                self._settle(each.event, outcome, each.tries + 1, delivery.answer)
            self._away.end()
            self._state.away = ""
            return
        self._state.failed(away=delivery.away)
        dead = self._queue.failed(waiting, clock.elapsed(), away=delivery.away, wait_s=delivery.wait_s)
        for each in dead:
            self._settle(each.event, "dead", each.tries, delivery.answer)
        for each in waiting:
            # Once for each answer: who looks for an opt-out finds out what keeps it.
            if each not in dead and not delivery.away and each.answer != delivery.answer:
                self._receipts.append(self._receipt(each.event, "retrying", each.tries, delivery.answer))
                each.answer = delivery.answer
        if self._queue.is_away:
            self._state.away = delivery.answer
            self._away.occurred(delivery.answer, tries=self._queue.failures)

    def _settle(self, event: Event, outcome: Outcome, tries: int = 0, answer: str = "") -> None:
        """The event needs no more tries."""
        self._progress[event.partition].done(event)
        self._receipts.append(self._receipt(event, outcome, tries, answer))

    def _receipt(self, event: Event, outcome: Outcome, tries: int, answer: str) -> FanoutReceipt:
        return FanoutReceipt(
            target=self._name,
            event=event.type,
            id=event.id,
            number=e164(event.number),
            list=event.list,
            register=event.register,
            reason=event.reason,
            since=event.at,
            at=utc_millis(datetime.now(UTC)),
            outcome=outcome,
            tries=tries,
            answer=answer,
        )

    def _commit(self) -> None:
        """Commit the receipts, and how far the target was notified."""
        assert self._session is not None, "it has begun"
        assert self._reader is not None, "it has begun"
        topics, receipts = self._settings.topics, self._receipts
        records = [(topics.receipts, receipt) for receipt in receipts]
        records += [(topics.dead, receipt) for receipt in receipts if receipt.outcome == "dead"]
        now_ms, count = int(time.time() * 1000), len(records)
        self._session.emit(
            [StandIn(each.number.encode(), now_ms) for _, each in records],
            [0] * count,
            [None] * count,
            [topic for topic, _ in records],
            [encode(each) for _, each in records],
            [None] * count,
        )
        places = {key: each.commit() for key, each in self._progress.items()}
        self._session.commit(self._reader.places(places), self._reader.membership, Deadline.after(ASK_S))
        self._commit_due.restart()
        self._committed_at = clock.elapsed()
        self._state.failures = 0
        for receipt in receipts:
            if receipt.outcome != "retrying":
                has_it = receipt.outcome in {"confirmed", "accepted"}
                since = parse_zoned(receipt.since).timestamp()
                self._state.settled(receipt.outcome, time.time() - since if has_it else None)
                self._counts[receipt.outcome] += 1
        self._receipts = []

    def _watch(self) -> None:
        """Look whether the topics are still the same, commit the place, and set the gauges."""
        assert self._reader is not None, "it has begun"
        deadline = Deadline.after(ASK_S)
        self._reader.need_same(deadline)
        if self._reader.noted(deadline).keys() != self._progress.keys():
            raise Migrated("partitions were added")
        self._commit()
        oldest_ms = min((each.event.moment_ms for each in self._queue), default=None)
        oldest_s = 0.0 if oldest_ms is None else time.time() - oldest_ms / 1000
        self._state.holds(len(self._queue), oldest_s)

    def _summarise(self) -> None:
        self._log.info(
            "fanned out",
            delivered=self._counts["confirmed"] + self._counts["accepted"],
            dead=self._counts["dead"],
            open=len(self._queue),
        )
        self._counts.clear()
