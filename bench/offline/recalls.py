"""What a recall member's own work costs: memory, deltas, a start. `python -m bench.offline.recalls`.

No broker, and none of Kafka's client. Outstanding are French mobiles in 90 bitmaps, as for `bench.offline.slopes`. It takes
a minute and a gigabyte of memory.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from rich.console import Console

from bench.harness import command
from bench.harness.command import say
from bench.harness.proc import memory_mb
from bench.offline.scrubber import BATCH, make_index, make_scrubber, rulebook_of_bench
from bench.offline.slopes import CAMPAIGNS, DAYS, MOBILES, PARTITIONS
from stream_scrub.clock import utc_millis
from stream_scrub.index import Filter, Index, as_bitmap
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import PartitionKey
from stream_scrub.numbering import Line
from stream_scrub.recall.member import Member
from stream_scrub.recall.outstanding import Outstanding
from stream_scrub.recall.record import PastRecalls
from stream_scrub.recall.restore import hold_again
from stream_scrub.scrub.facts import Facts

NAME = "bench.offline.recalls"
ASSIGNED = 33_610_000_000, 33_629_999_999
OTHERS = 33_100_000_000  # numbers of a delta that nobody was handed out
UPTO: dict[PartitionKey, int] = {("allowed", partition): 10_000_000 for partition in range(PARTITIONS)}


class Lead:
    """A record, as far as a member that starts asks."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


def filled(member: Member, numbers: np.ndarray, now: datetime) -> None:
    """Hold these numbers, in so many bitmaps."""
    for partition in UPTO:
        member.outstanding.begin(partition)
    line = Line.of("FR", "mobile")
    for part, each in enumerate(np.array_split(numbers, PARTITIONS * CAMPAIGNS * DAYS)):
        kind = line, Facts(campaigns=(f"c{part // PARTITIONS % CAMPAIGNS}",))
        last = (now + timedelta(days=10 + part // PARTITIONS // CAMPAIGNS)).date()
        member.outstanding.add(("allowed", part % PARTITIONS), kind, last, as_bitmap(np.sort(each)))


def with_more(index: Index, numbers: np.ndarray) -> Index:
    """The index after a delta that adds these numbers."""
    register = index.registers["internal"]
    more = register.numbers | as_bitmap(np.sort(numbers))
    changed = replace(register, numbers=more, filter=Filter.of(more), position=index.position + 1)
    return replace(index.with_register(changed), position=index.position + 1)


def recalls_of(member: Member, index: Index, now: datetime) -> tuple[int, float]:
    """How many recalls an index causes, and their CPU seconds, without those of the commits."""
    count, started = 0, time.process_time()
    for emission in member.due(index, now, now, UPTO, look=False):
        count += len(emission.recalls)
        member.committed(emission)
    return count, time.process_time() - started


def starts(read: Callable[[PolledBatch, datetime], Any], leads: int, now: datetime) -> float:
    """CPU microseconds for each lead that is read at a start, when one in ten was recalled."""
    past, outstanding = PastRecalls({*UPTO}, {}), Outstanding()
    for partition in UPTO:
        outstanding.begin(partition)
    numbers = np.random.default_rng(3).integers(*ASSIGNED, leads, dtype=np.uint64).tolist()
    for number in numbers[::10]:
        past.take(b"+%d" % number, b"{}", [("upto", b"allowed/0/9")])
    stamp = b'{"verdict":"allowed","reason":"clear","number":"+%d","index":0,"rules":"fr@1","at":"%s"}'
    at, took_s = utc_millis(now).encode(), 0.0
    for begin in range(0, leads, BATCH):
        values = [
            b'{"id":"%d","name":"Claire Martin","phone":"+%d","campaign":"c1","scrub":%s}'
            % (number, number, stamp % (number, at))
            for number in numbers[begin : begin + BATCH]
        ]
        count, started = len(values), time.process_time()
        records: list[Any] = [Lead(begin + offset) for offset in range(count)]
        fetched = PolledBatch(
            records, [0] * count, Headers([None] * count, []), list(values), ["allowed"] * count
        )
        hold_again(outstanding, fetched, read(fetched, now), past, UPTO)
        took_s += time.process_time() - started
    return took_s / leads * 1e6


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--outstanding", type=int, default=10_000_000, help="leads (10,000,000)")
    parser.add_argument("--delta", type=int, default=1_000_000, help="numbers of a large delta (1,000,000)")


def run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All of it."""
    now, size = datetime.now(UTC), given.delta
    numbers = np.unique(np.random.default_rng(2).integers(*MOBILES, given.outstanding, dtype=np.uint64))
    np.random.default_rng(3).shuffle(numbers)
    others = np.arange(OTHERS, OTHERS + size, dtype=np.uint64)
    with rulebook_of_bench() as book:
        scrubber = make_scrubber(book, "value")
        member = Member(scrubber, 30)
        filled(member, numbers, now)
        index = make_index(others[:1])
        started = time.process_time()
        recalls_of(member, index, now)
        found: dict[str, Any] = {
            "outstanding": len(member.outstanding),
            "judged_cpu_s": round(time.process_time() - started, 2),
            "deltas": [],
        }
        say(f"{found['outstanding']:,} outstanding")
        for many, hits, times in ((size, size // 10, 1), (size, size, 1), (100, 100, 20), (1, 1, 20)):
            recalls, cpu_s = 0, 0.0
            for _ in range(times):
                hit, numbers = numbers[:hits], numbers[hits:]
                index = with_more(index, np.concatenate([hit, others[1 : 1 + many - hits]]))
                count, took_s = recalls_of(member, index, now)
                recalls, cpu_s = recalls + count, cpu_s + took_s
            say(f"{times} deltas of {many:,}: {recalls:,} recalls in {cpu_s:.2f} CPU s")
            each = {"numbers": many, "recalls": recalls // times, "cpu_ms": round(cpu_s / times * 1000, 1)}
            found["deltas"].append(each | {"cpu_us_a_recall": round(cpu_s / recalls * 1e6, 1)})
        found["peak_mb"] = round(memory_mb(os.getpid(), "VmHWM"), 1)
        found["start_cpu_us_a_lead"] = round(
            starts(member.leads.read, min(400_000, given.outstanding), now), 2
        )
    return found, False


def show(made: dict[str, Any], console: Console) -> None:
    """The figures in lines."""
    console.print(
        f"{made['outstanding']:,} outstanding: all judged in {made['judged_cpu_s']} CPU s; read at a"
        f" start: {made['start_cpu_us_a_lead']} CPU us each"
    )
    for each in made["deltas"]:
        console.print(
            f"a delta of {each['numbers']:,}: {each['recalls']:,} recalls, {each['cpu_ms']:,} CPU ms,"
            f" {each['cpu_us_a_recall']} us a recall"
        )


RECALLS = command.Bench(NAME, __doc__, "-recalls-offline", options, run, show)

if __name__ == "__main__":
    raise SystemExit(RECALLS.main())
