"""When no verdict would be safe the worker emits nothing, says why once, and goes on by itself."""

import json
import re
from datetime import UTC, datetime

import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, ordinary_producer, produce, prospect, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

HELD = "holding"
OPPOSED, *FREE = french_mobiles(200, seed=20)


def send(stage, bootstrap, leads=50):
    produce(
        bootstrap, stage.topics["prospects"], ((b"k", prospect(n, spell(FREE[n], n))) for n in range(leads))
    )


def with_lists(stages, bootstrap, **settings):
    stage = stages(bootstrap, partitions=2, http__listen=LISTEN, **settings)
    stage.load("internal", [OPPOSED])
    stage.load("consent", FREE, "--kind", "allow")
    return stage


def stays_silent(stage, worker, leads):
    """A worker that holds has seen so many prospects that wait, and emits none of them; how much had come out."""
    seen = Watched(worker)
    wait_until(lambda: seen.metrics().sum("stream_scrub_partition_lag_records") == leads)
    return count(stage.bootstrap, stage.outputs, "read_uncommitted")


def told(worker, cause):
    """Why it holds, by the line that says it."""
    lines = [line for line in worker.lines() if line["event"].startswith(HELD) and line["cause"] == cause]
    need_a_minute_between(lines)
    return lines[0]["why"]


def need_a_minute_between(lines):
    """A cause is told once, and again each minute."""
    last = {}
    for line in lines:
        why, moment = re.sub(r"\d+", "#", line["why"]), datetime.fromisoformat(line["timestamp"])
        assert why not in last or (moment - last[why]).total_seconds() > 59, lines
        last[why] = moment


def log_records(bootstrap, stage):
    """The log's records as (key, value, headers), as anyone may copy them."""
    return [(m.key(), m.value(), m.headers()) for m in read_all(bootstrap, stage.topics["log"])]


def write_log(bootstrap, stage, records):
    """Write to the log as no publisher would."""
    producer = ordinary_producer(bootstrap)
    for key, value, headers in records:
        producer.produce(stage.topics["log"], value, key, headers=headers)
    assert producer.flush(30) == 0


def test_no_list_no_verdict(kafka, stages):
    """A worker started before the first import must not let everybody through."""
    stage = stages(kafka.bootstrap)
    send(stage, kafka.bootstrap)
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="no-seal"))
        listed = stage.load("internal", [OPPOSED])["position"]
        stage.load("consent", FREE, "--kind", "allow")
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        assert worker.stop()[0] == 0
    assert worker.logged("hold ended")
    leads = [json.loads(each.value()) for topic in stage.outputs for each in read_all(kafka.bootstrap, topic)]
    assert len(leads) == 50 and all(lead["scrub"]["index"] >= listed for lead in leads)


def test_an_old_register_holds_until_it_is_renewed(kafka, stages):
    """A list past its legal age must stop calls of its country, and an unchanged fresh one must let them go on."""
    hold = {"rules__stale_by_register": '{"dncm": "hold"}'}
    stage = stages(kafka.bootstrap, partitions=1, http__listen=LISTEN, **hold)
    stage.load("dncm", [32_470_123_456], "--effective-at", "2026-01-05")
    produce(
        kafka.bootstrap, stage.topics["prospects"], iter([(b"k", prospect(1, "+32470123457", country="BE"))])
    )
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="register"))
        assert stays_silent(stage, worker, 1) == 0
        assert "dncm" in told(worker, "register"), "it says which"
        today = datetime.now(UTC).date().isoformat()
        renewed = stage.load("dncm", [32_470_123_456], "--effective-at", today)
        assert (renewed["added"], renewed["removed"], renewed["unchanged"]) == (0, 0, 1)
        wait_until(lambda: count(kafka.bootstrap, [stage.topics["allowed"]]) == 1)


def test_a_corrupt_log_stops_all_verdicts(kafka, stages):
    """A log that was tampered with or damaged must not be judged by: hold, name the offset, exit 3 when told to end."""
    stage = with_lists(stages, kafka.bootstrap)
    good = [r for r in log_records(kafka.bootstrap, stage) if r[0] == b"internal"]
    with stage.worker("w1") as worker:
        send(stage, kafka.bootstrap)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        (part, seal) = good  # every other damage is tested without a broker
        write_log(kafka.bootstrap, stage, [(part[0], bytes([part[1][0] ^ 1]) + part[1][1:], part[2]), seal])
        wait_until(lambda: worker.logged(HELD, cause="log-corrupt"))
        send(stage, kafka.bootstrap)
        assert stays_silent(stage, worker, 50) == 50
        assert "offset" in told(worker, "log-corrupt")
        assert worker.stop()[0] == 3
    status = run(["lists", "status"], stage.env)
    assert status.returncode == 3 and "offset" in status.stderr


@pytest.mark.slow
def test_a_log_that_was_emptied_and_begun_again_stops_all_verdicts(kafka, stages):
    """All who had opted out would be called as soon as somebody imports a list again."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("internal", [OPPOSED, FREE[0]])
    admin, log = AdminClient({"bootstrap.servers": kafka.bootstrap}), stage.topics["log"]
    (emptied,) = admin.delete_records([TopicPartition(log, 0, OFFSET_END)]).values()
    first = emptied.result().low_watermark
    send(stage, kafka.bootstrap)
    refused = run(
        ["lists", "import", str(stage.folder / "internal.txt"), "--register", "internal"], stage.env
    )
    assert refused.returncode == 3 and f"begins at offset {first}" in refused.stderr
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="log-corrupt"))
        why = told(worker, "log-corrupt")
        assert f"begins at offset {first}" in why and "retention.ms" in why
        assert worker.stop()[0] == 3
    assert count(kafka.bootstrap, stage.outputs, "read_uncommitted") == 0


@pytest.mark.slow
def test_a_transaction_that_hangs_on_the_log_holds(kafka, stages):
    """Behind it nobody sees a delta any more: an opt-out of an hour ago would be called, and nothing say so."""
    stage = with_lists(stages, kafka.bootstrap, rules__index_lag_max_s=4)
    log = stage.topics["log"]
    hanging = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": f"hanging-{log}",
            "transaction.timeout.ms": 600_000,
        }
    )
    hanging.init_transactions(60)
    with stage.worker("w1") as worker:
        send(stage, kafka.bootstrap)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        hanging.begin_transaction()
        hanging.produce(log, b"x", b"other", 0)
        hanging.flush(60)
        wait_until(lambda: worker.logged(HELD, cause="log-open"))
        send(stage, kafka.bootstrap)
        assert stays_silent(stage, worker, 50) == 50
        why = told(worker, "log-open")
        assert "a transaction has been open" in why and "An open transaction" in why
        hanging.abort_transaction(60)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 100)
        assert worker.stop()[0] == 0
    assert worker.logged("hold ended")


def test_missing_topics_are_named(kafka, stages):
    """A worker pointed at the wrong cluster must say which topic is missing and what to do, not wait for ever."""
    stage = stages(kafka.bootstrap)
    env = stage.env | {"STREAM_SCRUB_TOPICS__ALLOWED": "nowhere-at-all"}
    done = run(["worker"], env)
    assert done.returncode == 1
    assert "nowhere-at-all" in done.stderr and "stream-scrub topics" in done.stderr
