"""The real Apache Kafka of the tests and the bench: found, or started from the published jars that `pom.xml` names.

One node, KRaft, loopback only, free ports, a temporary folder; stopped by its process id. Knows nothing of pytest.
Must never leave a broker behind: the JVM dies with the process that started it, whatever killed that one.
"""

import base64
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.jars import LIBS, NoKafka, fetch_jars, find_java, run

__all__ = ["Kafka", "NoKafka"]

READY_S = 60.0  # 3 s on an idle machine; a CI machine starting two brokers beside a compile needs more
STOP_S = 20.0

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A test that abandons a transaction waits for its timeout plus this, instead of plus 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    # The floors are far above what a test can wait for.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "1000",  # a test that shortens a topic's retention sees it act
    "log.initial.task.delay.ms": "500",
}

# A broker killed without a word is kept out of the cluster for its old session's 9 s; only a private one is killed.
# And one that was killed must not end timed-out transactions in its first second, as with the 1 s above: a partition
# that has no leader yet then gets no abort marker (KAFKA-20734). Kafka's own 10 s are what operators have.
OWN_PROPERTIES = {
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}


class Kafka:
    """A real Apache Kafka for the length of a `with`.

    Takes the one that STREAM_SCRUB_TEST_BOOTSTRAP names unless `own`, which asks for a private one that may be
    killed, paused and restarted. `properties` are added to server.properties; `client` is what a client then needs
    besides the address (credentials). Raises NoKafka.
    """

    def __init__(
        self,
        *,
        own: bool = False,
        properties: dict[str, str] | None = None,
        client: dict[str, str] | None = None,
    ) -> None:
        given = "" if own or properties else os.environ.get("STREAM_SCRUB_TEST_BOOTSTRAP", "")
        self.bootstrap = given
        self.ours = not given
        self.folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = PROPERTIES | (OWN_PROPERTIES if own else {}) | (properties or {})
        self._client = client or {}
        self._java = "java"

    @property
    def log_file(self) -> Path:
        """Where the broker's own output goes, for a diagnosis."""
        if self.folder is None:
            raise RuntimeError("this Kafka was not started here: its log is elsewhere")
        return self.folder / "broker.log"

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def __enter__(self) -> Self:
        if not self.ours:
            self._wait_ready()
            return self
        self._java = find_java()
        fetch_jars()
        self.folder = Path(tempfile.mkdtemp(prefix="stream-scrub-kafka-"))
        try:
            self._format()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ours:
            self.kill()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again on the same ports and data folder; returns when it answers."""
        self._need_ours()
        if self.pid is not None:
            return
        command = [self._java, "-Xmx1g", "-cp", f"{LIBS}/*", "kafka.Kafka", str(self._config_file)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one C call, no lock taken
            )
        self._wait_ready()

    def stop(self) -> None:
        """A clean shutdown (SIGTERM), waited for; killed if it takes too long."""
        self._need_ours()
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
        self._need_ours()
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
        self._need_ours()
        if self.pid is not None:
            os.kill(self.pid, number)

    def _need_ours(self) -> None:
        if not self.ours:
            raise RuntimeError(
                "this Kafka was not started here: ask for Kafka(own=True) to stop and start it"
            )

    @property
    def _config_file(self) -> Path:
        assert self.folder is not None
        return self.folder / "server.properties"

    def _format(self) -> None:
        assert self.folder is not None
        broker, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{broker}"
        properties = {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self.folder / "log"),
        } | self._properties
        self._config_file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        command = [self._java, "-Xmx256m", "-cp", f"{LIBS}/*", "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", cluster_id(), "--config", str(self._config_file)]
        run(command, "formatting the broker's folder")

    def _wait_ready(self) -> None:
        until = time.monotonic() + READY_S
        options = {"bootstrap.servers": self.bootstrap, "log_level": "0", "reconnect.backoff.max.ms": "200"}
        admin = AdminClient(options | self._client)
        while True:
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    return
            except KafkaException:
                pass
            if self.ours and self.pid is None:
                raise NoKafka(f"the broker ended while starting: {self._last_words()}")
            if time.monotonic() > until:
                raise NoKafka(f"no answer from {self.bootstrap} in {READY_S:.0f} s: {self._last_words()}")
            admin.poll(0.05)

    def _last_words(self) -> str:
        return (
            self.log_file.read_text(errors="replace")[-2000:]
            if self.ours
            else "it was given, not started here"
        )


def _die_with_parent() -> None:
    """In the child before exec: SIGKILL for it when its parent dies (Linux's prctl(PR_SET_PDEATHSIG))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def cluster_id() -> str:
    """A random cluster id. Not one that starts with '-': StorageTool takes it for an option."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made


def free_ports(count: int) -> list[int]:
    """Ports free on loopback, below the range that the kernel gives to outgoing connections.

    Within that range a client that reconnects while the broker is down may be given the broker's own port.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise NoKafka("no free port on loopback")
