"""How many partitions, workers, brokers, and at what price: `python -m bench.offline.capacity_plan --per-s 1000000 --numbers 250000000`.

The formulas are those of docs/sizing.md; the figures that they need come from the newest file of `make bench` in
`results/`, or from options. Then the deployment is lived through a bad hour in steps of 50 ms: uneven partitions, a peak,
a rolling restart, a worker that dies. It says how far prospects lag and how long the lag takes to go.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import command
from bench.harness.contender_commands import WORKER
from bench.harness.paths import RESULTS
from stream_scrub.kafka.client.options import SESSION_TIMEOUT_MS

NAME = "bench.offline.capacity_plan"
STEP_S = 0.05
HOUR_S = 3600
FILTER_BYTES = (
    1.25 * 13 / 8
)  # what stands beside the roaring bitmap, a number: 13 bits, with room for a quarter more
CONTAINER = 2**16  # numbers that share a roaring container
# Roaring, portable format: a container of more than 4096 numbers is a bitmap of 8 KiB, a smaller one two bytes a number.
BITMAP_BYTES, ARRAY_MAX = 8192, 4096


@dataclass(frozen=True)
class Measured:
    """What one worker process costs, from a bench. Its thread is the limit: `per_s` is what it does at full speed."""

    per_s: float
    cpu_us: float
    base_mb: float
    broker_us: float
    source: str


@dataclass(frozen=True)
class Asked:
    """The load and the terms. Bytes are of one record with its key, before compression; `ratio` is the compression's."""

    per_s: float
    peak: float
    numbers: float
    plan: float
    bytes_in: float
    bytes_out: float
    ratio: float
    replication: int
    load: float
    kept_hours: float
    disk_mb_s: float
    broker_cores: int
    core_hour: float
    gb_hour: float
    disk_gb_month: float


@dataclass(frozen=True)
class Size:
    """The answer: counts, and what each of them follows from."""

    workers: int
    partitions: int
    brokers: int
    worker_mb: float
    worker_cores: float
    stored_gb: float
    month: float


def roaring_bytes(density: float) -> float:
    """Bytes a number in a register that holds this share of its numbering plan, evenly spread."""
    held = max(1.0, density * CONTAINER)
    return BITMAP_BYTES / held if held > ARRAY_MAX else 2.0 + 8.0 / held


def size(asked: Asked, measured: Measured) -> Size:
    """The formulas of docs/sizing.md, in their order."""
    peak = asked.per_s * asked.peak
    workers = math.ceil(peak / (measured.per_s * asked.load))
    partitions = workers * math.ceil(24 / workers) if workers < 12 else workers * 2
    a_number = roaring_bytes(asked.numbers / asked.plan) + FILTER_BYTES
    worker_mb = (
        measured.base_mb + 2 * asked.numbers * a_number / 2**20
    )  # twice: while a large delta is applied
    cores = peak * measured.cpu_us * 1e-6 / asked.load
    written = peak * (asked.bytes_in + asked.bytes_out) * asked.ratio * asked.replication / 2**20
    by_disk = written / (asked.disk_mb_s * asked.load)
    by_cpu = peak * measured.broker_us * 1e-6 * asked.replication / (asked.broker_cores * asked.load)
    brokers = max(asked.replication, math.ceil(by_disk), math.ceil(by_cpu))
    stored = asked.per_s * asked.kept_hours * HOUR_S * (asked.bytes_in + asked.bytes_out) * asked.ratio
    stored_gb = stored * asked.replication / 2**30
    hourly = (cores + brokers * asked.broker_cores) * asked.core_hour
    hourly += workers * worker_mb / 1024 * asked.gb_hour
    month = 730 * hourly + stored_gb * asked.disk_gb_month
    return Size(workers, partitions, brokers, worker_mb, cores, stored_gb, month)


@dataclass(frozen=True)
class Event:
    """From `at` on, for `lasts` seconds: the load times `peak`, or these workers away."""

    at: float
    lasts: float
    peak: float = 1.0
    away: tuple[int, ...] = ()


@dataclass(frozen=True)
class Lived:
    """What an hour was like. Ages are of the oldest prospect that waits, in seconds."""

    busiest: float
    worst_s: float
    behind_s: float
    left: float


def bad_hour(asked: Asked, workers: int) -> list[Event]:
    """A peak of half an hour; within it, every worker restarted in turn, and one that dies without saying so."""
    restarts = [Event(900 + 5 * worker, 3.0, away=(worker,)) for worker in range(workers)]
    return [Event(600, 1800, peak=asked.peak), *restarts, Event(1950, SESSION_TIMEOUT_MS / 1000, away=(0,))]


def live(
    asked: Asked, measured: Measured, made: Size, events: Sequence[Event], lasts_s: float = HOUR_S
) -> Lived:
    """The hour in steps: a partition's prospects wait for the one worker that has it. While a worker is away its
    partitions wait: until the others have them (a restart: seconds; a death: the session timeout)."""
    rng = np.random.default_rng(1)
    share = rng.dirichlet(
        np.full(made.partitions, 400.0)
    )  # keys are hashed: some partitions get some 5 % more
    owner = np.arange(made.partitions) % made.workers
    waiting = np.zeros(made.partitions)
    busiest = worst = behind = 0.0
    for step in range(int(lasts_s / STEP_S)):
        now = step * STEP_S
        on = [event for event in events if event.at <= now < event.at + event.lasts]
        rate = asked.per_s * math.prod(event.peak for event in on)
        waiting += rate * STEP_S * share
        capacity = np.full(made.workers, measured.per_s * STEP_S)
        capacity[[worker for event in on for worker in event.away]] = 0.0
        wanted = np.bincount(owner, weights=waiting, minlength=made.workers)
        served = np.minimum(wanted, capacity)
        busiest = max(busiest, float(np.median(served) / (measured.per_s * STEP_S)))
        part = np.divide(served, wanted, out=np.zeros_like(served), where=wanted > 0)
        waiting -= waiting * part[owner]
        age = float((waiting / (rate * share)).max())
        worst = max(worst, age)
        behind += STEP_S if age > 1.0 else 0.0
    return Lived(busiest, worst, behind, float(waiting.sum()))


