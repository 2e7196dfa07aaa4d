"""One `main` for all benches: options, signals, the real Kafka, the file of results, the table, the exit code."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.harness import results
from bench.harness.failure import Failed
from bench.harness.paths import RESULTS
from tests.kafka.broker import Kafka, NoKafka

_STARTED = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """For the options of `python -m NAME`."""
    return argparse.ArgumentParser(prog=f"python -m {name}", description=about)


def ended(name: str, work: Callable[[], int]) -> int:
    """The exit code: that of `work`; 1 when it failed or something was wrong, 3 without a Kafka, 130 when interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    try:
        return work()
    except Failed as failed:
        print(f"{name}: {failed}", file=sys.stderr)
        return 1
    except NoKafka as missing:
        print(f"{name}: {missing}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130


@contextmanager
def kafka_and_folder(*, own: bool = False) -> Iterator[tuple[Kafka, Path]]:
    """The real Kafka, and a folder that is gone afterwards. Raises NoKafka."""
    with (
        tempfile.TemporaryDirectory(prefix="stream-scrub-bench-") as name,
        Kafka(own=own, large=True) as kafka,
    ):
        yield kafka, Path(name)


@dataclass(frozen=True)
class Bench:
    """One bench whose figures go into a file. `name` is its module, `suffix` ends the file's name.

    `measure` gives the file's content, and whether the broker was started here; it may raise Failed and NoKafka. `wrong`
    finds in the content what makes the exit code 1 although there are figures, a line each.
    """

    name: str
    about: str | None
    suffix: str
    options: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[argparse.Namespace], tuple[dict[str, Any], bool]]
    show: Callable[[dict[str, Any], Console], None]
    wrong: Callable[[dict[str, Any]], list[str]] = lambda _: []

    def main(self) -> int:
        """Measure, write the file, show the table; the exit code as `ended` says."""
        options = parser(self.name, self.about)
        self.options(options)
        options.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
        given = options.parse_args()
        return ended(self.name, lambda: self._done(given))

    def _done(self, given: argparse.Namespace) -> int:
        content, own_broker = self.measure(given)
        file = results.save(self.suffix, content, given.out, own_broker=own_broker)
        self.show(content, Console(width=max(110, Console().width)))
        wrong = self.wrong(content)
        for line in wrong:
            print(f"{self.name}: {line}", file=sys.stderr)
        print(f"written: {file.name} in {given.out.name}/")
        return int(bool(wrong))
