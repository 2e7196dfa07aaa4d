"""The bench: data, broker, register, rounds of contenders, table, file. `python -m bench --help`."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from rich.console import Console

from bench import data, oracle, report
from bench.report import Run
from bench.runner import Failed, Runner
from tests.kafka.broker import Kafka, NoKafka
from tests.support.worker import SCRIPT, environment

ROOT = Path(__file__).parents[1]
USUAL = (1_000_000, 5_000_000)
SMALL = (50_000, 200_000)
_IMPORT_S = 600.0
_COMMAND_S = 60.0
_STARTED = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Contender:
    """A name, what its records look like, and its command for a run's environment and group."""

    name: str
    kind: oracle.Kind
    command: Callable[["Stage", dict[str, str], str], list[str]]
    settings: dict[str, Any]


def _bare(stage: "Stage", topics: dict[str, str], group: str) -> list[str]:
    # -P: the bench's modules stay out of its path
    return [
        sys.executable,
        "-P",
        str(ROOT / "bench/bare.py"),
        stage.bootstrap,
        topics["prospects"],
        topics["allowed"],
        group,
    ]


def _worker(_stage: "Stage", _topics: dict[str, str], group: str) -> list[str]:
    return [SCRIPT, "worker", "--id", group]


CONTENDERS = (
    Contender(report.BARE, "bare", _bare, {}),
    Contender("worker, value stamp", "value", _worker, {"prospect__stamp": "value"}),
    Contender("worker, header stamp", "header", _worker, {"prospect__stamp": "header"}),
)


class Stage:
    """One input, one register, one log; fresh output topics and a fresh group for each run."""

    def __init__(self, kafka: Kafka, folder: Path, prospects: data.Prospects) -> None:
        self.bootstrap = kafka.bootstrap
        self._folder = folder
        self._prospects = prospects
        self._unique = uuid.uuid4().hex[:8]
        self._rules = data.write_rules(folder / "rules")
        self._made: set[str] = set()
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        self._runner = Runner(kafka.bootstrap, self._topics("")["prospects"], data.PARTITIONS, kafka.pid)
        self._position = -1

    def _topics(self, run: str) -> dict[str, str]:
        shared = {
            role: f"bench-{self._unique}-{role}" for role in ("prospects", "recalled", "log", "requests")
        }
        return shared | {role: f"bench-{self._unique}-{role}{run}" for role in ("allowed", "blocked")}

    def _environment(self, topics: dict[str, str], **settings: Any) -> dict[str, str]:
        return environment(self.bootstrap, topics, rules__folder=self._rules, **settings)

    def make_topics(self, run: str) -> dict[str, str]:
        """The topics of a run as `stream-scrub topics` makes them, for every contender alike."""
        topics = self._topics(run)
        self._made |= set(topics.values())
        self._command(["topics", "--partitions", str(data.PARTITIONS)], self._environment(topics), _COMMAND_S)
        return topics

    def _command(self, arguments: list[str], env: dict[str, str], timeout_s: float) -> str:
        command = [SCRIPT, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=env,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"stream-scrub {arguments[0]} took longer than {timeout_s:.0f} s") from None
        if done.returncode:
            raise Failed(
                f"stream-scrub {arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def produce(self) -> None:
        """The input, by a plain client, lz4."""
        topic = self.make_topics("")["prospects"]
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "log_level": 0,
                "queue.buffering.max.messages": 500_000,
            }
        )
        for at, value in enumerate(self._prospects.values):
            arguments = (
                topic,
                value,
                data.key(at),
                data.partition(at),
                None,
                None,
                self._prospects.timestamp(at),
            )
            try:
                producer.produce(*arguments)
            except BufferError:
                producer.flush(60)
                producer.produce(*arguments)
            if at % 10_000 == 0:
                producer.poll(0)
        if producer.flush(60):
            raise Failed("the input could not be produced in time")

    def load(self, register: Any) -> float:
        """Import the register through the command, as an operator would; the seconds it took."""
        file = self._folder / "register.txt"
        data.write_list(register, file)
        started = time.monotonic()
        arguments = ["lists", "import", str(file), "--register", data.REGISTER, "--json"]
        effect = json.loads(self._command(arguments, self._environment(self._topics("")), _IMPORT_S))
        took_s = time.monotonic() - started
        file.unlink()
        if (effect["added"], effect["refused"], effect["count"]) != (len(register), 0, len(register)):
            raise Failed(f"the register was not imported as it is: {effect}")
        self._position = effect["position"]
        return took_s

    def run(self, contender: Contender, round_: int) -> Run:
        """One contender, measured and checked. Raises Failed: also when the oracle finds anything wrong."""
        name = f"{contender.kind}-{round_}"
        topics = self.make_topics(f"-{name}")
        group = f"bench-{self._unique}-{name}"
        env = self._environment(topics, worker__group_id=group, **contender.settings)
        try:
            figures = self._runner.run(
                contender.command(self, topics, group),
                env,
                group,
                len(self._prospects),
                self._folder / f"{name}.log",
            )
            outputs = {role: topics[role] for role in (oracle.ALLOWED, oracle.BLOCKED)}
            found = oracle.check(
                oracle.read(self.bootstrap, outputs), self._prospects, contender.kind, self._position
            )
        except (Failed, TimeoutError, KafkaException) as failed:
            raise Failed(f"{contender.name}, round {round_}: {failed}") from None
        finally:
            self._delete({topics[role] for role in ("allowed", "blocked")})
            self._forget(group)
        if not found.right:
            raise Failed(f"{contender.name}, round {round_}: its output is {found}")
        say(
            f"round {round_}: {contender.name}: {figures.records_per_s:,.0f} records/s, {figures.work_us:.2f} us"
            f" a record, {figures.peak_mb:.0f} MB; oracle: {found}"
        )
        return Run(contender.name, round_, figures)

    def _delete(self, topics: set[str]) -> None:
        for future in (
            self._admin.delete_topics(sorted(topics), operation_timeout=30).values() if topics else ()
        ):
            with suppress(KafkaException):  # it is not there, or goes with the broker
                future.result(40)
        self._made -= topics

    def _forget(self, group: str) -> None:
        for future in self._admin.delete_consumer_groups([group], request_timeout=30).values():
            with suppress(KafkaException):
                future.result(40)

    def close(self) -> None:
        """Leave nothing behind on a broker that is not ours."""
        self._delete(set(self._made))


