"""Who makes a history hard: a few faults, each at one request of some kind, chosen by seed or named one by one.

A fault is at a point: the n-th request of an API, by whichever process. Some are of that request's wire (`Fate`), the others
of the process that sent it or of the cluster (`KINDS`).
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.wire import Api, Fate
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.history import History

_WELL = (Fate.WELL, 0.0)
# Where a fault is worth most: what belongs to a transaction comes seldom, what reads comes all the time.
_OFTEN = (Api.PRODUCE, Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.OFFSETS, Api.END, Api.END, Api.OFFSETS, Api.INIT)
_SELDOM = (Api.FETCH, Api.LIST_OFFSETS, Api.METADATA, Api.OFFSET_FETCH, Api.JOIN, Api.HEARTBEAT)


class Fault(NamedTuple):
    """At the `at`-th request (from 1) of `api`: what happens, and for how many seconds."""

    api: Api
    at: int
    kind: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} ({self.seconds:.2f} s) at the {self.at}. {self.api.name}"


Deed = Callable[["History", Process, float], None]


def _pause(_: "History", process: Process, seconds: float) -> None:
    process.pause(seconds)


def _kill(history: "History", process: Process, seconds: float) -> None:
    history.kill(process, seconds)


def _restart(history: "History", _: Process, seconds: float) -> None:
    history.broker.restart(min(seconds, 5.0), 0.5)


def _move_coordinator(history: "History", _: Process, seconds: float) -> None:
    history.broker.not_coordinator_until = history.world.now + seconds


def _no_leader(history: "History", _: Process, seconds: float) -> None:
    history.broker.no_leader_until = history.world.now + seconds


def _lose(history: "History", process: Process, _: float) -> None:
    """The group throws its members out, as where their heartbeats did not come through."""
    history.throw_out(process)


def _join(history: "History", _: Process, seconds: float) -> None:
    history.visit(seconds)


def _clock(_: "History", process: Process, seconds: float) -> None:
    process.wall_offset += 40.0 * seconds


KINDS: dict[str, Deed] = {
    "the process is paused": _pause,
    "the process is killed": _kill,
    "the brokers restart": _restart,
    "the coordinators move": _move_coordinator,
    "leaders are gone": _no_leader,
    "its member is thrown out": _lose,
    "another worker joins for a while": _join,
    "its wall clock jumps": _clock,
}
FATES = {fate.value: fate for fate in Fate if fate is not Fate.WELL}


class Adversary:
    """One history's faults. `last` is when the last of them was over."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.history: History | None = None
        self.faults = faults
        self.fired: list[Fault] = []
        self.last = 0.0
        self.counts: Counter[Api] = Counter()
        self._by_point: dict[tuple[Api, int], list[Fault]] = {}
        for fault in faults:
            self._by_point.setdefault((fault.api, fault.at), []).append(fault)

    def fate(self, process: Process, api: Api) -> tuple[Fate, float]:
        """What becomes of a request that this process sends now."""
        count = self.counts[api] = self.counts[api] + 1
        faults = self._by_point.pop((api, count), None)
        if faults is None:
            return _WELL
        history, fate = self.history, _WELL
        assert history is not None, "the history says that it is its"
        for fault in faults:
            self.fired.append(fault)
            world = history.world
            world.tell(f"{process.name}'s {count}. {api.name}: {fault.kind} ({fault.seconds:.2f} s)")
            self.last = max(self.last, world.now + fault.seconds)
            if (wire := FATES.get(fault.kind)) is not None:
                fate = (wire, fault.seconds)
            else:
                KINDS[fault.kind](history, process, fault.seconds)
        return fate


def chosen(rng: random.Random, many: int) -> list[Fault]:
    """At most so many faults."""
    kinds = [*FATES, *FATES, *KINDS]
    found = []
    for _ in range(rng.randint(0, many)):
        often = rng.random() < 0.8
        api = rng.choice(_OFTEN if often else _SELDOM)
        seconds = rng.choice((0.02, 0.1, 0.15, 0.3, 1.0, 2.0, 4.0, 8.0, 12.0)) * rng.uniform(0.7, 1.3)
        found.append(Fault(api, rng.randint(1, 12 if often else 60), rng.choice(kinds), seconds))
    return found
