"""Prospects that were blocked for a reason that has gone come back, each once and in order, on a real Kafka."""

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.support.running.outcome import ends, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.worker import SCRIPT, run, run_json, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

FRENCH = french_mobiles(100, seed=81)
BELGIAN = [32_470_100_000 + n for n in range(100)]


def send(stage, ids):
    """Every other one is Belgian; each key has many."""

    def leads():
        for at in ids:
            if at % 2:
                yield b"k%d" % (at % 13), prospect(at, f"+{BELGIAN[at % 100]}", country="BE")
            else:
                yield b"k%d" % (at % 13), prospect(at, spell(FRENCH[at % 100], 0))

    produce(stage.bootstrap, stage.topics["prospects"], leads())


def came_out(stage, role):
    """What is on an output, in the order of its partitions."""
    found = sorted(read_all(stage.bootstrap, stage.topics[role]), key=lambda m: (m.partition(), m.offset()))
    return [(m, json.loads(m.value())) for m in found]


def test_kill_9_in_the_middle_loses_and_doubles_nothing(kafka, stages):
    """A lead that was blocked for our own fault would be lost, or handed out twice."""
    count = 20_000
    stage = stages(kafka.bootstrap, partitions=3)
    stage.load("consent", FRENCH, "--kind", "allow")
    with stage.worker("w1") as worker:
        send(stage, range(count))
        wait_until(lambda: len(came_out(stage, "allowed")) == count / 2, 60, every=0.5)
        wait_until(lambda: len(came_out(stage, "blocked")) == count / 2, 60, every=0.5)
        refused = run(["retry", "--register", "dncm"], stage.env)
        assert refused.returncode == 1 and "still cannot be used" in refused.stderr
        stage.load("dncm", BELGIAN[:10], "--effective-at", f"{datetime.now(UTC):%Y-%m-%d}")

        looked = run_json(["retry", "--dry-run"], stage.env)
        (dncm,) = looked["kinds"]
        assert dncm["kind"] == "stale-register.dncm" and sum(dncm["outcomes"].values()) == count / 2
        assert set(dncm["outcomes"]) == {"would be clear", "would be opposed"}
        unsaid = run(["retry"], stage.env)
        assert unsaid.returncode == 1 and "--since" in unsaid.stderr

        command, killed = [SCRIPT, "retry", "--since", "2026-01-01", "--json"], 0
        for _ in range(4):
            before = ends(stage.bootstrap, [stage.topics["prospects"]], "read_uncommitted")
            process = subprocess.Popen(command, env=stage.env, stdout=subprocess.DEVNULL)
            wait_until(
                lambda before=before, process=process: (
                    process.poll() is not None
                    or ends(stage.bootstrap, [stage.topics["prospects"]], "read_uncommitted") > before
                ),
                60,
                every=0.01,
            )
            killed += process.poll() is None
            process.kill()
            process.wait(30)
        assert killed, "no kill came in the middle: proves nothing"
        sent = run_json(["retry", "--since", "2026-01-01"], stage.env)
        assert not sent["waiting"].get("dncm")
        assert run_json(["retry"], stage.env)["kinds"] == []

        expected = [each for each in range(count) if not each % 2 or each % 100 >= 10]
        wait_until(lambda: len(came_out(stage, "allowed")) >= len(expected), 60, every=0.5)
        assert worker.stop()[0] == 0

    allowed = came_out(stage, "allowed")
    assert sorted(lead["id"] for _, lead in allowed) == expected
    again = [(m, lead) for m, lead in allowed if lead["id"] % 2]
    assert all(json.loads(dict(m.headers())["scrub-retry"])["tries"] == 1 for m, _ in again)
    for key in {m.key() for m, _ in again}:
        ids = [lead["id"] for m, lead in again if m.key() == key]
        assert ids == sorted(ids), "the order of a key is kept"
    blocked = Counter(lead["scrub"]["reason"] for _, lead in came_out(stage, "blocked"))
    assert blocked == {"stale-register": count / 2, "opposed": count - len(expected)}
