"""Damaged copies of the golden log `stated`, each with the offset where a follower stops."""

from collections.abc import Callable
from typing import Any

from stream_scrub.model import LogRecord
from tests.support.golden import files as golden

Damage = Callable[[list[LogRecord]], list[LogRecord]]


def _changed(offset: int, change: Callable[[LogRecord], dict[str, Any]]) -> Damage:
    return lambda log: [each._replace(**change(each)) if each.offset == offset else each for each in log]


def _value(offset: int, old: bytes, new: bytes) -> Damage:
    def change(record: LogRecord) -> dict[str, Any]:
        assert record.value is not None and record.value.count(old) == 1, "the damage hits one place"
        return {"value": record.value.replace(old, new)}

    return _changed(offset, change)


def _flipped(offset: int, at: int = -1) -> Damage:
    def change(record: LogRecord) -> dict[str, Any]:
        value = bytearray(record.value or b"")
        value[at] ^= 1
        return {"value": bytes(value)}

    return _changed(offset, change)


def _header(offset: int, name: str, text: bytes) -> Damage:
    return _changed(offset, lambda r: {"headers": [(n, text if n == name else v) for n, v in r.headers]})


def _without(*offsets: int) -> Damage:
    return lambda log: [each for each in log if each.offset not in offsets]


def _added(offset: int, like: int, **fields: Any) -> Damage:
    def damage(log: list[LogRecord]) -> list[LogRecord]:
        (source,) = (each for each in log if each.offset == like)
        return sorted([*log, source._replace(offset=offset, **fields)], key=lambda each: each.offset)

    return damage


def _swapped_values(one: int, other: int) -> Damage:
    def damage(log: list[LogRecord]) -> list[LogRecord]:
        values = {each.offset: each.value for each in log}
        values[one], values[other] = values[other], values[one]
        return [each._replace(value=values[each.offset]) for each in log]

    return damage


# The damage, the offset where a follower stops, and the position of the last index that it gave before.
CORRUPT: dict[str, tuple[Damage, int, int]] = {
    "flipped-bit-in-a-part": (_flipped(30), 30, 28),
    "flipped-bit-in-a-seal": (_flipped(31, 40), 31, 28),
    "flipped-bit-in-a-chain": (_flipped(31, -5), 31, 28),
    "dropped-part": (_without(30), 31, 28),
    "dropped-delta": (_without(30, 31), 33, 28),
    "dropped-seal": (_without(31), 30, 28),
    "parts-in-another-order": (_swapped_values(10, 11), 10, 8),
    "doubled-seal": (_added(29, like=28), 29, 28),
    "foreign-record": (_added(29, like=28, key=b"+33612345678", headers=()), 29, 28),
    "tombstone": (_changed(30, lambda _: {"value": None}), 30, 28),
    "another-registers-key": (_changed(30, lambda _: {"key": b"washed"}), 30, 28),
    "unknown-format": (_value(4, b'"format":1', b'"format":2'), 4, 1),
    "truncated-part": (_changed(30, lambda r: {"value": (r.value or b"")[:-3]}), 30, 28),
    "changed-header": (_header(30, "i", b"1"), 30, 28),
    "wrong-count": (_value(31, b'"count":2', b'"count":3'), 31, 28),
    "gap-in-seq": (_value(31, b'"seq":4', b'"seq":5'), 31, 28),
    "broken-chain": (_value(31, b'"previous":"', b'"previous":"0'), 31, 28),
    "flipped-bit-in-ends": (_flipped(11), 11, 8),
    "flipped-bit-in-requests": (_flipped(12), 12, 8),
    "flipped-bit-in-rules": (_flipped(35), 35, 33),
    "flipped-bit-in-starts": (_flipped(27, 5), 27, 23),
    "flipped-bit-in-a-restatement": (_flipped(32), 32, 31),
    "dropped-register": (_without(25, 26, 27, 28), 31, 23),
    "wrong-next-end": (_value(14, b'"next_end":"2026', b'"next_end":"2027'), 14, 8),
    "register-called-rules": (_value(1, b'"register_kind":"rules"', b'"register_kind":"deny"'), 1, -1),
}


def log(name: str) -> list[LogRecord]:
    """The golden log with that damage."""
    return CORRUPT[name][0](list(golden.log("stated")))
