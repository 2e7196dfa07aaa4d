"""What is to happen in a history. Everything in it follows from the seed, or is given by hand."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.adversary import (
    ANY_THEME,
    CHANGES,
    LASTS,
    OF_DIALLERS,
    OF_ONE,
    OF_TWO,
    SMALL_CHANGES,
    SMALL_LASTS,
    SMALL_PROSPECTS,
    Fault,
    chosen,
)

REGISTERS = ("list", "internal")
INPUTS = ("prospects", "prospects.more")  # topics that prospects come from: the first, or both


class Times(NamedTuple):
    """In seconds: how old an index may be, for how long a request may wait and recall may be silent, for how long a member
    may be silent or not poll, how long a batch waits for more, how long a client waits on a silent connection, how long a
    commit or an abort may take, how old a block is before `retry` takes it up, and what may pass after the last fault until
    all is quiet."""

    lag_s: float
    request_lag_s: float
    recall_lag_s: float
    session_s: float
    poll_s: float
    batch_s: float
    socket_s: float
    commit_s: float
    settled_s: float
    quiet_s: float


LONG = Times(5.0, 10.0, 10.0, 3.0, 15.0, 0.5, 10.0, 10.0, 5.0, 1.0)
SHORT = Times(2.0, 4.0, 4.0, 1.0, 5.0, 0.1, 3.0, 3.0, 2.0, 0.3)


class Prospect(NamedTuple):
    """One lead: when it comes, where, and whose number."""

    at: float
    partition: int
    key: bytes | None
    id: int
    number: int
    topic: str = INPUTS[0]


class Change(NamedTuple):
    """From that moment on, a register is to hold exactly these numbers; up to `end`, if there is one."""

    at: float
    register: str
    numbers: frozenset[int]
    end: int | None = None


class Asked(NamedTuple):
    """One request: when it comes, what it is ("broken" is refused), and whose number."""

    at: float
    what: str
    id: int
    number: int


@dataclass
class Plan:
    """What is to happen."""

    seed: int
    workers: int = 2
    partitions: int = 2
    exact: bool = True
    needs_key: bool = False
    by_broker: bool = False  # the workers' group is one of KIP-848
    static: bool = False  # and each worker has a place of its own in it
    inputs: Sequence[str] = INPUTS[:1]
    disk: bool = False  # workers keep snapshots of the log
    times: Times = LONG
    registers: Sequence[str] = REGISTERS
    imported: bool = False  # what the registers first hold was put on the log before anything else happens
    prospects: list[Prospect] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    retry: bool = False  # somebody brings back what was blocked for want of a register
    recalls: int = 0  # how many members take back what was handed out
    requests: list[Asked] | None = None  # None: nobody publishes by requests
    diallers: int = 0  # how many call whom they are handed
    server: bool = False  # somebody answers who may be called
    theme: str = ""
    faults: Sequence[Fault] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kinds of processes there are to be disturbed."""
        more = {
            "retry": self.retry,
            "requests": self.requests is not None,
            "recall": self.recalls > 0,
            "dialler": self.diallers > 0,
        }
        return ("worker", "publisher", *(kind for kind, there in more.items() if there))


def planned(seed: int, *, faults: Sequence[Fault] | None = None, many: int = 2) -> Plan:
    """The plan of a seed. `faults`, if given, replace its own.

    Most faults show in a tiny history: a worker, a partition, a few prospects, a list and perhaps a change of it, short
    patience. Some need a second worker, more registers, or much of everything.
    """
    rng = random.Random(f"plan {seed}")
    shape = SHAPES[seed % len(SHAPES)]
    plan = shape(seed, rng)
    plan.prospects.sort(key=lambda prospect: prospect.at)
    plan.changes.sort(key=lambda change: change.at)
    if not plan.theme and shape not in (_with_recall, _with_diallers):
        _among_several_brokers(plan, shape, random.Random(f"brokers {seed}"))
    if shape is _tiny:
        many = min(many, 1)
    plan.faults = (
        chosen(rng, many, plan.theme, plan.kinds, small=plan.times is SHORT) if faults is None else faults
    )
    return plan


def _among_several_brokers(plan: Plan, shape: Any, rng: random.Random) -> None:
    """Some of those without a theme have a broker that was deposed and does not know it."""
    if rng.random() < 0.7:
        return
    if shape is _with_retry:
        plan.theme = "retry asks a deposed coordinator"
    elif shape is _with_requests:
        what = rng.choice(("leader", "coordinator"))
        plan.theme = f"a publisher asks a deposed {what}"
    elif shape in (_small, _large) and rng.random() < 0.5:
        doubt = rng.random() < 0.5
        plan.theme = (
            "a worker in doubt asks a deposed coordinator" if doubt else "a worker asks a deposed coordinator"
        )
    elif shape in (_small, _large):
        plan.theme = rng.choice(("an import asks a deposed leader", "a worker asks a deposed leader"))
        numbers = [33_612_345_600 + n for n in range(4)]
        for at in (0.4, 0.9, 1.6, 2.2, 3.0):
            some = frozenset(rng.sample(numbers, rng.randint(1, 3)))
            plan.changes.append(Change(at + rng.random(), plan.registers[0], some))
        plan.changes.sort(key=lambda change: change.at)


