"""Checks whether a history kept the promises. It knows these (DESIGN.md: Promises) and the topics' format, nothing of
the code.

A rule is a function of a history that yields what is broken, in words; `RULES` names them all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from pyroaring import BitMap64

from tests.simulation.adversary import KINDS
from tests.simulation.history import ALLOWED, BLOCKED, BOUND_S, GROUP, LAG_MAX_S, LOG, PROSPECTS, History
from tests.simulation.wire import Api

# A commit may arrive later than it was asked for: by the length of a fault, but at most by what a transaction may
# last (transaction.timeout.ms, and the coordinator's round).
SOON_S, LATE_S = 1.0, 17.0
STOPS = frozenset(KINDS) - {"it cannot read the log for four times as long"}
ENDS = frozenset({Api.ADD_OFFSETS, Api.OFFSETS, Api.END})  # sent after the last look at the index


class Out(NamedTuple):
    """One prospect as a dialler, or compliance, reads it."""

    topic: str
    partition: int
    offset: int
    record: Any
    id: int
    stamp: dict[str, Any]


def outputs(history: History) -> list[Out]:
    """Everything that a history has committed, by topic, partition and offset. The history must have ended."""
    if (found := _READ.get(history)) is None:
        found = _READ[history] = list(_outputs(history))
    return found


_READ: WeakKeyDictionary[History, list[Out]] = WeakKeyDictionary()


def _outputs(history: History) -> Iterator[Out]:
    for name in (ALLOWED, BLOCKED):
        for number, partition in enumerate(history.broker.topics[name].partitions):
            for offset, record in partition.committed():
                value = json.loads(record.value)
                stamp = value.get("scrub") or json.loads(dict(record.headers)["scrub"])
                yield Out(name, number, offset, record, value["id"], stamp)


class Sealed(NamedTuple):
    """A delta on the log: when it became readable, and which numbers are opposed from then on."""

    position: int
    at: float
    opposed: frozenset[int]


def sealed(history: History) -> tuple[list[Sealed], list[str]]:
    """Every position of the log, and what is wrong with it."""
    parts: dict[str, list[tuple[str, bytes, int]]] = {}
    registers: dict[str, set[int]] = {}
    sequences: Counter[str] = Counter()
    found, wrong = [], []
    for offset, record in history.broker.partition((LOG, 0)).committed():
        headers = dict(record.headers)
        name, part, seq = record.key.decode(), headers["part"].decode(), int(headers["seq"])
        if part != "seal":
            waiting = parts.setdefault(name, [])
            if headers["i"] == b"0":
                if waiting:
                    wrong.append(f"log offset {offset}: parts of {name} are without their seal")
                waiting.clear()
            waiting.append((part, record.value, seq))
            continue
        seal = json.loads(record.value)
        mine = parts.pop(name, [])
        if seq != sequences[name] + 1:
            wrong.append(f"log offset {offset}: {name} {seq} follows {sequences[name]}")
        if len(mine) != len(seal["parts"]) or any(of != seq for _, _, of in mine):
            wrong.append(f"log offset {offset}: a seal of {len(seal['parts'])} parts with {len(mine)}")
        sequences[name] = seq
        held = registers.setdefault(name, set())
        if seal["kind"] == "full":
            held.clear()
        for side, value, _ in mine:
            if side in ("adds", "removes"):
                numbers = set(BitMap64.deserialize(value))
                held.update(numbers) if side == "adds" else held.difference_update(numbers)
        found.append(Sealed(offset, record.ended_at, frozenset().union(*registers.values())))
    if parts:
        wrong.append(f"parts without their seal at the log's end: {sorted(parts)}")
    return found, wrong


def exactly_once(history: History) -> Iterator[str]:
    """Every prospect comes out once under read_committed."""
    came = Counter(out.id for out in outputs(history))
    for prospect in history.plan.prospects:
        if came[prospect.id] > 1:
            yield f"prospect {prospect.id} came out {came[prospect.id]} times"
        if not came[prospect.id] and history.done_at is not None:
            yield f"prospect {prospect.id} is lost"


def in_order(history: History) -> Iterator[str]:
    """Prospects of one key come out in the order in which they came."""
    order = {}
    for number, partition in enumerate(history.broker.topics[PROSPECTS].partitions):
        for offset, record in enumerate(partition.records):
            order[json.loads(record.value)["id"]] = (number, offset)
    before: dict[tuple[str, int, bytes], int] = {}
    for out in outputs(history):
        if (
            out.stamp["reason"] == "unreadable"
        ):  # the topic refused the record, so it came out with another key
            continue
        lane = (out.topic, out.partition, out.record.key)
        partition, offset = order[out.id]
        if partition != out.partition:
            yield f"prospect {out.id} of partition {partition} is in {out.partition}"
        if before.get(lane, -1) > offset:
            yield f"prospect {out.id} of partition {partition} comes behind a later one of its key"
        before[lane] = offset


def one_position(history: History) -> Iterator[str]:
    """All prospects of a transaction are judged by one index."""
    positions: dict[int, set[int]] = {}
    for out in outputs(history):
        positions.setdefault(out.record.txn.number, set()).add(out.stamp["index"])
    for found in positions.values():
        if len(found) > 1:
            yield f"one transaction was judged by the positions {sorted(found)}"


def never_back(history: History) -> Iterator[str]:
    """In a partition neither the position on stamps nor the committed offset ever goes back."""
    before: dict[int, int] = {}
    outs = sorted(outputs(history), key=lambda out: (out.record.ended_at, out.offset))
    for out in outs:
        if before.get(out.partition, -1) > out.stamp["index"]:
            yield f"partition {out.partition} was judged by {before[out.partition]}, and then by {out.stamp['index']}"
        before[out.partition] = out.stamp["index"]
    yield from (f"committed offsets went back: {went}" for went in history.broker.group(GROUP).went_back)


def never_opposed(history: History) -> Iterator[str]:
    """No prospect is allowed whose number was opposed (a) at the position on its stamp, or (b) at a later position
    that could be read for longer than an index may be old."""
    log, _ = sealed(history)
    by_position = {each.position: each.opposed for each in log}
    late_s = SOON_S + sum(
        fault.seconds
        for who, fault in history.adversary.fired
        if not who.startswith("publisher") and (fault.kind in STOPS or fault.api in ENDS)
    )
    old_s = LAG_MAX_S + min(late_s, LATE_S)
    for out in outputs(history):
        position = out.stamp["index"]
        if out.stamp["reason"] in {"unreadable", "stale-register"} and out.topic == BLOCKED:
            continue  # the second: its register was not on the log at that position yet
        number = int(out.stamp["number"][1:])
        if position not in by_position:
            yield f"prospect {out.id} was judged by position {position}, which is none"
            continue
        opposed = number in by_position[position]
        if opposed != (out.topic == BLOCKED):
            yield f"prospect {out.id} is in {out.topic}, and at position {position} opposed: {opposed}"
        ended_at = out.record.txn.ended_at
        must = [each.position for each in log if each.at < ended_at - old_s]
        if must and position < must[-1]:
            yield f"prospect {out.id} was judged by position {position}, long after {must[-1]} was the log's end"


def sound_log(history: History) -> Iterator[str]:
    """Every delta is on the log with its parts, once and in its place, and the registers end as the plan says."""
    log, wrong = sealed(history)
    yield from wrong
    if history.done_at is not None and log:
        last = {change.register: change.numbers for change in history.plan.changes}
        if log[-1].opposed != frozenset().union(*last.values()):
            yield "the registers are not what they were to become"


def live(history: History) -> Iterator[str]:
    """Every process is alive, and everything comes out within a bound once the faults are over."""
    yield from (f"a thread ended: {type(error).__name__}: {error}" for error in history.world.faults)
    if history.done_at is None and not history.world.faults:
        came = len({out.id for out in outputs(history)})
        of = len(history.plan.prospects)
        yield f"{came} of {of} prospects are out, and {sum(history.published.values())} changes published, {BOUND_S:.0f} s after the faults"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    exactly_once,
    in_order,
    one_position,
    never_back,
    never_opposed,
    sound_log,
    live,
)


def broken(history: History) -> list[str]:
    """What this history broke, each with its rule."""
    return [f"{rule.__name__}: {what}" for rule in RULES for what in rule(history)]
