"""Is what a contender gave right? The generator knows every prospect's number and whether the register holds it; this
compares, record by record, and shares no code with the product. A figure counts only if nothing was wrong.
"""

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.harness.data import HEADS, REGISTER, Prospects, key, partition

# What a contender's records look like. bare: unchanged. value, header: the product's stamp, spliced in or beside. events:
# as value, with the headers of CloudEvents. peer: a JSON value that is equal to the original but for a member `scrub`,
# which may say more than verdict, reason and number.
Kind = Literal["bare", "value", "header", "events", "peer"]
_EVENT = ["ce_specversion", "ce_source", "ce_type", "ce_id", "ce_time", "content-type"]
ALLOWED, BLOCKED = "allowed", "blocked"
_ID = re.compile(rb'\{"id":(\d+),')
_RULES = re.compile(r"fr@[0-9a-f]{6,}")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_LONG_DIGITS = re.compile(r"\d(?: ?\d){8,}")  # made-up numbers, but somebody may have one of them
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
        self.first.setdefault(what, _LONG_DIGITS.sub("#", repr(out))[:600])

    def __str__(self) -> str:
        if self.right:
            return f"right: {self.records:,} records, {self.allowed:,} allowed, {self.blocked:,} blocked"
        return "WRONG: " + "; ".join(
            f"{what} x {n}: {self.first.get(what, '')}" for what, n in self.wrong.items()
        )


def check(outs: Iterable[Out], prospects: Prospects, kind: Kind, position: int) -> Found:
    """Every prospect once, in the topic of its verdict, in its partition's order, with its key, timestamp, headers and
    bytes (of `kind` "peer": members); the stamp with the right verdict, reason and number, and of the product's kinds
    ("value", "header", "events") with the right register at `position`.
    """
    found = Found()
    seen = bytearray(len(prospects))
    last: dict[tuple[str, int], int] = {}
    values, numbers, denied = prospects.values, prospects.numbers.tolist(), prospects.denied.tolist()
    began = prospects.timestamp(0) if values else 0
    stamps = _Stamps(kind, position)
    for out in outs:
        found.records += 1
        at = _id_of(out.value, kind)
        if not 0 <= at < len(values):
            found.note("from nowhere", out)
            continue
        if seen[at]:
            found.note("twice", out)
        seen[at] = 1
        if out.partition != partition(at) or out.key != key(at) or out.timestamp != began + at:
            found.note("partition, key or timestamp not kept", out)
        place = (out.role, out.partition)
        if at <= last.get(place, -1):
            found.note("order not kept", out)
        last[place] = at
        if kind == "bare":
            if out.value != values[at] or out.headers:
                found.note("bytes or headers not kept", out)
            continue
        stamp = _stamp(out, values[at], kind)
        if stamp is None:
            found.note("no stamp, or bytes or headers not kept", out)
        elif not stamps.is_right(stamp, out.role, numbers[at], denied[at]):
            found.note("wrong verdict or stamp", out)
        if out.role == ALLOWED:
            found.allowed += 1
        else:
            found.blocked += 1
    if lost := seen.count(0):
        found.wrong["lost"] += lost
    return found


def _id_of(value: bytes | None, kind: Kind) -> int:
    """-1 when there is none."""
    value = value or b""
    if match := _ID.match(value):
        return int(match[1])
    if head := next((each for each in HEADS.values() if value.startswith(each)), None):
        found = shift = 0  # zigzag in groups of seven bits
        for byte in value[len(head) :]:
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found >> 1
    members = _parsed(value) if kind == "peer" else None
    found = members.get("id") if isinstance(members, dict) else None
    return found if isinstance(found, int) else -1


def _stamp(out: Out, original: bytes, kind: Kind) -> bytes | None:
    """The stamp's text, if everything else is as it came in."""
    value, headers = out.value or b"", out.headers
    if kind == "header":
        if value != original or not headers or len(headers) != 1 or headers[0][0] != "scrub":
            return None
        return headers[0][1]
    if [name for name, _ in headers or ()] != (_EVENT if kind == "events" else []):
        return None
    head = original[:-1] + b',"scrub":'
    if value.startswith(head) and value.endswith(b"}"):
        return value[len(head) : -1]  # no JSON by itself if another member follows
    return _member(value, original) if kind == "peer" else None


def _member(value: bytes, original: bytes) -> bytes | None:
    """The stamp of a value that was written anew: every other member equal, and no other there."""
    members = _parsed(value)
    if not isinstance(members, dict) or "scrub" not in members:
        return None
    stamp = members.pop("scrub")
    return json.dumps(stamp).encode() if members == json.loads(original) else None


def _parsed(text: bytes) -> Any:
    """None for what is no JSON; nor is an object with one name twice: its readers would not agree on it."""
    try:
        return json.loads(text, object_pairs_hook=_members)
    except ValueError:
        return None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name twice")
    return members


class _Stamps:
    """Judges stamps. Most differ in nothing but the number, and are judged once for all with a mark in its place."""

    def __init__(self, kind: Kind, position: int) -> None:
        self._kind = kind
        self._position = position
        self._mark = uuid.uuid4().hex  # in no stamp by itself
        self._marked = f'"{self._mark}"'.encode()
        self._right: set[tuple[bytes, str, bool]] = set()

    def is_right(self, text: bytes, role: str, number: int, denied: bool) -> bool:
        """Whether it is the stamp of this prospect in this topic."""
        form = (text.replace(b'"+%d"' % number, self._marked), role, denied)
        if form in self._right:
            return True
        if self._check(_parsed(form[0]), role, self._mark, denied):
            self._right.add(form)
            return True
        return self._check(_parsed(text), role, f"+{number}", denied)  # spelled otherwise, or wrong

    def _check(self, stamp: Any, role: str, number: str, denied: bool) -> bool:
        if not isinstance(stamp, dict):
            return False
        wanted: dict[str, Any] = {
            "verdict": BLOCKED if denied else ALLOWED,
            "reason": "opposed" if denied else "clear",
            "number": number,
        }
        ours = self._kind != "peer"
        if ours:
            wanted |= {"index": self._position, **({"registers": [REGISTER]} if denied else {})}
        right = role == wanted["verdict"] and {name: stamp.get(name) for name in wanted} == wanted
        return right and (not ours or _is_whole(stamp, wanted))


def _is_whole(stamp: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """The product's own stamp names its rules and moment as well, and has nothing else."""
    rest = {name: member for name, member in stamp.items() if name not in wanted}
    return (
        rest.keys() <= {"rules", "at", "until"}
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
