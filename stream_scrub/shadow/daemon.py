"""`worker --shadow`: re-judges emitted prospects under other settings and writes the differences to the shadow topic.

It reads the outputs, in a group of its own: so it runs next to workers of any release, and they do not depend on it. One
thread; the follower of the log has its own.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import msgspec

from stream_scrub.clock import Throttle
from stream_scrub.config import Settings
from stream_scrub.config.settings import outputs_of
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.topics import TopicState
from stream_scrub.kafka.client.producer_calls import id_of_shadow
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.session import Session, StandIn
from stream_scrub.log.follower import Follower
from stream_scrub.model import Deadline
from stream_scrub.ops import following
from stream_scrub.ops.daemon import Daemon, Process, judge_until_stopped
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import ShadowState
from stream_scrub.registry.records import read_all, records, warn_if_away
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.shadow.differences import ShadowDifference, differences, own_values

BEAT_LIMIT_S = 120.0  # twice its longest step: a session that is opened, and a commit
_ASK_S = 10.0
_CLOSE_S = 1.0
_WAIT_S = 0.2
_BATCH_RECORDS = 1000
_COMMIT_EVERY_S = 5.0  # if nothing differs
_SUMMARY_EVERY_S = 60.0
_NOTE = "shadow"


def run(settings: Settings, *, every: bool) -> int:
    """Judge until SIGTERM or SIGINT; returns the exit code. `every`: report every prospect, not differences alone."""
    return Daemon(settings, ShadowState, partial(_work, every), BEAT_LIMIT_S).run()


def _work(every: bool, process: Process[ShadowState]) -> None:
    warn_if_away(process.settings, process.log)
    brokers = clients.Brokers(process.settings, process.log)
    follower = following.counted(brokers, process.state)
    shadow = ShadowLoop(process, brokers, follower, every=every)
    process.state.attach(follower, shadow.rulebook)
    with follower:
        shadow.run()


def need_topic(brokers: clients.Brokers) -> None:
    """Create the shadow topic if it is missing, with as many partitions as the outputs. Raises Unavailable, Refused."""
    name = brokers.settings.topics.shadow
    with brokers.topics() as there:
        outputs = outputs_of(brokers.routes(there, Deadline.after(_ASK_S)))
        topic_states = there.describe([name, *outputs], Deadline.after(_ASK_S))
        if name not in topic_states:
            partitions = max((each.partitions for each in topic_states.values()), default=1)
            expected = TopicState("shadow", name, "missing", partitions, {})
            there.create([expected], None, Deadline.after(_ASK_S))


class ShadowLoop:
    """One shadow. `every`: report every prospect, not differences alone."""

    def __init__(
        self, process: Process[ShadowState], brokers: clients.Brokers, follower: Follower, *, every: bool
    ) -> None:
        self._process, self._brokers = process, brokers
        self._settings, self._state, self._log = process.settings, process.state, process.log
        self._follower = follower
        self._every = every
        self._scrubber = scrubbing.scrubber(process.settings, hold=False)
        self._records = records(process.settings, self._scrubber.terms.members, self._log)
        self._session: Session | None = None
        self._reader: OutputReader | None = None
        self._width = 1
        self._commit_due = Throttle(_COMMIT_EVERY_S)
        self._summary = Throttle(_SUMMARY_EVERY_S, at_once=False)
        self._compared: Counter[str] = Counter()  # since the last commit
        self._counts: Counter[str] = Counter()  # since the last summary

    @property
    def rulebook(self) -> Rulebook:
        """The rules to judge by."""
        return self._scrubber.rulebook

    def run(self) -> None:
        """Work until `process.stopping` is set. Raises Refused if a topic or right is missing."""
        problem = RecurringProblem(self._log, "shadowing failed, trying again", "shadowing continues")
        judge_until_stopped(self._process, self._follower, self._turn, self._end, problem)
        self._end()
        self._summarise()

    def _turn(self, index: Index) -> None:
        if self._session is not None and self._session.is_spent:
            self._end()  # a new session is another owner, and must look up its offsets
        if self._session is None:
            self._begin()
        self._step(index)
        if self._summary.is_due():
            self._summarise()

    def _begin(self) -> None:
        """Take over from another shadow of this group and read on where it stopped; the first one starts at the outputs' ends."""
        need_topic(self._brokers)
        deadline = Deadline.after(_ASK_S)
        name = id_of_shadow(self._settings.worker.group_id)
        session = self._brokers.side_session([self._settings.topics.shadow], name)
        self._session = session
        session.open(deadline)
        self._width = session.width([self._settings.topics.shadow], deadline)
        group = clients.side_group(self._settings, "shadow")
        outputs = outputs_of(self._brokers.routes())
        reader = self._reader = self._brokers.output_reader(outputs, group)
        reader.confirm(session, deadline)
        places = {
            key: note[0] if note is not None else reader.bounds(key, deadline)[1]
            for key, note in reader.noted(deadline).items()
        }
        reader.assign(places)
        self._compared.clear()  # uncommitted records are compared again
        self._commit(session, [], [], [])
        self._state.begins()
        self._log.info("shadowing", topic=self._settings.topics.shadow, group=group)

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        if self._session is not None:
            self._session.close(Deadline.after(_CLOSE_S))
        self._session = None

    def _step(self, index: Index) -> None:
        session, reader = self._session, self._reader
        assert session is not None, "it has begun"
        assert reader is not None, "it has begun"
        fetched = reader.poll(_BATCH_RECORDS, _WAIT_S)
        differing: list[ShadowDifference] = []
        if fetched.messages:
            members = self._scrubber.terms.members
            values = read_all(self._records, own_values(fetched, members), fetched.headers.each)
            batch = self._scrubber.scrub(values, index, datetime.now(UTC))
            differing = differences(fetched, values, batch, members, every=self._every)
            self._compared["judged"] += len(values)
            for each in differing:
                if each.was is not each.would:
                    self._compared["verdict" if each.changes_verdict else "reason"] += 1
        if differing or self._commit_due.age_s >= _COMMIT_EVERY_S:
            keys = {(m.topic(), m.partition(), m.offset()): m.key() for m in fetched.messages}
            now_ms = int(time.time() * 1000)
            self._commit(
                session,
                [StandIn(keys[each.topic, each.partition, each.offset], now_ms) for each in differing],
                [each.partition % self._width for each in differing],
                [msgspec.json.encode(each) for each in differing],
            )

    def _commit(
        self, session: Session, records: list[StandIn], partitions: list[int], values: list[bytes]
    ) -> None:
        assert self._reader is not None, "it has begun"
        count, topic = len(records), self._settings.topics.shadow
        session.emit(records, partitions, [None] * count, [topic] * count, values, [None] * count)
        places = self._reader.places({key: (offset, _NOTE) for key, offset in self._reader.all_upto.items()})
        session.commit(places, self._reader.membership, Deadline.after(_ASK_S))
        self._commit_due.restart()
        compared, self._compared = self._compared, Counter()
        self._state.compared(compared)
        self._counts += compared

    def _summarise(self) -> None:
        """Log how much was judged."""
        self._log.info(
            "shadowed",
            judged=self._counts["judged"],
            different=self._counts["verdict"] + self._counts["reason"],
        )
        self._counts.clear()
