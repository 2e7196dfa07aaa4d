"""The check API beside the publisher and a worker, on a real Kafka: an opt-out that is posted counts everywhere at once."""

import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from stream_scrub.client import Accepted, Client, Stamp
from stream_scrub.serve import tokens
from tests.kafka.broker import free_ports
from tests.support.running.prospects import french_mobiles
from tests.support.running.publisher import PublisherProcess
from tests.support.running.server import ServerProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos


def test_an_opt_out_that_is_posted_counts_at_once(kafka, stages, tmp_path):
    """Somebody who says no on the phone would be called again by the next click, from any server."""
    people = french_mobiles(12, seed=18)
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("consent", people, "--kind", "allow")
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "dialler", ["check", "request", "history"], datetime.now(UTC)).token
    ports = free_ports(2)
    with (
        PublisherProcess(stage, None) as publisher,
        ServerProcess(stage, f"127.0.0.1:{ports[0]}", "s1", http__tokens=file) as one,
        ServerProcess(stage, f"127.0.0.1:{ports[1]}", "s2", http__tokens=file, http__processes=2) as other,
        Client(one.url, token, deadline_s=60) as dialler,
        Client(other.url, token, deadline_s=60) as second,
    ):
        wait_until(lambda: publisher.ready() and one.ready() and other.ready())
        for number in people:
            assert dialler.check(number).allowed and second.check(number).allowed
            assert isinstance(dialler.opt_out(number, source="dialler-7"), Accepted)
            wait_until(lambda n=number: not dialler.check(n).allowed, every=0.05)
            wait_until(lambda n=number: not second.check(n).allowed, every=0.05)
        headers = {"Authorization": f"Bearer {token}"}
        for number in people:  # each on a connection of its own, and so by either process
            answer = httpx.post(f"{other.url}/v1/check", json={"number": number}, headers=headers, timeout=60)
            assert answer.json()["reason"] == "opposed"

        def of_both() -> set[str]:
            page = httpx.get(f"{other.url}/metrics", timeout=60).text
            return set(re.findall(r'stream_scrub_ready\{server="([^"]*)"\} 1', page))

        wait_until(lambda: of_both() == {"s2-0", "s2-1"})
        _kill_one(other, second, people, of_both)
        told = httpx.post(
            f"{one.url}/v1/history",
            json={"number": str(people[0])},
            headers=headers,
            timeout=60,
        ).json()
        assert [event["register"] for event in told["events"]] == ["consent", "internal"]
        assert told["events"][-1]["requests"][0]["request"]["source"] == "dialler-7"
        said = one.log_file.read_text() + other.log_file.read_text()
        assert [n for n in people if str(n)[2:] in said] == []
        code, took_s = other.stop()
        assert code == 0 and took_s < 60  # a pod's grace, in the manifests


def _kill_one(
    server: ServerProcess, client: Client, people: list[int], ready: Callable[[], set[str]]
) -> None:
    """One of the server's processes dies: the other one answers, nobody is allowed by that, and another one begins."""
    assert server.process is not None
    of_it = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    killed = next(pid for pid in of_it if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(killed), signal.SIGKILL)
    for number in people:
        found = client.check(number)
        assert isinstance(found, Stamp) and not found.allowed, found
    wait_until(lambda: [line["event"] for line in server.lines()].count("listening") == 3)
    wait_until(lambda: ready() == {"s2-0", "s2-1"})
