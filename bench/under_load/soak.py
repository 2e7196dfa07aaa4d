"""Ten minutes of everything at once: does the memory of worker and publisher stay where it is, and are all verdicts right?

`python -m bench.under_load.soak`: a load of prospects with headers, a delta each second by requests to the publisher daemon (some
numbers opposed, as many taken back, so that the register does not grow), workers and publisher watched from outside. In
the end every prospect must have come out once, in its key's order, with the verdict that the log gives at its position.
Exit code 1 if anything was wrong, or if memory or file descriptors grew by more than the bounds below.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from bench.harness import command, data
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.paths import ROOT
from bench.under_load import soak_oracle
from tests.kafka.broker import Kafka
from tests.support.running.outcome import ends
from tests.support.running.prospects import french_mobiles, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import WorkerProcess, wait_until

PARTITIONS = 6
KEYS = 5_000
FULL_EVERY = 200
# Grown from the second fifth of the time, when every queue and arena has its size, to the last one.
GROWTH_MB = 8.0
GROWTH_SHARE = 0.04  # of the memory then, if that is more
GROWTH_FILES = 3
_TICK_S = 0.02
HEADERS = [("source", b"form-energy-42"), ("trace", b"0123456789abcdef")]


@dataclass(frozen=True)
class Sizes:
    """What is done."""

    minutes: float
    load: int
    changes: int
    workers: int
    opposed: int
    free: int


def send_prospects(bootstrap: str, topic: str, numbers_file: Path, rate: int, seconds: float) -> None:
    """In a process of its own: prospects of these numbers in random order; prints how many."""
    numbers = np.load(numbers_file)
    chosen = np.random.default_rng(8).integers(0, len(numbers), 1_000_003).tolist()
    numbers = numbers.tolist()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
        }
    )
    begun, sent = time.monotonic(), 0
    while (gone := time.monotonic() - begun) < seconds:
        for at in range(sent, int(gone * rate)):
            number = numbers[chosen[at % len(chosen)]]
            producer.produce(topic, prospect(at, spell(number, at)), b"%d" % (at % KEYS), headers=HEADERS)
        sent = max(sent, int(gone * rate))
        producer.poll(0)
        time.sleep(_TICK_S)
    if producer.flush(60):
        raise SystemExit("not everything was delivered")
    print(sent)


def send_changes(bootstrap: str, topics: str, numbers_file: Path, changes: int, seconds: float) -> None:
    """In a process of its own: once a second so many opt-outs, and corrections of those of the second before; `topics`
    are that of the requests and that of the lifts."""
    requests, lifts = topics.split(",")
    numbers = np.load(numbers_file).tolist()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    begun, last = time.monotonic(), []
    for second in range(int(seconds)):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        now = [numbers[(second * changes + at) % len(numbers)] for at in range(changes)]
        for number in now:
            _ask(producer, requests, number, {"request": "opt-out", "source": "dialler-7"})
        for number in last:
            _ask(
                producer,
                lifts,
                number,
                {"request": "correction", "remove_from": "internal", "reason": "soak"},
            )
        producer.poll(0)
        last = now
    if producer.flush(60):
        raise SystemExit("not everything was delivered")


def _ask(producer: Producer, topic: str, number: int, what: dict[str, str]) -> None:
    producer.produce(topic, json.dumps({**what, "number": f"+{number}"}).encode(), b"%d" % number)


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at_s: float
    memory_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int, at_s: float) -> "Sample":
        """Raises Failed when it is gone."""
        try:
            text = Path(f"/proc/{pid}/status").read_text()
            files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError as error:
            raise Failed(f"process {pid} is gone") from error
        told = dict(line.split(":", 1) for line in text.splitlines())
        if "VmRSS" not in told:
            raise Failed(f"process {pid} has ended")
        return cls(at_s, int(told["VmRSS"].split()[0]) / 1024, files, int(told["Threads"]))


def watch(processes: dict[str, WorkerProcess], seconds: float) -> dict[str, list[Sample]]:
    """Every process once a second. Raises Failed."""
    samples: dict[str, list[Sample]] = {name: [] for name in processes}
    begun = time.monotonic()
    told = 0
    while (gone := time.monotonic() - begun) < seconds:
        for name, each in processes.items():
            assert each.process is not None
            samples[name].append(Sample.of(each.process.pid, gone))
        if gone // 60 > told:
            told = int(gone // 60)
            words = (
                f"{name} {found[-1].memory_mb:.0f} MB, {found[-1].files} files"
                for name, found in samples.items()
            )
            say(f"minute {told}: {'; '.join(words)}")
        time.sleep(1.0)
    return samples


def grown(samples: list[Sample]) -> dict[str, Any]:
    """From the second fifth of the time to the last one; and a line a minute."""
    end = samples[-1].at_s
    early = [each for each in samples if 0.2 * end <= each.at_s < 0.4 * end]
    late = [each for each in samples if each.at_s >= 0.8 * end]
    before, after = (median(each.memory_mb for each in part) for part in (early, late))
    minutes = []
    for minute in range(int(end // 60) + 1):
        within = [each for each in samples if each.at_s // 60 == minute]
        minutes.append(
            {
                "memory_mb": round(median(each.memory_mb for each in within), 1),
                "files_max": max(each.files for each in within),
                "threads_max": max(each.threads for each in within),
            }
        )
    return {
        "memory_mb": [round(before, 1), round(after, 1)],
        "memory_grown_mb": round(after - before, 2),
        "files": [max(each.files for each in part) for part in (early, late)],
        "threads": [max(each.threads for each in part) for part in (early, late)],
        "peak_mb": round(max(each.memory_mb for each in samples), 1),
        "minutes": minutes,
    }


def too_much(figures: dict[str, dict[str, Any]]) -> list[str]:
    """What grew beyond the bounds, in words."""
    found = []
    for name, each in figures.items():
        bound = max(GROWTH_MB, GROWTH_SHARE * each["memory_mb"][0])
        if each["memory_grown_mb"] > bound:
            found.append(f"{name}: memory grew by {each['memory_grown_mb']:.1f} MB, more than {bound:.1f}")
        for what in ("files", "threads"):
            early, late = each[what]
            if late > early + GROWTH_FILES:
                found.append(f"{name}: {early} {what} became {late}")
    return found


def measure(kafka: Kafka, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Set the stage, run, and put together what was seen. Raises Failed."""
    # What a register costs when it is stated anew is part of what must not grow: every minute or so, not once.
    stage = Stage(kafka.bootstrap, folder, partitions=PARTITIONS, lists__full_every=FULL_EVERY, **data.ROOMY)
    numbers = french_mobiles(sizes.opposed + sizes.free, seed=7)
    opposed, free = numbers[: sizes.opposed], numbers[sizes.opposed :]
    say(f"importing {len(opposed):,} oppositions and {len(numbers):,} consents")
    stage.load("internal", opposed)
    stage.load("consent", numbers, "--kind", "allow")
    mixed, changing = folder / "prospects.npy", folder / "requests.npy"
    np.save(mixed, np.array(opposed[: sizes.free] + free))
    np.save(changing, np.array(free))
    seconds = sizes.minutes * 60
    with ExitStack() as stack:
        names = [f"worker {at}" for at in range(1, sizes.workers + 1)]
        processes: dict[str, WorkerProcess] = {
            name: stack.enter_context(stage.worker(name.replace(" ", "-"))) for name in names
        }
        publisher = stack.enter_context(PublisherProcess(stage, None))
        wait_until(publisher.ready, 60)
        for name in names:
            wait_until(lambda w=processes[name]: w.logged("partitions assigned"), 60)
        processes["publisher"] = publisher
        say("under load")
        asking = _sender("requests", stage, changing, sizes.changes, seconds)
        loading = _sender("prospects", stage, mixed, sizes.load, seconds)
        samples = watch(processes, seconds)
        sent = int(loading.communicate(timeout=90)[0])
        asking.communicate(timeout=90)
        if loading.returncode or asking.returncode:
            raise Failed(f"the senders ended with {loading.returncode} and {asking.returncode}")
        wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= sent, 120)
        time.sleep(2)
        codes = [each.stop()[0] for each in processes.values()]
    if any(codes):
        raise Failed(f"workers and publisher ended with {codes}")
    say(f"reading {sent:,} verdicts")
    deltas = soak_oracle.check(stage, sent, set(opposed), HEADERS)
    if deltas < 0.9 * seconds:
        raise Failed(f"{deltas} deltas in {seconds:.0f} s: not one a second")
    grew = {name: grown(found) for name, found in samples.items()}
    return {"prospects": sent, "deltas": deltas, "processes": grew, "too_much": too_much(grew)}


