"""What scrubbing a file costs, beside the csv module that copies the same file in the same run: `python -m bench.offline.files`.

No Kafka: a CSV file of ten columns is made, and a snapshot of five million numbers. Each contender runs in a process of its
own, in turn, and every output is checked before its figure counts. Same seed, same file. `--rows` may name several
sizes: memory must not grow with them. `--xlsx N` adds a workbook, beside what its libraries take to read and to write it.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import command
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.paths import CACHE, ROOT
from bench.harness.proc import memory_mb
from stream_scrub.index import Register, as_bitmap, deltas
from stream_scrub.log import snapshot
from stream_scrub.log.encode import records_of
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import LogRecord, RegisterKind

NAME = "bench.offline.files"
SCRIPT = Path(sys.executable).parent / "stream-scrub"
# One opt-out law, so that most rows are allowed whatever the law of the day says.
RULE = """country = "FR"
regions = ["FR"]
[[rule]]
from = 2020-01-01
source = "a law made for the bench"
deny = ["list", "internal"]
valid_days = 30
"""
_LOOK_S = 0.02
_WARM_UP_ROWS = 1_000  # of a file that is not measured: it leaves the bytecode behind
ADDED = ("allowed", "clear", "+33600000000", "2026-12-24")
COPY = f"""
import csv, sys
with open(sys.argv[1], newline="", encoding="utf-8") as source, open(sys.argv[2], "w", newline="", encoding="utf-8") as target:
    out = csv.writer(target, delimiter=";")
    for row in csv.reader(source, delimiter=";"):
        out.writerow(row + {list(ADDED)!r})
"""
READ = """
import sys, python_calamine
rows = python_calamine.CalamineWorkbook.from_path(sys.argv[1]).get_sheet_by_index(0).to_python()
"""
WRITE = (
    READ
    + """
import xlsxwriter
book = xlsxwriter.Workbook(sys.argv[2], {"constant_memory": True})
sheet = book.add_worksheet()
for at, row in enumerate(rows):
    for place, cell in enumerate(row):
        sheet.write_string(at, place, cell) if isinstance(cell, str) else sheet.write_number(at, place, cell)
book.close()
"""
)


def leads(path: Path, rows: int) -> None:
    """A file of ten columns, some 90 bytes a row."""
    numbers = np.random.default_rng(7).integers(600_000_000, 699_999_999, rows)
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write("id;first;last;phone;street;zip;city;country;email;note\r\n")
        for start in range(0, rows, 100_000):
            out.writelines(
                f"{start + at};Zoé;Dupont;0{number};12 rue de la Paix;75001;Paris;FR;a{at}@b.example;called in spring\r\n"
                for at, number in enumerate(numbers[start : start + 100_000].tolist())
            )


def registers(folder: Path, numbers: int) -> None:
    """A snapshot with a list of so many numbers."""
    replay, offset, now = Replay(keep_ends=True), 0, datetime.now(UTC)
    chance = np.random.default_rng(8)
    for name, count in (("list", numbers), ("internal", 1000)):
        made = np.unique(chance.integers(33_600_000_000, 33_699_999_999, count, dtype=np.uint64))
        base = Register.empty(name, RegisterKind.DENY, now)
        records, _ = records_of(
            base, deltas.full(base.numbers, as_bitmap(made)), now, DeltaSource("bench", "0" * 64)
        )
        for key, value, headers in records:
            replay.take(LogRecord(offset, key, value, headers))
            offset += 1
    snapshot.save(folder, "opposition.log", replay.state)


def measured(arguments: Sequence[str]) -> dict[str, float]:
    """Seconds, seconds of processor and peak memory of a process. Raises Failed."""
    began = time.monotonic()
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SCRUB_")}
    # An installation has its bytecode, wherever this runs: making it takes as long as all else of a start.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(CACHE / "bytecode")
    peak = 0.0  # what the kernel tells at the end begins with our own memory
    with tempfile.TemporaryFile() as errors:
        run = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=errors, env=env, cwd=ROOT)
        while True:
            with suppress(Failed):  # it has just ended
                peak = max(peak, memory_mb(run.pid, "VmHWM"))
            pid, status, used = os.wait4(run.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(_LOOK_S)
        run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            errors.seek(0)
            raise Failed(f"{arguments[0]} ended with {run.returncode}: {errors.read().decode()}")
    return {
        "seconds": time.monotonic() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": peak,
    }


def rounds(contenders: dict[str, Callable[[], dict[str, float]]], count: int) -> dict[str, dict[str, float]]:
    """Each contender so many times, in turn; what its quickest run took."""
    found: dict[str, dict[str, float]] = {}
    for _ in range(count):
        for name, run in contenders.items():
            made = run()
            if name not in found or made["cpu_s"] < found[name]["cpu_s"]:
                found[name] = made
    return found


def checked(folder: Path, source: Path, rows: int) -> None:
    """Raises Failed unless every row came out once, unchanged, in order."""
    with (
        source.open("rb") as given,
        (folder / "allowed.csv").open("rb") as allowed,
        (folder / "blocked.csv").open("rb") as blocked,
    ):
        parts = (allowed, blocked)
        for each in (given, *parts):
            next(each)
        held = [next(part, b"") for part in parts]
        for _ in range(rows):
            row = next(given).rstrip(b"\r\n") + b";"
            for at, part in enumerate(parts):
                if held[at].startswith(row):
                    held[at] = next(part, b"")
                    break
            else:
                raise Failed("a row is missing, doubled or changed")
    if any(held):
        raise Failed("a row came out that did not go in")


def one(size: int, count: int, folder: Path) -> dict[str, Any]:
    """A file of so many rows: the command, and the csv module's copy."""
    source, out = folder / f"leads-{size}.csv", folder / "out"
    leads(source, size)
    say(f"{size:,} rows: {source.stat().st_size / 1e6:,.0f} MB")

    def scrub() -> dict[str, float]:
        made = measured([*scrubbing(folder, out), str(source)])
        checked(out, source, size)
        return made

    found = rounds(
        {
            "file": scrub,
            "csv": lambda: measured([sys.executable, "-c", COPY, str(source), str(folder / "copy.csv")]),
        },
        count,
    )
    source.unlink()
    return {"rows": size} | found


