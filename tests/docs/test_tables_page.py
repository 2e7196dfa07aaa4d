"""docs/tables.md: its examples run as they stand there, on the engines themselves where they are installed."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

from stream_scrub import Checker, StaleIndex
from stream_scrub.duckdb import register
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import RegisterKind
from tests.support.fakes.lists import consents
from tests.support.fakes.log import Log, Reader
from tests.support.running.server import publish
from tests.support.texts.pages import ROOT, blocks

PAGE = ROOT / "docs" / "tables.md"
OPPOSED, CONSENTING = 33612345678, 33612345680


def example(sign: str) -> str:
    """The one block with this text."""
    (found,) = [block.text for block in blocks(PAGE) if sign in block.text]
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The reader's working folder."""
    for name in [name for name in os.environ if name.startswith("STREAM_SCRUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opt-outs.csv").write_text(f"+{OPPOSED}\n")
    (tmp_path / "consents.csv").write_text(consents([f"+{OPPOSED}", f"+{CONSENTING}"]))
    (tmp_path / "leads.csv").write_text("name;phone\nA;06 12 34 56 78\nB;06 12 34 56 80\nC;\n")
    return tmp_path


def test_every_block_is_run():
    """An example would rot unseen."""
    assert [block.language for block in blocks(PAGE)] == ["python"] * 5 + ["sql"]


def test_polars_pandas_and_duckdb(folder):
    """The first thing that an analyst copies would fail, or let an opposed number through."""
    for library in ("polars", "pandas", "duckdb", "pyarrow"):
        pytest.importorskip(library)
    namespace: dict = {}
    exec(compile(example("import polars"), str(PAGE), "exec"), namespace)
    assert namespace["frame"]["allowed"].tolist() == [False, True, False]
    exec(compile(example("by_row ="), str(PAGE), "exec"), namespace)
    assert namespace["stamps"].reasons.tolist() == ["opposed", "no-consent", "invalid-number"]
    exec(compile(example("import duckdb"), str(PAGE), "exec"), namespace)
    joined = namespace["connection"].sql("SELECT name, reason FROM scrubbed ORDER BY name").fetchall()
    assert joined == [("A", "opposed"), ("B", "consented"), ("C", "invalid-number")]
    exec(compile(example("import register"), str(PAGE), "exec"), namespace)
    connection = namespace["connection"]
    assert connection.sql("SELECT name FROM 'allowed.parquet'").fetchall() == [("B",)]
    verdicts = connection.sql("SELECT name, scrub(phone).reason FROM leads ORDER BY name").fetchall()
    assert verdicts == [("A", "opposed"), ("B", "consented"), ("C", "invalid-number")]
    with pytest.raises(Exception, match="explicit type casts"):
        connection.sql("SELECT scrub(33612345678.0::DOUBLE)")


def test_without_a_verdict_duckdb_allows_nobody(folder, monkeypatch):
    """A query of tomorrow over the registers of today would hand out people who objected since."""
    pytest.importorskip("pyarrow")
    duckdb = pytest.importorskip("duckdb")

    checker = Checker.from_lists({"internal": "opt-outs.csv", "consent": "consents.csv"})
    connection = duckdb.connect()
    register(connection, checker)

    def behind():
        raise StaleIndex("log-behind", "the opposition log was read too long ago")

    monkeypatch.setattr(checker, "_index", behind)
    verdict = connection.sql(f"SELECT unnest(scrub('+{CONSENTING}'))").fetchall()
    assert verdict == [(0, False, None, None, None, None, None, None)]


@pytest.fixture
def snapshot(folder):
    """A worker's folder, under the page's name."""
    log = Log()
    publish(log, "internal", [OPPOSED])
    publish(log, "consent@acme", [OPPOSED, CONSENTING], RegisterKind.ALLOW)
    follower = Follower(lambda: Reader(log), snapshots=SnapshotWriter(folder / "snapshot", "opposition.log"))
    follower.start()
    while follower.lag_s is None:
        time.sleep(0.005)
    follower.stop()
    return folder / "snapshot"


def test_sparks_function(snapshot, monkeypatch):
    """A job would end with a traceback from inside Spark."""
    arrow = pytest.importorskip("pyarrow")
    program = example("mapInArrow").partition("\nspark = ")[0].replace("from pyspark", "# ")
    files = type("SparkFiles", (), {"get": str})
    namespace: dict = {"SparkFiles": files}
    exec(compile(program, str(PAGE), "exec"), namespace)
    batch = arrow.RecordBatch.from_pydict({"name": ["A", "B"], "phone": ["0612345678", "0612345680"]})
    (out,) = namespace["scrub"](iter([batch]))
    assert out.to_pydict()["allowed"] == [False, True]
    assert out.schema.names == ["name", "phone", "allowed", "reason"]


def test_snowflakes_translators(folder):
    """Snowflake would send what the API refuses, or give one row's verdict to another."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    bodies = dict(
        re.findall(r"CREATE FUNCTION (\w+)\(.*?AS '\n(.*?)';", example("EXTERNAL FUNCTION"), re.DOTALL)
    )

    def call(function: str, event: dict) -> dict:
        script = f"const EVENT = {json.dumps(event)}; console.log(JSON.stringify((() => {{{bodies[function]}}})()))"
        return json.loads(
            subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout
        )

    sent = call("to_prospects", {"body": {"data": [[0, "0612345678"], [1, None]]}})["body"]
    facts = {"purpose": "insurance", "campaign": "acme"}
    assert sent == {"prospects": [{"number": "0612345678"} | facts, {"number": None} | facts]}
    stamps = [{"verdict": "blocked"}, {"verdict": "allowed"}]
    assert call("to_rows", {"body": {"stamps": stamps}})["body"] == {"data": [[0, stamps[0]], [1, stamps[1]]]}
