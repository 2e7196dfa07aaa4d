"""`worker --shadow`: judges what the workers brought out by settings of its own, and tells the differences to nobody but
the shadow topic.

It reads the outputs, in a group of its own: so it stands beside workers of any release, and nothing of theirs depends
on it. One thread; the follower of the log has its own.
"""

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.config.inputs import outputs_of
from stream_scrub.errors import Migrated, ScrubError, StaleIndex, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.kafka.admin.topics import TopicState
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.session import Session
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import Deadline
from stream_scrub.observability import http_server, logs
from stream_scrub.observability.collect import ShadowCollector
from stream_scrub.observability.counters import ShadowCounters
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.rules import Rulebook
from stream_scrub.shadow.differences import Difference, differences, own_values
from stream_scrub.wiring import clients, following, process_family, scrubbing

BEAT_LIMIT_S = 120.0  # twice its longest step: it begins anew, with a session that is opened and a commit
_ASK_S = 10.0
_RETRY_S = 1.0
_WAIT_S = 0.2
_BATCH_RECORDS = 1000
_COMMIT_EVERY_S = 5.0  # where nothing differs
_TELL_EVERY_S = 60.0
_NOTE = "shadow"


class _Record(NamedTuple):
    own_key: bytes | None
    moment_ms: int

    def key(self) -> bytes | None:
        return self.own_key

    def timestamp(self) -> tuple[int, int]:
        return (0, self.moment_ms)


