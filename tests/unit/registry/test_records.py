"""From records to JSON by their schemas, while the registry answers and while it does not."""

import io
import json

import pytest

from stream_scrub.config import Settings
from stream_scrub.config.registry import Registry
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.extension import extension
from stream_scrub.ops.logs import configure
from stream_scrub.registry import records as module
from stream_scrub.registry.client import RegistryClient
from stream_scrub.registry.records import RegistryRecords, read_all
from tests.support.fakes.protobuf import compiled, in_base64, sized, varint
from tests.support.fakes.registry import FakeRegistry, by_guid, numbered, written
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.fakes.web import Web

if extension() is None:
    pytest.skip("the extension is not installed", allow_module_level=True)
LEAD = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": "string"}]}
LATER = {"type": "record", "name": "Lead", "fields": [{"name": "id", "type": "int"}, *LEAD["fields"]]}
JSON = b'{"phone":"0612345678"}'
ONE = written(LEAD, {"phone": "0612345678"})
TWO = written(LATER, {"phone": "0612345678", "id": 1})


@pytest.fixture
def registry():
    return FakeRegistry()


@pytest.fixture
def web(registry):
    with Web(registry) as web:
        yield web


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds; advance it by adding to its only element."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log():
    return io.BytesIO()


@pytest.fixture
def records(web, log):
    return RegistryRecords(
        RegistryClient(Registry(url=web.url)), "avro", MEMBERS, configure("info", "json", log)
    )


@pytest.fixture
def in_protobuf(web, log):
    return RegistryRecords(
        RegistryClient(Registry(url=web.url)), "protobuf", MEMBERS, configure("info", "json", log)
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [("", ""), ("/apis", "/apis answers 404, not as a registry does"), ("refused", "not answer")],
)
def test_a_registry_at_another_address_shows_at_the_start(web, log, path, why):
    """A mistyped address would show with the first prospect, after the operator has gone home."""
    url = "http://127.0.0.1:9" if path == "refused" else web.url + path
    settings = Settings(prospect={"format": "avro", "stamp": "header"}, registry={"url": url})
    module.warn_if_away(settings, configure("info", "json", log))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["schema registry cannot be asked"] * bool(why)
    assert why in str(lines)


def read(records, *values, enough=lambda: False):
    return list(records.read(values, [None] * len(values), enough))


PROTOBUF = """syntax = "proto3"; import "org/phone.proto"; message Other { string phone = 2; }
    message Lead { org.Phone phone = 1; }"""
PHONE = 'syntax = "proto3"; package org; message Phone { Digits digits = 1; } message Digits { string phone = 1; }'
LEAD_AND_OTHER = [b'{"phone":{"digits":{"phone":"06"}}}', b'{"phone":"06"}']


@pytest.mark.parametrize("is_text", [True, False])
def test_a_schema_in_protobuf_is_read_with_what_it_imports(in_protobuf, registry, is_text):
    """Leads of producers that share types, or whose client in Python registers descriptors, would be unreadable."""
    texts = [PHONE, PROTOBUF]
    if not is_text:
        texts = [in_base64(compiled(text, {"org/phone.proto": PHONE})) for text in texts]
    registry.add(texts[0], subject="org/phone.proto", kind="PROTOBUF")
    at = registry.add(texts[1], kind="PROTOBUF", refers=["org/phone.proto"])
    lead, other = sized(1, sized(1, sized(1, b"06"))), sized(2, b"06")
    assert read(in_protobuf, numbered(at, b"\2\2" + lead), numbered(at, b"\0" + other)) == LEAD_AND_OTHER
    header = [("__value_schema_id", b"\0" + at.to_bytes(4, "big") + b"\0")]
    assert in_protobuf.read([other], [header]) == LEAD_AND_OTHER[1:]


def test_messages_that_a_schema_has_not_cost_no_request(in_protobuf, web, registry):
    """One producer would make the registry the bottleneck of all."""
    at = registry.add(PHONE, kind="PROTOBUF")
    values = [numbered(at, b"\2" + varint(2 * index) + b"\x0a\0") for index in range(2, 500)]
    assert read(in_protobuf, *values) == [None] * len(values)
    assert len(web.asked) == 1


