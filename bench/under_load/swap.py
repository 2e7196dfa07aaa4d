"""The swap of a delta into a large register, in a worker under load: for how long does it keep the loop from its work?

`python -m bench.under_load.swap`; README.md beside this says what each figure means. The register goes onto a real log through the product's
own publisher, in two deltas, so that the first measured one finds the filter outgrown and has it made anew.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from pyroaring import BitMap64
from rich.console import Console
from rich.table import Table

from bench.harness import command, data, noise
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.percentiles import spread
from bench.harness.proc import memory_mb
from bench.latency.stage import Contender, Outcome, Stage, Topics
from bench.latency.stats import Schedule
from stream_scrub.config import load
from stream_scrub.index import Register, as_bitmap, as_numbers
from stream_scrub.index.deltas import Delta
from stream_scrub.kafka import clients
from stream_scrub.log.encode import records_of
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import LogWriter, RegisterKind

NUMBERS = 50_000_000
DELTA = 1_000_000
REMOVED = 0.05  # of a delta's numbers: lists gain far more than they lose
SECOND = 0.598  # of the register, in a delta of its own: then the filter has all but outgrown its room
POOL = 50_000
_WARM_S = 10.0  # the broker is a JVM
_QUIET_S = 6.0
_EVERY_S = 4.0
_ANEW_S = 12.0  # a filter for 50 M numbers takes seconds, beside the load


@dataclass
class Plan:
    """The register's two parts and the deltas after them."""

    first: BitMap64 = field(default_factory=BitMap64)
    second: BitMap64 = field(default_factory=BitMap64)
    deltas: list[Delta] = field(default_factory=list)

    @classmethod
    def make(cls, numbers: int, delta: int, deltas: int) -> "Plan":
        """As dense as a French list of that size would be: so many of all numbers of each block of the plan."""
        rng = np.random.default_rng(3)
        made = cls(deltas=[Delta(BitMap64(), BitMap64(), 0) for _ in range(deltas)])
        adds, removes = round(delta * (1 - REMOVED)), round(delta * REMOVED)
        whole = numbers + deltas * adds
        for kind, kind_share in (("12345", 1 - data.MOBILES), ("67", data.MOBILES)):
            blocks = data.blocks(kind)
            share = kind_share / len(blocks)
            for block in blocks.tolist():
                drawn = rng.choice(data.BLOCK, round(whole * share), replace=False)
                made._take(33_000_000_000 + block * data.BLOCK + drawn, share, (numbers, adds, removes))
        return made

    def _take(self, members: NDArray[np.int64], share: float, sizes: tuple[int, int, int]) -> None:
        """One block's members: the register's two parts, then each delta's; what a delta removes is of the first."""
        numbers, adds, removes = (round(size * share) for size in sizes)
        cut = round(numbers * (1 - SECOND))
        self.first |= _bitmap(members[:cut])
        self.second |= _bitmap(members[cut:numbers])
        for at, delta in enumerate(self.deltas):
            delta.adds.update(_bitmap(members[numbers + at * adds :][:adds]))
            delta.removes.update(_bitmap(members[at * removes :][:removes]))


def _bitmap(members: NDArray[np.int64]) -> BitMap64:
    return as_bitmap(np.sort(members).astype(np.uint64))


class Publisher:
    """The product's own, with the deltas made ready before the load: making them is not what is measured."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._base = Register.empty(data.REGISTER, RegisterKind.DENY, datetime.now(UTC))
        self._ready: list[Any] = []
        self._published = -1

    def prepare(self, delta: Delta) -> None:
        """The next delta's records."""
        records, seal = records_of(self._base, delta, datetime.now(UTC), DeltaSource("bench", "0" * 64))
        numbers = self._base.numbers | delta.adds
        numbers -= delta.removes
        self._base = replace(self._base, numbers=numbers, seq=seal.seq, chain=seal.chain)
        self._ready.append(records)

    def publish(self) -> int:
        """Onto the log; its position."""
        self._published = self._writer.publish(self._ready.pop(0), after=self._published)
        return self._published

    @property
    def serialized_mb(self) -> float:
        """Of the register as it will be at the end."""
        return len(self._base.numbers.serialize()) / 2**20


