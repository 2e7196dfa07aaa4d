"""The lives of processes in a history: a worker's and a publisher's, each as the product puts its parts together.

A life is a function of the history and its process. It ends by itself or with the process.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import numpy as np
from pyroaring import BitMap64

from stream_scrub.config import load
from stream_scrub.dialler import allowed
from stream_scrub.dialler.leads import Lead
from stream_scrub.errors import Corrupt, Refused, ScrubError, StaleIndex
from stream_scrub.index import Register, deltas
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.clients import Brokers
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.log import encode
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, LogRecord, Reason, RegisterKind
from stream_scrub.ops import following, logs
from stream_scrub.ops.daemon import Process as Running
from stream_scrub.ops.loop_state import PublisherState, RecallState, RetryState, WorkerState
from stream_scrub.recall.daemon import RecallLoop
from stream_scrub.requests.daemon import PublisherDaemon
from stream_scrub.retry.daemon import RetryDaemon
from stream_scrub.retry.once import RetryQuestion
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.worker import start
from tests.simulation.install import STAGE, Clock, computes
from tests.simulation.plans import INPUTS, SHORT, Change, Times
from tests.simulation.world import BEGIN_S, WALL_S, Process
from tests.support.fakes import law
from tests.support.fakes.properties import properties_of, publisher_of

if TYPE_CHECKING:
    from tests.simulation.history import History

ALLOWED, BLOCKED, LOG = "prospects.allowed", "prospects.blocked", "opposition.log"
RECALLED = "prospects.recalled"
REQUESTS, LIFTS, REFUSED = "opposition.requests", "opposition.lifts", "opposition.refused"
ATTEMPTS = "call.attempts"
REQUESTS_GROUP = "stream-scrub-publisher"
SOURCE = DeltaSource("list.csv", "0" * 64)
_CALL_S = 0.05
SKEW_S = 1.0  # by how much a publisher's clock may be wrong


class HandedOut(NamedTuple):
    """A lead that a dialler was given, or was told that it may call."""

    at: float
    who: str
    lead: Lead


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
    loaded = load(
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
            "rules.request_lag_max_s": times.request_lag_s,
            "worker.batch_ms": int(times.batch_s * 1000),
        },
        environ={},
    )  # fmt: skip
    recall = loaded.recall.model_copy(
        update={"lag_max_s": times.recall_lag_s}
    )  # shorter than a person may set it
    return loaded.model_copy(update={"recall": recall})


@cache
def _scrubber() -> Scrubber:
    """It is pure, so one serves all histories."""
    return Scrubber(scrubbing.terms(settings(SHORT)), law.rulebook(law.OPT_OUT))


@contextmanager
def by_the_law_of_the_tests() -> Iterator[None]:
    """What is made meanwhile judges by it."""

    def book(_: Any) -> Any:
        return _scrubber().rulebook

    with patch.multiple(scrubbing, scrubber=lambda *_, **__: _scrubber(), rulebook=book, law=book):
        yield


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
    with by_the_law_of_the_tests():
        name = process.name.replace(" ", "-")
        running = Running(its, WorkerState(name, its, 60.0), history.log, history.stops[process])
        worker, follower = start.worker(running, Brokers(running.settings, running.log), None)
    history.members[process] = worker.source
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
    """As `imports/import_list.py` does it: take over, read the register at the log's end, publish the difference."""
    made = publisher_of("model:9092", LOG, change.register)
    reading = properties_of(
        Role.LOG_READER, "model:9092", {"group.id": ""}, consumer={"fetch.wait.max.ms": "500"}
    )
    writer = KafkaLogWriter(made, reading, LOG, Deadline.after(20.0))
    try:
        writer.wait_for_others(Deadline.after(20.0))
        reader = KafkaLogReader(reading, LOG)
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
        state = RetryState("retry", its, 60.0)
        return RetryDaemon(Running(its, state, history.log, history.stops[process]), question)

    _supervised(history, process, daemon)


def recall(history: "History", process: Process) -> None:
    """`stream-scrub recall`, which is started again if it refuses to work: if its topic is not there, say."""
    its = settings(history.plan.times, inputs=history.plan.inputs)
    its = its.model_copy(
        update={"worker": its.worker.model_copy(update={"id": process.name.replace(" ", "-")})}
    )
    while not history.stops[process].is_set():
        with by_the_law_of_the_tests():
            running = Running(its, RecallState(process.name, its, 60.0), history.log, history.stops[process])
            brokers = Brokers(its, history.log)
            follower = following.counted(brokers, running.state, judged=False)
            loop = RecallLoop(running, brokers, follower, [ALLOWED])
        with follower:
            try:
                loop.run()
            except Corrupt:
                assert history.is_cut, "only then is the log corrupt"
                return
            except Refused as error:
                history.log.info("ends, and is started again", why=str(error))
                history.world.wait(history.world.now + 1.0)


def dial(history: "History", process: Process) -> None:
    """A dialler, which is started again if it refuses to work."""
    its = settings(history.plan.times, inputs=history.plan.inputs)
    while True:
        with (
            patch.object(allowed, "load", lambda **_: its),
            patch.object(logs, "of_library", lambda: history.log),
            by_the_law_of_the_tests(),
        ):
            leads = allowed.Allowed("diallers", start="beginning")
        try:
            with leads:
                _call(history, process, leads)
        except Refused as error:
            history.log.info("ends, and is started again", why=str(error))
            history.world.wait(history.world.now + 1.0)


def _call(history: "History", process: Process, leads: allowed.Allowed) -> None:
    """Ask once more before each call, and acknowledge the lead after it, or postpone it."""
    world = history.world
    for lead in leads:
        history.dialled.append(HandedOut(world.now, process.name, lead))
        world.wait(world.now + _CALL_S)
        answer = leads.may_dial(lead)
        if answer.allowed:
            history.dialled.append(HandedOut(world.now, process.name, lead))
            history.called.add(lead.place)
            leads.ack(lead)
        elif answer.not_before is not None:
            leads.postpone(lead, answer.not_before)


def serve(history: "History", process: Process) -> None:
    """Whoever answers who may be called: the check API, `stream-scrub check`, the Python API."""
    its, world = settings(history.plan.times, inputs=history.plan.inputs), history.world
    with following.following(its, history.log) as follower:
        while not history.stops[process].is_set():
            with suppress(StaleIndex):
                index = follower.usable(its.rules.index_lag_max_s)
                history.answered.append((world.now, index))
            world.wait(world.now + _CALL_S)


def publish_requests(history: "History", process: Process) -> None:
    """`stream-scrub lists publish`."""
    lives = itertools.count()

    def daemon() -> PublisherDaemon:
        its, name = (
            _with_true_clock(settings(history.plan.times)),
            f"{process.name}/{history.world.now}/{next(lives)}",
        )
        state = PublisherState("", its, 60.0)
        return PublisherDaemon(Running(its, state, history.log, history.stops[process]), name)

    _supervised(history, process, daemon)


def _with_true_clock(its: Any) -> Any:
    """The settings of somebody who trusts no clock that is wrong by more than a moment."""
    return its.model_copy(update={"rules": its.rules.model_copy(update={"clock_skew_max_s": SKEW_S})})


def _supervised(
    history: "History", process: Process, made: Callable[[], RetryDaemon | PublisherDaemon]
) -> None:
    """One that refuses to work, since another one lives or a topic is not there, is started again."""
    while True:
        try:
            with by_the_law_of_the_tests():
                daemon = made()
            daemon.run()
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
    "recall": recall,
    "requests": publish_requests,
    "dialler": dial,
    "server": serve,
}
