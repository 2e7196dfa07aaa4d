"""Reads what came out, as a dialler would (read_committed), and compares it with what went in."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.support.running.clients import Address, properties


def read_all(bootstrap: Address, topic: str, isolation: str = "read_committed") -> Iterator[Message]:
    """Every record of a topic, from its beginning to its end."""
    consumer = Consumer(
        {
            **properties(bootstrap),
            "group.id": "tests",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,  # after this wait the client reports an end, with what was committed a moment ago
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        live = set(partitions)
        while live:
            for message in consumer.consume(
                5000, 0.05
            ):  # it returns when it has all of them, or after the whole time
                if message.error() is None:
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    live.discard(message.partition())
                else:
                    raise AssertionError(message.error())
    finally:
        consumer.close()


def count(bootstrap: Address, topics: list[str], isolation: str = "read_committed") -> int:
    """Records of some topics."""
    return sum(1 for topic in topics for _ in read_all(bootstrap, topic, isolation))


def read_recalls(bootstrap: Address, topic: str) -> list[Message]:
    """The records of the topic of recalls, without the proofs that recall works."""
    return [each for each in read_all(bootstrap, topic) if each.key() != b"alive"]


def ends(bootstrap: Address, topics: list[str], isolation: str = "read_committed") -> int:
    """The sum of the topics' end offsets. It is cheap to get, and grows with every commit. The uncommitted ends also
    count what an open transaction has written."""
    consumer = Consumer({**properties(bootstrap), "group.id": "tests", "isolation.level": isolation})
    try:
        total = 0
        for topic in topics:
            for partition in consumer.list_topics(topic, timeout=60).topics[topic].partitions:
                total += _end(consumer, TopicPartition(topic, partition))
        return total
    finally:
        consumer.close()


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=60)[1]
        except KafkaException:  # a broker that dies, or has just come back and has no leader yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@dataclass
class Found:
    """What was wrong, and how much there was. `wrong` is empty when every promise held."""

    total: int = 0
    verdicts: Counter = field(default_factory=Counter)
    wrong: Counter = field(default_factory=Counter)
    first: dict = field(default_factory=dict)

    def note(self, what: str, where: Message) -> None:
        self.wrong[what] += 1
        self.first.setdefault(
            what, (where.topic(), where.partition(), where.offset(), (where.value() or b"")[:400])
        )


def strip_stamp(value: bytes) -> bytes:
    """The value without the stamp at its end."""
    head, _, _ = value.rpartition(b',"scrub":{')
    return head + b"}"


def compare(
    bootstrap: Address,
    source: str,
    allowed: str,
    blocked: str,
    expected: Callable[[dict, dict], str],
) -> Found:
    """Every record of `source` is once in `allowed` or `blocked`: same partition, key, timestamp, headers and bytes
    (apart from the stamp), in its key's order; the verdict and number are what `expected(prospect, stamp)` says
    ("allowed 33612345678"); positions on stamps never go back within an output partition.
    """
    found = Found()
    inputs = defaultdict(list)
    for message in read_all(bootstrap, source):
        inputs[message.partition(), message.value()].append(message)
    order = {}
    for verdict, topic in (("allowed", allowed), ("blocked", blocked)):
        position = defaultdict(lambda: -1)
        for message in read_all(bootstrap, topic):
            found.total += 1
            partition = message.partition()
            original = strip_stamp(message.value())
            waiting = inputs.get((partition, original))
            if not waiting:
                found.note("twice, changed or from nowhere", message)
                continue
            was = waiting.pop(0)
            if (message.key(), message.timestamp(), message.headers()) != (
                was.key(),
                was.timestamp(),
                was.headers(),
            ):
                found.note("key, timestamp or headers not kept", message)
            lead = json.loads(message.value())
            stamp = lead.pop("scrub")
            found.verdicts[stamp["reason"]] += 1
            said = f"{stamp['verdict']} {stamp.get('number', '+0')[1:]}"
            if said != expected(lead, stamp) or stamp["verdict"] != verdict:
                found.note("wrong verdict", message)
            if stamp["index"] < position[partition]:
                found.note("position went back", message)
            position[partition] = stamp["index"]
            key = (topic, partition, message.key())
            if was.offset() < order.get(key, -1):
                found.note("key order broken", message)
            order[key] = was.offset()
    lost = sum(map(len, inputs.values()))
    if lost:
        found.wrong["lost"] += lost
    return found
