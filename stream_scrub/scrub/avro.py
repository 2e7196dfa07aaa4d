"""Compiles each schema in Avro to a program. It writes the members that verdicts need as the JSON that `decode` judges. Pure.

The extension runs programs (`native/avro.pxi`). Avro has no index, so a program walks the whole record and keeps the
configured members alone. It takes a record only if every reader would read the same. So it also walks a block of an array
that states its size, because some readers believe the size and others do not.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any, NamedTuple

import msgspec

from stream_scrub.scrub.decode import Members, Unreadable, folder
from stream_scrub.scrub.schemas import NESTED_MAX, TYPES_MAX, Wanted, called, tree

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


class Op(IntEnum):
    """What a step does with the value. `a` and `b` are its operands."""

    END = 0
    INTEGER = auto()  # a: bits; b: 1 to write it
    BYTES = auto()  # after their length. b: 0 to skip them, 1 to write them as UTF-8, 2 as ASCII
    FIXED = auto()  # a: bytes; b: 1 to write them as ASCII
    REAL = auto()  # a: bytes; b: 1 to write it
    BOOLEAN = auto()  # b: 1 to write it
    ENUM = auto()  # a: how many symbols; b: 0 to skip it, else the text of the first one, from 1
    UNION = auto()  # a: branches; as many steps behind it lead to them
    GOTO = auto()  # a: step
    CALL = auto()  # a: step where a record begins
    RETURN = auto()
    ITEMS = auto()  # of an array or map; each begins with the next step. a: step behind them
    NEXT = auto()  # item
    COMMA = auto()  # to write between items
    WRITE = auto()  # a: text
    KEY = auto()  # of a map, to write


class Program(NamedTuple):
    """The steps for a schema's records, from the first one to END."""

    code: Sequence[tuple[int, int, int]]
    texts: Sequence[bytes]


def program_of(schema: str, references: Sequence[str], members: Members) -> Program:
    """The program that writes a record as a JSON object with the members that verdicts need.

    `references`: the schemas whose names this one uses, each after those that it uses itself. Raises Unreadable if this is
    no schema of a record.
    """
    resolver = _Resolver()
    try:
        for reference in references:
            resolver.node(json.loads(reference), "", 0)
        root = resolver.node(json.loads(schema), "", 0)
    except (ValueError, LookupError, RecursionError, TypeError, AttributeError) as error:
        raise Unreadable(f"not an Avro schema: {error}") from error
    if not isinstance(root, _AvroRecord):
        raise Unreadable("not the schema of a record")
    compared = folder(members.case)
    return _AvroCompiler(compared).program(root, tree(members, compared))


@dataclass(eq=False, slots=True)
class _AvroRecord:
    fields: list["_Field"] = field(default_factory=list)


class _Field(NamedTuple):
    name: str
    aliases: Collection[str]
    node: "_Node"


class _Union(NamedTuple):
    branches: "tuple[_Node, ...]"


class _Array(NamedTuple):
    items: "_Node"


class _Map(NamedTuple):
    values: "_Node"


class _Enum(NamedTuple):
    symbols: tuple[str, ...]


class _Fixed(NamedTuple):
    size: int


class _Decimal(NamedTuple):
    """Bytes, or fixed, that some readers take for a decimal number, and others for a text."""

    stored: "_Node"


_DECIMAL = "decimal"


_Node = str | _AvroRecord | _Union | _Array | _Map | _Enum | _Fixed | _Decimal


