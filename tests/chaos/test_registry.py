"""Prospects in Avro through whole processes on a real Kafka, with a schema registry that goes away and comes back."""

import json

import pytest

from stream_scrub.extension import extension
from tests.kafka.broker import free_ports
from tests.support.fakes.registry import FakeRegistry, numbered, written
from tests.support.fakes.web import Web
from tests.support.running.outcome import count, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, ordinary_producer, spell
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(extension() is None, reason="the extension is not installed"),
    pytest.mark.slow,
]

OPPOSED, *FREE = french_mobiles(200, seed=31)


# Two versions of a producer's schema. tests/unit/registry reads Protobuf; what holds and goes on is the same for both.
OLD = {
    "type": "record",
    "name": "Lead",
    "fields": [{"name": "id", "type": "int"}, {"name": "phone", "type": "string"}],
}
NEW = {
    "type": "record",
    "name": "Lead",
    "fields": [
        {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}},
        {"name": "phone", "type": ["null", "string"]},
        {"name": "id", "type": "int"},
    ],
}


def gone(_):
    raise ConnectionError


def lead(at):
    """A lead, every tenth of an opposed number."""
    return {"id": at, "phone": spell(OPPOSED if at % 10 == 0 else FREE[at], at), "tags": {"from": "form"}}


def send(stage, values, **headers):
    """Send values by key, each key once."""
    producer = ordinary_producer(stage.bootstrap)
    for key, value in values.items():
        producer.produce(
            stage.topics["prospects"], value, key.encode(), headers=list(headers.items()) or None
        )
    assert producer.flush(30) == 0
    return values


def leads(schema, registry_id, ids):
    """Leads with the id of their schema in front, by key."""
    return {f"{registry_id}-{at}": numbered(registry_id, written(schema, lead(at))) for at in ids}


def came_out(stage):
    """What came out, by key: the verdict, the reason and the value. Fails if a key came twice."""
    found = {}
    for topic in stage.outputs:
        for message in read_all(stage.bootstrap, topic):
            key = message.key().decode()
            assert key not in found, f"{key} came twice"
            stamp = json.loads(dict(message.headers())["scrub"])
            assert topic == stage.topics[stamp["verdict"]]
            found[key] = stamp["reason"], message.value()
    return found


def with_registry(stages, kafka, url, **settings):
    stage = stages(
        kafka.bootstrap,
        partitions=2,
        prospect__format="avro",
        prospect__stamp="header",
        registry__url=url,
        registry__timeout_s=2,
        **settings,
    )
    stage.load("internal", [OPPOSED])
    stage.load("consent", [OPPOSED, *FREE], "--kind", "allow")
    return stage


def expected(sent):
    """The reason and the value of each lead, by key."""
    return {
        key: ("opposed" if int(key.partition("-")[2]) % 10 == 0 else "consented", value)
        for key, value in sent.items()
    }


@pytest.mark.slow
def test_a_registry_that_goes_away_holds_what_it_alone_knows_and_loses_nothing(kafka, stages):
    """An outage of the registry would lose leads, emit them twice, or block those of a new schema."""
    registry = FakeRegistry()
    first, second = registry.add(OLD), registry.add(NEW)
    (port,) = free_ports(1)
    stage = with_registry(stages, kafka, f"http://127.0.0.1:{port}", http__listen=LISTEN)
    worker = stage.worker("w1")
    with worker:
        with Web(registry, port) as web:
            sent = send(stage, leads(OLD, first, range(50)))
            wait_until(lambda: count(stage.bootstrap, stage.outputs) == 50)
            assert worker.logged("started", transport="bulk")
            web.answer = gone  # also on the connections that are open
        sent |= send(stage, leads(OLD, first, range(50, 100)))
        wait_until(lambda: count(stage.bootstrap, stage.outputs) == 100)
        sent |= send(stage, leads(NEW, second, range(50)) | leads(OLD, first, range(100, 150)))
        wrong = send(
            stage, {"wrong-1": numbered(999, b"\0"), "wrong-2": b"{}", "wrong-3": numbered(first, b"\xff")}
        )
        wait_until(lambda: worker.logged("holding", cause="registry"))
        seen = Watched(worker)
        assert seen.held_for("registry") and seen.status("/livez") == 200
        (cause,) = seen.causes()
        assert "does not answer" in cause["why"] and "registry.url" in cause["do"]
        assert seen.metrics().sum("stream_scrub_holding", cause="registry") == 1
        worker.kill()  # it forgets the schemas that it knew
        worker.start()
        wait_until(lambda: sum(line.get("cause") == "registry" for line in worker.lines()) >= 2)
        assert not any(key.startswith(f"{second}-") for key in came_out(stage))
        with Web(registry, port):
            wait_until(lambda: count(stage.bootstrap, stage.outputs) == len(sent) + len(wrong))
            wait_until(lambda: worker.logged("hold ended"))
            assert worker.stop()[0] == 0
    assert came_out(stage) == expected(sent) | {key: ("unreadable", value) for key, value in wrong.items()}


def test_emitted_leads_are_recalled_retried_and_explained(kafka, stages):
    """What reads an emitted record again would not understand it: nothing would be taken back, and nothing proven."""
    registry = FakeRegistry()
    first = registry.add(OLD)
    with Web(registry) as web:
        stage = with_registry(stages, kafka, web.url)
        header = {"__value_schema_id": b"\0" + first.to_bytes(4, "big")}
        with stage.worker("w1") as worker, stage.recall("r1") as recall:
            sent = send(stage, {f"{first}-1": written(OLD, lead(1))}, **header)
            sent |= send(stage, leads(OLD, first, range(2, 10)) | leads(NEW, first + 1, range(11, 13)))
            wait_until(lambda: count(stage.bootstrap, stage.outputs) == len(sent))
            stage.load("internal", [OPPOSED, FREE[1], FREE[2]], "--allow-change")
            wait_until(lambda: len(read_recalls(stage.bootstrap, stage.topics["recalled"])) == 2)

            assert registry.add(NEW) == first + 1
            again = ["retry", "--reason", "unreadable", "--since", "2020-01-01"]

            def all_are_allowed():
                run_json(again, stage.env)
                return count(stage.bootstrap, [stage.topics["allowed"]]) == len(sent)

            wait_until(all_are_allowed, every=1)
            assert recall.stop()[0] == 0 and worker.stop()[0] == 0
        allowed = list(read_all(stage.bootstrap, stage.topics["allowed"]))
        assert {message.key().decode(): message.value() for message in allowed} == sent
        for message in allowed:
            place = [f"--partition={message.partition()}", f"--offset={message.offset()}"]
            done = run(["explain", "--topic", "allowed", *place], stage.env)
            assert done.returncode == 0, done.stdout + done.stderr
    done = run(["explain", "--topic", "allowed", *place], stage.env)
    assert done.returncode == 1
    assert "schema registry" in done.stderr
