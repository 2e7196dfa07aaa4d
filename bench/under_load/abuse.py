"""Does the system go on under attack? Hostile lists, leads, requests and connections at once, on a real Kafka.

`python -m bench.under_load.abuse`: a publisher and two workers with their pages, beside them opt-outs and good leads. Checked is
that nobody dies or outgrows the memory of its pod, that every page answers, that nothing hostile is published or
allowed, that nothing is lost, and that no phone number comes out in a log or on a page. Exit code 1 if anything of that
was wrong, or if of a hundred opt-outs the slowest took more than a second to its seal; 3 without a Kafka.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import command
from bench.harness.failure import Failed
from tests.support.running.abuse import MEMORY_MIB, Abuse, figures
from tests.support.running.stage import Stage

NAME = "bench.under_load.abuse"
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


def measure(minutes: float) -> dict[str, Any]:
    """What was seen. Raises Failed, NoKafka."""
    with command.kafka_and_folder() as (kafka, folder):
        stage = Stage(kafka.bootstrap, folder, partitions=PARTITIONS)
        try:
            return figures(Abuse(stage, minutes * 60, everything=True).run())
        except AssertionError as wrong:
            raise Failed(str(wrong)) from None
        finally:
            stage.close()


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long (3)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON, and no table")
    given = parser.parse_args()

    def work() -> int:
        made = measure(given.minutes)
        if given.json:
            print(json.dumps(made))
        else:
            show(made, Console(width=max(80, Console().width)))
        worst = made["opt-out to seal ms"]["p99"]
        if worst > SEALED_MS_MAX:
            raise Failed(f"of 100 opt-outs the slowest took {worst:.0f} ms to its seal")
        return 0

    return command.ended(NAME, work)


if __name__ == "__main__":
    sys.exit(main())