def _large(seed: int, rng: random.Random) -> Plan:
    plan = Plan(seed, rng.choice((1, 2, 2)), rng.choice((1, 2, 3)), rng.random() < 0.7, rng.random() < 0.1)
    _how(plan, rng, 0.3)
    plan.theme = rng.choice(ANY_THEME) if rng.random() < 0.5 else ""
    lasts = rng.uniform(*LASTS[plan.theme]) if plan.theme in LASTS else rng.choice((0.3, 1.0, 2.5))
    _fill(plan, rng, rng.choice((12, 25, 40)), lasts, CHANGES.get(plan.theme, rng.randint(0, 3)), 12)
    return plan


def _small(seed: int, rng: random.Random) -> Plan:
    plan = Plan(
        seed,
        rng.choice((1, 1, 2)),
        rng.choice((1, 1, 2)),
        rng.random() < 0.7,
        rng.random() < 0.1,
        times=SHORT,
    )
    _how(plan, rng, 0.15)
    plan.registers, plan.imported = REGISTERS[: rng.choice((1, 1, 2))], rng.random() < 0.75
    plan.theme = theme = rng.choice((*OF_TWO, *OF_TWO, *ANY_THEME)) if rng.random() < 0.7 else ""
    if plan.disk and rng.random() < 0.5:
        plan.theme = theme = "a torn file"
    if theme in OF_TWO:
        plan.workers = 2
    if theme == "a hung publisher":
        plan.registers, plan.imported = REGISTERS, False
    _fill(plan, rng, *_comes(rng, theme, (3, 6), (0.3, 0.8), (0, 1, 1, 2)), 4)
    return plan


def _tiny(seed: int, rng: random.Random) -> Plan:
    plan = Plan(seed, 1, 1, rng.random() < 0.7, times=SHORT, registers=REGISTERS[:1], imported=True)
    _how(plan, rng, 0.1)
    plan.theme = theme = rng.choice(OF_ONE) if rng.random() < 0.5 else ""
    if plan.disk and rng.random() < 0.5:
        plan.theme = theme = "a torn file"
    _fill(plan, rng, *_comes(rng, theme, (1, 3), (0.2, 0.5), (0, 0, 1)), 4)
    return plan


def _comes(
    rng: random.Random, theme: str, prospects: tuple[int, int], lasts: Sequence[float], changes: Sequence[int]
) -> tuple[int, float, int]:
    """How many prospects come, for how long, and how many changes, in a history of this theme that is not large."""
    return (
        rng.randint(*SMALL_PROSPECTS.get(theme, prospects)),
        rng.uniform(*SMALL_LASTS[theme]) if theme in SMALL_LASTS else rng.choice(lasts),
        SMALL_CHANGES.get(theme, rng.choice(changes)),
    )


def _how(plan: Plan, rng: random.Random, disks: float) -> None:
    """By which protocol, with which memory, and from how many topics workers work."""
    plan.by_broker, plan.disk = rng.random() < 0.25, rng.random() < disks
    plan.static = plan.by_broker and rng.random() < 0.4
    plan.inputs = INPUTS if rng.random() < 0.15 else INPUTS[:1]


def _with_retry(seed: int, rng: random.Random) -> Plan:
    """The list comes late, so what came before is blocked, and brought back."""
    plan = Plan(seed, 1, rng.choice((1, 1, 2)), rng.random() < 0.7, times=SHORT)
    plan.imported = plan.retry = True
    plan.inputs = INPUTS if rng.random() < 0.2 else INPUTS[:1]
    _fill(plan, rng, rng.randint(2, 4), 0.4, 0, 4)
    plan.changes[0] = plan.changes[0]._replace(at=rng.uniform(0.6, 1.2))
    return plan


def _with_recall(seed: int, rng: random.Random) -> Plan:
    """People object before and after they were handed out. Each has one lead, and nobody takes an objection back."""
    plan = Plan(seed, 1, rng.choice((1, 2)), rng.random() < 0.7, times=SHORT, registers=REGISTERS[:1])
    plan.imported, plan.recalls = True, rng.choice((1, 1, 2))
    many = rng.randint(3, 8)
    _fill(plan, rng, many, rng.choice((0.5, 2.0)), 0, 12)
    plan.prospects = [each._replace(number=33_612_345_600 + each.id) for each in plan.prospects]
    drawn = random.Random(f"recalls {seed}").random()
    if drawn < 0.2:
        plan.theme = "a recall asks a deposed leader"
    elif drawn < 0.4:
        plan.theme, plan.recalls, plan.partitions = "a recall dies as it recalls", 2, 2
    elif drawn < 0.6:
        plan.theme, plan.recalls = "a recall asks a deposed coordinator", 1
        plan.prospects = [each._replace(at=each.at + 3 * drawn) for each in plan.prospects]
    elif drawn < 0.8:
        plan.theme = "a recall is slow as it recalls"
    opposed = frozenset({33_612_345_699})
    plan.changes = [Change(0.0, plan.registers[0], opposed)]
    for at in sorted(rng.uniform(0.2, 4.0) for _ in range(rng.randint(1, 3))):
        opposed |= {33_612_345_600 + each for each in rng.sample(range(many), rng.randint(1, 2))}
        plan.changes.append(Change(at, plan.registers[0], opposed))
    return plan