class _Resolver:
    """Turns schemas into nodes, with every name replaced by its type."""

    def __init__(self) -> None:
        self._named: dict[str, _Node] = {}
        self._spaced: set[str] = set()  # the last parts of names that are in a namespace
        self._types = 0

    def node(self, schema: Any, space: str, depth: int) -> _Node:
        """The node of a schema within that namespace. Raises ValueError, TypeError, AttributeError."""
        self._types += 1
        if depth > NESTED_MAX or self._types > TYPES_MAX:
            raise ValueError("too many types, or nested too deeply")
        if isinstance(schema, str):
            return self._by_name(schema, space)
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        kind = schema.get("type")
        match kind:
            case "array":
                return _Array(self.node(schema.get("items"), space, depth + 1))
            case "map":
                return _Map(self.node(schema.get("values"), space, depth + 1))
            case "record" | "error":
                return self._record(schema, space, depth)
            case "enum":
                return self._name(schema, space, _Enum(tuple(map(_text, schema["symbols"]))))
            case "fixed":
                size = schema.get("size")
                if not isinstance(size, int) or not 0 <= size < 1 << 31:
                    raise ValueError("a fixed without a size")
                fixed = _Fixed(size)
                is_decimal = schema.get("logicalType") == _DECIMAL
                return self._name(schema, space, _Decimal(fixed) if is_decimal else fixed)
        node = self.node(kind, space, depth + 1)  # with attributes, as a logical type
        return _Decimal(node) if schema.get("logicalType") == _DECIMAL and node == "bytes" else node

    def _union(self, schemas: Sequence[Any], space: str, depth: int) -> _Node:
        branches = tuple(self.node(schema, space, depth + 1) for schema in schemas)
        # The specification has none: "Unions may not immediately contain other unions."
        if any(isinstance(branch, _Union) for branch in branches):
            raise ValueError("a union in a union")
        return _Union(branches)

    def _by_name(self, name: str, space: str) -> _Node:
        if name in _PRIMITIVES:
            return name
        # Where a type has no namespace and one around it has, Java looks in that one, and others in none.
        if not space and name in self._spaced:
            raise ValueError("a name that readers take for different types")
        node = self._named.get(_full(name, space)) or self._named.get(name)
        if node is None:
            raise ValueError("a type that is not defined")
        return node

    def _name(self, schema: Mapping[str, Any], space: str, node: _Node) -> _Node:
        name = _text(schema.get("name"))
        full = _full(name, _text(schema.get("namespace", space)))
        if full in self._named:
            raise ValueError("a name twice")
        self._named[full] = node
        if "." in full:
            self._spaced.add(full.rpartition(".")[2])
        return node

    def _record(self, schema: Mapping[str, Any], space: str, depth: int) -> _Node:
        record = _AvroRecord()
        self._name(schema, space, record)  # before its fields, which may name it
        inner = _full(_text(schema["name"]), _text(schema.get("namespace", space))).rpartition(".")[0]
        for each in schema["fields"]:
            aliases = list(map(_text, each.get("aliases", ())))
            record.fields.append(
                _Field(_text(each.get("name")), aliases, self.node(each.get("type"), inner, depth + 1))
            )
        if len({each.name for each in record.fields}) < len(record.fields):
            raise ValueError("a record with a field twice")
        return record


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name that is not text")
    value.encode()  # half a pair of UTF-16 is in no JSON that we could write: a ValueError
    return value


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


# The operation, its first operand, and its second one if the value is written.
_SIMPLE = {
    "boolean": (Op.BOOLEAN, 0, 1),
    "int": (Op.INTEGER, 32, 1),
    "long": (Op.INTEGER, 64, 1),
    "float": (Op.REAL, 4, 1),
    "double": (Op.REAL, 8, 1),
    "string": (Op.BYTES, 0, 1),
    "bytes": (Op.BYTES, 0, 2),
}


class _Part(NamedTuple):
    """What is written of a value. `wanted`: of a record the members to keep; None: the whole value."""

    written: bool
    wanted: Wanted | None = None


_NOTHING, _ALL = _Part(written=False), _Part(written=True)


