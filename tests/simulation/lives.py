"""The lives of processes in a history: a worker's and a publisher's, each as the product puts its parts together.

A life is a function of the history and its process. It ends by itself or with the process.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from pyroaring import BitMap64

from stream_scrub.config import load
from stream_scrub.errors import Corrupt, Refused, ScrubError
from stream_scrub.index import Register
from stream_scrub.kafka.client import options
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.lists import deltas
from stream_scrub.lists.log import encode
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.start_point import begin
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import Deadline, LogRecord, Reason, RegisterKind
from stream_scrub.observability.counters import Counters, PublisherCounters, RetryCounters
from stream_scrub.publisher.daemon import PublisherDaemon
from stream_scrub.retry.daemon import RetryDaemon
from stream_scrub.retry.once import RetryQuestion
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.wiring import scrubbing
from stream_scrub.worker import assembly
from tests.simulation.install import STAGE, Clock, computes
from tests.simulation.plans import INPUTS, SHORT, Change, Times
from tests.simulation.world import BEGIN_S, WALL_S, Process
from tests.support.fakes import law

if TYPE_CHECKING:
    from tests.simulation.history import History

ALLOWED, BLOCKED, LOG = "prospects.allowed", "prospects.blocked", "opposition.log"
REQUESTS, LIFTS, REFUSED = "opposition.requests", "opposition.lifts", "opposition.refused"
REQUESTS_GROUP = "stream-scrub-publisher"
SOURCE = DeltaSource("list.csv", "0" * 64)


class Lines:
    """The product's log, as lines of the story."""

    def __init__(self, told: bool) -> None:
        self._told = told

    def bind(self, **_: Any) -> "Lines":
        return self

    def _tell(self, event: str, **more: Any) -> None:
        if self._told:
            world = STAGE.world
            who = world.running.process.name if world.running is not None else "?"
            world.tell(f"  {who}: {event}" + "".join(f", {name} = {value}" for name, value in more.items()))

    info = warning = error = debug = _tell


def _beats(times: Times) -> dict[str, int]:
    return {
        "session.timeout.ms": int(times.session_s * 1000),
        "heartbeat.interval.ms": int(times.session_s * 300),
    }


@cache
def settings(
    times: Times, *, by_broker: bool = False, inputs: Sequence[str] = INPUTS[:1], instance: str = ""
) -> Any:
    """The product's settings, with short sessions, so that a history is short. `instance` is the worker's own place in
    the group."""
    return load(
        flags={
            "kafka.bootstrap_servers": "model:9092",
            "kafka.client": {"socket.timeout.ms": int(times.socket_s * 1000)},
            "kafka.consumer": {
                **({} if by_broker else _beats(times)),
                **({"group.instance.id": instance} if instance else {}),
                "max.poll.interval.ms": int(times.poll_s * 1000),
                "fetch.wait.max.ms": 500,
            },
            "kafka.group_protocol": "consumer" if by_broker else "classic",
            "topics.prospects": list(inputs),
            "rules.index_lag_max_s": times.lag_s,
            "worker.batch_ms": int(times.batch_s * 1000),
        },
        environ={},
    )  # fmt: skip


@cache
def _scrubber() -> Scrubber:
    """It is pure, so one serves all histories."""
    return Scrubber(scrubbing.terms(settings(SHORT)), law.rulebook(law.OPT_OUT))


@contextmanager
def _by_the_law_of_the_tests() -> Iterator[None]:
    """What is made meanwhile judges by it."""
    shipped = scrubbing.scrubber, scrubbing.rulebook
    scrubbing.scrubber = lambda *_, **__: _scrubber()
    scrubbing.rulebook = lambda _: _scrubber().rulebook
    try:
        yield
    finally:
        scrubbing.scrubber, scrubbing.rulebook = shipped


@cache
def first_imports(changes: Sequence[Change]) -> list[LogRecord]:
    """The log with these changes, each a register's first delta."""
    at, replay = datetime.fromtimestamp(WALL_S, UTC), Replay(keep_ends=True)
    found: list[LogRecord] = []
    for register, numbers, end in ((each.register, each.numbers, each.end) for each in changes):
        base = Register.empty(register, RegisterKind.DENY, at)
        known = replay.known(register)
        made, _ = encode.records_of(base, _delta(base, numbers, end), at, SOURCE, known=known)
        for key, value, headers in made:
            found.append(LogRecord(len(found), key, value, tuple(headers)))
            replay.take(found[-1])
    return found


