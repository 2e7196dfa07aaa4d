"""The publisher of requests on the model of Kafka, for tests that say which requests come, and where it is killed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from stream_scrub.config import load
from stream_scrub.errors import Refused
from stream_scrub.log.replay import Replay
from stream_scrub.model import LogRecord, Request
from stream_scrub.ops.daemon import Process as Running
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.requests.daemon import PublisherDaemon
from stream_scrub.requests.parse_request import RequestRefusal
from tests.simulation.broker import Broker
from tests.simulation.install import STAGE, Event, simulated
from tests.simulation.lives import (
    ATTEMPTS,
    LIFTS,
    LOG,
    REFUSED,
    REQUESTS,
    REQUESTS_GROUP,
    Lines,
    by_the_law_of_the_tests,
)
from tests.simulation.records import Written
from tests.simulation.wire import Api, Fate
from tests.simulation.world import WALL_S, Process, World
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import renewed
from tests.support.oracles.requests import NOW

NEVER = 99
_TOPICS = {False: REQUESTS, True: LIFTS}
_STUCK_S = 300.0


class Crashed(Exception):
    """The publisher was killed here."""


class _Death:
    """Kills the publisher before the transaction of that number, from 0; only those that write count. `seen` is called
    before each of them."""

    def __init__(self, writes: Callable[[], bool], seen: Callable[[], None]) -> None:
        self._writes, self._seen = writes, seen
        self.after = NEVER

    def fate(self, process: Process, api: Api, _about: str = "") -> tuple[Fate, float]:
        if api is Api.END and self._writes():
            self._seen()
            self.after -= 1
            if self.after < 0:
                process.kill()
                return Fate.CUT_BEFORE, 0.0
        return Fate.WELL, 0.0


class Publishing:
    """`stream-scrub lists publish` with a campaign of its own, `house`. `most` scopes may exist. `seen` is called before
    each of its transactions, and again when the publisher has answered a batch."""

    def __init__(
        self, *, house: str = "house", most: int = 20_000, seen: Callable[[], None] = lambda: None
    ) -> None:
        self._world = World(1)
        self._world.now = NOW.timestamp() - WALL_S
        self._broker = Broker(self._world)
        self._death = _Death(self._writes, seen)
        for name in (REQUESTS, LIFTS, ATTEMPTS):
            self._broker.create(name, 3)
        for name in (LOG, REFUSED):
            self._broker.create(name, 1)
        self._settings = load(
            flags={
                "kafka.bootstrap_servers": "model:9092",
                "kafka.consumer": {"fetch.wait.max.ms": 50},
                "prospect.default_campaign": house,
                "lists.max_scopes": most,
                "lists.full_every": 20,
            },
            environ={},
        )
        self._came: dict[tuple[str, int, int], Request] = {}
        self._lives = 0
        self.restart()

    def restart(self) -> None:
        """What the publisher knows is gone with its process."""
        for process in self._world.processes:
            if process.alive:
                process.kill()
        self._lives += 1
        self._death.after = NEVER
        made = self._world.process(f"requests {self._lives}")
        made.spawn("main", self._publish, f"publisher/{self._lives}")
        self._process = made

    def _publish(self, name: str) -> None:
        state = self.state = PublisherState("", self._settings, 60.0)
        log: Any = Lines(told=False)
        while True:
            try:
                with by_the_law_of_the_tests():
                    daemon = PublisherDaemon(Running(self._settings, state, log, Event()), name)  # type: ignore[arg-type]
                daemon.run()
            except Refused:  # the note of the one before it is not old yet
                self._world.wait(self._world.now + 1.0)

    def ask(self, batch: Sequence[Request]) -> None:
        """Requests come, those that have not come before."""
        for each in batch:
            topic = _TOPICS[each.may_lift]
            partition = self._broker.partition((topic, each.partition))
            if each.offset >= partition.end:
                assert each.offset == partition.end
                partition.plain(each.key, each.value, list(each.headers), each.timestamp_ms, self._world.now)
                self._came[topic, each.partition, each.offset] = each

    def answer(self, batch: Sequence[Request], crash: int = NEVER) -> None:
        """Requests come and are answered. Raises Crashed before the transaction of that number, from 0."""
        self._death.after = crash
        self.ask(batch)
        self._run(lambda: not self._process.alive or not (self.waiting(batch) or self._writes()))
        if not self._process.alive:
            raise Crashed

    def _writes(self) -> bool:
        """Whether a transaction is open: what is committed can be read when its marker is there."""
        return any(self._broker.partition((name, 0)).first_open for name in (LOG, REFUSED))

    def _run(self, done: Callable[[], bool]) -> None:
        STAGE.shows(self._world, self._broker, self._death, exact=True, socket_s=10.0)
        ends = self._world.now + _STUCK_S
        while not done():
            self._world.run(self._world.now + 0.02)
            assert self._world.now < ends and not self._world.faults, self._world.faults

    @property
    def committed(self) -> dict[tuple[bool, int], int]:
        """The offset after the last answered request, by topic (whether it lifts) and partition."""
        offsets = self._broker.group(REQUESTS_GROUP).committed
        return {
            (lifts, at): offsets.get((name, at), (0, ""))[0]
            for lifts, name in _TOPICS.items()
            for at in range(3)
        }

    def forget_offsets(self) -> None:
        """The group's offsets have expired."""
        self._broker.group(REQUESTS_GROUP).committed.clear()
        self.restart()

    def recreate(self) -> None:
        """The topic of requests is deleted and created again."""
        self._broker.delete(REQUESTS)
        self._broker.create(REQUESTS, 3)

    def renew(self, at_ms: int) -> None:
        """Its log is begun anew at that moment, and it begins on the new one."""
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        self.begin_on(renewed(self.replay, at, at), at_ms)

    def begin_on(self, log: Log, at_ms: int) -> None:
        """It begins on another log, with records of that moment."""
        self._process.kill()
        self._broker.delete(LOG)
        self._broker.create(LOG, 1)
        partition = self._broker.partition((LOG, 0))
        for record in log.records:
            while partition.end < record.offset:
                partition.mark(0, 0, self._world.now, at_ms, commit=True)
            partition.plain(record.key, record.value, list(record.headers), at_ms, self._world.now)
        self.restart()

    def passes(self, seconds: float, *, ahead_s: float = 0.0) -> None:
        """Time passes, while the publisher's own clock is so far ahead."""
        until = self._world.now + seconds
        self._process.wall_offset = ahead_s
        self._run(lambda: self._world.now >= until)

    def waiting(self, topic: Sequence[Request]) -> list[Request]:
        """Those of the requests that are not committed."""
        committed = self.committed
        return [r for r in topic if r.offset >= committed[r.may_lift, r.partition]]

    @property
    def replay(self) -> Replay:
        """What is on the log."""
        replay = Replay(keep_ends=True)
        for offset, each in self._broker.partition((LOG, 0)).committed():
            replay.take(LogRecord(offset, each.key, each.value, tuple(each.headers), each.timestamp_ms))
        return replay

    @property
    def log(self) -> list[Written]:
        """The records on the log."""
        return [each for _, each in self._broker.partition((LOG, 0)).committed()]

    @property
    def refused(self) -> list[tuple[Request, RequestRefusal]]:
        """The refused requests with their reasons."""
        made = []
        for _, each in self._broker.partition((REFUSED, 0)).committed():
            said = {name: value.decode() for name, value in each.headers}
            partition, _, offset = said["from"].partition("/")
            request = self._came[said["topic"], int(partition), int(offset)]
            made.append((request, RequestRefusal(said["reason"])))
        return made

    def holding(self) -> Callable[[int], set[str]]:
        """What tells the registers that hold a number now."""
        registers = self.replay.index.registers
        return lambda number: {name for name, register in registers.items() if number in register.numbers}


@contextmanager
def publishing(**options: Any) -> Iterator[Publishing]:
    """A publisher for as long as the context lasts."""
    with simulated():
        made = Publishing(**options)
        try:
            yield made
        finally:
            made._world.end()
