"""Where a prospect's time goes in the pure room: `Scrubber.scrub` on prospects in memory, and its steps one by one.

For tuning: `python -m bench.offline.hot_path [--prospects N] [--numbers N] [--stamp value|header] [--python] [--repeats R]`. The first
line is the real thing, then come its three stages. With the reference (`--python`) the steps below them are the public
parts that it is made of, run over the same batches in loops of their own, so that caches are as cold as in the whole;
what they do not explain is the whole's own bookkeeping.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import command, data
from bench.offline.scrubber import BATCH, make_index, make_scrubber, rulebook_of_bench
from stream_scrub.index import Index
from stream_scrub.numbering import normalise
from stream_scrub.scrub import backend
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.decide_batch import BatchContext, judge
from stream_scrub.scrub.decode import read_strictly

NAME = "bench.offline.hot_path"
Batch = list[bytes]
Step = Callable[[Batch], int]


def steps(scrubber: Scrubber, index: Index, prospects: data.Prospects) -> dict[str, Step]:
    """The whole, and its parts."""
    register = index.registers[data.REGISTER]
    members = scrubber.terms.members
    in_value = scrubber.terms.stamp == "value"
    template = (
        b',"scrub":{"verdict":"allowed","reason":"clear","number":"+%d","index":7,'
        b'"rules":"fr@000000","at":"2026-11-24T12:00:00.000Z"}}'
    )
    # What one step needs of the step before, made outside of the clock.
    texts = {id(value): read_strictly(value, members).numbers[0] for value in prospects.values}
    numbers = {
        id(value): number for value, number in zip(prospects.values, prospects.numbers.tolist(), strict=True)
    }
    now = datetime.now(UTC)

    def whole(batch: Batch) -> None:
        scrubber.scrub(batch, index, now)

    def empty(batch: Batch) -> None:
        for _ in batch:
            pass

    def decoding(batch: Batch) -> None:
        for value in batch:
            read_strictly(value, members)

    def normalising(batch: list[str]) -> None:
        for text in batch:
            normalise(text, "FR")

    def looking_up(batch: list[int]) -> None:
        held = register.numbers
        perhaps = register.filter.perhaps(np.array(batch, dtype=np.uint64)).tolist()
        for number, hit in zip(batch, perhaps, strict=True):
            if hit:
                number in held  # noqa: B015 - the look-up is what is measured

    def splicing(batch: list[tuple[bytes, int]]) -> None:
        if in_value:
            [value[:-1] + template % number for value, number in batch]
        else:
            [template % number for _, number in batch]

    def of_texts(batch: Batch) -> list[str]:
        return [texts[id(value)] for value in batch]

    def of_numbers(batch: Batch) -> list[int]:
        return [numbers[id(value)] for value in batch]

    def of_pairs(batch: Batch) -> list[tuple[bytes, int]]:
        return [(value, numbers[id(value)]) for value in batch]

    return {
        "Scrubber.scrub, whole": _timed(whole),
        "an empty loop": _timed(empty),
        "decode (strictly)": _timed(decoding),
        "normalise": _timed(normalising, of_texts),
        "look-up (filter, then exact)": _timed(looking_up, of_numbers),
        "stamp (splice)": _timed(splicing, of_pairs),
    }


def stages(scrubber: Scrubber, index: Index) -> dict[str, Step]:
    """The three stages of the whole, as it runs them."""
    now = datetime.now(UTC)
    reader = scrubber._reader

    def batch_context() -> BatchContext:
        return BatchContext(scrubber.rulebook, index, now)

    def before_stamp(batch: Batch) -> tuple:
        plain = reader.read(batch)
        return batch, plain, judge(plain, batch_context())

    return {
        "  of it, reading": _timed(reader.read),
        "  of it, judging": _timed(lambda plain: judge(plain, batch_context()), reader.read),
        "  of it, stamping": _timed(lambda made: scrubber._stamp(*made), before_stamp),
    }


def _timed(step: Callable, prepare: Callable = list) -> Step:
    """The step as a function that returns its nanoseconds, without those of preparing its batch."""

    def run(batch: Batch) -> int:
        prepared = prepare(batch)
        started = time.process_time_ns()  # of the CPU: others may be at work here
        step(prepared)
        return time.process_time_ns() - started

    return run


def measure(made: dict[str, Step], values: list[bytes], repeats: int) -> dict[str, list[float]]:
    """Nanoseconds a prospect by step, one figure a repeat; the steps take turns, over all batches each."""
    batches = [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
    found: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(repeats + 1):  # the first one warms up
        for name, step in made.items():
            found[name].append(sum(map(step, batches)) / len(values))
    return {name: figures[1:] for name, figures in found.items()}


def work(given: argparse.Namespace) -> int:
    """Measure, print the table."""
    register = data.register_numbers(given.numbers)
    prospects = data.prospects(given.prospects, register)
    index = make_index(register)
    with rulebook_of_bench() as rulebook:
        by = backend.PYTHON if given.python else backend.BEST
        reference = by is backend.PYTHON
        scrubber = make_scrubber(rulebook, given.stamp, by)
        parts_of_it = stages(scrubber, index)
        made = steps(scrubber, index, prospects)
        first, *others = made
        made = {first: made[first]} | parts_of_it | {name: made[name] for name in others if reference}
        found = measure(made, prospects.values, given.repeats)
    table = Table(
        "step", box=None, pad_edge=False, title=f"{given.prospects:,} prospects, {given.numbers:,} numbers"
    )
    for column in ("ns a prospect", "least", "most"):
        table.add_column(column, justify="right")
    for name, figures in found.items():
        table.add_row(name, *(f"{each:.0f}" for each in (median(figures), min(figures), max(figures))))
    if reference:
        middle = {name: median(figures) for name, figures in found.items() if name not in parts_of_it}
        whole, loop, *parts = middle.values()
        table.add_row(
            "rest: bookkeeping of the whole", f"{whole - loop - sum(part - loop for part in parts):.0f}"
        )
    Console(width=100).print(table)
    return 0


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--prospects", type=int, default=200_000)
    parser.add_argument("--numbers", type=int, default=5_000_000)
    parser.add_argument("--stamp", choices=("value", "header"), default="value")
    parser.add_argument(
        "--python", action="store_true", help="the reference, also where the extension is installed"
    )
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    return command.ended(NAME, lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())
