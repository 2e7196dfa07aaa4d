"""The last records of a topic, for whoever wants to know what an import would do to them. Member of no group."""

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline

_READ_RECORDS = 1000


def last_values(options: dict[str, Any], topic: str, count: int, deadline: Deadline) -> list[bytes | None]:
    """About the last `count` values, as many of each partition, what is committed of them. `options` are those of a
    log reader. Raises Unavailable, Refused.
    """
    consumer = Consumer(options)
    try:
        found = consumer.list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
        if found.error is not None:
            raise translate(found.error, f"following {topic}")
        share = -(-count // max(1, len(found.partitions)))
        waiting = set()
        for partition in found.partitions:
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=max(0.1, deadline.left()))
            if high > low:
                waiting.add(TopicPartition(topic, partition, max(low, high - share)))
        consumer.assign(list(waiting))
        return _read(consumer, {each.partition for each in waiting}, count, deadline)
    except KafkaException as error:
        raise translate(error, f"following {topic}") from error
    finally:
        consumer.close()


def _read(consumer: Consumer, waiting: set[int], count: int, deadline: Deadline) -> list[bytes | None]:
    values: list[bytes | None] = []
    while waiting and len(values) < count:
        if deadline.passed:
            raise Unavailable("the last prospects could not be read in time")
        for message in consumer.consume(_READ_RECORDS, 0.2):
            error = message.error()
            if error is None:
                values.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition() or 0)
            else:
                raise translate(error, "following the prospects")
    return values[:count]
