"""Prospects whose true number is known by construction, and an oracle that shares no code with the product."""

import json
import random
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import phonenumbers
from confluent_kafka import Producer

from tests.support.running.clients import Address, properties


def french_mobiles(count: int, seed: int) -> list[int]:
    """Distinct valid French mobile numbers, as integers of their E.164 digits."""
    rng = random.Random(seed)
    return [33_610_000_000 + n for n in rng.sample(range(20_000_000), count)]  # 061 and 062: all assigned


def day_in_france(stamp: dict) -> str:
    """The day of a verdict where French numbers are."""
    return str(datetime.fromisoformat(stamp["at"]).astimezone(ZoneInfo("Europe/Paris")).date())


def spell(number: int, how: int) -> str:
    """A French number as people type it: 40 % national with spaces, 30 % national, 30 % +33."""
    digits = str(number)[2:]
    if how % 10 < 4:
        return f"0{digits[0]} {digits[1:3]} {digits[3:5]} {digits[5:7]} {digits[7:9]}"
    return f"0{digits}" if how % 10 < 7 else f"+33{digits}"


def prospect(at: int, phone: object, **more: object) -> bytes:
    """A lead of about 220 bytes."""
    lead = {
        "id": at,
        "phone": phone,
        "name": "Jeanne Martin",
        "email": f"jeanne.martin{at}@example.org",
        "country": "FR",
        "source": "form-energy-42",
        "city": "Lyon",
        "created": "2026-11-24T12:00:00Z",
        "score": 0.5,
        "note": "call after work",
        **more,
    }
    return json.dumps(lead, separators=(",", ":")).encode()


@cache
def true_number(text: str, region: str = "FR") -> int | None:
    """What phonenumbers says of a text: the E.164 digits of a valid number."""
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return int(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:])


def ordinary_producer(bootstrap: Address) -> Producer:
    """A plain client, as any lead producer would have that cares for the order of its leads."""
    return Producer(
        {
            **properties(bootstrap),
            "enable.idempotence": True,  # else a batch that is tried again comes behind the next one
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "message.max.bytes": 10_000_000,
        }
    )


def produce(
    bootstrap: Address, topic: str, leads: Iterator[tuple[bytes | None, bytes | None]], **more: object
) -> int:
    """Publish (key, value) pairs; returns how many."""
    producer = ordinary_producer(bootstrap)
    count = 0
    for key, value in leads:
        while True:
            try:
                producer.produce(topic, value, key, **more)
            except BufferError:
                producer.poll(0.1)
            else:
                break
        count += 1
        if count % 5000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    return count
