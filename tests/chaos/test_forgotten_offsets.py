"""A group whose committed offsets Kafka has forgotten, on a real Kafka: nothing is guessed, nothing comes out twice."""

import json

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

NUMBERS = french_mobiles(40, seed=71)


def publish(stage, ids):
    leads = ((b"k%d" % (at % 7), prospect(at, spell(NUMBERS[at % 40], 0))) for at in ids)
    produce(stage.bootstrap, stage.topics["prospects"], leads)


def out(stage):
    return sorted(
        json.loads(m.value())["id"] for topic in stage.outputs for m in read_all(stage.bootstrap, topic)
    )


def forgotten(stage):
    """What Kafka does to a group that was idle for `offsets.retention.minutes`."""
    group = stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})  # a future does not keep its client alive
    admin.delete_consumer_groups([group])[group].result()


@pytest.mark.slow
def test_a_worker_without_its_offsets_guesses_nothing(kafka, stages):
    """After a quiet fortnight every prospect would come out a second time and everybody be called again, or those that
    came meanwhile be lost."""
    stage = stages(kafka.bootstrap, partitions=3, http__listen=LISTEN)
    stage.load("consent", NUMBERS[::2], "--kind", "allow")
    with stage.worker("w1") as worker:
        publish(stage, range(20))
        wait_until(lambda: out(stage) == list(range(20)))
        assert worker.stop()[0] == 0
    publish(stage, range(20, 30))

    forgotten(stage)
    with stage.worker("w2") as worker:
        seen = Watched(worker)
        wait_until(lambda: seen.held_for("no-offsets"))
        assert worker.logged("holding", cause="no-offsets")
        refused = run(["offsets", "--restore"], stage.env)
        assert refused.returncode == 1 and "stop every worker" in refused.stderr
        assert worker.stop()[0] == 0
    restored = run_json(["offsets", "--restore"], stage.env)["partitions"]
    assert all(each["restored"] for each in restored) and sum(each["emitted_upto"] for each in restored) == 20
    with stage.worker("w3") as worker:
        wait_until(lambda: len(out(stage)) >= 30)
        assert worker.stop()[0] == 0
    assert out(stage) == list(range(30))

    forgotten(stage)
    with stage.worker("w4", "--from-end") as worker:
        wait_until(lambda: worker.logged("no committed offset: starting at the configured position"))
        publish(stage, range(30, 40))
        wait_until(lambda: len(out(stage)) >= 40)
        assert worker.stop()[0] == 0
    assert out(stage) == list(range(40))
