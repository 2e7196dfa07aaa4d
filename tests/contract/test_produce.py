"""`stream-scrub produce`: a file's rows are prospects on the topic, which get the verdicts that the file got."""

import io
import json
from datetime import UTC, datetime

import fastavro
import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scrub import Checker
from stream_scrub.cli.app import _command
from stream_scrub.kafka.embedded import EmbeddedKafka
from tests.support.fakes.registry import FakeRegistry
from tests.support.fakes.web import Web
from tests.support.running.files import FREE, OPPOSED, Bureau, no_settings

ROWS = (
    "Tél;mobile;pays;Note;note;scrub;id",
    f"{FREE};;FR;é;x;old;7",
    f"{OPPOSED};612345678.0;FR;a;;;8",
    "+447400123456;;GB;;;;",
)
COLUMNS = ["--column", "tél", "--column", "mobile", "--region-column", "pays"]
LEADS = "".join(f"{row}\n" for row in ROWS).encode("cp1252")


@pytest.fixture
def produced(tmp_path, monkeypatch):
    """Runs the command against an embedded broker; gives its exit code and the records on the topic, in order."""
    no_settings(monkeypatch, tmp_path)
    with EmbeddedKafka() as broker:
        broker.create_topic("prospects", 1)

        def run(content: bytes, *options: str):
            (tmp_path / "leads.csv").write_bytes(content)
            said = ["--bootstrap-servers", broker.bootstrap, *options]
            monkeypatch.setattr("sys.argv", ["stream-scrub", "produce", "leads.csv", *said])
            code = _command()
            consumer = Consumer(
                {"bootstrap.servers": broker.bootstrap, "group.id": "g", "enable.partition.eof": True}
            )
            consumer.assign([TopicPartition("prospects", 0, 0)])
            found = []
            while (message := consumer.poll(20)) is not None and message.error() is None:
                found.append((message.key(), message.value()))
            consumer.close()
            return code, found

        yield run


def test_rows_become_prospects_with_the_files_verdicts(produced, tmp_path, capsys):
    """Whoever moves from files to a stream would have other people called than before."""
    options = [*COLUMNS, "--key-column", "id", "--purpose", "press"]
    code, found = produced(LEADS, *options)

    assert (
        code == 0
        and "3 prospects are on prospects (Tél, mobile: 2 number columns; region: pays)"
        in capsys.readouterr().out
    )
    assert [key for key, _ in found] == [b"7", b"8", None]
    values = [json.loads(value) for _, value in found]
    assert values[0] == {"phone": [FREE], "mobile": "", "country": "FR", "Note": "é", "note_2": "x", "scrub_2": "old", "id": "7", "purpose": "press"}  # fmt: skip
    assert values[1]["phone"] == [OPPOSED, "612345678.0"]
    bureau = Bureau(tmp_path)
    file = bureau.scrub(LEADS, columns=("tél", "mobile"), fact_columns={"region": "pays"}, purpose="press")
    checker = Checker.from_lists(bureau.lists, settings=bureau.settings)
    batch = checker.scrubber.scrub([v for _, v in found], checker.index, datetime(2026, 6, 1, 12, tzinfo=UTC))
    told = [json.loads(value)["scrub"] for value in batch.values]
    written = [line.split(";")[-6:-4] for line in file.files[2].decode("cp1252").splitlines()[1:]]
    assert written == [[stamp["verdict"], stamp["reason"]] for stamp in told]


