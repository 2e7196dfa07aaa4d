"""Refused requests that may be a person's opposition, until they are settled.

The publisher reports both on `opposition.refused`: the header `unread` names such a request, and `settles` the one that
another request settles. Whoever reads the end of that topic knows which ones are open.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import NamedTuple

from stream_scrub.config import Settings
from stream_scrub.kafka import clients
from stream_scrub.model import Logger, LogRecord, Request

UNREAD, SETTLES, OMITTED = "unread", "settles", "omitted"  # headers
OPEN_MAX = 100_000  # open requests that are counted
_SHOWN_MAX = 10_000  # refused requests that are looked through for those to show
_PART = 1000
# Stands for the open requests beyond OPEN_MAX. Nothing settles it: the alert goes on until the topic has fewer.
MORE = "more"
_BYTES_MAX = 2048  # of a request that are shown


class UnreadRequest(NamedTuple):
    """An open request, for the person who settles it. `value` is its beginning, and `more` bytes follow."""

    at_ms: int | None
    more: int
    place: str
    reason: str
    taken: str
    topic: str
    origin: str  # partition and offset
    key: str
    value: str


def place_of(topic_id: str, request: Request) -> str:
    """The name of an unread request. A topic that is deleted and created again has another id."""
    return f"{topic_id}/{request.partition}/{request.offset}"


def still_open(before: Collection[str], refused: Iterable[LogRecord | Request]) -> set[str]:
    """The places of the open requests, after these refused ones. Beyond OPEN_MAX one place stands for the rest."""
    unread, settled = {*before}, set[str]()
    for each in refused:
        headers = dict(each.headers)
        settled.add(_text(headers.get(SETTLES)))
        if UNREAD in headers:
            unread.add(_text(headers[UNREAD]) if len(unread) < OPEN_MAX else MORE)
    return unread - settled


def open_places(settings: Settings, log: Logger) -> set[str]:
    """The places of the open requests on the whole topic: many others may have been refused since. Raises Unavailable,
    Refused."""
    records = clients.Brokers(settings, log).last_refused(None)
    places, early = set[str](), set[str]()
    while part := [*islice(records, _PART)]:
        # Its partition may be read before that of the request which it settles.
        early |= {_text(dict(each.headers).get(SETTLES)) for each in part} - places
        places = still_open(places, part) - early
        if len(early) > OPEN_MAX:
            early.clear()
    return places


def open_requests(settings: Settings, log: Logger) -> list[UnreadRequest]:
    """The open requests among the last refused ones, the newest first. Raises Unavailable, Refused."""
    records = list(clients.Brokers(settings, log).last_refused(_SHOWN_MAX))
    places, found = still_open((), records), dict[str, UnreadRequest]()
    for record in records:
        headers = dict(record.headers)
        parts = (*map(headers.get, (UNREAD, "reason", "taken", "topic", "from")), record.key, record.value)
        more = int(headers.get(OMITTED) or 0) or max(0, len(record.value or b"") - _BYTES_MAX)
        request = UnreadRequest(record.timestamp_ms, more, *map(_text, parts))
        if request.place in places:
            found[request.place] = request
    return sorted(found.values(), key=lambda each: each.at_ms or 0, reverse=True)


def _text(part: bytes | None) -> str:
    return (part or b"")[:_BYTES_MAX].decode(errors="replace")
