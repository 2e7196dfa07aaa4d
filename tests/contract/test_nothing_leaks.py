"""A whole worker on the embedded broker, fed with numbers wherever a prospect can hold one: none comes out but in the
output topics."""

import http.client
import io
import json
import re
import threading
from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaError, Producer

from stream_scrub.config import Http, load
from stream_scrub.imports import import_list, plan_import
from stream_scrub.kafka import clients
from stream_scrub.kafka.clients import Brokers
from stream_scrub.model import RegisterKind
from stream_scrub.ops import http_server as pages
from stream_scrub.ops import logs
from stream_scrub.ops.daemon import Process
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.ops.metric_catalogue import PROSPECTS
from stream_scrub.worker import start
from tests.support.fakes.lists import consents
from tests.support.network.faulty_kafka import Api, FaultyKafka
from tests.support.running.outcome import count
from tests.support.waiting import wait_until

NUMBERS = [33_612_345_600 + n for n in range(40)] + [447_911_123_456, 14_165_550_123, 262_692_123_456]


def spelled(number: int) -> list[str]:
    digits = str(number)
    return [digits, f"+{digits}", f"00{digits}", "+" + " ".join(digits), f"({digits[:2]}) {digits[2:]}"]


def hostile():
    """Keys, headers and values with numbers in them: good, bad and unreadable."""
    for at, number in enumerate(NUMBERS):
        text = spelled(number)[at % 5]
        values = [
            json.dumps({"phone": text, "country": "FR"}).encode(),
            json.dumps({"phone": [text, number, text * 3], text: {text: text}, "campaign": text}).encode(),
            json.dumps({"phone": {"phone": text}, "country": text, "purpose": text}).encode(),
            f'{{"phone":"{text}","phone":"{text}"}}'.encode(),
            f"{text}, {text}\n{text}".encode("utf-16"),
            text.encode(),
            b'{"phone":' + str(number).encode() + b"e9}",
        ]
        for value in values:
            yield text.encode(), value, [(text, text.encode()), ("phone", str(number).encode())]


@pytest.fixture
def settings(tmp_path):
    with FaultyKafka() as broker:
        flags = {
            "kafka.bootstrap_servers": broker.bootstrap,
            "kafka.group_protocol": "consumer",
            "kafka.consumer": {"check.crcs": "false"},
            "worker.id": "w1",
            "worker.batch_records": 50,
            "rules.stale": "block",
            "log.level": "debug",
        }
        found = load(flags=flags, environ={}, cwd=tmp_path, extra_checks=[clients.refused_properties])
        topics = found.topics
        for topic, partitions in {
            topics.log: 1,
            topics.prospects: 2,
            topics.allowed: 2,
            topics.blocked: 2,
        }.items():
            broker.create_topic(topic, partitions)
        yield found, broker


def load_list(settings, log, tmp_path, register, numbers):
    path = tmp_path / f"{register}.txt"
    listed = [f"+{number}" for number in numbers]
    path.write_text(consents(listed) if register == "consent" else "\n".join(listed) + "\n")
    kind = RegisterKind.ALLOW if register == "consent" else RegisterKind.DENY
    options = plan_import.ImportOptions(
        file=path,
        register=register,
        change="full",
        kind=kind,
        effective_at=datetime.now(UTC),
        region="FR",
        column="",
        max_bad=0.0,
        dry_run=False,
    )
    import_list.run(options, settings, log, lambda *_: None, lambda *_: None)


def test_no_number_of_a_prospect_is_in_the_log_or_on_a_page(settings, tmp_path):
    """Whoever may read logs and dashboards, which is half the company, could read who is called."""
    settings, broker = settings
    out = io.BytesIO()
    log = logs.configure("debug", "json", out)
    state = WorkerState("w1", settings, 60)
    worker, follower = start.worker(Process(settings, state, log), Brokers(settings, log, embedded=True), 600)
    state.attach(follower, worker.rulebook)
    stopping = threading.Event()
    follower.start()
    thread = threading.Thread(target=worker.run, args=(stopping,))
    seen = []
    with pages.serving(Http(listen="127.0.0.1:0"), lambda: [state.status()], state.limit_hit, log):
        port = next(line["port"] for line in map(json.loads, out.getvalue().splitlines()) if "port" in line)

        def look():
            for path in ("/metrics", "/readyz", "/livez", "/startupz", "/33612345600"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", path)
                seen.append(connection.getresponse().read().decode())

        thread.start()
        wait_until(lambda: state.holding == "no-seal")
        look()
        load_list(settings, log, tmp_path, "internal", NUMBERS[::2])
        load_list(settings, log, tmp_path, "consent", NUMBERS[1::2])
        wait_until(lambda: state.assigned == 2)
        producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
        sent = 0
        broker.push_errors(Api.TXN_OFFSET_COMMIT, [KafkaError.ILLEGAL_GENERATION])
        for key, value, headers in hostile():
            producer.produce(settings.topics.prospects, value, key, headers=headers)
            sent += 1
        assert producer.flush(60) == 0
        outputs = [settings.topics.allowed, settings.topics.blocked]
        wait_until(lambda: state.totals["prospects"] >= sent)
        look()
        stopping.set()
        thread.join(240)
        look()
    follower.stop()
    assert state.totals["aborts"] > 0, "no batch was given up: proves less"
    assert count(settings.kafka.bootstrap_servers, outputs) >= sent
    prospects = state.metrics.samples(PROSPECTS)
    assert len({each.labels["reason"] for each in prospects if each.value}) > 3
    told = out.getvalue().decode() + "".join(seen)
    assert "batch given up" in told and "no-seal" in told and "stream_scrub_prospects_total" in told
    digits = re.sub(r"[ ()]", "", told)
    leaked = [number for number in NUMBERS if str(number)[2:] in digits]
    assert leaked == []
