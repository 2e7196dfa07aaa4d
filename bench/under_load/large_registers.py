"""What large registers cost: import, memory, start, swap. `python -m bench.under_load.large_registers [--numbers N ...]`, `make bench-lists`.

For each size a real Kafka of its own: a list as dense as the register of the United States is imported through the
command; a worker starts from the log, keeps a snapshot, is stopped and starts from it; a delta of a million numbers is
imported under its eyes. All figures are of whole processes, taken from outside or from the worker's own log.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import command, data, list_files
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.proc import cpu_of, memory_mb, peak_mb_of
from tests.support.running.worker import SCRIPT, environment

SIZES = (5_000_000, 250_000_000)
DELTA = 1_000_000
ROLES = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused")
_WAIT_S = 900.0
_MANIFEST = "stream-scrub-snapshot.json"


@dataclass
class Figures:
    """Of one size. Seconds are wall, megabytes resident; `peak` is the most that the process ever had."""

    numbers: int
    file_mb: float
    import_s: float = 0.0
    import_cpu_s: float = 0.0
    import_peak_mb: float = 0.0
    from_log_s: float = 0.0
    from_log_peak_mb: float = 0.0
    settled_mb: float = 0.0
    snapshot_after_s: float = 0.0
    from_snapshot_s: float = 0.0
    from_snapshot_peak_mb: float = 0.0
    roaring_bytes_a_number: float = 0.0
    filter_bytes_a_number: float = 0.0
    delta_s: float = 0.0
    swap_ms: float = 0.0
    stall_ms: float = 0.0
    swap_peak_mb: float = 0.0


class Place:
    """One broker's topics, a folder, and the commands run there."""

    def __init__(self, bootstrap: str, folder: Path, numbers: int) -> None:
        topics = {role: f"bench-lists-{numbers}-{role}" for role in ROLES}
        state = folder / "state"
        state.mkdir()
        self.state, self._folder = state, folder
        self._env = environment(
            bootstrap,
            topics,
            worker__state_dir=state,
            worker__group_id=f"bench-lists-{numbers}",
            **data.ROOMY,
        )
        self._log = folder / "worker.log"

    def command(self, *arguments: str) -> tuple[dict[str, Any], float, float, float]:
        """A command to its end: what it printed as JSON, its wall and CPU seconds, its peak memory."""
        began = time.monotonic()
        with (self._folder / "out.json").open("w+") as out, (self._folder / "err.txt").open("w+") as err:
            process = subprocess.Popen(
                [SCRIPT, *arguments, "--json"], cwd=self._folder, env=self._env, stdout=out, stderr=err
            )
            peak = cpu = 0.0
            while process.poll() is None:
                try:
                    peak, cpu = max(peak, peak_mb_of(process.pid)), cpu_of(process.pid)
                except (Failed, OSError):  # it has just ended
                    continue
                time.sleep(0.02)
            took_s = time.monotonic() - began
            out.seek(0)
            err.seek(0)
            if process.returncode:
                raise Failed(f"{' '.join(arguments[:2])} ended with {process.returncode}: {err.read()}")
            return json.loads(out.read() or "{}"), took_s, cpu, peak

    @contextmanager
    def worker(self) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
        """A worker, and the seconds from its start until it had an index to judge by."""
        self._log.write_bytes(b"")
        began = time.monotonic()
        with self._log.open("wb") as out:
            process = subprocess.Popen(
                [SCRIPT, "worker", "--id", "bench"], cwd=self._folder, env=self._env, stdout=out, stderr=out
            )
        try:
            self.line(process, "hold ended")
            yield process, time.monotonic() - began
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()

    def line(self, process: subprocess.Popen[bytes], event: str) -> dict[str, Any]:
        """The first line of the worker's log that tells of this, waited for."""
        until = time.monotonic() + _WAIT_S
        while time.monotonic() < until:
            for text in self._log.read_text().splitlines():
                if event in text and (found := json.loads(text)).get("event") == event:
                    return dict(found)
            if process.poll() is not None:
                break
            time.sleep(0.005)
        raise Failed(f"the worker never said {event!r}: {self._log.read_text()[-2000:]}")

    def snapshot(self, began: float) -> float:
        """Seconds until there is a snapshot."""
        while not (self.state / _MANIFEST).exists():
            if time.monotonic() - began > _WAIT_S:
                raise Failed("no snapshot was kept")
            time.sleep(0.05)
        return time.monotonic() - began

    def kept_bytes(self, suffix: str) -> int:
        """Bytes of the snapshot's files of that kind."""
        return sum(file.stat().st_size for file in self.state.glob(f"*.{suffix}"))


