"""A record's headers, as far as Python can have them. Whoever reads a record's headers does it here.

Kafka takes any bytes for a header's name, and C, Go and Java producers can send them. The binding makes a text of each
name. Where a name is no UTF-8 the call leaves an error behind and a list with a hole, and the process dies when it
touches that list. So the first call is caught, and there is no second one: what it gave is carried on beside the record.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from stream_scrub.model import Header

# Where a prospect is from, topic/partition/offset: on outputs that several inputs share.
FROM_HEADER = "scrub-from"
LOST = "headers"  # the cause that a stamp names
# The method is called by `map` and by nobody else: C code that calls it looks whether an error was left behind, and
# raises SystemError. The interpreter does not look any more once it has seen a call often enough (since 3.11): it would
# go on with the list that kills, and the error come out wherever something is looked at next.
_ASK: Any = Message.headers


class Headers(NamedTuple):
    """The headers of some records by their place, None for a record without any; and the places of records whose headers
    are lost, because a name among them is no UTF-8."""

    each: list[list[Header] | None]
    lost: list[int]


def read_headers(messages: Iterable[Message]) -> Headers:
    """To be called once for any record. Never raises."""
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
    """The headers of each record with its own place. What its producer wrote under that name is no place."""
    made: list[list[Header] | None] = []
    for message, headers in zip(messages, each, strict=True):
        place = (FROM_HEADER, f"{message.topic()}/{message.partition()}/{message.offset()}".encode())
        if headers is None:
            made.append([place])
        else:
            made.append([*(header for header in headers if header[0].lower() != FROM_HEADER), place])
    return made


def came_from(headers: Iterable[Header] | None) -> str:
    """The topic that a header of ours names; empty where there is none."""
    told = next((value for name, value in headers or () if name == FROM_HEADER), None)
    return (told or b"").decode("ascii", "replace").partition("/")[0]
