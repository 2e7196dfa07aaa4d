"""Prospects in Avro get the stamps that they would get in JSON, and no record that readers could take otherwise is read."""

import io
import json
import random
import time
import tracemalloc
from itertools import pairwise

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.extension import extension
from stream_scrub.registry.records import avro_plan
from stream_scrub.scrub.decode import Members, Unreadable
from stream_scrub.scrub.schemas import NESTED_MAX, framed
from tests.support.fakes import law
from tests.support.fakes.registry import numbered, written
from tests.support.fakes.scrubbers import CONSENTING, MEMBERS, NUMBER, OTHER, index, scrubber
from tests.support.machine.effort import examples
from tests.support.oracles.avro_records import GOOD, LEAD, broken

NATIVE = extension() or pytest.skip("the extension is not installed", allow_module_level=True)
PATHS = Members.of(("phone", "contact.mobile"), "country", {"purpose": "call.purpose"})
INDEX = index()
SCRUBBERS = {
    members: scrubber(text, members=members, stamp="header", mixed="strip", contract_shapes=("C-#+",))
    for members, text in ((MEMBERS, law.OPT_OUT), (PATHS, law.OPT_IN))
}
NULL = {"type": "null"}


def plan_of(schema, references, members):
    """Of a schema in Avro."""
    return avro_plan(NATIVE, schema, references, members)


