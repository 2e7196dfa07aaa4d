"""Records that the output topics refuse for what they are: each harms itself alone, on a real Kafka."""

import json
import os
import time
from collections import Counter

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, ordinary_producer, prospect, spell
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OPPOSED, *FREE = french_mobiles(200, seed=31)
FOR_EVER = str(2**63 - 1)


def configure(kafka, topic, **config):
    """Change settings of a live topic; dots are underscores."""
    entries = [
        ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource("topic", topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def leads(count_):
    return [prospect(at, spell(FREE[at % len(FREE)], at)) for at in range(count_)]


def send(kafka, topic, values, *, odd, partitions=2):
    """Publish the values, each with a key and a moment of its own but where `odd` says otherwise; the moment of all."""
    producer, now = ordinary_producer(kafka.bootstrap), int(time.time() * 1000)
    for at, value in enumerate(values):
        usual = {"key": b"k%d" % (at % 7), "timestamp": now, "partition": at % partitions}
        producer.produce(topic, value, **usual | odd.get(at, {}))
    assert producer.flush(60) == 0
    return now


def came(kafka, stage):
    """What came out, by the id of its lead: the verdict of its topic, and the record."""
    return {
        json.loads(message.value())["id"]: (verdict, message)
        for verdict, topic in zip(("allowed", "blocked"), stage.outputs, strict=True)
        for message in read_all(kafka.bootstrap, topic)
    }


def stamp_of(message):
    return json.loads(
        dict(message.headers() or ()).get("scrub") or json.dumps(json.loads(message.value())["scrub"])
    )


def in_order(kafka, stage, sent):
    """Whether every partition of the outputs has the leads in the order in which they were sent."""
    for topic in stage.outputs:
        last = {}
        for message in read_all(kafka.bootstrap, topic):
            at = json.loads(message.value())["id"]
            assert at > last.get(message.partition(), -1)
            last[message.partition()] = at
    return sent


@pytest.mark.parametrize(
    "extension", [pytest.param(True, id="bulk"), pytest.param(False, id="python", marks=pytest.mark.slow)]
)
def test_records_that_an_output_refuses_come_out_blocked_and_all_others_as_usual(kafka, stages, extension):
    """One keyless prospect on a compacted output, or one whose producer counts in microseconds, would stop all
    partitions of its worker for good.
    """
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("consent", FREE, "--kind", "allow")
    configure(kafka, stage.topics["prospects"], message_timestamp_after_max_ms=FOR_EVER)
    for topic in stage.outputs:
        configure(kafka, topic, cleanup_policy="compact", min_cleanable_dirty_ratio="1.0")
    values = leads(2000)
    now = int(time.time() * 1000)
    odd = {at: {"key": None} if at % 2 else {"timestamp": now * 1000} for at in (3, 777, 778, 779, 1500)}
    sent_at = send(kafka, stage.topics["prospects"], values, odd=odd)
    with stage.worker("w1", extension=extension) as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= len(values))
        assert worker.stop()[0] == 0
    out = came(kafka, stage)
    assert len(out) == len(values)
    assert in_order(kafka, stage, values)
    for at, (verdict, message) in out.items():
        stamp = stamp_of(message)
        if at not in odd:
            assert (verdict, stamp["reason"]) == ("allowed", "consented")
            assert (message.key(), message.timestamp()[1]) == (b"k%d" % (at % 7), sent_at)
            continue
        assert (verdict, stamp["reason"]) == ("blocked", "unreadable")
        assert message.value() == values[at]
        if at % 2:
            assert stamp["cause"] == "INVALID_RECORD"
            assert message.key() and message.key().startswith(b"scrub/")
        else:
            assert stamp["cause"] == "INVALID_TIMESTAMP"
            assert message.key() == b"k%d" % (at % 7)
            assert stamp["timestamp"] == now * 1000
        assert abs(message.timestamp()[1] / 1000 - time.time()) < 3600
    said = worker.log_file.read_text()
    assert not any(str(number)[2:] in said for number in FREE), "of no record but where it is"


@pytest.mark.slow
def test_prospects_that_do_not_pack_to_half_come_out_with_their_stamps(kafka, stages):
    """The client's batches would be larger than the outputs take: thousands of lawful prospects would come out blocked, and
    without a stamp, or their worker would try the same batch for ever."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("consent", FREE, "--kind", "allow")
    for topic in stage.outputs:
        configure(kafka, topic, max_message_bytes=20_000)
    values = [value[:-1] + b',"x":"' + os.urandom(1000).hex().encode() + b'"}' for value in leads(3000)]
    send(kafka, stage.topics["prospects"], values, odd={}, partitions=1)
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= len(values))
        assert worker.stop()[0] == 0
    assert Counter(verdict for verdict, _ in came(kafka, stage).values()) == {"allowed": 3000}
    assert worker.log_file.read_text().count("batch given up") == 1, "then its batches fit"
