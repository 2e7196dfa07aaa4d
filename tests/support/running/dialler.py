"""A dialler of its own process for tests: it notes each lead that it is given, and acknowledges those that it is told to.

    python -m tests.support.running.dialler BOOTSTRAP ALLOWED RECALLED GROUP NOTES [every|even]

It appends `given OFFSET` and `acked OFFSET` with its partition to the file NOTES, one line each, before and after the
acknowledgement.
"""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from stream_scrub.dialler import Allowed
from tests.support.running.clients import Address, properties


def settings(bootstrap: str, allowed: str, recalled: str, **more: object) -> dict[str, object]:
    """The settings of a dialler that reads these topics."""
    topics = {"topics.allowed": allowed, "topics.recalled": recalled}
    return {
        "kafka.bootstrap_servers": bootstrap,
        "kafka.consumer": {"session.timeout.ms": "6000"},
        **topics,
        **more,
    }


def now() -> str:
    """This moment, as a stamp has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number_of(lead: int) -> str:
    """The number of the lead with this id."""
    return f"+336{12_000_000 + lead:08d}"


def lead(at: int, index: int = 5, **stamp: object) -> bytes:
    """An emitted prospect."""
    members = {
        "verdict": "allowed",
        "reason": "clear",
        "number": number_of(at),
        "index": index,
        "rules": "fr@000000",
    }
    return json.dumps({"id": at, "scrub": {**members, "at": now(), **stamp}}).encode()


def recall(at: int, index: int = 6) -> bytes:
    """The record that recalls the number of a lead."""
    more = {"reason": "opposed", "register": "internal", "since": now(), "rules": "", "from": "0/0"}
    return json.dumps(
        {"kind": "recalled", "number": number_of(at), "index": index, "at": now(), **more}
    ).encode()


def write(address: Address, topic: str, *values: bytes, **more: object) -> None:
    """Write these records, each with its own key."""
    producer = Producer({**properties(address), "log_level": 0})
    for at, value in enumerate(values):
        producer.produce(topic, value, str(at), **more)
    assert producer.flush(30) == 0


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    bootstrap, allowed, recalled, group, notes, acks = sys.argv[1:]
    with (
        Path(notes).open("a", buffering=1) as file,
        Allowed(
            group, settings=settings(bootstrap, allowed, recalled), recall="none", start="beginning"
        ) as leads,
    ):
        for at, each in enumerate(leads, 1):
            file.write(f"given {each.partition}/{each.offset}\n")
            if acks == "every" or at % 2 == 0:
                leads.ack(each)
                file.write(f"acked {each.partition}/{each.offset}\n")


if __name__ == "__main__":
    main()
