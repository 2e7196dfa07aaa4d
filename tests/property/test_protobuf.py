"""Prospects in Protobuf get the stamps that they would get in JSON and Avro, and are read as generated readers read them."""

import json
import random
import re
import time
import tracemalloc
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.registry.client import Schema
from stream_scrub.registry.protobuf import messages_of
from stream_scrub.registry.records import protobuf_plan
from stream_scrub.scrub.decode import Unreadable
from stream_scrub.scrub.protobuf import Field, Message
from stream_scrub.scrub.schemas import framed, indexes
from tests.property.test_avro import INDEX, NATIVE, PATHS, SCRUBBERS, _Types, broken, leads
from tests.property.test_avro import plan_of as avro_plan_of
from tests.support.fakes import law
from tests.support.fakes.protobuf import class_of, compiled, in_base64, plain, sized, tag, varint
from tests.support.fakes.registry import numbered, written
from tests.support.fakes.scrubbers import MEMBERS, NUMBER, OTHER
from tests.support.machine.effort import examples


def plan_of(messages, members, refused=lambda *_: None):
    """Of a schema with these messages."""
    return protobuf_plan(NATIVE, messages, members, refused)


INTEGERS = ["int64", "sint64", "sfixed64"]
SMALL = ["int32", "sint32", "sfixed32"]
NATURAL = ["uint64", "fixed64"]


