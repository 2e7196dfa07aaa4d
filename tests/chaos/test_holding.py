"""When no verdict would be safe the worker emits nothing, says why once, and goes on by itself."""

import json
import re
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyroaring import BitMap64

from stream_scrub.config import load
from stream_scrub.index import Register, deltas
from stream_scrub.index.deltas import with_ends
from stream_scrub.kafka import clients
from stream_scrub.log.encode import publish
from stream_scrub.model import RegisterKind
from stream_scrub.ops import logs, read_log
from tests.support.fakes.publisher import SOURCE, stated
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import french_mobiles, ordinary_producer, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.worker import run, run_json, wait_until

pytestmark = pytest.mark.chaos

HELD = "holding"
OPPOSED, *FREE = french_mobiles(200, seed=20)


def send(stage, bootstrap, leads=50):
    produce(
        bootstrap, stage.topics["prospects"], ((b"k", prospect(n, spell(FREE[n], n))) for n in range(leads))
    )


def with_lists(stages, bootstrap, **settings):
    stage = stages(bootstrap, partitions=2, **settings)
    stage.load("internal", [OPPOSED])
    stage.load("consent", FREE, "--kind", "allow")
    return stage


def stays_silent(stage, bootstrap, seconds=2.0):
    """Nothing more comes out for a while; how much had."""
    before = count(bootstrap, stage.outputs, "read_uncommitted")
    time.sleep(seconds)
    assert count(bootstrap, stage.outputs, "read_uncommitted") == before, "it went on emitting"
    return before


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
        assert stays_silent(stage, kafka.bootstrap) == 0
        stage.load("internal", [OPPOSED])
        stage.load("consent", FREE, "--kind", "allow")
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        assert worker.stop()[0] == 0
    assert worker.logged("hold ended")


def test_a_missing_register_is_stale_not_empty(kafka, stages):
    """A rule that asks for a list nobody ever imported must not be read as "nobody is on it"."""
    stage = stages(kafka.bootstrap, partitions=2, rules__stale="hold")
    stage.load("internal", [OPPOSED])
    send(stage, kafka.bootstrap)
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="register"))
        assert stays_silent(stage, kafka.bootstrap) == 0
        assert "consent" in told(worker, "register"), "it says which"
        stage.load("consent", FREE, "--kind", "allow")
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)


def test_an_old_register_holds_until_it_is_renewed(kafka, stages):
    """A list past its legal age must stop calls of its country, and an unchanged fresh one must let them go on."""
    stage = stages(kafka.bootstrap, partitions=1, rules__stale_by_register='{"dncm": "hold"}')
    stage.load("dncm", [32_470_123_456], "--effective-at", "2026-01-05")
    produce(
        kafka.bootstrap, stage.topics["prospects"], iter([(b"k", prospect(1, "+32470123457", country="BE"))])
    )
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="register"))
        assert stays_silent(stage, kafka.bootstrap) == 0
        today = datetime.now(UTC).date().isoformat()
        renewed = stage.load("dncm", [32_470_123_456], "--effective-at", today)
        assert (renewed["added"], renewed["removed"], renewed["unchanged"]) == (0, 0, 1)
        wait_until(lambda: count(kafka.bootstrap, [stage.topics["allowed"]]) == 1)


@pytest.mark.slow
def test_a_register_whose_ends_nobody_publishes_holds_until_somebody_does(kafka, stages):
    """A consent would count for ever because its publisher is away, and nothing say so."""
    stage = stages(kafka.bootstrap, partitions=1, rules__stale="hold")
    stage.load("internal", [OPPOSED])
    now = int(time.time())
    # The publisher takes out every French consent without an end.
    put_with_ends(stage, "consent", {FREE[0]: now - 120, **dict.fromkeys(FREE[1:], now + 30 * 86_400)})
    send(stage, kafka.bootstrap)
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged(HELD, cause="register"))
        assert stays_silent(stage, kafka.bootstrap) == 0
        assert "should have ended: consent" in told(worker, "register"), "it says which"
        with PublisherProcess(stage, None) as publisher:
            wait_until(lambda: publisher.logged("ended", register="consent"))
            wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
            assert publisher.stop()[0] == 0
        assert worker.stop()[0] == 0
    assert worker.logged("hold ended")
    (blocked,) = read_all(kafka.bootstrap, stage.topics["blocked"])
    assert json.loads(blocked.value())["scrub"]["reason"] == "no-consent"