def test_a_record_that_cannot_be_read_has_its_reason_schema_and_member(records, in_protobuf, registry):
    """A producer's engineer would have to guess which of a hundred schemas, and what, is wrong."""
    lead, later = registry.add(LEAD), registry.add([LEAD])
    mapped = registry.add(
        'syntax = "proto3"; message Lead { map<string, string> phone = 1; }', kind="PROTOBUF"
    )
    broken = {
        b"": ("empty", "", ""),
        JSON: ("no-schema-id", "", ""),
        numbered(lead, b"\x40short"): ("schema-mismatch", "", str(lead)),
        numbered(later, b""): ("unusable-schema", "", str(later)),
        numbered(999, b""): ("unknown-schema", "", "999"),
    }
    assert read(records, None, *broken) == [None] * 6
    assert records.fault(None, None) == ("null", "", "")
    assert {value: records.fault(value, None) for value in broken} == broken
    message = numbered(mapped, b"\0")
    assert read(in_protobuf, message) == [None]
    assert in_protobuf.fault(message, None) == ("unusable-schema", "phone", str(mapped))
    for cut in (b"", b"\xff", b"\1", b"\4\2"):  # no indexes, cut ones, a negative number of them
        message = numbered(mapped, cut)
        assert read(in_protobuf, message) == [None]
        assert in_protobuf.fault(message, None)[0] in {"schema-mismatch", "unusable-schema"}


def test_the_reason_is_the_same_after_a_schema_made_room_for_others(in_protobuf, registry, monkeypatch):
    """An engineer would look for the fault in the record where it is in the schema, and `explain` would tell of a
    difference."""
    monkeypatch.setattr(module, "PLANS_MAX", 1)
    texts = ["map<string, string> phone = 1;", "string phone = 1;"]
    mapped, other = (
        registry.add(f'syntax = "proto3"; message Lead {{ {text} }}', kind="PROTOBUF") for text in texts
    )
    message = numbered(mapped, b"\0")
    assert read(in_protobuf, message, numbered(other, b"\0" + sized(1, b"06"))) == [None, b'{"phone":"06"}']
    assert in_protobuf.fault(message, None) == ("unusable-schema", "phone", str(mapped))


@pytest.mark.parametrize(
    ("kind", "lacks", "says"),
    [
        ("avro", "extension", '"avro" needs the extension: pip install'),
        ("protobuf", "extension", '"protobuf" needs the extension: pip install'),
        ("protobuf", "find_spec", r"needs protoc: pip install 'stream-scrub\[protobuf\]'"),
    ],
)
def test_a_stream_whose_records_cannot_be_read_here_does_not_start(monkeypatch, kind, lacks, says):
    """A worker would block every lead as unreadable, and its operator would not know which command helps."""
    monkeypatch.setattr(module, lacks, lambda *_: None)
    with pytest.raises(ConfigError, match=says):
        RegistryRecords(
            RegistryClient(Registry(url="http://localhost:1")), kind, MEMBERS, configure("info", "json")
        )


def test_a_schema_of_another_format_is_unusable(in_protobuf, registry, log):
    """A record in Avro would be read as one in Protobuf, and another number be judged."""
    at = registry.add(LEAD)
    assert read(in_protobuf, numbered(at, b"\0" + ONE)) == [None]
    assert b"of type AVRO, not PROTOBUF" in log.getvalue()


def test_an_id_in_the_header_leaves_the_value_to_the_record(records, registry):
    """Leads of producers that put the id into a header would be unreadable."""
    at = registry.add(LEAD)
    header = [("__value_schema_id", b"\0" + at.to_bytes(4, "big"))]
    assert records.read([ONE, by_guid(at, ONE)], [header, None]) == [JSON, JSON]


@pytest.mark.parametrize(
    ("kind", "schema"), [("PROTOBUF", "syntax"), ("JSON", "{}"), ("", '"bytes"'), ("", "{")]
)
def test_a_schema_that_cannot_be_used_is_logged_once_and_blocks_its_records(
    records, registry, log, kind, schema
):
    """Nobody would see why all leads of a producer come out blocked."""
    at = registry.add(schema, kind=kind)
    assert read(records, *[numbered(at, ONE)] * 3) == [None] * 3
    assert log.getvalue().count(b"schema unusable") == 1