def uniform(value):
    """The value with lists of one type, and without what Protobuf has no field for."""
    if isinstance(value, dict):
        kept = {name: uniform(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in (None, [])}
    if not isinstance(value, list):
        return value
    kept = [uniform(each) for each in value if each is not None and not isinstance(each, list)]
    return [each for each in kept if type(each) is type(kept[0]) and not isinstance(each, dict)]


class _Protos:
    """Draws a schema that can hold a lead, as another version of the producer would declare it, and the record in it. What
    readers could not tell from its absence is taken out of the lead."""

    def __init__(self, draw):
        self._draw, self._types = draw, 0

    def message(self, value):
        """The body of a message, and what fills one."""
        self._types += 1
        body, steps = [], []
        own = self._draw(st.permutations(list(value)))
        numbers = self._draw(
            st.lists(
                st.integers(1, 40) | st.integers(20_000, (1 << 29) - 1), min_size=len(own) + 1, unique=True
            )
        )
        for name, number in zip(own, numbers, strict=False):
            declared, fill = self.field(value, name, number)
            body.append(declared)
            steps.append((name, fill))
        body.append(f"optional string extra_{self._types} = {numbers[-1]};")
        return body, lambda message: [fill(message, name) for name, fill in steps]

    def field(self, parent, name, number):
        value = parent[name]
        if isinstance(value, list):
            types, kind, fill = self.type(*value)
            packed = self._draw(st.sampled_from(["", " [packed=false]"])) if fill else ""
            made = [self._made(kind, each) for each in value]
            return f"{types} repeated {kind} {name} = {number}{packed};", lambda m, n: getattr(m, n).extend(
                made
            )
        if isinstance(value, dict):
            body, fill = self.message(value)
            of = f"M{self._types}"
            inner = " ".join(body)

            def fill_inner(message, name):
                getattr(message, name).SetInParent()
                fill(getattr(message, name))

            return f"message {of} {{ {inner} }} {of} {name} = {number};", fill_inner
        types, kind, _ = self.type(value)
        made = self._made(kind, value)
        if kind == "string" and self._draw(st.booleans()):
            wrapper = "google.protobuf.StringValue"
            return (
                f"{wrapper} {name} = {number};",
                lambda m, n: setattr(getattr(m, n), "value", made) or (getattr(m, n).SetInParent()),
            )
        shape = self._draw(st.sampled_from(["optional ", "", "oneof"]))
        if shape == "oneof":
            self._types += 1
            among = f"oneof one_{self._types} {{ {kind} {name} = {number}; }}"
            return f"{types} {among}", lambda m, n: setattr(m, n, made)
        if not shape and not value and not types:
            del parent[name]
        return f"{types} {shape}{kind} {name} = {number};", lambda m, n: setattr(m, n, made)

    def type(self, *values):
        """Types to declare before, the type that holds these values, and whether lists of it are packed."""
        match value := values[0]:
            case bool():
                return "", "bool", True
            case int():
                natural, small = min(values) >= 0, max(map(abs, values)) < 1 << 31
                kinds = INTEGERS + (NATURAL if natural else []) + (SMALL if small else [])
                return "", self._draw(st.sampled_from(kinds[:5])), True
            case float():
                return "", "double", True
            case str():
                return "", self._draw(st.sampled_from(["string", "string", "bytes"])), False
        self._types += 1
        of = f"M{self._types}"
        body, fill = self.message(value)
        return f"message {of} {{ {' '.join(body)} }}", of, fill

    def _made(self, kind, value):
        return value.encode() if kind == "bytes" else value


def is_ascii(value):
    """Whether all texts may be in bytes: others are unreadable there."""
    if isinstance(value, dict):
        return all(map(is_ascii, value.values()))
    if isinstance(value, list):
        return all(map(is_ascii, value))
    return not isinstance(value, str) or value.isascii()


HEAD = 'syntax = "proto3"; import "google/protobuf/wrappers.proto"; '


@settings(max_examples=examples(50), deadline=None)
@given(leads.map(uniform).filter(is_ascii), st.data(), st.sampled_from([MEMBERS, PATHS]))
def test_a_prospect_gets_the_same_stamp_in_protobuf_and_avro_as_in_json(lead, data, members):
    """A producer that changes its format, or a schema that evolves, would change who is called."""
    body, fill = _Protos(data.draw).message(lead)
    text = f"{HEAD} message Other {{}} message Lead {{ {' '.join(body)} }}"
    record = class_of(compiled(text), "Lead")()
    fill(record)
    value = numbered(1, b"\2\2" + record.SerializeToString())
    (plan, avro) = (
        plan_of(messages_of(Schema("PROTOBUF", text)), members),
        _Types(data.draw).record(lead),
    )

    by = SCRUBBERS[members]
    in_json = by.scrub([json.dumps(lead).encode()], INDEX, law.NOW)
    in_protobuf = by.scrub([plan(value, 5)], INDEX, law.NOW, emitted=[value])
    in_avro = avro_plan_of(json.dumps(avro), (), members)(written(avro, lead), 0)

    assert in_protobuf.stamps == in_json.stamps == by.scrub([in_avro], INDEX, law.NOW).stamps
    assert in_protobuf.allowed == in_json.allowed
    assert in_protobuf.values == [value]


NEW = (
    HEAD
    + """
package org.example;
message Lead {
  bytes id = 1; repeated int32 tags = 2; bytes notes = 3;
  oneof reach { string phone = 4; bytes mail = 5; Contact contact = 6; }
  google.protobuf.StringValue country = 7;
  Call call = 8;
  bool contract = 9;
  repeated string campaign = 10;
  Channel channel = 11;
  Relation relation = 12;
  sint32 residence = 13;
  repeated fixed32 voice_kind = 14;
  Who who = 16;
  map<string, Who> others = 18; repeated Who more = 19;
}
message Relation { string kind = 1; double since = 2; repeated float days = 3; repeated bytes marks = 4; }
message Who {
  oneof x { string a = 1; Relation b = 2; bytes c = 3; double d = 5; }
  Channel e = 4; google.protobuf.Int64Value f = 6; bool g = 7; optional bool h = 8;
  google.protobuf.FloatValue i = 9; google.protobuf.BytesValue j = 10;
}
message Contact { optional string mobile = 1; bytes next = 2; bytes note = 3; }
message Call { repeated Channel purpose = 1; }
enum Channel { VOICE = 0; SMS = 1; OTHER = -1; }
"""
)
OLD = """
syntax = "proto2";
message Lead {
  optional bytes id = 1;
  required string phone = 4;
  repeated group Note = 5 { optional bytes text = 1; }
  optional group Contact = 6 { optional string mobile = 1 [default = "0612345678"]; optional bytes note = 2; }
  optional string country = 7 [default = 'F' "R"];
  optional Call call = 8;
  optional bool contract = 9 [default = true];
  repeated string campaign = 10;
  optional Channel channel = 11 [default = SMS];
  optional Relation relation = 12;
  optional sint32 residence = 13 [default = -0x1f];
  repeated fixed32 voice_kind = 14 [packed = true];
  optional Who who = 16;
  map<int32, Kind> others = 18;
  extensions 100 to max;
}
message Relation { optional Kind kind = 1; optional double since = 2 [default = 0.5]; repeated float days = 3; }
message Who {
  oneof x { string a = 1 [default = "x"]; Relation b = 2; Channel c = 3; float d = 5; }
  optional Channel e = 4 [default = SMS]; optional group F = 6 { optional Relation a = 1; }
  optional bool g = 7 [default = true]; optional bool h = 8;
}
message Call { repeated Channel purpose = 1; oneof x { Channel deep = 2 [default = SMS]; bytes other = 3; } }
enum Channel { VOICE = 1; SMS = 2; }
enum Kind { NONE = 0; ONE = 1; }
"""
WANTED = ("phone", "contact.mobile", "country", "call.purpose", "contract", "campaign", "channel", "relation")
WANTED += ("residence", "voice_kind", "who")


@cache
def messages_in(text):
    """The messages of a schema: protoc takes a while."""
    return messages_of(Schema("PROTOBUF", text))


def plan_for(text, members=PATHS, at=(0,)):
    """The plan for records of the message at that place, without its indexes."""
    plan = plan_of(messages_in(text), members)
    frame = b"".join(varint(2 * each) for each in (len(at), *at))
    return lambda value, start: plan(frame + value, start)


def value_of(message, field):
    """A field's value as the library has it, in the JSON that is judged; None for what counts as missing."""
    value = getattr(message, field.name)
    if field.is_repeated:
        return [symbol(field, each) for each in value] or None
    if field.message_type:
        return symbol(field, value) if message.HasField(field.name) else None
    if field.has_presence and not message.HasField(field.name) and not field.has_default_value:
        return None
    if not field.has_presence and not value and not field.enum_type:
        return None
    return symbol(field, value)


def symbol(field, value):
    if field.message_type:
        if field.message_type.full_name.startswith("google"):
            return value.value
        members = {each.name: value_of(value, each) for each in field.message_type.fields}
        return {name: each for name, each in members.items() if each is not None}
    if isinstance(value, bytes):
        return value.decode("ascii")
    known = field.enum_type.values_by_number if field.enum_type else {}
    return known[value].name if value in known else value


def in_library(record):
    """What a reader with generated code finds at the paths that verdicts need."""
    found = {}
    for path in WANTED:
        *around, name = path.split(".")
        message = record
        for each in around:
            message = getattr(message, each)
        found[path] = value_of(message, message.DESCRIPTOR.fields_by_name[name])
    return found


def in_plan(text):
    members = json.loads(text)
    found = {}
    for path in WANTED:
        *around, name = path.split(".")
        inside = members
        for each in around:
            inside = inside.get(each, {})
        found[path] = inside.get(name)
    return found


def fields_of(data):
    """The fields of a good record, each with its tag."""
    fields, at = [], 0
    while at < len(data):
        begin = at
        wire, number = data[at] & 7, data[at] >> 3
        while data[at] > 0x7F:
            at += 1
        if data[begin] > 0x7F:
            number = (data[begin] & 0x7F | data[begin + 1] << 7) >> 3
        at += 1
        if wire == 0:
            while data[at] > 0x7F:
                at += 1
            at += 1
        elif wire == 2:
            at += 1 + data[at]
        elif wire == 3:
            at = data.index(tag(number, 4), at) + 1
        fields.append(data[begin:at])
    return fields


def unknown(chance):
    """A field that no schema has, of any kind."""
    number = chance.choice([17, 50, 1000, (1 << 29) - 1])
    match chance.randrange(6):
        case 0:
            return plain(number, chance.randrange(1 << 64))
        case 1:
            return tag(number, 1) + chance.randbytes(8)
        case 2:
            return sized(number, chance.randbytes(9))
        case 3:
            inner = b"".join(unknown(chance) for _ in range(chance.randrange(2)))
            return tag(number, 3) + inner + tag(chance.choice([number] * 4 + [7]), 4)
        case 4:
            return tag(number, 5) + chance.randbytes(4)
    return tag(number, chance.randrange(8)) + chance.randbytes(3)


WHO = (
    sized(1, b"a")
    + sized(2, tag(2, 1) + b"\0" * 6 + b"\xe0\x3f" + sized(3, b"\0\0\xc0\x3f" * 2))
    + plain(4, 2)
)
WHO += sized(6, plain(1, 5)) + plain(7, 1) + plain(8, 0) + sized(9, tag(1, 5) + b"\0\0\xc0\xbf")


def forged(fields, others, chance):
    """A record made of the fields of good ones: some twice, changed, in another order, in other wire types, or cut off."""
    made = list(fields)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                made.insert(at, chance.choice(others))
            case 4:
                made.insert(at, unknown(chance))
            case 5:
                made = made[:at] + made[at + 1 :]
            case 6:
                chance.shuffle(made)
            case 7:
                inner = broken(chance.choice([b"\n\2\x10\1" * 2, WHO]), chance)
                made.insert(at, sized(chance.choice([4, 6, 7, 8, 11, 12, 14, 16, 16]), inner))
            case 8:
                made.insert(
                    at, plain(chance.randrange(17), chance.choice([0, 1, 2, 3, -1, 1 << 31, 1 << 63]))
                )
            case 9:
                whole = b"".join(made)
                made = [broken(whole, chance)] if whole else made
    return b"".join(made)


def good(record, chance):
    """A record with values in all fields that verdicts need."""
    record.id = b"7" * 70
    for name in ("phone", "country"):
        field = getattr(record, name)
        text = chance.choice([f"+{NUMBER}", f"+{OTHER}", "", "é"])
        if hasattr(field, "value"):
            field.value = text
        else:
            setattr(record, name, text)
    if chance.random() < 0.5:
        record.contact.mobile = chance.choice([f"+{NUMBER}", f"+{OTHER}", ""])
        record.contact.note = type(record.contact.note)()
    elif hasattr(record, "mail"):
        chance.choice([lambda: setattr(record, "mail", b"x"), lambda: None])()
    record.contract = chance.random() < 0.5
    record.campaign.extend(chance.choices(["a", "b"], k=chance.randrange(3)))
    record.channel = chance.choice([1, 2])
    record.call.purpose.extend(chance.choices([1, 2], k=chance.randrange(3)))
    record.who.MergeFromString(WHO if record.DESCRIPTOR.full_name != "Lead" else WHO[:3])
    record.residence = chance.randrange(-2, 2)
    record.voice_kind.extend(chance.choices([0, 7], k=chance.randrange(3)))
    return record


@pytest.mark.parametrize(
    ("text", "name"), [(NEW, "org.example.Lead"), (OLD, "Lead")], ids=["proto3", "proto2"]
)
def test_hostile_records_are_refused_or_read_as_generated_readers_read_them(text, name):
    """A forged record would come out as allowed with another number than its reader finds, or stop the worker."""
    plan, of = plan_for(text), class_of(compiled(text), name)
    chance, read, twice = random.Random(33), 0, 0
    records = [good(of(), chance).SerializeToString() for _ in range(50)]
    others = [each for record in records for each in fields_of(record)]
    for _ in range(4000):
        value = forged(fields_of(chance.choice(records)), others, chance)
        found = plan(value, 0)
        if found is None:
            continue
        read += 1
        theirs = of.FromString(value)
        assert in_plan(found) == in_library(theirs), value
        twice += len(value) > len(theirs.SerializePartialToString())
    assert read > 1200 and twice > 400
    for value in records:
        assert in_plan(plan(value, 0)) == in_library(of.FromString(value))


A, B = f"+{NUMBER}".encode(), f"+{OTHER}".encode()
PHONE, MOBILE = sized(4, A), sized(6, sized(1, A))
DEEP = b""
for _ in range(90):
    DEEP = sized(2, DEEP)


@pytest.mark.parametrize(
    ("value", "found"),
    {
        "the last of two numbers": (sized(4, A) + sized(4, B), {"phone": B.decode()}),
        "a number, and then another member of its oneof": (PHONE + sized(5, b""), None),
        "another member of its oneof, and then a number": (sized(5, b"") + PHONE, {"phone": A.decode()}),
        "a number, and then another one in its oneof": (PHONE + MOBILE, None),
        "messages that are merged": (
            sized(6, sized(1, A)) + sized(6, sized(1, B)) + sized(6, b""),
            {"contact": {"mobile": B.decode()}},
        ),
        "messages with a default that are merged": (sized(16, plain(4, 1)) + sized(16, b""), None),
        "wrappers that are merged": (sized(7, sized(1, b"FR")) + sized(7, b""), None),
        "an empty wrapper": (sized(7, b""), {"country": ""}),
        "zero in a wrapper, after another value": (
            sized(16, sized(6, plain(1, 7)) + sized(6, plain(1, 0))),
            None,
        ),
        "false after true": (plain(9, 1) + plain(9, 0), None),
        "lists in pieces": (
            sized(14, b"\1\0\0\0") + tag(14, 5) + b"\2\0\0\0" + sized(14, b""),
            {"voice_kind": [1, 2]},
        ),
        "not a number": (sized(12, tag(2, 1) + b"\0" * 6 + b"\xf8\x7f"), None),
        "a symbol that its enum has not": (plain(11, 9), {"channel": 9}),
        "a negative symbol": (plain(11, -1), {"channel": "OTHER"}),
        "deep messages that nobody reads": (
            sized(6, DEEP + sized(1, A)),
            {"contact": {"mobile": A.decode()}},
        ),
        "a skipped field in another wire type": (plain(1, 6) + PHONE, None),
        "an integer without an end": (PHONE + tag(13, 0) + b"\x80" * 11 + b"\0", None),
        "an int of 33 bits": (plain(13, 1 << 32), None),
        "neither true nor false": (plain(9, 2), None),
        "a tag of 36 bits": (b"\xa2\x80\x80\x80\x80\0" + b"\3abc", None),
        "the end of another group": (tag(90, 3) + tag(91, 3) + tag(90, 4) + tag(91, 4), None),
        "groups that are nested too deeply": (tag(90, 3) * 200 + tag(90, 4) * 200, None),
    }.values(),
    ids=lambda each: "" if not isinstance(each, bytes) else None,
)
def test_a_record_is_read_as_the_specification_says_or_not_at_all(value, found):
    """A dialler would read another number than the one that was judged, or one record would stop the worker."""
    read = plan_for(NEW)(value, 0)
    assert (read and json.loads(read)) == (None if found is None else {"channel": "VOICE", **found})
    if found is not None:
        class_of(compiled(NEW), "org.example.Lead").FromString(value)


TWICE = (
    HEAD
    + """
message Lead { Contact contact = 1; google.protobuf.StringValue phone = 2; Call call = 8; }
message Contact { string mobile = 1; }
message Call { repeated string purpose = 1; }
"""
)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (sized(1, sized(1, A)) + sized(1, sized(1, b"")), None),
        (sized(1, sized(1, A)) + sized(1, b""), {"contact": {"mobile": A.decode()}}),
        (sized(1, sized(1, b"")) + sized(1, sized(1, A)), {"contact": {"mobile": A.decode()}}),
        (sized(1, sized(1, A) + sized(1, b"")), None),
        (sized(2, sized(1, A)) + sized(2, sized(1, b"")), None),
        (sized(2, sized(1, b"")) + sized(2, sized(1, A)), None),
    ],
)
def test_a_message_whose_second_occurrence_is_explicitly_empty_is_unreadable(value, found):
    """Readers in Java and C# would dial the number of the first one, which nobody judged."""
    read = plan_for(TWICE)(value, 0)
    assert (read and json.loads(read)) == found


