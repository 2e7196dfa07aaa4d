"""A Kafka in this process, for the demo and the tests: librdkafka's mock cluster, held by `with`.

Real clients of any process connect to it over loopback; it lives in memory and dies with this process.

What it cannot prove, because it does not do it (each tried on librdkafka 2.16.0):

* offsets sent with a transaction are acknowledged and thrown away: `committed()` stays empty;
* read_committed is not honoured: records of aborted and of open transactions are visible;
* a second producer of the same transactional id does not fence the first, no transaction ever times out,
  and the group's generation is not checked with the offsets;
* there is no admin API (topics are made by `create_topic`), no time index, no access control, no TLS;
* it has no size limit for a record, and keeps 5 MiB or 100 000 batches a partition: the oldest go silently.
  `dropped` says how many.

So it shows that the clients are driven rightly; that the promises hold is shown on a real Kafka.
The interface is librdkafka's experimental one, hence the narrow version range in pyproject.toml.
"""

import ctypes
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from stream_scrub.kafka.client.librdkafka import ClientKind, library

_TOPIC_ALREADY_EXISTS = 36


class EmbeddedKafka:
    """A mock cluster for the length of a `with`; `bootstrap` is what clients connect to. See the module for its limits.

    Rebalances take 0.2 s with `group.protocol=consumer` and about the session timeout with the classic protocol.
    """

    def __init__(self, *, brokers: int = 1) -> None:
        self.bootstrap = ""
        self._brokers = brokers
        self._lib = library()
        self._client: int | None = None
        self._cluster: int | None = None

    def __enter__(self) -> Self:
        self._client = self._new_client()
        self._cluster = self._lib.mock_cluster_new(self._client, self._brokers)
        if not self._cluster:
            raise RuntimeError("librdkafka made no mock cluster")
        self.bootstrap = self._lib.mock_cluster_bootstraps(self._cluster).decode()
        self._lib.mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.set_heartbeat_interval(200)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster:
            self._lib.mock_cluster_destroy(self._cluster)
        if self._client:
            self._lib.destroy(self._client)
        self._cluster = self._client = None

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic; one that is there already keeps what it has, partitions and records."""
        code = self._lib.mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise RuntimeError(f"making topic {name}: {self._lib.err2str(code).decode()}")

    def set_heartbeat_interval(self, milliseconds: int) -> None:
        """How often members of a group of the new protocol ask for news: a rebalance takes about two of these."""
        self._lib.mock_set_group_consumer_heartbeat_interval_ms(self._cluster, milliseconds)

    def dropped(self, topic: str) -> int:
        """How many offsets of this topic are gone from its beginnings: not 0 means that records were evicted.

        May block for some seconds. Counts control records too.
        """
        with_broker = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "embedded", "log_level": 0})
        try:
            partitions = with_broker.list_topics(topic, timeout=5.0).topics[topic].partitions
            marks = (
                with_broker.get_watermark_offsets(TopicPartition(topic, p), timeout=5.0) for p in partitions
            )
            return sum(low for low, _ in marks)
        finally:
            with_broker.close()

    def _new_client(self) -> int:
        """The client handle that librdkafka wants a mock cluster to hang on. It never connects anywhere."""
        why = ctypes.create_string_buffer(512)
        settings = self._lib.conf_new()
        self._lib.conf_set(settings, b"log_level", b"0", why, len(why))
        client = self._lib.new(ClientKind.PRODUCER, settings, why, len(why))  # owns `settings` from here on
        if not client:
            self._lib.conf_destroy(settings)
            raise RuntimeError(f"librdkafka made no client: {why.value.decode()}")
        return int(client)
