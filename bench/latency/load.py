"""The load of the latency bench: an open-loop producer and a read_committed consumer, each a process of its own.

`python -m bench.latency.load produce|consume JSON`: the JSON object is what `Load` holds, with the file to write. They
share a clock (CLOCK_MONOTONIC, one for the whole machine) and the schedule; a record's number is in its key, which
every contender keeps, so nothing needs to be added to a prospect. Both print a line when they are connected.
"""

import gc
import json
import signal
import sys
import threading
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from bench.harness import data
from bench.latency.stats import Schedule

# Set for latency, and the same for every contender: what is measured is the way through it, not the load's own waits.
PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 1,
    "queue.buffering.max.messages": 1_000_000,
    "log_level": 0,
}
CONSUMER = {
    "isolation.level": "read_committed",
    "fetch.min.bytes": 1,  # the broker answers as soon as anything is there
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 1,
    "enable.auto.commit": False,
    "log_level": 0,
}
_TICK_S = 0.0005
_PATIENCE_S = 30.0
_LINGER_S = 0.5  # after the last record, for one too many


@dataclass(frozen=True)
class Load:
    """What both sides need to know. `values` is a file of prospects, one a line, sent again and again."""

    bootstrap: str
    prospects: str
    outputs: tuple[str, str]  # allowed, blocked; the same twice where there are no verdicts
    values: str
    file: str

    def argument(self, schedule: Schedule | None, count: int = 0) -> str:
        """For the command line."""
        return json.dumps(
            {"load": asdict(self), "schedule": asdict(schedule) if schedule else None, "count": count}
        )


def produce(load: Load, schedule: Schedule) -> None:
    """Send every record when it is due, or as soon after as can be; writes when each one was sent."""
    values = Path(load.values).read_bytes().splitlines()
    producer = Producer({"bootstrap.servers": load.bootstrap, **PRODUCER})
    producer.list_topics(load.prospects, timeout=10)
    print("connected", flush=True)
    sent = array("q")
    at, count, many = 0, schedule.count, len(values)
    topic, send, clock = load.prospects, producer.produce, time.monotonic_ns
    gc.disable()
    while at < count:
        now = clock()
        due = schedule.due_by(now)
        while at < due:
            send(topic, values[at % many], data.key(at), data.partition(at))
            sent.append(now)
            at += 1
        producer.poll(0)
        time.sleep(_TICK_S)
    if producer.flush(_PATIENCE_S):
        raise TimeoutError("the broker did not take the load")
    np.save(load.file, np.array(sent, np.int64))


def consume(load: Load, count: int) -> None:
    """Take `count` records from the outputs, or until nothing comes any more; writes which one came when and where."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    consumer = Consumer({"bootstrap.servers": load.bootstrap, "group.id": "latency", **CONSUMER})
    topics = sorted(set(load.outputs))
    consumer.list_topics(topics[0], timeout=10)
    partitions = range(data.PARTITIONS)
    consumer.assign(
        [TopicPartition(topic, each, OFFSET_BEGINNING) for topic in topics for each in partitions]
    )
    consumer.poll(0.5)
    print("connected", flush=True)
    ids, received, blocked = array("q"), array("q"), array("b")
    refusing = load.outputs[1] if len(topics) > 1 else ""
    skip = len(data.key(0)) - 1  # the key is a word and the number
    poll, clock = consumer.poll, time.monotonic_ns
    gc.disable()
    until = clock() + int(_PATIENCE_S * 4 * 1e9)
    while clock() < until and not stopping.is_set():
        message = poll(0.1)
        if message is None:
            continue
        now = clock()
        if message.error() is not None:
            raise KafkaException(message.error())
        ids.append(int((message.key() or b"")[skip:]))
        received.append(now)
        blocked.append(message.topic() == refusing)
        until = now + int((_LINGER_S if len(ids) >= count else _PATIENCE_S) * 1e9)
    consumer.close()
    np.savez(
        load.file,
        ids=np.array(ids, np.int64),
        at_ns=np.array(received, np.int64),
        blocked=np.array(blocked, np.bool_),
    )


def main(side: str, argument: str) -> None:
    given = json.loads(argument)
    load = Load(**{**given["load"], "outputs": tuple(given["load"]["outputs"])})
    if side == "produce":
        produce(load, Schedule(**given["schedule"]))
    else:
        consume(load, given["count"])


if __name__ == "__main__":
    main(*sys.argv[1:])