def run(settings: Settings, *, every: bool) -> int:
    """Judge until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    collector = ShadowCollector(
        settings.worker.id,
        ShadowCounters(),
        limit_s=BEAT_LIMIT_S,
        index_lag_max_s=settings.rules.index_lag_max_s,
    )
    try:
        with http_server.serving(settings.http, Side.SHADOW, lambda: [collector()], log):
            _followed(settings, collector, log, stopping, every=every)
    except ScrubError as error:
        log.error("cannot shadow", why=str(error))
        return 1
    return 0


def _followed(
    settings: Settings,
    collector: ShadowCollector,
    log: FilteringBoundLogger,
    stopping: threading.Event,
    *,
    every: bool,
) -> None:
    follower = following.counted(
        settings, collector.counters, log, lambda: clients.client_log(settings, log, "follower")
    )
    shadow = ShadowLoop(settings, follower, collector.counters, log, every=every)
    collector.attach(follower, shadow.rulebook)
    follower.start()
    try:
        shadow.run(stopping)
    finally:
        follower.stop()


def need_topic(settings: Settings, log: FilteringBoundLogger) -> None:
    """Make the shadow topic if it is not there, with as many partitions as the outputs. Raises Unavailable, Refused."""
    name = settings.topics.shadow
    with clients.topics(settings, log) as there:
        outputs = outputs_of(clients.routes(settings, there, Deadline.after(_ASK_S)))
        found = there.describe([name, *outputs], Deadline.after(_ASK_S))
        if name not in found:
            partitions = max((each.partitions for each in found.values()), default=1)
            wanted = TopicState("shadow", name, "missing", partitions, {})
            there.create([wanted], None, Deadline.after(_ASK_S))


class ShadowLoop:
    """One shadow. `every` tells of every prospect, not of differences alone."""

    def __init__(
        self,
        settings: Settings,
        follower: Follower,
        counters: ShadowCounters,
        log: FilteringBoundLogger,
        *,
        every: bool,
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._counters = counters
        self._log = log
        self._every = every
        self._scrubber = scrubbing.scrubber(settings, hold=False)
        self._session: Session | None = None
        self._reader: OutputReader | None = None
        self._width = 1
        self._committed_at = self._told_at = time.monotonic()
        self._compared: Counter[str] = Counter()  # since the last commit
        self._counts: Counter[str] = Counter()  # since they were told
        self._problem = RecurringProblem(log, "shadowing failed, trying again", "shadowing goes on")

    @property
    def rulebook(self) -> Rulebook:
        """The rules that it judges by."""
        return self._scrubber.rulebook

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set. Raises Refused when it may not work."""
        while not stopping.is_set():
            self._counters.beat()
            try:
                index = self._follower.usable(self._settings.rules.index_lag_max_s)
                if self._session is not None and self._session.is_spent:
                    self._end()  # another life is another owner, and asks anew where it stands
                if self._session is None:
                    self._begin()
                self._step(index)
                self._problem.end()
            except StaleIndex:
                self._counters.waiting = None  # the collector says what the index waits for
                stopping.wait(_WAIT_S)
            except (Migrated, Unavailable, Uncertain) as error:
                self._counters.gave_up(error)
                self._problem.tell(str(error), failures=self._counters.failures)
                self._end()
                stopping.wait(_RETRY_S)
            self._tell()
        self._counters.stopping = True
        self._end()
        self._tell(last=True)

    def _begin(self) -> None:
        """Take over from another shadow of this group, and read on where it stood: at first, at the outputs' ends."""
        need_topic(self._settings, self._log)
        deadline = Deadline.after(_ASK_S)
        session = clients.shadow_session(self._settings, self._log)
        self._session = session
        session.open(deadline)
        self._width = session.width([self._settings.topics.shadow], deadline)
        routes, group = clients.routes_now(self._settings, self._log), clients.shadow_group(self._settings)
        outputs = outputs_of(routes)
        reader = self._reader = clients.output_reader(self._settings, self._log, outputs, group)
        places = {
            key: noted[0] if noted is not None else reader.bounds(key, deadline)[1]
            for key, noted in reader.noted(deadline).items()
        }
        reader.assign(places)
        self._compared.clear()  # what was not committed is compared again
        self._commit(session, [], [], [])
        self._counters.begins()
        self._log.info(
            "shadowing", topic=self._settings.topics.shadow, group=clients.shadow_group(self._settings)
        )

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        if self._session is not None:
            self._session.close(Deadline.after(_RETRY_S))
        self._session = None

    def _step(self, index: Index) -> None:
        session, reader = self._session, self._reader
        assert session is not None, "it has begun"
        assert reader is not None, "it has begun"
        fetched = reader.poll(_BATCH_RECORDS, _WAIT_S)
        found: list[Difference] = []
        if fetched.messages:
            members = self._scrubber.terms.members
            values = own_values(fetched, members)
            batch = self._scrubber.scrub(values, index, datetime.now(UTC))
            found = differences(fetched, values, batch, members, every=self._every)
            self._compared["judged"] += len(values)
            for each in found:
                if each.was is not each.would:
                    self._compared["verdict" if each.changes_verdict else "reason"] += 1
        if found or (time.monotonic() - self._committed_at >= _COMMIT_EVERY_S):
            keys = {(m.topic(), m.partition(), m.offset()): m.key() for m in fetched.messages}
            now_ms = int(time.time() * 1000)
            self._commit(
                session,
                [_Record(keys[each.topic, each.partition, each.offset], now_ms) for each in found],
                [each.partition % self._width for each in found],
                [msgspec.json.encode(each) for each in found],
            )

    def _commit(
        self, session: Session, records: list[_Record], partitions: list[int], values: list[bytes]
    ) -> None:
        assert self._reader is not None, "it has begun"
        count, topic = len(records), self._settings.topics.shadow
        session.emit(records, partitions, [None] * count, [topic] * count, values, [None] * count)
        places = self._reader.places({key: (offset, _NOTE) for key, offset in self._reader.all_upto.items()})
        session.commit(places, self._reader.membership, Deadline.after(_ASK_S))
        self._committed_at = time.monotonic()
        compared, self._compared = self._compared, Counter()
        self._counters.compared(compared["judged"], compared["verdict"], compared["reason"])
        self._counts += compared

    def _tell(self, *, last: bool = False) -> None:
        """How much was judged, once a minute and at the end."""
        now = time.monotonic()
        if last or now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            self._log.info(
                "shadowed",
                judged=self._counts["judged"],
                different=self._counts["verdict"] + self._counts["reason"],
            )
            self._counts.clear()
