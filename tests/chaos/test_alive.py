"""Recall proves that it is alive, and a dialler hands out nothing without it: on a real Kafka."""

import json
import threading
from datetime import timedelta

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream_scrub.dialler import Allowed, Lead
from tests.conftest import until_known
from tests.support.running.outcome import count, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.stage import TO_EVERYBODY
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(40, seed=31)
LAG_MAX_S = 15


def send(stage, ids):
    leads = ((b"k%d" % at, prospect(at, spell(NUMBERS[at], at))) for at in ids)
    produce(stage.bootstrap, stage.topics["prospects"], leads)


def dialler(stage, **options) -> Allowed:
    chosen = {f"topics.{role}": stage.topics[role] for role in ("allowed", "recalled")}
    chosen |= {"kafka.bootstrap_servers": stage.bootstrap, "recall.lag_max_s": LAG_MAX_S}
    chosen |= {"recall.keep_days": 10_000}
    return Allowed("dialler-7", settings=chosen, max_age=timedelta(days=9_000), start="beginning", **options)


def test_nothing_is_handed_out_while_recall_is_dead_or_was_never_started(kafka, stages, caplog):
    """A lead that was opposed after its verdict would be dialled for as long as nobody notices that recall is dead."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS, "--kind", "allow")
    caplog.set_level("INFO", "stream_scrub")
    given: list[Lead] = []
    with stage.worker("w1"), dialler(stage) as leads:
        asking = threading.Thread(target=lambda: given.extend(leads), daemon=True)
        asking.start()
        send(stage, range(10))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 10)
        wait_until(lambda: "holding: nothing is handed out" in caplog.text)
        assert given == []
        assert 'set recall="none"' in caplog.text

        with stage.recall("r1") as recall:
            wait_until(lambda: len(given) == 10)
            wait_until(lambda: "hold ended" in caplog.text)
            assert leads.may_dial(given[0]).allowed
            recall.kill()
        caplog.clear()
        wait_until(lambda: leads.may_dial(given[0]).why == "unknown")
        send(stage, range(10, 20))
        wait_until(lambda: "holding: nothing is handed out" in caplog.text)
        assert len(given) == 10, "handed out without a recall"

        with stage.recall("r1"):
            wait_until(lambda: len(given) == 20)
            assert leads.may_dial(given[0]).allowed


def test_recalls_come_again_where_their_topic_was_deleted_and_created_again(kafka, stages):
    """A dialler that starts after that would be given every lead that was recalled, and nobody would know."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS, "--kind", "allow")
    name = stage.topics["recalled"]
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    with stage.worker("w1"), stage.recall("r1") as recall:
        send(stage, range(10))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 10)
        stage.load("internal", NUMBERS[:8])
        wait_until(lambda: recalled(stage) == {f"+{number}" for number in NUMBERS[:8]})
        create_again(admin, name, partitions=1)
        with dialler(stage) as leads:
            assert {each.key for _, each in zip(range(2), leads, strict=False)} == {b"k8", b"k9"}
        assert recalled(stage) == {f"+{number}" for number in NUMBERS[:8]}
        assert recall.logged("recalls are gone, judging all leads again")
        assert recall.stop()[0] == 0


def create_again(admin: AdminClient, topic: str, partitions: int) -> None:
    admin.delete_topics([topic])[topic].result()
    wait_until(lambda: topic not in admin.list_topics(timeout=60).topics)
    config = {"retention.ms": str(10_000 * 86_400_000)}
    admin.create_topics([NewTopic(topic, partitions, config=config)])[topic].result()
    until_known(admin, topic)


def recalled(stage) -> set[str]:
    """The numbers on the topic of recalls."""
    notices = (json.loads(each.value()) for each in read_recalls(stage.bootstrap, stage.topics["recalled"]))
    return {each["number"] for each in notices}
