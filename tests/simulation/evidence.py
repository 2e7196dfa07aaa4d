"""What a history leaves on its topics, as those who read them see it: outputs, the opposition log, what was brought back.

Nothing here knows the product, only the topics' formats.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from pyroaring import BitMap64

from tests.simulation.lives import ALLOWED, BLOCKED, LOG, RECALLED, REFUSED, REQUESTS
from tests.simulation.records import Partition, Written

if TYPE_CHECKING:
    from tests.simulation.history import History


Spot = tuple[str, int, int]  # topic, partition, offset


def inputs(history: "History") -> Iterator[tuple[str, int, Partition]]:
    """The partitions of the topics that prospects come to, each with its topic's name and its number: those that are
    there, and those that were deleted."""
    topics, plan = history.broker.topics, history.plan
    there = [(name, topics[name]) for name in plan.inputs if name in topics]
    gone = [each for each in history.former if each[1].name in plan.inputs]
    for name, topic in [*there, *gone]:
        for number, partition in enumerate(topic.partitions):
            yield name, number, partition


class Out(NamedTuple):
    """One prospect as a dialler, or compliance, reads it."""

    topic: str
    partition: int
    offset: int
    record: Any
    id: int
    tries: int
    stamp: dict[str, Any]


def outputs(history: "History") -> list[Out]:
    """Everything that a history has committed, by topic, partition and offset. The history must have ended."""
    if (found := _READ.get(history)) is None:
        found = _READ[history] = list(_outputs(history))
    return found


_READ: WeakKeyDictionary["History", list[Out]] = WeakKeyDictionary()


def _outputs(history: "History") -> Iterator[Out]:
    for name in (ALLOWED, BLOCKED):
        for number, partition in enumerate(history.broker.topics[name].partitions):
            for offset, record in partition.committed():
                value = json.loads(record.value)
                stamp = value.get("scrub") or json.loads(dict(record.headers)["scrub"])
                yield Out(name, number, offset, record, value["id"], tries(record), stamp)


def recalled(history: "History") -> Counter[int]:
    """How often each number was recalled."""
    if RECALLED not in history.broker.topics:
        return Counter()
    committed = history.broker.partition((RECALLED, 0)).committed()
    return Counter(int(record.key[1:]) for _, record in committed if record.key[:1] == b"+")


def to_recall(history: "History") -> set[int]:
    """The numbers that were handed out and are opposed in the end."""
    handed_out = {int(out.stamp["number"][1:]) for out in _outputs(history) if out.topic == ALLOWED}
    return handed_out & in_the_end(history)


def to_call(history: "History") -> set[tuple[tuple[str, int], int]]:
    """The places of leads that a dialler may call: their numbers are not opposed in the end."""
    opposed = in_the_end(history)
    return {
        ((out.topic, out.partition), out.offset)
        for out in _outputs(history)
        if out.topic == ALLOWED and int(out.stamp["number"][1:]) not in opposed
    }


def forbidden(history: "History") -> dict[int, float]:
    """By number, when a request was accepted that forbids to call it. Not those of a topic that was deleted since."""
    accepted: dict[int, float] = {}
    if REQUESTS in history.broker.topics:
        for _, record in history.broker.partition((REQUESTS, 0)).committed():
            said = json.loads(record.value)
            if said["request"] in ("opt-out", "withdrawal") and said["number"] != "none":
                accepted.setdefault(int(said["number"][1:]), record.at)
    return accepted


def imported_opposition(history: "History") -> frozenset[int]:
    """The numbers that an import opposed before anything else happened, and nobody has taken out."""
    changes = [each for each in history.plan.changes if each.register == "internal"]
    return changes[0].numbers if len(changes) == 1 and changes[0].at == 0.0 else frozenset()


class Sealed(NamedTuple):
    """A delta on the log: when it became readable, which numbers are opposed from then on, and which of those before had
    reached their end."""

    position: int
    at: float
    opposed: frozenset[int]
    ended: frozenset[int]


def sealed(history: "History") -> tuple[list[Sealed], list[str]]:
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
        ended: set[int] = set()
        for side, value, _ in mine:
            if side in ("adds", "removes"):
                numbers = set(BitMap64.deserialize(value))
                held.update(numbers) if side == "adds" else held.difference_update(numbers)
                if side == "removes" and seal["reason"] == "ended" and name != "consent":
                    ended |= numbers
        opposing = [numbers for name, numbers in registers.items() if name != "consent"]
        found.append(Sealed(offset, record.ended_at, frozenset().union(*opposing), frozenset(ended)))
    if parts:
        wrong.append(f"parts without their seal at the log's end: {sorted(parts)}")
    return found, wrong


def topic_id(note: str) -> str:
    """The id of the topic of which an offset was committed, by what is noted with it."""
    return next((each.removeprefix("topic=") for each in note.split() if each.startswith("topic=")), "")


def tries(record: Written) -> int:
    """How often a prospect was brought back before."""
    return int(_brought(record).get("tries", 0))


def _brought(record: Written) -> dict[str, Any]:
    said = dict(record.headers or ()).get("scrub-retry")
    found: dict[str, Any] = json.loads(said) if said else {}
    return found


def brought_back(history: "History") -> Counter[Spot]:
    """The spots on the topic of blocked prospects from which something was brought back, and how often."""
    found: Counter[Spot] = Counter()
    for _, _, partition in inputs(history):
        for _, record in partition.committed():
            if record.headers:
                topic, number, offset = _brought(record)["from"].split("/")
                found[topic, int(number), int(offset)] += 1
    return found


def waiting(history: "History") -> dict[Spot, int]:
    """The prospects that are blocked for want of a register and were not brought back: id by spot. What was deleted
    waits for nothing."""
    back, broker = brought_back(history), history.broker
    return {
        spot: id_
        for spot, id_ in held_up(history).items()
        if spot not in back and spot[2] >= broker.partition(spot[:2]).low
    }


def held_up(history: "History") -> dict[Spot, int]:
    """All prospects that were blocked for want of a register: id by spot."""
    return {
        (BLOCKED, out.partition, out.offset): out.id
        for out in _outputs(history)
        if out.topic == BLOCKED and out.stamp["reason"] == "stale-register"
    }


def in_the_end(history: "History") -> frozenset[int]:
    """The numbers that are opposed when everything was published and has ended."""
    plan = history.plan
    last = {change.register: () if change.end else change.numbers for change in plan.changes}
    asked = [each for each in plan.requests or () if each.what in ("opt-out", "withdrawal")]
    if (lost := deleted_requests(history)) and asked:
        kept, _ = answered(history)
        asked = [each for each in asked if each.id not in lost or kept["internal", each.id]]
    return frozenset(each.number for each in asked).union(*last.values())


def deleted_requests(history: "History") -> set[int]:
    """The requests that may never be taken: they were deleted before they were consumed."""
    gone = set(history.deleted)
    return {
        json.loads(record.value)["id"]
        for label, topic in history.former
        if topic.name == REQUESTS
        for offset, record in topic.partitions[0].committed()
        if (label, 0, offset) in gone
    }


def new_requests(history: "History") -> set[int]:
    """The requests on a topic that was made anew. The first of them may be taken twice (DESIGN.md)."""
    first = next((topic.partitions[0] for _, topic in history.former if topic.name == REQUESTS), None)
    later = [each for each in history.broker.all_of((REQUESTS, 0)) if first not in (None, each)]
    return {json.loads(record.value)["id"] for each in later for _, record in each.committed()}


def answered(history: "History") -> tuple[Counter[tuple[str, int]], Counter[int]]:
    """How often each request's line stands on the log, by register and id; and how often each was refused, by id."""
    kept: Counter[tuple[str, int]] = Counter()
    for _, record in history.broker.partition((LOG, 0)).committed():
        if dict(record.headers)["part"] == b"requests":
            for line in record.value.splitlines():
                kept[record.key.decode(), json.loads(line)["request"]["id"]] += 1
    given_back = history.broker.partition((REFUSED, 0)).committed()
    return kept, Counter(json.loads(record.value)["id"] for _, record in given_back)
