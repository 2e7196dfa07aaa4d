"""Does the system go on under attack? Hostile lists, leads, requests and connections at once, on a real Kafka.

`python -m bench.abuse`: a publisher and two workers with their pages, beside them opt-outs and good leads. Checked is
that nobody dies or outgrows the memory of its pod, that every page answers, that nothing hostile is published or
allowed, that nothing is lost, and that no phone number comes out in a log or on a page. Exit code 1 if anything of that
was wrong, or if of a hundred opt-outs the slowest took more than a second to its seal; 3 without a Kafka.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.kafka.broker import Kafka, NoKafka
from tests.support.abuse import MEMORY_MIB, Abuse, figures
from tests.support.stage import Stage

PARTITIONS = 4
SEALED_MS_MAX = 1_000.0


def show(made: dict[str, Any], console: Console) -> None:
    """The tables."""
    sent = Table("sent", "count", box=None, pad_edge=False)
    for name, count in made["sent"].items():
        sent.add_row(name, f"{count:,}")
    times = Table("milliseconds", "p50", "p99", "worst", box=None, pad_edge=False)
    for name in ("opt-out to seal ms", "page ms"):
        times.add_row(
            name.removesuffix(" ms"), *(f"{made[name][each]:,.0f}" for each in ("p50", "p99", "worst"))
        )
    memory = Table("process", "peak MiB", "of", box=None, pad_edge=False)
    for name, peak in made["peak MiB"].items():
        memory.add_row(name, f"{peak:,.0f}", f"{MEMORY_MIB[name.split()[0]]:,}")
    for table in (sent, times, memory):
        console.print(table)
        console.print()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.abuse", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long (3)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON, and no table")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    try:
        with tempfile.TemporaryDirectory(prefix="stream-scrub-abuse-") as name, Kafka() as kafka:
            stage = Stage(kafka.bootstrap, Path(name), partitions=PARTITIONS)
            try:
                made = figures(Abuse(stage, given.minutes * 60, everything=True).run())
            finally:
                stage.close()
    except AssertionError as wrong:
        print(f"bench.abuse: {wrong}", file=sys.stderr)
        return 1
    except NoKafka as missing:
        print(f"bench.abuse: {missing}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps(made))
    else:
        show(made, Console(width=max(80, Console().width)))
    worst = made["opt-out to seal ms"]["p99"]
    if worst > SEALED_MS_MAX:
        print(f"bench.abuse: of 100 opt-outs the slowest took {worst:.0f} ms to its seal", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
