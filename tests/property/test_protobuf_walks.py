"""The extension reads records in Protobuf as the walk in Python does, for any schema and any bytes."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.scrub import backend, protobuf_walk
from stream_scrub.scrub.decode import Members, Unreadable
from stream_scrub.scrub.protobuf import Enum, Field, Message, tables_of
from stream_scrub.scrub.protobuf_arrays import arrays_of
from tests.support.fakes.protobuf import plain, sized, tag, varint
from tests.support.machine.effort import examples
from tests.support.oracles.avro_records import broken

MEMBERS = Members.of(("phone", "a.b", "a.c"), "c", {"purpose": "d.a", "channel": "d.d.b", "who": "e"})
NAMES = ["phone", "a", "b", "c", "d", "e", "n1", "n2", "n3"]
VARINTS = ["int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum"]
FIXED = {"fixed32": 4, "sfixed32": 4, "float": 4, "fixed64": 8, "sfixed64": 8, "double": 8}
TEXTS = ["string", "string", "string", "bytes"]
SHAPES = ["single"] * 6 + ["repeated", "repeated", "message", "message", "group", "wrapper", "map"]
DEFAULTS = {"string": "déf", "bool": True, "int32": -7, "uint64": 1 << 63, "double": 0.5, "bytes": "\xff"}
WORDS = [b"", b"06", b"+33612345678", "é€😀".encode(), b"\xff", b'"', b"\n", b"\x7f", b"x" * 200]
ENUMS = [Enum({0: "NONE", 1: "ONE", -1: "LÉSS", 900: "MANY"}, "NONE", closed) for closed in (True, False)]
EDGES = [0, 0, 1, 1, 2, 127, 128, 900, -1, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 32, 1 << 63, -(1 << 63)]


class Schema:
    """Draws messages that hold each other, and records of them."""

    def __init__(self, chance):
        self._chance = chance
        self.messages = [self.message(0)]

    def message(self, depth):
        made, oneof = Message(), []
        for number in self._numbers():
            each = self.field(NAMES[len(made.fields)], number, made, depth)
            if self._chance.random() < 0.3 and not each.is_repeated:
                oneof.append(each.name)
                each = each._replace(among=oneof, has_presence=True, default=None)
            made.fields.append(each)
        self._chance.shuffle(made.fields)
        return made

    def _numbers(self):
        return self._chance.sample(
            [*range(1, 18), 2000, (1 << 29) - 1], self._chance.randrange(1, len(NAMES))
        )

    def field(self, name, number, holder, depth):
        shape, chance = self._chance.choice(SHAPES), self._chance
        if shape in {"message", "group"}:
            deeper = holder if chance.random() < 0.1 else Message() if depth > 3 else self.message(depth + 1)
            repeated = chance.random() < 0.2
            kind = shape if shape == "group" else "message"
            return Field(name, name, number, kind, is_repeated=repeated, type=deeper)
        if shape in {"wrapper", "map"}:
            value = self.scalar("value", 1 if shape == "wrapper" else 2)._replace(has_presence=False)
            key = [Field("key", "key", 1, "string", has_presence=False)] if shape == "map" else []
            kind = Message([*key, value], wrapper=shape == "wrapper")
            repeated = shape == "map" or chance.random() < 0.2
            return Field(name, name, number, "message", repeated, shape == "map", type=kind)
        each = self.scalar(name, number)
        if shape == "repeated":
            return each._replace(is_repeated=True, has_presence=False)
        if chance.random() < 0.4:
            return each._replace(has_presence=False)
        return each._replace(default=DEFAULTS.get(each.kind)) if chance.random() < 0.2 else each

    def scalar(self, name, number):
        kind = self._chance.choice(TEXTS * 3 + VARINTS * 2 + list(FIXED))
        return Field(name, name, number, kind, type=self._chance.choice(ENUMS) if kind == "enum" else None)

    def record(self, message, depth=0):
        """Its fields in any order, some of them twice, in pieces, or in another wire type."""
        fields = self._chance.choices(message.fields, k=self._chance.randrange(5)) if message.fields else ()
        return b"".join(self.written(each, depth) for each in fields if depth < 9)

    def written(self, each, depth):
        chance = self._chance
        if chance.random() < 0.03:
            each = each._replace(kind=chance.choice(["string", "int64", "fixed32", "double"]), type=None)
        if chance.random() < 0.05:
            each = each._replace(number=chance.choice([18, 99, 1 << 28]))
        if each.kind == "group":
            return tag(each.number, 3) + self.record(each.type, depth + 1) + tag(each.number, 4)
        if each.kind == "message":
            return sized(each.number, self.record(each.type, depth + 1))
        if each.is_repeated and each.kind not in TEXTS and chance.random() < 0.6:
            return sized(each.number, b"".join(self.value(each) for _ in range(chance.randrange(4))))
        wire = 0 if each.kind in VARINTS else 2 if each.kind in TEXTS else 5 if FIXED[each.kind] == 4 else 1
        return tag(each.number, wire) + self.value(each)

    def value(self, each):
        chance = self._chance
        if each.kind in TEXTS:
            word = chance.choice(WORDS[:5] if chance.random() < 0.9 else WORDS)
            return varint(len(word)) + word
        if each.kind in {"float", "double"}:
            return struct.pack(
                "<f" if each.kind == "float" else "<d", chance.choice([0.0, 0.5, float("inf")])
            )
        number = chance.choice(EDGES[:7] if chance.random() < 0.8 else EDGES)
        if each.kind in FIXED:
            return (number % (1 << 64)).to_bytes(8, "little")[: FIXED[each.kind]]
        if each.kind == "bool" and chance.random() < 0.9:
            number %= 2
        return plain(0, number)[1:]


@settings(max_examples=examples(600), deadline=None)
@given(st.integers(0, 1 << 32))
def test_the_extension_reads_any_record_of_any_schema_as_python_does(seed):
    """A worker with the extension would judge another number than one without it."""
    chance = random.Random(seed)
    schema = Schema(chance)
    try:
        tables = tables_of(schema.messages, MEMBERS)
    except Unreadable:
        return
    reference, swift = backend.PYTHON.protobuf(tables), backend.BEST.protobuf(tables)
    for _ in range(60):
        value = schema.record(schema.messages[0])
        if chance.random() < 0.3:
            value = broken(value, chance)
        value = chance.choice([b"\0", b"\0", b"\0", b"\2\0", b"\2\2", b"\1"]) + value
        assert swift(value, 0) == reference(value, 0), value


@pytest.mark.skipif(backend.BEST is backend.PYTHON, reason="the extension is not installed")
def test_the_extension_reads_ordinary_records_itself(monkeypatch):
    """Each record would take as long as in Python: forty times as long."""
    monkeypatch.setattr(protobuf_walk, "walker", lambda _: lambda value, _: pytest.fail(f"{value} is left"))
    wrapper = Message([Field("value", "value", 1, "string", has_presence=False)], wrapper=True)
    inner = Message(
        [Field("b", "b", 1, "string"), Field("n1", "n1", 2, "bytes"), Field("c", "c", 3, "sint64")]
    )
    lead = Message(
        [
            Field("n1", "n1", 1, "double"),
            Field("phone", "phone", 2, "string", has_presence=False),
            Field("a", "a", 3, "message", type=inner),
            Field("c", "c", 4, "enum", has_presence=False, type=ENUMS[1]),
            Field("d", "d", 5, "message", type=Message([Field("a", "a", 1, "uint32", is_repeated=True)])),
            Field("e", "e", 6, "message", type=wrapper),
            Field("n2", "n2", 7, "group", type=Message()),
            Field("n3", "n3", 8, "message", is_repeated=True, type=inner),
        ]
    )
    plan = backend.BEST.protobuf(tables_of([Message(), lead], MEMBERS))
    value = tag(1, 1) + bytes(8) + sized(2, b"06") + sized(2, "é07".encode()) + sized(3, sized(1, b"1"))
    value += (
        sized(5, sized(1, b"\1\2") + plain(1, 3)) + sized(3, plain(3, 3) + sized(2, b"\xff")) + sized(6, b"")
    )
    value += tag(7, 3) + tag(9, 3) + tag(9, 4) + tag(7, 4) + sized(8, b"x") + sized(99, b"\xff")
    found = '{"phone":"é07","a":{"b":"1","c":-2},"d":{"a":[1,2,3]},"e":"","c":"NONE"}'.encode()
    assert plan(b"\2\2" + value, 0) == found
    assert plan(b"\0" + value, 0) == b"{}"


def test_records_of_many_messages_are_each_read_by_their_own(monkeypatch):
    """A number would be read from another message's field, or each record take as long as hundreds."""
    count, made = 50, []
    monkeypatch.setattr(backend, "arrays_of", lambda table: made.append(table) or arrays_of(table))
    messages = [Message([Field("phone", "phone", at + 1, "string")]) for at in range(count)]
    plan = backend.BEST.protobuf(tables_of(messages, MEMBERS))
    for at in [*range(count), *range(count), 0, 0, count - 1]:
        value = b"".join(sized(each + 1, b"%d" % each) for each in range(count))
        assert plan(b"\2" + varint(2 * at) + value, 0) == b'{"phone":"%d"}' % at
    assert len(made) <= count
