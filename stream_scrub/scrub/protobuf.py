"""Compiles each message of a schema in Protobuf to rows. They write the members that verdicts need as the JSON that `decode`
judges. Pure.

The extension walks records by these rows (`native/protobuf.pxi`): it keeps the configured members alone and skips the others
by their lengths. The last of several values counts, messages that occur twice are merged, and a default counts as the value,
as for every generated reader. What readers take differently, such as two members of a oneof, is unreadable.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_scrub.scrub.decode import Members, Unreadable, folder
from stream_scrub.scrub.schemas import TYPES_MAX, Indexes, Wanted, called, tree

_NESTED_MAX = 16  # messages in each other, of those that are kept
_FIELDS_MAX = TYPES_MAX  # of one message, with those of its kept messages
_VARINT, _FIXED64, _LENGTH, _START, _FIXED32 = 0, 1, 2, 3, 5


class Enum(NamedTuple):
    """An enum. `closed`: readers differ on values without a symbol."""

    symbols: Mapping[int, str]
    first: str
    closed: bool


@dataclass(eq=False, slots=True)
class Message:
    """A type of message. `wrapper`: it stands for its only field, as google.protobuf.StringValue does. `inner`: the messages
    that are declared in it, in the order of their indexes."""

    fields: "list[Field]" = field(default_factory=list)
    wrapper: bool = False
    inner: "list[Message]" = field(default_factory=list)


class Field(NamedTuple):
    """A field of a message. `kind`: the type's name in descriptors, in small letters. `has_presence`: readers can tell
    whether it was set. `default`: the value if it was not set; None if none is declared. `among`: the names of all
    fields of its oneof, one list for these."""

    name: str
    json_name: str
    number: int
    kind: str
    is_repeated: bool = False
    is_map: bool = False
    has_presence: bool = True
    default: Any = None
    among: Collection[str] = ()
    type: Message | Enum | None = None


class Act(IntEnum):
    """What the extension does with a field."""

    SKIPPED = 0
    PASSING = auto()  # skipped, and its oneof has others that are kept
    SINGLE = auto()
    MESSAGE = auto()  # or group
    WRAPPED = auto()
    LIST = auto()


class ValueKind(IntEnum):
    """How the extension reads a value."""

    STRING = auto()
    SIGNED = auto()
    UNSIGNED = auto()
    ZIGZAG = auto()
    BOOL = auto()
    OPEN = auto()  # enum
    CLOSED = auto()
    BYTES = auto()
    REAL = auto()


# With the bits that a value may have.
_KINDS = {
    "string": (ValueKind.STRING, 0),
    "bytes": (ValueKind.BYTES, 0),
    "bool": (ValueKind.BOOL, 0),
    "int64": (ValueKind.SIGNED, 64),
    "sfixed64": (ValueKind.SIGNED, 64),
    "int32": (ValueKind.SIGNED, 32),
    "sfixed32": (ValueKind.SIGNED, 32),
    "uint64": (ValueKind.UNSIGNED, 64),
    "fixed64": (ValueKind.UNSIGNED, 64),
    "uint32": (ValueKind.UNSIGNED, 32),
    "fixed32": (ValueKind.UNSIGNED, 32),
    "sint64": (ValueKind.ZIGZAG, 64),
    "sint32": (ValueKind.ZIGZAG, 32),
    "double": (ValueKind.REAL, 64),
    "float": (ValueKind.REAL, 32),
}
# The others are _VARINT.
_WIRES = {
    **dict.fromkeys(("fixed64", "sfixed64", "double"), _FIXED64),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), _FIXED32),
    **dict.fromkeys(("string", "bytes", "message"), _LENGTH),
    "group": _START,
}
_ZEROS: Mapping[str, Any] = {"string": "", "bytes": "", "bool": False}


class FieldRow(NamedTuple):
    """A field. `listed`: it may be packed. `oneof`: 0 without one. `kept`: also a value that is the type's default. `a`, `b`:
    bits; symbols from and to; or the table of a message, and the text that a wrapper has without a value."""

    number: int
    wire: int
    act: int = Act.SKIPPED
    listed: bool = False
    slot: int = 0
    oneof: int = 0
    cost: int = 0
    kept: bool = True
    kind: int = 0
    a: int = 0
    b: int = 0


class Arrays(NamedTuple):
    """A message for the extension: rows of integers of 32 bits, and the texts that these name. `oneofs`: one more than there
    are. Nested messages are written out in each place: so every member has a slot of its own."""

    fields: bytes  # each a `FieldRow`
    tables: bytes  # its fields and its slots, each from and to; its cost; whether it has defaults
    slots: bytes  # its name; its default, or 0; the table of a message, or 0
    symbols: bytes  # its number, ascending in each enum, and its text
    texts: list[bytes]
    oneofs: int


def message_at(messages: Sequence[Message], indexes: Indexes) -> Message | None:
    """The message of these indexes; None if the schema has none."""
    inside, message = messages, None
    for index in indexes:
        if index >= len(inside):
            return None
        message = inside[index]
        inside = message.inner
    return message


def arrays_of(message: Message, members: Members) -> Arrays:
    """How the records of a message are read. Raises Unreadable, which names the member that cannot be read."""
    compared = folder(members.case)
    return _Writer(compared).arrays(message, tree(members, compared))


class _OpenMessage(NamedTuple):
    """A message to be written. `wanted`: the members to keep; None: all. `path`: its dotted path. `slot`: that of a wrapper,
    for its value. `around`: the enclosing messages, each with its kept members."""

    message: Message
    wanted: Wanted | None
    path: str = ""
    slot: int | None = None
    around: "tuple[tuple[int, int], ...]" = ()


class _Writer:
    def __init__(self, compared: Callable[[str], str]) -> None:
        self._compared = compared
        self._open: list[_OpenMessage] = []
        self._texts = [b"false", b"true"]
        self._slots = [(0, 0, 0)]  # the record's own
        self._fields: list[FieldRow] = []
        self._tables: list[Sequence[int]] = []
        self._symbols: list[tuple[int, int]] = []
        self._enums: dict[int, tuple[int, int]] = {}
        self._oneofs = 1

    def arrays(self, root: Message, wanted: Wanted) -> Arrays:
        self._open.append(_OpenMessage(root, wanted))
        for open_message in self._open:  # it grows meanwhile
            self._add(open_message)
        rows = self._fields, self._tables, self._slots, self._symbols
        fields, tables, slots, symbols = (np.array(row, np.int32).tobytes() for row in rows)
        return Arrays(fields, tables, slots, symbols, self._texts, self._oneofs)

    def _text(self, value: object, end: bytes = b"") -> int:
        self._texts.append(msgspec.json.encode(value) + end)
        return len(self._texts) - 1

    def _names(self, message: Message, wanted: Wanted | None) -> dict[str, str | None]:
        """The name under which each field is kept; None for one that is skipped."""
        if wanted is None:
            return {each.name: each.name for each in message.fields}
        own = {self._compared(each.name) for each in message.fields}
        names = {
            each.name: called(each.name, (each.json_name,), own, wanted, self._compared)
            for each in message.fields
        }
        kept_names = [name for name in names.values() if name is not None]
        if len({*kept_names}) < len(kept_names):
            raise Unreadable("two fields are called the same")
        return names

    def _add(self, open_message: _OpenMessage) -> None:
        """Write the rows of a message, and its slots."""
        message, wanted = open_message.message, open_message.wanted
        if len(self._fields) + len(message.fields) > _FIELDS_MAX:
            raise Unreadable(f"{open_message.path or 'a message'} has more than {_FIELDS_MAX} fields")
        names = self._names(message, wanted)
        oneofs = self._kept_oneofs(message, names)
        first_slot, cost, has_defaults = len(self._slots), 0, False
        rows: list[FieldRow] = []
        for each in message.fields:
            name, wire = names[each.name], _WIRES.get(each.kind, _VARINT)
            listed = each.is_repeated and wire not in {_LENGTH, _START}
            oneof, among = oneofs.get(id(each.among), (0, 0))
            row = FieldRow(each.number, wire, Act.PASSING if oneof else Act.SKIPPED, listed, 0, oneof, among)
            if name is None:
                rows.append(row)
                continue
            inner = None if wanted is None else wanted[self._compared(name)]
            row = self._kept(row, each, open_message, inner)
            if open_message.slot is None:
                default = self._default(each, inner)
                text = 0 if default is None else self._text(default)
                has_defaults = has_defaults or default is not None
                cost += len(each.name) if wanted is None else 0
                cost += 0 if default is None else len(str(default))
                self._slots.append((self._text(name, b":"), text, row.a if row.act == Act.MESSAGE else 0))
            rows.append(row)
        begin = len(self._fields)
        self._fields += sorted(rows)
        self._tables.append((begin, len(self._fields), first_slot, len(self._slots), cost, int(has_defaults)))

    def _kept_oneofs(self, message: Message, names: Mapping[str, str | None]) -> dict[int, tuple[int, int]]:
        """By the list of its members: the number of each oneof with several members of which one is kept, and how many are."""
        numbered: dict[int, tuple[int, int]] = {}
        for among in {id(each.among): each.among for each in message.fields}.values():
            kept_count = sum(names[name] is not None for name in among)
            if kept_count and len(among) > 1:
                numbered[id(among)] = self._oneofs, kept_count
                self._oneofs += 1
        return numbered

    def _kept(self, row: FieldRow, each: Field, holder: _OpenMessage, wanted: Wanted | None) -> FieldRow:
        """The row of a field that is kept."""
        path = f"{holder.path}.{each.name}" if holder.path else each.name
        slot = len(self._slots) if holder.slot is None else holder.slot
        row = row._replace(slot=slot, kept=each.has_presence or holder.slot is not None)
        if isinstance(each.type, Message):
            return self._message(row, each, holder, _OpenMessage(each.type, wanted, path))
        row = row._replace(act=Act.LIST if each.is_repeated else Act.SINGLE)
        if isinstance(each.type, Enum):
            a, b = self._enum(each.type)
            return row._replace(kind=ValueKind.CLOSED if each.type.closed else ValueKind.OPEN, a=a, b=b)
        kind, bits = _KINDS[each.kind]
        return row._replace(kind=kind, a=bits)

    def _message(self, row: FieldRow, each: Field, holder: _OpenMessage, inner: _OpenMessage) -> FieldRow:
        """The row of a message that is kept. Raises Unreadable for one that the extension does not read."""
        if each.is_map:
            raise Unreadable(f"{inner.path} is a map", member=inner.path)
        if each.is_repeated:
            raise Unreadable(f"{inner.path} is a list of messages", member=inner.path)
        around = (*holder.around, (id(holder.message), id(holder.wanted)))
        if (id(inner.message), id(inner.wanted)) in around:
            raise Unreadable(f"{inner.path} is a message that holds itself", member=inner.path)
        if len(around) == _NESTED_MAX:
            raise Unreadable(f"{inner.path} is nested more than {_NESTED_MAX} deep", member=inner.path)
        act, zero, slot = Act.MESSAGE, 0, None
        if inner.message.wrapper:
            act, zero, slot = Act.WRAPPED, self._text(_zero(inner.message.fields[0])), row.slot
            inner = inner._replace(wanted=None)
        self._open.append(inner._replace(slot=slot, around=around))
        return row._replace(act=act, a=len(self._open) - 1, b=zero)

    def _default(self, each: Field, wanted: Wanted | None) -> Any:
        """What readers find in a field that is absent; None for what counts as missing."""
        if each.is_repeated:
            return None
        if isinstance(each.type, Enum) and not each.has_presence:
            return each.type.first
        if not isinstance(each.type, Message):
            return each.default
        if wanted is None or each.type.wrapper:
            return None
        names, defaults = self._names(each.type, wanted), {}
        for inner in each.type.fields:
            if (name := names[inner.name]) is not None:
                default = self._default(inner, wanted[self._compared(name)])
                if default is not None:
                    defaults[name] = default
        return defaults or None

    def _enum(self, enum: Enum) -> tuple[int, int]:
        """Its symbols, from and to."""
        if (symbols_at := self._enums.get(id(enum.symbols))) is None:
            begin = len(self._symbols)
            self._symbols += [(number, self._text(symbol)) for number, symbol in sorted(enum.symbols.items())]
            symbols_at = self._enums[id(enum.symbols)] = begin, len(self._symbols)
        return symbols_at


def _zero(each: Field) -> Any:
    """What a wrapper has where its field is absent."""
    return each.type.first if isinstance(each.type, Enum) else _ZEROS.get(each.kind, 0)
