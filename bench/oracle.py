"""Is what a contender gave right? The generator knows every prospect's number and whether the register holds it; this
compares, record by record, and shares no code with the product. A figure counts only if nothing was wrong.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.data import REGISTER, Prospects, key, partition

Kind = Literal["bare", "value", "header"]
ALLOWED, BLOCKED = "allowed", "blocked"
_ID = re.compile(rb'\{"id":(\d+),')
_RULES = re.compile(r"fr@[0-9a-f]{6,}")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_READ_S = 60.0


class Out(NamedTuple):
    """One record as a dialler would read it. `role` says which topic; the bare loop has one, the allowed one."""

    role: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes]] | None


@dataclass
class Found:
    """How much there was, and what was wrong with it: nothing, if every promise held."""

    records: int = 0
    allowed: int = 0
    blocked: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        return not self.wrong

    def note(self, what: str, out: Out) -> None:
        self.wrong[what] += 1
        self.first.setdefault(what, repr(out)[:600])

    def __str__(self) -> str:
        if self.right:
            return f"right: {self.records:,} records, {self.allowed:,} allowed, {self.blocked:,} blocked"
        return "WRONG: " + "; ".join(
            f"{what} x {n}: {self.first.get(what, '')}" for what, n in self.wrong.items()
        )


def check(outs: Iterable[Out], prospects: Prospects, kind: Kind, position: int) -> Found:
    """Every prospect once, in the topic of its verdict, in its partition's order, with its key, timestamp, headers and
    bytes; the stamp (of `kind` "value" or "header") with the right verdict, number and register, at `position`.
    """
    found = Found()
    seen = np.zeros(len(prospects), np.bool_)
    last: dict[tuple[str, int], int] = {}
    numbers, denied = prospects.numbers.tolist(), prospects.denied.tolist()
    for out in outs:
        found.records += 1
        match = _ID.match(out.value or b"")
        at = int(match[1]) if match else -1
        if not 0 <= at < len(prospects):
            found.note("from nowhere", out)
            continue
        if seen[at]:
            found.note("twice", out)
        seen[at] = True
        if (out.partition, out.key, out.timestamp) != (partition(at), key(at), prospects.timestamp(at)):
            found.note("partition, key or timestamp not kept", out)
        place = (out.role, out.partition)
        if at <= last.get(place, -1):
            found.note("order not kept", out)
        last[place] = at
        if kind == "bare":
            if out.value != prospects.values[at] or out.headers:
                found.note("bytes or headers not kept", out)
            continue
        stamp = _stamp(out, prospects.values[at], kind)
        if stamp is None:
            found.note("no stamp, or bytes or headers not kept", out)
        elif not _is_right(stamp, out.role, numbers[at], denied[at], position):
            found.note("wrong verdict or stamp", out)
        if out.role == ALLOWED:
            found.allowed += 1
        else:
            found.blocked += 1
    if lost := int(len(prospects) - seen.sum()):
        found.wrong["lost"] += lost
    return found


def _stamp(out: Out, original: bytes, kind: Kind) -> Any:
    """The stamp, if everything else is as it came in."""
    value = out.value or b""
    if kind == "header":
        kept = (
            value == original and out.headers is not None and [name for name, _ in out.headers] == ["scrub"]
        )
        return _parsed(out.headers[0][1]) if kept and out.headers else None
    head = original[:-1] + b',"scrub":'
    if out.headers or not value.startswith(head) or not value.endswith(b"}"):
        return None
    return _parsed(value[len(head) : -1])


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_right(stamp: Any, role: str, number: int, denied: bool, position: int) -> bool:
    if not isinstance(stamp, dict):
        return False
    wanted = {
        "verdict": BLOCKED if denied else ALLOWED,
        "reason": "opposed" if denied else "clear",
        "number": f"+{number}",
        "index": position,
        **({"registers": [REGISTER]} if denied else {}),
    }
    rest = {name: member for name, member in stamp.items() if name not in wanted}
    return (
        role == wanted["verdict"]
        and {name: stamp.get(name) for name in wanted} == wanted
        and rest.keys() <= {"rules", "at", "until"}
        and _RULES.fullmatch(str(rest.get("rules"))) is not None
        and _AT.fullmatch(str(rest.get("at"))) is not None
    )


def read(bootstrap: str, topics: dict[str, str]) -> Iterator[Out]:
    """Every committed record of the topics, by role, from beginning to end. Raises TimeoutError when that stalls."""
    for role, topic in topics.items():
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-oracle",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 10,
                "log_level": 0,
            }
        )
        try:
            live = set(consumer.list_topics(topic, timeout=_READ_S).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, each, 0) for each in sorted(live)])
            heard = time.monotonic()
            while live:
                messages = consumer.consume(10_000, 0.1)  # it waits for all of it, or for the whole time
                if messages:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _READ_S:
                    raise TimeoutError(f"{topic}: its end did not come in {_READ_S:.0f} s")
                for message in messages:
                    if (error := message.error()) is None:
                        yield Out(
                            role,
                            message.partition(),
                            message.key(),
                            message.value(),
                            message.timestamp()[1],
                            message.headers(),
                        )
                    elif error.code() == KafkaError._PARTITION_EOF:
                        live.discard(message.partition())
                    else:
                        raise RuntimeError(f"reading {topic}: {error}")
        finally:
            consumer.close()