def test_a_number_that_no_registry_gives_is_not_asked_for(records, web, registry):
    """A registry that refuses it would hold the worker at one record for ever."""
    registry.add(LEAD)
    web.answer = lambda asked: (
        (400, b"") if int(asked.path.rpartition("/")[2]) >= 1 << 31 else registry(asked)
    )
    assert read(records, numbered(0x80000000, ONE), numbered(0xFFFFFFFF, ONE), numbered(1, ONE)) == [
        None,
        None,
        JSON,
    ]


def test_an_unknown_id_is_asked_for_again_after_a_while(records, web, registry, clock):
    """A flood of wrong ids would be a flood of requests; a schema that comes late would block leads for ever."""
    assert read(records, *[numbered(1, ONE)] * 9) == [None] * 9
    assert len(web.asked) == 1
    registry.add(LEAD)
    clock[0] += module._ABSENT_S + 1
    assert read(records, numbered(1, ONE)) == [JSON]


def test_wrong_ids_without_end_take_no_memory_and_no_known_schema(records, web, registry, monkeypatch):
    """One producer would fill the worker's memory, or make it ask for the schemas of the others again and again."""
    monkeypatch.setattr(module, "_ABSENT_MAX", 5)
    at = registry.add(LEAD)
    read(records, numbered(at, ONE))
    assert read(records, *(numbered(1000 + each, ONE) for each in range(15))) == [None] * 15
    asked = len(web.asked)
    assert read(records, numbered(at, ONE)) == [JSON]
    assert len(web.asked) == asked
    assert len(records._absent) <= 5


def test_schemas_without_end_take_no_memory(records, registry, monkeypatch):
    """A producer that registers a schema for each lead would fill the worker's memory."""
    monkeypatch.setattr(module, "PLANS_MAX", 3)
    ids = [registry.add(LEAD) for _ in range(9)]
    assert read(records, *(numbered(each, ONE) for each in ids)) == [JSON] * 9
    assert len(records._plans) == 3


def test_one_schema_too_many_does_not_make_each_record_a_request(records, web, registry, monkeypatch):
    """A producer with a schema more than there is room for would delay the leads of all others."""
    monkeypatch.setattr(module, "PLANS_MAX", 20)
    ids = [registry.add({**LEAD, "doc": str(at)}) for at in range(21)]
    for _ in range(10):
        assert read(records, *(numbered(at, ONE) for at in ids)) == [JSON] * 21
    assert len(web.asked) < 80


def test_while_the_registry_is_away_what_is_known_goes_on(records, web, registry):
    """An outage of the registry would stop every lead, or block those whose schema is new."""
    one, two = registry.add(LEAD), registry.add(LATER)
    read(records, numbered(one, ONE))
    web.answer = lambda _: (503, b"")
    assert read(records, numbered(one, ONE), numbered(two, TWO), numbered(one, ONE)) == [JSON]
    with pytest.raises(Unavailable, match="503"):
        read(records, numbered(two, TWO))
    with pytest.raises(Unavailable, match="503"):
        read_all(records, [numbered(one, ONE), numbered(two, TWO)], [None, None])


def test_a_registry_that_is_away_is_asked_less_and_less_often(records, web, registry, clock):
    """Workers that wait would keep a registry down that tries to come back."""
    at = registry.add(LEAD)
    web.answer = lambda _: (503, b"")
    asked = []
    for _ in range(600):
        with pytest.raises(Unavailable):
            read(records, numbered(at, ONE))
        asked.append(len(web.asked))
        clock[0] += 0.1
    assert asked[-1] < 12
    web.answer = registry
    clock[0] += module._PAUSE_MAX_S
    assert read(records, numbered(at, ONE)) == [JSON]


def test_reading_ends_when_there_is_no_more_time(records, registry):
    """A batch of new schemas at a slow registry, or of records that each take milliseconds, would outlive its verdicts."""
    values = [numbered(registry.add(LEAD), ONE) for _ in range(3)]
    assert read(records, *values, enough=lambda: True) == [JSON]
    assert list(read_all(records, values, [None] * 3)) == [JSON] * 3
    known = values[:1] * 1000
    assert 1 <= len(read(records, *known, enough=lambda: True)) <= 100
    assert len(read_all(records, known, [None] * 1000)) == 1000
