"""A record's headers. All code reads them here.

Kafka takes any bytes for a header's name, and C, Go and Java producers can send them. The binding makes a text of each
name. If a name is not UTF-8, the call leaves an error behind and a list with a hole, and the process dies when it
touches that list. So the first call is caught, and there is no second one: its result stays with the record.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from stream_scrub.model import Header

# A prospect's input, topic/partition/offset: on outputs that several inputs share.
FROM_HEADER = "scrub-from"
# The offset, in its own partition, of the allowed prospect that a record renews (`stream-scrub rescrub`).
RENEWS_HEADER = "scrub-renews"
LOST = "headers"  # the cause that a stamp names
# Only `map` calls this method: C code that calls it checks whether an error was left behind, and raises SystemError. The
# interpreter no longer checks once it has seen a call often enough (since 3.11): it would go on with the list that
# kills, and the error would come out somewhere else.
_ASK: Any = Message.headers


class Headers(NamedTuple):
    """The headers of some records."""

    each: list[list[Header] | None]  # by record; None without headers
    lost: list[int]  # indexes of records whose headers are lost, because one of their names is not UTF-8


def read_headers(messages: Iterable[Message]) -> Headers:
    """Call it once for each record. Never raises."""
    each: list[list[Header] | None] = []
    lost: list[int] = []
    asked = map(_ASK, messages)
    while True:
        try:
            each.extend(asked)  # it keeps what came before an error
        except SystemError:
            lost.append(len(each))
            each.append(None)
        else:
            return Headers(each, lost)


def marked(messages: Iterable[Message], each: Iterable[Sequence[Header] | None]) -> list[list[Header] | None]:
    """The headers of each record, with one for its topic, partition and offset. It replaces a producer's own of that name."""
    # `retry` and the recovery of offsets believe this header, so a producer may not send one.
    marked: list[list[Header] | None] = []
    for message, headers in zip(messages, each, strict=True):
        place = (FROM_HEADER, f"{message.topic()}/{message.partition()}/{message.offset()}".encode())
        marked.append([*(header for header in headers or () if header[0].lower() != FROM_HEADER), place])
    return marked


def came_from(headers: Iterable[Header] | None) -> str:
    """The topic that a header of ours names; empty where there is none."""
    place = next((value for name, value in headers or () if name == FROM_HEADER), None)
    return (place or b"").decode("ascii", "replace").partition("/")[0]


def renews(headers: Iterable[Header] | None) -> int | None:
    """The offset of the record that this one renews; None if it renews none."""
    value = next((value for name, value in headers or () if name == RENEWS_HEADER), None) or b""
    return int(value) if value.isdigit() else None
