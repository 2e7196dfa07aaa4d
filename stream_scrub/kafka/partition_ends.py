"""The first offset and the end of partitions, as far as the client or the brokers tell. One thread."""

from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline


def bounds(consumer: Consumer, place: TopicPartition, deadline: Deadline) -> tuple[int, int]:
    """The oldest offset of a partition, and its end, as the brokers have them now. Raises Unavailable, KafkaException."""
    found = consumer.get_watermark_offsets(place, timeout=max(0.1, deadline.left()))
    if found is None:
        raise Unavailable(f"asking for the ends of {place.topic}: no broker answers now")
    return int(found[0]), int(found[1])


def oldest(consumer: Consumer, place: TopicPartition, deadline: Deadline) -> int:
    """The oldest offset of a partition. Raises Unavailable, Refused."""
    try:
        return bounds(consumer, place, deadline)[0]
    except KafkaException as error:
        raise translate(error, f"asking for the oldest offset of {place.topic}") from error


class PartitionEnds:
    """Bounds for people to see: what cannot be asked is told by other calls. While nothing is fetched the client keeps
    an older end, so what a broker was asked for is remembered until then."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}

    def forget(self) -> None:
        """The client fetches again."""
        self._asked.clear()

    def of(self, consumer: Consumer, place: TopicPartition, deadline: Deadline | None) -> tuple[int, int]:
        """The oldest offset and the end of a partition, negative where they are not known. The brokers are asked only
        with a deadline."""
        low = high = -1
        with suppress(KafkaException, Unavailable):
            if deadline is not None and not deadline.passed:
                low, high = bounds(consumer, place, deadline)
                self._asked[place.partition] = high
            else:
                low, high = consumer.get_watermark_offsets(place, cached=True)
        return low, max(high, self._asked.get(place.partition, -1))
