"""The first offset and the end of partitions, as far as the client or the brokers tell. One thread."""

from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline, PartitionKey


def key_of(place: TopicPartition) -> PartitionKey:
    """The topic and the number of a partition."""
    return place.topic, place.partition


def _bounds(consumer: Consumer, place: TopicPartition, deadline: Deadline) -> tuple[int, int]:
    """The oldest offset of a partition, and its end, as the brokers have them now. Raises Unavailable, KafkaException."""
    found = consumer.get_watermark_offsets(place, timeout=max(0.1, deadline.left()))
    if found is None:
        raise Unavailable(f"asking for the ends of {place.topic}: no broker answers now")
    return int(found[0]), int(found[1])


class PartitionEnds:
    """What the brokers say of partitions, asked by a client of its own.

    The client that fetches has one connection to each broker, and its question would wait there behind what it fetches.
    On a slow link that takes longer than any patience; when the question times out, librdkafka breaks the connection
    (`socket.max.fails` is 1), and with it what was half fetched: nothing would ever arrive.
    """

    def __init__(self, options: dict[str, Any], isolation_level: str = "read_committed") -> None:
        """`options` are those of the consumer that fetches. A partition ends before the first open transaction, or with
        "read_uncommitted" where it is written to."""
        self._options = {**asking_options(options), "isolation.level": isolation_level}
        self._asking: Consumer | None = None
        self._asked: dict[PartitionKey, int] = {}

    def ask(self, place: TopicPartition, deadline: Deadline) -> tuple[int, int]:
        """The oldest offset of a partition, and its end. Raises Unavailable, KafkaException."""
        try:
            return _bounds(self._client(), place, deadline)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                raise
        # A client that is subscribed to nothing hears of a new partition only when it asks.
        self._client().list_topics(place.topic, timeout=max(0.1, deadline.left()))
        return _bounds(self._client(), place, deadline)

    def width(self, topic: str, deadline: Deadline) -> int:
        """How many partitions a topic has now; none where it is not there. Raises KafkaException."""
        found = self._client().list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
        return len(found.partitions)

    def _client(self) -> Consumer:
        if self._asking is None:
            self._asking = Consumer(self._options)
        return self._asking

    def oldest(self, place: TopicPartition, deadline: Deadline) -> int:
        """The oldest offset of a partition. Raises Unavailable, Refused."""
        try:
            return self.ask(place, deadline)[0]
        except KafkaException as error:
            raise translate(error, f"asking for the oldest offset of {place.topic}") from error

    def forget(self) -> None:
        """The client fetches again: it keeps the ends of partitions up to date by itself."""
        self._asked.clear()

    def of(self, consumer: Consumer, place: TopicPartition, deadline: Deadline | None) -> tuple[int, int]:
        """The oldest offset and the end of a partition, for people to see: negative where they are not known, and no error.

        The brokers are asked only with a deadline, else the consumer that fetches says what it knows. While nothing is
        fetched it keeps an older end, so what a broker was asked for is remembered until then.
        """
        low = high = -1
        with suppress(KafkaException, Unavailable):
            if deadline is not None and not deadline.passed:
                low, high = self.ask(place, deadline)
                self._asked[key_of(place)] = high
            else:
                low, high = consumer.get_watermark_offsets(place, cached=True)
        return low, max(high, self._asked.get(key_of(place), -1))

    def ask_for_leaders(self, topic: str, timeout_s: float) -> None:
        """Ask who leads the partitions of a topic. A client that is assigned nothing and has heard during an outage that
        one has no leader believes it for a quarter of an hour (metadata.max.age.ms; seen on a real Kafka with 2.16.0)."""
        with suppress(KafkaException):
            if self._asking is not None:
                self._asking.list_topics(topic, timeout=timeout_s)

    def close(self) -> None:
        """End the client that asks."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None
