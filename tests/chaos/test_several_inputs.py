"""Prospects of several topics through one group, on a real Kafka: each comes out once, where its topic's prospects do."""

import json
from datetime import UTC, datetime

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.names import unique_name
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(200, seed=91)


def send(bootstrap, topic, which):
    """Every tenth is unreadable, which comes out blocked; all others are allowed."""
    leads = (
        (b"k%d" % (at % 31), prospect(at, "no number" if at % 10 == 0 else spell(NUMBERS[at % 200], 0)))
        for at in which
    )
    produce(bootstrap, topic, leads)


def test_what_is_blocked_goes_back_to_its_own_topic_and_no_place_is_guessed(kafka, stages):
    """A lead would come back on another producer's topic; or after a quiet fortnight come out a second time."""
    unique = unique_name()
    inputs = [f"fr-{unique}", f"gb-{unique}"]
    stage = stages(kafka.bootstrap, partitions=1, topics__prospects=",".join(inputs))
    stage.load("consent", NUMBERS, "--kind", "allow")
    allowed, blocked = stage.outputs
    british = [442_079_460_100 + n for n in range(6)]
    with stage.worker("w1") as worker:
        for at, name in enumerate(inputs):
            leads = [(b"k", prospect(n, f"+{british[n]}", country="GB")) for n in range(at * 3, at * 3 + 3)]
            produce(kafka.bootstrap, name, iter(leads), headers=[("scrub-from", b"forged/0/0")])
        wait_until(lambda: count(kafka.bootstrap, [blocked]) == 6)
        assert worker.stop()[0] == 0
    group = stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_consumer_groups([group])[group].result()
    restored = run_json(["offsets", "--restore"], stage.env)["partitions"]
    assert [(each["topic"], each["emitted_upto"]) for each in restored] == [(name, 3) for name in inputs]

    stage.load("tps", [442_079_460_999], "--effective-at", f"{datetime.now(UTC):%Y-%m-%d}")
    (sent,) = run_json(["retry", "--since", "2026-01-01"], stage.env)["kinds"]
    assert sent["outcomes"] == {"sent": 6}
    with stage.worker("w3") as worker:
        wait_until(lambda: count(kafka.bootstrap, [allowed]) == 6)
        assert worker.stop()[0] == 0
    assert count(kafka.bootstrap, [blocked]) == 6, "nothing came out a second time"
    for at, name in enumerate(inputs):
        back = [m for m in read_all(kafka.bootstrap, name) if "scrub-retry" in dict(m.headers())]
        assert [json.loads(m.value())["id"] for m in back] == list(range(at * 3, at * 3 + 3))
        assert all("scrub-from" not in dict(m.headers()) for m in back)


def test_a_topic_that_matches_later_is_read_and_one_without_outputs_waits_alone(kafka, stages):
    """A new producer's leads would lie unread until somebody restarts the workers, or stop everybody else's."""
    unique = unique_name()
    first, late = f"leads-{unique}.fr", f"leads-{unique}.late"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(first, 2)])[first].result()
    stage = stages(
        kafka.bootstrap,
        partitions=2,
        http__listen=LISTEN,
        kafka__client__topic_metadata_refresh_interval_ms=500,
        topics__prospects=f"^leads-{unique}\\.",
        topics__allowed="{input}.allowed",
        topics__blocked="{input}.blocked",
    )
    stage.load("consent", NUMBERS, "--kind", "allow")
    with stage.worker("w1") as worker:
        seen = Watched(worker)
        wait_until(lambda: seen.status("/readyz") == 200)
        admin.create_topics([NewTopic(late, 2)])[late].result()
        send(kafka.bootstrap, late, range(50))
        wait_until(lambda: seen.metrics().sum("stream_scrub_partitions_waiting") == 2)
        send(kafka.bootstrap, first, range(50))
        wait_until(lambda: count(kafka.bootstrap, [f"{first}.allowed", f"{first}.blocked"]) == 50)
        assert run(["topics"], stage.env).returncode == 0
        wait_until(lambda: count(kafka.bootstrap, [f"{late}.allowed"]) == 45)
        wait_until(lambda: seen.metrics().sum("stream_scrub_partitions_waiting") == 0)
        assert worker.stop()[0] == 0
    assert count(kafka.bootstrap, [f"{late}.blocked", f"{first}.blocked"]) == 10
