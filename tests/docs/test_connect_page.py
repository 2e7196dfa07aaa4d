"""docs/connect.md: its settings read what Debezium writes, and its connectors run between a real Postgres and a real Kafka."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import tomllib
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from stream_scrub import Checker
from tests.kafka.jars import HERE, run
from tests.kafka.node import free_ports
from tests.support.fakes.lists import consents
from tests.support.running.outcome import read_all
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT
from tests.support.texts.pages import ROOT, blocks
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "connect.md"
OPPOSED, FREE = 33612345678, 33612345680


def examples(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE) if block.language == language]


FLAT, ENVELOPE = examples("toml")
ROW = {"id": 1, "phone": f"+{FREE}", "country": "FR", "purpose": "insurance", "campaign": "acme"}
SOURCE = {"connector": "postgresql", "name": "crm", "snapshot": "false", "db": "crm", "table": "leads"}


@pytest.mark.parametrize("opposed", ["before", "after"])
def test_the_row_after_the_change_is_judged(tmp_path, monkeypatch, opposed):
    """A lead would be judged by the number that it had before."""
    monkeypatch.chdir(tmp_path)
    Path("internal.txt").write_text(f"+{OPPOSED}\n")
    Path("consents.csv").write_text(consents([f"+{OPPOSED}", f"+{FREE}"]))
    Path("stream-scrub.toml").write_text(ENVELOPE)
    checker = Checker.from_lists({"internal": "internal.txt", "consent@acme": "consents.csv"})
    event = {"before": dict(ROW), "after": dict(ROW), "source": SOURCE, "op": "u", "ts_ms": 1}
    event[opposed]["phone"] = "06 12 34 56 78"
    deleted = {"before": ROW, "after": None, "source": SOURCE, "op": "d", "ts_ms": 1}
    values = [json.dumps(each).encode() for each in (event, deleted)]
    batch = checker.scrubber.scrub([*values, None], checker.index, datetime.now(UTC))
    assert batch.allowed == [opposed == "before", False, False]
    assert [json.loads(value)["scrub"]["reason"] for value in batch.values[:2]] == [
        "opposed" if opposed == "after" else "consented",
        "invalid-number",
    ]


@contextmanager
def postgres(stack: ExitStack, folder: Path, port: int):
    """A Postgres with logical decoding, as its own user where we are root."""
    home = Path("/usr/lib/postgresql")
    binaries = max(home.glob("*/bin"), default=None) if home.is_dir() else None
    if binaries is None:
        pytest.skip("no Postgres on this machine")
    as_user = {"user": "postgres", "cwd": "/"} if os.geteuid() == 0 else {}
    data = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    if as_user:
        shutil.chown(data, "postgres")
    subprocess.run(
        [binaries / "initdb", "-A", "trust", "-U", "crm", "-D", data],
        check=True,
        capture_output=True,
        **as_user,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c wal_level=logical"
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, *options.split()],
        stderr=(folder / "postgres.log").open("wb"),
        **as_user,
    )

    def sql(text: str, database: str = "crm") -> str:
        command = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "crm", "-d", database, "-Atc", text]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def is_up() -> bool:
        return (
            subprocess.run(
                [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True
            ).returncode
            == 0
        )

    try:
        wait_until(is_up)
        sql("CREATE DATABASE crm", "postgres")
        yield sql
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


@contextmanager
def connect(folder: Path, bootstrap: str, rest: int, connectors: list[str]):
    """Kafka Connect with these connectors."""
    libs = HERE / "target" / "connect"
    if not libs.is_dir():
        part = libs.with_suffix(".part")
        run(
            [
                "mvn",
                "-q",
                "-B",
                "-f",
                str(HERE / "connect.xml"),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={part}",
            ],
            "fetching Kafka Connect with mvn",
        )
        part.rename(libs)
    worker = {
        "bootstrap.servers": bootstrap,
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "offset.storage.file.filename": folder / "connect.offsets",
        "offset.flush.interval.ms": 1000,
        "listeners": f"http://127.0.0.1:{rest}",
        "plugin.discovery": "service_load",
    }
    (folder / "connect.properties").write_text("".join(f"{key}={value}\n" for key, value in worker.items()))
    files = [folder / f"connector-{at}.json" for at in range(len(connectors))]
    for file, text in zip(files, connectors, strict=True):
        file.write_text(text)
    command = ["java", "-Xmx512m", "-cp", f"{libs}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
    log = (folder / "connect.log").open("wb")
    process = subprocess.Popen([*command, folder / "connect.properties", *files], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.kafka
def test_from_postgres_and_back(kafka, tmp_path):
    """An operator who copies the connectors would get no lead, or a table with opposed ones."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent@acme", [OPPOSED, FREE], "--kind", "allow")
    port, rest = free_ports(2)
    config = tmp_path / "page.toml"
    config.write_text(FLAT)
    connectors = [
        text.replace('"prospects.allowed"', f'"{stage.topics["allowed"]}"')
        .replace('"prospects"', f'"{stage.topics["prospects"]}"')
        .replace("5432", str(port))
        .replace("localhost", "127.0.0.1")
        for text in examples("json")
    ]
    with (
        ExitStack() as stack,
        postgres(stack, tmp_path, port) as sql,
        stage.worker("a", "--config", str(config)),
    ):
        sql(
            "CREATE TABLE leads (id int PRIMARY KEY, name text, phone text, country text, purpose text, campaign text)"
        )
        for lead, number in ((1, OPPOSED), (2, FREE)):
            sql(f"INSERT INTO leads VALUES ({lead}, 'Jeanne', '+{number}', 'FR', 'insurance', 'acme')")
        with connect(tmp_path, kafka.bootstrap, rest, connectors) as running:

            def rows() -> list[str]:
                assert running.poll() is None, (tmp_path / "connect.log").read_text()[-3000:]
                there = sql("SELECT to_regclass('allowed_leads')")
                return (
                    sql(
                        "SELECT id, name, scrub::json ->> 'reason' FROM allowed_leads ORDER BY id"
                    ).splitlines()
                    if there
                    else []
                )

            wait_until(lambda: rows() == ["2|Jeanne|consented"], every=1)
            sql("UPDATE leads SET name = 'Anne' WHERE id = 2; DELETE FROM leads WHERE id = 1")
            wait_until(lambda: rows() == ["2|Anne|consented"], every=1)
            query = next(block for block in PAGE.read_text().split("`") if block.startswith("SELECT"))
            assert sql(query).startswith("2|")
    blocked = [json.loads(record.value()) for record in read_all(kafka.bootstrap, stage.topics["blocked"])]
    assert [value["payload"]["id"] for value in blocked] == [1], "a deleted row is no prospect"
    stage.close()


