"""Whether the extension may take and emit records here: odd ones go round an embedded broker before a worker starts.

The broker is librdkafka's own, in this process and on loopback, for 15 ms of processor time. It holds only test records.
"""

from contextlib import ExitStack
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import KafkaException, Producer, TopicPartition

from stream_scrub.kafka.bulk import BulkIntake, Fetched, Intake, Outgoing, Outlet, RecordBatch, intake, polled
from stream_scrub.kafka.client.options import librdkafka_version
from stream_scrub.kafka.client.repeated_requests import Plugin, with_watch
from stream_scrub.kafka.cloud_events import CloudEvents
from stream_scrub.kafka.embedded import FETCH_WAIT_MS, EmbeddedKafka
from stream_scrub.model import Deadline, Header
from stream_scrub.stamp import STAMP

LIBRDKAFKA = "2.16."  # the extension knows how a message lies in memory in these versions
_WAIT_S = 5.0
_IN, _OUT = "self-test-in", "self-test-out"
_NOT_HANDED_OVER = "librdkafka did not hand a client over to the extension"
_HEAD, _NUMBER, _TAIL = b',"scrub":{"number":"+', (1 << 64) - 1, b'"}}'
_STAMP = _HEAD + b"%d" % _NUMBER + _TAIL
_EVENTS, _MOMENT = CloudEvents("urn:self-test"), b"2026-01-31T12:00:00.000Z"


class _OddRecord(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[Header] | None
    timestamp_ms: int


_ODD = [
    _OddRecord(None, None, None, 1),
    _OddRecord(b"", b"", [("", b""), ("a", None), ("a", b"1"), ("A", b"\x00")], 1_700_000_000_000),
    _OddRecord(
        b"\x00\xff", bytes(range(256)) * 200, [("\u00e9", b"\xff" * 300), ("a b", b"")], 1_700_000_000_000
    ),
    _OddRecord(b"k", b'{"plain":1}', [("Scrub", b"smuggled"), ("trace", b"1")], 1_600_000_000_000),
    _OddRecord(b"k", b'{"plain":2}', None, 1_700_000_000_001),
    _OddRecord(b"k", b'{"plain":3}', [("Content-Type", b"Application/CloudEvents"), ("CE_id", b"x")], 1),
]
# Value and stamp of those that get no template, by place.
_OTHERS: dict[int, tuple[bytes | None, bytes | None]] = {0: (None, b"s"), 1: (b"", None), 2: (b"\x00", b"")}


@cache
def fault() -> str:
    """Why the extension may not take and emit records in this process; empty if it may. Blocks for about 0.1 s; for
    `_WAIT_S` a step at most."""
    if not (version := librdkafka_version()).startswith(LIBRDKAFKA):
        return f"the extension knows librdkafka {LIBRDKAFKA}x, and this is {version}"
    try:
        Plugin()
        with EmbeddedKafka() as brokers, ExitStack() as clients:
            return _round_trip(brokers, clients)
    except Exception as error:  # noqa: BLE001 - the worker starts without the extension, and logs this
        return f"{type(error).__name__}: {error}"


def _round_trip(brokers: EmbeddedKafka, clients: ExitStack) -> str:
    common = {"bootstrap.servers": brokers.bootstrap, "log_level": 0}
    producer, watch = with_watch(Producer, common)
    if watch is None:
        return _NOT_HANDED_OVER
    outlet = Outlet(producer, watch, [STAMP])
    clients.callback(outlet.close)
    # Writing makes the topics. `create_topic` would sometimes wait a second for the embedded broker.
    for key, value, headers, timestamp_ms in _ODD:
        producer.produce(_IN, value, key, 0, timestamp=timestamp_ms, headers=headers)  # type: ignore[arg-type]
    producer.flush(_WAIT_S)

    native = _reader(clients, common, _IN, bulk=True)
    if not isinstance(native, BulkIntake):
        return _NOT_HANDED_OVER
    taken, came = _read(native, len(_ODD)), _read(_reader(clients, common, _IN, bulk=False), len(_ODD))
    if not isinstance(taken, RecordBatch) or _seen(taken) != _seen(came):
        return "what the extension took differs from what the client's binding read"

    expected = []
    for into_value, events in ((True, None), (False, None), (True, _EVENTS), (False, _EVENTS)):
        outlet.emit(_outgoing(taken, into_value, events), 0)
        expected += _expected(into_value, events)
    producer.flush(_WAIT_S)
    emitted = _seen(_read(_reader(clients, common, _OUT, bulk=False), len(expected)))
    if outlet.failed() != (0, "") or [record for _, record in emitted] != expected:
        return "what the extension emitted differs from what it was given"
    return ""


def _reader(clients: ExitStack, common: dict[str, Any], topic: str, *, bulk: bool) -> Intake:
    """Of the topic's one partition, from its start."""
    own = {"group.id": "self-test", "enable.auto.commit": False, "fetch.wait.max.ms": FETCH_WAIT_MS}
    consumer, taking = intake({**common, **own}, several=True, bulk=bulk)
    clients.callback(consumer.close)
    clients.callback(taking.close)
    places = [TopicPartition(topic, 0, 0)]
    taking.forward(places)
    consumer.assign(places)
    return taking


def _read(taking: Intake, count: int) -> Fetched:
    """So many records. Raises TimeoutError."""
    until, parts = Deadline.after(_WAIT_S), list[Any]()
    while (came := sum(map(len, parts))) < count:
        if until.passed:
            raise TimeoutError(f"{came} of {count} records came round within {_WAIT_S:g} s")
        more, error = taking.take(count - came, max(0.0, until.left()))
        if error is not None:
            raise KafkaException(error)
        parts.append(more)
    together: Fetched = reduce(lambda first, more: first.then(more), parts)
    return together


def _seen(fetched: Fetched) -> list[tuple[tuple[str, int, int | None], _OddRecord]]:
    """Each record's position and kind."""
    batch = polled(fetched)
    return [
        (
            (topic, partition, message.offset()),
            _OddRecord(message.key(), value, headers, message.timestamp()[1]),
        )
        for topic, partition, message, value, headers in zip(
            batch.topics, batch.partitions, batch.messages, batch.values, batch.headers.each, strict=True
        )
    ]


def _outgoing(taken: RecordBatch, into_value: bool, events: CloudEvents | None) -> Outgoing:
    ids = [-1 if place in _OTHERS else 0 for place in range(len(taken))]
    count = len(ids)
    return Outgoing(
        taken,
        [_OUT, _OUT],
        np.zeros(count, np.int32),
        np.full(count, _NUMBER, np.uint64),
        np.array(ids, np.int32),
        [_HEAD],
        [_TAIL],
        into_value,
        _OTHERS,
        None if events is None else events.of_batch(1, _MOMENT),
    )


def _expected(into_value: bool, events: CloudEvents | None) -> list[_OddRecord]:
    """What is to come out."""
    records = []
    for place, (key, came, headers, timestamp_ms) in enumerate(_ODD):
        value, stamp = _OTHERS.get(place, (came, _STAMP))
        if place not in _OTHERS and into_value:
            value, stamp = (came or b"")[:-1] + _STAMP, None
        kept = [each for each in headers or () if each[0].lower() != STAMP]
        if events is not None:
            is_stamped = stamp is None and value is not None
            kept = events.headers(kept, (_IN, 0, place), _MOMENT, allowed=False, stamped=is_stamped)
        if stamp is not None:
            kept.append((STAMP, stamp))
        records.append(_OddRecord(key, value, kept or None, timestamp_ms))
    return records
