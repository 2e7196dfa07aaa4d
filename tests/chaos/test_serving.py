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
from tests.support.running.prospects import french_mobiles, produce
from tests.support.running.publisher import PublisherProcess
from tests.support.running.server import ServerProcess
from tests.support.running.worker import wait_until

pytestmark = pytest.mark.chaos


def test_an_opt_out_that_is_posted_counts_at_once(kafka, stages, tmp_path):
    """Somebody who says no on the phone would be called again by the next click, from any server."""
    people = french_mobiles(12, seed=18)
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("consent", people, "--kind", "allow")
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "dialler", ["check", "request", "history"], datetime.now(UTC)).token
    ports = free_ports(2)
    folder = tmp_path / "drop"
    with (
        PublisherProcess(stage, folder) as publisher,
        ServerProcess(stage, f"127.0.0.1:{ports[0]}", "s1", http__tokens=file, lists__folder=folder) as one,
        ServerProcess(stage, f"127.0.0.1:{ports[1]}", "s2", http__tokens=file, http__processes=2) as other,
        Client(one.url, token, deadline_s=60) as dialler,
        Client(other.url, token, deadline_s=60) as second,
    ):
        wait_until(lambda: publisher.ready() and one.ready() and other.ready())
        waits = []
        for number in people:
            assert dialler.check(number).allowed and second.check(number).allowed
            assert isinstance(dialler.opt_out(number, source="dialler-7"), Accepted)
            waits.append(wait_until(lambda n=number: not dialler.check(n).allowed, every=0.005))
            wait_until(lambda n=number: not second.check(n).allowed, every=0.005)
        # Whoever looked every few seconds would be later. How late it is, bench/under_load/opt_outs.py measures.
        assert sorted(waits)[len(waits) // 2] < 5.0, waits
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
        _import_on_the_page(one, tokens.add(file, "admin", ["admin"], datetime.now(UTC)).token)
        said = one.log_file.read_text() + other.log_file.read_text()
        assert [n for n in people if str(n)[2:] in said] == []
        code, took_s = other.stop()
        assert code == 0 and took_s < 60  # a pod's grace, in the manifests


def _import_on_the_page(server: ServerProcess, token: str) -> None:
    """A list that is dropped is read and compared with the log as it is, and the second click hands it to the publisher,
    which owns the register."""
    with httpx.Client(base_url=server.url, cookies={"scrub_token": token}, timeout=60) as browser:
        browser.headers["Origin"] = server.url
        # A token counts once the file is read anew.
        wait_until(lambda: browser.get("/").status_code == 200)
        files = {"list": ("opt-outs.csv", "+447400123456\n+447400123457\n")}
        page = browser.post("/lists", data={"register": "internal", "change": "adds"}, files=files)
        assert "Nothing is published yet" in page.text and "GB 2" in page.text, page.text
        (pending,) = re.findall(r'name="pending" value="(\w+)"', page.text)
        done = browser.post("/lists/publish", data={"pending": pending})
        assert "The list is published in internal" in done.text, done.text
        wait_until(lambda: "opt-outs.csv" in browser.get("/").text)
        export = "Nom;Mobile;Opt-in\nRose;+4915112345001;Oui\nMax;+4915112345002;Non\n"
        order = {"register": "consent", "campaign": "acme", "change": "adds"}
        page = browser.post("/lists", data=order, files={"list": ("crm.csv", export)})
        for where, fields in (
            ("/lists/columns", {"column-2": "phone", "column-3": "consent", "no_into": "internal@acme"}),
            ("/lists/publish", {}),
        ):
            (pending,) = re.findall(r'name="pending" value="(\w+)"', page.text)
            page = browser.post(where, data={"pending": pending, **fields})
        assert "The list is published in consent@acme" in page.text, page.text
        assert "Opt-outs added to internal@acme" in page.text


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


@pytest.mark.slow
def test_an_unread_opt_out_is_settled_by_a_person(kafka, stages):
    """The alert would go on after the person was found, or be silent after a restart while he is still called."""
    (person,) = french_mobiles(1, seed=44)
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("consent", [person], "--kind", "allow")
    produce(
        kafka.bootstrap, stage.topics["requests"], iter([(b"form", b"Never call me"), (b"form", b"<html>")])
    )
    listens, serves = (f"127.0.0.1:{port}" for port in free_ports(2))

    def open_ones() -> str:
        page = httpx.get(f"http://{listens}/metrics", timeout=60).text
        return re.search(r"^stream_scrub_oppositions_unread (\S+)$", page, re.MULTILINE)[1]

    with ServerProcess(stage, serves) as server, httpx.Client(base_url=server.url, timeout=60) as browser:
        browser.headers["Origin"] = server.url
        with PublisherProcess(stage, None, http__listen=listens) as publisher:
            wait_until(lambda: publisher.ready() and server.ready() and open_ones() == "2.0")
            page = browser.get("/unread").text
            places = re.findall(r'name="settles" value="([^"]*)"', page)
            assert "Never call me" in page and "&lt;html&gt;" in page and len(places) == 2
            said = browser.post(
                "/unread", data={"settles": places[0], "number": f"+{person}", "region": "FR"}
            )
            assert "The objection is recorded" in said.text
            wait_until(lambda: open_ones() == "1.0")
            wait_until(lambda: server.check({"number": f"+{person}"})["reason"] == "opposed")
            assert publisher.stop()[0] == 0
        with PublisherProcess(stage, None, "second", http__listen=listens) as publisher:
            wait_until(lambda: publisher.ready() and open_ones() == "1.0")
            assert "No opposition" in browser.get("/unread").text
            said = browser.post("/unread", data={"settles": places[1], "none": "yes"})
            assert "The request is settled: no opposition" in said.text
            wait_until(lambda: open_ones() == "0.0")
            assert "<p>None.</p>" in browser.get("/unread").text
            assert publisher.stop()[0] == 0
