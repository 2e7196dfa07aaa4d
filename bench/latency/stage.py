"""The stage of the latency and swap benches: topics, the register, one contender under load, and what came of it.

Everything that works is a process of its own: the broker, the contender, the producer, the consumer. Whatever else ran
on the machine meanwhile is counted and told (`others_cores`), since a latency says nothing without it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from bench.harness import data
from bench.harness.failure import Failed
from bench.harness.paths import ROOT
from bench.harness.proc import cpu_of_one, machine_cpu
from bench.harness.runner import alive, running, shares_of
from bench.latency.load import Load
from bench.latency.stats import Received, Schedule, Times
from tests.kafka.broker import Kafka
from tests.support.running.worker import SCRIPT, environment

_READY_S = 180.0  # a worker with 50 M numbers in its log replays them first
_CONNECT_S = 30.0
_LEAD_S = 0.5
_STOP_S = 30.0
_COMMAND_S = 900.0

Topics = dict[str, str]


@dataclass(frozen=True)
class Contender:
    """Its command for a run's topics and group, what it is configured with, and whether it gives verdicts."""

    id: str
    name: str
    command: Callable[["Stage", Topics, str], list[str]]
    settings: dict[str, Any] = field(default_factory=dict)
    verdicts: bool = True


@dataclass(frozen=True)
class Outcome:
    """One run. `sent` is when the producer sent each record; cores are the mean over the time under load."""

    received: Received
    sent: Times
    schedule: Schedule
    contender_cores: float
    broker_cores: float
    others_cores: float
    log: Path


@dataclass(frozen=True)
class _Cpu:
    """CPU seconds so far: the machine's with what was stolen from it, and of each process here."""

    at: float
    busy: float
    processes: tuple[float, ...]

    @classmethod
    def now(cls, pids: list[int]) -> "_Cpu":
        return cls(time.monotonic(), sum(machine_cpu()), tuple(map(cpu_of_one, pids)))


