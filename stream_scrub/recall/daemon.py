"""`stream-scrub recall`: takes back leads whose number may no longer be called.

Each member has some partitions of the allowed topics, as a worker has of the prospects. One thread; the follower of the
log has its own. One turn: (a) poll, (b) recall what a delta or the time made uncallable, (c) judge what was polled again.
Recalls and offsets are one transaction, and what is outstanding changes once it is committed.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from stream_scrub import clock
from stream_scrub.clock import Throttle, from_millis, utc_millis
from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, Refused, ScrubError, StaleIndex, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.confirmed_ends import ConfirmedEnds
from stream_scrub.kafka.client.options import Role, client_options
from stream_scrub.kafka.clients import Brokers
from stream_scrub.kafka.offsets import CommitNote, key_of
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.kafka.resume import AtTheEnd, Resume
from stream_scrub.kafka.session import StandIn
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.log.follower import Follower
from stream_scrub.model import Deadline, Header, PartitionKey, Reason
from stream_scrub.ops import following, preflight
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.ops.daemon import Daemon, Process, judge_until_stopped
from stream_scrub.ops.health import DO
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import RecallState
from stream_scrub.recall import restore
from stream_scrub.recall.member import Emission, Member
from stream_scrub.recall.record import RecallsRead, topics_header
from stream_scrub.recall_notice import RecallNotice, encode
from stream_scrub.registry.records import records, warn_if_away
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.plans import unusable

BEAT_LIMIT_S = 120.0  # twice its longest step: a session that is opened, and a commit
_BATCH_RECORDS, _BATCH_BYTES, _WAIT_S = 5000, 8 << 20, 0.05
_ASK_S = 10.0
_HOLD_S, _SOON_S = 0.2, 0.02
_LOOK_EVERY_S = 5.0  # for a day that changed, and registers that became stale
_ALIVE_EVERY_S = 4.0  # diallers are promised one every 5 s
_ALIVE_KEY = b"alive"
_CONFIRM_EVERY_S = 1.0  # an election takes longer: no write of ours comes between a loss and the next look
_CONFIRM_S = 4.0
_CLOCK_EVERY_S = _SUMMARY_EVERY_S = 60.0


def run(settings: Settings) -> int:
    """Recall until SIGTERM or SIGINT; returns the exit code."""
    return Daemon(settings, RecallState, _work, BEAT_LIMIT_S).run()


def _work(process: Process[RecallState]) -> None:
    brokers = Brokers(process.settings, process.log)
    topics = process.wait_for_brokers(partial(preflight.recalled_topics, brokers))
    if topics is None:
        return
    preflight.warn_of_session_timeout(brokers, clients.side_group(process.settings, "recall"))
    warn_if_away(process.settings, process.log)
    follower = following.counted(brokers, process.state, judged=False)
    loop = RecallLoop(process, brokers, follower, topics)
    with follower:
        loop.run()


class RecallLoop:
    """One member, for these topics of allowed prospects."""

    def __init__(
        self, process: Process[RecallState], brokers: Brokers, follower: Follower, topics: Sequence[str]
    ) -> None:
        self._process = process
        self._settings, self._state, self._log = process.settings, process.state, process.log
        settings, self._follower = process.settings, follower
        scrubber = scrubbing.scrubber(settings, hold=False)
        self._rulebook = scrubber.rulebook
        process.state.attach(follower, scrubber.rulebook)
        reads = records(settings, scrubber.terms.members, self._log)
        self._member = Member(scrubber, settings.recall.keep_days, reads)
        self._outstanding = self._member.outstanding
        self._suspended: set[str] = set()
        self._recalls_read: RecallsRead | None = None
        self._brokers = brokers
        self._recalls_ends = ConfirmedEnds(brokers.witnesses, written=True)
        self._confirming = Throttle(_CONFIRM_EVERY_S)
        self._session = brokers.recall_session(process.state.identity)
        logs = brokers.client_log("consumer")
        resume = Resume(settings.topics.log, brokers.witnesses, self._recreated, AtTheEnd())
        self._source = ProspectSource(
            client_options(
                settings.kafka,
                Role.MEMBER,
                logs,
                {"group.id": clients.side_group(settings, "recall"), "enable.partition.eof": True},
            ),
            topics,
            resume,
            self._moved,
            multi_topic=True,
        )
        self._moves = 0
        # What is outstanding is what was handed out before these offsets.
        self._upto: dict[PartitionKey, int] = {}
        self._failure: ScrubError | None = Unavailable("the session is not open yet")
        self._held = ""
        self._known_at = 0.0
        self._behind_since: float | None = None
        self._looking = Throttle(_LOOK_EVERY_S)
        self._proving = Throttle(_ALIVE_EVERY_S)
        self._watch = ClockWatch(
            brokers.witnesses.now,
            [*topics, settings.topics.recalled],
            settings.rules.clock_skew_max_s,
        )
        self._asking_time = Throttle(_CLOCK_EVERY_S)
        self._listing = Throttle(clients.refresh_s(settings), at_once=False)
        self._summary = Throttle(_SUMMARY_EVERY_S, at_once=False)
        self._counts: Counter[str] = Counter()  # since the last summary

    def run(self) -> None:
        """Work until `process.stopping` is set. Raises Refused."""
        self._log.info(
            "recalling", topics=list(self._source.topics), group=clients.side_group(self._settings, "recall")
        )
        self._source.subscribe()
        problem = RecurringProblem(self._log, "recalling failed, trying again", "recalling continues")
        try:
            judge_until_stopped(
                self._process, self._follower, self._turn, lambda: None, problem, hold=self._hold
            )
        finally:
            self._session.close(Deadline.after(1.0))
            self._source.close()
            self._summarise()

    def _moved(self, event: str, partitions: list[PartitionKey]) -> None:
        self._moves += 1
        if event != "assigned":
            self._outstanding.drop(partitions)
        self._log.info(f"partitions {event}", partitions=[f"{t}/{p}" for t, p in sorted(partitions)])

    def _recreated(self, partitions: list[PartitionKey]) -> None:
        for topic in {topic for topic, _ in partitions}:
            self._log.error("topic deleted and created again, reading it from its start", topic=topic)

    def _hold(self, stale: StaleIndex) -> None:
        self._state.waits(stale.cause, str(stale))
        if stale.cause != self._held:
            self._log.warning(
                "holding: nothing is recalled", cause=stale.cause, why=str(stale), do=DO[stale.cause]
            )
        self._held = stale.cause
        with suppress(Migrated, Unavailable, Uncertain):  # the next turn meets it again
            self._source.idle(_HOLD_S)

    def _turn(self, _: Index) -> None:
        try:
            # The index is at least as new as what is known to be the log's end.
            self._need_clock()
            self._known_at = clock.elapsed() - (self._follower.lag_s or 0.0)
            index = self._follower.index
            if self._failure is not None:
                self._session.recover(reopen=self._failure.reopens, deadline=Deadline.after(_ASK_S))
                self._failure = None
            self._step(index)
        except StaleIndex:
            self._source.drop()  # what came is read again
            raise
        except (Migrated, Unavailable, Uncertain) as error:
            # After an unknown outcome everything is read again; else nothing was committed, and nothing has changed.
            if isinstance(error, Uncertain):
                self._source.rejoin()
                self._outstanding.drop(self._outstanding.partitions)
            else:
                self._source.drop()
            self._failure = error
            raise
        if self._held:
            self._log.info("hold ended", cause=self._held)
        self._held = ""
        self._state.begins()
        self._state.failures = 0

    def _need_clock(self) -> None:
        """Raises StaleIndex while this machine's clock is behind the brokers': diallers would take a recall of days ago for
        older than the verdict that it takes back."""
        if self._asking_time.is_due():
            self._watch.first_look()
        self._watch.need_right()

    def _step(self, index: Index) -> None:
        self._list()
        records_max = min(_BATCH_RECORDS, self._member.watch.size.records)
        fetched = self._source.poll(records_max, _BATCH_BYTES, _WAIT_S)
        assert isinstance(fetched, PolledBatch), "the extension takes no records of it"
        self._forget_gaps()
        if begun := self._source.begun:
            self._commit({}, begun)
            self._source.has_begun()
        if not self._source.is_settled:
            return
        if self._source.partitions - self._outstanding.partitions:
            self._source.drop()  # what came is read again
            self._restore()
            return
        if index.position < self._source.floor:
            self._source.put_back(fetched)
            raise StaleIndex(
                "log-behind",
                f"another member has judged by position {self._source.floor}, this one knows position {index.position}",
            )
        self._need_recalls()
        now, look = datetime.now(UTC), self._looking.is_due()
        if look:
            self._outstanding.expire(now)
            lags = {f"{t}/{p}": lag for (t, p), lag in self._source.lag().items()}
            self._state.holds(self._outstanding.by_day(), lags)
        self._recall_due(index, now, look=look)
        if fetched:
            self._take(fetched, now)
        else:
            self._session.idle()
        self._prove_alive(index)
        if self._summary.is_due():
            self._summarise()

    def _prove_alive(self, index: Index) -> None:
        """Tell diallers of which partitions the leads are judged and recalled. Not of one that lags: its leads may be
        opposed by now."""
        complete_at = self._source.complete_at()
        oldest = clock.elapsed() - self._settings.recall.lag_max_s
        proven = sorted(
            key for key, at in complete_at.items() if at >= oldest and key in self._outstanding.partitions
        )
        read = self._recalls_read
        if read is None or not proven or self._known_at < oldest or not self._proving.is_due():
            return
        proven_at = min(self._known_at, read.at, *(complete_at[key] for key in proven))
        notice = RecallNotice(
            kind="alive",
            index=index.position,
            at=utc_millis(datetime.now(UTC)),
            partitions=tuple(f"{topic}/{partition}" for topic, partition in proven),
            lag_ms=math.ceil(1000 * (clock.elapsed() - proven_at)),
        )
        # Once it is written: the client may have waited, and have found a topic that was created again without the recalls.
        self._commit(
            {_ALIVE_KEY: encode(notice)},
            self._source.places(index.position),
            still_good=self._need_recalls_now,
        )

    def _forget_recalls(self) -> None:
        """Read all leads again, by what is on the topic of recalls now."""
        topic = self._settings.topics.recalled
        self._log.error("recalls are gone, judging all leads again", topic=topic)
        self._outstanding.drop(self._outstanding.partitions)
        self._recalls_read = None

    def _need_recalls(self) -> None:
        """Confirm that the recalls of ours are still on their topic: before each write of ours, which would hide that the topic
        is shorter, and after it. If the topic was created again, or lost its end, all leads are read and judged again. Raises
        Unavailable.

        A loss stays unseen if a write of a member was under way during the election and is no shorter than what was lost.
        """
        read, topic = self._recalls_read, self._settings.topics.recalled
        if read is None or self._confirming.age_s < _CONFIRM_EVERY_S:
            return
        asked_at, deadline = clock.elapsed(), Deadline.after(_CONFIRM_S)
        try:
            topic_id = self._brokers.witnesses.id_of(topic, deadline)
        except Refused as error:
            raise Unavailable(f"{topic} is not there now: {error}") from error
        # A topic that was created again may have fewer partitions: no broker knows the end of one that it lacks.
        ends = self._recalls_ends.now(read.ends, deadline) if topic_id == read.topic_id else {}
        confirmed = RecallsRead(topic_id, ends, asked_at)
        if not confirmed.continues(read):
            self._forget_recalls()
            # With a new session: the client of this one knows the partitions of the earlier topic.
            raise Unavailable(f"{topic} was created again, or brokers lost its end")
        self._recalls_read = confirmed
        self._confirming.restart()

    def _need_recalls_now(self) -> None:
        """As `_need_recalls`, whenever they were confirmed last."""
        self._confirming.expire()
        self._need_recalls()

    def _forget_gaps(self) -> None:
        """Forget partitions that go on elsewhere than where they ended: leads in between would never be judged. A coordinator
        that was deposed may say that nothing is committed, and others may change the group's offsets."""
        if self._source.is_settled:
            places = self._source.committed
            self._outstanding.drop([key for key, upto in self._upto.items() if places.get(key, upto) != upto])

    def _list(self) -> None:
        """With a pattern of inputs: follow the topics that there are now."""
        if self._settings.topics.inputs.pattern is not None and self._listing.is_due():
            self._source.follow(preflight.recalled_topics(self._brokers))

    def _restore(self) -> None:
        """Read what is outstanding in partitions that are new to this member. They are judged in the next turn."""
        missing = self._source.partitions - self._outstanding.partitions
        moves, started = self._moves, time.monotonic()

        def goes_on() -> bool:
            self._state.waits("restoring", "what was handed out before is being read")
            self._source.idle(0.0)
            return not self._process.stopping.is_set() and moves == self._moves

        upto = {key: offset for key, offset in self._source.committed.items() if key in missing}
        restored = restore.restore(self._brokers, self._member.leads, upto, datetime.now(UTC), goes_on)
        if restored is None:
            return
        outstanding, past = restored
        before = self._recalls_read
        if before is not None and past.read is not None and not past.read.continues(before):
            self._forget_recalls()  # the other partitions were read before recalls were lost
            return
        self._suspended, self._recalls_read = past.suspended, past.read
        self._log.info(
            "partitions restored",
            partitions=[f"{t}/{p}" for t, p in sorted(upto)],
            outstanding=len(outstanding),
            seconds=round(time.monotonic() - started, 1),
        )
        self._outstanding.join(outstanding)
        self._upto |= upto
        self._member.watch.forget()
        self._looking.expire()

    def _recall_due(self, index: Index, now: datetime, *, look: bool) -> None:
        """Recall what a delta or the time has made uncallable."""
        is_news = index is not self._member.watch.index
        sealed = from_millis(self._follower.sealed_ms) if is_news else None
        upto = self._source.committed
        for emission in self._member.due(index, now, sealed or now, upto, look=look):
            self._emit(emission, self._source.places(index.position), sealed)
        if look or is_news:
            self._notice(index, now)

    def _notice(self, index: Index, now: datetime) -> None:
        """Say which registers became unusable or usable again. One member does, that with the first partition."""
        first = next(iter(self._source.topics), ""), 0
        if first not in self._outstanding.partitions:
            return
        bad = {each.register for each in unusable(self._rulebook, index, now)}
        # Of a register that is not on the log nothing is said: it is as it was on the last one.
        changes = sorted((bad ^ self._suspended) & index.registers.keys())
        if not changes:
            return
        notices = [
            RecallNotice(
                kind="suspended" if name in bad else "resumed",
                reason=Reason.STALE_REGISTER if name in bad else "",
                register=name,
                since=utc_millis(now),
                index=index.position,
                at=utc_millis(now),
            )
            for name in changes
        ]
        records = {each.register.encode(): encode(each) for each in notices}
        self._commit(records, self._source.places(index.position))
        self._suspended = self._suspended ^ set(changes)
        self._log.info("registers suspended or resumed", changed=changes, suspended=sorted(self._suspended))

    def _take(self, fetched: PolledBatch, now: datetime) -> None:
        """Judge leads that have just come by this member's own index, and recall those that may not be called any more: a
        worker may have judged them by an older one."""
        index = self._member.watch.index
        try:
            leads = self._member.leads.read(fetched, now)
        except StaleIndex:
            self._source.put_back(fetched)
            raise
        if leads.position <= index.position:
            self._behind_since = None
        elif self._is_behind():
            self._source.put_back(fetched)
            self._process.stopping.wait(_SOON_S)
            return
        by_partition = {key_of(place): place for place in self._source.places(index.position)}
        by_partition |= {key_of(place): place for place in self._source.offsets(fetched, index.position)}
        places = list(by_partition.values())
        since = from_millis(self._follower.sealed_ms) or now
        upto = {key_of(place): place.offset for place in places}
        self._emit(self._member.take(fetched, leads, now, since, upto), places, None)
        self._counts["judged"] += len(fetched)

    def _is_behind(self) -> bool:
        """Whether this member's index may be older than that of a worker whose stamp was read. Once the log's end was
        reached after that, a higher position on a stamp is of an earlier log."""
        if self._behind_since is None:
            self._behind_since = clock.elapsed()
        return self._known_at <= self._behind_since

    def _emit(self, emission: Emission, places: list[Any], sealed: datetime | None) -> None:
        """Commit an emission, and count it. `sealed`: when the delta was sealed that caused it."""
        records = {b"+%d" % number: record for number, record in emission.recalls.items()}
        size, begun = self._member.watch.size, time.monotonic()
        try:
            self._commit(records, places, emission.headers)
        except (Unavailable, Uncertain):
            size.failed(len(records))
            raise
        size.committed(len(records), time.monotonic() - begun)
        self._member.committed(emission)
        self._state.beat()
        if records:
            waited_s = None if sealed is None else time.time() - sealed.timestamp()
            reasons = Counter[str](each.finding.reason for each in emission.outcomes.values())
            self._state.recalled(reasons, waited_s)
            self._counts["recalled"] += len(records)

    def _commit(
        self,
        records: Mapping[bytes, bytes],
        places: list[Any],
        headers: Sequence[Header] = (),
        still_good: Callable[[], None] = lambda: None,
    ) -> None:
        """Emit the records, each with its key, and commit them with these places of the client. `still_good` is called once
        they are written, and raises to prevent the commit."""
        now_ms, count = int(time.time() * 1000), len(records)
        notes = {each.topic: CommitNote.read(each.metadata) for each in places}
        topics = topics_header({topic: each.topic_id for topic, each in notes.items() if each})
        try:
            self._session.emit(
                [StandIn(key, now_ms) for key in records],
                [-1] * count,  # the partition follows from the key
                [[each, topics] for each in headers] or [None] * count,
                [self._settings.topics.recalled] * count,
                records.values(),
                [None] * count,
            )
            self._session.commit(places, self._source.metadata, Deadline.after(_ASK_S), still_good)
        except Refused:
            self._need_recalls_now()  # a topic that was created again may lack partitions that the client knows
            raise
        if records:
            self._confirming.expire()
        self._source.has_committed(places)
        held = self._outstanding.partitions
        self._upto |= {key: each.offset for each in places if (key := key_of(each)) in held}

    def _summarise(self) -> None:
        self._log.info(
            "recalled",
            count=self._counts["recalled"],
            judged=self._counts["judged"],
            outstanding=len(self._outstanding),
        )
        self._counts.clear()