def test_ndjson_is_put_there_as_it_is(produced):
    """A prospect's bytes would be changed on the way, and its digest with them."""
    lines = [json.dumps({"id": 1, "phone": FREE}), '{ "phone":"x" , "id":"b" }', "{broken"]
    code, found = produced("\r\n".join(lines).encode(), "--key-column", "id")

    assert code == 0
    assert found == [(b"1", lines[0].encode()), (b"b", lines[1].encode()), (None, b"{broken")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        (LEADS, ("--column", "tél", "--key-column", "nobody"), 2, "--key-column"),
        (LEADS, ("--column", "tél", "--set", 'prospect.numbers=["a.b"]'), 2, "inside an object"),
        (b"phone;purpose\n0611111111;press\n", ("--purpose", "press"), 2, "leave the option out"),
        (b"phone;purpose;Purpose\n0611111111;press;x\n", (), 2, "2 columns are titled purpose: name one with --purpose-column"),
        (b'{"phone":"0611111111"}\n', ("--purpose", "press"), 2, "as it is"),
        (b"phone\n0611111111\n1" + b"x" * 9_000_000, ("--column", "phone"), 1, "line 3 was not taken"),
        (b"", (), 1, "no rows"),
        (b"phone\n0611111111\n", ("--bootstrap-servers", "127.0.0.1:9"), 1, "no broker answers now"),
    ],
)  # fmt: skip
def test_what_cannot_be_produced_is_said(produced, capsys, content, options, code, said):
    """Half a file would be on the topic, and no one would know up to where."""
    found, _ = produced(content, *options)
    told = capsys.readouterr().err
    assert found == code and said in told, told


@pytest.fixture
def registry():
    """A registry, and the options with which rows are produced in Avro."""
    registry = FakeRegistry()
    with Web(registry) as web:
        settings = {"prospect.format": "avro", "prospect.stamp": "header", "registry.url": web.url}
        yield registry, [each for name, value in settings.items() for each in ("--set", f"{name}={value}")]


def records_in(found, schema):
    parsed = fastavro.parse_schema(schema)
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed) for _, value in found]


def test_rows_become_records_in_avro_whose_schema_is_registered(produced, registry, capsys):
    """A newcomer with workers that read Avro could not try them with a file."""
    registry, options = registry
    options += [*COLUMNS, "--relation", "inquiry:2026-01-31"]
    code, found = produced(LEADS, *options)

    assert code == 0, capsys.readouterr().err
    assert {value[:5] for _, value in found} == {b"\0\0\0\0\1"}
    first, second, _ = records_in(found, registry.schema(1))
    assert first == {"phone": [FREE], "mobile": "", "country": "FR", "Note": "é", "note_2": "x", "scrub_2": "old", "id": "7", "relation": {"kind": "inquiry", "since": "2026-01-31"}}  # fmt: skip
    assert second["phone"] == [OPPOSED, "612345678.0"]
    assert produced(LEADS, *options)[1][3:] == found, "the second run uses what the first one registered"


def test_rows_fit_the_latest_schema_of_the_topic(produced, registry, capsys):
    """A producer's schema would be replaced by another one, or its readers be given a text for a number."""
    registry, options = registry
    fields = [("id", "long"), ("phone", "string"), ("score", ["null", "double"]), ("other", ["null", "int"])]
    schema = {
        "type": "record",
        "name": "Lead",
        "fields": [
            {"name": name, "type": kind, **({} if name != "other" else {"default": None})}
            for name, kind in fields
        ],
    }
    registry.add(schema)
    code, found = produced(f"id;phone;score;note\n7;{FREE};0.5;x\n8;{OPPOSED};;\n".encode(), *options)

    assert code == 0, capsys.readouterr().err
    assert records_in(found, schema) == [
        {"id": 7, "phone": FREE, "score": 0.5, "other": None},
        {"id": 8, "phone": OPPOSED, "score": None, "other": None},
    ]
    code, _ = produced(f"id;phone\n9;{FREE}\nx;{OPPOSED}\n".encode(), *options)
    said = capsys.readouterr().err
    assert code == 1 and "line 3 does not fit the latest schema of prospects-value" in said
    registry.add({"type": "record", "name": "Lead", "fields": [{"name": "tel", "type": "string"}]})
    assert produced(f"phone\n{FREE}\n".encode(), *options)[0] == 2
    assert "has no field phone" in capsys.readouterr().err
