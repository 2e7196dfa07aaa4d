"""Opt-outs under load: how long from a request on its topic to the first verdict that obeys it, in every worker?

`python -m bench.under_load.opt_outs`: the publisher daemon, workers under a load of prospects, and so many opt-outs a second, each
by its own process. A request counts from Kafka's timestamp on it, a verdict from the `at` of its stamp: the first one in
each partition by an index that holds the request. Every prospect is checked: none is allowed by an index that holds its
number's opt-out, and none blocked by one that does not.

With `--kills`, a worker and recall are killed in turn meanwhile and start again at once under their identities: for how long
do the verdicts and the recalls of any partition stand still?
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.harness import command, data
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.paths import ROOT
from bench.harness.percentiles import spread
from tests.kafka.broker import Kafka
from tests.support.running.outcome import ends, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import WorkerProcess, wait_until

PARTITIONS = 6
HOSTILE_P99_MS = 2000
BACK_S = 10.0
_WARM_S = 5.0
_TAIL_S = 3.0  # of load after the last request
_TICK_S = 0.01
_KILL_EVERY_S = 15.0


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    seconds: int
    rate: int
    load: int
    workers: int
    opposed: int
    hostile: int
    kills: int
    protocol: str

    @property
    def requests(self) -> int:
        """All of them."""
        return self.seconds * self.rate


def send(kind: str, bootstrap: str, topic: str, numbers_file: Path, rate: int, seconds: float) -> None:
    """In a process of its own: prospects of these numbers in turn, or an opt-out for each of them."""
    numbers = np.load(numbers_file).tolist()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 5 if kind == "prospects" else 1,
            "compression.type": "lz4",
        }
    )
    if kind == "prospects":
        values = [prospect(at, spell(number, at)) for at, number in enumerate(numbers)]
    else:
        values = [b'{"request":"opt-out","number":"+%d","source":"dialler-7"}' % number for number in numbers]
    begun, sent = time.monotonic(), 0
    while (gone := time.monotonic() - begun) < seconds:
        for at in range(sent, int(gone * rate)):
            producer.produce(topic, values[at % len(values)], b"%d" % numbers[at % len(numbers)])
        sent = max(sent, int(gone * rate))
        producer.poll(0)
        time.sleep(_TICK_S)
    if producer.flush(60):
        raise SystemExit("not everything was delivered")


def measure(kafka: Kafka, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Set the stage, run, and put together what is on the topics then."""
    chosen = {**data.ROOMY, "kafka__group_protocol": sizes.protocol}
    stage = Stage(kafka.bootstrap, folder, partitions=PARTITIONS, **chosen)
    numbers = french_mobiles(sizes.opposed + sizes.requests, seed=5)
    old, new = numbers[: sizes.opposed], numbers[sizes.opposed :]
    # What costs a reader much, is kept as evidence, and opposes nobody here.
    costly = json.dumps({"request": "opt-out", "number": ["+447400123456", *["0" * 78] * 9_000]}).encode()
    say(f"importing {len(old):,} oppositions and {len(new):,} consents")
    stage.load("internal", old)
    stage.load("consent", new, "--kind", "allow")
    files = {}
    for kind, some in (("prospects", np.random.default_rng(6).permutation(new)), ("requests", np.array(new))):
        files[kind] = folder / f"{kind}.npy"
        np.save(files[kind], some)
    with ExitStack() as stack:
        workers = [stack.enter_context(stage.worker(f"w{at}")) for at in range(sizes.workers)]
        publisher = stack.enter_context(PublisherProcess(stage, None))
        killed = []
        if sizes.kills:
            killed = [workers[0], stack.enter_context(stage.recall("r1"))]
            wait_until(lambda: killed[1].logged("partitions restored"), 60)
        wait_until(publisher.ready, 60)
        for worker in workers:
            wait_until(lambda w=worker: w.logged("partitions assigned"), 60)
        say("under load")
        loading = sender("prospects", stage, files, sizes.load, _WARM_S + sizes.seconds + _TAIL_S)
        time.sleep(_WARM_S)
        neighbour = Producer({"bootstrap.servers": stage.bootstrap, "message.max.bytes": 2_000_000})
        for _ in range(sizes.hostile):
            neighbour.produce(stage.topics["requests"], costly, partition=0)
        neighbour.flush(30)
        asking = sender("requests", stage, files, sizes.rate, sizes.seconds)
        if sizes.kills:
            wait_until(lambda: ends(stage.bootstrap, stage.outputs) > PARTITIONS * sizes.load, 60)
            wait_until(lambda: ends(stage.bootstrap, [stage.topics["recalled"]]) > sizes.rate, 60)
        kills_ms = [[_kill(process) for process in killed] for _ in range(sizes.kills)]
        for process in (asking, loading):
            if process.wait():
                raise Failed(f"a sender ended with {process.returncode}")
        time.sleep(_TAIL_S)
        codes = [each.stop()[0] for each in (publisher, *workers, *killed[1:])]
    if any(codes):
        raise Failed(f"publisher, workers and recall ended with {codes}")
    say("reading what came out")
    return figures(stage) | stood_still(stage, kills_ms)