def run(prospects: int, numbers: int, rounds: int) -> tuple[list[Run], dict[str, Any], bool]:
    """All of it; the runs, what was set, and whether the broker was started here. Raises Failed, NoKafka."""
    say(f"making {numbers:,} numbers and {prospects:,} prospects")
    register = data.register_numbers(numbers)
    leads = data.prospects(prospects, register)
    size = sum(map(len, leads.values)) / prospects
    say(f"made: {size:.0f} bytes a prospect, {leads.denied.mean():.1%} hits; starting Kafka")
    with tempfile.TemporaryDirectory(prefix="stream-scrub-bench-") as folder, Kafka() as kafka:
        stage = Stage(kafka, Path(folder), leads)
        try:
            say("producing the prospects")
            stage.produce()
            say("importing the register with `stream-scrub lists import`")
            import_s = stage.load(register)
            say(f"imported {numbers:,} numbers in {import_s:.1f} s, with the command's start")
            del register
            say("one bare run to warm up the broker, not counted")
            stage.run(CONTENDERS[0], 0)
            runs = []
            for round_ in range(1, rounds + 1):
                turn = (round_ - 1) % len(CONTENDERS)  # each goes first in its turn
                runs += [stage.run(each, round_) for each in CONTENDERS[turn:] + CONTENDERS[:turn]]
        finally:
            stage.close()
        runs.sort(key=lambda each: [c.name for c in CONTENDERS].index(each.contender))
    settings = {
        "prospects": prospects,
        "bytes_a_prospect": round(size, 1),
        "hits": round(float(leads.denied.mean()), 4),
        "numbers": numbers,
        "partitions": data.PARTITIONS,
        "rounds": rounds,
        "import_s": round(import_s, 2),
    }
    return runs, settings, kafka.ours


def main() -> int:
    """The exit code: 1 when a contender failed or gave a wrong verdict, 3 without a Kafka."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--prospects", type=int, help=f"how many prospects ({USUAL[0]:,})")
    parser.add_argument("--numbers", type=int, help=f"size of the deny register ({USUAL[1]:,})")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender (3)")
    parser.add_argument("--small", action="store_true", help=f"{SMALL[0]:,} prospects, {SMALL[1]:,} numbers")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results", help="where the JSON goes")
    given = parser.parse_args()
    sizes = SMALL if given.small else USUAL
    prospects, numbers = given.prospects or sizes[0], given.numbers or sizes[1]
    if min(prospects, numbers, given.rounds) < 1:
        parser.error("every number must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    try:
        runs, settings, own_broker = run(prospects, numbers, given.rounds)
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    except NoKafka as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    file = report.write(runs, settings, given.out, own_broker=own_broker, usual=(prospects, numbers) == USUAL)
    report.show(runs, Console(width=max(132, Console().width)))
    print(f"written: {file.name} in {given.out.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
