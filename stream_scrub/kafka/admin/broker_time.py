"""The brokers' time, from the markers that they write at the end of a transaction.

No answer of Kafka's protocol has the time, and the timestamps of records are their producers'. A marker's is that of the
broker that leads the partition. It is the last committed entry of an output, since all its writers use transactions. A
worker has the right to ask: to write to a topic includes to describe it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.model import PartitionKey

_ASK_S = 2.0


class LatestTimestamp(NamedTuple):
    """The latest timestamp in a partition."""

    broker: int  # which leads it
    at: float  # seconds since 1970
    is_brokers: bool  # a marker's; otherwise a producer's, and the last marker's is no later


class BrokerTimes:
    """Asks the brokers. One thread at a time; connects at the first question."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._admin: AdminClient | None = None

    def ask(self, places: Sequence[PartitionKey]) -> list[LatestTimestamp]:
        """The latest timestamps, of the partitions that answer within some seconds. Never raises."""
        if self._admin is None:
            self._admin = AdminClient(self._options)
        leaders = self._leaders({topic for topic, _ in places})
        known = [place for place in places if leaders.get(place, -1) >= 0]
        latest = self._offsets(known, OffsetSpec.max_timestamp())  # type: ignore[no-untyped-call]
        ends = self._offsets(known, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return [
            LatestTimestamp(
                leaders[place], latest[place].timestamp / 1000, latest[place].offset == ends[place].offset - 1
            )
            for place in known
            if place in latest and place in ends and latest[place].timestamp > 0
        ]

    def _leaders(self, topics: set[str]) -> dict[PartitionKey, int]:
        assert self._admin is not None, "ask creates it"
        leaders: dict[PartitionKey, int] = {}
        for topic in topics:
            with suppress(KafkaException):
                described = self._admin.list_topics(topic, timeout=_ASK_S).topics[topic]
                leaders |= {(topic, number): each.leader for number, each in described.partitions.items()}
        return leaders

    def _offsets(self, places: Sequence[PartitionKey], what: OffsetSpec) -> dict[PartitionKey, Any]:
        """The brokers' answers for these partitions, about committed records."""
        if not places:
            return {}
        assert self._admin is not None, "ask creates it"
        offsets = {}
        with suppress(KafkaException):
            answers = self._admin.list_offsets(
                {TopicPartition(*place): what for place in places},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_ASK_S,
            )
            for partition, future in answers.items():
                with suppress(KafkaException):
                    offsets[partition.topic, partition.partition] = future.result()
        return offsets
