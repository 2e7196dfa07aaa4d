"""Recalls under load: how long from the seal of an opt-out to the recall of its lead, as a dialler reads it?

`python -m bench.under_load.recalls`: so many leads outstanding, a recall member, the publisher daemon, and so many opt-outs a
second, each of a lead; then a list at once, of which a part is outstanding. A seal counts from its Kafka timestamp, a recall
from the moment at which a consumer of committed records has it. Every number must be recalled once, and nobody else.
"""

import argparse
import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer
from numpy.typing import NDArray
from rich.console import Console

from bench.harness import command
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.percentiles import spread
from bench.harness.proc import cpu_of, memory_mb
from bench.under_load.opt_outs import sender
from stream_scrub.clock import utc_millis
from tests.kafka.broker import Kafka
from tests.support.running.outcome import read_all
from tests.support.running.prospects import prospect
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import TO_EVERYBODY, Stage
from tests.support.running.worker import wait_until

PARTITIONS = 6
_FIRST, _SPAN = 33_610_000_000, 20_000_000  # 061 and 062: all assigned
_OTHERS = 33_650_000_000  # numbers of the list that nobody was handed out
_IDLE_S = 5.0


def hand_out(bootstrap: str, topic: str, numbers: list[int]) -> None:
    """Put leads on the allowed topic, as a worker emits them."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4"})
    stamp = b'"verdict":"allowed","reason":"clear","number":"+%d","index":0,"rules":"fr@1","at":"'
    at = utc_millis(datetime.now(UTC)).encode()
    value = prospect(1, "+%d")[:-1] + b',"scrub":{' + stamp + at + b'"}}'
    for number in numbers:
        while True:
            try:
                producer.produce(topic, value % (number, number), b"%d" % number)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise Failed("not every lead was delivered")


class Dialler(threading.Thread):
    """Reads the recalls, committed ones only, and notes when each came."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "dialler",
                "fetch.wait.max.ms": 10,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe([topic])
        self.came: list[tuple[int, float]] = []  # a number, and milliseconds since 1970
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            messages = self._consumer.consume(2000, 0.02)
            now_ms = time.time() * 1000
            self.came += [
                (int(m.key()[1:]), now_ms) for m in messages if m.error() is None and m.key()[:1] == b"+"
            ]
        self._consumer.close()


