"""Runs the product as its users do: the console script in a process of its own (forked, see `forked.py`), settings in the environment."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from weakref import WeakSet

from tests.support.running import forked
from tests.support.running.forked import SCRIPT
from tests.support.waiting import WAIT_S, wait_until

_started: WeakSet["WorkerProcess"] = WeakSet()


def environment(bootstrap: str, topics: dict[str, str] | None = None, **settings: object) -> dict[str, str]:
    """Settings as variables: `worker__batch_ms=10` is STREAM_SCRUB_WORKER__BATCH_MS."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STREAM_SCRUB_")}
    named = {f"topics__{role}": name for role, name in (topics or {}).items()}
    # No HTTP unless a test asks for it: workers of one machine would compete for the default port. With a default
    # purpose and a campaign of the house, prospects need not say what the call is for, and consents not to whom.
    usual = {
        "kafka__bootstrap_servers": bootstrap,
        "log__format": "json",
        "http__listen": "",
        "prospect__default_purpose": "other",
        "prospect__default_campaign": "house",
    }
    chosen = {**usual, **named, **settings}
    return {**kept, **{f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in chosen.items()}}


def run(
    arguments: list[str], env: dict[str, str], timeout: float = WAIT_S
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return forked.run([SCRIPT, *arguments], env=env, capture_output=True, text=True, timeout=timeout)


def run_json(arguments: list[str], env: dict[str, str], timeout: float = WAIT_S) -> dict:
    """Run one command with --json. It must succeed; at the second try where a broker has no processor for seconds."""
    done = run([*arguments, "--json"], env, timeout)
    if "; tried " in done.stderr:  # the brokers were asked in vain
        done = run([*arguments, "--json"], env, timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class WorkerProcess:
    """`stream-scrub worker`, to be stopped, killed, paused and started again."""

    def __init__(
        self, env: dict[str, str], identity: str, log_file: Path, arguments: tuple[str, ...] = ()
    ) -> None:
        self._env = env
        self._command = [SCRIPT, *self.command(identity), *arguments]
        self.log_file = log_file
        self.process: subprocess.Popen | None = None

    @staticmethod
    def command(identity: str) -> list[str]:
        """What is run."""
        return ["worker", "--id", identity]

    def start(self) -> Self:
        with self.log_file.open("ab") as log:
            self.process = forked.Popen(self._command, env=self._env, stdout=log, stderr=log)
        _started.add(self)
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM once the process has a handler for it, which it lacks while Python starts. Returns the exit
        code and how long it took."""
        process = self.process
        assert process is not None
        wait_until(lambda: process.poll() is not None or catches(process.pid, signal.SIGTERM), every=0.01)
        started = time.monotonic()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(WAIT_S), time.monotonic() - started

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def lines(self) -> list[dict]:
        """What it has logged."""
        found = []
        for line in self.log_file.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line})
        return found

    def logged(self, event: str, **fields: object) -> bool:
        """Whether some log line has that event (or an event that begins with it) and those fields."""
        return any(
            str(line.get("event", "")).startswith(event) and all(line.get(k) == v for k, v in fields.items())
            for line in self.lines()
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.alive:
            self.send(signal.SIGCONT)
            self.kill()


class RetryProcess(WorkerProcess):
    """`stream-scrub retry --follow`."""

    @staticmethod
    def command(identity: str) -> list[str]:
        return ["retry", "--follow", "--set", f"worker.id={identity}"]


class RecallProcess(WorkerProcess):
    """`stream-scrub recall`."""

    @staticmethod
    def command(identity: str) -> list[str]:
        return ["recall", "--id", identity]


class FanoutProcess(WorkerProcess):
    """`stream-scrub fanout`."""

    @staticmethod
    def command(identity: str) -> list[str]:
        return [identity]


def status_of(pid: int, field: str) -> str:
    """A line of a process's status, from the kernel."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for that signal."""
    return bool(int(status_of(pid, "SigCgt"), 16) >> (number - 1) & 1)


def logs_of(folder: Path | None) -> Iterator[Path]:
    """What explains a failure: the logs of a test's folder and of the processes that still run."""
    yield from sorted(folder.rglob("*.log") if folder else ())
    shared = [each.log_file for each in _started if each.alive]
    yield from sorted(each for each in shared if folder is None or folder not in each.parents)
