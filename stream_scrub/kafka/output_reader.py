"""Output topics, as `retry` and a shadow read it: every partition, member of no group, committed records only.

Its place is committed under a group's name with the producer's transaction; exclusion is the transactional id's
business. One thread.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Migrated
from stream_scrub.kafka.admin.group_offsets import committed
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.partition_ends import PartitionEnds, key_of
from stream_scrub.model import Deadline, PartitionKey


class OutputReader:
    """`options` are those of a reader that joins no group (`options.output_options`). `identity` tells a topic from
    another one of its name."""

    def __init__(
        self, options: dict[str, Any], topics: Sequence[str], identity: TopicIdentity | None = None
    ) -> None:
        self._consumer = Consumer(options)
        self._identity = identity
        self._ids: dict[str, str] = {}
        self._topics = tuple(topics)
        self._ends = PartitionEnds(options)
        self._upto: dict[PartitionKey, int] = {}

    def noted(self, deadline: Deadline) -> dict[PartitionKey, tuple[int, str] | None]:
        """By partition its committed offset and what was noted with it; None where there is none. Raises Unavailable,
        Refused."""
        found = [each for topic in self._topics for each in committed(self._consumer, topic, deadline)]
        return {
            key_of(each): (each.offset, each.metadata or "") if each.offset >= 0 else None for each in found
        }

    def ids(self, deadline: Deadline) -> dict[str, str]:
        """Which topics they are now. Raises Unavailable, Refused."""
        if self._identity is not None and self._topics:
            self._ids = self._identity.ask(self._topics, deadline)
        return self._ids

    def need_same(self, deadline: Deadline) -> None:
        """Raises Migrated when one of them was made anew since `ids`: what was polled may be of either. Raises Unavailable,
        Refused."""
        if self._identity is None:
            return
        for topic, found in self._identity.answer(self._topics, deadline).items():
            if found not in ("", self._ids.get(topic, "")):
                raise Migrated(f"{topic} was deleted and made anew")

    def bounds(self, key: PartitionKey, deadline: Deadline) -> tuple[int, int]:
        """The oldest offset of a partition, and its end. Raises Unavailable, Refused."""
        try:
            return self._ends.ask(TopicPartition(*key), deadline)
        except KafkaException as error:
            raise translate(error, f"asking for the ends of {key[0]}") from error

    def assign(self, offsets: Mapping[PartitionKey, int]) -> None:
        """Read these partitions, from these offsets on."""
        self._upto = dict(offsets)
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in offsets.items()])

    def poll(self, records_max: int, wait_s: float) -> Fetched:
        """The next records, after at most `wait_s`; often none. Raises Unavailable, Refused."""
        found = []
        for message in self._consumer.consume(records_max, wait_s):
            key = message.topic() or "", message.partition() or 0
            error, offset = message.error(), message.offset() or 0
            if error is None:
                found.append(message)
                self._upto[key] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._upto[key] = max(offset, self._upto.get(key, 0))
            else:
                raise translate(error, f"reading {', '.join(self._topics)}")
        if found and self._identity is not None:
            self._identity.begin(self._topics)
        return Fetched.of(found, several=True)

    def read_upto(self, key: PartitionKey) -> int:
        """Everything before this offset was read: records, markers, and what was aborted."""
        return self._upto.get(key, 0)

    @property
    def all_upto(self) -> dict[PartitionKey, int]:
        """`read_upto` of every partition that is read."""
        return dict(self._upto)

    @property
    def membership(self) -> bytes:
        """What a commit carries: no member's."""
        found: bytes = self._consumer.consumer_group_metadata()
        return found

    def places(self, notes: Mapping[PartitionKey, tuple[int, str]]) -> list[TopicPartition]:
        """What to commit: by partition the offset, and what is noted with it."""
        return [TopicPartition(*key, offset, note) for key, (offset, note) in notes.items()]

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()
        self._ends.close()
