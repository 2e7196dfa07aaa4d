"""Three brokers whose links among themselves can be broken, and who leads what."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream_scrub.kafka.offsets import committed_soon
from stream_scrub.model import Deadline
from tests.chaos.conftest import stages
from tests.conftest import started, until_known
from tests.kafka.broker import Kafka

__all__ = ["cluster", "stages"]

BROKERS = (1, 2, 3)


class Cluster:
    """Three brokers that keep everything three times."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._admin = AdminClient(kafka.admin)

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap

    def without(self, broker: int) -> str:
        """Where clients connect that must not meet this broker first."""
        addresses = self.bootstrap.split(",")
        return ",".join(address for at, address in enumerate(addresses, 1) if at != broker)

    def leader(self, topic: str, partition: int = 0, *, by: int | None = None) -> int:
        """Who leads a partition, by the word of any other broker than `by`."""
        admin = self._admin if by is None else AdminClient({"bootstrap.servers": self.without(by)})
        return admin.list_topics(topic, timeout=60).topics[topic].partitions[partition].leader

    def in_sync(self, topic: str) -> list[int]:
        """The replicas of the topic's first partition that are in sync."""
        return sorted(self._admin.list_topics(topic, timeout=60).topics[topic].partitions[0].isrs)

    def create(self, topic: str, leaders: list[int], **config: str) -> None:
        """A topic whose partitions are led by these brokers at first."""
        order = [[leader, *(each for each in BROKERS if each != leader)] for leader in leaders]
        new = NewTopic(topic, len(order), replica_assignment=order, config=config)
        self._admin.create_topics([new])[topic].result()
        until_known(self._admin, topic)

    def create_coordinators(self, transactional_id: str = "first") -> None:
        """Have the brokers make the topics of their coordinators, which the first group and transaction do."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "first"})
        committed_soon(
            consumer, [TopicPartition("first", 0)], "asking for the first group", Deadline.after(60)
        )
        consumer.close()
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": transactional_id})
        producer.init_transactions(60)

    def coordinator(self, of: str, topic: str) -> int:
        """The broker that coordinates a group (`__consumer_offsets`) or a transactional id (`__transaction_state`)."""
        described = self._admin.list_topics(topic, timeout=60).topics[topic].partitions
        return described[_java_hash(of) % len(described)].leader


def _java_hash(text: str) -> int:
    """As Kafka's Utils.abs(text.hashCode())."""
    value = 0
    for sign in text:
        value = (31 * value + ord(sign)) & 0xFFFFFFFF
    return value if value < 1 << 31 else (1 << 32) - value


@pytest.fixture(scope="module")
def _cluster() -> Iterator[Cluster]:
    private = started(own=True, brokers=3, links=True)
    yield Cluster(private)
    private.__exit__(None, None, None)


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """All is mended when the test ends."""
    yield _cluster
    _cluster.kafka.reconnect()
    _cluster.kafka.resume()
    _cluster.kafka.start()
    _cluster.kafka.settle()