def scrubbing(folder: Path, out: Path) -> list[str]:
    """The command but for its input."""
    options = [
        "-o",
        str(out),
        "--force",
        "--snapshot",
        str(folder / "snapshot"),
        "--rules",
        str(folder / "rules"),
    ]
    return [str(SCRIPT), "file", *options, "--json"]


def workbook(size: int, count: int, folder: Path) -> dict[str, Any]:
    """A workbook of so many rows: the command, and its libraries' own reading and writing."""
    import xlsxwriter

    source = folder / "leads.xlsx"
    text = folder / "leads.csv"
    leads(text, size)
    book = xlsxwriter.Workbook(str(source), {"constant_memory": True})
    sheet = book.add_worksheet("leads")
    with text.open(encoding="utf-8", newline="") as given:
        for at, row in enumerate(csv.reader(given, delimiter=";")):
            for place, cell in enumerate(row):
                sheet.write_string(at, place, cell)
    book.close()
    say(f"a workbook of {size:,} rows: {source.stat().st_size / 1e6:,.0f} MB")
    contenders = {
        "file": lambda: measured([*scrubbing(folder, folder / "out"), str(source)]),
        "read": lambda: measured([sys.executable, "-c", READ, str(source)]),
        "read and write": lambda: measured(
            [sys.executable, "-c", WRITE, str(source), str(folder / "copy.xlsx")]
        ),
    }
    return {"rows": size, "kind": "xlsx"} | rounds(contenders, count)


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All sizes."""
    with tempfile.TemporaryDirectory(prefix="stream-scrub-bench-") as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        (folder / "rules" / "fr.toml").write_text(RULE)
        (folder / "snapshot").mkdir()
        say(f"a snapshot of {given.numbers:,} numbers")
        registers(folder / "snapshot", given.numbers)
        one(_WARM_UP_ROWS, 1, folder)
        sizes = [one(size, given.rounds, folder) for size in given.rows]
        if given.xlsx:
            sizes.append(workbook(given.xlsx, given.rounds, folder))
    return {"numbers": given.numbers, "rounds": given.rounds, "sizes": sizes}, False


def show(content: dict[str, Any], console: Console) -> None:
    """The table, and the speed behind the start."""
    table = Table("rows", "contender", "s", "CPU s", "peak MB", box=None)
    for size in content["sizes"]:
        for name in size:
            if name not in {"rows", "kind"}:
                made = size[name]
                cells = (f"{made['seconds']:.2f}", f"{made['cpu_s']:.2f}", f"{made['peak_mb']:.0f}")
                table.add_row(f"{size['rows']:,} {size.get('kind', 'csv')}", name, *cells)
    console.print(table)
    plain = [size for size in content["sizes"] if "csv" in size]
    for size in plain:
        console.print(
            f"{size['rows']:,} rows: {size['file']['cpu_s'] / size['csv']['cpu_s']:.2f} times the csv module's copy"
        )
    if len(plain) > 1:
        first, last = plain[0], plain[-1]
        spent = last["file"]["cpu_s"] - first["file"]["cpu_s"]
        console.print(
            f"behind the start: {(last['rows'] - first['rows']) / spent:,.0f} rows a second of one processor"
        )


def options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the CSV file"
    )
    parser.add_argument("--xlsx", type=int, default=100_000, help="rows of the workbook; 0: none")
    parser.add_argument("--numbers", type=int, default=5_000_000, help="in the snapshot's list")
    parser.add_argument("--rounds", type=int, default=3)


BENCH = command.Bench(NAME, (__doc__ or "").splitlines()[0], "-files", options, measure, show)

if __name__ == "__main__":
    sys.exit(BENCH.main())
