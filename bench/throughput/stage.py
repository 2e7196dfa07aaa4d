"""The stage of a bench: the broker's topics filled, the register where each contender looks for it, and runs on it."""

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from numpy.typing import NDArray

from bench.harness import data
from bench.harness.contender_commands import Call
from bench.harness.failure import Failed
from bench.harness.runner import Crash, Runner
from bench.throughput import oracle
from bench.throughput.contenders import Contender
from bench.throughput.report import Run
from tests.kafka.broker import Kafka
from tests.support.fakes.web import Web
from tests.support.running.worker import SCRIPT, environment

_IMPORT_S = 600.0
_COMMAND_S = 60.0
_PREPARE_S = 300.0
_FLUSH_S = 60.0

T = TypeVar("T")
# What a runner does with a command: its environment, group, records and log.
Play = Callable[[Runner, list[str], dict[str, str], str, int, Path], T]


@dataclass(frozen=True)
class _Input:
    """The prospects that some contenders get, in a topic of their own."""

    topic: str
    prospects: data.Prospects
    runner: Runner


class Stage:
    """One input for each share of the prospects, one register, one log; fresh output topics and a fresh group for each run."""

    def __init__(
        self, kafka: Kafka, folder: Path, prospects: data.Prospects, say: Callable[[str], None] = print
    ) -> None:
        self.bootstrap = kafka.bootstrap
        self._broker = kafka.pid
        self._folder = folder
        self._prospects = prospects
        self._say = say
        self._unique = uuid.uuid4().hex[:8]
        self._rules = data.write_rules(folder / "rules")
        self._register = folder / "register.u64"
        self._made: set[str] = set()
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        self._inputs: dict[tuple[int, data.Format], _Input] = {}  # by how many there are, and how written
        self._closing = ExitStack()
        registry = Web(lambda asked: (200, json.dumps(data.SCHEMAS[asked.path.rpartition("/")[2]]).encode()))
        self._registry = self._closing.enter_context(registry)
        self._position = -1

    def _topics(self, run: str, records: int = 0, format_: data.Format = "json") -> dict[str, str]:
        shared = {role: f"bench-{self._unique}-{role}" for role in ("recalled", "log", "requests")}
        own = {role: f"bench-{self._unique}-{role}{run}" for role in ("allowed", "blocked")}
        prospects = f"bench-{self._unique}-prospects-{records or len(self._prospects)}-{format_}"
        return {**shared, **own, "prospects": prospects}

    def _environment(self, topics: dict[str, str], **settings: Any) -> dict[str, str]:
        return environment(self.bootstrap, topics, rules__folder=self._rules, **data.ROOMY, **settings)

    def make_topics(self, run: str, records: int = 0, format_: data.Format = "json") -> dict[str, str]:
        """The topics of a run as `stream-scrub topics` makes them, for every contender alike."""
        topics = self._topics(run, records, format_)
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

    def produce(self, records: int = 0, format_: data.Format = "json") -> None:
        """An input, by a plain client, lz4: all prospects or the first `records` of them."""
        chosen = self._prospects.first(records) if records else self._prospects
        chosen = data.written(chosen, format_)
        topic = self.make_topics("", len(chosen), format_)["prospects"]
        self._fill(
            (topic, value, data.key(at), data.partition(at), None, None, chosen.timestamp(at))
            for at, value in enumerate(chosen.values)
        )
        self._inputs[len(chosen), format_] = _Input(
            topic, chosen, Runner(self.bootstrap, topic, data.PARTITIONS, self._broker)
        )

    def _fill(self, records: Iterable[tuple[Any, ...]]) -> None:
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
        for at, arguments in enumerate(records):
            try:
                producer.produce(*arguments)
            except BufferError:
                producer.flush(_FLUSH_S)
                producer.produce(*arguments)
            if at % 10_000 == 0:
                producer.poll(0)
        if producer.flush(_FLUSH_S):
            raise Failed("a topic could not be filled in time")

    def load(self, register: NDArray[Any]) -> float:
        """Import the register through the command, as an operator would; the seconds it took."""
        data.write_register(register, self._register)
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

    def load_table(self, register: NDArray[Any]) -> None:
        """The register as a compacted topic of `+33...` keys, for whoever keeps it in a table."""
        topic = NewTopic(self._table, data.PARTITIONS, 1, config={"cleanup.policy": "compact"})
        self._made.add(self._table)
        for future in self._admin.create_topics([topic]).values():
            future.result(_COMMAND_S)
        # the default partitioner: a table is read whole by every instance, so any will do
        self._fill((self._table, b"1", b"+%d" % number) for number in register.tolist())

    @property
    def _table(self) -> str:
        return f"bench-{self._unique}-opposed"

    def _call(self, contender: Contender, run: str, topics: dict[str, str]) -> Call:
        group = f"bench-{self._unique}-{contender.id if contender.lasting else run}"
        return Call(self.bootstrap, topics, group, self._register, self._table, self._folder)

    def prepare(self, contender: Contender) -> float:
        """A lasting contender's first start, in which it takes the register to its disk; the seconds that took."""
        name = f"{contender.id}-0"
        records = contender.records(len(self._prospects))
        topics = self.make_topics(f"-{name}", records)
        call = self._call(contender, name, topics)
        try:
            return self._inputs[records, contender.format].runner.prepare(
                contender.command(call),
                self._environment(topics),
                call.group,
                self._folder / f"{name}.log",
                _PREPARE_S,
            )
        finally:
            self._clean(topics, call.group)

    def run(self, contender: Contender, round_: int) -> Run:
        """One contender, measured and checked. Raises Failed: also when the oracle finds anything wrong."""
        figures, found = self._played(
            contender, f"{contender.id}-{round_}", partial(Runner.run, members=contender.members)
        )
        if not found.right:
            raise Failed(f"{contender.name}, round {round_}: its output is {found}")
        self._say(
            f"round {round_}: {contender.name}: {figures.records_per_s:,.0f} records/s, {figures.work_us:.2f} us"
            f" a record, {figures.peak_mb:.0f} MB; oracle: {found}"
        )
        return Run(contender.name, round_, figures)

    def crash(self, contender: Contender) -> tuple[Crash, oracle.Found]:
        """One contender killed in mid-run and started again, and what the oracle finds. Raises Failed."""
        return self._played(contender, f"{contender.id}-crash", Runner.crash)

    def _played(self, contender: Contender, name: str, play: Play[T]) -> tuple[T, oracle.Found]:
        """One run, as `play` has it, and what the oracle says of what came out."""
        source = self._inputs[contender.records(len(self._prospects)), contender.format]
        topics = self.make_topics(f"-{name}", len(source.prospects), contender.format)
        call = self._call(contender, name, topics)
        registry = {"registry__url": self._registry.url} if contender.format != "json" else {}
        env = self._environment(topics, worker__group_id=call.group, **registry, **contender.settings)
        log = self._folder / f"{name}.log"
        try:
            played = play(source.runner, contender.command(call), env, call.group, len(source.prospects), log)
            outputs = {role: topics[role] for role in (oracle.ALLOWED, oracle.BLOCKED)}
            outs = oracle.read(self.bootstrap, outputs)
            return played, oracle.check(outs, source.prospects, contender.kind, self._position)
        except (Failed, TimeoutError, KafkaException) as failed:
            raise Failed(f"{contender.name}, {name.rpartition('-')[2]}: {failed}") from None
        finally:
            self._clean(topics, call.group)

    def _clean(self, topics: dict[str, str], group: str) -> None:
        self._delete({topics[role] for role in ("allowed", "blocked")})
        for future in self._admin.delete_consumer_groups([group], request_timeout=30).values():
            with suppress(KafkaException):
                future.result(40)

    def _delete(self, topics: set[str]) -> None:
        for future in (
            self._admin.delete_topics(sorted(topics), operation_timeout=30).values() if topics else ()
        ):
            with suppress(KafkaException):  # it is not there, or goes with the broker
                future.result(40)
        self._made -= topics

    def close(self) -> None:
        """Leave nothing behind on a broker that is not ours."""
        self._closing.close()
        self._delete(set(self._made))
