"""docs/privacy.md: a log that is begun anew opposes and allows whom the old one did, and holds nobody's requests."""

import json

import pytest

from tests.support.running.stage import Stage
from tests.support.running.worker import run, run_json

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

OPPOSED, CONSENTING, LISTED = 33612345678, 33612345679, 12125550123


def told_by(env):
    """What a log's registers hold, by their names; their ends and what requests said are in what it exports."""
    found = run_json(["lists", "status"], env)["registers"]
    return {each["register"]: (each["kind"], each["count"], each["effective_at"]) for each in found}


def test_a_log_begun_anew_holds_the_registers_and_no_requests(kafka, tmp_path):
    """Who opposed would be called after the yearly cut, or whose proof was to be erased be on the new log."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=1)
    stage.load("internal", [OPPOSED])
    day = ("--effective-at", "2026-11-20")
    stage.load("us-dnc", [LISTED], "--region", "US", "--areas", "212", *day)
    ending = tmp_path / "consents.csv"
    ending.write_text(f"phone,until\n+{CONSENTING},2031-01-31\n")
    name = "consent@acme+insurance"
    run_json(["lists", "import", str(ending), "--register", name, "--kind", "allow", *day], stage.env)
    old = told_by(stage.env)

    out = tmp_path / "out"
    out.mkdir()
    assert run(["lists", "export", "--into", str(out)], stage.env).returncode == 0
    env = stage.env | {"STREAM_SCRUB_TOPICS__LOG": f"{stage.topics['log']}.2027"}
    assert run(["topics"], env).returncode == 0
    for file in sorted(out.iterdir()):
        register = file.name.removesuffix(".jsonl")
        areas = ("--areas", "212") if register == "us-dnc" else ()
        done = run(["lists", "import", str(file), "--register", register, *areas], env)
        assert done.returncode == 0, done.stdout + done.stderr

    assert told_by(env) == old
    again = tmp_path / "again"
    again.mkdir()
    assert run(["lists", "export", "--into", str(again)], env).returncode == 0
    assert [path.name for path in sorted(out.iterdir())] == [path.name for path in sorted(again.iterdir())]
    for before, after in zip(sorted(out.iterdir()), sorted(again.iterdir()), strict=True):
        entries = [
            [
                (each["number"], each.get("expires_at"))
                for each in map(json.loads, path.read_text().splitlines()[1:])
                if "number" in each
            ]
            for path in (before, after)
        ]
        assert entries[0] == entries[1]
    stage.close()
