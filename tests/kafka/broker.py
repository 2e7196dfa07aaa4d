"""The real Apache Kafka of the tests and the bench: found, or started from the published jars that `pom.xml` names.

One node or several, KRaft, loopback only, free ports, a temporary folder. Knows nothing of pytest.
"""

import base64
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.jars import NoKafka, fetch_jars, find_java
from tests.kafka.node import Node, free_ports
from tests.kafka.security import ADMIN, LISTENERS, MTLS, SCRAM, Security

__all__ = ["Kafka", "NoKafka"]

READY_S = 120.0  # 3 s on an idle machine; three brokers on a CI machine beside a compile need more
PLAIN = "PLAINTEXT"
PROXIED = (
    "PROXIED"  # clients that come by it are told to come back by a proxy (`tests/support/network/proxy.py`)
)

# Of several JVMs on few cores each must start soon, and none needs to be quick for long.
_SMALL = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

PROPERTIES = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": PLAIN,
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.num.partitions": "5",
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
CLUSTER_PROPERTIES = OWN_PROPERTIES | {"broker.session.timeout.ms": "6000"}  # three JVMs on few cores


def _copies(brokers: int) -> dict[str, str]:
    """Every partition on all brokers (three of them at most), and what is acknowledged on all of them but one."""
    copies, least = str(min(brokers, 3)), str(max(1, min(brokers, 3) - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": least,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": least,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": least,
    }


class Kafka:
    """A real Apache Kafka for the length of a `with`.

    Takes the one that STREAM_SCRUB_TEST_BOOTSTRAP names unless `own`, which asks for a private one that may be
    killed, paused and restarted: all of it, or one of its `nodes`. `brokers` of them replicate everything, `secured`
    ones want a proof of who one is and give nobody any right (`security.py`). `properties` are added to
    server.properties; `client` is what a client then needs besides the address (credentials). Raises NoKafka.
    """

    def __init__(
        self,
        *,
        own: bool = False,
        brokers: int = 1,
        secured: bool = False,
        properties: dict[str, str] | None = None,
        client: dict[str, str] | None = None,
    ) -> None:
        own = own or secured or brokers > 1
        given = "" if own or properties else os.environ.get("STREAM_SCRUB_TEST_BOOTSTRAP", "")
        self.ours = not given
        self.folder: Path | None = None
        self.nodes: list[Node] = []
        self._security: Security | None = None
        self._brokers = brokers
        self._listeners = LISTENERS if secured else {PLAIN: "PLAINTEXT", PROXIED: "PLAINTEXT"}
        self.proxied: list[tuple[str, str]] = []
        """Of each broker that was started here and is not secured: the address that it tells those to come back to who
        came by a proxy, where nobody listens yet, and the one where it listens for them."""
        self._addresses: list[dict[str, str]] = [{PLAIN: given}] if given else []
        special = CLUSTER_PROPERTIES if brokers > 1 else OWN_PROPERTIES if own else {}
        self._properties = PROPERTIES | _copies(brokers) | special | (properties or {})
        self._flags = _SMALL if brokers > 1 or secured else ("-Xmx1g",)
        self._client = client or {}

    @property
    def bootstrap(self) -> str:
        """Where clients connect: of a secured one, those with a password."""
        return self.at(SCRAM if SCRAM in self._listeners else PLAIN)

    def at(self, listener: str) -> str:
        """Every broker's address of that listener."""
        return ",".join(each[listener] for each in self._addresses)

    @property
    def security(self) -> Security:
        """Of a secured one, its certificates."""
        assert self._security is not None, "ask for Kafka(secured=True), and enter it"
        return self._security

    @property
    def admin(self) -> dict[str, str]:
        """Client properties, address and all, with which everything may be done."""
        if self._security is None:
            return {"bootstrap.servers": self.bootstrap} | self._client
        return {"bootstrap.servers": self.at(MTLS)} | self._client

    def user(self, name: str, password: str = "") -> dict[str, str]:
        """Client properties, address and all, of a user of a secured one; unless given, with the password that he has."""
        return {"bootstrap.servers": self.bootstrap} | self.security.scram(name, password)

    @property
    def log_file(self) -> Path:
        """Where the first broker's own output goes, for a diagnosis."""
        if not self.nodes:
            raise RuntimeError("this Kafka was not started here: its log is elsewhere")
        return self.nodes[0].log_file

    @property
    def pid(self) -> int | None:
        """The first broker's process id while it runs."""
        return self.nodes[0].pid if self.nodes else None

    def __enter__(self) -> Self:
        if not self.ours:
            self._wait_ready()
            return self
        java = find_java()
        fetch_jars()
        self.folder = Path(tempfile.mkdtemp(prefix="stream-scrub-kafka-"))
        try:
            self._make(self.folder, java)
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again on the same ports and data folders, whichever nodes are down; returns when all answer."""
        self._need_ours()
        for node in self.nodes:
            node.start()
        self._wait_ready()

    def stop(self) -> None:
        """A clean shutdown (SIGTERM), waited for; killed if it takes too long."""
        self._need_ours()
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """A crash: SIGKILL, waited for."""
        self._need_ours()
        for node in self.nodes:
            node.kill()

    def pause(self) -> None:
        """A hang: SIGSTOP. Connections stay open and nothing answers."""
        self._need_ours()
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """The end of a hang: SIGCONT."""
        self._need_ours()
        for node in self.nodes:
            node.resume()

    def settle(self, timeout_s: float = READY_S) -> None:
        """Return when every partition has all its replicas in sync: the next broker may be killed then."""
        admin = AdminClient(self._quiet(self.admin))
        until = time.monotonic() + timeout_s
        while True:
            try:
                topics = admin.list_topics(timeout=10).topics
            except KafkaException as error:  # a broker that has just begun
                if time.monotonic() > until:
                    raise NoKafka(f"no broker answers after {timeout_s:.0f} s") from error
                continue
            behind = sorted(
                name
                for name, topic in topics.items()
                if any(set(each.isrs) != set(each.replicas) for each in topic.partitions.values())
            )
            if not behind:
                return
            if time.monotonic() > until:
                raise NoKafka(f"replicas of {', '.join(behind)} are not in sync after {timeout_s:.0f} s")
            admin.poll(0.2)

    def _need_ours(self) -> None:
        if not self.ours:
            raise RuntimeError(
                "this Kafka was not started here: ask for Kafka(own=True) to stop and start it"
            )

    def _make(self, folder: Path, java: str) -> None:
        """Folders, addresses and properties of all nodes."""
        common = self._properties
        if MTLS in self._listeners:
            self._security = Security(folder / "secrets")
            self._client = self._client or self._security.mtls(self._security.identity(ADMIN))
            common = common | self._security.broker_properties()
        of_controllers = "SSL" if self._security is not None else "PLAINTEXT"
        protocols = {"CONTROLLER": of_controllers} | self._listeners
        ports = iter(free_ports(self._brokers * (len(protocols) + 1)))
        places = [{name: f"127.0.0.1:{next(ports)}" for name in protocols} for _ in range(self._brokers)]
        voters = [f"{at}@{place['CONTROLLER']}" for at, place in enumerate(places, 1)]
        common = {
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
            "controller.quorum.voters": ",".join(voters),
        } | common
        cluster = cluster_id()
        for at, place in enumerate(places, 1):
            for_clients = [f"{name}://{place[name]}" for name in self._listeners]
            advertised = dict(place)
            if PROXIED in place:
                advertised[PROXIED] = f"127.0.0.1:{next(ports)}"
                self.proxied.append((advertised[PROXIED], place[PROXIED]))
            own = {
                "node.id": str(at),
                "listeners": ",".join([*for_clients, f"CONTROLLER://{place['CONTROLLER']}"]),
                "advertised.listeners": ",".join(f"{name}://{advertised[name]}" for name in self._listeners),
            }
            node = Node(folder / f"node-{at}", own | common, java=java, flags=self._flags)
            node.format(cluster)
            self.nodes.append(node)
            self._addresses.append(place)

    def _wait_ready(self) -> None:
        """Until each node answers by itself, and knows of all others."""
        until = time.monotonic() + READY_S
        door = MTLS if self._security is not None else PLAIN
        for place in self._addresses:
            options = self.admin | {"bootstrap.servers": place[door]}
            admin = AdminClient(self._quiet(options))
            while not self._answers(admin):
                if self.ours and any(node.pid is None for node in self.nodes):
                    raise NoKafka(f"a broker ended while starting: {self._last_words()}")
                if time.monotonic() > until:
                    raise NoKafka(f"no answer from {place[door]} in {READY_S:.0f} s: {self._last_words()}")
                admin.poll(0.05)

    def _answers(self, admin: AdminClient) -> bool:
        try:
            return len(admin.list_topics(timeout=1.0).brokers) >= self._brokers
        except KafkaException:
            return False

    @staticmethod
    def _quiet(options: dict[str, str]) -> dict[str, str]:
        return options | {"log_level": "0", "reconnect.backoff.max.ms": "200"}

    def _last_words(self) -> str:
        if not self.ours:
            return "it was given, not started here"
        dead = [node for node in self.nodes if node.pid is None]
        return (dead or self.nodes)[0].last_words


def cluster_id() -> str:
    """A random cluster id. Not one that starts with '-': StorageTool takes it for an option."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made
