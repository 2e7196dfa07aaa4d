"""Latency: from the moment a prospect was due to the moment a read_committed consumer has it with its verdict.

`python -m bench.latency`; README.md beside this says what each figure means. Three rates, every contender at each, then the same
while a list of a million numbers is imported midway.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.harness import build_peers, command, data, noise
from bench.harness.command import say
from bench.harness.failure import Wrong
from bench.harness.percentiles import histogram, spread
from bench.latency.contenders import ALL, OURS, REGISTER_FILE
from bench.latency.load import CONSUMER, PRODUCER
from bench.latency.stage import Contender, Outcome, Stage
from bench.latency.stats import Schedule

RATES = (1_000, 10_000, 50_000)
NUMBERS = 5_000_000
DELTA = 1_000_000
POOL = 100_000
_IMPORT_RATE = 10_000
_IMPORT_AFTER_S = 4.0  # quiet seconds before the import, to compare with
_IMPORT_ROOM_S = 18.0  # for the import itself, and some seconds after
_AROUND_NS = 1_000_000_000
FIGURES = ("p50", "p99", "p999", "max")


@dataclass(frozen=True)
class Pool:
    """The prospects that are sent again and again, as a file, and which of them each list holds."""

    values: Path
    denied: NDArray[np.bool_]
    in_delta: NDArray[np.bool_]
    register: Path
    delta: Path

    @classmethod
    def make(cls, folder: Path, numbers: int, delta: int, pool: int) -> "Pool":
        """A fifth of the prospects in one of the two lists, as in the other benches."""
        drawn = data.register_numbers(numbers + delta)
        prospects = data.prospects(pool, drawn)
        made = cls(
            folder / "prospects",
            prospects.denied & ~np.isin(prospects.numbers, drawn[numbers:]),
            prospects.denied & np.isin(prospects.numbers, drawn[numbers:]),
            folder / "register.txt",
            folder / "delta.txt",
        )
        made.values.write_bytes(b"\n".join(prospects.values) + b"\n")
        data.write_list(drawn[:numbers], made.register)
        data.write_register(drawn[:numbers], folder / REGISTER_FILE)
        data.write_list(drawn[numbers:], made.delta)
        return made

    def check(self, contender: Contender, outcome: Outcome, *, delta: bool) -> None:
        """Every record once, with its verdict; while the delta arrives its numbers may have either. Raises Wrong."""
        count = outcome.schedule.count
        unsure = np.resize(self.in_delta & delta, count)
        outcome.received.check(count, np.resize(self.denied, count) if contender.verdicts else None, unsure)


def steady(
    stage: Stage, pool: Pool, contender: Contender, rate: int, times: tuple[float, float]
) -> dict[str, Any]:
    """One contender at one rate; `times` are the seconds to warm up and to measure."""
    outcome = stage.run(contender, lambda t0_ns: Schedule(t0_ns, rate, *times), pool.values)
    pool.check(contender, outcome, delta=False)
    latencies = outcome.received.latencies_ms(outcome.schedule, *outcome.schedule.window)
    made = {
        "contender": contender.name,
        "rate": rate,
        **spread(latencies),
        **_circumstances(outcome),
        "histogram_ms": histogram(latencies),
    }
    say(f"{rate:,}/s: {contender.name}: " + ", ".join(f"{name} {made[name]:.1f}" for name in FIGURES))
    return made


def _circumstances(outcome: Outcome) -> dict[str, Any]:
    """Whether the load was what it should have been, and who took the machine."""
    late = spread((outcome.sent - outcome.schedule.due_ns(np.arange(len(outcome.sent)))) / 1e6)
    return {
        "sent_late_ms": {name: late[name] for name in ("p50", "p99", "max")},
        "contender_cores": round(outcome.contender_cores, 3),
        "broker_cores": round(outcome.broker_cores, 3),
        "others_cores": round(outcome.others_cores, 3),
    }


def importing(stage: Stage, pool: Pool, contender: Contender, rate: int, warm_s: float) -> dict[str, Any]:
    """One contender at one rate while the delta is imported; the log is as before afterwards."""
    moments: list[int] = []

    def import_it(_plan: Schedule, _pid: int) -> None:
        time.sleep(_IMPORT_AFTER_S)
        moments.append(time.monotonic_ns())
        stage.lists_import(pool.delta, "--adds")
        moments.append(time.monotonic_ns())

    def schedule(t0_ns: int) -> Schedule:
        return Schedule(t0_ns, rate, warm_s, _IMPORT_AFTER_S + _IMPORT_ROOM_S)

    outcome = stage.run(contender, schedule, pool.values, import_it)
    stage.lists_import(pool.delta, "--removes")
    pool.check(contender, outcome, delta=True)
    begun, returned = moments
    enforced, still = _enforced(pool, contender, outcome)
    made: dict[str, Any] = {
        "contender": contender.name,
        "rate": rate,
        "import_s": round((returned - begun) / 1e9, 2),
    }
    if enforced:
        made["enforced_ms"] = round((enforced - returned) / 1e6, 1)
        made["last_allowed_due_ms"] = round((still - returned) / 1e6, 1)
    first, last = outcome.schedule.window
    swap = enforced or returned
    phases = {
        "before": (first, begun),
        "import": (begun, swap - _AROUND_NS),
        "swap": (swap - _AROUND_NS, swap + _AROUND_NS),
        "after": (max(returned, swap) + _AROUND_NS, last),
    }
    for phase, (begin, end) in phases.items():
        latencies = outcome.received.latencies_ms(outcome.schedule, begin, end)
        made[phase] = spread(latencies) | {"histogram_ms": histogram(latencies)}
    before, around = (made[phase].get("p99") for phase in ("before", "swap"))
    say(f"import at {rate:,}/s: {contender.name}: p99 before {before}, around the swap {around}")
    return made | _circumstances(outcome)


def _enforced(pool: Pool, contender: Contender, outcome: Outcome) -> tuple[int, int]:
    """Of the prospects whose number only the delta holds: when the first was received as blocked, and when the last
    that was still allowed had been due. Raises Wrong if the delta came to nothing."""
    if not contender.verdicts:
        return 0, 0
    received = outcome.received
    theirs = pool.in_delta[received.ids % len(pool.in_delta)]
    blocked = received.at_ns[theirs & received.blocked]
    allowed = outcome.schedule.due_ns(received.ids[theirs & ~received.blocked])
    if not len(blocked) or not len(allowed):
        raise Wrong(f"{contender.name}: the delta was not enforced while the load lasted")
    return int(blocked.min()), int(allowed.max())


def show(content: dict[str, Any], console: Console) -> None:
    """The tables."""
    runs, imports = content["steady"], content["importing"]
    table = Table("contender", box=None, pad_edge=False, title="Latency in ms", title_justify="left")
    for name in ("records/s", *FIGURES, "CPU, cores", "sent late\np99, max"):
        table.add_column(name, justify="right")
    for run in runs:
        late = run["sent_late_ms"]
        table.add_row(
            run["contender"],
            f"{run['rate']:,}",
            *(f"{run[name]:.1f}" for name in FIGURES),
            f"{run['contender_cores']:.2f}",
            f"{late['p99']:.1f}, {late['max']:.0f}",
        )
    console.print(table)
    if imports:
        table = Table("contender", box=None, pad_edge=False, title_justify="left")
        table.title = "\nWhile a list is imported on the same machine: p99, largest in ms"
        for name in (
            "records/s",
            "before",
            "during the import",
            "±1 s of the swap",
            "after",
            "enforced after",
        ):
            table.add_column(name, justify="right")
        for run in imports:
            cells = (_pair(run[phase]) for phase in ("before", "import", "swap", "after"))
            enforced = f"{run['enforced_ms']:.0f} ms" if "enforced_ms" in run else "-"
            table.add_row(run["contender"], f"{run['rate']:,}", *cells, enforced)
        console.print(table)
    noise.tell([*runs, *imports], console)


def _pair(found: dict[str, Any]) -> str:
    return f"{found['p99']:.1f}, {found['max']:.1f}" if found["count"] else "-"


def _wanted(only: list[str] | None) -> tuple[list[Contender], list[str]]:
    """Who runs, and the names of those that cannot here."""
    wanted, absent = [], []
    for each in ALL:
        if only and each.id not in only:
            continue
        try:
            if each not in OURS:
                build_peers.java()
        except build_peers.Unavailable as missing:
            say(f"without {each.name}: {missing}")
            absent.append(each.name)
        else:
            wanted.append(each)
    return wanted, absent


def _rows(stage: Stage, pool: Pool, given: argparse.Namespace) -> dict[str, Any]:
    """Every run; a rate's contenders directly after one another, so that they share the machine's mood."""
    wanted, absent = _wanted(given.only)
    say("one bare run to warm up the broker, not counted")
    steady(stage, pool, OURS[0], max(given.rates, default=1_000), (1.0, 6.0))
    times = given.warm, given.seconds
    runs = [steady(stage, pool, each, rate, times) for rate in given.rates for each in wanted]
    imports = []
    if given.import_rate:
        # Peers have no log to follow; the bare loop shows what the import alone does to the machine.
        follow = [each for each in wanted if each in OURS]
        imports = [importing(stage, pool, each, given.import_rate, given.warm) for each in follow]
    return {"steady": runs, "importing": imports, "absent": absent}


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, Wrong, NoKafka."""
    with command.kafka_and_folder() as (kafka, folder):
        say(f"making {given.numbers:,} and {given.delta:,} numbers and {POOL:,} prospects")
        pool = Pool.make(folder, given.numbers, given.delta, POOL)
        stage = Stage(kafka, folder)
        try:
            stage.make_topics("none")
            say("importing the register with `stream-scrub lists import`")
            stage.lists_import(pool.register)
            rows = _rows(stage, pool, given)
        finally:
            stage.close()
    names = ("numbers", "delta", "warm", "seconds")
    settings = {name: getattr(given, name) for name in names} | {"pool": POOL, "partitions": data.PARTITIONS}
    return {"settings": settings, "load": {"producer": PRODUCER, "consumer": CONSUMER}, **rows}, kafka.ours


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--rates", type=int, nargs="*", default=list(RATES), help="prospects a second")
    add("--import-rate", type=int, default=_IMPORT_RATE, help="the same during an import; 0: none")
    add("--seconds", type=float, default=15.0, help="measured seconds of a run (15)")
    add("--warm", type=float, default=8.0, help="seconds before that (8)")
    add("--numbers", type=int, default=NUMBERS, help=f"size of the register ({NUMBERS:,})")
    add("--delta", type=int, default=DELTA, help=f"numbers imported midway ({DELTA:,})")
    add("--only", nargs="+", choices=[each.id for each in ALL], help="only these contenders")


if __name__ == "__main__":
    sys.exit(command.Bench("bench.latency", __doc__, "-latency", options, run, show).main())