@pytest.mark.kafka
def test_from_a_webhook_and_from_files(kafka, tmp_path):
    """A lead would be acknowledged and lost, or a file published twice."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=1)
    topic = stage.topics["prospects"]
    (program,), (script, *_) = examples("python"), examples("sh")
    namespace: dict = {}
    program = program.replace("localhost:9092", kafka.bootstrap).replace('"prospects"', f'"{topic}"')
    exec(compile(program, str(PAGE), "exec"), namespace)

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=namespace["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.post("/leads", json={"lead": ROW})

    assert asyncio.run(post()).status_code == 202
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "leads.csv").write_text("id;phone\n7;06 12 34 56 80\n")
    (tmp_path / "inbox" / "refused.csv").write_text("id;name\n7;Jeanne\n")
    env = stage.env | {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-uc", script], cwd=tmp_path, env=env, capture_output=True, timeout=240)
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["leads.csv"]
    assert [path.name for path in (tmp_path / "inbox").iterdir()] == ["refused.csv"]
    values = [json.loads(record.value()) for record in read_all(kafka.bootstrap, topic)]
    assert [value.get("id") for value in values] == [None, "7"] and values[0] == {"lead": ROW}
    stage.close()


# What OpenSSH's does with these commands, on a folder `remote`; a server that will not take a file ends it.
SFTP = """#!/bin/sh
here=$PWD; cd "$(dirname "$0")/remote"
while read -r command first second; do
    case $command in
    put) test ! -e full && cp "$here/$first" "${second:-$first}" ;;
    -rm) rm -f "$first" ;;
    rename) mv -n "$first" "$second" && test ! -e "$first" ;;
    esac || exit 1
done
"""


def test_files_go_out_by_sftp(tmp_path):
    """A dialler would load half of the leads, or an opt-out that did not arrive would be deleted."""
    _, of_leads, of_opt_outs = examples("sh")
    (tmp_path / "remote").mkdir()
    (tmp_path / "sftp").write_text(SFTP)
    (tmp_path / "sftp").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{Path(SCRIPT).parent}:{os.environ['PATH']}"}

    def sent(script: str) -> dict[str, str]:
        subprocess.run(["bash", "-uc", script], cwd=tmp_path, env=env, capture_output=True, timeout=240)
        return {path.name: path.read_text() for path in (tmp_path / "remote").iterdir()}

    (tmp_path / "leads.csv").write_text(f"id;phone\n7;+{FREE}\n8;+{OPPOSED}\n")
    (tmp_path / "opt-outs.txt").write_text(f"+{OPPOSED}\n")
    (tmp_path / "consents.csv").write_text(consents([f"+{OPPOSED}", f"+{FREE}"]))
    ((name, leads),) = sent(of_leads).items()
    assert name.startswith("allowed-20") and str(FREE) in leads and str(OPPOSED) not in leads
    (tmp_path / "remote" / name).unlink()
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    for each in ("a.csv", "a.csv.ok", "b.csv", "b.csv.ok", "c.csv", ".d.csv.tmp"):
        (outbox / each).write_text(each)
    (tmp_path / "remote" / "full").touch()
    assert sent(of_opt_outs) == {"full": ""} and len([*outbox.iterdir()]) == 6
    (tmp_path / "remote" / "full").unlink()
    (tmp_path / "remote" / "a.csv").write_text("sent, and not yet deleted")
    assert sent(of_opt_outs) == {each: each for each in ("a.csv", "a.csv.ok", "b.csv", "b.csv.ok")}
    assert {path.name for path in outbox.iterdir()} == {"c.csv", ".d.csv.tmp"}


def test_the_page_has_what_is_run():
    """An example would rot unseen."""
    assert [block.language for block in blocks(PAGE)] == [
        *("json", "toml", "toml", "json", "python", "sh", "sh", "sh")
    ]
    assert [tomllib.loads(text)["prospect"]["numbers"] for text in (FLAT, ENVELOPE)] == [
        ["payload.phone"],
        ["after.phone"],
    ]