def test_bytes_are_a_text_in_ascii_or_unreadable():
    """A reader of UTF-8 would find +32 470 12 34 56 where a French number was judged: a full-width plus is three bytes."""
    plan = plan_for(HEAD + "message Lead { bytes phone = 1; }")

    assert plan(sized(1, A), 0) == b'{"phone":"%s"}' % A
    assert plan(sized(1, "\uff0b32470123456".encode()), 0) is None


def test_a_symbol_that_its_enum_has_not_is_unreadable_in_proto2():
    """Some readers of proto2 keep the symbol before an unknown number, also of an enum of proto3: another country."""
    enums = Schema("PROTOBUF", 'syntax = "proto3"; enum Land { DE = 0; FR = 1; }', name="enums.proto")
    text = 'syntax = "proto2"; import "enums.proto"; message Lead { optional Land country = 7; }'
    plan = plan_of(messages_of(Schema("PROTOBUF", text, (enums,))), MEMBERS)

    assert plan(b"\0" + plain(7, 1), 0) == b'{"country":"FR"}'
    assert plan(b"\0" + plain(7, 1) + plain(7, 99), 0) is None


ITEM = "message Item { optional bool " + "n" * 30_000 + " = 1; } "
SYMBOL = "enum Long { " + "S" * 30_000 + " = 0; } "
DEFAULT = 'message Deep { optional string x = 1 [default = "' + "d" * 30_000 + '"]; } '
LOOP = "message Loop { optional Loop phone = 1; } "


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (ITEM + "message Lead { repeated Item phone = 1; }", sized(1, b"") * 50_000),
        (SYMBOL + "message Lead { repeated Long phone = 1; }", sized(1, bytes(100)) * 1000),
        (DEFAULT + "message Lead { repeated Deep phone = 1; }", sized(1, b"") * 50_000),
        ("message Item {} message Lead { repeated Item phone = 1; }", sized(1, b"") * 500_000),
        (LOOP, sized(1, sized(1, b"") * 1_000_000)),
        (LOOP + "message Lead { map<string, Loop> phone = 1; }", sized(1, sized(2, DEEP)) * 1000),
    ],
    ids=["names", "symbols", "defaults", "empty messages", "merged", "map"],
)
def test_a_few_bytes_do_not_become_many_by_their_schema(schema, value):
    """One producer's record would hold every worker that reads it for hours, or fill its memory, again after each start."""
    plan = plan_for(f'syntax = "proto2"; {schema}', MEMBERS, (schema.count("message ") - 1,))
    tracemalloc.start()
    began = time.process_time()
    plan(value, 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20 and most < 16 << 20


def shape(messages):
    """What plans are made of, with each type by the place where it was found first."""
    found, lines = list(messages), []

    def place(of):
        if not hasattr(of, "fields"):
            return of
        if not any(of is each for each in found):
            found.append(of)
        return next(at for at, each in enumerate(found) if each is of)

    for each in found:
        fields = [field._replace(type=place(field.type)) for field in each.fields]
        lines.append((each.wrapper, fields, [place(inner) for inner in each.inner]))
    return lines


TRICKY = [
    NEW,
    OLD,
    "message Lead { optional string phone = 1; }",
    """syntax = 'proto' "3"; // " /* ;
    package a . b; option java_package = "x;}"; option (my.opt).deep = { a: "}" b { c: 1 } };
    message message { string string = 0x1F; .a.b.message.optional optional_ = 017 [deprecated = true, (x) = {y: [1]}];
      message optional { message c {} /* message d {} */ c d = 1; map<string, c> map_of_c = 2; }
      enum repeated { option allow_alias = true; A = 0; B = 0x10; C = -010; D = 16; reserved 3, 50 to max; }
      repeated repeated reserved_ = 5 [packed = false]; oneof option { bool oneof = 7; b.message group_ = 8; }
      reserved 100, 200 to 300; reserved "foo"; ; message after {} optional repeated last = 9; }
    service S { rpc R (message) returns (stream message) { option (x) = { y: 1 }; } rpc Q (x) returns (x); }
    enum top { Z = 0; } message x { top t = 1; .a.b.message.repeated r = 2 [json_name = "@r"]; }""",
    """syntax = "proto2"; message A { extensions 4 to 9; optional int32 a = 1 [default = -0x10]; optional float b = 2
      [default = -1.5e3]; optional double c = 3 [default = inf]; optional uint64 d = 10 [default = 0777, deprecated=true];
      optional E e = 11 [default = TWO]; optional bool f = 12 [default = true]; optional bytes g = 13
      [default = "a" 'b']; optional string h = 14 [json_name = "H", default = "0x10"]; enum E { ONE = 1; TWO = 2; }
      repeated group Result = 15 { optional string url = 1; optional E e = 2; message Deep {} } oneof o { group Gx = 20 { } } }
      extend A { optional string ext = 4; } message B { optional A.Gx g = 1;
      optional A.Result.Deep d = 2; extend A { optional B b = 6; } }""",
]


def bare(text):
    """The schema without options that only registries know."""
    return re.sub(r"option \(my.opt\)[^;]*;|, \(x\) = \{y: \[1\]\}|option \(x\) = \{ y: 1 \};", "", text)


@pytest.mark.parametrize("text", TRICKY)
def test_a_schema_means_what_it_means_to_protoc(text):
    """A schema that a producer registers as text would mean another than its descriptor, and another number be read."""
    text = bare(text)
    known = compiled(text)
    assert shape(messages_of(Schema("PROTOBUF", text))) == shape(
        messages_of(Schema("PROTOBUF", in_base64(known)))
    )


@pytest.mark.parametrize(
    "schema",
    [
        "nonsense",
        "message A " + "{ message A " * 100_000,
        'edition = "2023"; message A {}',
        'syntax = "proto3"; enum A { B = 0; }',
        'syntax = "proto3"; message A { string phone = 1; string phone = 2; }',
        'syntax = "proto3"; message A { Missing phone = 1; }',
        'syntax = "proto3"; message A { string phone = 0; }',
        'syntax = "proto3"; message A { optional map<string, string> phone = 1; }',
        'syntax = "proto3"; ' + "".join(f"message A{at} {{}} " for at in range(10_001)),
        'syntax = "proto3"; '
        + "".join(f"message A{at} {{ A{at + 1} phone = 1; }} " for at in range(1500))
        + "message A1500 {}",
        "CgVsZWFk" * 1000,
        'syntax = "proto2"; message A { extensions 5; } extend A { optional group B = 5 { } }',
        "{}",
    ],
)
def test_a_schema_that_is_none_is_unusable(schema):
    """One schema in the registry would stop every worker that meets it."""
    with pytest.raises(Unreadable):
        plan_of(messages_of(Schema("PROTOBUF", schema)), MEMBERS)


NEARER = 'syntax = "proto3"; package a.b; message Phone { string mobile = 1; string phone = 2; }'


@pytest.mark.parametrize(
    ("public", "number"),
    [("", 1), ("public ", 2)],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_a_name_means_a_type_of_an_imported_file(public, number, is_text):
    """A number that protoc's readers find in one type would be looked for in another one: they dial what nobody judged."""
    outer = (
        f'syntax = "proto3"; package a; import {public}"inner.proto"; message Phone {{ string phone = 1; }}'
    )
    main = 'syntax = "proto3"; package a.b; import "outer.proto"; message Lead { Phone contact = 1; }'
    texts = {"inner.proto": NEARER, "outer.proto": outer, "": main}

    def form(name):
        if is_text:
            return texts[name]
        file = compiled(texts[name], {each: texts[each] for each in texts if each})
        for message in file.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = field.type_name.rpartition(".")[
                        2
                    ]  # as it is written, which is for the reader to resolve
        return in_base64(file)

    files = [Schema("PROTOBUF", form(name), name=name) for name in ("inner.proto", "outer.proto")]
    (lead,) = messages_of(Schema("PROTOBUF", form(""), files))
    assert [each.number for each in lead.fields[0].type.fields if each.name == "phone"] == [number]


def test_a_descriptor_may_import_texts_and_what_the_registry_need_not_have():
    """Leads of a client in Python whose types were registered from Java, or with tags of Confluent's, would be unreadable."""
    phone = """syntax = "proto3"; package org; import "confluent/meta.proto"; import "google/protobuf/wrappers.proto";
        message Phone { google.protobuf.StringValue mobile = 1 [(confluent.field_meta).tags = "PII"]; }"""
    meta = """syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
        message Meta { repeated string tags = 3; } extend google.protobuf.FieldOptions { Meta field_meta = 1088; }"""
    main = 'syntax = "proto3"; import "org/phone.proto"; message Lead { org.Phone contact = 6; }'
    with_meta = {"org/phone.proto": phone, "confluent/meta.proto": meta}
    for text in (main, in_base64(compiled(main, with_meta))):
        for used in (phone, in_base64(compiled(phone, {"confluent/meta.proto": meta}))):
            schema = Schema("PROTOBUF", text, [Schema("PROTOBUF", used, name="org/phone.proto")])
            plan = plan_of(messages_of(schema), PATHS)
            value = b"\0" + sized(6, sized(1, sized(1, A)))
            assert plan(value, 0) == b'{"contact":{"mobile":"%s"}}' % A


@pytest.mark.parametrize("name", ["../x.proto", "/etc/x.proto", "--plugin=x", "@x", "a/../b", "a\0b"])
def test_a_schema_cannot_name_files_of_the_machine(name):
    """Who may register a schema would read or write files of the worker, or run a program on its machine."""
    other = 'syntax = "proto3"; message Other {}'
    schema = 'syntax = "proto3"; message Lead { string phone = 1; }'
    with pytest.raises(Unreadable):
        messages_of(Schema("PROTOBUF", schema, [Schema("PROTOBUF", other, name=name)]))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("message Lead { map<string, string> phone = 1; }", "phone is a map"),
        ("message Lead { repeated Deep phone = 1; } message Deep {}", "phone is a list of messages"),
        ("message Lead { Lead phone = 1; }", "phone.phone is a message that holds itself"),
        (
            "message Lead { M0 phone = 1; } message M20 {}"
            + "".join(f"message M{at} {{ M{at + 1} x = 1; }}" for at in range(20)),
            f"phone{'.x' * 15} is nested more than 16 deep",
        ),
    ],
)
def test_a_member_that_is_not_read_is_named(schema, why):
    """All leads of a producer would come out blocked, and nobody could say why."""
    told = []
    messages = messages_of(Schema("PROTOBUF", f'syntax = "proto3"; {schema}'))
    plan = plan_of(messages, MEMBERS, lambda at, error: told.append((at, str(error))))
    assert [plan(b"\0" + PHONE, 0), plan(b"\0", 0)] == [None, None]
    assert told == [((0,), why)]


