"""Writes the tables of a message in Protobuf as arrays, which the extension (`native/protobuf.pxi`) walks. Pure.

The messages that a message holds are written out, each where it is held: so every member has a slot of its own.
"""

from collections.abc import Sequence
from enum import IntEnum, auto
from typing import NamedTuple

import msgspec
import numpy as np

from stream_scrub.scrub.protobuf_walk import Act, Enum, FieldStep, MessageTable

# What is beyond them the extension leaves to the walk in Python.
_NESTED: int = 16  # messages in each other
_FIELDS: int = 1000  # of one message, with those that it holds
_SKIPPED = 0  # where others have an Act
_LEFT = int(Act.LIST) + 1


class ValueKind(IntEnum):
    """How a value is read."""

    STRING = auto()
    SIGNED = auto()
    UNSIGNED = auto()
    ZIGZAG = auto()
    BOOL = auto()
    OPEN = auto()  # enum
    CLOSED = auto()


# With the bits that a value may have.
_KINDS = {
    "string": (ValueKind.STRING, 0),
    "bool": (ValueKind.BOOL, 0),
    **dict.fromkeys(("int64", "sfixed64"), (ValueKind.SIGNED, 64)),
    **dict.fromkeys(("int32", "sfixed32"), (ValueKind.SIGNED, 32)),
    **dict.fromkeys(("uint64", "fixed64"), (ValueKind.UNSIGNED, 64)),
    **dict.fromkeys(("uint32", "fixed32"), (ValueKind.UNSIGNED, 32)),
    "sint64": (ValueKind.ZIGZAG, 64),
    "sint32": (ValueKind.ZIGZAG, 32),
}


class _Row(NamedTuple):
    """A field. `listed`: it may be packed. `oneof`: 0 without one. `a`, `b`: bits; symbols from and to; or the table of a
    message, and what a wrapper has without a value."""

    number: int
    wire: int
    act: int = _SKIPPED
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
    are."""

    fields: bytes  # each a `_Row`
    tables: bytes  # its fields and its slots, each from and to; its cost; whether it has defaults
    slots: bytes  # its name; its default, or 0; the table of a message, or 0
    symbols: bytes  # its number, ascending in each enum, and its text
    texts: list[bytes]
    oneofs: int


def arrays_of(table: MessageTable) -> Arrays | None:
    """The arrays; None if it has too many fields."""
    return _Writer(table).arrays()


class _OpenMessage(NamedTuple):
    """A table to be written. `slot`: that of a wrapper, for its value. `around`: those that hold it."""

    table: MessageTable
    slot: int | None = None
    around: "tuple[MessageTable, ...]" = ()


class _Writer:
    def __init__(self, root: MessageTable) -> None:
        self._room = _FIELDS - len(root.steps)
        self._open_at = [_OpenMessage(root)]
        self._texts = [b"false", b"true"]
        self._slots = [(0, 0, 0)]  # the record's own
        self._fields: list[_Row] = []
        self._tables: list[Sequence[int]] = []
        self._symbols: list[tuple[int, int]] = []
        self._enums: dict[int, tuple[int, int]] = {}
        self._oneofs = 1

    def arrays(self) -> Arrays | None:
        """All that the root holds; None if it has too many fields."""
        if self._room < 0:
            return None
        for each in self._open_at:  # it grows meanwhile
            self._add(each)
        rows = self._fields, self._tables, self._slots, self._symbols
        fields, tables, slots, symbols = (np.array(each, np.int32).tobytes() for each in rows)
        return Arrays(fields, tables, slots, symbols, self._texts, self._oneofs)

    def _text(self, value: object, end: bytes = b"") -> int:
        self._texts.append(msgspec.json.encode(value) + end)
        return len(self._texts) - 1

    def _add(self, each: _OpenMessage) -> None:
        table, first_slot = each.table, len(self._slots)
        # By the first member that is read. It has no `among` where it is the only one.
        firsts = dict.fromkeys(step.among[0] for step in table.steps.values() if step and step.among)
        oneofs = {name: self._oneofs + at for at, name in enumerate(firsts)}
        self._oneofs += len(oneofs)
        rows, defaults = list[_Row](), dict(table.defaults)
        for tag, step in table.steps.items():
            number, wire = divmod(tag, 8)
            if rows and rows[-1].number == number:
                rows[-1] = rows[-1]._replace(listed=True)
                continue
            row = _Row(number, wire)
            if step is not None:
                oneof = oneofs.get(step.among[0] if step.among else step.name, 0)
                row = self._row(_Row(number, wire, oneof=oneof, cost=len(step.among)), step, each)
                if step.name and each.slot is None:
                    default = self._text(defaults[step.name]) if step.name in defaults else 0
                    inner = row.a if row.act == Act.MESSAGE else 0
                    self._slots.append((self._text(step.name, b":"), default, inner))
            rows.append(row)
        begin = len(self._fields)
        self._fields += sorted(rows)
        self._tables.append(
            (begin, len(self._fields), first_slot, len(self._slots), table.cost, bool(defaults))
        )

    def _row(self, row: _Row, step: FieldStep, each: _OpenMessage) -> _Row:
        row = row._replace(
            act=min(step.act, _LEFT),
            kept=step.kept,
            slot=len(self._slots) if each.slot is None else each.slot,
        )
        if step.act == Act.PASSING:
            return row._replace(slot=0)
        if step.act in {Act.MESSAGE, Act.WRAPPED}:
            assert step.inner is not None
            around = (*each.around, each.table)
            if step.inner in around or len(around) == _NESTED or len(step.inner.steps) > self._room:
                return row._replace(act=_LEFT)
            self._room -= len(step.inner.steps)
            is_wrapper = step.act == Act.WRAPPED
            self._open_at.append(_OpenMessage(step.inner, row.slot if is_wrapper else None, around))
            return row._replace(a=len(self._open_at) - 1, b=self._text(step.zero) if is_wrapper else 0)
        if isinstance(step.kind, Enum):
            a, b = self._enum(step.kind)
            return row._replace(kind=ValueKind.CLOSED if step.kind.closed else ValueKind.OPEN, a=a, b=b)
        if step.kind not in _KINDS:  # bytes, a real number, or what is left anyway
            return row._replace(act=_LEFT)
        kind, bits = _KINDS[step.kind]
        return row._replace(kind=kind, a=bits)

    def _enum(self, enum: Enum) -> tuple[int, int]:
        """Its symbols, from and to."""
        if (known := self._enums.get(id(enum.symbols))) is None:
            begin = len(self._symbols)
            self._symbols += [(number, self._text(symbol)) for number, symbol in sorted(enum.symbols.items())]
            known = self._enums[id(enum.symbols)] = begin, len(self._symbols)
        return known
