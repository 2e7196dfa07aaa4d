"""The adversary that makes a history hard: a few faults, each at one request, chosen by a seed or named one by one.

A fault happens at a point: the n-th request of an API, from any process. It concerns (a) the wire of that request
(`Fate`), or (b) the process that sent it or the cluster (`KINDS`).
"""

import os
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.broker import Deposed
from tests.simulation.records import Place
from tests.simulation.wire import Api, Fate
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.history import History

GROUP, LOG = "stream-scrub", "opposition.log"
RECALLED = "prospects.recalled"
_WELL, _CUT = (Fate.WELL, 0.0), (Fate.CUT_BEFORE, 0.0)


class Fault(NamedTuple):
    """What happens at the `at`-th request (from 1) of `api` that some process of a kind sends, and for how many
    seconds."""

    who: str
    api: Api
    at: int
    kind: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} ({self.seconds:.2f} s) at the {self.at}. {self.api.name} of kind {self.who}"


Deed = Callable[["History", Process, float], None]


def _pause(_: "History", process: Process, seconds: float) -> None:
    process.pause(seconds)


def _kill(history: "History", process: Process, seconds: float) -> None:
    history.kill(process, seconds)


def _tear(history: "History", process: Process, seconds: float) -> None:
    """The machine loses its power while a file is written."""
    files = sorted(path for path in history.folder_of(process).rglob("*") if path.stat().st_size)
    if files:
        torn = files[int(seconds * 1000) % len(files)]
        os.truncate(torn, torn.stat().st_size // 2)
    history.kill(process, seconds)


def _restart(history: "History", _: Process, seconds: float) -> None:
    history.broker.restart(min(seconds, 5.0), 0.5)


def _move_coordinator(history: "History", _: Process, seconds: float) -> None:
    history.broker.not_coordinator_until = history.world.now + seconds


def _no_leader(history: "History", _: Process, seconds: float) -> None:
    history.broker.no_leader_until = history.world.now + seconds


def _lose(history: "History", process: Process, _: float) -> None:
    """The group throws its members out, as if their heartbeats had not come through."""
    history.throw_out(process)


def _join(history: "History", _: Process, seconds: float) -> None:
    history.visit(seconds)


def _clock(history: "History", process: Process, seconds: float) -> None:
    """Somebody sets the wall clock wrong, and later right again."""
    process.wall_offset += 40.0 * seconds

    def right() -> None:
        process.wall_offset -= 40.0 * seconds

    history.world.at(history.world.now + seconds, right)


def _log_away(history: "History", process: Process, seconds: float) -> None:
    """The process can neither read the log nor ask for its end. It can do everything else."""
    seconds = 4 * seconds
    history.adversary.log_away[process] = history.world.now + seconds
    history.adversary.last = max(history.adversary.last, history.world.now + seconds)


def _behind(history: "History", process: Process, seconds: float) -> None:
    """The process cannot read the log, and meanwhile the others end or are killed, and leave it everything."""
    _log_away(history, process, seconds)
    goes = history.leave if int(seconds * 1000) % 2 else history.kill
    for other in history.world.processes:
        if other.kind == process.kind and other is not process and other.alive:
            history.world.at(history.world.now + 2 * seconds, goes, other, 4 * seconds)
    history.adversary.last = max(history.adversary.last, history.world.now + 6 * seconds)


def _throttle(history: "History", process: Process, seconds: float) -> None:
    """A quota: each request of the process waits for a while (KIP-219: its channel is muted)."""
    history.adversary.throttled[process] = (history.world.now + seconds, seconds / 4)


def _forget(history: "History", _: Process, seconds: float) -> None:
    """The offsets of the workers' group expire. Somebody sets them again later, where nobody has meanwhile."""
    group, known = history.broker.group(GROUP), history.adversary.forgotten
    known.update(group.committed)
    group.committed.clear()

    def restore() -> None:
        group.committed = {**known, **group.committed}

    history.world.at(history.world.now + seconds, restore)


def _twin(history: "History", process: Process, seconds: float) -> None:
    history.twin(process, seconds)


def _delete(history: "History", _: Process, seconds: float) -> None:
    history.delete(int(seconds * 1000) % 3)


def _long_off(history: "History", process: Process, seconds: float) -> None:
    """The worker is off for so long that what came out is deleted and the group's offsets have expired."""
    history.delete(2)
    _forget(history, process, 2 * seconds)
    history.kill(process, seconds)


def _make_anew(history: "History", _: Process, seconds: float) -> None:
    """In less time than this no topic is deleted, made and filled (kafka/witnesses.py)."""
    history.make_anew(max(0.3, seconds))


def _make_recalls_anew(history: "History", _: Process, seconds: float) -> None:
    history.make_recalls_anew(min(seconds, 3.0))


def _lose_log(history: "History", process: Process, seconds: float) -> None:
    """And what followed it begins anew, as whoever answers for it makes it do."""
    history.lose_log(process, min(seconds, 3.0))


def _widen(history: "History", _: Process, seconds: float) -> None:
    history.widen(seconds)


def _cut_log(history: "History", process: Process, seconds: float) -> None:
    """And the process begins anew."""
    history.cut_log(seconds)
    history.kill(process, min(seconds, 1.0))


KINDS: dict[str, Deed] = {
    "the process is paused": _pause,
    "the process is killed": _kill,
    "the process is killed, and a file is torn": _tear,
    "the brokers restart": _restart,
    "the coordinators move": _move_coordinator,
    "leaders are gone": _no_leader,
    "its member is thrown out": _lose,
    "another worker joins for a while": _join,
    "its wall clock jumps": _clock,
    "it cannot read the log for four times as long": _log_away,
    "it cannot read the log, and the others leave it everything": _behind,
    "its requests are throttled": _throttle,
    "the group's offsets are forgotten": _forget,
    "it is taken for dead, and another has its place": _twin,
    "retention deletes": _delete,
    "it is off for very long": _long_off,
    "an input is deleted and made anew": _make_anew,
    "there is another partition": _widen,
    "the log's first records are deleted": _cut_log,
}


def _depose_leader(history: "History", process: Process, seconds: float) -> None:
    """The broker that leads the log, and what it answers to processes of that kind."""
    history.broker.deposed = Deposed(history.broker, process.kind, [LOG], history.world.now + seconds)


def _depose_coordinator(history: "History", process: Process, seconds: float) -> None:
    """The same for the coordinator of groups. Then a second fault: the leaders are gone for a moment."""
    history.broker.deposed = Deposed(history.broker, process.kind, [], history.world.now + seconds)


def _depose_leader_of_recalls(history: "History", process: Process, seconds: float) -> None:
    """The broker that leads what was taken back."""
    history.broker.deposed = Deposed(history.broker, process.kind, [RECALLED], history.world.now + seconds)


_LEADER, _COORDINATOR, _OF_RECALLS = (
    f"the {what} is deposed and does not know it" for what in ("leader", "coordinator", "leader of recalls")
)
# Kinds that are of a theme only: what they concern is not in every history, or nothing goes on after them.
RECALLS_ANEW, LOG_LOST = "the topic of recalls is deleted and made anew", "the log is deleted and made anew"
OF_THEMES: dict[str, Deed] = {
    RECALLS_ANEW: _make_recalls_anew,
    LOG_LOST: _lose_log,
    _LEADER: _depose_leader,
    _COORDINATOR: _depose_coordinator,
    _OF_RECALLS: _depose_leader_of_recalls,
}
FATES = {fate.value: fate for fate in Fate if fate is not Fate.WELL}


class Adversary:
    """One history's faults. `last` is when the last of them was over."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.history: History | None = None
        self.faults = faults
        self.fired: list[tuple[str, Fault]] = []
        self.log_away: dict[Process, float] = {}
        self.throttled: dict[Process, tuple[float, float]] = {}
        self.forgotten: dict[Place, tuple[int, str]] = {}  # the last offsets that the group has lost
        self.last = 0.0
        self.counts: dict[tuple[str, Api], int] = {}
        self._by_point: dict[tuple[str, Api, int], list[Fault]] = {}
        self._held: list[tuple[Process, Api, Callable[[], None]]] = []
        for fault in faults:
            self._by_point.setdefault((fault.who, fault.api, fault.at), []).append(fault)

    def fate(self, process: Process, api: Api, about: str = "") -> tuple[Fate, float]:
        """What becomes of a request that this process sends now."""
        point = (process.kind, api)
        count = self.counts[point] = self.counts.get(point, 0) + 1
        if self._held:
            self._release(process, api)
        faults = self._by_point.pop((*point, count), None) if self._by_point else None
        if faults is None:
            if self.log_away and about == LOG and self.log_away.get(process, 0.0) > process.world.now:
                return _CUT
            if self.throttled:
                until, seconds = self.throttled.get(process, (0.0, 0.0))
                if until > process.world.now:
                    return (Fate.SLOW, seconds)
            return _WELL
        history, fate = self.history, _WELL
        assert history is not None, "the history says that it is its"
        for fault in faults:
            self.fired.append((process.name, fault))
            world = history.world
            world.tell(f"{process.name}'s {count}. {api.name}: {fault.kind} ({fault.seconds:.2f} s)")
            self.last = max(self.last, world.now + fault.seconds)
            if (wire := FATES.get(fault.kind)) is not None:
                fate = (wire, fault.seconds)
            else:
                (KINDS | OF_THEMES)[fault.kind](history, process, fault.seconds)
        return fate

    def hold(self, process: Process, seconds: float, arrive: Callable[[], None]) -> None:
        """Keep a copy back (a) until the sender's next request of some kind, when it does most harm, or (b) for so
        many seconds."""
        until = _RELEASED_BY[int(seconds * 1000) % len(_RELEASED_BY)]
        entry = (process, until, arrive)
        self._held.append(entry)

        def late() -> None:
            if entry in self._held:
                self._held.remove(entry)
                arrive()

        process.world.at(process.world.now + seconds, late)
        self.last = max(self.last, process.world.now + seconds)

    def _release(self, process: Process, api: Api) -> None:
        for entry in [each for each in self._held if each[0] is process and each[1] is api]:
            self._held.remove(entry)
            process.world.at(process.world.now + 0.0001, entry[2])


_RELEASED_BY = (Api.PRODUCE, Api.ADD_OFFSETS, Api.OFFSETS, Api.END)
_WRITES = (
    Api.COMPUTE,
    Api.PRODUCE,
    Api.ADD_PARTITIONS,
    Api.ADD_OFFSETS,
    Api.OFFSETS,
    Api.END,
    Api.END,
    Api.INIT,
)
_ENDS = (Api.END, Api.END, Api.OFFSETS, Api.ADD_PARTITIONS, Api.ADD_OFFSETS)
_READS = (Api.FETCH, Api.LIST_OFFSETS, Api.METADATA, Api.OFFSET_FETCH, Api.JOIN, Api.HEARTBEAT)
_MOVES = (
    "the process is killed",
    "its member is thrown out",
    "another worker joins for a while",
    "the process is paused",
)
_BEHIND = ("it cannot read the log, and the others leave it everything",)
_ANY = (*FATES, *KINDS)


class Theme(NamedTuple):
    """Faults that matter together: at which requests of whom, up to which count and from which on, what happens, and for how
    long."""

    who: str
    apis: Sequence[Api]
    upto: int
    kinds: Sequence[str]
    seconds: tuple[float, float]
    first: int = 1


def _any(rng: random.Random, kinds: Sequence[str]) -> Theme:
    who = _who(rng, kinds)
    if who in _SIDE:
        return _SIDE[who]
    apis, upto = (_WRITES, 10) if rng.random() < 0.8 else (_READS, 60)
    longest = rng.choice((0.1, 0.3, 1.0, 4.0, 12.0))
    return Theme(who, apis, upto, _ANY, (longest / 5, longest))


# Of processes that write little: their transactions are few, and each end of one matters.
_DEATHS = (
    "the process is killed",
    "the process is killed",
    "the process is paused",
    "it is taken for dead, and another has its place",
)
_SIDE = {
    who: Theme(who, (Api.COMPUTE, Api.END, Api.END, Api.OFFSETS, Api.ADD_OFFSETS, Api.PRODUCE, Api.LIST_OFFSETS), 8, (*_DEATHS, *_DEATHS, *_ANY), (0.2, 20.0))
    for who in ("retry", "requests")
}  # fmt: skip


def _who(rng: random.Random, kinds: Sequence[str]) -> str:
    """Half of the faults are for what a history has besides workers and imports."""
    if len(kinds) > 2 and rng.random() < 0.5:
        return rng.choice(kinds[2:])
    return "worker" if rng.random() < 0.75 else "publisher"


THEMES: dict[str, tuple[Theme, ...]] = {
    "a zombie": (
        Theme("worker", (Api.COMPUTE, Api.METADATA, Api.METADATA, Api.PRODUCE, Api.ADD_OFFSETS), 40, ("the process is paused",), (6.0, 12.0)),
    ),
    "no answer": (
        Theme("worker", (Api.END, Api.END, Api.OFFSETS), 10, (Fate.LOST.value, Fate.SLOW.value, "the coordinators move"), (10.0, 20.0)),
    ),
    "a late request": (
        Theme("worker", _ENDS, 10, (Fate.LATE.value,), (1.0, 5.0)),
        Theme("worker", _ENDS, 16, (Fate.LATE.value, Fate.CUT_AFTER.value), (1.0, 5.0)),
    ),
    "one is behind": (
        Theme("worker", (Api.FETCH,), 40, _BEHIND, (0.8, 2.2)),
    ),
    "no news": (
        Theme("worker", (Api.FETCH,), 40, ("it cannot read the log for four times as long",), (4.0, 9.0)),
        Theme("worker", (Api.PRODUCE,), 25, (Fate.SLOW.value,), (5.5, 9.5)),
    ),
    "a hung publisher": (
        Theme("publisher", (Api.COMPUTE, Api.PRODUCE, Api.END), 14, ("the process is paused", "the process is killed"), (8.0, 12.0)),
    ),
    "a torn file": (
        Theme("worker", (Api.FETCH, Api.PRODUCE), 20, ("the process is killed, and a file is torn",), (0.5, 3.0)),
    ),
    "off for long": (
        Theme("worker", (Api.PRODUCE, Api.END, Api.FETCH), 12, ("it is off for very long",), (1.0, 4.0)),
    ),
    "a relieved publisher": (
        Theme("requests", (Api.END,), 5, ("it is taken for dead, and another has its place",), (14.0, 24.0)),
    ),
    "a clock that jumps": (
        Theme("requests", (Api.END,), 4, ("its wall clock jumps",), (5.0, 12.0)),
    ),
    "an import asks a deposed leader": (
        Theme("publisher", (Api.END, Api.INIT, Api.LIST_OFFSETS), 6, (_LEADER,), (8.0, 20.0)),
    ),
    "a publisher asks a deposed leader": (
        Theme("requests", (Api.END, Api.INIT, Api.LIST_OFFSETS), 6, (_LEADER,), (2.0, 12.0)),
    ),
    "a publisher asks a deposed coordinator": (
        Theme("requests", (Api.END, Api.OFFSETS, Api.INIT), 4, (_COORDINATOR,), (2.0, 12.0)),
        Theme("requests", (Api.END, Api.OFFSETS, Api.PRODUCE), 8, (Fate.CUT_AFTER.value, "the process is killed"), (0.5, 2.0)),
    ),
    "a worker asks a deposed leader": (
        Theme("worker", (Api.FETCH, Api.END, Api.LIST_OFFSETS), 20, (_LEADER,), (25.0, 50.0)),
    ),
    "a worker asks a deposed coordinator": (
        Theme("worker", (Api.END, Api.OFFSETS, Api.FETCH), 6, (_COORDINATOR,), (8.0, 20.0)),
        Theme("worker", (Api.END, Api.OFFSETS, Api.PRODUCE), 10, (Fate.CUT_AFTER.value, Fate.LOST.value), (1.0, 5.0)),
    ),
    "a worker in doubt asks a deposed coordinator": (
        Theme("worker", (Api.END, Api.OFFSETS), 3, (_COORDINATOR,), (30.0, 40.0)),
        Theme("worker", (Api.END,), 4, (Fate.CUT_AFTER.value,), (1.0, 2.0)),
        Theme("worker", (Api.END,), 5, (Fate.LOST.value,), (1.0, 2.0)),
    ),
    "retry asks a deposed coordinator": (
        Theme("retry", (Api.END, Api.OFFSETS, Api.INIT), 4, (_COORDINATOR,), (2.0, 12.0)),
        Theme("retry", (Api.END, Api.OFFSETS, Api.PRODUCE), 8, (Fate.CUT_AFTER.value, "the process is killed"), (0.5, 2.0)),
    ),
    "a recall asks a deposed leader": (
        Theme("recall", (Api.PRODUCE, Api.END), 2, (_OF_RECALLS,), (20.0, 50.0)),
        Theme("recall", (Api.PRODUCE, Api.END), 9, ("the process is killed",), (0.5, 2.0), 3),
    ),
    "a recall asks a deposed coordinator": (
        Theme("recall", (Api.ADD_OFFSETS, Api.OFFSETS), 1, (_COORDINATOR,), (30.0, 50.0)),
        Theme("recall", (Api.PRODUCE,), 3, (Fate.SLOW.value, "leaders are gone"), (12.0, 18.0)),
    ),
    "a recall is slow as it recalls": (
        Theme("recall", (Api.PRODUCE,), 9, (Fate.SLOW.value, "leaders are gone"), (12.0, 18.0), 2),
    ),
    "a recall dies as it recalls": (
        Theme("recall", (Api.PRODUCE, Api.ADD_PARTITIONS), 9, ("the process is killed", "the process is paused"), (5.0, 20.0)),
    ),
    "a dead publisher": (
        Theme("requests", (Api.END, Api.PRODUCE, Api.FETCH), 6, ("the process is killed", "the process is paused"), (30.0, 70.0)),
    ),
    "a dead recall": (
        Theme("recall", (Api.END, Api.PRODUCE, Api.FETCH), 6, ("the process is killed", "the process is paused"), (30.0, 70.0)),
    ),
    "a recall is away for a moment": (
        Theme("recall", (Api.END, Api.PRODUCE, Api.FETCH), 12, ("the process is killed", "the process is paused"), (3.0, 20.0)),
    ),
    "a dialler asks a deposed leader of recalls": (
        Theme("dialler", (Api.FETCH, Api.LIST_OFFSETS, Api.OFFSET_COMMIT), 12, (_OF_RECALLS,), (20.0, 60.0)),
    ),
    "a dialler comes and goes": (
        Theme("dialler", (Api.FETCH, Api.OFFSET_COMMIT, Api.JOIN), 12, ("the process is killed", "the process is paused", Fate.LOST.value), (3.0, 20.0)),
    ),
    "recalls made anew": (
        Theme("recall", (Api.END, Api.PRODUCE), 14, (RECALLS_ANEW,), (0.7, 3.0), 4),
        Theme("dialler", (Api.FETCH, Api.OFFSET_COMMIT), 20, ("the process is killed", "the process is paused"), (3.0, 20.0)),
    ),
    "a lost log": (
        Theme("requests", (Api.END,), 8, (LOG_LOST,), (2.0, 8.0), 3),
    ),
    "made anew": (
        Theme("worker", (Api.COMPUTE, Api.PRODUCE, Api.END, Api.FETCH), 12, ("an input is deleted and made anew",), (0.3, 3.0)),
    ),
    "coming and going": (
        Theme("worker", (Api.FETCH, Api.PRODUCE), 20, _MOVES, (0.3, 4.0)),
        Theme("worker", (Api.FETCH, Api.PRODUCE), 40, _MOVES, (0.3, 4.0)),
    ),
}  # fmt: skip
OF_DIALLERS = (
    "a dead publisher", "a dead recall", "a recall is away for a moment", "a dialler asks a deposed leader of recalls",
    "a dialler comes and goes", "recalls made anew", "a lost log",
)  # fmt: skip
# Those that need neither a disk nor a publisher of requests, and those of several brokers have a plan of their own.
ANY_THEME = tuple(
    name
    for name in THEMES
    if name
    not in (
        "a torn file",
        "a relieved publisher",
        "a clock that jumps",
        "a recall dies as it recalls",
        *OF_DIALLERS,
    )
    and "deposed" not in name
)
OF_TWO = ("a zombie", "one is behind")  # those that need another worker
OF_ONE = tuple(name for name in ANY_THEME if name not in OF_TWO and name != "a hung publisher")
# For how long prospects come, and how many changes there are, for themes that need other values than most.
LASTS = {"no news": (15.0, 35.0), "a hung publisher": (8.0, 25.0), "one is behind": (4.0, 8.0)}
CHANGES = {"no news": 4, "a hung publisher": 8, "one is behind": 6}
# The same for small histories, whose faults come earlier and are shorter.
SMALL_LASTS = {
    "no news": (3.0, 7.0),
    "a hung publisher": (2.0, 5.0),
    "one is behind": (1.5, 3.0),
    "made anew": (1.0, 2.5),
}
SMALL_PROSPECTS = {"no news": (5, 9), "one is behind": (6, 10), "made anew": (4, 8)}
SMALL_CHANGES = {"no news": 4, "a hung publisher": 3, "one is behind": 4}
_SHORTER = 0.3
_SCALED = ("worker", "publisher")
# About how many requests of each kind the workers of a small history send; publishers send half as many.
_OFTEN = {
    Api.LIST_OFFSETS: 40, Api.METADATA: 30, Api.FETCH: 28, Api.HEARTBEAT: 8, Api.JOIN: 4, Api.ADD_PARTITIONS: 4,
}  # fmt: skip


def chosen(rng: random.Random, many: int, theme: str, kinds: Sequence[str], *, small: bool) -> list[Fault]:
    """A theme's faults, and at most `many` more; without a theme at least one."""
    themed = THEMES.get(theme, ())
    drawn = [*themed, *(_any(rng, kinds) for _ in range(rng.randint(0 if themed else 1, many)))]
    return [_fault(rng, each, small=small) for each in drawn]


def _fault(rng: random.Random, of: Theme, *, small: bool) -> Fault:
    api, upto, shorter = rng.choice(of.apis), of.upto, 1.0
    if small:
        shorter = _SHORTER
        if of.who in _SCALED:
            upto = _OFTEN.get(api, 5) // (1 if of.who == "worker" else 2)
    return Fault(
        of.who, api, rng.randint(of.first, upto), rng.choice(of.kinds), shorter * rng.uniform(*of.seconds)
    )
