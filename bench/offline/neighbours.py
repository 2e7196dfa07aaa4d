"""What French prospects cost among those of ten countries without lists, beside what they cost alone: `python -m
bench.offline.neighbours`.

No broker: `Scrubber.scrub` by the shipped rules, on prospects in memory. The index holds the consents of the French
numbers and nothing else, so every other prospect is blocked. Alone, the others and both mixed take turns, so that all
meet the same machine. What a French prospect costs among others is what the mixed batches took beyond the others' own.
"""

import random
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from rich.console import Console

from bench.harness import command
from bench.offline.scrubber import BATCH, make_scrubber
from stream_scrub.index import Index, Register, as_bitmap
from stream_scrub.model import CONSENT, Reason, RegisterKind
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber

NAME = "bench.offline.neighbours"
# Valid numbers that follow each other, by country.
OTHERS = {
    "GB": 447_400_123_000,
    "BE": 32_470_100_000,
    "IT": 393_471_234_000,
    "ES": 34_612_345_000,
    "IE": 353_850_123_000,
    "US": 12_124_567_000,
    "CA": 14_163_671_000,
    "DE": 4_915_112_345_000,
    "AT": 436_641_234_000,
    "NL": 31_612_345_000,
}


class Figures(NamedTuple):
    """Nanoseconds of CPU a French prospect, alone and among others, and any of the others: the least of all turns."""

    alone: float
    among: float
    others: float


def prospect(country: str, number: int) -> bytes:
    """One prospect as producers write them."""
    return b'{"id":%d,"phone":"+%d","country":"%s","purpose":"insurance","campaign":"acme"}' % (
        number % 100_000,
        number,
        country.encode(),
    )


def consents(numbers: range) -> Index:
    """An index that holds these consents alone."""
    empty = Register.empty(f"{CONSENT}@acme", RegisterKind.ALLOW, datetime.now(UTC))
    held = as_bitmap(np.array(numbers, dtype=np.uint64))
    bitmap, filter_ = empty.changed(held, as_bitmap(np.empty(0, np.uint64)))
    return Index.empty().with_register(replace(empty, numbers=bitmap, filter=filter_, seq=1, position=7))


def took_ns(scrubber: Scrubber, values: list[bytes], index: Index, allowed: int) -> int:
    """One turn, in batches as the worker has them. The verdicts are checked outside of the clock."""
    now, found = datetime.now(UTC), 0
    begun = time.thread_time_ns()
    batches = [scrubber.scrub(values[at : at + BATCH], index, now) for at in range(0, len(values), BATCH)]
    took = time.thread_time_ns() - begun
    for batch in batches:
        found += batch.tally[Reason.CONSENTED]
    assert found == allowed, (found, allowed)
    return took


def measure(count: int, repeats: int) -> Figures:
    """So many French prospects, and as many others."""
    french = range(33_612_300_000, 33_612_300_000 + count)
    scrubber, index = make_scrubber(Rulebook.load(), "value"), consents(french)
    alone = [prospect("FR", number) for number in french]
    others = [
        prospect(country, OTHERS[country] + at % 900)
        for at, country in enumerate(list(OTHERS) * (count // len(OTHERS) + 1))
    ][:count]
    mixed = [*alone, *others]
    random.Random(11).shuffle(mixed)
    mixed = [
        bytes(bytearray(value)) for value in mixed
    ]  # one after another in memory, as a fetch leaves them
    turns = []
    for _ in range(repeats + 1):  # the first one fills caches
        turns.append(
            (
                took_ns(scrubber, alone, index, count),
                took_ns(scrubber, mixed, index, count),
                took_ns(scrubber, others, index, 0),
            )
        )
    a, m, o = (min(each[at] for each in turns[1:]) / count for at in range(3))
    return Figures(a, m - o, o)


def work(count: int, repeats: int) -> int:
    """Measure, print."""
    found = measure(count, repeats)
    Console(width=100).print(
        f"ns a French prospect: alone {found.alone:.0f}, among others {found.among:.0f}"
        f" ({found.among / found.alone:.2f} times); one of the others {found.others:.0f}"
    )
    return 0


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--prospects", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    return command.ended(NAME, lambda: work(given.prospects, given.repeats))


if __name__ == "__main__":
    sys.exit(main())
