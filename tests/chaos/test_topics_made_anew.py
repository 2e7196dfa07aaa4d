"""Topics that are deleted and made anew under their old names, on a real Kafka: between two lives, and in one."""

import json

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(60, seed=63)
ANEW = "topic deleted and created again, reading it from its start"


def made_anew(bootstrap, topic, partitions, *, at_once=False):
    """`at_once`: before clients see that it was gone, so that they read on."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result()
    if not at_once:
        wait_until(lambda: topic not in admin.list_topics(timeout=60).topics)

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, num_partitions=partitions)])[topic].result()
        except Exception:  # the old one is still being deleted
            return False
        return True

    wait_until(made)


def publish(stage, ids):
    leads = ((b"k", prospect(at, spell(NUMBERS[at % 60], 0))) for at in ids)
    produce(stage.bootstrap, stage.topics["prospects"], leads)


def out(stage):
    return sorted(
        json.loads(m.value())["id"] for topic in stage.outputs for m in read_all(stage.bootstrap, topic)
    )


def test_new_prospects_at_old_offsets_come_out(kafka, stages):
    """What comes first on the new topic would be taken for emitted, and be lost without a word."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("consent", NUMBERS, "--kind", "allow")

    with stage.worker("w1") as worker:
        publish(stage, range(20))
        wait_until(lambda: out(stage) == list(range(20)))
        assert worker.stop()[0] == 0
        made_anew(kafka.bootstrap, stage.topics["prospects"], 1)
        publish(stage, range(100, 150))
        worker.start()  # Kafka forgets what was committed of a topic that it deletes
        wait_until(lambda: worker.logged("holding", cause="no-offsets"))
        assert worker.stop()[0] == 0
        stage.worker("w2", "--from-beginning").start()
        wait_until(lambda: len(out(stage)) >= 70)
        assert out(stage) == [*range(20), *range(100, 150)]


def test_as_many_new_prospects_as_were_read_of_the_old_topic_come_out(kafka, stages):
    """They end just where the old ones were read, so nothing ever comes that shows another topic, and they are never
    read."""
    stage = stages(kafka.bootstrap, partitions=1, http__listen=LISTEN)
    stage.load("consent", NUMBERS, "--kind", "allow")

    with stage.worker("w1") as worker:
        publish(stage, range(20))
        wait_until(lambda: out(stage) == list(range(20)))
        made_anew(kafka.bootstrap, stage.topics["prospects"], 1, at_once=True)
        publish(stage, range(100, 120))
        wait_until(lambda: len(out(stage)) >= 40)
        assert out(stage) == [*range(20), *range(100, 120)]
        assert worker.logged(ANEW)
        assert Watched(worker).metrics().sum("stream_scrub_topics_recreated_total") == 1


@pytest.mark.slow
def test_new_requests_at_old_offsets_are_applied(kafka, stages):
    """Opt-outs would be taken for applied, and their people be called."""
    stage = stages(
        kafka.bootstrap,
        partitions=1,
        http__listen=LISTEN,
        kafka__client__topic_metadata_refresh_interval_ms=1000,
    )

    def ask(numbers):
        said = (
            (b"k", json.dumps({"request": "opt-out", "number": f"+{number}"}).encode()) for number in numbers
        )
        produce(kafka.bootstrap, stage.topics["requests"], said)

    def opposed():
        told = run_json(["lists", "status"], stage.env)["registers"]
        return sum(each["count"] for each in told if each["register"] == "internal")

    with PublisherProcess(stage, None) as publisher:
        ask(NUMBERS[:10])
        wait_until(lambda: opposed() == 10, every=0.5)
        made_anew(kafka.bootstrap, stage.topics["requests"], 1)
        ask(NUMBERS[10:40])
        wait_until(lambda: opposed() == 40, every=0.5)
        assert Watched(publisher).metrics().sum("stream_scrub_topics_recreated_total") == 1
        assert publisher.logged(ANEW)
        assert publisher.stop()[0] == 0