def agrees(found, theirs):
    """Whether what was read is what the library reads there: bytes as a text, and perhaps more in its objects."""
    if isinstance(found, dict):
        return all(name in theirs and agrees(found[name], theirs[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(theirs) and all(map(agrees, found, theirs))
    if isinstance(theirs, bytes):
        theirs = theirs.decode("ascii")
    return found == theirs and isinstance(found, bool) == isinstance(theirs, bool)


def read_by_library(parsed, value):
    """The record and how many bytes it took; None where a text is broken, perhaps one that no verdict needs."""
    stream = io.BytesIO(value)
    try:
        return fastavro.schemaless_reader(stream, parsed), stream.tell()
    except UnicodeDecodeError:
        return None


phones = st.sampled_from(
    [
        f"+{NUMBER}",
        f"+{OTHER}",
        f"+{CONSENTING}",
        "06 12 34 56 78",
        "0611111111 / 0612345678",
        "none",
        "",
        "é+",
        NUMBER,
        OTHER,
        7,
        -1,
        True,
    ]
)
numbers = phones | st.none() | st.lists(phones | st.none(), max_size=3)
words = st.sampled_from(
    ["insurance", "energy", "other", "", "Énergie", "C-12", "consumer", "artificial", "FR", "US-CT"]
)
relations = st.fixed_dictionaries(
    {"kind": st.sampled_from(["purchase", "inquiry", "x"]), "since": st.sampled_from(["2026-01-31", "soon"])}
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=6,
)
facts = {
    "country": words | st.none(),
    "purpose": words | st.lists(words, max_size=3) | st.none(),
    "contract": st.booleans() | words | st.none(),
    "campaign": words | st.integers(0, 9) | st.lists(words | st.integers(0, 9), max_size=2),
    "channel": words,
    "who": words,
    "relation": relations | words | st.none(),
    "voice_kind": words,
    "residence": words,
    "call": st.fixed_dictionaries({}, optional={"purpose": words | st.none(), "id": st.integers(0, 9)}),
    "contact": st.none() | st.fixed_dictionaries({}, optional={"mobile": numbers, "next": anything}),
    "scrub": anything,
    "id": anything,
    "notes": anything,
}
leads = st.fixed_dictionaries({}, optional={"phone": numbers, **facts})


class _Types:
    """Draws a schema that can hold a value: as another version of the producer would declare it."""

    def __init__(self, draw):
        self._draw, self._names = draw, 0

    def _name(self):
        self._names += 1
        return f"T{self._names}"

    def of(self, value):
        kind = self._of(value)
        if isinstance(kind, list) or not self._draw(st.booleans()):
            return kind
        return [kind] if kind == NULL else self._draw(st.permutations([kind, "null"]))

    def _of(self, value):
        match value:
            case None:
                return self._draw(st.sampled_from([NULL, ["string", "null"]]))
            case bool():
                return "boolean"
            case int():
                return self._draw(st.sampled_from(["int", "long"])) if abs(value) < 1 << 31 else "long"
            case float():
                return "double"
            case str():
                if value.isascii() and value.isidentifier() and self._draw(st.booleans()):
                    symbols = self._draw(st.permutations(["A", "B", value])) if value not in "AB" else [value]
                    return {"type": "enum", "name": self._name(), "symbols": symbols}
                return {"type": "string", "logicalType": "x"} if self._draw(st.booleans()) else "string"
            case list():
                kinds = {type(each): self._of(each) for each in value if each is not None}
                plain = [
                    {str: "string", bool: "boolean", int: "long", float: "double"}.get(k) or v
                    for k, v in kinds.items()
                ]
                unions = [each for kind in plain for each in (kind if isinstance(kind, list) else [kind])]
                items = [*unions, "null"] if None in value else unions
                return {"type": "array", "items": items or "string"}
        if self._draw(st.booleans()) and all(isinstance(each, str) for each in value.values()):
            return {"type": "map", "values": "string"}
        return self.record(value)

    def record(self, value):
        names = self._draw(st.permutations(list(value)))
        fields = [{"name": name, "type": self.of(value[name])} for name in names]
        return {"type": "record", "name": self._name(), "fields": fields}


def shallow(value):
    """Whether it has no list in a list and no different objects in one list, which one drawn type does not hold."""
    if isinstance(value, dict):
        return all(map(shallow, value.values()))
    if isinstance(value, list):
        return not any(isinstance(each, list | dict) for each in value)
    return True


@settings(max_examples=examples(600), deadline=None)
@given(leads.filter(shallow), st.data(), st.sampled_from([MEMBERS, PATHS]), st.randoms())
def test_a_prospect_gets_the_same_stamp_in_avro_as_in_json(lead, data, members, chance):
    """A producer that changes its format, or a schema that evolves, would change who is called. Of a broken record its reader
    would find another number than was judged."""
    schema = _Types(data.draw).record(lead)
    record = written(schema, lead)
    value = numbered(1, record)
    plan = plan_of(json.dumps(schema), (), members)

    by = SCRUBBERS[members]
    in_json = by.scrub([json.dumps(lead).encode()], INDEX, law.NOW)
    in_avro = by.scrub([plan(value, 5)], INDEX, law.NOW, emitted=[value])

    assert in_avro.stamps == in_json.stamps
    assert in_avro.allowed == in_json.allowed
    assert in_avro.values == [value]
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    for _ in range(10):
        damaged = broken(record, chance)
        found = plan(numbered(1, damaged), 5)
        theirs = found and read_by_library(parsed, damaged)
        if theirs:
            assert agrees(json.loads(found), theirs[0]) and theirs[1] == len(damaged), damaged


def test_what_verdicts_need_is_read_whatever_stands_before_and_behind_it():
    """A field of a type that few use would make every lead of a producer unreadable."""
    assert json.loads(plan_of(json.dumps(LEAD), (), PATHS)(GOOD, 0)) == {
        "phone": f"+{OTHER}",
        "contact": {"mobile": f"+{NUMBER}"},
        "country": "FR",
    }


def test_a_text_is_the_same_text_in_json():
    """A campaign with a quote in its name, or a number with a line break, would be another one in Avro, or unreadable."""
    plan = of(("phone", "string"), ("campaign", "bytes"), ("relation", {"type": "map", "values": "float"}))
    lead = {
        "phone": "".join(map(chr, range(256))) + "€😀",
        "campaign": bytes(range(128)),
        "relation": {"": 0.1, '"\\\n': -1e30},
    }
    schema = record("A", *[("phone", "string"), ("campaign", "bytes")])
    schema["fields"].append({"name": "relation", "type": {"type": "map", "values": "float"}})
    value = written(schema, lead)
    found = json.loads(plan(value, 0))
    assert found["phone"] == lead["phone"] and found["campaign"].encode() == lead["campaign"]
    assert found["relation"] == read_by_library(fastavro.parse_schema(schema), value)[0]["relation"]


def test_a_map_of_many_keys_is_read_and_one_of_too_many_is_not():
    """A few bytes a key would hold a worker: each key is compared with the earlier ones."""
    plan = of(("relation", {"type": "map", "values": "int"}), PHONE)

    def lead(count):
        return written({"type": "map", "values": "int"}, {f"{at:04}": 0 for at in range(count)}) + TEXT

    assert len(json.loads(plan(lead(200), 0))["relation"]) == 200
    assert plan(lead(2000), 0) is None


def test_a_renamed_field_is_read_by_its_earlier_name():
    """After a producer's renaming no lead would have a number any more."""
    fields = [
        {"name": "telephone", "aliases": ["number", "phone"], "type": "string"},
        {"name": "land", "aliases": ["country"], "type": "string"},
        {"name": "country", "type": "string"},
    ]
    schema = {"type": "record", "name": "Lead", "fields": fields}
    plan = plan_of(json.dumps(schema), (), MEMBERS)
    value = written(schema, {"telephone": "06", "land": "DE", "country": "FR"})
    assert json.loads(plan(value, 0)) == {"phone": "06", "country": "FR"}


@pytest.mark.parametrize(
    "schema",
    [
        "nonsense",
        "[" * 100_000,
        '"bytes"',
        '{"type":"record","name":"A"}',
        '{"type":"record","name":"A","fields":[{"name":"phone","type":"Unknown"}]}',
        '{"type":"record","name":"A","fields":[{"name":"phone","type":"int"},{"name":"phone","type":"int"}]}',
        '{"type":"record","name":"A","fields":[{"name":"x","aliases":["phone"],"type":"int"},'
        '{"name":"y","aliases":["phone"],"type":"int"}]}',
        '{"type":"fixed","name":"A","size":-1}',
        '{"type":"record","name":"A","fields":[{"name":"phone","type":'
        + '{"type":' * 200
        + '"int"'
        + "}" * 202,
        '{"type":"record","name":"A","fields":[{"name":"x","type":["'
        + '","'.join(["int"] * 20_000)
        + '"]}]}',
        "{}",
    ],
)
def test_a_schema_that_is_none_is_unusable(schema):
    """One schema in the registry would stop every worker that meets it."""
    with pytest.raises(Unreadable):
        plan_of(schema, (), MEMBERS)


def record(name, *fields):
    return {"type": "record", "name": name, "fields": [{"name": each, "type": kind} for each, kind in fields]}


def of(*fields, members=MEMBERS):
    """A plan and the names of its fields."""
    made = [{"name": name, "type": kind} for name, kind in fields]
    return plan_of(json.dumps({"type": "record", "name": "A", "fields": made}), (), members)


PHONE = ("phone", "string")
TEXT = b"\x0a06112"
NULLS = {"type": "array", "items": "null"}
LOOP = {"type": "record", "name": "Loop", "fields": [{"name": "next", "type": ["null", "Loop"]}]}
CHAIN = [record("C0", ("a", "int"))] + [record(f"C{at}", ("a", f"C{at - 1}")) for at in range(1, 1500)]
ENDLESS = {"type": "record", "name": "Endless", "fields": [{"name": "next", "type": "Endless"}]}


@pytest.mark.parametrize(
    ("plan", "value"),
    {
        "trailing": (of(PHONE), TEXT + b"\0"),
        "a length of 2^62": (of(PHONE), b"\xfe" * 8 + b"\x7f"),
        "not UTF-8": (of(PHONE), b"\x02\xff"),
        "bytes that are not ASCII": (of(("phone", "bytes")), b"\x0a" + "\uff0b32".encode()),
        "a decimal": (
            of(("phone", {"type": "bytes", "logicalType": "decimal", "precision": 12})),
            b"\x0c" + b"064123",
        ),
        "an integer of 65 bits": (of(("x", "long"), PHONE), b"\xff" * 9 + b"\x03" + TEXT),
        "an int of six bytes": (of(("x", "int"), PHONE), b"\x80" * 5 + b"\0" + TEXT),
        "neither true nor false": (of(("x", "boolean"), PHONE), b"\x02" + TEXT),
        "a branch too far": (of(("x", ["null", "int"]), PHONE), b"\x04" + TEXT),
        "a symbol too far": (
            of(("who", {"type": "enum", "name": "E", "symbols": ["A"]}), PHONE),
            b"\x02" + TEXT,
        ),
        "a block of a smaller size": (
            of(("x", {"type": "array", "items": "int"}), PHONE),
            b"\x01\x00\x02\x00" + TEXT,
        ),
        "2^40 items of no bytes": (of(("x", NULLS), PHONE), b"\x80\x80\x80\x80\x80\x80\x01\x00" + TEXT),
        "blocks of 2^20 items of no bytes": (
            of(("x", NULLS), PHONE),
            b"\x80\x80\x80\x01" * 9000 + b"\0" + TEXT,
        ),
        "a key twice": (
            of(("relation", {"type": "map", "values": "int"}), PHONE),
            b"\x04\x02a\0\x02a\2\0" + TEXT,
        ),
        "nested too deeply": (of(("x", LOOP), PHONE), b"\x02" * (NESTED_MAX + 1) + b"\0" + TEXT),
        "a hundred thousand levels": (of(("x", LOOP), PHONE), b"\x02" * 100_000 + b"\0" + TEXT),
        "a type without end": (of(("x", ENDLESS), PHONE), TEXT),
        "types 1500 deep": (of(("phone", CHAIN), ("x", "C1499")), b"\x02\x02"),
        "no number": (of(("contract", "double"), PHONE), b"\0\0\0\0\0\0\xf8\x7f" + TEXT),
    }.values(),
    ids=lambda each: "" if callable(each) else None,
)
def test_a_record_that_readers_could_take_otherwise_is_unreadable(plan, value):
    """A dialler would read another number than the one that was judged, or one record would stop the worker."""
    tracemalloc.start()
    assert plan(value, 0) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


def tower(height, width):
    """Fields without a byte: types that hold each other so many times."""
    names = [f"T{at}" for at in range(height)]
    return [(names[0], record(names[0]))] + [
        (name, record(name, *[(f"f{at}", below) for at in range(width)])) for below, name in pairwise(names)
    ]


LONG = {"type": "array", "items": record("Item", ("n" * 100_000, "boolean"))}
SYMBOL = {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["S" * 100_000]}}
FIVE_THOUSAND = b"\x90\x4e" + bytes(5000) + b"\0"


@pytest.mark.parametrize(
    ("plan", "value"),
    {
        "ten billion fields of no bytes": (of(*tower(11, 10)), b""),
        "the same in a member that is read": (
            of(("phone", record("Many", *tower(11, 10)))),
            b"",
        ),
        "a long name for each byte": (of(("phone", LONG)), FIVE_THOUSAND),
        "a long symbol for each byte": (of(("phone", SYMBOL)), FIVE_THOUSAND),
    }.values(),
    ids=["fields", "fields-read", "names", "symbols"],
)
def test_a_few_bytes_do_not_become_many_by_their_schema(plan, value):
    """One producer's record would hold every worker that reads it for hours, or fill its memory, again after each start."""
    tracemalloc.start()
    began = time.process_time()
    assert plan(value, 0) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20 and most < 16 << 20


def test_a_lead_with_many_fields_and_names_is_read():
    """What guards against hostile schemas would block a large lead."""
    fields = [(f"field_{at}", ["null", "string"]) for at in range(2500)]
    wide = record("Wide", *fields, *[(f"none_{at}", "null") for at in range(2000)])
    plan = of(("wide", wide), ("relation", wide["name"]), PHONE)
    assert json.loads(plan(b"\0" * 5000 + TEXT, 0))["phone"] == "06112"


def spaced(name, space, *fields):
    return {**record(name, *fields), "namespace": space}


TWO_STRINGS, ONE_STRING = [("a", "string"), ("b", "string")], [("a", "string")]


@pytest.mark.parametrize(
    "schema",
    [
        # Java 1.11: "T" in U is x.T. fastavro, as by the specification: it is T.
        spaced(
            "Lead",
            "x",
            ("s", spaced("T", "x", *TWO_STRINGS)),
            ("t", spaced("T", "", *ONE_STRING)),
            ("u", spaced("U", "", ("t", "T"))),
            PHONE,
        ),
        record("Lead", ("s", record("T", *TWO_STRINGS)), ("t", record("T", *ONE_STRING)), ("u", "T"), PHONE),
    ],
    ids=["in two namespaces", "twice"],
)
def test_a_name_that_readers_take_for_different_types_is_in_no_schema_that_is_used(schema):
    """A forged schema would have us judge a number that the dialler's reader does not find, and it would find another."""
    with pytest.raises(Unreadable):
        plan_of(json.dumps(schema), (), MEMBERS)


def test_types_of_one_name_in_two_namespaces_are_two_types():
    """A lead with two types of one name would be unreadable, or be read by the wrong one."""
    schema = spaced(
        "Lead",
        "x",
        ("s", spaced("T", "y", *TWO_STRINGS)),
        ("t", record("T", *ONE_STRING)),
        ("u", ["y.T", "T"]),
        PHONE,
    )
    value = written(
        schema, {"s": {"a": "", "b": ""}, "t": {"a": ""}, "u": ("x.T", {"a": ""}), "phone": "06112"}
    )
    assert plan_of(json.dumps(schema), (), MEMBERS)(value, 0) == b'{"phone":"06112"}'


NESTED_UNION = record("U", ("phone", [{"type": [{"type": ["U"]}]}]))
HALF = '{"type":"enum","name":"E","symbols":["\\ud800"]}'


@pytest.mark.parametrize(
    "schema",
    [
        json.dumps(NESTED_UNION),
        '{"type":"record","name":"R","fields":[{"name":"phone","type":' + HALF + "}]}",
    ],
    ids=["union in a union", "half a sign"],
)
def test_a_schema_that_no_reader_takes_to_its_end_is_unusable(schema):
    """One record of it would end every worker that meets it, again after each start."""
    with pytest.raises(Unreadable):
        plan_of(schema, (), MEMBERS)


@pytest.mark.parametrize(
    "fields",
    [
        [(f"f{at}", "int") for at in range(9000)],
        [
            ("e", {"type": "enum", "name": "E", "symbols": ["A"] * 100_000}),
            *[(f"f{at}", "E") for at in range(9000)],
        ],
        [("contact", [record("I", *[(f"f{at}", "int") for at in range(3000)]), *["I"] * 6000])],
    ],
    ids=["many fields", "a large enum often", "a record often"],
)
def test_a_large_schema_is_compiled_in_moments(fields):
    """Whoever may register a schema would hold every worker for a minute, or fill its memory."""
    tracemalloc.start()
    began = time.process_time()
    of(*fields, members=PATHS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20 and most < 64 << 20


def test_nesting_within_the_limit_is_read():
    """A producer's trees would make its leads unreadable."""
    plan = of(("x", LOOP), PHONE)
    assert plan(b"\x02" * (NESTED_MAX - 2) + b"\0" + TEXT, 0) == b'{"phone":"06112"}'


@pytest.mark.parametrize(
    ("value", "headers", "found"),
    [
        (b"\0\0\0\0\7xy", None, (b"\0\0\0\7", 5)),
        (b"xy", [("__value_schema_id", b"\0\0\0\0\7")], (b"\0\0\0\7", 0)),
        (b"xy", [("x", b"1"), ("__value_schema_id", b"\1" + b"g" * 16)], (b"g" * 16, 0)),
        (b"\0\0\0\0\7xy", [("__value_schema_id", b"\0\0\0\0\t")], (b"\0\0\0\t", 0)),
        (b"xy", [("__value_schema_id", b"\0\0\0\0\7"), ("__value_schema_id", b"\0\0\0\0\t")], None),
        (b"\0\0\0\0\7xy", [("__value_schema_id", b"\0\0\7")], None),
        (b"\0\0\0\0", None, None),
        (b"\0\0\0\0\7", None, (b"\0\0\0\7", 5)),
        (b"\2\0\0\0\7xy", None, None),
    ],
)
def test_a_schema_is_named_by_the_header_or_the_prefix_alone(value, headers, found):
    """A record would be read by another schema than its reader uses, and another number be judged."""
    assert framed(value, headers, indexed=False) == (found and (found[0], value, found[1]))


PLAN = plan_of(json.dumps(LEAD), (), PATHS)


def picked(record):
    return {name: record[name] for name in ("phone", "contact", "country")}


def test_ten_thousand_hostile_records_are_refused_or_read_as_everybody_reads_them():
    """A forged record would come out as allowed with another number than its reader finds, or stop the worker."""
    chance, read, schema = random.Random(31), 0, fastavro.parse_schema(LEAD)
    for _ in range(10_000):
        value = broken(GOOD, chance)
        found = PLAN(value, 0)
        if found is None:
            continue
        read += 1
        theirs = read_by_library(schema, value)
        if theirs is not None:
            assert json.loads(found) == picked(theirs[0])
            assert theirs[1] == len(value)
    assert read > 100
