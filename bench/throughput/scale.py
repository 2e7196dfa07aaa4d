"""One point beyond the usual sizes: a topic of 64 partitions with 50 million prospects, and a worker of eight processes.

`python -m bench.throughput.scale`: the prospects wait on the topic before the worker starts. Every one must come out once, in
its partition's order, in the topic of its verdict.
"""

import argparse
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray
from rich.console import Console

from bench.harness import command, data
from bench.harness.command import say
from bench.harness.failure import Failed, Wrong
from bench.harness.proc import cpu_of, peak_mb_of
from tests.support.running.outcome import ends, read_all
from tests.support.running.stage import Stage
from tests.support.running.worker import wait_until

_POOL = 1_000_000
_BATCH = 10_000


def fill(bootstrap: str, topic: str, pool: data.Prospects, given: argparse.Namespace) -> None:
    """The prospects of the pool again and again; each one's key is its place."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 50,
            "queue.buffering.max.messages": 500_000,
        }
    )
    for start in range(0, given.prospects, _BATCH):
        for at in range(start, min(start + _BATCH, given.prospects)):
            producer.produce(topic, pool.values[at % _POOL], b"%d" % at, at % given.partitions)
        while len(producer) > 400_000:
            producer.poll(0.05)
        producer.poll(0)
    if producer.flush(120):
        raise Failed("not every prospect was delivered")


def check(bootstrap: str, topics: dict[str, str], denied: NDArray[np.bool_], partitions: int) -> None:
    """Every prospect once, in order, by its verdict. Raises Wrong."""
    came = np.zeros(len(denied), np.uint8)
    for role in ("allowed", "blocked"):
        keys = [array("q") for _ in range(partitions)]
        for message in read_all(bootstrap, topics[role]):
            keys[message.partition() or 0].append(int(message.key() or -1))
        for partition, each in enumerate(keys):
            places = np.frombuffer(each, np.int64)
            if (np.diff(places) <= 0).any():
                raise Wrong(f"{role}, partition {partition}: not in order, or one twice")
            if (places % partitions != partition).any() or (denied[places] != (role == "blocked")).any():
                raise Wrong(f"{role}, partition {partition}: a prospect of another partition or verdict")
            came[places] += 1
    if (came != 1).any():
        raise Wrong(f"{np.count_nonzero(came != 1):,} prospects did not come out once")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, Wrong, NoKafka."""
    register = data.register_numbers(given.numbers)
    pool = data.prospects(_POOL, register)
    denied = np.resize(pool.denied, given.prospects)
    with command.kafka_and_folder() as (kafka, folder):
        found = measure(kafka.bootstrap, folder, register, pool, denied, given)
    return {
        name: getattr(given, name) for name in ("prospects", "partitions", "processes", "numbers")
    } | found, kafka.ours


def measure(
    bootstrap: str,
    folder: Path,
    register: NDArray[np.int64],
    pool: data.Prospects,
    denied: NDArray[np.bool_],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """Fill the topic, let the worker empty it, check what came out."""
    stage = Stage(
        bootstrap, folder, partitions=given.partitions, worker__processes=given.processes, **data.ROOMY
    )
    stage.judge_by(data.RULE)
    stage.load(data.REGISTER, register.tolist())
    say(f"producing {given.prospects:,} prospects")
    fill(bootstrap, stage.topics["prospects"], pool, given)
    say("the worker")
    with stage.worker("w") as worker:
        assert worker.process is not None, "it was started"
        pid = worker.process.pid
        wait_until(lambda: ends(bootstrap, stage.outputs) > 0)
        started, cpu_s, before = time.monotonic(), cpu_of(pid), ends(bootstrap, stage.outputs)
        # Markers take offsets too, so this is a little early: the last seconds are in no figure.
        wait_until(lambda: ends(bootstrap, stage.outputs) >= given.prospects, 3600, every=2.0)
        took_s, cpu_s, done = time.monotonic() - started, cpu_of(pid) - cpu_s, ends(bootstrap, stage.outputs)
        peak = peak_mb_of(pid)
        last = 0
        while last != (last := ends(bootstrap, stage.outputs)):
            time.sleep(3)
    say("reading what came out")
    check(bootstrap, stage.topics, denied, given.partitions)
    return {
        "per_s": round((done - before) / took_s),
        "cpu_us": round(cpu_s / (done - before) * 1e6, 2),
        "peak_mb": round(peak),
        "seconds": round(took_s, 1),
    }


def show(made: dict[str, Any], console: Console) -> None:
    """The figures in a line."""
    console.print(
        f"{made['prospects']:,} prospects in {made['partitions']} partitions, {made['processes']} processes: {made['per_s']:,} a"
        f" second, {made['cpu_us']} us of CPU a prospect, {made['peak_mb']:,} MB in all; each came out once, in order"
    )


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--prospects", type=int, default=50_000_000, help="how many prospects (50,000,000)")
    add("--partitions", type=int, default=64, help="of each topic (64)")
    add("--processes", type=int, default=8, help="of the worker (8)")
    add("--numbers", type=int, default=5_000_000, help="size of the register (5,000,000)")


if __name__ == "__main__":
    sys.exit(command.Bench("bench.throughput.scale", __doc__, "-scale", options, run, show).main())
