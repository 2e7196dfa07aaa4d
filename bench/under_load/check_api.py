"""The check API under a constant rate: how long until a dialler has its verdict, also while the lists change?

`python -m bench.under_load.check_api`: `stream-scrub serve` over a register of millions, asked by vegeta, which keeps its
rate whether or not answers come, so that a stall shows in every question that it delays. Then the same while an opt-out
comes each second, while one delta of 100 000 numbers is applied, and while people look at the status page; then the page's
first paint in a browser, and questions of 10 000 numbers. Everything is on this machine and asks loopback alone; each round
ends by itself. A bare starlette handler is asked in the same way before: what Python's HTTP costs without a verdict.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from bench.harness import command, data, proc
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.paths import ROOT
from bench.harness.percentiles import spread
from bench.under_load import status_page
from tests.kafka.broker import Kafka, free_ports
from tests.support.running.prospects import french_mobiles
from tests.support.running.publisher import PublisherProcess
from tests.support.running.server import ServerProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import wait_until

VEGETA = "github.com/tsenart/vegeta/v12@v12.13.0"
DELTA = 100_000
_PAGE = 10_000
_TARGETS = 20_000
_WARM_S = 3


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    seconds: int
    rate: int
    processes: int
    numbers: int


def vegeta() -> Path:
    """The load generator, built from its Go module once. Raises Failed."""
    found = ROOT / "bench" / ".cache" / "bin" / "vegeta"
    if not found.exists():
        if shutil.which("go") is None:
            raise Failed("vegeta is built with go, and there is none here")
        say("building vegeta")
        env = {**os.environ, "GOBIN": str(found.parent)}
        done = subprocess.run(["go", "install", VEGETA], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"vegeta could not be built: {done.stderr[-300:]}")
    return found


def attack(url: str, pid: int, asked: list[int], sizes: Sizes, seconds: int) -> dict[str, Any]:
    """Questions about these numbers in turn, at the rate. What the answers were, their times in milliseconds, and what each
    cost the process and its children."""
    lines = []
    for number in asked:
        body = base64.b64encode(b'{"number":"+%d"}' % number).decode()
        target = {"method": "POST", "url": f"{url}/v1/check", "body": body}
        lines.append(json.dumps({**target, "header": {"Content-Type": ["application/json"]}}))
    program, before = str(vegeta()), proc.cpu_of(pid)
    shot = [program, "attack", "-format=json", f"-rate={sizes.rate}", f"-duration={seconds}s", "-timeout=5s"]
    # Connections enough for the rate when every answer takes 30 ms.
    shot += [f"-workers={max(10, sizes.rate // 30)}", f"-connections={max(10, sizes.rate // 30)}"]
    done = subprocess.run(
        shot, input="\n".join(lines).encode(), capture_output=True, timeout=seconds + 60, check=False
    )
    used = proc.cpu_of(pid) - before
    table = subprocess.run(
        [program, "encode", "--to=csv"], input=done.stdout, capture_output=True, timeout=60, check=False
    )
    rows = [line.split(b",", 3)[:3] for line in table.stdout.splitlines()]
    codes = np.array([int(row[1]) for row in rows])
    times = np.array([int(row[2]) for row in rows]) / 1e6
    return {
        **spread(times),
        "not_200": int((codes != 200).sum()),
        "cpu_us": round(used / max(1, len(codes)) * 1e6),
    }


@contextmanager
def bare(processes: int) -> Iterator[tuple[str, int]]:
    """A bare handler's address and process."""
    (port,) = free_ports(1)
    command_line = [sys.executable, "-m", "bench.under_load.bare_api", str(port), str(processes)]
    process = subprocess.Popen(command_line, cwd=ROOT, start_new_session=True)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.post(f"{url}/v1/check").status_code == 200
        return False

    try:
        wait_until(answers, 30)
        yield url, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Something that goes on in a thread meanwhile."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def measure(kafka: Kafka, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Set the stage and run every round."""
    stage = Stage(kafka.bootstrap, folder, partitions=2, **data.ROOMY)
    numbers = french_mobiles(sizes.numbers + DELTA + 5 * sizes.seconds + _TARGETS, seed=18)
    held, rest = numbers[: sizes.numbers], numbers[sizes.numbers :]
    delta, opting, others = rest[:DELTA], rest[DELTA:-_TARGETS], rest[-_TARGETS:]
    vegeta()
    say(f"importing {len(held):,} oppositions")
    stage.load("internal", held)
    stage.load("consent", others, "--kind", "allow")
    asked = [n for pair in zip(held[: _TARGETS // 2], others, strict=False) for n in pair]
    (port,) = free_ports(1)
    found: dict[str, Any] = {}
    say("a bare handler")
    with bare(sizes.processes) as handler:
        attack(*handler, asked, sizes, _WARM_S)
        found["bare"] = attack(*handler, asked, sizes, sizes.seconds)
    with ServerProcess(stage, f"127.0.0.1:{port}", http__processes=sizes.processes) as server:
        wait_until(server.ready, 120)
        assert server.process is not None
        ours = server.url, server.process.pid
        attack(*ours, asked, sizes, _WARM_S)
        say("at rest")
        found["at_rest"] = attack(*ours, asked, sizes, sizes.seconds)
        say("with an opt-out a second")
        with PublisherProcess(stage, None) as publisher:
            wait_until(publisher.ready, 120)
            with beside(lambda ended: _opt_outs(stage, opting, ended)):
                found["opt_outs"] = attack(*ours, asked, sizes, sizes.seconds)
            publisher.stop()  # it would take the register back from the import
        say(f"with a delta of {DELTA:,}")
        with beside(lambda _: _delta(stage, delta)):
            found["delta"] = attack(*ours, asked, sizes, sizes.seconds)
        say(f"with {status_page.VIEWERS} people who look at the page")
        events: list[int] = []
        with beside(lambda ended: status_page.look(server.url, ended, events)):
            found["viewers"] = attack(*ours, asked, sizes, sizes.seconds)
        if min(events, default=0) < sizes.seconds // 4:
            raise Failed("some who looked at the page got no events, or few")
        say("the page's first paint")
        found["paint"] = status_page.first_paint(server.url)
        say("pages of 10,000")
        found["page"] = _pages(server.url, others)
        if (code := server.stop()[0]) != 0:
            raise Failed(f"the server ended with {code}")
    return found


def _opt_outs(stage: Stage, numbers: list[int], ended: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    for number in numbers:
        producer.produce(stage.topics["requests"], b'{"request":"opt-out","number":"+%d"}' % number)
        producer.poll(0)
        if ended.wait(1.0):
            break
    producer.flush(10)


def _delta(stage: Stage, numbers: list[int]) -> None:
    time.sleep(1.0)
    stage.load("internal", numbers, "--adds", "--allow-change")


def _pages(url: str, numbers: list[int]) -> dict[str, float]:
    """Questions of 10 000, one after another: how many numbers a second one process answers."""
    body = json.dumps({"prospects": [{"number": f"+{number}"} for number in numbers[:_PAGE]]}).encode()
    headers = {"Content-Type": "application/json"}
    with httpx.Client(timeout=60) as client:
        times = []
        for _ in range(22):
            begun = time.perf_counter()
            answer = client.post(f"{url}/v1/check", content=body, headers=headers)
            times.append(time.perf_counter() - begun)
            if answer.status_code != 200:
                raise Failed(f"a page was answered with {answer.status_code}")
    return {"numbers_a_second": round(_PAGE / float(np.median(times[2:])))}


def show(content: dict[str, Any], console: Console) -> None:
    """The figures as a table."""
    sizes, made = content["settings"], content
    title = (
        f"{sizes['rate']:,} checks/s for {sizes['seconds']} s, {sizes['processes']} processes,"
        f" {sizes['numbers']:,} numbers opposed; ms"
    )
    table = Table("while", box=None, pad_edge=False, title=title, title_justify="left")
    names = ("p50", "p99", "p999", "max", "not_200", "cpu_us")
    for name in names:
        table.add_column(name, justify="right")
    rows = (
        ("a bare handler answers", "bare"),
        ("nothing changes", "at_rest"),
        ("an opt-out comes each second", "opt_outs"),
        (f"{DELTA:,} numbers are added", "delta"),
        (f"{status_page.VIEWERS} people look at the page", "viewers"),
    )
    for what, key in rows:
        table.add_row(what, *(f"{made[key][name]:,.2f}" for name in names))
    console.print(table)
    ratio = made["at_rest"]["cpu_us"] / made["bare"]["cpu_us"]
    console.print(f"a check costs {ratio:.2f} times the CPU of a bare handler's answer")
    console.print(f"pages of {_PAGE:,}: {made['page']['numbers_a_second']:,} numbers/s of one process")
    paint = made["paint"]
    console.print(f"first paint of the page: {paint['median_ms']} ms, at most {paint['max_ms']} ms")


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--seconds", type=int, default=20, help="of each round (20)")
    add("--rate", type=int, default=2000, help="checks a second (2,000)")
    add("--processes", type=int, default=2, help="server processes (2)")
    add("--numbers", type=int, default=5_000_000, help="numbers opposed (5,000,000)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, NoKafka."""
    sizes = Sizes(given.seconds, given.rate, given.processes, given.numbers)
    with command.kafka_and_folder() as (kafka, folder):
        made = measure(kafka, sizes, folder)
    return {"settings": sizes.__dict__, **made}, kafka.ours


def wrong(content: dict[str, Any]) -> list[str]:
    """Every answer must be a verdict."""
    rounds = ("bare", "at_rest", "opt_outs", "delta", "viewers")
    return [
        f"{key}: {content[key]['not_200']} answers were none" for key in rounds if content[key]["not_200"]
    ]


if __name__ == "__main__":
    sys.exit(command.Bench("bench.under_load.check_api", __doc__, "-http", options, run, show, wrong).main())