class _AvroCompiler:
    """Adds the steps of each node. A record's steps stand once, and are called: so a type may hold itself."""

    def __init__(self, compared: Callable[[str], str]) -> None:
        self._compared = compared
        self._code: list[tuple[int, int, int]] = []
        self._texts: list[bytes] = []
        self._symbols: dict[int, int] = {}  # by its type: the text of an enum's first one
        self._calls: list[tuple[_AvroRecord, _Part]] = []

    def program(self, root: _AvroRecord, wanted: Wanted) -> Program:
        """The steps for a record. Raises Unreadable."""
        self._add(root, _Part(written=True, wanted=wanted))
        self._step(Op.END)
        begins: dict[tuple[_AvroRecord, bool, int], int] = {}
        for record, part in self._calls:  # it grows meanwhile
            key = record, part.written, id(part.wanted)
            if key not in begins:
                begins[key] = len(self._code)
                self._add_fields(record, part)
                self._step(Op.RETURN)
        for at, (op, a, _) in enumerate(self._code):
            if op == Op.CALL:
                record, part = self._calls[a]
                self._code[at] = op, begins[record, part.written, id(part.wanted)], 0
        return Program(self._code, self._texts)

    def _step(self, op: Op, a: int = 0, b: int = 0) -> int:
        """Add a step; its place."""
        self._code.append((int(op), a, b))
        return len(self._code) - 1

    def _lead(self, at: int) -> None:
        """Let a step lead behind the last one."""
        op, _, b = self._code[at]
        self._code[at] = op, len(self._code), b

    def _write(self, text: bytes) -> None:
        self._step(Op.WRITE, len(self._texts))
        self._texts.append(text)

    def _add(self, node: _Node, part: _Part) -> None:  # noqa: C901  # flat: a case for each type
        """Add the steps to the end of a value of this type."""
        match node:
            case "null":
                if part.written:
                    self._write(b"null")
            case str():
                op, a, b = _SIMPLE[node]
                self._step(op, a, b * part.written)
            case _AvroRecord():
                self._step(Op.CALL, len(self._calls))
                self._calls.append((node, part))
            case _Union(branches):
                self._union(branches, part)
            case _Enum(symbols):
                self._step(Op.ENUM, len(symbols), self._first(node) + 1 if part.written else 0)
            case _Fixed(size):
                self._step(Op.FIXED, size, part.written)
            case _Decimal(stored):
                self._add(stored, _NOTHING)
                if part.written:
                    self._step(Op.UNION)  # without a branch: the record is unreadable
            case _Array(inner) | _Map(inner):
                self._items(inner, keys=isinstance(node, _Map), written=part.written)

    def _first(self, enum: _Enum) -> int:
        """The text of an enum's first symbol."""
        if (first := self._symbols.get(id(enum))) is None:
            first = self._symbols[id(enum)] = len(self._texts)
            self._texts += map(msgspec.json.encode, enum.symbols)
        return first

    def _union(self, branches: Sequence[_Node], part: _Part) -> None:
        """Add a jump table: one GOTO per branch. The last branch's steps follow the table, so it needs no jump."""
        self._step(Op.UNION, len(branches))
        ends, leads = [], [self._step(Op.GOTO) for _ in branches[:-1]]
        if branches:
            self._add(branches[-1], part)
        for lead, branch in zip(leads, branches, strict=False):
            if branch == "null" and not part.written:  # it has no steps
                ends.append(lead)
                continue
            ends.append(self._step(Op.GOTO))
            self._lead(lead)
            self._add(branch, part)
        for end in ends:
            self._lead(end)

    def _items(self, inner: _Node, *, keys: bool, written: bool) -> None:
        if written:
            self._write(b"{" if keys else b"[")
        begin = self._step(Op.ITEMS)
        if written:
            self._step(Op.COMMA)
        if keys:
            self._step(Op.KEY if written else Op.BYTES)
        self._add(inner, _ALL if written else _NOTHING)
        self._step(Op.NEXT)
        self._lead(begin)
        if written:
            self._write(b"}" if keys else b"]")

    def _add_fields(self, record: _AvroRecord, part: _Part) -> None:
        if not part.written:
            for each in record.fields:
                self._add(each.node, _NOTHING)
            return
        wanted, names = part.wanted, set[str]()
        own = {self._compared(each.name) for each in record.fields}
        for each in record.fields:
            name = (
                each.name if wanted is None else called(each.name, each.aliases, own, wanted, self._compared)
            )
            if name is None:
                self._add(each.node, _NOTHING)
                continue
            if name in names:
                raise Unreadable("two fields were once called the same")
            self._write((b"," if names else b"{") + msgspec.json.encode(name) + b":")
            names.add(name)
            inner = None if wanted is None else wanted[self._compared(name)]
            self._add(each.node, _Part(written=True, wanted=inner))
        self._write(b"}" if names else b"{}")