def measure(kafka: Kafka, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Set the stage, run, and put together what is on the topics then."""
    stage = Stage(kafka.bootstrap, folder, partitions=PARTITIONS)
    stage.judge_by(
        TO_EVERYBODY.replace('["internal"]', '["internal", "list"]').replace('require = ["consent"]', "")
    )
    for register in ("internal", "list"):
        stage.load(register, [_OTHERS])
    numbers = _FIRST + np.random.default_rng(7).choice(_SPAN, given.outstanding, replace=False)
    opposed = numbers[: given.rate * given.seconds]
    np.save(folder / "requests.npy", opposed)
    say(f"handing out {len(numbers):,} leads")
    hand_out(kafka.bootstrap, stage.topics["allowed"], numbers.tolist())
    with ExitStack() as stack:
        recall = stack.enter_context(stage.recall("r1"))
        publisher = stack.enter_context(PublisherProcess(stage, None))
        wait_until(lambda: recall.logged("partitions restored") and publisher.ready(), 900)
        restored = next(each for each in recall.lines() if each["event"] == "partitions restored")
        assert recall.process is not None, "it was started"
        pid = recall.process.pid
        restored_cpu_s = cpu_of(pid)
        time.sleep(_IDLE_S)
        idle = (cpu_of(pid) - restored_cpu_s) / _IDLE_S
        memory = round(memory_mb(pid))
        dialler = Dialler(kafka.bootstrap, stage.topics["recalled"])
        dialler.start()
        say("opt-outs")
        started, cpu_s = time.monotonic(), cpu_of(pid)
        asking = sender("requests", stage, {"requests": folder / "requests.npy"}, given.rate, given.seconds)
        if asking.wait():
            raise Failed(f"the sender ended with {asking.returncode}")
        wait_until(lambda: len(dialler.came) >= len(opposed) * 0.99, 120)  # the sender may send some fewer
        time.sleep(3.0)
        cpu_s = cpu_of(pid) - cpu_s - idle * (time.monotonic() - started)
        say("a list")
        found = figures(stage, dialler.came)
        dialler.came.clear()
        found["list"] = take_back(stage, dialler, pid, numbers[len(opposed) :], given)
        peak = round(memory_mb(pid, "VmHWM"))
        dialler.is_over.set()
        dialler.join()
    return {
        "outstanding": restored["outstanding"],
        "restored_s": restored["seconds"],
        "restored_cpu_s": round(restored_cpu_s, 1),  # with the start of the process
        "memory_mb": memory,
        "peak_mb": peak,
        "idle_cpu_us_a_second": round(idle * 1e6),
        "cpu_us_a_recall": round(cpu_s / len(opposed) * 1e6),
        # How many threads wanted one of the machine's processors in the last minute.
        "load": round(os.getloadavg()[0], 1),
        **found,
    }


def take_back(
    stage: Stage, dialler: Dialler, pid: int, handed_out: NDArray[Any], given: argparse.Namespace
) -> dict[str, Any]:
    """Import a list with some of these numbers, and wait until they are recalled."""
    hits = handed_out[: int(given.list * given.hits)]
    listed = [*range(_OTHERS, _OTHERS + given.list - len(hits)), *hits.tolist()]
    cpu_s = cpu_of(pid)
    stage.load("list", listed, "--allow-change")
    wait_until(lambda: len(dialler.came) >= len(hits), 600)
    cpu_s = cpu_of(pid) - cpu_s
    if sorted(number for number, _ in dialler.came) != sorted(hits.tolist()):
        raise Failed(f"{len(hits)} leads of the list, and {len(dialler.came)} recalls: not each once")
    sealed = max(
        each.timestamp()[1]
        for each in read_all(stage.bootstrap, stage.topics["log"])
        if each.key() == b"list"
    )
    return {
        "numbers": len(listed),
        "recalls": len(hits),
        "first_s": round((dialler.came[0][1] - sealed) / 1000, 2),
        "last_s": round((dialler.came[-1][1] - sealed) / 1000, 2),
        "cpu_s": round(cpu_s, 2),
        "cpu_us_a_recall": round(cpu_s / len(hits) * 1e6, 1),
    }


def figures(stage: Stage, came: list[tuple[int, float]]) -> dict[str, Any]:
    """Latencies; raises Failed if a recall was wrong."""
    sealed: dict[int, int] = {}  # by number: the moment of the seal that holds it
    waiting: list[int] = []
    for message in read_all(stage.bootstrap, stage.topics["log"]):
        part = dict(message.headers())["part"]
        if part == b"requests":
            waiting += [
                int(json.loads(line)["request"]["number"][1:]) for line in message.value().splitlines()
            ]
        elif part == b"seal" and message.key() == b"internal":
            sealed |= dict.fromkeys(waiting, message.timestamp()[1])
            waiting.clear()
    if sorted(number for number, _ in came) != sorted(sealed):
        raise Failed(f"{len(sealed)} opt-outs, and {len(came)} recalls: not each once")
    waits: NDArray[Any] = np.array([moment - sealed[number] for number, moment in came])
    return {"opt_outs": len(sealed), "deltas": len({*sealed.values()}), "readable_ms": spread(waits)}


def show(made: dict[str, Any], console: Console) -> None:
    """The figures in a line."""
    waits, listed = made["readable_ms"], made["list"]
    console.print(
        f"{made['outstanding']:,} leads outstanding: read in {made['restored_s']} s ({made['restored_cpu_s']} s of CPU), {made['memory_mb']} MB, at most"
        f" {made['peak_mb']} MB; {made['idle_cpu_us_a_second']:,} us of CPU a second without recalls (load {made['load']:.1f})\n"
        f"{made['opt_outs']:,} opt-outs in {made['deltas']:,} deltas: {made['cpu_us_a_recall']} us of CPU a recall besides; from"
        f" the seal to the readable recall p50 {waits['p50']:.0f}, p99 {waits['p99']:.0f}, max {waits['max']:.0f} ms\n"
        f"a list of {listed['numbers']:,}: {listed['recalls']:,} recalls, the last one readable {listed['last_s']} s after its seal;"
        f" {listed['cpu_us_a_recall']} us of CPU a recall"
    )


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--outstanding", type=int, default=10_000_000, help="leads (10,000,000)")
    parser.add_argument("--rate", type=int, default=1000, help="opt-outs a second (1,000)")
    parser.add_argument("--seconds", type=int, default=60, help="of opt-outs (60)")
    parser.add_argument("--list", type=int, default=1_000_000, help="numbers of the list (1,000,000)")
    parser.add_argument("--hits", type=float, default=0.1, help="the share of it that is outstanding (0.1)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, NoKafka."""
    with command.kafka_and_folder() as (kafka, folder):
        made = measure(kafka, given, folder)
    settings = {"outstanding": given.outstanding, "rate": given.rate, "seconds": given.seconds}
    settings |= {"list": given.list, "hits": given.hits}
    return {"settings": {**settings, "partitions": PARTITIONS}, **made}, kafka.ours


def wrong(content: dict[str, Any]) -> list[str]:
    """The budgets: a second for an opt-out, five for a list."""
    p99 = content["readable_ms"]["p99"]
    late = [f"p99 is {p99:,.0f} ms: at most 1,000"] if p99 > 1000 else []
    last_s = content["list"]["last_s"]
    return [*late, f"the list's last recall came after {last_s} s: at most 5"] if last_s > 5 else late


if __name__ == "__main__":
    sys.exit(command.Bench("bench.under_load.recalls", __doc__, "-recalls", options, run, show, wrong).main())
