"""Walks a record in Protobuf by the tables of its message, and gives the members that verdicts need as JSON. Pure.

`protobuf.py` makes the tables. The extension (`native/protobuf.pxi`) walks the same ones, as `protobuf_arrays.py` writes
them for it, and gives the same bytes; what few records have it leaves to this walk.
"""

import struct
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any, Final, NamedTuple

import msgspec

from stream_scrub.scrub.decode import Unreadable
from stream_scrub.scrub.schemas import NESTED_MAX, SPARE_MAX, Indexes, Plan, indexes, varint

VARINT, FIXED64, LENGTH, START, END, FIXED32 = range(6)
EVERY = range(1 << 29)  # all numbers of fields
_SIZES = {FIXED64: 8, FIXED32: 4}
_TAG_BYTES = 5
_LENGTH_BYTES = 5
_WORD: Final = 64

Read = Callable[[bytes, int], tuple[Any, int]]


class Act(IntEnum):
    """What is done with a field. The extension does the first ones."""

    PASSING = auto()  # skipped, and its oneof has others that are read
    SINGLE = auto()
    MESSAGE = auto()  # or group
    WRAPPED = auto()
    LIST = auto()
    PACKED = auto()  # several of a list
    MESSAGES = auto()
    WRAPS = auto()
    ENTRY = auto()  # of a map


class Enum(NamedTuple):
    """An enum. `closed`: readers differ in what they make of a value without a symbol."""

    symbols: Mapping[int, str]
    first: str
    closed: bool


@dataclass(slots=True)
class WalkState:
    """The state of a walk over one value."""

    nested: int = 0
    spare: int = 0  # of SPARE_MAX
    repeated: int = 0  # messages around that occurred before

    def enter(self, cost: int) -> None:
        """Go into a message that may have so much of its schema. Raises Unreadable."""
        self.nested += 1
        if self.nested > NESTED_MAX:
            raise Unreadable("nested too deeply")
        if cost:
            self.spend(cost)

    def spend(self, count: int) -> None:
        """Note what the value has of its schema. Raises Unreadable."""
        self.spare -= count
        if self.spare < 0:
            raise Unreadable("more of its schema than of its own")


@dataclass(eq=False, slots=True)
class MessageTable:
    """How a message is read. `steps`: by tag; None for a field that is skipped. `numbers`: those that have no other wire
    type. `defaults`: what is read of absent fields, by name. `cost`: characters of the schema that may come into the JSON."""

    steps: "dict[int, FieldStep | None]" = field(default_factory=dict)
    numbers: Container[int] = ()
    defaults: "list[tuple[str, Any]]" = field(default_factory=list)
    cost: int = 0


class FieldStep(NamedTuple):
    """How a field is read. `kind`: of a single value, or of each in a list: the type's name in descriptors, or an enum.
    `read`: one value. `kept`: also a value that is the type's default. `among`: all members of its oneof. `inner`: how a
    message is read. `number`: that of a group, else 0. `zero`: what a wrapper, or the entry of a map, has without a value."""

    act: Act
    name: str = ""
    kind: "str | Enum" = ""
    read: Read | None = None
    kept: bool = True
    among: Sequence[str] = ()
    inner: MessageTable | None = None
    number: int = 0
    zero: Any = None


def _walk(
    table: MessageTable,
    data: bytes,
    at: int,
    end: int,
    members: dict[str, Any],
    walk: WalkState,
    closing: int = -1,
) -> int:
    """Read a message into `members`, which may have some of it, up to its end or, of a group, that tag; the end. Raises
    Unreadable, IndexError."""
    walk.enter(table.cost)
    steps, numbers, acts = table.steps, table.numbers, _ACTS
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _tag(data, at - 1)
        step = steps.get(tag)
        if step is not None:
            at = acts[step.act](step, data, at, members, walk)
        elif tag == closing:  # it is none of the steps, and no other field has it
            closing, end = -1, at
        elif tag in steps or tag >> 3 not in numbers:
            at = _skip(data, at, tag, end)
        else:
            raise Unreadable("a field in another wire type")
    if at != end or closing >= 0:
        raise Unreadable("a field beyond its message, or a group without an end")
    for name, default in table.defaults:
        if name not in members:
            members[name] = default
    walk.nested -= 1
    return at


def _tag(data: bytes, at: int) -> tuple[int, int]:
    tag, end = varint(data, at)
    if tag >> 32 or end - at > _TAG_BYTES:
        raise Unreadable("a tag of too many bits")
    return tag, end


def _length(data: bytes, at: int) -> tuple[int, int]:
    size, end = varint(data, at)
    if size >> 31 or end - at > _LENGTH_BYTES:
        raise Unreadable("a length of too many bits")
    return size, end


