"""Prospects that were blocked for a reason that has gone come back, each once and in order, on a real Kafka."""

import json
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.support.running import forked
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import SCRIPT, run, run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

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
    leads = 5000
    stage = stages(kafka.bootstrap, partitions=3)
    stage.load("consent", FRENCH, "--kind", "allow")
    with stage.worker("w1") as worker:
        send(stage, range(leads))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == leads / 2, every=0.3)
        wait_until(lambda: count(stage.bootstrap, [stage.topics["blocked"]]) == leads / 2, every=0.3)
        refused = run(["retry", "--register", "dncm"], stage.env)
        assert refused.returncode == 1 and "still cannot be used" in refused.stderr
        stage.load("dncm", BELGIAN[:10], "--effective-at", f"{datetime.now(UTC):%Y-%m-%d}")

        looked = run_json(["retry", "--dry-run"], stage.env)
        (dncm,) = looked["kinds"]
        assert dncm["kind"] == "stale-register.dncm" and sum(dncm["outcomes"].values()) == leads / 2
        assert set(dncm["outcomes"]) == {"would be clear", "would be opposed"}
        unsaid = run(["retry"], stage.env)
        assert unsaid.returncode == 1 and "--since" in unsaid.stderr

        command, killed = [SCRIPT, "retry", "--since", "2026-01-01", "--json"], 0
        for _ in range(2):
            before = ends(stage.bootstrap, [stage.topics["prospects"]], "read_uncommitted")
            process = forked.Popen(command, env=stage.env, stdout=subprocess.DEVNULL)
            wait_until(
                lambda before=before, process=process: (
                    process.poll() is not None
                    or ends(stage.bootstrap, [stage.topics["prospects"]], "read_uncommitted") > before
                ),
                every=0.01,
            )
            killed += process.poll() is None
            process.kill()
            process.wait()
        assert killed, "no kill came in the middle: proves nothing"
        sent = run_json(["retry", "--since", "2026-01-01"], stage.env)
        assert not sent["waiting"].get("dncm")
        assert run_json(["retry"], stage.env)["kinds"] == []

        expected = [each for each in range(leads) if not each % 2 or each % 100 >= 10]
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) >= len(expected), every=0.3)
        assert worker.stop()[0] == 0

    allowed = came_out(stage, "allowed")
    assert sorted(lead["id"] for _, lead in allowed) == expected
    again = [(m, lead) for m, lead in allowed if lead["id"] % 2]
    assert all(json.loads(dict(m.headers())["scrub-retry"])["tries"] == 1 for m, _ in again)
    for key in {m.key() for m, _ in again}:
        ids = [lead["id"] for m, lead in again if m.key() == key]
        assert ids == sorted(ids), "the order of a key is kept"
    blocked = Counter(lead["scrub"]["reason"] for _, lead in came_out(stage, "blocked"))
    assert blocked == {"stale-register": leads / 2, "opposed": leads - len(expected)}


def numbers(first):
    """Twenty that follow each other."""
    return [first + n for n in range(20)]


# By country: its numbers, the register that its rule needs, and whether that one allows.
ABROAD = {
    "GB": (numbers(442_079_460_100), "tps", False),
    "IT": (numbers(393_471_234_500), "rpo-clean", True),
    "ES": (numbers(34_612_345_600), "", False),  # nobody consented, whatever its list says
    "US": (numbers(14_044_567_800), "us-dnc", False),
}


def verdict_at_last(country, at):
    """What today's law says of a number when all lists are there: the first three are listed."""
    _, register, allows = ABROAD[country]
    listed = at % 20 < 3
    if not register:
        return "no-consent"
    if allows:
        return "clear" if listed else "not-washed"
    return "opposed" if listed else "clear"


@pytest.mark.slow
def test_countries_get_their_verdicts_as_their_lists_come(kafka, stages):
    """One country's late list would stop all others, or cost the leads that came meanwhile."""
    stage = stages(kafka.bootstrap, partitions=3, http__listen=LISTEN)
    stage.load("consent", FRENCH, "--kind", "allow")
    leads = [("FR", number) for number in FRENCH]
    for country, (found, _, _) in ABROAD.items():
        leads += [(country, number) for number in found]
    random.Random(7).shuffle(leads)
    made = [
        (b"k%d" % (n % 13), prospect(n, f"+{leads[n][1]}", country=leads[n][0])) for n in range(len(leads))
    ]
    with stage.worker("w1") as worker, stage.retry("r1") as retry:
        wait_until(lambda: retry.logged("retrying"))
        seen = Watched(retry)
        wait_until(lambda: seen.status("/readyz") == 200)
        produce(stage.bootstrap, stage.topics["prospects"], made)
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == len(FRENCH))
        due = len(FRENCH)
        for country, (found, register, allows) in ABROAD.items():
            if not register:
                continue
            day = f"{datetime.now(UTC):%Y-%m-%d}"
            kind = ["--kind", "allow"] if allows else []
            kind += ["--areas", "all"] if country == "US" else []
            stage.load(register, found[:3], "--effective-at", day, *kind)
            due += sum(verdict_at_last(country, at) in {"clear", "consented"} for at in range(20))
            wait_until(lambda due=due: count(stage.bootstrap, [stage.topics["allowed"]]) >= due)
        wait_until(lambda: seen.metrics().sum("stream_scrub_retried_prospects_total") == 60)
        assert worker.stop()[0] == 0 and retry.stop()[0] == 0
        retry.start()  # its place is known: nothing goes back a second time
        wait_until(lambda: len([line for line in retry.lines() if line.get("event") == "retrying"]) == 2)
        assert retry.stop()[0] == 0

    last = {}
    for role in ("blocked", "allowed"):
        for _, lead in came_out(stage, role):
            assert role == "blocked" or lead["id"] not in last or last[lead["id"]] == "stale-register", (
                "twice"
            )
            if lead["scrub"]["reason"] != "stale-register" or lead["id"] not in last:
                last[lead["id"]] = lead["scrub"]["reason"]
    assert len(last) == len(leads) and len(came_out(stage, "allowed")) == due
    for at, (country, number) in enumerate(leads):
        expected = (
            "consented" if country == "FR" else verdict_at_last(country, number - ABROAD[country][0][0])
        )
        assert last[at] == expected, (country, at)