def _with_requests(seed: int, rng: random.Random) -> Plan:
    """Somebody publishes by requests, and what ends. A list whose numbers end is imported anew at about that moment."""
    plan = Plan(seed, rng.choice((0, 1, 1)), 1, rng.random() < 0.7, times=SHORT, registers=("list",))
    plan.imported = True
    drawn = rng.random()
    plan.theme = "a relieved publisher" if drawn < 0.3 else "a clock that jumps" if drawn > 0.8 else ""
    _fill(plan, rng, rng.randint(1, 3) if plan.workers else 0, 3.0, 0, 4)
    listed = plan.changes[0].numbers
    end = rng.randint(1, 3) + 4 * (plan.theme == "a clock that jumps")
    plan.changes[0] = plan.changes[0]._replace(end=end)
    kind = rng.random()
    if kind < 0.4:  # an import at the moment of the end
        plan.changes.append(Change(max(0.1, end + rng.uniform(-0.5, 3.0)), "list", frozenset([*listed][:1])))
    elif kind < 0.8:  # an import between two ends
        plan.changes.append(Change(end + rng.uniform(0.8, 2.0), "list", listed, end + 4))
    whats = ("opt-out", "opt-out", "opt-out", "withdrawal", "consent", "broken")
    plan.requests = [
        Asked(rng.uniform(0.0, 3.0), rng.choice(whats), at, 33_612_345_600 + rng.randrange(6))
        for at in range(rng.randint(2, 6))
    ]
    return plan


def _with_diallers(seed: int, rng: random.Random) -> Plan:
    """People object by a request before and after they were handed out to a dialler. Each has one lead."""
    plan = Plan(seed, 1, rng.choice((1, 2)), rng.random() < 0.7, times=SHORT, registers=("list",))
    plan.imported, plan.server = True, rng.random() < 0.5
    plan.recalls, plan.diallers = rng.choice((1, 1, 2)), rng.choice((1, 1, 2))
    plan.theme = rng.choice(OF_DIALLERS) if rng.random() < 0.7 else ""
    if plan.theme == "a lost log":
        plan.registers, plan.server = REGISTERS, True
    many, lasts = rng.randint(3, 8), rng.choice((0.5, 4.0, 12.0))
    _fill(plan, rng, many, lasts, 0, 4)
    plan.prospects = [each._replace(number=33_612_345_700 + each.id) for each in plan.prospects]
    plan.requests = [
        Asked(rng.uniform(0.0, lasts + 4.0), "opt-out", at, 33_612_345_700 + whose)
        for at, whose in enumerate(rng.sample(range(many), rng.randint(1, many)))
    ]
    return plan


def _fill(plan: Plan, rng: random.Random, prospects: int, lasts: float, changes: int, spread: int) -> None:
    """Prospects of so many numbers that come within a time, and changes of the registers meanwhile."""
    numbers = [33_612_345_600 + n for n in range(spread)]
    for at in range(prospects):
        plan.prospects.append(
            Prospect(
                rng.uniform(0, lasts),
                rng.randrange(plan.partitions),
                b"k%d" % (at % 5),
                at,
                rng.choice(numbers),
                rng.choice(plan.inputs),
            )
        )
    if plan.needs_key:
        for at in rng.sample(range(prospects), 2):
            plan.prospects[at] = plan.prospects[at]._replace(key=None)
    plan.changes = [
        Change(0.0, name, frozenset(rng.sample(numbers, spread // 4 + 1))) for name in plan.registers
    ]
    for _ in range(changes):
        some = frozenset(rng.sample(numbers, rng.randint(1, spread // 2)))
        plan.changes.append(
            Change(
                rng.uniform(*((0.5, lasts + 1.0) if plan.times is LONG else (0.2, lasts + 0.3))),
                rng.choice(plan.registers),
                some,
            )
        )


# By turns, so that any seeds in a row hold all of them.
SHAPES = (
    _large, _tiny, _tiny, _small, _tiny, _with_retry, _tiny, _small,
    _tiny, _with_requests, _tiny, _small, _with_recall, _with_diallers, _tiny, _small,
    _tiny, _with_diallers, _with_retry, _tiny, _small, _tiny, _tiny, _with_requests,
)  # fmt: skip
