"""`stream-scrub produce`: a file's rows are prospects on the topic, which get the verdicts that the file got."""

import json
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scrub import Checker
from stream_scrub.cli.app import _command
from stream_scrub.kafka.embedded.broker import EmbeddedKafka
from tests.support.running.files import FREE, OPPOSED, Bureau, no_settings

ROWS = (
    "Tél;mobile;pays;Note;note;scrub;id",
    f"{FREE};;FR;é;x;old;7",
    f"{OPPOSED};612345678.0;FR;a;;;8",
    "+447400123456;;GB;;;;",
)
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
    options = [
        "--column",
        "tél",
        "--column",
        "mobile",
        "--region-column",
        "pays",
        "--key-column",
        "id",
        "--purpose",
        "press",
    ]
    code, found = produced(LEADS, *options)

    assert (
        code == 0
        and "3 prospects are on prospects (Tél, mobile: 2 number columns; region: pays)"
        in capsys.readouterr().out
    )
    assert [key for key, _ in found] == [b"7", b"8", None]
    values = [json.loads(value) for _, value in found]
    assert values[0] == {"phone": [FREE], "mobile": "", "country": "FR", "Note": "é", "note_2": "x", "scrub_2": "old", "id": "7", "purpose": "press"}  # fmt: skip
    assert values[1]["phone"] == [OPPOSED, "612345678"]
    bureau = Bureau(tmp_path)
    file = bureau.scrub(LEADS, columns=("tél", "mobile"), region_column="pays", purpose="press")
    checker = Checker.from_lists(bureau.lists, settings=bureau.settings)
    batch = checker.scrubber.scrub([v for _, v in found], checker.index, datetime(2026, 6, 1, 12, tzinfo=UTC))
    told = [json.loads(value)["scrub"] for value in batch.values]
    written = [line.split(";")[-4:-2] for line in file.files[2].decode("cp1252").splitlines()[1:]]
    assert written == [[stamp["verdict"], stamp["reason"]] for stamp in told]


def test_ndjson_is_put_there_as_it_is(produced):
    """A prospect's bytes would be changed on the way, and its digest with them."""
    lines = [json.dumps({"id": 1, "phone": FREE}), '{ "phone":"x" , "id":"b" }', "{broken"]
    code, found = produced("\r\n".join(lines).encode(), "--key-column", "id")

    assert code == 0
    assert found == [(b"1", lines[0].encode()), (b"b", lines[1].encode()), (None, b"{broken")]


@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        (LEADS, ("--column", "tél", "--key-column", "nobody"), 2, "--key-column"),
        (LEADS, ("--column", "tél", "--set", 'prospect.numbers=["a.b"]'), 2, "inside an object"),
        (b"phone;purpose\n0611111111;press\n", ("--purpose", "press"), 2, "leave the option out"),
        (b"phone;purpose;Purpose\n0611111111;press;x\n", (), 2, "2 columns are titled purpose: name one with --purpose-column"),
        (b'{"phone":"0611111111"}\n', ("--purpose", "press"), 2, "as it is"),
        (b"phone\n0611111111\nx" + b"x" * 9_000_000, ("--column", "phone"), 1, "line 3 was not taken"),
        (b"", (), 1, "no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_produced_is_said(produced, capsys, content, options, code, said):
    """Half a file would be on the topic, and nobody know up to where."""
    found, _ = produced(content, *options)
    told = capsys.readouterr().err
    assert found == code and said in told, told
