"""One history: workers, a publisher, lead producers and faults, from a seed to an end.

`Plan` says what is to happen. Everything in it follows from the seed or is given by hand. The product's own parts run
as `wiring/clients.py` puts them together.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from pyroaring import BitMap64

from stream_scrub.config import load
from stream_scrub.errors import ScrubError
from stream_scrub.index import Register
from stream_scrub.kafka.client import options
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.lists import deltas
from stream_scrub.lists.log import encode
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.start_point import begin
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.observability.counters import Counters
from stream_scrub.wiring import scrubbing
from stream_scrub.worker import assembly
from tests.simulation.adversary import CHANGES, LASTS, THEMES, Adversary, Fault, chosen
from tests.simulation.broker import Broker
from tests.simulation.install import STAGE, Clock, Event
from tests.simulation.world import Process, World
from tests.support.fakes import law

PROSPECTS, ALLOWED, BLOCKED, LOG, GROUP = (
    "prospects",
    "prospects.allowed",
    "prospects.blocked",
    "opposition.log",
    "stream-scrub",
)
LAG_MAX_S = 5.0
REGISTERS = ("internal", "list")
# Seconds that a killed worker's session, its transaction, and whoever waits for either may take, one after the other.
BOUND_S = 150.0


class Prospect(NamedTuple):
    """One lead: when it comes, where, and whose number."""

    at: float
    partition: int
    key: bytes | None
    id: int
    number: int


class Change(NamedTuple):
    """From that moment on, a register is to hold exactly these numbers."""

    at: float
    register: str
    numbers: frozenset[int]


@dataclass
class Plan:
    """What is to happen."""

    seed: int
    workers: int = 2
    partitions: int = 2
    exact: bool = True
    needs_key: bool = False
    prospects: list[Prospect] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    theme: str = ""
    faults: Sequence[Fault] = ()


def planned(seed: int, *, faults: Sequence[Fault] | None = None, many: int = 2) -> Plan:
    """The plan of a seed. `faults`, if given, replace its own."""
    rng = random.Random(f"plan {seed}")
    plan = Plan(seed, rng.choice((1, 2, 2)), rng.choice((1, 2, 3)), rng.random() < 0.7, rng.random() < 0.1)
    numbers = [33_612_345_600 + n for n in range(12)]
    plan.theme = rng.choice(tuple(THEMES)) if rng.random() < 0.5 else ""
    lasts = rng.uniform(*LASTS[plan.theme]) if plan.theme in LASTS else rng.choice((0.3, 1.0, 2.5))
    for at in range(rng.choice((12, 25, 40))):
        plan.prospects.append(
            Prospect(
                rng.uniform(0, lasts),
                rng.randrange(plan.partitions),
                b"k%d" % (at % 5),
                at,
                rng.choice(numbers),
            )
        )
    if plan.needs_key:
        for at in rng.sample(range(len(plan.prospects)), 2):
            plan.prospects[at] = plan.prospects[at]._replace(key=None)
    plan.prospects.sort(key=lambda prospect: prospect.at)
    plan.changes = [Change(0.0, name, frozenset(rng.sample(numbers, 3))) for name in REGISTERS]
    for _ in range(CHANGES.get(plan.theme, rng.randint(0, 3))):
        some = frozenset(rng.sample(numbers, rng.randint(1, 6)))
        plan.changes.append(Change(rng.uniform(0.5, lasts + 1), rng.choice(REGISTERS), some))
    plan.changes.sort(key=lambda change: change.at)
    plan.faults = chosen(rng, many, plan.theme) if faults is None else faults
    return plan


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


@cache
def settings() -> Any:
    """The product's settings, with short sessions, so that a history is short."""
    return load(
        flags={
            "kafka.bootstrap_servers": "model:9092",
            "kafka.client": {"socket.timeout.ms": 10_000},
            "kafka.consumer": {
                "session.timeout.ms": 3_000, "max.poll.interval.ms": 15_000, "fetch.wait.max.ms": 500,
            },
            "rules.index_lag_max_s": LAG_MAX_S,
            "worker.batch_ms": 500,
        },
        environ={},
    )  # fmt: skip


@cache
def _rulebook() -> Any:
    return law.rulebook(law.OPT_OUT)


