"""A dead publisher, a log that was deleted, and what then comes out of every door."""

import json
from collections import Counter
from contextlib import contextmanager

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from stream_scrub.api import Checker
from stream_scrub.errors import StaleIndex
from tests.kafka.broker import free_ports
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.publisher import PublisherProcess, evidence
from tests.support.running.server import ServerProcess
from tests.support.running.worker import run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

OPPOSED, FREE = 33_612_000_001, 33_612_000_002
LAG_S = 2


@pytest.fixture
def stage(kafka, stages):
    made = stages(kafka.bootstrap, partitions=2, rules__request_lag_max_s=LAG_S)
    made.load("internal", [33_612_000_009])
    made.load("consent", [OPPOSED, FREE], "--kind", "allow")
    return made


@contextmanager
def served(stage):
    with ServerProcess(stage, f"127.0.0.1:{free_ports(1)[0]}") as server:
        wait_until(lambda: server.ready() or not server.alive)
        yield server


def answer(server, number):
    """The verdict on a number, or the cause for which there is none."""
    said = httpx.post(f"{server.url}/v1/check", json={"number": f"+{number}"}, timeout=60)
    return said.json()["verdict"] if said.status_code == 200 else said.json()["cause"]


def flags(stage):
    """The stage's settings, as a program gives them."""
    named = {"kafka.bootstrap_servers": stage.bootstrap, "rules.request_lag_max_s": LAG_S}
    for key, section in (
        ("worker__group_id", "worker.group_id"),
        ("lists__requests_group", "lists.requests_group"),
    ):
        named[section] = stage.env[f"STREAM_SCRUB_{key.upper()}"]
    return named | {f"topics.{role}": name for role, name in stage.topics.items()}


def opt_out(server, number):
    asked = {"request": "opt-out", "number": f"+{number}", "id": f"r{number}"}
    assert httpx.post(f"{server.url}/v1/requests", json=asked, timeout=60).status_code == 202


def why(server):
    """Why a server gives no verdict; empty while it does not listen."""
    try:
        return httpx.get(f"{server.url}/readyz", timeout=60).text
    except httpx.TransportError:
        return ""


def checked(stage, number):
    """What the command says: the verdict, or why it gives none."""
    done = run(["check", f"+{number}", "--json"], stage.env)
    return json.loads(done.stdout)["verdict"] if done.returncode == 0 else done.stderr


def test_no_door_says_allowed_while_an_accepted_opt_out_waits(stage, kafka):
    """With a dead publisher, people whose opt-out was accepted would be called, and every page be green."""
    with PublisherProcess(stage, None) as publisher, served(stage) as server, stage.worker("w1") as worker:
        wait_until(publisher.ready)
        wait_until(lambda: answer(server, OPPOSED) == "allowed")
        publisher.kill()
        opt_out(server, OPPOSED)
        wait_until(lambda: answer(server, OPPOSED) == "requests-waiting")
        assert "requests-waiting" in why(server)
        wait_until(lambda: worker.logged("holding", cause="requests-waiting"))
        produce(kafka.bootstrap, stage.topics["prospects"], [(b"k", prospect(1, f"+{OPPOSED}"))])
        assert "accepted requests wait for the publisher" in checked(stage, OPPOSED)
        with pytest.raises(StaleIndex, match="wait for the publisher"):
            Checker.from_config(settings=flags(stage))
        assert count(kafka.bootstrap, stage.outputs) == 0
        with PublisherProcess(stage, None, "second"):
            wait_until(lambda: answer(server, OPPOSED) == "blocked")
            wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 1)
        assert not list(read_all(kafka.bootstrap, stage.topics["allowed"]))


@pytest.mark.slow
def test_a_log_that_was_deleted_is_replaced_without_one_wrong_verdict(stage, kafka):
    """A server that starts on an empty log of the old name would allow whoever had opted out; and on a new log, everybody who
    had opted out by a request."""
    with PublisherProcess(stage, None) as publisher, served(stage) as server, stage.worker("w1"):
        opt_out(server, OPPOSED)
        wait_until(lambda: answer(server, OPPOSED) == "blocked")
        produce(kafka.bootstrap, stage.topics["prospects"], [(b"k", prospect(1, f"+{FREE}"))])
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 1)
        assert publisher.stop()[0] == 0
    admin, log = AdminClient({"bootstrap.servers": kafka.bootstrap}), stage.topics["log"]
    admin.delete_topics([log])[log].result()
    wait_until(lambda: log not in admin.list_topics(timeout=30).topics)

    refused = run(["topics"], stage.env)
    assert refused.returncode == 1 and f"{log} is missing, and once existed" in refused.stderr, refused

    # Somebody creates it by hand all the same.
    elsewhere = stage.env | {
        "STREAM_SCRUB_WORKER__GROUP_ID": "nobody",
        "STREAM_SCRUB_LISTS__REQUESTS_GROUP": "nobody",
    }
    assert run(["topics"], elsewhere).returncode == 0
    (judged,) = [
        json.loads(each.value())["scrub"]["index"] for each in read_all(kafka.bootstrap, stage.outputs[0])
    ]
    stage.load("internal", [33_612_000_009])
    position = stage.load("consent", [OPPOSED, FREE], "--kind", "allow")["position"]
    while position <= judged:  # so long that its length says nothing any more
        position = stage.load("internal", [33_612_000_010 + position], "--adds")["position"]
    earlier = "was deleted and created again since workers judged by it"
    assert earlier in checked(stage, OPPOSED)
    with ServerProcess(stage, f"127.0.0.1:{free_ports(1)[0]}") as server, stage.worker("w3") as worker:
        wait_until(lambda: earlier in why(server))
        assert answer(server, OPPOSED) == "log-behind"
        wait_until(lambda: worker.logged("holding: nothing is emitted", cause="log-behind"))

    # The procedure: a log of another name, the lists, the publisher, the worker.
    stage.topics["log"] = stage.env["STREAM_SCRUB_TOPICS__LOG"] = f"{log}.2"
    assert run(["topics"], stage.env).returncode == 0
    stage.load("internal", [33_612_000_009])
    stage.load("consent", [OPPOSED, FREE], "--kind", "allow")
    assert "the workers judge by the log" in checked(stage, OPPOSED)
    with (
        PublisherProcess(stage, None, "second") as publisher,
        ServerProcess(stage, f"127.0.0.1:{free_ports(1)[0]}") as server,
    ):
        wait_until(lambda: publisher.logged("requests were published to another log"))
        wait_until(publisher.ready)
        wait_until(lambda: "the workers judge by the log" in why(server))
        with stage.worker("w2"):
            wait_until(lambda: answer(server, FREE) == "allowed")
            assert answer(server, OPPOSED) == "blocked"
            assert checked(stage, OPPOSED) == "blocked"
    assert Counter(request for _, request in evidence(stage)) == {f"r{OPPOSED}": 1}