def _delta(base: Register, numbers: frozenset[int], end: int | None) -> deltas.Delta:
    """What makes the register hold these numbers, up to so many seconds from the beginning, or for ever."""
    moment = 0 if end is None else int(WALL_S + BEGIN_S) + end
    delta = deltas.full(base.numbers, BitMap64(numbers))
    if moment == 0 and base.next_end is None:
        return delta
    stated = np.array(sorted(numbers), np.uint64)
    return replace(delta, ends=deltas.StatedEnds(stated, np.full(len(stated), moment, np.int64)))


def work(history: "History", process: Process) -> None:
    """A worker."""
    plan = history.plan
    its = settings(
        plan.times,
        by_broker=plan.by_broker,
        inputs=plan.inputs,
        instance=process.name.replace(" ", "-") if plan.static else "",
    )
    if plan.disk:
        kept = its.worker.model_copy(update={"state_dir": str(history.folder_of(process))})
        its = its.model_copy(update={"worker": kept})
    with _by_the_law_of_the_tests():
        worker, follower = assembly.worker(its, process.name.replace(" ", "-"), Counters(), history.log, None)
    history.members[process] = worker._source
    follower.start()
    try:
        worker.run(history.stops[process])
    except Corrupt:
        assert history.is_cut, "only then is the log corrupt"
    finally:
        snapshots = follower._snapshots
        if snapshots is not None and snapshots._lock is not None and not process.alive:
            snapshots._lock.close()  # as the system does for a process that is dead
        follower.stop()


def publish(history: "History", process: Process) -> None:
    """Imports of one register, one after the other, until it is as planned. What fails is repeated."""
    world, register = history.world, process.name.split()[1]
    changes = [change for change in history.plan.changes if change.register == register]
    while history.published[register] < len(changes):
        change = changes[history.published[register]]
        if (wait := history.begun + change.at - world.now) > 0:
            world.wait(world.now + wait)
        try:
            _import(change)
        except ScrubError as error:
            history.log.info("publishing again", why=str(error))
            world.wait(world.now + 0.5)
        else:
            history.published[register] += 1


def _import(change: Change) -> None:
    """As `publisher/import_list.py` does it: take over, read the register at the log's end, publish the difference."""
    made = options.publisher_options("model:9092", {}, {}, log_topic=LOG, register=change.register, logs=None)
    writer = KafkaLogWriter(made, LOG, Deadline.after(20.0))
    try:
        writer.wait_for_others(Deadline.after(20.0))
        reader = KafkaLogReader(
            options.log_reader_options("model:9092", {}, {"fetch.wait.max.ms": 500}, group_id="", logs=None),
            LOG,
        )
        try:
            replay = begin(reader, Deadline.after(15.0), keep_ends=True)
            replay_to_end(reader, Deadline.after(15.0), replay=replay)
        finally:
            reader.close()
        now = datetime.fromtimestamp(Clock.time(), UTC)
        base = replay.index.registers.get(change.register) or Register.empty(
            change.register, RegisterKind.DENY, now
        )
        delta = computes(_delta)(base, change.numbers, change.end)
        if base.seq == 0 or not delta.is_empty:
            known = replay.known(change.register)
            encode.publish(writer, base, delta, now, SOURCE, known=known, full_every=12)
    finally:
        writer.close()


def retry(history: "History", process: Process) -> None:
    """`stream-scrub retry --follow`, from the first blocked prospect on."""
    question = RetryQuestion((Reason.STALE_REGISTER,), since=1.0)
    its = settings(history.plan.times, inputs=history.plan.inputs)

    def daemon() -> RetryDaemon:
        counted: Any = SimpleNamespace(counters=RetryCounters(), attach=lambda *_: None)
        return RetryDaemon(its, question, counted, history.log)

    _supervised(history, process, daemon)


def publish_requests(history: "History", process: Process) -> None:
    """`stream-scrub lists publish`."""
    lives = itertools.count()

    def daemon() -> PublisherDaemon:
        counted: Any = SimpleNamespace(counters=PublisherCounters(), attach=lambda *_: None)
        name = f"{process.name}/{history.world.now}/{next(lives)}"
        return PublisherDaemon(settings(history.plan.times), name, counted, history.log)

    _supervised(history, process, daemon)


def _supervised(
    history: "History", process: Process, made: Callable[[], RetryDaemon | PublisherDaemon]
) -> None:
    """One that refuses to work, since another one lives or a topic is not there, is started again."""
    while True:
        try:
            with _by_the_law_of_the_tests():
                daemon = made()
            daemon.run(history.stops[process])
        except (Refused, Corrupt) as error:
            history.log.info("ends, and is started again", why=str(error))
            history.world.wait(history.world.now + 1.0)
        else:
            return


LIVES: dict[str, Callable[["History", Process], None]] = {
    "worker": work,
    "visitor": work,
    "publisher": publish,
    "retry": retry,
    "requests": publish_requests,
}