class History:
    """A plan as it happens."""

    def __init__(self, plan: Plan, *, told: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed)
        self.broker = Broker(self.world)
        self.adversary = Adversary(plan.faults)
        self.adversary.history = self
        self.log: Any = Lines(told)
        self.workers: dict[str, Process] = {}
        self.published = dict.fromkeys(REGISTERS, 0)
        self.done_at: float | None = None
        self._begun = self.world.now
        self._stops: dict[Process, Event] = {}
        self._members: dict[Process, Any] = {}
        STAGE.world, STAGE.broker, STAGE.adversary, STAGE.exact = (
            self.world,
            self.broker,
            self.adversary,
            plan.exact,
        )

    def run(self) -> None:
        """Run it to its end: everything is out, and nothing that was sent is still on its way."""
        broker, plan, world = self.broker, self.plan, self.world
        broker.create(PROSPECTS, plan.partitions)
        for name in (ALLOWED, BLOCKED):
            broker.create(name, plan.partitions, needs_key=plan.needs_key)
        broker.create(LOG, 1)
        for prospect in plan.prospects:
            world.at(world.now + prospect.at, self._arrives, prospect)
        for register in REGISTERS:
            world.process(f"publisher {register}").spawn("main", self._publish, register)
        for at in range(plan.workers):
            self.start(f"worker {at}")
        try:
            while not self._is_over():
                limit = max(self.adversary.last, world.now if self.done_at else self._begun) + BOUND_S
                world.run(world.now + 1.0)
                if world.now > limit or world.faults:
                    return
        finally:
            world.end()

    def _is_over(self) -> bool:
        """Whether everything was committed, and enough time has passed since for late requests to arrive."""
        world = self.world
        if self.done_at is None and self._all_out():
            self.done_at = world.now
        return self.done_at is not None and world.now > max(self.done_at, self.adversary.last) + 1.0

    def _all_out(self) -> bool:
        group, topic = self.broker.group(GROUP), self.broker.topics[PROSPECTS]
        total = sum(partition.end for partition in topic.partitions)
        return (
            total == len(self.plan.prospects)
            and sum(self.published.values()) == len(self.plan.changes)
            and all(
                group.committed.get((PROSPECTS, number), (0, ""))[0] == partition.end
                for number, partition in enumerate(topic.partitions)
            )
        )

    def _arrives(self, prospect: Prospect) -> None:
        value = b'{"id":%d,"phone":"+%d","country":"FR"}' % (prospect.id, prospect.number)
        place = (PROSPECTS, prospect.partition)
        self.broker.partition(place).plain(prospect.key, value, None, self.broker.now_ms, self.world.now)

    # -- workers

    def start(self, name: str) -> Process:
        """A worker's process begins, or begins again."""
        made = self.workers[name] = self.world.process(name)
        made.spawn("main", self._work, made)
        return made

    def _work(self, process: Process) -> None:
        """Run a worker's process, assembled as in the product."""
        stopping = self._stops[process] = Event()
        wiring_rulebook, scrubbing.rulebook = scrubbing.rulebook, lambda _: _rulebook()
        try:
            worker, follower = assembly.worker(
                settings(), process.name.replace(" ", "-"), Counters(), self.log, None
            )
        finally:
            scrubbing.rulebook = wiring_rulebook
        self._members[process] = worker._source
        follower.start()
        try:
            worker.run(stopping)
        finally:
            follower.stop()

    def kill(self, process: Process, seconds: float) -> None:
        """Kill a process, and start it again after so long."""
        if not process.alive:
            return
        process.kill()
        if process.name.startswith("publisher "):
            made = self.world.process(process.name)
            self.world.at(
                self.world.now + seconds, made.spawn, "main", self._publish, process.name.split()[1]
            )
        elif process.name in self.workers:
            self.world.at(self.world.now + seconds, self.start, process.name)

    def throw_out(self, process: Process) -> None:
        """Throw the process's member out of the group. It does not know that yet."""
        source = self._members.get(process)
        if source is None:
            return
        group = self.broker.group(GROUP)
        if (member := group.members.get(source._consumer._member)) is not None:
            group._out(member)

    def visit(self, seconds: float) -> None:
        """Another worker comes, and goes after a while as it should."""
        name = f"visitor {len(self.workers)}"
        made = self.start(name)

        def leave() -> None:
            if made in self._stops:
                self._stops[made].set()

        self.world.at(self.world.now + max(1.0, seconds), leave)

    # -- publishers

    def _publish(self, register: str) -> None:
        """Publish one change after the other until the registers are as planned, and repeat what fails."""
        world = self.world
        changes = [change for change in self.plan.changes if change.register == register]
        while self.published[register] < len(changes):
            change = changes[self.published[register]]
            if (wait := self._begun + change.at - world.now) > 0:
                world.wait(world.now + wait)
            try:
                self._bring(change)
            except ScrubError as error:
                self.log.info("publishing again", why=str(error))
                world.wait(world.now + 0.5)
            else:
                self.published[register] += 1

    def _bring(self, change: Change) -> None:
        """As `publisher/import_list.py` does it: take over, read the register at the log's end, publish the difference."""
        made = options.publisher_options(
            "model:9092", {}, {}, log_topic=LOG, register=change.register, logs=None
        )
        writer = KafkaLogWriter(made, LOG, Deadline.after(20.0))
        try:
            writer.wait_for_others(Deadline.after(20.0))
            reader = KafkaLogReader(
                options.log_reader_options(
                    "model:9092", {}, {"fetch.wait.max.ms": 500}, group_id=GROUP, logs=None
                ),
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
            delta = deltas.full(base.numbers, BitMap64(change.numbers))
            if base.seq == 0 or not delta.is_empty:
                known = replay.known(change.register)
                encode.publish(
                    writer, base, delta, now, DeltaSource("list.csv", "0" * 64), known=known, full_every=12
                )
        finally:
            writer.close()
