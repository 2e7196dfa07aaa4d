"""Whether every partition of a topic has a leader: what must hold before a transaction may be taken over."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline

GROUP_OFFSETS = "__consumer_offsets"
_EVERY_S = 0.2


def wait_for_leaders(producer: Producer, topics: Sequence[str], deadline: Deadline) -> None:
    """Return when every partition of the topics (as far as we may see them) has a leader. Raises Unavailable.

    To be called before `init_transactions`, which aborts what an earlier life of the transactional id left open.
    Kafka 4.3.1 takes a partition without a leader for deleted then and writes no abort marker to it (KAFKA-20734):
    what was left stays open, and our next commit would commit it: readers would see it twice. A broker that just came
    back from a crash is in that state for a moment, and a client that waited for it asks at once.
    """
    while True:
        try:
            headless = [topic for topic in topics if _is_headless(producer, topic, deadline)]
        except KafkaException as error:
            raise translate(error, "asking for the leaders") from error
        if not headless:
            return
        if deadline.left() < _EVERY_S:
            raise Unavailable(f"partitions of {', '.join(headless)} have no leader")
        time.sleep(_EVERY_S)


def _is_headless(producer: Producer, topic: str, deadline: Deadline) -> bool:
    found = producer.list_topics(topic, timeout=max(0.1, deadline.left())).topics.get(topic)
    return found is not None and any(partition.leader < 0 for partition in found.partitions.values())