def put_with_ends(stage, register, listed):
    """Publish an allow register as a publisher did that has not been there since."""
    settings, log = load(environ=stage.env), logs.configure("error", "json")
    writer = clients.Brokers(settings, log).log_writer(register)
    known = read_log.replayed(settings, log, keep_ends=True).known(register)
    now = datetime.now(UTC)
    base = Register.empty(register, RegisterKind.ALLOW, now)
    numbers = BitMap64(sorted(listed))
    ends = stated({number: end for number, end in listed.items() if end})
    delta = with_ends(deltas.full(base.numbers, numbers), known.ends, numbers, ends)
    publish(writer, base, delta, now, SOURCE, known=known)
    writer.close()


@pytest.mark.slow
def test_a_register_that_cannot_be_used_blocks_only_those_who_need_it(kafka, stages):
    """One British lead, or one list that is a day late, would stop every lead of every country."""
    stage = with_lists(stages, kafka.bootstrap)
    british = iter([(b"k", prospect(1, "+447400123457", country="GB"))])
    produce(kafka.bootstrap, stage.topics["prospects"], british)
    send(stage, kafka.bootstrap)
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 51)
        assert worker.stop()[0] == 0
    (blocked,) = read_all(kafka.bootstrap, stage.topics["blocked"])
    assert json.loads(blocked.value())["scrub"]["reason"] == "stale-register"
    assert json.loads(blocked.value())["scrub"]["registers"] == ["tps"]
    (started,) = [line for line in worker.lines() if line["event"].startswith("registers of today's rules")]
    assert (
        started["registers"]["tps"] == "GB: it was never imported" and "consent" not in started["registers"]
    )
    (warned,) = [line for line in worker.lines() if line["event"].startswith("prospects blocked for")]
    assert (warned["register"], warned["prospects"], warned["level"]) == ("tps", 1, "warning")
    lacking = {each["register"]: each for each in run_json(["lists", "status"], stage.env)["unusable"]}
    assert lacking["tps"] == {"register": "tps", "countries": ["GB"], "why": "it was never imported"}


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
        assert stays_silent(stage, kafka.bootstrap) == 50
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
        assert stays_silent(stage, kafka.bootstrap) == 0
        why = told(worker, "log-corrupt")
        assert f"begins at offset {first}" in why and "retention.ms" in why
        assert worker.stop()[0] == 3


@pytest.mark.slow
def test_parts_without_a_seal_hold(kafka, stages):
    """Half a delta on the log means that a delta was lost, or that something wrote that is no publisher: its numbers
    would be called."""
    stage = with_lists(stages, kafka.bootstrap)
    (part, _seal) = [r for r in log_records(kafka.bootstrap, stage) if r[0] == b"internal"]
    headers = [(k, b"2" if k == "seq" else v) for k, v in part[2]]
    with stage.worker("w1") as worker:
        send(stage, kafka.bootstrap)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        write_log(kafka.bootstrap, stage, [(part[0], part[1], headers)])
        wait_until(lambda: worker.logged(HELD, cause="log-unsealed"))
        send(stage, kafka.bootstrap)
        assert stays_silent(stage, kafka.bootstrap) == 50
        found = run(["lists", "verify", "--json"], stage.env)
        (problem,) = json.loads(found.stdout)["problems"]
        assert found.returncode == 3 and problem["register"] == "internal"
        assert "without their seal" in problem["what"]
        worker.stop()


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
        assert stays_silent(stage, kafka.bootstrap) == 50
        why = told(worker, "log-open")
        assert "a transaction has been open" in why and "An open transaction" in why
        hanging.abort_transaction(60)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 100)
        assert worker.stop()[0] == 0
    assert worker.logged("hold ended")