class Stage:
    """One broker, one log; fresh prospects and outputs for each run."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.bootstrap = kafka.bootstrap
        self.folder = folder
        self._broker = kafka.pid
        self._unique = uuid.uuid4().hex[:8]
        self._rules = data.write_rules(folder / "rules")
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        self._made: set[str] = set()
        self._runs = count()

    def topics(self, run: str) -> Topics:
        """The names of a run's topics; the log is the same in all."""
        own = {role: f"latency-{self._unique}-{role}-{run}" for role in ("prospects", "allowed", "blocked")}
        return own | {role: f"latency-{self._unique}-{role}" for role in ("recalled", "log", "requests")}

    def environment(self, topics: Topics, **settings: Any) -> dict[str, str]:
        """For any process of a run: the product's settings, and where the bench's own modules are."""
        env = environment(self.bootstrap, topics, rules__folder=self._rules, **data.ROOMY, **settings)
        return env | {"PYTHONPATH": str(ROOT)}

    def command(self, arguments: list[str], topics: Topics) -> str:
        """`stream-scrub ...` to its end; what it printed. Raises Failed."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self.environment(topics),
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise Failed(f"stream-scrub {arguments[0]}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def make_topics(self, run: str) -> Topics:
        """As an operator makes them."""
        topics = self.topics(run)
        self._made |= set(topics.values())
        self.command(["topics", "--partitions", str(data.PARTITIONS)], topics)
        return topics

    def lists_import(self, file: Path, *flags: str) -> dict[str, Any]:
        """Import a list as an operator would; its effect."""
        arguments = ["lists", "import", str(file), "--register", data.REGISTER, *flags, "--json"]
        effect: dict[str, Any] = json.loads(self.command(arguments, self.topics("none")))
        if effect["refused"]:
            raise Failed(f"the list was not imported as it is: {effect}")
        return effect

    def run(
        self,
        contender: Contender,
        schedule: Callable[[int], Schedule],
        values: Path,
        during: Callable[[Schedule, int], None] | None = None,
    ) -> Outcome:
        """One contender under one load. `schedule` gets its first moment; `during` is called when the load has
        begun, with the contender's process id, and may take its time. Raises Failed.
        """
        run = f"{next(self._runs)}-{contender.id}"
        topics = self.make_topics(run)
        group = f"latency-{self._unique}-{run}"
        outputs = (topics["allowed"], topics["blocked"] if contender.verdicts else topics["allowed"])
        env = self.environment(topics, worker__group_id=group, **contender.settings)
        log = self.folder / f"{run}.log"
        command = contender.command(self, topics, group)
        try:
            with running(command, env, log) as process:
                self._wait_assigned(process, group)
                load = Load(self.bootstrap, topics["prospects"], outputs, str(values), "")
                outcome = self._under_load(process, load, schedule, env, log, during)
                _stop(process)
                return outcome
        except (Failed, TimeoutError, KafkaException) as failed:
            words = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise Failed(f"{contender.name}: {failed}\n{words}") from None
        finally:
            self._delete({topics[role] for role in ("prospects", "allowed", "blocked")})

    def _under_load(
        self,
        process: subprocess.Popen[bytes],
        load: Load,
        schedule: Callable[[int], Schedule],
        env: dict[str, str],
        log: Path,
        during: Callable[[Schedule, int], None] | None,
    ) -> Outcome:
        taken, sent = log.with_suffix(".npz"), log.with_suffix(".npy")
        module = [sys.executable, "-P", "-m", "bench.latency.load"]
        taking = [*module, "consume", _with_file(load, taken).argument(None, schedule(0).count)]
        with running(taking, env, log.with_suffix(".taker")) as consumer:
            _wait_connected(consumer, log.with_suffix(".taker"))
            # The start is a little ahead: the producer must be connected by then.
            plan = schedule(time.monotonic_ns() + int((_LEAD_S + 1.0) * 1e9))
            sending = [*module, "produce", _with_file(load, sent).argument(plan)]
            with running(sending, env, log.with_suffix(".sender")) as producer:
                _wait_connected(producer, log.with_suffix(".sender"))
                time.sleep(max(0.0, plan.window[0] / 1e9 - time.monotonic()))
                pids = [process.pid, self._broker or -1, producer.pid, consumer.pid, os.getpid()]
                before = _Cpu.now(pids)
                if during is not None:
                    during(plan, process.pid)
                time.sleep(max(0.0, plan.window[1] / 1e9 - time.monotonic()))
                after = _Cpu.now(pids)
                alive(process)
                _wait(producer, log.with_suffix(".sender"))
            _wait(consumer, log.with_suffix(".taker"))
        with np.load(taken) as found:
            received = Received(found["ids"], found["at_ns"], found["blocked"])
        wall = after.at - before.at
        ours = [late - early for late, early in zip(after.processes, before.processes, strict=True)]
        others = max(0.0, after.busy - before.busy - sum(ours)) / wall
        return Outcome(received, np.load(sent), plan, ours[0] / wall, ours[1] / wall, others, log)

    def _wait_assigned(self, process: subprocess.Popen[bytes], group: str) -> None:
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            alive(process)
            if sum(shares_of(self._admin, group)) == data.PARTITIONS:
                return
            time.sleep(0.05)
        raise Failed(f"it had no partitions after {_READY_S:.0f} s")

    def _delete(self, topics: set[str]) -> None:
        futures = self._admin.delete_topics(sorted(topics), operation_timeout=30) if topics else {}
        for future in futures.values():
            with suppress(KafkaException):  # it is not there, or goes with the broker
                future.result(40)
        self._made -= topics

    def close(self) -> None:
        """Leave nothing behind on a broker that is not ours."""
        self._delete(set(self._made))


def _with_file(load: Load, file: Path) -> Load:
    return Load(load.bootstrap, load.prospects, load.outputs, load.values, str(file))


def _wait_connected(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _CONNECT_S
    while "connected" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise Failed(f"the load did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.wait(_COMMAND_S):
        raise Failed(f"the load ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    code = process.wait(_STOP_S)
    if code not in (0, 143):  # a JVM answers SIGTERM with 143
        raise Failed(f"it ended with code {code}")