def _worker(_stage: Stage, _topics: Topics, group: str, notes: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "bench.under_load.swap_worker", str(notes), "worker", "--id", group]


@dataclass
class Swap:
    """What was seen of one delta from outside: when it was published, and the worker's memory around it."""

    begun_ns: int
    returned_ns: int
    position: int
    before_mb: float
    peak_mb: float = 0.0


def _publish_all(
    publisher: Publisher, waits: list[float], swaps: list[Swap], _plan: Schedule, pid: int
) -> None:
    """Each delta after quiet seconds of its own."""
    time.sleep(_QUIET_S)
    for wait_s in waits:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak of memory from now on
        before_mb, begun_ns = memory_mb(pid), time.monotonic_ns()
        position = publisher.publish()
        swaps.append(Swap(begun_ns, time.monotonic_ns(), position, before_mb))
        time.sleep(wait_s)
        swaps[-1].peak_mb = memory_mb(pid, "VmHWM")


def _pool(plan: Plan, folder: Path) -> tuple[Path, NDArray[np.bool_], NDArray[np.bool_]]:
    """Prospects, which of them the register holds, and which some delta changes."""
    some = as_numbers(plan.second)
    prospects = data.prospects(POOL, some[:: max(1, len(some) // 1_000_000)].astype(np.int64))
    file = folder / "prospects"
    file.write_bytes(b"\n".join(prospects.values) + b"\n")
    numbers = prospects.numbers.tolist()
    denied = np.array([number in plan.first or number in plan.second for number in numbers])
    changed = BitMap64()
    for delta in plan.deltas:
        changed |= delta.adds | delta.removes
    return file, denied, np.array([number in changed for number in numbers])


def measure(stage: Stage, plan: Plan, rate: int, folder: Path) -> dict[str, Any]:
    """Publish, run the worker under load, publish the deltas, and put together what was seen."""
    values, denied, unsure = _pool(plan, folder)
    settings = load(environ=stage.environment(stage.make_topics("none")), cwd=folder)
    writer = clients.Brokers(settings, structlog.get_logger()).log_writer(data.REGISTER, nbytes=1 << 30)
    publisher = Publisher(writer)
    for delta in (Delta(plan.first, BitMap64(), 0), Delta(plan.second, BitMap64(), 0), *plan.deltas):
        publisher.prepare(delta)
    say("publishing the register")
    started = time.monotonic()
    publisher.publish(), publisher.publish()
    say(f"published in {time.monotonic() - started:.1f} s; starting the worker")
    swaps: list[Swap] = []
    waits = [_ANEW_S, *[_EVERY_S] * (len(plan.deltas) - 1)]

    def schedule(t0_ns: int) -> Schedule:
        return Schedule(t0_ns, rate, _WARM_S, _QUIET_S + sum(waits) + len(waits) * 0.5)

    notes = folder / "notes.npy"
    contender = Contender("worker", "worker", partial(_worker, notes=notes))
    outcome = stage.run(contender, schedule, values, partial(_publish_all, publisher, waits, swaps))
    count = outcome.schedule.count
    outcome.received.check(count, np.resize(denied, count), np.resize(unsure, count))
    made = _figures(outcome, np.load(notes), swaps)
    return made | {"roaring_mb": round(publisher.serialized_mb, 1), "rate": rate}


def _figures(outcome: Outcome, notes: NDArray[np.float64], swaps: list[Swap]) -> dict[str, Any]:
    """By swap: the worker's own figures from its log, its longest batch, latencies, memory; and the quiet before."""
    told = {line["position"]: line for line in _logged(outcome.log) if line.get("event") == "index swapped"}
    first, last = outcome.schedule.window
    begins = [swap.begun_ns for swap in swaps]
    found = []
    for swap, end in zip(swaps, [*begins[1:], last], strict=True):
        line = told.get(swap.position)
        if line is None:
            raise Failed(f"the worker did not tell of the swap to position {swap.position} in time")
        found.append(
            {
                "took_ms": line["took_ms"],
                "stall_ms": line.get("stall_ms"),
                "published_ms": round((swap.returned_ns - swap.begun_ns) / 1e6, 1),
                **_seen(outcome, notes, swap.begun_ns, end),
                "before_mb": round(swap.before_mb, 1),
                "peak_mb": round(swap.peak_mb, 1),
            }
        )
    circumstances = {name: round(getattr(outcome, name), 3) for name in ("contender_cores", "others_cores")}
    return {"quiet": _seen(outcome, notes, first, begins[0]), "swaps": found, **circumstances}


def _seen(outcome: Outcome, notes: NDArray[np.float64], begin_ns: int, end_ns: int) -> dict[str, Any]:
    """In a time: batches, from receipt to commit, and latencies."""
    at_s, batch_s, commit_s = notes
    within = (at_s * 1e9 >= begin_ns) & (at_s * 1e9 < end_ns)
    batches = (batch_s + commit_s)[within] * 1000
    return {
        "batch_ms": spread(batches),
        "longest_scrub_ms": round(float(batch_s[within].max()) * 1000, 1),
        "longest_commit_ms": round(float(commit_s[within].max()) * 1000, 1),
        "latency_ms": spread(outcome.received.latencies_ms(outcome.schedule, begin_ns, end_ns)),
    }


def _logged(log: Path) -> list[dict[str, Any]]:
    found = []
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
    return found


def show(made: dict[str, Any], console: Console) -> None:
    """The table."""
    numbers, delta = made["settings"]["numbers"], made["settings"]["delta"]
    title = f"A delta of {delta:,} into {numbers:,} numbers, at {made['rate']:,} prospects/s; ms and MB"
    table = Table("", box=None, pad_edge=False, title=title, title_justify="left")
    names = (
        "took",
        "longest\nstall",
        "longest\nbatch",
        "median\nbatch",
        "latency\np99",
        "max",
        "memory\nbefore",
        "peak",
    )
    for name in names:
        table.add_column(name, justify="right")
    rows = [("quiet", made["quiet"]), ("filter made anew", made["swaps"][0])]
    for name, row in [*rows, *((f"delta {at}", row) for at, row in enumerate(made["swaps"][1:], 2))]:
        cells = [row.get("took_ms"), row.get("stall_ms"), row["batch_ms"]["max"], row["batch_ms"]["p50"]]
        cells += [
            row["latency_ms"]["p99"],
            row["latency_ms"]["max"],
            row.get("before_mb"),
            row.get("peak_mb"),
        ]
        table.add_row(name, *("" if cell is None else f"{cell:,.1f}" for cell in cells))
    console.print(table)
    noise.tell([made], console)


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--numbers", type=int, default=NUMBERS, help=f"size of the register ({NUMBERS:,})")
    add("--delta", type=int, default=DELTA, help=f"size of a delta ({DELTA:,})")
    add("--deltas", type=int, default=6, help="how many, one after another (6)")
    add("--rate", type=int, default=20_000, help="prospects a second meanwhile (20,000)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, NoKafka."""
    with command.kafka_and_folder() as (kafka, folder):
        stage = Stage(kafka, folder)
        say(f"making {given.numbers:,} numbers and {given.deltas} deltas of {given.delta:,}")
        plan = Plan.make(given.numbers, given.delta, given.deltas)
        try:
            made = measure(stage, plan, given.rate, folder)
        finally:
            stage.close()
    sizes = {
        "numbers": given.numbers,
        "delta": given.delta,
        "removed": REMOVED,
        "partitions": data.PARTITIONS,
    }
    return {"settings": sizes, **made}, kafka.ours


if __name__ == "__main__":
    sys.exit(command.Bench("bench.under_load.swap", __doc__, "-swap", options, run, show).main())