def measure(numbers: int) -> Figures:
    """All of it for one size. Raises Failed, NoKafka."""
    with command.kafka_and_folder(own=True) as (kafka, folder):
        file = folder / "list.txt"
        say(f"{numbers:,} numbers: making the list")
        list_files.pairs(file, numbers)
        made = Figures(numbers, file.stat().st_size / 2**20)
        place = Place(kafka.bootstrap, folder, numbers)
        place.command("topics", "--partitions", "1")
        say("importing it")
        effect, made.import_s, made.import_cpu_s, made.import_peak_mb = place.command(
            "lists",
            "import",
            str(file),
            "--register",
            "us-dnc",
            "--region",
            "US",
            "--max-bad",
            "0.05",
            *("--areas", "all"),
        )
        if effect["count"] + effect["refused"] != numbers:
            raise Failed(f"{effect['count']} numbers were imported of {numbers}, {effect['refused']} refused")
        made.numbers = effect["count"]  # a few areas have numbers that nobody can have
        _starts(place, made)
        _delta(place, made, file, folder / "delta.txt")
    return made


def _starts(place: Place, made: Figures) -> None:
    """From the log, then from the snapshot."""
    say(f"imported in {made.import_s:.1f} s; a worker starts from the log")
    with place.worker() as (process, made.from_log_s):
        made.from_log_peak_mb = peak_mb_of(process.pid)
        made.snapshot_after_s = place.snapshot(time.monotonic())
        made.settled_mb = memory_mb(process.pid)
    made.roaring_bytes_a_number = place.kept_bytes("numbers") / made.numbers
    made.filter_bytes_a_number = place.kept_bytes("filter") / made.numbers
    say(f"usable after {made.from_log_s:.1f} s; another starts from the snapshot")
    with place.worker() as (process, made.from_snapshot_s):
        made.from_snapshot_peak_mb = peak_mb_of(process.pid)


def _delta(place: Place, made: Figures, file: Path, delta: Path) -> None:
    """A million numbers that the register does not hold yet, while a worker looks on."""
    say(f"usable after {made.from_snapshot_s:.1f} s; a delta of {DELTA:,} numbers")
    _others(file, delta)
    with place.worker() as (process, _):
        began = time.monotonic()
        effect, *_ = place.command(
            "lists",
            "import",
            str(delta),
            "--register",
            "us-dnc",
            "--region",
            "US",
            "--adds",
            "--max-bad",
            "0.05",
        )
        swapped = place.line(process, "index swapped")
        made.delta_s = time.monotonic() - began
        if effect["added"] == 0 or swapped["position"] != effect["position"]:
            raise Failed(f"the delta was not what was swapped in: {effect}, {swapped}")
        made.swap_ms, made.stall_ms = swapped["took_ms"], swapped["stall_ms"]
        made.swap_peak_mb = peak_mb_of(process.pid)


def _others(file: Path, delta: Path) -> None:
    """Lines of the list with their last digits turned: most are numbers of the same areas that it does not hold."""
    every = max(1, file.stat().st_size // 12 // DELTA)
    lines = np.fromfile(file, np.uint8).reshape(-1, 12)[::every][:DELTA].copy()
    for place, by in ((10, 5), (9, 7)):
        lines[:, place] = (lines[:, place] - ord("0") + by) % 10 + ord("0")
    delta.write_bytes(lines.tobytes())


def show(content: dict[str, Any], console: Console) -> None:
    """The table."""
    sizes = content["sizes"]
    table = Table(box=None, pad_edge=False, title="Large registers", title_justify="left")
    table.add_column("")
    for each in sizes:
        table.add_column(f"{each['numbers']:,} numbers", justify="right")
    for name in list(sizes[0])[1:]:
        table.add_row(name.replace("_", " "), *(f"{each[name]:,.2f}" for each in sizes))
    console.print(table)


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--numbers", type=int, nargs="+", default=SIZES, help="sizes of the register")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Every size, on a broker that was started for it. Raises Failed, NoKafka."""
    return {"sizes": [asdict(measure(numbers)) for numbers in given.numbers]}, True


if __name__ == "__main__":
    sys.exit(command.Bench("bench.under_load.large_registers", __doc__, "-lists", options, run, show).main())
