"""librdkafka's own C functions, for what its Python binding does not offer: its list of properties and the
embedded broker.

The binding's module is already loaded and is linked to librdkafka, so a look-up through it finds the very library
that the clients run on. Every function used is declared in `_SIGNATURES`: without its argument types ctypes passes
a pointer as a 32-bit integer, and the call hangs or crashes. Must never be needed for a verdict.
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from confluent_kafka import cimpl, libversion

_Pointer = Any  # ctypes has no common base for the types of types

_SIGNATURES: dict[str, tuple[_Pointer, tuple[_Pointer, ...]]] = {
    "rd_kafka_conf_new": (c_void_p, ()),
    "rd_kafka_conf_destroy": (None, (c_void_p,)),
    "rd_kafka_conf_set": (c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)),
    "rd_kafka_conf_properties_show": (None, (c_void_p,)),
    "rd_kafka_new": (c_void_p, (c_int, c_void_p, c_char_p, c_size_t)),
    "rd_kafka_destroy": (None, (c_void_p,)),
    "rd_kafka_err2str": (c_char_p, (c_int,)),
    "rd_kafka_mock_cluster_new": (c_void_p, (c_void_p, c_int)),
    "rd_kafka_mock_cluster_destroy": (None, (c_void_p,)),
    "rd_kafka_mock_cluster_bootstraps": (c_char_p, (c_void_p,)),
    "rd_kafka_mock_topic_create": (c_int, (c_void_p, c_char_p, c_int, c_int)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (c_void_p, c_int32)),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, (c_void_p, c_int)),
}


class Librdkafka:
    """The declared functions as attributes without their prefix: `lib.mock_topic_create(...)`. Any other is an error."""

    def __init__(self, signatures: Mapping[str, tuple[_Pointer, tuple[_Pointer, ...]]] = _SIGNATURES) -> None:
        loaded = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in signatures.items():
            function = getattr(loaded, name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name.removeprefix("rd_kafka_"), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not declared: ctypes would cut its pointers in half")


class ClientKind(IntEnum):
    """The two kinds of clients: librdkafka's rd_kafka_type_t."""

    PRODUCER = 0
    CONSUMER = 1


@cache
def library() -> Librdkafka:
    """The loaded library; the same object at each call, as the process holds one."""
    return Librdkafka()


@dataclass(frozen=True, slots=True)
class ClientProperty:
    """One property that librdkafka knows. `side` is `*`, `C` (consumers only) or `P` (producers only)."""

    name: str
    side: str
    default: str
    alias_of: str


def properties() -> dict[str, ClientProperty]:
    """Every property of the loaded librdkafka by name, from its own reference table."""
    found: dict[str, ClientProperty] = {}
    for line in _shown().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) < 6 or cells[1] not in ("*", "C", "P"):
            continue
        about = cells[5].removeprefix("**DEPRECATED** ")
        alias_of = about.split("`")[1] if about.startswith("Alias for `") else ""
        # A few names stand in both the global and the topic table: the first is the one a client's settings reach.
        found.setdefault(cells[0], ClientProperty(cells[0], cells[1], cells[3], alias_of))
    return found


def _shown() -> str:
    """What librdkafka prints as its reference, caught in a memory stream of the C library."""
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = c_void_p
    libc.open_memstream.argtypes = (POINTER(c_char_p), POINTER(c_size_t))
    libc.fclose.argtypes = (c_void_p,)
    libc.free.argtypes = (c_void_p,)
    text, size = c_char_p(), c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    library().conf_properties_show(stream)
    libc.fclose(stream)
    shown = (text.value or b"").decode()
    libc.free(text)
    return shown


def objection(name: str, value: str) -> str:
    """What librdkafka says against setting this property to this value; empty when nothing."""
    lib = library()
    why = ctypes.create_string_buffer(512)
    settings = lib.conf_new()
    try:
        refused = lib.conf_set(settings, name.encode(), value.encode(), why, len(why))
    finally:
        lib.conf_destroy(settings)
    return why.value.decode(errors="replace") if refused else ""


def contradiction(settings: Mapping[str, str], *, kind: ClientKind) -> str:
    """What librdkafka says when it makes a client of these properties together; empty when it does.

    Reads the files that they name (certificates). Connects to nothing: leave the servers out. Milliseconds.
    """
    lib = library()
    why = ctypes.create_string_buffer(512)
    conf = lib.conf_new()
    for name, value in settings.items():
        if lib.conf_set(conf, name.encode(), value.encode(), why, len(why)):
            lib.conf_destroy(conf)
            return why.value.decode(errors="replace")
    client = lib.new(kind, conf, why, len(why))
    if client:
        lib.destroy(client)
        return ""
    lib.conf_destroy(conf)  # a client owns its settings only once it is made
    return why.value.decode(errors="replace")


def librdkafka_version() -> str:
    """The version of the C library that every client here runs on."""
    return str(libversion()[0])
