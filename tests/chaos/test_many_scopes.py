"""Opt-outs of a thousand tenants: each its own scope, on a real Kafka."""

import json

import pytest

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import run_json, status_of, wait_until

pytestmark = pytest.mark.chaos

SCOPES = 1_000
LATER = 30
GREW_BYTES, GREW_MB = (
    4_000,
    60,
)  # an opt-out on the log; a worker that knows all scopes: some times what was measured


@pytest.mark.slow
def test_an_opt_out_among_a_thousand_scopes_stays_small_and_is_enforced(kafka, stages):
    """What one opt-out writes, and what a worker holds, would grow with the number of tenants until neither fits."""
    numbers = french_mobiles(SCOPES + LATER, seed=77)
    stage = stages(kafka.bootstrap, partitions=1)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", numbers, "--kind", "allow")

    def ask(places):
        said = (
            {"request": "opt-out", "number": f"+{numbers[at]}", "scope": f"tenant-{at % SCOPES}"}
            for at in places
        )
        produce(
            kafka.bootstrap, stage.topics["requests"], ((b"k", json.dumps(each).encode()) for each in said)
        )

    def opposed():
        told = run_json(["lists", "status"], stage.env)["registers"]
        return sum(each["count"] for each in told if each["register"].startswith("internal@"))

    def written():
        return sum(len(m.value() or b"") for m in read_all(kafka.bootstrap, stage.topics["log"]))

    with stage.worker("w1") as worker, PublisherProcess(stage, None) as publisher:
        wait_until(lambda: worker.logged("partitions assigned"))
        alone = int(status_of(worker.process.pid, "VmRSS").split()[0])
        ask(range(SCOPES))
        wait_until(lambda: opposed() == SCOPES, every=1)
        before = written()
        for at in range(SCOPES, SCOPES + LATER):  # one after the other: each is a delta of its own
            ask([at])
        wait_until(lambda: opposed() == SCOPES + LATER, every=1)
        assert (written() - before) / LATER < GREW_BYTES
        leads = [
            json.dumps({"phone": spell(numbers[at], 0), "campaign": f"tenant-{tenant}"}).encode()
            for at in (0, SCOPES - 1, SCOPES + LATER - 1)
            for tenant in (at % SCOPES, (at + 1) % SCOPES)
        ]
        produce(kafka.bootstrap, stage.topics["prospects"], ((b"k", lead) for lead in leads))
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == len(leads))
        assert (int(status_of(worker.process.pid, "VmRSS").split()[0]) - alone) / 1024 < GREW_MB
        assert (publisher.stop()[0], worker.stop()[0]) == (0, 0)
    blocked = [json.loads(m.value())["campaign"] for m in read_all(kafka.bootstrap, stage.topics["blocked"])]
    assert blocked == ["tenant-0", f"tenant-{SCOPES - 1}", f"tenant-{LATER - 1}"]