def _skip(data: bytes, at: int, tag: int, end: int) -> int:
    """The end of a field whose tag is read."""
    wire = tag & 7 if tag >> 3 else END
    if wire == LENGTH:
        size = data[at]
        at += 1
        if size > 0x7F:
            size, at = _length(data, at - 1)
        return at + size
    if wire == VARINT:
        return _word(data, at)[1]
    if wire in _SIZES:
        return at + _SIZES[wire]
    if wire == START:
        return _group(data, at, tag >> 3, end)
    raise Unreadable("a tag that there is not")


def _group(data: bytes, at: int, number: int, end: int) -> int:
    """The end of a group that is skipped."""
    open_groups = [number]
    while at < end:
        tag, at = _tag(data, at)
        if tag & 7 == END:
            if tag >> 3 != open_groups.pop():
                raise Unreadable("the end of another group")
            if not open_groups:
                return at
        elif tag & 7 == START and tag >> 3:
            open_groups.append(tag >> 3)
            if len(open_groups) > NESTED_MAX:
                raise Unreadable("nested too deeply")
        else:
            at = _skip(data, at, tag, end)
    raise Unreadable("a group without an end")


def _alone(step: FieldStep, members: dict[str, Any], walk: WalkState) -> None:
    """Refuse a second member of a oneof. Most readers forget the first one, but readers in JavaScript may have both: one
    would be dialled that nobody judged."""
    if step.among:
        walk.spend(len(step.among))
        if any(name in members for name in step.among if name != step.name):
            raise Unreadable("two members of a oneof")


def _keep(step: FieldStep, members: dict[str, Any], walk: WalkState, value: Any) -> None:
    _alone(step, members, walk)
    if value or step.kept:
        members[step.name] = value
        return
    # Java before 3.19.6 and C# keep what the message had at its first occurrence; other readers take the default.
    if walk.repeated and members.get(step.name):
        raise Unreadable("a message occurs twice, with a value and then its default")
    members.pop(step.name, None)