def _sender(kind: str, stage: Stage, file: Path, rate: int, seconds: float) -> "subprocess.Popen[str]":
    roles = ("requests", "lifts") if kind == "requests" else (kind,)
    topics = ",".join(stage.topics[role] for role in roles)
    arguments = [kind, stage.bootstrap, topics, str(file), str(rate), str(seconds)]
    sending = [sys.executable, "-m", "bench.under_load.soak", "--send", *arguments]
    return subprocess.Popen(sending, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def show(made: dict[str, Any], console: Console) -> None:
    """The table."""
    sizes = made["settings"]
    title = (
        f"{sizes['minutes']:g} minutes, {made['prospects']:,} prospects at {sizes['load']:,} a second, {made['deltas']:,}"
        f" deltas; from the second fifth to the last"
    )
    table = Table("process", box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("memory MB", "grown MB", "peak MB", "files", "threads"):
        table.add_column(name, justify="right")
    for name, each in made["processes"].items():
        pairs = (f"{early:g} - {late:g}" for early, late in (each["files"], each["threads"]))
        early, late = each["memory_mb"]
        cells = (
            f"{early:.1f} - {late:.1f}",
            f"{each['memory_grown_mb']:+.2f}",
            f"{each['peak_mb']:.1f}",
            *pairs,
        )
        table.add_row(name, *cells)
    console.print(table)


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("--minutes", type=float, default=10, help="how long (10)")
    add("--load", type=int, default=3000, help="prospects a second (3,000)")
    add("--changes", type=int, default=50, help="opt-outs a second, as many corrections (50)")
    add("--workers", type=int, default=1, help="worker processes (1)")
    add("--opposed", type=int, default=200_000, help="numbers opposed before (200,000)")
    add("--free", type=int, default=50_000, help="numbers that change (50,000)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it, and whether the broker was started here. Raises Failed, NoKafka."""
    sizes = Sizes(given.minutes, given.load, given.changes, given.workers, given.opposed, given.free)
    with command.kafka_and_folder() as (kafka, folder):
        made = measure(kafka, sizes, folder)
    bounds = {"growth_mb": GROWTH_MB, "growth_share": GROWTH_SHARE, "growth_files": GROWTH_FILES}
    return {"settings": {**asdict(sizes), "partitions": PARTITIONS, **bounds}, **made}, kafka.ours


SOAK = command.Bench(
    "bench.under_load.soak", __doc__, "-soak", options, run, show, wrong=lambda made: list(made["too_much"])
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        kind, bootstrap, topic, numbers, rate, seconds = sys.argv[2:]
        sender = send_prospects if kind == "prospects" else send_changes
        sender(bootstrap, topic, Path(numbers), int(rate), float(seconds))
    else:
        sys.exit(SOAK.main())