@pytest.mark.slow
def test_a_broker_that_is_away_is_waited_for(own_kafka, stages):
    """An outage longer than the index may be old must end by itself, without a restart and without a flood of lines."""
    bootstrap = own_kafka.bootstrap
    stage = with_lists(stages, bootstrap, rules__index_lag_max_s=3)
    with stage.worker("w1") as worker:
        send(stage, bootstrap)
        wait_until(lambda: count(bootstrap, stage.outputs) == 50)
        own_kafka.kill()
        wait_until(lambda: worker.logged(HELD, cause="log-unreachable"))
        time.sleep(8)
        assert worker.alive
        own_kafka.start()
        send(stage, bootstrap)
        wait_until(lambda: count(bootstrap, stage.outputs) == 100)
        assert worker.stop()[0] == 0
    lines = worker.lines()
    assert len(lines) < 60, f"{len(lines)} lines for one outage"
    assert not any("Traceback" in str(line) for line in lines)


@pytest.mark.slow
def test_a_worker_started_without_a_broker_waits(own_kafka, stages):
    """At start-up a missing broker is one clear line, one a minute while it lasts, one when it is over, and then work."""
    bootstrap = own_kafka.bootstrap
    stage = with_lists(stages, bootstrap)
    send(stage, bootstrap)
    own_kafka.kill()
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged("no broker answers, trying again"))
        time.sleep(3)
        own_kafka.start()
        wait_until(lambda: count(bootstrap, stage.outputs) == 50)
        assert worker.stop()[0] == 0
    assert not any("Traceback" in str(line) for line in worker.lines())
    *tried, over = [line for line in worker.lines() if "broker" in str(line["event"])]
    assert {line["event"] for line in tried} == {"no broker answers, trying again"}
    need_a_minute_between(tried)
    assert over["event"] == "brokers answer"


def test_missing_topics_are_named(kafka, stages):
    """A worker pointed at the wrong cluster must say which topic is missing and what to do, not wait for ever."""
    stage = stages(kafka.bootstrap)
    env = stage.env | {"STREAM_SCRUB_TOPICS__ALLOWED": "nowhere-at-all"}
    done = run(["worker"], env)
    assert done.returncode == 1
    assert "nowhere-at-all" in done.stderr and "stream-scrub topics" in done.stderr


@pytest.mark.slow
def test_positions_never_go_back_to_a_worker_that_knows_less(kafka, stages):
    """A partition that moves to a slower follower must wait for it, or an opted-out number could be let through."""
    stage = with_lists(stages, kafka.bootstrap)
    ahead = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]}
    )
    note = f"index=999 log={stage.topics['log']}/ topic="
    ahead.commit(offsets=[TopicPartition(stage.topics["prospects"], 0, 0, note)], asynchronous=False)
    ahead.close()
    produce(
        kafka.bootstrap,
        stage.topics["prospects"],
        iter([(None, prospect(1, spell(FREE[1], 1)))]),
        partition=0,
    )
    with stage.worker("w1") as worker:
        behind = "another worker has judged by position 999, this one knows "
        wait_until(
            lambda: any(
                line.get("cause") == "log-behind" and str(line.get("why")).startswith(behind)
                for line in worker.lines()
            ),
        )
        assert stays_silent(stage, kafka.bootstrap) == 0
    assert ends(kafka.bootstrap, stage.outputs) == 0


@pytest.mark.slow
def test_more_numbers_than_a_worker_has_room_for_hold(kafka, stages):
    """One list of a few bytes would have every worker killed by its memory limit, at every start anew."""
    stage = with_lists(stages, kafka.bootstrap)
    with stage.worker("w1", lists__max_numbers=100_000) as worker:
        send(stage, kafka.bootstrap)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 50)
        prefix = stage.folder / "prefix.txt"
        prefix.write_text("+3361299XXXX\n" * 3 + "+336129XXXXX\n")
        refused = run(
            ["lists", "import", str(prefix), "-r", "internal", "--adds"],
            {**stage.env, "STREAM_SCRUB_LISTS__MAX_NUMBERS": "100000"},
        )
        assert refused.returncode == 1 and "lists.max_numbers" in refused.stderr

        assert run(["lists", "import", str(prefix), "-r", "internal", "--adds"], stage.env).returncode == 0
        wait_until(lambda: worker.logged(HELD, cause="too-many-numbers"))
        send(stage, kafka.bootstrap)
        assert stays_silent(stage, kafka.bootstrap) == 50
        assert worker.stop()[0] == 0
