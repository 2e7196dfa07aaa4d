"""A producer like those of C, Go and Java, where a header's name may be any bytes. It uses librdkafka's own
functions, because the Python binding takes names in UTF-8 only."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from functools import cache
from typing import Any

from confluent_kafka import cimpl

from tests.support.running.clients import Address, properties

_PRODUCER = 0
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADER = 1, 3, 4, 5, 7, 8, 9
_COPY = 2  # RD_KAFKA_MSG_F_COPY


class _Bytes(ctypes.Structure):
    _fields_ = (("start", c_char_p), ("size", c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("value", c_char_p), ("size", c_ssize_t))


class _Any(ctypes.Union):
    _fields_ = (
        ("text", c_char_p),
        ("flags", c_int),
        ("partition", c_int32),
        ("moment", c_int64),
        ("bytes", _Bytes),
        ("header", _Header),
        ("room", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    """`rd_kafka_vu_t`."""

    _fields_ = (("kind", c_int), ("u", _Any))


@cache
def _library() -> Any:
    loaded = ctypes.CDLL(cimpl.__file__)
    for name, result, arguments in (
        ("rd_kafka_conf_new", c_void_p, ()),
        ("rd_kafka_conf_set", c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)),
        ("rd_kafka_new", c_void_p, (c_int, c_void_p, c_char_p, c_size_t)),
        ("rd_kafka_produceva", c_void_p, (c_void_p, POINTER(_Argument), c_size_t)),
        ("rd_kafka_flush", c_int, (c_void_p, c_int)),
        ("rd_kafka_destroy", None, (c_void_p,)),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def _argument(kind: int, field: str, value: Any) -> _Argument:
    made = _Argument(kind)
    setattr(made.u, field, value)
    return made


Headers = Sequence[tuple[bytes, bytes]]


def produce(
    address: Address,
    topic: str,
    value: bytes,
    key: bytes,
    headers: Headers,
    *,
    timestamp: int = 0,
) -> None:
    """Send one record to the first partition. Returns when it is delivered."""
    produce_all(address, topic, [(value, headers)], key, timestamp=timestamp)


def produce_all(
    address: Address,
    topic: str,
    records: Sequence[tuple[bytes, Headers]],
    key: bytes = b"",
    *,
    timestamp: int = 0,
) -> None:
    """Values with their headers, in one batch as a rule."""
    lib, why = _library(), ctypes.create_string_buffer(512)
    conf = lib.rd_kafka_conf_new()
    for name, text in {**properties(address), "linger.ms": "50"}.items():
        assert lib.rd_kafka_conf_set(conf, name.encode(), text.encode(), why, len(why)) == 0, why.value
    client = lib.rd_kafka_new(_PRODUCER, conf, why, len(why))
    assert client, why.value
    for value, headers in records:
        arguments = [
            _argument(_TOPIC, "text", topic.encode()),
            _argument(_PARTITION, "partition", 0),
            _argument(_VALUE, "bytes", _Bytes(value, len(value))),
            _argument(_KEY, "bytes", _Bytes(key, len(key))),
            _argument(_TIMESTAMP, "moment", timestamp),
            _argument(_FLAGS, "flags", _COPY),
            *(_argument(_HEADER, "header", _Header(name, text, len(text))) for name, text in headers),
        ]
        assert not lib.rd_kafka_produceva(client, (_Argument * len(arguments))(*arguments), len(arguments))
    assert lib.rd_kafka_flush(client, 30_000) == 0, "not delivered"
    lib.rd_kafka_destroy(client)
