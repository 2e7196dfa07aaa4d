"""The bare loop: consume, produce, offsets, commit, exactly once, and nothing else. What this client costs at least.

The worker's own client options, batches of its size, one output topic; key, partition, timestamp and headers are kept.
`python bench/throughput/bare_loop.py BOOTSTRAP INPUT OUTPUT GROUP BATCH_MS`; SIGTERM ends it after the batch in hand.
"""

import signal
import sys
import threading

import structlog
from confluent_kafka import Consumer, KafkaException, Producer

from stream_scrub.config import Kafka
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.options import Role, client_options

BATCH_RECORDS = 10_000
_DEADLINE_S = 20.0


def main(bootstrap: str, source: str, output: str, group: str, batch_ms: str) -> None:
    """Work until told to stop. Any error ends it: then its run does not count."""
    stopping, batch_s = threading.Event(), float(batch_ms) / 1000
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    log = structlog.get_logger()
    kafka = Kafka(bootstrap_servers=bootstrap)
    consumer = Consumer(client_options(kafka, Role.MEMBER, ClientLog(log, "consumer"), {"group.id": group}))
    own = {"transactional.id": f"bare-{group}"}
    producer = Producer(client_options(kafka, Role.WORKER, ClientLog(log, "producer"), own, refits=True))
    producer.init_transactions(_DEADLINE_S)
    consumer.subscribe([source])
    while not stopping.is_set():
        messages = consumer.consume(BATCH_RECORDS, batch_s)
        if not messages:
            continue
        producer.begin_transaction()
        produce = producer.produce
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            produce(
                output,
                message.value(),
                message.key(),
                message.partition(),
                None,
                None,
                message.timestamp()[1],
                message.headers(),
            )
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), _DEADLINE_S
        )
        producer.commit_transaction(_DEADLINE_S)
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