def test_a_message_within_itself_on_a_path_is_read():
    """A number one level down, in a message of the same type, would be unreadable."""
    text = "message Lead { optional Lead contact = 6; optional string mobile = 1; }"
    plan = plan_for(f'syntax = "proto2"; {text}')
    assert plan(sized(6, sized(1, A)) + sized(1, B), 0) == b'{"contact":{"mobile":"%s"}}' % A


def test_a_long_list_is_read_and_one_without_end_is_not():
    """A lead with many campaigns would be unreadable, or one record fill the memory of every worker."""
    plan = plan_for('syntax = "proto3"; message Lead { repeated bool campaign = 1; }', MEMBERS)
    assert plan(sized(1, b"\1" * 5000), 0).count(b"true") == 5000
    assert plan(sized(1, b"\1" * 500_000), 0) is None


def test_a_schema_that_protoc_refuses_is_refused_with_its_line():
    """A producer would not know what to correct."""
    with pytest.raises(Unreadable, match=r"stream_scrub_main.proto:2:1: Expected"):
        messages_of(Schema("PROTOBUF", 'syntax = "proto3";\nnonsense'))


FIELDS = " ".join(f"bool f{at} = {at + 1};" for at in range(3500))
MANY = " ".join(f"message Lead{at} {{ Large contact = 1; }}" for at in range(1000))
SYMBOLS = " ".join(f"F{at} = {at};" for at in range(3000))