def _kill(process: WorkerProcess) -> int:
    """Kill a member, start it again, and give the load time to reach it; the moment of the kill in ms since 1970."""
    killed_ms = round(time.time() * 1000)
    process.kill()
    process.start()
    time.sleep(_KILL_EVERY_S)
    return killed_ms


def stood_still(stage: Stage, kills_ms: list[list[int]]) -> dict[str, list[float]]:
    """For each kill of a worker and of recall, the longest pause of any partition that it caused, in seconds."""
    if not kills_ms:
        return {}
    verdicts, partition_of = [], {}
    for partition, _, at_ms, number, _ in _stamps(stage):
        verdicts.append((partition, at_ms))
        partition_of[number] = partition
    recalls = []
    for message in read_recalls(stage.bootstrap, stage.topics["recalled"]):
        recall = json.loads(message.value())
        recalls.append((partition_of[int(recall["number"][1:])], _millis(recall["at"])))
    return {
        "worker_back_s": [_pause_s(verdicts, worker_ms) for worker_ms, _ in kills_ms],
        "recall_back_s": [_pause_s(recalls, recall_ms) for _, recall_ms in kills_ms],
    }


def _pause_s(emitted: list[tuple[int, int]], killed_ms: int) -> float:
    """The longest pause of a partition that began before the next kill, of (partition, moment)."""
    longest_ms = 0
    for partition in range(PARTITIONS):
        moments = sorted(at_ms for number, at_ms in emitted if number == partition)
        for before, after in pairwise(moments):
            if after > killed_ms and before < killed_ms + _KILL_EVERY_S * 1000:
                longest_ms = max(longest_ms, after - max(before, killed_ms))
        if not moments or not moments[0] < killed_ms < moments[-1]:
            raise Failed(f"partition {partition} had no load before or after a kill")
    return longest_ms / 1000


def sender(
    kind: str, stage: Stage, files: dict[str, Path], rate: int, seconds: float
) -> "subprocess.Popen[bytes]":
    arguments = [kind, stage.bootstrap, stage.topics[kind], str(files[kind]), str(rate), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "bench.under_load.opt_outs", "--send", *arguments], cwd=ROOT
    )


def figures(stage: Stage) -> dict[str, Any]:
    """Latencies from the records themselves; raises Failed when a verdict was wrong."""
    asked: dict[
        int, tuple[int, int]
    ] = {}  # by number: Kafka's moment of the request, the position that holds it
    sealed: list[int] = []
    waiting: list[tuple[int, int]] = []
    for message in read_all(stage.bootstrap, stage.topics["log"]):
        part = dict(message.headers())["part"]
        if part == b"requests":
            for line in message.value().splitlines():
                said = json.loads(line)
                if isinstance(said["request"]["number"], list):
                    continue  # the neighbour's
                waiting.append((int(said["request"]["number"][1:]), said["timestamp"]))
        elif part == b"seal" and message.key() == b"internal":
            for number, moment in waiting:
                asked[number] = (moment, message.offset())
                sealed.append(message.timestamp()[1] - moment)
            waiting.clear()
    seen: dict[int, list[tuple[int, int]]] = {}
    verdicts, wrong, deltas = 0, 0, len({position for _, position in asked.values()})
    for partition, index, at_ms, number, verdict in _stamps(stage):
        verdicts += 1
        seen.setdefault(partition, []).append((index, at_ms))
        opposed = number in asked and asked[number][1] <= index
        wrong += opposed is (verdict == "allowed")
    if wrong or not asked:
        raise Failed(f"{wrong} of {verdicts} verdicts were wrong; {len(asked)} requests reached the log")
    first = _enforced(seen, np.array(sorted({position for _, position in asked.values()})))
    enforced = np.array([first[position] - moment for moment, position in asked.values()])
    return {
        "requests": len(asked),
        "deltas": deltas,
        "verdicts": verdicts,
        "sealed_ms": spread(np.array(sealed)),
        "enforced_ms": spread(enforced),
    }


