"""One history: processes, lead producers and faults, from a plan to an end."""

import json
import re
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stream_scrub.index import Index
from tests.simulation.adversary import GROUP, Adversary
from tests.simulation.broker import Broker
from tests.simulation.evidence import (
    Spot,
    held_up,
    in_the_end,
    recalled,
    sealed,
    to_call,
    to_recall,
    topic_id,
    waiting,
)
from tests.simulation.install import STAGE, Event
from tests.simulation.lives import (
    ALLOWED,
    ATTEMPTS,
    BLOCKED,
    LIFTS,
    LIVES,
    LOG,
    RECALLED,
    REFUSED,
    REQUESTS,
    REQUESTS_GROUP,
    HandedOut,
    Lines,
    first_imports,
)  # fmt: skip
from tests.simulation.plans import Asked, Plan, Prospect
from tests.simulation.records import Place, Topic
from tests.simulation.world import Process, World

# Seconds that a killed worker's session, its transaction, and whoever waits for either may take, one after the other.
BOUND_S = 150.0
CUT_S = 15.0  # where the log was cut, some hold for good
_MEMORY = next((each for each in ("/dev/shm",) if Path(each).is_dir()), None)  # disks are slow


class History:
    """A plan as it happens."""

    def __init__(self, plan: Plan, *, told: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed)
        self.broker = Broker(self.world)
        self.adversary = Adversary(plan.faults)
        self.adversary.history = self
        self.log: Any = Lines(told)
        self.published = dict.fromkeys(plan.registers, 0)
        self.done_at: float | None = None
        self.deleted: list[Spot] = []  # what was deleted before the workers had committed it
        self.former: list[tuple[str, Topic]] = []  # inputs that were deleted, each with a name of its own
        self.is_cut = self.is_log_lost = False
        self.was_log_noted = False  # in an offset of the workers, when it was lost
        self.dialled: list[HandedOut] = []
        self.called: set[Any] = set()  # the places of leads that were called and acknowledged
        self.answered: list[tuple[float, Index]] = []  # when a server answered, and by which index
        self._came = self._were_asked = 0
        self._folder: Path | None = None
        self.begun = self.world.now
        self.stops: dict[Process, Event] = {}
        self.members: dict[Process, Any] = {}
        STAGE.shows(self.world, self.broker, self.adversary, exact=plan.exact, socket_s=plan.times.socket_s)
        STAGE.patience(plan.times.commit_s, plan.times.settled_s)

    def run(self) -> None:
        """Run it to its end: everything is out, and nothing that was sent is still on its way."""
        broker, plan, world = self.broker, self.plan, self.world
        broker.session_s = plan.times.session_s
        for name in plan.inputs:
            broker.create(name, plan.partitions)
        for name in (ALLOWED, BLOCKED):
            broker.create(name, plan.partitions, needs_key=plan.needs_key)
        broker.create(LOG, 1)
        if plan.imported:
            self._import()
        for prospect in plan.prospects:
            world.at(world.now + prospect.at, self._arrives, prospect)
        for register in self._to_change():
            self.start(f"publisher {register}")
        for at in range(plan.workers):
            self.start(f"worker {at}")
        if plan.retry:
            self.start("retry")
        if plan.recalls:
            broker.create(RECALLED, 1)
        for at in range(plan.recalls):
            self.start(f"recall {at}")
        if plan.requests is not None:
            for name in (REQUESTS, LIFTS, REFUSED, ATTEMPTS):
                broker.create(name, 1)
            for asked in plan.requests:
                world.at(world.now + asked.at, self._is_asked, asked)
            self.start("requests")
        for at in range(plan.diallers):
            self.start(f"dialler {at}")
        if plan.server:
            self.start("server")
        try:
            while not self._is_over():
                limit = max(self.adversary.last, self.done_at or self.begun) + (
                    CUT_S if self.is_cut else BOUND_S
                )
                world.run(world.now + 1.0, self._is_over, 16)
                if world.now > limit or world.faults:
                    return
        finally:
            world.end()
            if self._folder is not None:
                shutil.rmtree(self._folder)

    def folder_of(self, process: Process) -> Path:
        """Where a process keeps its files. It outlives the process."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="history", dir=_MEMORY))
        return self._folder / process.name.replace(" ", "-")

    def _import(self) -> None:
        """Every register's first change is on the log from the beginning."""
        changes = tuple(each for each in self.plan.changes if each.at == 0.0)
        for each in first_imports(changes):
            self._comes((LOG, 0), each.key, each.value, list(each.headers))
        self.published.update(dict.fromkeys((each.register for each in changes), 1))

    def _to_change(self) -> list[str]:
        """The registers that somebody has still to publish."""
        counts = Counter(change.register for change in self.plan.changes)
        return [name for name in self.plan.registers if self.published[name] < counts[name]]

    def _is_over(self) -> bool:
        """Whether everything was committed, no transaction hides any of it, and enough time has passed since for late
        requests to arrive."""
        now = self.world.now
        if self.done_at is None and self._all_out():
            self.done_at = now
        if self.done_at is None or now <= max(self.done_at, self.adversary.last) + self.plan.times.quiet_s:
            return False
        if self._all_out():
            return not self.open()
        self.done_at = None  # what retention deleted was out at once, and a batch of it is only now
        return False

    def open(self) -> list[str]:
        """The partitions in which a transaction is open."""
        topics = self.broker.topics.values()
        return [f"{t.name} [{at}]" for t in topics for at, each in enumerate(t.partitions) if each.first_open]

    def _all_out(self) -> bool:
        plan = self.plan
        if sum(self.published.values()) < len(plan.changes) or self._came < len(plan.prospects):
            return False
        for place in self.broker.places(plan.inputs):
            partition = self.broker.partition(place)
            if max(self._read_upto(place), partition.low) <= partition.last:
                return False
        if plan.requests is not None:
            ends = max((change.end or 0 for change in plan.changes), default=0)
            if self._were_asked < len(plan.requests) or self.world.now < self.begun + ends:
                return False
            if REQUESTS not in self.broker.topics:
                return False
            if self._read_upto((REQUESTS, 0), REQUESTS_GROUP) <= self.broker.partition((REQUESTS, 0)).last:
                return False
            # What is committed can be read once its marker is there.
            if self.broker.partition((LOG, 0)).first_open:
                return False
            if sealed(self)[0][-1].opposed != in_the_end(self):
                return False
        if plan.recalls and not self.open() and not to_recall(self) <= recalled(self).keys():
            return False
        if plan.diallers and not to_call(self) <= self.called:
            return False
        return not plan.retry or self._is_noted()

    def _read_upto(self, place: Place, group: str = GROUP) -> int:
        """What a group has committed of a partition. An offset of a topic that had this name before says nothing."""
        offset, note = self.broker.group(group).committed.get(place, (0, ""))
        return offset if topic_id(note) == self.broker.topics[place[0]].id else 0

    def _is_noted(self) -> bool:
        """Whether everything was brought back that waited for the list, and it is noted that it was."""
        if self.open():  # what is committed can be read once its marker is there
            return False
        noted = self.broker.group(f"{GROUP}-retry").committed
        for topic, partition, offset in held_up(self):
            if offset < self.broker.partition((topic, partition)).low:
                continue
            upto = re.search(r" stale-register\.list=(\d+)", noted.get((topic, partition), (0, ""))[1])
            if upto is None or int(upto[1]) <= offset:
                return False
        return not waiting(self)

    def _arrives(self, prospect: Prospect) -> None:
        if prospect.topic not in self.broker.topics:
            self.world.at(self.world.now + 0.1, self._arrives, prospect)
            return
        value = b'{"id":%d,"phone":"+%d","country":"FR"}' % (prospect.id, prospect.number)
        there = len(self.broker.topics[prospect.topic].partitions)
        place, key = prospect.partition, prospect.key
        if there > self.plan.partitions and prospect.id % 2:
            place, key = there - 1, b"new" if key is not None else None
        self._comes((prospect.topic, place), key, value)
        self._came += 1

    def _is_asked(self, asked: Asked) -> None:
        if REQUESTS not in self.broker.topics:
            self.world.at(self.world.now + 0.1, self._is_asked, asked)
            return
        self._were_asked += 1
        what, number = (asked.what, f"+{asked.number}") if asked.what != "broken" else ("opt-out", "none")
        said = {"request": what, "number": number, "source": "s", "id": asked.id}
        if what == "consent":
            said["at"] = datetime.fromtimestamp(self.broker.now_ms / 1000, UTC).isoformat()
        self._comes((REQUESTS, 0), None, json.dumps(said).encode())

    def _comes(self, place: Place, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        """A record without a transaction."""
        self.broker.partition(place).plain(key, value, headers, self.broker.now_ms, self.world.now)

    def start(self, name: str) -> Process:
        """A process begins, or begins again."""
        made = self.world.process(name)
        self.stops[made] = Event()
        made.spawn("main", LIVES[name.split(maxsplit=1)[0]], self, made)
        return made

    def kill(self, process: Process, seconds: float) -> None:
        """Kill a process, and start it again after so long."""
        if process.alive:
            process.kill()
            self.world.at(self.world.now + seconds, self.start, process.name)

    def leave(self, process: Process, seconds: float) -> None:
        """Stop a process as a deployment does, and start it again after so long."""
        if process.kind == "dialler":  # a program of somebody else
            self.kill(process, seconds)
        elif process.alive:
            self.stops[process].set()
            self.world.at(self.world.now + seconds, self.start, process.name)

    def twin(self, process: Process, seconds: float) -> None:
        """Stop a process for a while, and start another one with its name and place, as whoever takes it for dead does."""
        process.pause(seconds)
        if process.kind in ("retry", "requests") or (
            self.plan.static and not self.plan.disk and process.name.startswith("worker")
        ):
            self.start(process.name)

    def delete(self, what: int) -> None:
        """Retention takes (0) the prospects that were read, (1) all prospects, or (2) all that came out."""
        if what == 2 and self.plan.recalls:
            return  # a recall holds then, until a person has looked
        for place in self.broker.places([ALLOWED, BLOCKED] if what == 2 else self.plan.inputs):
            partition, read = self.broker.partition(place), 0 if what == 2 else self._read_upto(place)
            upto = max(partition.low, min(read, partition.stable) if what == 0 else partition.stable)
            self.deleted += [(*place, offset) for offset in range(max(partition.low, read), upto)]
            partition.low = upto

    def make_anew(self, seconds: float) -> None:
        """Delete a topic of prospects, or that of requests, and make it again after so long. What was unread is lost. Where
        no worker has read on by then, the operator says from where."""
        names = [*self.plan.inputs, *([REQUESTS] if self.plan.requests is not None else [])]
        name = names[int(seconds * 1000) % len(names)]
        if name not in self.broker.topics:
            return
        group = REQUESTS_GROUP if name == REQUESTS else GROUP
        read = {place: self._read_upto(place, group) for place in self.broker.places([name])}
        gone, label = self.broker.delete(name), f"{name} (deleted at {self.world.now:.3f})"
        self.former.append((label, gone))
        self.deleted = [(label if spot[0] == name else spot[0], *spot[1:]) for spot in self.deleted]
        for (_, number), upto in read.items():
            self.deleted += [(label, number, offset) for offset in range(upto, gone.partitions[number].end)]
        self.world.at(self.world.now + seconds, self.broker.create, name, len(gone.partitions))
        if name != REQUESTS:
            self.world.at(self.world.now + 4 * seconds, self._begin_at_the_start, list(read))
        self.adversary.last = max(self.adversary.last, self.world.now + 4 * seconds)

    def _begin_at_the_start(self, places: list[Place]) -> None:
        """But not where the workers had begun, and their offsets are forgotten just now."""
        for place in places:
            _, note = self.adversary.forgotten.get(place, (0, ""))
            if self.broker.has(place) and topic_id(note) != self.broker.topics[place[0]].id:
                self.broker.group(GROUP).committed.setdefault(place, (0, ""))

    def widen(self, seconds: float) -> None:
        """The inputs get another partition, and the topics that prospects come out of one after so long. From then on every
        second prospect comes over the new one."""
        if self.plan.retry:
            return  # it looks for new partitions every five minutes
        for name in self.plan.inputs:
            if name in self.broker.topics:
                self.broker.widen(name)
        for name in (ALLOWED, BLOCKED):
            self.world.at(self.world.now + seconds, self.broker.widen, name)

    def cut_log(self, seconds: float) -> None:
        """Somebody deletes the first records of the log. Whoever has read it goes on; whoever begins holds."""
        partition = self.broker.partition((LOG, 0))
        partition.low = max(partition.low, 1 + int(seconds * 1000) % max(1, partition.stable))
        self.is_cut = True

    def make_recalls_anew(self, seconds: float) -> None:
        """Delete the topic of recalls, and make it again after so long."""
        if RECALLED in self.broker.topics:
            gone = self.broker.delete(RECALLED)
            self.world.at(self.world.now + seconds, self.broker.create, RECALLED, len(gone.partitions))

    def lose_log(self, process: Process, seconds: float) -> None:
        """Delete the log, make it again after so long, and import the list alone. From then on who knew the old one holds. A
        server begins anew, and so does the publisher."""
        if self.is_log_lost:
            return
        self.is_cut = self.is_log_lost = True
        self.was_log_noted = bool(self.broker.group(GROUP).committed)
        self.broker.delete(LOG)
        self.world.at(self.world.now + seconds, self.broker.create, LOG, 1)
        for each in self.world.processes:
            if each is process or each.kind == "server":
                self.kill(each, seconds)
        self.published["list"] -= 1
        self.world.at(self.world.now + seconds, self.start, "publisher list")

    def throw_out(self, process: Process) -> None:
        """Throw the process's member out of the group. It does not know that yet."""
        source = self.members.get(process)
        if source is None:
            return
        member, group = source._consumer._member, self.broker.group(GROUP)
        if group.modern is not None:
            if (one := group.modern.members.get(member)) is not None:
                group.modern.out(one)
        elif (other := group.members.get(member)) is not None:
            group._out(other)

    def visit(self, seconds: float) -> None:
        """Another worker comes, and goes after a while as it should."""
        made = self.start(f"visitor {len(self.world.processes)}")
        self.world.at(self.world.now + max(1.0, seconds), self.stops[made].set)
