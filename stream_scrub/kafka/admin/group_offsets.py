"""The committed offsets of a group on some topics, looked at and set from outside of the group."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Refused
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.partition_ends import key_of
from stream_scrub.kafka.rewinding.commit_note import CommitNote
from stream_scrub.model import Deadline, PartitionKey

_HAS_MEMBERS = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}
)


def committed(consumer: Consumer, topic: str, deadline: Deadline) -> list[TopicPartition]:
    """What the consumer's group has committed for every partition of a topic; the offset is negative where that is
    nothing. Raises Unavailable, Refused."""
    doing = f"asking for the committed offsets of {topic}"
    try:
        found = consumer.list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
        if found.error is not None:
            raise translate(found.error, f"asking for {topic}")
        asked = [TopicPartition(topic, partition) for partition in sorted(found.partitions)]
        places = consumer.committed(asked, timeout=max(0.1, deadline.left()))
    except KafkaException as error:
        raise translate(error, doing) from error
    for each in places:
        if each.error is not None:
            raise translate(each.error, doing)
    return places


class GroupOffsets:
    """`options` are those of a consumer of the group, which never joins it."""

    def __init__(self, options: dict[str, Any], topics: Sequence[str]) -> None:
        self._consumer = Consumer(options)
        self._topics = tuple(topics)

    def committed(self, deadline: Deadline) -> dict[PartitionKey, int | None]:
        """By partition of the topics; None where the group has none. Raises Unavailable, Refused."""
        found = [each for topic in self._topics for each in committed(self._consumer, topic, deadline)]
        return {key_of(each): each.offset if each.offset >= 0 else None for each in found}

    def commit(self, offsets: Mapping[PartitionKey, int], note: CommitNote) -> None:
        """Commit these. Raises Refused while the group has members."""
        places = [TopicPartition(*key, offset, str(note)) for key, offset in offsets.items()]
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
        return translate(error, f"committing offsets of {', '.join(self._topics)}")

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
