"""Prospects that a schema describes, in Avro or Protobuf: the schema's id, the kept members, and the limits. Pure.

A plan, compiled once for each type of record, reads what verdicts need as the JSON that `decode` judges.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scrub.model import Fault, Header
from stream_scrub.scrub.decode import Members, Unreadable

ID_HEADER: Final = "__value_schema_id"
# Records, arrays, maps and messages within each other, in a schema or in a value of a recursive one.
NESTED_MAX = 64
TYPES_MAX = 10_000  # in one schema, with all that it refers to
# What a value may make of its schema: steps, items, and characters of names and symbols in the JSON. Ten records that each
# have ten fields of the next one make 10^10 fields of no byte, and a name of a megabyte may come once for each byte of an
# array.
SPARE_MAX = 131_072

SchemaId = bytes  # 4 bytes: the number of a schema, or 16: its GUID
# A message of a schema in Protobuf: its place among the messages of the one around it, after the places of that one.
Indexes = tuple[int, ...]
# From a value, and the place behind the id of its schema, to a JSON object with the members that verdicts need; None for
# an unreadable one. It keeps a state while it runs: one thread only.
Plan = Callable[[bytes, int], bytes | None]
# By the first name of a path, as names are compared: the rest, None for the whole member.
Wanted = Mapping[str, Any]

_ID_BYTES = {0: 4, 1: 16}  # by the byte before it
_FIRST = (0,)


@dataclass(frozen=True, slots=True)
class UnusablePlan:
    """The plan for records without a usable schema."""

    fault: Fault

    def __call__(self, _value: bytes, _start: int) -> None:
        """No record is readable."""


def framed(
    value: bytes, headers: Iterable[Header] | None, *, indexed: bool
) -> tuple[SchemaId, bytes, int] | None:
    """Return `(schema_id, buffer, offset)`; None without an id, or with two. The header takes precedence over the prefix, as
    for Confluent's readers. `indexed`: the indexes of a message follow the id, as in Protobuf."""
    schema_ids = {written or b"" for name, written in headers if name == ID_HEADER} if headers else ()
    frame = next(iter(schema_ids), value)
    size = _ID_BYTES.get(frame[0]) if frame else None
    if size is None or len(frame) <= size or len(schema_ids) > 1:
        return None
    begin = size + 1
    if not schema_ids:
        return frame[1:begin], value, begin
    try:
        end = indexes(frame, begin)[1] if indexed else begin
    except (IndexError, Unreadable):
        return None
    return (frame[1:begin], frame[begin:] + value, 0) if end == len(frame) else None


def indexes(data: bytes, at: int) -> tuple[Indexes, int]:
    """The indexes of a message in a schema in Protobuf, and their end. Raises Unreadable, IndexError."""
    count, at = _index(data, at)
    if not count:
        return _FIRST, at
    places = []
    for _ in range(count):
        place, at = _index(data, at)
        places.append(place)
    return tuple(places), at


def _index(data: bytes, at: int) -> tuple[int, int]:
    raw, at = varint(data, at)
    if raw & 1:  # a negative one: old clients write no zigzag, and their indexes could be taken for others
        raise Unreadable("a negative index")
    return raw >> 1, at


def tree(members: Members, compared: Callable[[str], str]) -> Wanted:
    """What is kept of a record: the paths of the numbers, the region and the facts."""
    top: dict[str, Any] = {}
    for path in sorted(members.all, key=len, reverse=True):
        node = top
        for name in path[:-1]:
            node = node.setdefault(compared(name), {})
        node[compared(path[-1])] = None  # a whole member, also if another path leads into it
    return top


def called(
    name: str, aliases: Iterable[str], names: Collection[str], wanted: Wanted, compared: Callable[[str], str]
) -> str | None:
    """The wanted name of a field: its own, else an alias that is not another field's own name; None for neither.
    `names`: the fields' own, as they are compared."""
    if compared(name) in wanted:
        return name
    others = (alias for alias in aliases if compared(alias) in wanted and compared(alias) not in names)
    return next(others, None)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer in groups of seven bits, and its end. Raises Unreadable, IndexError."""
    byte = data[at]
    at += 1
    raw, shift = byte & 0x7F, 7
    while byte > 0x7F:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Unreadable("an integer of too many bytes")
    return raw, at