def _single(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    assert step.read is not None
    value, at = step.read(data, at)
    _keep(step, members, walk, value)
    return at


def _passing(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    """Skip a field whose oneof has others that are read."""
    _alone(step, members, walk)
    return _skip(data, at, step.number, len(data))


def _one_more(step: FieldStep, data: bytes, at: int, members: dict[str, Any], _: WalkState) -> int:
    assert step.read is not None
    value, at = step.read(data, at)
    members.setdefault(step.name, []).append(value)
    return at


def _packed(step: FieldStep, data: bytes, at: int, members: dict[str, Any], _: WalkState) -> int:
    assert step.read is not None
    size, at = _length(data, at)
    end = at + size
    values = members.setdefault(step.name, []) if size else []
    while at < end:
        value, at = step.read(data, at)
        values.append(value)
    if at != end:
        raise Unreadable("a value beyond its list")
    return at


def _inner(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    """Read a message, or group, into `members`."""
    assert step.inner is not None
    if step.number:
        return _walk(step.inner, data, at, len(data), members, walk, step.number << 3 | END)
    size, at = _length(data, at)
    return _walk(step.inner, data, at, at + size, members, walk)


def _message(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    _alone(step, members, walk)
    assert step.inner is not None
    # Readers in JavaScript take the second one alone: they would find a default that nobody judged.
    if step.inner.defaults and step.name in members:
        raise Unreadable("a message with defaults occurs twice")
    is_repeated = step.name in members
    walk.repeated += is_repeated
    at = _inner(step, data, at, members.setdefault(step.name, {}), walk)
    walk.repeated -= is_repeated
    return at


def _messages(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    walk.spend(1)
    found: dict[str, Any] = {}
    members.setdefault(step.name, []).append(found)
    return _inner(step, data, at, found, walk)


def _wrapped(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    found: dict[str, Any] = {}
    at = _inner(step, data, at, found, walk)
    before = members.get(step.name)
    if before and not found.get("value", before):
        raise Unreadable("a wrapper occurs twice, with a value and then its default")
    _keep(step, members, walk, found.get("value", step.zero if before is None else before))
    return at


def _wraps(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    found: dict[str, Any] = {}
    at = _inner(step, data, at, found, walk)
    members.setdefault(step.name, []).append(found.get("value", step.zero))
    return at


def _entry(step: FieldStep, data: bytes, at: int, members: dict[str, Any], walk: WalkState) -> int:
    """Read an entry of a map: the last one of a key counts."""
    found: dict[str, Any] = {}
    at = _inner(step, data, at, found, walk)
    zero, empty = step.zero
    key, value = found.get("key", zero), found.get("value", empty)
    if value is None:  # no writer leaves a message out, and readers find its defaults, or nothing
        raise Unreadable("an entry without its message")
    members.setdefault(step.name, {})[key if isinstance(key, str) else str(key).lower()] = value
    return at


def _word(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 0x80:
        return data[at], at + 1
    raw, end = varint(data, at)
    if raw >> _WORD:  # readers differ in which bits they drop
        raise Unreadable("an integer of too many bits")
    return raw, end


def _signed(raw: int) -> int:
    return raw - (1 << _WORD) if raw >> _WORD - 1 else raw


def _zigzag(raw: int) -> int:
    return (raw >> 1) ^ -(raw & 1)


def _plain(raw: int) -> int:
    return raw


def _integer(low: int, high: int, made: Callable[[int], int]) -> Read:
    def read(data: bytes, at: int) -> tuple[int, int]:
        raw, at = _word(data, at)
        value = made(raw)
        if not low <= value < high:
            raise Unreadable("an integer of too many bits")
        return value, at

    return read


def _bool(data: bytes, at: int) -> tuple[bool, int]:
    raw, end = _word(data, at)
    if raw > 1:
        raise Unreadable("neither true nor false")
    return raw == 1, end


def _fixed(form: struct.Struct) -> Read:
    size = form.size

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (number,) = form.unpack_from(data, at)
        if number - number != 0:  # JSON has neither infinities nor NaN
            raise Unreadable("not a number")
        return number, at + size

    return read


def _string(data: bytes, at: int) -> tuple[str, int]:
    size = data[at]
    at += 1
    if size > 0x7F:
        size, at = _length(data, at - 1)
    end = at + size
    return data[at:end].decode(), end


def _bytes(data: bytes, at: int) -> tuple[str, int]:
    size, at = _length(data, at)
    return data[at : at + size].decode("ascii"), at + size


_int32 = _integer(-1 << 31, 1 << 31, _signed)
_READS: Mapping[str, Read] = {
    "int32": _int32,
    "int64": _integer(-1 << 63, 1 << 63, _signed),
    "uint32": _integer(0, 1 << 32, _plain),
    "uint64": _word,
    "sint32": _integer(-1 << 31, 1 << 31, _zigzag),
    "sint64": _integer(-1 << 63, 1 << 63, _zigzag),
    "bool": _bool,
    "fixed32": _fixed(struct.Struct("<I")),
    "fixed64": _fixed(struct.Struct("<Q")),
    "sfixed32": _fixed(struct.Struct("<i")),
    "sfixed64": _fixed(struct.Struct("<q")),
    "float": _fixed(struct.Struct("<f")),
    "double": _fixed(struct.Struct("<d")),
    "string": _string,
    "bytes": _bytes,  # a text in ASCII, as in Avro
}


def reader(kind: str | Enum, walk: WalkState) -> Read:
    """How a value of that type is read, in that walk."""
    if isinstance(kind, str):
        return _READS[kind]
    symbols, closed = kind.symbols, kind.closed

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, at = _int32(data, at)
        symbol = symbols.get(value)
        if symbol is None:
            if closed:  # some readers keep the number, and others what was there before
                raise Unreadable("a symbol that there is not")
            return value, at
        walk.spend(len(symbol))
        return symbol, at

    return read


class SchemaTables(NamedTuple):
    """How the messages of a schema are read. `walk`: the state that they share: one thread only."""

    tables: Mapping[Indexes, MessageTable]
    walk: WalkState

    def find(self, value: bytes, at: int) -> tuple[MessageTable | None, int]:
        """The table for the message whose indexes are there, and their end; None if there is none. Never raises."""
        try:
            which, at = indexes(value, at)
        except (IndexError, Unreadable):
            return None, at
        return self.tables.get(which), at


def walker(of: SchemaTables) -> Plan:
    """The plan that walks in Python."""
    encode, walk = msgspec.json.encode, of.walk

    def plan(value: bytes, begin: int) -> bytes | None:
        table, begin = of.find(value, begin)
        if table is None:
            return None
        walk.nested, walk.spare, walk.repeated, found = 0, SPARE_MAX, 0, dict[str, Any]()
        try:
            _walk(table, value, begin, len(value), found, walk)
        except (IndexError, UnicodeDecodeError, Unreadable, struct.error):
            return None
        return encode(found)

    return plan


_ACTS: Mapping[Act, Callable[[FieldStep, bytes, int, dict[str, Any], WalkState], int]] = {
    Act.PASSING: _passing,
    Act.SINGLE: _single,
    Act.MESSAGE: _message,
    Act.WRAPPED: _wrapped,
    Act.LIST: _one_more,
    Act.PACKED: _packed,
    Act.MESSAGES: _messages,
    Act.WRAPS: _wraps,
    Act.ENTRY: _entry,
}
