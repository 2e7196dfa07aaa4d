"""A request that nobody can unpack, on the embedded broker."""

import time

from confluent_kafka import Producer, TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.kafka.requests_reader import RequestsReader
from stream_scrub.kafka.witnesses import Witnesses


def test_a_request_that_cannot_be_unpacked_keeps_no_other_partitions_away():
    """One record of 4 kB, from any dialler, would end every publisher with a corrupt log, and no opt-out count any more."""
    with EmbeddedKafka() as broker:
        broker.create_topic("requests", 2)
        own = {"bootstrap.servers": broker.bootstrap, "log_level": 0}
        producer = Producer({**own, "compression.type": "zstd", "message.max.bytes": 1_000_000_000})
        producer.produce("requests", bytes(120 << 20), partition=0)
        producer.produce("requests", b"{}", partition=1)
        assert producer.flush(60) == 0
        requests = RequestsReader(
            {**own, "group.id": "g", "auto.offset.reset": "earliest"}, Witnesses(own), "requests"
        )
        requests._next = {0: 0, 1: 0}
        requests._consumer.assign([TopicPartition("requests", partition, 0) for partition in (0, 1)])

        until, came, failures = time.monotonic() + 60, [], []
        while not (came and failures) and time.monotonic() < until:
            try:
                came += requests.poll(0.2, 0.1, 100)
            except Unavailable as failure:
                failures.append(str(failure))
        requests.close()

    assert [(each.partition, each.value) for each in came][:1] == [(1, b"{}")]
    assert failures and all("damaged" in each for each in failures)
