"""Puts a running system (a publisher, two workers, their pages) under everything of `hostile.py` at once. Asserts
what must stay true, and returns what it took.
"""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_scrub.config import load
from stream_scrub.ops import logs, read_log
from tests.support.running import hostile
from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import WorkerProcess, status_of
from tests.support.waiting import wait_until

MEMORY_MIB = {"publisher": 472, "worker": 544}  # as in k8s/base, without the process that reads a list
_LOOK_S = 0.5
_READ_S = 20  # seconds for one file: some files would take their whole quarter of an hour
_KNOCKING = 70  # connections held open at a time, to each page
_IN_SEPARATORS = re.compile("[^0-9A-Za-z]{0,4}".join(hostile.SECRET))
_RUN = re.compile(r"\d{9,15}")


@dataclass
class Done:
    """What was sent, and what it took."""

    leads: int = 0
    requests: int = 0
    files: int = 0
    knocks: int = 0
    optouts: list[int] = field(default_factory=list)
    odd_optouts: list[int] = field(default_factory=list)
    allowed: int = 0
    refused: int = 0
    pages: list[float] = field(default_factory=list)
    peak_mib: dict[str, float] = field(default_factory=dict)
    sealed_ms: list[int] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Whether there was something of each, however slow the machine is."""
        some = self.leads > 100 and self.requests > 50 and self.files > 8 and self.knocks > 50
        return some and len(self.optouts) >= 5


class Abuse:
    """One run of so many seconds on a stage. `everything`: include the files that take long to make."""

    def __init__(self, stage: Stage, seconds: float, *, everything: bool) -> None:
        self._stage = stage
        self._seconds = seconds
        self._everything = everything
        self._drop = stage.folder / "drop"
        self._stopping = threading.Event()
        self._failed: list[BaseException] = []
        self._texts: list[str] = []
        self._good: set[int] = set()
        self.done = Done()
        numbers = french_mobiles(3_000, seed=12)
        self._opposed, self._free, self._asking = numbers[:500], numbers[500:1_000], numbers[1_000:]

    def run(self) -> Done:
        """Begin, abuse, end, and check what came of it. Raises AssertionError for whatever is not as it must be."""
        stage = self._stage
        self._drop.mkdir()
        stage.load("internal", self._opposed)
        stage.load("consent", [*self._opposed, *self._free, *self._asking], "--kind", "allow")
        with ExitStack() as stack:
            processes: dict[str, WorkerProcess] = {
                f"worker {at}": stack.enter_context(stage.worker(f"w{at}", http__listen=LISTEN))
                for at in (1, 2)
            }
            told = {"http__listen": LISTEN, "lists__read_max_s": _READ_S}
            publisher = stack.enter_context(PublisherProcess(stage, self._drop, **told))
            processes["publisher"] = publisher
            wait_until(publisher.ready)
            pages = {name: Watched(each) for name, each in processes.items()}
            for each in pages.values():
                wait_until(lambda page=each: page.status("/readyz") == 200)
            threads = [
                self._thread(self._send_leads),
                self._thread(self._send_requests),
                self._thread(self._drop_files),
                self._thread(lambda: self._knock([each.port for each in pages.values()])),
            ]
            self._watch(processes, pages)
            self._stopping.set()
            for thread in threads:
                thread.join(120)
            assert not self._failed, self._failed
            self._need_all_out(processes)
            self._look(processes, pages)
            codes = {name: each.stop()[0] for name, each in processes.items()}
        assert set(codes.values()) == {0}, codes
        self._check(publisher)
        self._texts += [each.log_file.read_text(errors="replace") for each in processes.values()]
        self._need_no_number()
        return self.done

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # kept, and raised in the test's own thread
                self._failed.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _send_leads(self) -> None:
        producer = Producer({"bootstrap.servers": self._stage.bootstrap, "linger.ms": 5})
        topic = self._stage.topics["prospects"]
        for at, lead in enumerate(hostile.leads()):
            if self._stopping.is_set():
                break
            producer.produce(topic, lead.value, lead.key, headers=lead.headers)
            if at % 3 == 0:
                good = self._free[at % len(self._free)]
                producer.produce(topic, prospect(at, spell(good, at)), b"%d" % at)
                self._good.add(at)
                self.done.leads += 1
            self.done.leads += 1
            producer.poll(0)
            time.sleep(0.005)
        assert producer.flush(60) == 0

    def _send_requests(self) -> None:
        producer = Producer({"bootstrap.servers": self._stage.bootstrap, "linger.ms": 1})
        for asked in hostile.requests():
            if self._stopping.is_set():
                break
            producer.produce(self._stage.topics[asked.role], asked.value)
            self.done.requests += 1
            if asked.opposes:
                self.done.odd_optouts.append(asked.opposes)
            producer.poll(0)
            time.sleep(0.03)
        assert producer.flush(60) == 0

    def _drop_files(self) -> None:
        for register, name, content in hostile.files(everything=self._everything):
            if self._stopping.is_set():
                break
            target = self._drop / register / os.fsdecode(name)
            target.parent.mkdir(exist_ok=True)
            beside = self._drop / ".beside"
            beside.write_bytes(content)
            beside.rename(target)
            self.done.files += 1

    def _knock(self, ports: list[int]) -> None:
        held: dict[int, list[socket.socket]] = {port: [] for port in ports}
        while not self._stopping.is_set():
            for port, connections in held.items():
                hostile.knock(port, connections, _KNOCKING)
                self.done.knocks += 1
            time.sleep(0.02)
        for connections in held.values():
            for each in connections:
                each.close()

    def _watch(self, processes: dict[str, WorkerProcess], pages: dict[str, Watched]) -> None:
        """Send opt-outs and ask every page, until the time is over and enough was done."""
        producer = Producer({"bootstrap.servers": self._stage.bootstrap, "linger.ms": 1})
        until = time.monotonic() + self._seconds
        for at, number in enumerate(self._asking):
            if self._failed or (time.monotonic() >= until and self.done.is_enough):
                break
            said = {"id": f"o{at}", "request": "opt-out", "number": f"+{number}"}
            producer.produce(self._stage.topics["requests"], json.dumps(said).encode(), b"%d" % number)
            self.done.optouts.append(number)
            assert producer.flush(30) == 0
            self._look(processes, pages)
            time.sleep(_LOOK_S)

    def _look(self, processes: dict[str, WorkerProcess], pages: dict[str, Watched]) -> None:
        for name, process in processes.items():
            assert process.alive, f"{name} is gone: {process.log_file.read_text(errors='replace')[-3000:]}"
            peak = int(status_of(process.process.pid, "VmHWM").split()[0]) / 1024
            self.done.peak_mib[name] = round(peak, 1)
            for path in ("/livez", "/metrics", "/readyz"):
                began = time.monotonic()
                status, body = pages[name].get(path)
                self.done.pages.append(time.monotonic() - began)
                assert status == 200 or path == "/readyz", (name, path, status, body[:500])
                self._texts.append(body.decode(errors="replace"))

    def _need_all_out(self, processes: dict[str, WorkerProcess]) -> None:
        """Wait until nothing is on its way any more."""
        until = time.monotonic() + 600
        while True:
            held = self._registers().get("internal", set())
            out = sum(1 for topic in self._stage.outputs for _ in read_all(self._stage.bootstrap, topic))
            waits = {
                "files": self.done.files - len(self._reports()),
                "opt-outs": len(set(self.done.optouts) - held),
                "leads": self.done.leads - out,
            }
            if not any(waits.values()):
                return
            assert all(each.alive for each in processes.values()), "a process is gone"
            left = [path.name for path in self._drop.rglob("*") if path.is_file() and not _is_over(path)]
            assert time.monotonic() < until, f"still waiting: {waits}, {left}"
            time.sleep(0.5)

    def _reports(self) -> list[Path]:
        """The reports: one for each file that was worked on."""
        return list(self._drop.rglob("*.report.json"))

    def _registers(self) -> dict[str, set[int]]:
        settings = load(environ=self._stage.env)
        replay = read_log.replayed(
            settings, logs.configure("error", "json"), start="beginning", keep_ends=True
        )
        return {name: set(register.numbers) for name, register in replay.index.registers.items()}

    def _check(self, publisher: PublisherProcess) -> None:
        """Assert that nothing hostile is on the log or among the allowed prospects, and that nothing is lost."""
        done = self.done
        held = self._registers()
        # A campaign is compared by its words, whatever signs stand around them, so some odd scopes name one.
        scoped = [held.pop(name) for name in list(held) if name.startswith("internal@")]
        assert set().union(*scoped) <= set(done.odd_optouts)
        assert held == {
            "internal": {*self._opposed, *done.optouts, *done.odd_optouts},
            "consent": {*self._opposed, *self._free, *self._asking},
        }
        bootstrap, topics = self._stage.bootstrap, self._stage.topics
        allowed = [json.loads(each.value())["id"] for each in read_all(bootstrap, topics["allowed"])]
        blocked = sum(1 for _ in read_all(bootstrap, topics["blocked"]))
        assert len(allowed) == len(set(allowed)) and set(allowed) == self._good
        assert len(allowed) + blocked == done.leads
        done.allowed = len(allowed)
        done.refused = sum(1 for _ in read_all(bootstrap, topics["refused"]))
        odd = named = 0
        for message in read_all(bootstrap, topics["log"]):
            if dict(message.headers())["part"] == b"requests":
                sealed = message.timestamp()[1]
                lines = [json.loads(line) for line in message.value().splitlines()]
                done.sealed_ms += [
                    sealed - line["timestamp"] for line in lines if "id" in line.get("request", ())
                ]
                count = sum("id" not in line.get("request", ()) for line in lines)
                odd, named = odd + count, named + count * message.key().startswith(b"internal@")
        assert done.refused == done.requests - named, "each is told of that was not taken as it was meant"
        assert (len(done.sealed_ms), odd) == (len(done.optouts), len(done.odd_optouts))
        published = [path.name for path in self._reports() if path.parent.name != "refused"]
        assert published == [], "none of these may be published"
        for name, peak in done.peak_mib.items():
            assert peak < MEMORY_MIB[name.split()[0]], (name, peak)
        assert publisher.logged("file refused")

    def _need_no_number(self) -> None:
        known = {str(number)[2:] for number in (*self._opposed, *self._free, *self._asking)}
        for line in (line for text in self._texts for line in text.splitlines()):
            assert not _IN_SEPARATORS.search(line), line[:500]
            assert not any(found[-9:] in known for found in _RUN.findall(line)), line[:500]


def _is_over(path: Path) -> bool:
    return path.parent.name in ("refused", "done")


def figures(done: Done) -> dict[str, Any]:
    """What it took, for people and programs, in milliseconds and mebibytes."""
    sealed, pages = sorted(done.sealed_ms), sorted(done.pages)
    return {
        "sent": {
            "leads": done.leads,
            "requests": done.requests,
            "files": done.files,
            "connections": done.knocks,
            "opt-outs": len(done.optouts),
        },
        "opt-out to seal ms": _spread([float(each) for each in sealed]),
        "page ms": _spread([1000 * each for each in pages]),
        "peak MiB": done.peak_mib,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(values[len(values) // 2], 1),
        "p99": round(values[min(len(values) - 1, len(values) * 99 // 100)], 1),
        "worst": round(values[-1], 1),
    }