def _stamps(stage: Stage) -> Iterator[tuple[int, int, int, int, str]]:
    for topic in stage.outputs:
        for message in read_all(stage.bootstrap, topic):
            stamp = json.loads(message.value())["scrub"]
            yield (
                message.partition(),
                stamp["index"],
                _millis(stamp["at"]),
                int(stamp["number"][1:]),
                stamp["verdict"],
            )


def _millis(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _enforced(seen: dict[int, list[tuple[int, int]]], positions: NDArray[np.int64]) -> dict[int, int]:
    """By position, the moment by which every partition had a verdict by an index that is as new."""
    latest = np.zeros(len(positions), np.int64)
    for pairs in seen.values():
        pairs.sort(key=lambda pair: pair[1])
        at_ms = np.array([at for _, at in pairs])
        newest = np.maximum.accumulate(np.array([index for index, _ in pairs]))
        places = np.searchsorted(newest, positions)
        if places.max(initial=0) >= len(at_ms):
            raise Failed("a partition's load ended before its last opt-out was enforced")
        latest = np.maximum(latest, at_ms[places])
    return dict(zip(positions.tolist(), latest.tolist(), strict=True))


def show(made: dict[str, Any], console: Console) -> None:
    """The table."""
    sizes = made["settings"]
    title = (
        f"{made['requests']:,} opt-outs at {sizes['rate']:,} a second in {made['deltas']:,} deltas, {sizes['workers']}"
        f" workers under {sizes['load']:,} prospects/s, {sizes['opposed']:,} numbers opposed before; ms"
    )
    table = Table(
        "from the request on its topic", box=None, pad_edge=False, title=title, title_justify="left"
    )
    names = ("p50", "p99", "max")
    for name in names:
        table.add_column(name, justify="right")
    for what, key in (
        ("to its seal on the log", "sealed_ms"),
        ("to a verdict by it, in every partition", "enforced_ms"),
    ):
        table.add_row(what, *(f"{made[key][name]:,.0f}" for name in names))
    console.print(table)
    for who in ("worker", "recall"):
        if pauses := made.get(f"{who}_back_s"):
            took = ", ".join(f"{pause_s:.1f}" for pause_s in pauses)
            console.print(f"{who} killed ({sizes['protocol']}): its partitions stood still for {took} s")


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--seconds", type=int, default=60, help="of opt-outs (60)")
    add("--rate", type=int, default=1000, help="opt-outs a second (1,000)")
    add("--load", type=int, default=10_000, help="prospects a second meanwhile (10,000)")
    add("--workers", type=int, default=2, help="worker processes (2)")
    add("--hostile", type=int, default=0, help="large requests of a neighbour, at once in one partition (0)")
    add("--kills", type=int, default=0, help="of a worker and of recall, one each 15 s in turn (0)")
    add("--protocol", choices=("classic", "consumer"), default="classic", help="of the groups (classic)")
    add("--opposed", type=int, default=1_000_000, help="numbers opposed before (1,000,000)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, NoKafka."""
    sizes = Sizes(
        given.seconds,
        given.rate,
        given.load,
        given.workers,
        given.opposed,
        given.hostile,
        given.kills,
        given.protocol,
    )
    with command.kafka_and_folder() as (kafka, folder):
        made = measure(kafka, sizes, folder)
    return {"settings": {**sizes.__dict__, "partitions": PARTITIONS}, **made}, kafka.ours


def wrong(content: dict[str, Any]) -> list[str]:
    """A neighbour's large requests may delay others by two seconds; partitions of a killed member may stand still for ten."""
    lines = []
    p99 = content["enforced_ms"]["p99"]
    if content["settings"]["hostile"] and p99 > HOSTILE_P99_MS:
        lines.append(f"next to a hostile neighbour, p99 is {p99:,.0f} ms: at most {HOSTILE_P99_MS:,}")
    for who in ("worker", "recall"):
        for pause_s in content.get(f"{who}_back_s", []):
            if pause_s > BACK_S:
                lines.append(
                    f"after a kill of {who} its partitions stood still for {pause_s:.1f} s: at most {BACK_S:.0f}"
                )
    return lines


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        kind, bootstrap, topic, numbers, rate, seconds = sys.argv[2:]
        send(kind, bootstrap, topic, Path(numbers), int(rate), float(seconds))
    else:
        sys.exit(
            command.Bench("bench.under_load.opt_outs", __doc__, "-optouts", options, run, show, wrong).main()
        )
