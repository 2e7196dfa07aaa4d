"""The scrubber that one would write with Quix Streams: a dataframe, phonenumbers, a roaring bitmap, exactly-once.

Run as `python app.py BOOTSTRAP PROSPECTS ALLOWED BLOCKED GROUP REGISTER`; REGISTER is a file of little-endian u64.
SIGTERM, which Quix itself listens to, ends it with code 0. A value that is no JSON object ends it with an error.
"""

import sys
from array import array
from pathlib import Path
from typing import Any

import phonenumbers
from pyroaring import BitMap64
from quixstreams import Application
from quixstreams.internal_producer import InternalProducer
from quixstreams.models import Row, Topic

# About as many records a transaction as the worker's 10,000; Quix's own 5 s would make them longer, for 1 % less CPU.
COMMIT_S = 1.0
CONSUMER = {
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 10,
    "queued.min.messages": 100_000,
}
PRODUCER = {
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 524_288,
    "batch.num.messages": 50_000,
    "queue.buffering.max.messages": 500_000,
}


class SamePartition(InternalProducer):
    """`to_topic` can name no partition: this one writes to the one that the prospect came from."""

    def produce_row(
        self,
        row: Row,
        topic: Topic,
        key: Any = None,
        partition: int | None = None,  # noqa: ARG002 - `to_topic` has none to give
        timestamp: int | None = None,
    ) -> None:
        super().produce_row(row, topic, key, row.context.partition, timestamp)


def register(file: str) -> BitMap64:
    """The opposed numbers."""
    numbers = array("Q")
    numbers.frombytes(Path(file).read_bytes())
    return BitMap64(numbers)


def main(bootstrap: str, prospects: str, allowed: str, blocked: str, group: str, file: str) -> None:
    """Until SIGTERM."""
    opposed = register(file)
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_S,
        auto_create_topics=False,
        consumer_extra_config=CONSUMER,
        producer_extra_config=PRODUCER,
        loglevel="WARNING",
    )
    app._producer.__class__ = SamePartition
    source = app.topic(prospects, key_deserializer="bytes", value_deserializer="json")
    outputs = {
        verdict: app.topic(topic, key_serializer="bytes", value_serializer="json")
        for verdict, topic in (("allowed", allowed), ("blocked", blocked))
    }

    def scrub(prospect: dict[str, Any]) -> dict[str, Any]:
        try:
            parsed = phonenumbers.parse(prospect["phone"], "FR")
            number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
            hit = int(number) in opposed
            verdict, reason = ("blocked", "opposed") if hit else ("allowed", "clear")
        except (phonenumbers.NumberParseException, KeyError, TypeError):
            number, verdict, reason = None, "blocked", "invalid-number"
        prospect["scrub"] = {"verdict": verdict, "reason": reason, "number": number}
        return prospect

    frame = app.dataframe(source).apply(scrub)
    frame.to_topic(lambda prospect, _key, _timestamp, _headers: outputs[prospect["scrub"]["verdict"]])
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
