"""One Kafka process: its folder, its server.properties, its life. What it is told is `broker.py`'s business."""

import ctypes
import os
import random
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.kafka.jars import LIBS, NoKafka
from tests.kafka.prepared import format_folder

STOP_S = 120.0
SHARES = 8  # of the ports
_given: set[int] = set()


class Node:
    """One node in a folder of its own, stopped by its process id. Never leaves a process behind: the JVM dies with the
    process that started it, whatever killed that one.
    """

    def __init__(self, folder: Path, properties: dict[str, str], *, java: str, flags: Sequence[str]) -> None:
        """`flags` are the JVM's."""
        self._folder = folder
        self._java = java
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self._config_file = folder / "server.properties"
        folder.mkdir(parents=True)
        everything = {"log.dirs": str(folder / "log")} | properties
        self._config_file.write_text("".join(f"{name}={value}\n" for name, value in everything.items()))

    @property
    def log_file(self) -> Path:
        """Where its own output goes, for a diagnosis."""
        return self._folder / "broker.log"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def last_words(self) -> str:
        """What it said last."""
        return self.log_file.read_text(errors="replace")[-2000:] if self.log_file.exists() else "nothing"

    def format(self, cluster: str, number: int) -> None:
        """Make its data folder one of that cluster, for the node of that number. Raises NoKafka."""
        format_folder(self._folder / "log", self._java, cluster, number)

    def start(self) -> None:
        """Start, or start again on the same ports and data; returns at once. Nothing if it runs."""
        if self.pid is not None:
            return
        command = [self._java, *self._flags, "-cp", f"{LIBS}/*", "kafka.Kafka", str(self._config_file)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one C call, no lock taken
            )

    def stop(self) -> None:
        """A clean shutdown (SIGTERM), waited for; killed if it takes too long."""
        if self.pid is None or self._process is None:
            return
        self.resume()  # a stopped process does not hear SIGTERM
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """A crash: SIGKILL, waited for."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """A hang: SIGSTOP. Connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """The end of a hang: SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)


def die_with_parent() -> None:
    """In the child before exec: SIGKILL for it when its parent dies (Linux's prctl(PR_SET_PDEATHSIG))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports free on loopback, below the range that the kernel gives to outgoing connections.

    Within that range a client that reconnects while the broker is down may be given the broker's own port. Most are
    bound later, by another process. So none is given twice, and each process of a test run has its share of them.
    """
    found: list[int] = []
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = [port for port in range(20_000 + process % SHARES, 32_000, SHARES) if port not in _given]
    # Not by a seed, which two processes may have from their tests: they would choose the same ports.
    for port in random.SystemRandom().sample(own, len(own)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        _given.add(port)
        if len(found) == count:
            return found
    raise NoKafka("no free port on loopback")
