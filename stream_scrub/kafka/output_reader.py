"""An output topic, as `retry` and a shadow read it: every partition, member of no group, committed records only.

Its place is committed under a group's name with the producer's transaction; exclusion is the transactional id's
business. One thread.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.kafka.admin.group_offsets import committed
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.partition_ends import PartitionEnds
from stream_scrub.model import Deadline


class OutputReader:
    """`options` are those of a reader that joins no group (`options.output_options`)."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._consumer = Consumer(options)
        self._topic = topic
        self._ends = PartitionEnds(options)
        self._upto: dict[int, int] = {}

    def noted(self, deadline: Deadline) -> dict[int, tuple[int, str] | None]:
        """By partition its committed offset and what was noted with it; None where there is none. Raises Unavailable,
        Refused."""
        found = committed(self._consumer, self._topic, deadline)
        return {
            each.partition: (each.offset, each.metadata or "") if each.offset >= 0 else None for each in found
        }

    def bounds(self, partition: int, deadline: Deadline) -> tuple[int, int]:
        """The oldest offset of a partition, and its end. Raises Unavailable, Refused."""
        try:
            return self._ends.ask(TopicPartition(self._topic, partition), deadline)
        except KafkaException as error:
            raise translate(error, f"asking for the ends of {self._topic}") from error

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, from these offsets on."""
        self._upto = dict(offsets)
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in offsets.items()])

    def poll(self, records_max: int, wait_s: float) -> Fetched:
        """The next records, after at most `wait_s`; often none. Raises Unavailable, Refused."""
        found = []
        for message in self._consumer.consume(records_max, wait_s):
            error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is None:
                found.append(message)
                self._upto[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._upto[partition] = max(offset, self._upto.get(partition, 0))
            else:
                raise translate(error, f"reading {self._topic}")
        return Fetched.of(found)

    def read_upto(self, partition: int) -> int:
        """Everything before this offset was read: records, markers, and what was aborted."""
        return self._upto.get(partition, 0)

    @property
    def all_upto(self) -> dict[int, int]:
        """`read_upto` of every partition that is read."""
        return dict(self._upto)

    @property
    def membership(self) -> bytes:
        """What a commit carries: no member's."""
        found: bytes = self._consumer.consumer_group_metadata()
        return found

    def places(self, notes: Mapping[int, tuple[int, str]]) -> list[TopicPartition]:
        """What to commit: by partition the offset, and what is noted with it."""
        return [TopicPartition(self._topic, p, offset, note) for p, (offset, note) in notes.items()]

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()
        self._ends.close()
