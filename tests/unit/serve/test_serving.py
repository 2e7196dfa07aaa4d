"""`stream-scrub serve` as a process: what it refuses, and how it begins and ends."""

import json
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from stream_scrub.config import load
from stream_scrub.queries import history
from stream_scrub.serve import serving
from tests.kafka.broker import free_ports
from tests.support.running import forked
from tests.support.running.worker import SCRIPT, environment, run
from tests.support.texts.pages import ROOT, blocks
from tests.support.waiting import wait_until
from tests.unit.serve.conftest import make_lists, starting

pytestmark = pytest.mark.process


def test_only_this_machine_is_served(tmp_path):
    """Whoever reaches the machine could ask who has opposed."""
    for listen in ("[::]:0", "example.org:8080", "192.0.2.1:8080", ""):
        assert serving.problems(load(flags={"http.listen": listen}, environ={})) != []
    for listen in ("127.0.0.1:0", "127.9.9.9:80", "[::1]:80", "localhost:80"):
        assert serving.problems(load(flags={"http.listen": listen}, environ={})) == []
    done = run(["serve"], environment("127.0.0.1:1", http__listen="0.0.0.0:0"))
    assert done.returncode == 2 and "http.listen" in done.stderr


@pytest.mark.parametrize("trial", [[], ["--trial"]])
def test_an_address_that_is_taken_is_told(trial):
    """It would seem to serve, and another program answer; or a newcomer wait for a trial, and meet that program there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ["--set", f"http.listen={where}", "--set", "log.format=console"]
        done = run(["serve", *trial, *flags], environment("127.0.0.1:1"))
    assert done.returncode == 1 and f"{where} cannot be listened on" in done.stderr
    assert "choose another address, as in --set http.listen=127.0.0.1:8081" in done.stderr
    assert "a trial" not in done.stderr


@pytest.mark.slow
def test_it_serves_before_a_broker_answers_and_ends_when_told(tmp_path):
    """While the brokers are away, a dialler would see a refused connection instead of the reason; a restart would hang
    until it is killed; or nobody knew why questions that leave the campaign out are answered "blocked"."""
    (port, probes, nobody) = free_ports(3)
    env = environment(
        f"127.0.0.1:{nobody}",
        http__listen=f"127.0.0.1:{port}",
        http__probes=f"127.0.0.1:{probes}",
        prospect__default_campaign="",
        prospect__default_purpose="",
    )
    with (
        (tmp_path / "log").open("wb") as log,
        forked.Popen([SCRIPT, "serve"], env=env, stdout=log, stderr=log) as process,
    ):
        try:
            lines = (tmp_path / "log").read_text
            wait_until(lambda: '"listening"' in lines() and str(port) in lines())
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                answer = client.post("/v1/check", json={"number": "0612345678"})
                assert answer.status_code == 503 and answer.json()["cause"].startswith("log-")
                assert client.get("/livez").status_code == 200 and client.get("/readyz").status_code == 503
                assert httpx.get(f"http://127.0.0.1:{probes}/livez", timeout=60).status_code == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait() == 0
        finally:
            process.kill()
    warned = [line["event"] for line in map(json.loads, lines().splitlines()) if line["level"] == "warning"]
    assert {
        "prospects without a campaign will be blocked",
        "prospects without a purpose will be blocked",
    } <= set(warned)


def test_a_full_disk_for_its_log_ends_no_server(tmp_path):
    """A machine whose disk is full would stop answering every dialler, over lines that nobody reads."""
    (port, nobody) = free_ports(2)
    env = environment(f"127.0.0.1:{nobody}", http__listen=f"127.0.0.1:{port}")
    with (
        Path("/dev/full").open("wb") as log,
        forked.Popen([SCRIPT, "serve"], env=env, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            wait_until(lambda: _answers(client))
            assert client.post("/v1/check", json={"number": "0612345678"}).json()["cause"].startswith("log-")
            assert process.poll() is None
        finally:
            process.kill()


def test_a_trial_answers_without_a_kafka(tmp_path):
    """An engineer would have to build a Kafka before the first verdict, and look at another product meanwhile."""
    (port,) = free_ports(1)
    begin, ask = (block.text for block in blocks(ROOT / "docs" / "check-api.md")[:2])
    assert begin.splitlines() == ["stream-scrub serve --trial"]
    command = [SCRIPT, "serve", "--trial", "--set", f"http.listen=127.0.0.1:{port}"]
    with (
        (tmp_path / "log").open("wb") as log,
        forked.Popen(command, env={}, cwd=tmp_path, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            wait_until(lambda: _answers(client) and client.get("/readyz").status_code == 200)
            answer = subprocess.run(
                ["bash", "-ec", ask.replace("8080", str(port))], capture_output=True, check=True
            )
            assert json.loads(answer.stdout)["reason"] == "opposed"
            found = {
                number: client.post("/v1/check", json={"number": number, "purpose": "insurance"}).json()[
                    "reason"
                ]
                for number in ("06 12 34 56 80", "06 12 34 56 79")
            }
            assert found == dict(zip(found, ("consented", "no-consent"), strict=True))
            assert "Trial: the lists are made up" in client.get("/").text
            opted = client.post(
                "/opt-out", data={"number": "0612345680"}, headers={"Origin": str(client.base_url)}
            )
            assert opted.status_code == 200 and "is recorded" in opted.text
            wait_until(
                lambda: (
                    client.post("/v1/check", json={"number": "06 12 34 56 80"}).json()["reason"] == "opposed"
                ),
            )
        finally:
            process.kill()
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_a_history_that_is_read_keeps_no_server_from_ending(rules, monkeypatch):
    """A restart would wait until a log of years is read, for somebody who has gone."""
    reading, go_on = threading.Event(), threading.Event()

    def slow(*_):
        reading.set()
        go_on.wait(60)

    monkeypatch.setattr(history, "of", slow)
    monkeypatch.setattr(serving, "_STOP_S", 1.0)
    with starting(rules) as start:
        server = start(make_lists())

        def asks():
            with suppress(httpx.TransportError), httpx.Client(base_url=server.url, timeout=60) as client:
                client.post("/v1/history", json={"number": "0612345678"})

        threading.Thread(target=asks, daemon=True).start()
        assert reading.wait(60)
        began = time.monotonic()
    assert time.monotonic() - began < 50
    go_on.set()
