"""Hashes of a buyer of leads on a real Kafka: imported by the command, enforced by a worker that has the key."""

import json

import pytest

from tests.chaos.test_holding import HELD, OPPOSED, told
from tests.support.fakes.hashes import KEY, by_hmac
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.worker import run
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

LISTED, *FREE = french_mobiles(21, seed=31)


def test_a_worker_without_the_key_holds_and_goes_on_as_soon_as_it_has_it(kafka, stages):
    """Whoever is in the buyer's list would be called, by a worker that cannot look them up."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [LISTED, *FREE], "--kind", "allow")
    ours, workers = stage.folder / "ours", stage.folder / "workers"
    for folder in (ours, workers):
        folder.mkdir()
    (ours / "acme").write_bytes(KEY)
    listed = stage.folder / "acme.txt"
    listed.write_text(f"hash\n{by_hmac(f'+{LISTED}').hex()}\n")
    order = ["lists", "import", str(listed), "-r", "hashed@acme", "--hashed", "hmac-sha256", "--known"]
    env = {**stage.env, "STREAM_SCRUB_LISTS__HASH_KEYS": str(ours)}

    wrong = run([*order, f"+{FREE[0]}"], env)
    assert wrong.returncode == 1 and "the known number is not in it" in wrong.stderr
    made = run([*order, f"+{LISTED}"], env)
    assert made.returncode == 0 and "hmac-sha256 of +CCXXX, key " in made.stdout

    with stage.worker("w1", lists__hash_keys=str(workers)) as worker:

        def send_leads(**of):
            leads = ((b"k", prospect(n, spell(number, n), **of)) for n, number in enumerate((LISTED, *FREE)))
            produce(kafka.bootstrap, stage.topics["prospects"], leads)

        send_leads(campaign="acme")
        wait_until(lambda: worker.logged(HELD, cause="hash-key"))
        assert count(kafka.bootstrap, stage.outputs, "read_uncommitted") == 0
        (workers / "acme").write_bytes(KEY + b"\n")
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 21)
        send_leads()
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 42)
        assert worker.stop()[0] == 0
        assert told(worker, "hash-key")
        assert KEY.decode() not in "".join(map(str, worker.lines()))

    blocked = [json.loads(each.value()) for each in read_all(kafka.bootstrap, stage.topics["blocked"])]
    assert count(kafka.bootstrap, [stage.topics["allowed"]]) == 1 + len(FREE), "nobody else's list counts"
    opposed = [
        (each["id"], each["campaign"], each["scrub"]["registers"])
        for each in blocked
        if each["scrub"]["reason"] == "opposed"
    ]
    assert opposed == [(0, "acme", ["hashed@acme"])]
    asked = run(["check", f"+{LISTED}", "--campaign", "acme", "--json"], env)
    assert '"opposed"' in asked.stdout
    missing = run(["lists", "history", f"+{LISTED}"], stage.env)
    assert missing.returncode == 1 and "lists.hash_keys is not set" in missing.stderr
