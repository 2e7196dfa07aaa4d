"""How memory grows with the numbers that are opposed and with those that are outstanding. `python -m bench.offline.slopes`.

No broker. Opposed numbers are in registers of 250 million each, one after the other, as thin as the American list (one
number in 32). Outstanding numbers are French mobiles in 90 bitmaps: 6 partitions, 3 campaigns, 5 last days. It takes some
minutes and 5 GB of memory.
"""

import argparse
import gc
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any

import numpy as np
from pyroaring import BitMap64
from rich.console import Console
from rich.table import Table

from bench.harness import command
from bench.harness.command import say
from bench.harness.proc import memory_mb
from bench.offline.scrubber import make_index, rulebook_of_bench
from stream_scrub.index import Filter, Register, as_bitmap
from stream_scrub.model import RegisterKind
from stream_scrub.numbering import Line
from stream_scrub.recall.outstanding import Outstanding, OutstandingWatch
from stream_scrub.scrub.facts import Facts

NAME = "bench.offline.slopes"
GAP = 32  # one number in so many
PIECE = 5_000_000
MOBILES = 33_600_000_000, 33_799_999_999
PARTITIONS, CAMPAIGNS, DAYS = 6, 3, 5


def _now_mb() -> float:
    gc.collect()
    return memory_mb(os.getpid())


def opposed(each: int, count: int) -> list[dict[str, Any]]:
    """The memory after each of `count` registers of so many numbers."""
    before, at, held, found = _now_mb(), 12_000_000_000, list[Register](), list[dict[str, Any]]()
    dice = np.random.default_rng(1)
    for _ in range(count):
        started, numbers = time.process_time(), BitMap64()
        for begin in range(0, each, PIECE):
            steps = dice.integers(1, 2 * GAP, min(PIECE, each - begin), dtype=np.uint64)
            drawn = np.uint64(at) + np.cumsum(steps)
            numbers |= as_bitmap(drawn)
            at = int(drawn[-1])
        empty = Register.empty(f"r{count}", RegisterKind.DENY, datetime.now(UTC))
        held.append(replace(empty, numbers=numbers, filter=Filter.of(numbers)))
        now_mb, total = _now_mb() - before, each * len(held)
        say(f"{total:,} opposed: {now_mb:,.0f} MB, {time.process_time() - started:.0f} CPU s for the last")
        found.append(
            {"numbers": total, "mb": round(now_mb, 1), "bytes_a_number": round(now_mb * 2**20 / total, 2)}
        )
    return found


def outstanding(sizes: list[int]) -> list[dict[str, Any]]:
    """The memory with so many numbers outstanding, and the time to judge them all again."""
    dice, held, found = np.random.default_rng(2), Outstanding(), []
    line, now, done = Line.of("FR", "mobile"), datetime.now(UTC), 0
    kinds = [(line, Facts(campaigns=(f"c{at}",))) for at in range(CAMPAIGNS)]
    for partition in range(PARTITIONS):
        held.begin(("allowed", partition))
    with rulebook_of_bench() as book:
        index = make_index(np.arange(33_100_000_000, 33_105_000_000, dtype=np.uint64))
        before = _now_mb()
        for size in sizes:
            parts = PARTITIONS * CAMPAIGNS * DAYS
            for part in range(parts):
                key, kind = ("allowed", part % PARTITIONS), kinds[part // PARTITIONS % CAMPAIGNS]
                last = (now + timedelta(days=10 + part // PARTITIONS // CAMPAIGNS)).date()
                drawn = np.sort(dice.integers(*MOBILES, (size - done) // parts, dtype=np.uint64))
                held.add(key, kind, last, as_bitmap(drawn))
            done, now_mb, started = size, _now_mb() - before, time.process_time()
            for _ in OutstandingWatch(held, book).due(index, now, look=True):
                pass
            judged_s = time.process_time() - started
            say(f"{len(held):,} outstanding: {now_mb:,.0f} MB, judged in {judged_s:.1f} CPU s")
            found.append(
                {
                    "numbers": len(held),
                    "mb": round(now_mb, 1),
                    "bytes_a_number": round(now_mb * 2**20 / len(held), 2),
                    "judged_cpu_s": round(judged_s, 2),
                }
            )
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--each", type=int, default=250_000_000, help="numbers of a register (250,000,000)")
    parser.add_argument("--registers", type=int, default=4, help="how many registers (4)")
    parser.add_argument(
        "--outstanding", type=int, nargs="*", default=[10_000_000, 30_000_000, 100_000_000], help="how many"
    )


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Both, each in a process of its own: none lives on the other's memory."""
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as alone:
        found = {
            "outstanding": alone.submit(outstanding, given.outstanding),
            "opposed": alone.submit(opposed, given.each, given.registers),
        }
        return {what: each.result() for what, each in found.items()}, False


def show(made: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table("", "numbers", "MB", "bytes a number", "judged again, CPU s", box=None)
    for what, rows in made.items():
        for row in rows:
            cells = (f"{row['numbers']:,}", f"{row['mb']:,.0f}", f"{row['bytes_a_number']:.2f}")
            table.add_row(what, *cells, f"{row.get('judged_cpu_s', '')}")
    console.print(table)


SLOPES = command.Bench(NAME, __doc__, "-slopes", options, run, show)

if __name__ == "__main__":
    raise SystemExit(SLOPES.main())
