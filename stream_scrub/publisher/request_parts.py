"""Splits a batch of requests into parts that fit a transaction, and builds the records of refused requests."""

from collections.abc import Iterator, Sequence

from stream_scrub.lists.intake.parse_request import RequestTerms
from stream_scrub.lists.intake.requests_to_delta import RefusedRequest, steps
from stream_scrub.model import Request

_PART_BYTES = 2 << 20
_LARGE = 64 * 1024


def parted(batch: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """A batch in parts of a bounded size: one request may hold thousands of numbers."""
    part: list[Request] = []
    size = 0
    for request in batch:
        if part and size + len(request.value or b"") > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(request)
        size += len(request.value or b"")
    if part:
        yield part


def answerable(batch: Sequence[Request], terms: RequestTerms) -> Iterator[Sequence[Request]]:
    """A batch in parts that are answered one after the other: of a bounded size, each to be published in one order."""
    for part in parted(batch):
        yield from steps(part, terms)


def refused_record(turned: RefusedRequest, topic: str, *, slim: bool) -> Request:
    """The record of a refused request: as it came, with the reason, and how many of its numbers were taken. With
    `slim` a large request goes without its bytes, since the topic of refused requests takes smaller records than that
    of requests.
    """
    request = turned.request
    place = f"{request.partition}/{request.offset}".encode()
    ours = {"reason": turned.reason.encode(), "taken": b"%d" % turned.taken, "from": place}
    ours["topic"] = topic.encode()  # offsets of two topics come here
    value = request.value or b""
    if slim and len(value) > _LARGE:
        ours["omitted"] = b"%d" % len(value)
    kept = [(name, content) for name, content in request.headers if name not in ours]
    return request._replace(
        headers=[*kept, *ours.items()], value=None if "omitted" in ours else request.value
    )