def measured_from(folder: Path) -> Measured:
    """The newest bench of the usual size. Raises FileNotFoundError when there is none."""
    files = [
        file
        for file in folder.glob("*.json")
        if WORKER in (found := json.loads(file.read_text())).get("summary", {})
        and found["settings"]["prospects"] >= 1_000_000
    ]
    if not files:
        raise FileNotFoundError("no result of `make bench` with a million prospects: run it first")
    file = max(files, key=lambda each: json.loads(each.read_text())["at"])
    found: dict[str, Any] = json.loads(file.read_text())
    figures = found["summary"][WORKER]
    runs = [run for run in found["runs"] if run["contender"] == WORKER]
    broker_us = float(np.median([run["broker_cpu_s"] / run["records"] * 1e6 for run in runs]))
    numbers = found["settings"]["numbers"]
    base_mb = figures["peak_mb"]["median"] - numbers * (2.0 + FILTER_BYTES) / 2**20
    return Measured(
        figures["records_per_s"]["median"],
        figures["cpu_us_a_record"]["median"],
        max(60.0, base_mb),
        broker_us,
        file.name,
    )


def _shown(asked: Asked, measured: Measured, made: Size, lived: Lived) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    a_number = roaring_bytes(asked.numbers / asked.plan)
    hour = (
        f"half of the workers above {lived.busiest:.0%} busy at worst; oldest waiting prospect {lived.worst_s:.1f} s,"
        f" above 1 s for {lived.behind_s:.0f} s in all; {lived.left:,.0f} waiting at the hour's end"
    )
    rows = [
        (
            "measured",
            f"{measured.per_s:,.0f} prospects/s and {measured.cpu_us:.2f} us CPU a prospect ({measured.source})",
        ),
        (
            "asked",
            f"{asked.per_s:,.0f} prospects/s, {asked.peak:g} times that at the peak; {asked.numbers:,.0f} numbers",
        ),
        (
            "workers",
            f"{made.workers}, together {made.worker_cores:.1f} cores at the peak, each at most {asked.load:.0%} busy",
        ),
        (
            "memory of each",
            f"{made.worker_mb:,.0f} MB ({a_number:.2f} bytes a number as roaring, {FILTER_BYTES:.1f} as filter, twice while a delta is applied)",
        ),
        ("partitions", f"{made.partitions}"),
        ("brokers", f"{made.brokers} of {asked.broker_cores} cores, replication {asked.replication}"),
        ("on their disks", f"{made.stored_gb:,.0f} GB for {asked.kept_hours:g} hours"),
        ("a month", f"{made.month:,.0f} in the currency of the prices given"),
        ("a bad hour", hour),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _options() -> argparse.ArgumentParser:
    parser = command.parser(NAME, __doc__)
    add = parser.add_argument
    add("--per-s", type=float, default=1e6, help="prospects a second, on average")
    add("--peak", type=float, default=2.0, help="the busiest hour, as a multiple of it")
    add("--numbers", type=float, default=250e6, help="in all registers together")
    add(
        "--plan",
        type=float,
        default=3.2e9,
        help="numbers that the plans of these countries allow (US: 3.2e9; FR: 8e8)",
    )
    add("--bytes-in", type=float, default=235.0, help="of a prospect, with its key")
    add("--bytes-out", type=float, default=400.0, help="of it with its stamp")
    add("--ratio", type=float, default=0.4, help="compressed by raw size of a batch, lz4")
    add("--replication", type=int, default=3)
    add("--load", type=float, default=0.6, help="how busy a worker or broker may be at the peak")
    add("--kept-hours", type=float, default=24.0, help="retention of the three prospects topics")
    add("--disk-mb-s", type=float, default=250.0, help="what a broker writes")
    add("--broker-cores", type=int, default=8)
    add("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    add("--gb-hour", type=float, default=0.005, help="price of a GB of memory for an hour")
    add("--disk-gb-month", type=float, default=0.08, help="price of a GB of disk for a month")
    add("--worker-per-s", type=float, help="what one worker does, if not as measured here")
    add("--json", action="store_true")
    return parser


def work(given: dict[str, Any]) -> int:
    """Compute, live through the hour, print."""
    as_json, per_worker = given.pop("json"), given.pop("worker_per_s")
    asked = Asked(**given)
    measured = measured_from(RESULTS)
    if per_worker:
        measured = replace(measured, per_s=per_worker, source="given")
    made = size(asked, measured)
    lived = live(asked, measured, made, bad_hour(asked, made.workers))
    if as_json:
        print(json.dumps({"size": made.__dict__, "bad_hour": lived.__dict__, "measured": measured.__dict__}))
    else:
        Console(width=140).print(_shown(asked, measured, made, lived))
    return 0


def main() -> int:
    """The exit code."""
    given = vars(_options().parse_args())
    return command.ended(NAME, lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())