@pytest.mark.parametrize(
    "schema",
    [
        f"message Lead {{ {FIELDS} }}",
        f"message Lead {{ message Deep {{ oneof x {{ {FIELDS} }} }} Deep phone = 1; }}",
        f"message Large {{ {FIELDS} }} {MANY}",
        f"enum Large {{ {SYMBOLS} }} {MANY}",
    ],
    ids=["fields", "a oneof", "a message that many hold", "an enum that many hold"],
)
def test_a_large_schema_is_compiled_and_used_in_moments(schema):
    """Whoever may register a schema would hold every worker for a minute, or fill its memory."""
    tracemalloc.start()
    began = time.process_time()
    plan = plan_of(messages_of(Schema("PROTOBUF", f'syntax = "proto3"; {schema}')), PATHS)
    plan(b"\0" + sized(1, plain(1, 1) * 200_000), 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20 and most < 48 << 20


def test_groups_in_each_other_are_read_in_one_go():
    """A few large records of one schema would hold a worker until it is taken for dead, and so after each start."""

    def took(deep):
        opened = "".join(f"optional group G{at} = 1 {{ " for at in range(deep))
        plan = plan_for(
            f'syntax = "proto2"; message Lead {{ {opened} repeated bool x = 2; {"}" * deep} }}', of
        )
        value = tag(1, 3) * deep + plain(2, 1) * 10_000 + tag(1, 4) * deep
        began = time.process_time()
        for _ in range(20):
            assert plan(value, 0).count(b"true") == 10_000
        return time.process_time() - began

    of = MEMBERS._replace(numbers=(("g0",),))
    assert took(15) < 8 * min(took(1) for _ in range(3))


def test_names_are_those_of_the_schema_or_of_its_json():
    """After a producer's change to Protobuf no lead would have a number any more."""
    members = MEMBERS._replace(numbers=(("phoneNumber",), ("mobile",)))
    text = 'syntax = "proto3"; message Lead { string phone_number = 1; string home = 2 [json_name = "mobile"]; %s }'
    value = sized(1, A) + sized(2, B) + sized(3, b"x")
    both = {"phoneNumber": A.decode(), "mobile": B.decode()}
    assert json.loads(plan_for(text % "", members)(value, 0)) == both
    own = text.replace(' [json_name = "mobile"]', "") % "string mobile = 3;"
    assert json.loads(plan_for(own, members)(value, 0)) == {**both, "mobile": "x"}


def test_records_of_many_messages_are_each_read_by_their_own():
    """A number would be read from another message's field."""
    count = 150
    messages = [Message([Field("phone", "phone", at + 1, "string")]) for at in range(count)]
    plan = plan_of(messages, MEMBERS)
    for at in [*range(count), *range(count), 0, 0, count - 1]:
        value = b"".join(sized(each + 1, b"%d" % each) for each in range(count))
        assert plan(b"\2" + varint(2 * at) + value, 0) == b'{"phone":"%d"}' % at


INNER = 'syntax = "proto3"; message A {} message B { message C {} message D { string phone = 1; } %s }'


@pytest.mark.parametrize(
    ("text", "at", "is_read"),
    [
        (INNER % "", (1, 1), True),
        (INNER % "", (1, 0), True),
        (INNER % "", (1, 2), False),
        (INNER % "", (1, 1, 0), False),
        (INNER % "map<string, C> c = 1;", (1, 1), False),
    ],
)
def test_only_a_message_that_all_writers_count_alike_is_read(text, at, is_read):
    """A record would be read as another message, and another number be judged."""
    assert (plan_for(text, at=at)(PHONE, 0) is not None) == is_read


@pytest.mark.parametrize(
    ("value", "headers", "found"),
    [
        (b"\0\0\0\0\7\0xy", None, (b"\0\0\0\7", (0,), 6)),
        (b"\0\0\0\0\7\2\2xy", None, (b"\0\0\0\7", (1,), 7)),
        (b"\0\0\0\0\7\2\x80\2xy", None, (b"\0\0\0\7", (128,), 8)),
        (b"\1" + b"g" * 16 + b"\0", None, (b"g" * 16, (0,), 18)),
        (b"xy", [("__value_schema_id", b"\0\0\0\0\7\0")], (b"\0\0\0\7", (0,), 0)),
        (b"\2xy", [("__value_schema_id", b"\1" + b"g" * 16 + b"\4\2\0")], (b"g" * 16, (1, 0), 0)),
        (b"\2xy", [("__value_schema_id", b"\0\0\0\0\7")], None),
        (b"\2xy", [("__value_schema_id", b"\0\0\0\0\7\2")], None),
        (b"\2xy", [("__value_schema_id", b"\0\0\0\0\7\x80")], None),
        (b"\0\0\0\0\7\2\1", None, None),
        (b"\0\0\0\0\7" + b"\x80" * 20, None, None),
    ],
)
def test_a_message_is_named_behind_the_id_alone(value, headers, found):
    """A record would be read as another message than its reader takes it for, and another number be judged."""
    frame, named = framed(value, headers, indexed=True), None
    if frame is not None:
        which, data, start = frame
        with suppress(IndexError, Unreadable):
            place, end = indexes(data, start)
            named = which, place, len(value) - len(data[end:])
    assert named == found
