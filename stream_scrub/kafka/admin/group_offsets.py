"""The committed offsets of a group on one topic, looked at and set from outside of the group."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Refused
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.commit_note import CommitNote
from stream_scrub.model import Deadline

_HAS_MEMBERS = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}
)


class GroupOffsets:
    """`options` are those of a consumer of the group, which never joins it."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._consumer = Consumer(options)
        self._topic = topic

    def committed(self, deadline: Deadline) -> dict[int, int | None]:
        """By partition of the topic; None where the group has none. Raises Unavailable, Refused."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=max(0.1, deadline.left())).topics[
                self._topic
            ]
            if topic.error is not None:
                raise translate(topic.error, f"asking for {self._topic}")
            asked = [TopicPartition(self._topic, partition) for partition in sorted(topic.partitions)]
            found = self._consumer.committed(asked, timeout=max(0.1, deadline.left()))
        except KafkaException as error:
            raise translate(error, f"asking for the committed offsets of {self._topic}") from error
        for each in found:
            if each.error is not None:
                raise translate(each.error, f"asking for the committed offsets of {self._topic}")
        return {each.partition: each.offset if each.offset >= 0 else None for each in found}

    def commit(self, offsets: Mapping[int, int], note: CommitNote) -> None:
        """Commit these. Raises Refused while the group has members."""
        places = [TopicPartition(self._topic, p, offset, str(note)) for p, offset in offsets.items()]
        try:
            answers = self._consumer.commit(offsets=places, asynchronous=False) or []
        except KafkaException as error:
            raise self._of(error.args[0]) from error
        for each in answers:
            if each.error is not None:
                raise self._of(each.error)

    def _of(self, error: KafkaError) -> Exception:
        if error.code() in _HAS_MEMBERS:
            return Refused("the group has members: stop every worker of it first")
        return translate(error, f"committing offsets of {self._topic}")

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
