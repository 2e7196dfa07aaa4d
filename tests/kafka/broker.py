"""The real Apache Kafka of the tests and the bench: found, or started from the published jars that `pom.xml` names.

One node or several, KRaft, loopback only, free ports, a temporary folder. Knows nothing of pytest.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.jars import NoKafka, fetch_jars, find_java
from tests.kafka.node import Node, free_ports
from tests.kafka.prepared import LARGE, random_id, with_archive
from tests.kafka.security import ADMIN, LISTENERS, MTLS, SCRAM, Security
from tests.support.network.proxy import Proxy, Request

__all__ = ["Kafka", "NoKafka"]

READY_S = 120.0  # 3 s on an idle machine; three brokers on a CI machine beside a compile need more
PLAIN = "PLAINTEXT"
PROXIED = (
    "PROXIED"  # clients that come by it are told to come back by a proxy (`tests/support/network/proxy.py`)
)

CONTROLLER = "CONTROLLER"
LINK = "LINK"  # brokers among themselves, where these links can be broken

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
    # The shared broker is never killed, and a busy machine must not fence it.
    "broker.session.timeout.ms": "30000",
}

# A broker killed without a word is kept out of the cluster for its old session's 9 s; only a private one is killed.
# And one that was killed must not end timed-out transactions in its first second, as with the 1 s above: a partition
# that has no leader yet then gets no abort marker (KAFKA-20734). Kafka's own 10 s are what operators have.
OWN_PROPERTIES = {
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}

# A test of broken links waits until a replica that gets nothing is out of sync.
LINK_PROPERTIES = {"inter.broker.listener.name": LINK, "replica.lag.time.max.ms": "4000"}


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
    server.properties; `client` is what a client then needs besides the address (credentials). A `large` one starts more
    slowly and then takes more load: for measurements. So many proxies may stand before it as it has `doors`. With `links`
    a broker can be cut off from the others while clients still reach it. Raises NoKafka.
    """

    def __init__(
        self,
        *,
        own: bool = False,
        brokers: int = 1,
        secured: bool = False,
        properties: dict[str, str] | None = None,
        client: dict[str, str] | None = None,
        large: bool = False,
        doors: int = 1,
        links: bool = False,
    ) -> None:
        own = own or secured or brokers > 1
        given = "" if own or properties else os.environ.get("STREAM_SCRUB_TEST_BOOTSTRAP", "")
        self.ours = not given
        self.folder: Path | None = None
        self.nodes: list[Node] = []
        self._security: Security | None = None
        self._brokers = brokers
        proxied = [PROXIED, *(f"{PROXIED}{at}" for at in range(2, doors + 1))]
        self._listeners = LISTENERS if secured else dict.fromkeys([PLAIN, *proxied], "PLAINTEXT")
        self._links: list[Proxy] | None = None
        if links:
            self._links = []
            self._listeners |= {LINK: "PLAINTEXT"}
        self.proxied: list[list[tuple[str, str]]] = [] if secured else [[] for _ in proxied]
        """By door, of each broker that was started here: the address that it tells those to come back to who came by a
        proxy, where nobody listens yet, and the one where it listens for them."""
        self._addresses: list[dict[str, str]] = [{PLAIN: given}] if given else []
        special = OWN_PROPERTIES if own else {}
        special = special | (LINK_PROPERTIES if links else {})
        self._properties = PROPERTIES | _copies(brokers) | special | (properties or {})
        self._large = large
        self._flags: tuple[str, ...] = ()
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
    def described(self) -> dict[str, Any]:
        """What another process needs to `join` it."""
        return {"addresses": self._addresses, "proxied": self.proxied}

    @classmethod
    def join(cls, described: dict[str, Any]) -> Self:
        """The Kafka that another process has started: it can be used, and not be stopped."""
        kafka = cls()
        kafka.ours = False
        kafka._addresses, kafka.proxied = described["addresses"], described["proxied"]
        return kafka

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
        if not self._flags:
            self._flags = LARGE if self._large else with_archive(java, _train)
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
        for link in self._links or ():
            link.__exit__(None, None, None)
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

    def cut_off(self, broker: int) -> None:
        """Break all links between this broker (from 1) and the others. It does not learn that it was deposed."""
        assert self._links is not None, "ask for Kafka(links=True)"
        own = (f"broker-{broker}-", f"raft-client-{broker}")

        def sent_by_it(request: Request) -> bool:
            return request.client_id == str(broker) or request.client_id.startswith(own)

        for at, link in enumerate(self._links, 1):
            link.cut((lambda _: True) if at == broker else sent_by_it, times=None)

    def starve(self, broker: int) -> None:
        """Let no other broker copy what this one (from 1) leads. All hear of each other as before."""
        assert self._links is not None, "ask for Kafka(links=True)"
        self._links[broker - 1].cut(lambda request: "-fetcher-" in request.client_id, times=None)

    def reconnect(self) -> None:
        """Mend all links."""
        for link in self._links or ():
            link.heal()

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
        protocols = {CONTROLLER: of_controllers} | self._listeners
        linked = (LINK, CONTROLLER) if self._links is not None else ()
        ports = iter(free_ports(self._brokers * (len(protocols) + len(self.proxied) + len(linked))))
        places = [{name: f"127.0.0.1:{next(ports)}" for name in protocols} for _ in range(self._brokers)]
        links = [{name: f"127.0.0.1:{next(ports)}" for name in linked} for _ in places]
        voters = [
            f"{at}@{(place | link)[CONTROLLER]}"
            for at, (place, link) in enumerate(zip(places, links, strict=True), 1)
        ]
        common = {
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
            "controller.quorum.voters": ",".join(voters),
        } | common
        cluster = random_id()
        for at, (place, link) in enumerate(zip(places, links, strict=True), 1):
            for_clients = [f"{name}://{place[name]}" for name in self._listeners]
            advertised = place | link
            if self._links is not None:
                self._links.append(Proxy([(link[name], place[name]) for name in linked]).__enter__())
            for name, door in zip(
                [name for name in place if name.startswith(PROXIED)], self.proxied, strict=True
            ):
                advertised[name] = f"127.0.0.1:{next(ports)}"
                door.append((advertised[name], place[name]))
            own = {
                "node.id": str(at),
                "listeners": ",".join([*for_clients, f"{CONTROLLER}://{place[CONTROLLER]}"]),
                "advertised.listeners": ",".join(
                    f"{name}://{advertised[name]}" for name in [*self._listeners, *link.keys() - {LINK}]
                ),
            }
            node = Node(folder / f"node-{at}", own | common, java=java, flags=self._flags)
            node.format(cluster, at)
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


def _train(flags: tuple[str, ...]) -> None:
    """One life of a broker with these flags."""
    kafka = Kafka(secured=True)  # it loads what a plain one loads, and TLS
    kafka._flags = flags
    with kafka:
        admin = AdminClient(kafka._quiet(kafka.admin))
        for made in admin.create_topics(
            [NewTopic("trained", num_partitions=1, replication_factor=1)]
        ).values():
            made.result()
        kafka.stop()
