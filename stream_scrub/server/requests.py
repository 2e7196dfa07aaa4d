"""`POST /v1/requests`: an opt-out, a consent or a withdrawal, onto its topic.

A request is read here as the publisher will read it, so that whoever asks hears at once what would be refused later. It
is answered when the brokers have it. What lifts an opposition is not taken over HTTP: it needs a right of its own
(docs/requests.md).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ScrubError, TooLarge
from stream_scrub.index import Index
from stream_scrub.kafka.requests_writer import RequestPlace, Told
from stream_scrub.lists.intake.lifts import takes_out
from stream_scrub.lists.intake.parse_request import ParsedRequest, RequestRefusal, RequestTerms, read
from stream_scrub.model import OWN
from stream_scrub.numbering import e164
from stream_scrub.rules import Rulebook
from stream_scrub.server.problems import Kind, Problem, invalid

KEYS_MAX = 10_000  # that are remembered
REQUEST_BYTES_MAX = 524_288  # of a body: the publisher's 10 000 numbers a request, and a proof
_KEY_CHARS_MAX = 128
_DELIVERY_S = 15.0  # longer than the client tries

Send = Callable[[bytes, bytes, Told], None]


class Accepted(msgspec.Struct, frozen=True):
    """Where a request is, once the brokers have it. `invalid` of its numbers are none, and only the others count.
    `note` says what could not be understood of an opposition, which then counts for every caller."""

    topic: str
    partition: int
    offset: int
    invalid: int
    note: str | None


class _Known(msgspec.Struct):
    digest: bytes
    answer: asyncio.Task[Accepted]


class RequestDesk:
    """Takes requests. `send` hands one to the brokers; `index` gives the newest index, for the kinds of its registers."""

    def __init__(
        self, settings: Settings, rulebook: Rulebook, index: Callable[[], Index], send: Send
    ) -> None:
        self._settings = settings
        self._kinds = {**rulebook.kinds, **OWN}
        self._index = index
        self._send = send
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    async def answer(self, body: bytes, key: str, who: str) -> Accepted:
        """Where the request is. `key` is the header Idempotency-Key, or empty; `who` asks. Raises Problem (422,
        503)."""
        order = self._checked(body)
        if len(key) > _KEY_CHARS_MAX:
            raise invalid([("Idempotency-Key", f"use at most {_KEY_CHARS_MAX} characters")])
        if not key:
            return await self._written(order, body)
        digest = sha256(body).digest()
        known = self._known.get((who, key))
        if known is not None and known.digest != digest:
            raise invalid([("Idempotency-Key", "it came with another request before: use a new one")])
        if known is None or (known.answer.done() and known.answer.exception() is not None):
            known = _Known(digest, asyncio.ensure_future(self._written(order, body)))
            self._known[who, key] = known
            if len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)
        return await asyncio.shield(known.answer)

    def _checked(self, body: bytes) -> ParsedRequest:
        """What the publisher will read. What restricts is taken leniently here as there. Raises Problem (422)."""
        held = {name: each.kind for name, each in self._index().registers.items()}
        terms = RequestTerms(
            frozenset(self._settings.lists.registers),
            {**self._kinds, **held},
            self._settings.prospect.default_region,
            datetime.now(UTC),
            self._index().spelt(),
        )
        order = read(body, terms)
        if isinstance(order, RequestRefusal):
            raise _refused(order)
        if takes_out(order):
            raise _refused(RequestRefusal.MAY_NOT_LIFT)
        return order

    async def _written(self, order: ParsedRequest, body: bytes) -> Accepted:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[RequestPlace | ScrubError] = loop.create_future()

        def told(what: RequestPlace | ScrubError) -> None:
            loop.call_soon_threadsafe(_settle, found, what)

        try:
            self._send(e164(order.numbers[0]).encode(), body, told)
        except ScrubError as error:
            raise _unavailable(str(error)) from error
        try:
            async with asyncio.timeout(_DELIVERY_S):
                place = await found
        except TimeoutError as error:
            raise _unavailable("the brokers have not answered") from error
        if isinstance(place, TooLarge):
            raise Problem(Kind.TOO_LARGE, "the topic takes no record of this size") from place
        if isinstance(place, ScrubError):
            raise _unavailable(str(place)) from place
        note = None if order.odd is None else str(order.odd)
        return Accepted(self._settings.topics.requests, *place, order.refused, note)


def _settle(found: asyncio.Future[RequestPlace | ScrubError], what: RequestPlace | ScrubError) -> None:
    if not found.done():
        found.set_result(what)


def _refused(reason: RequestRefusal) -> Problem:
    return invalid(
        [("body", f"the publisher would refuse it: {reason} (docs/requests.md)")], reason=str(reason)
    )


def _unavailable(why: str) -> Problem:
    return Problem(
        Kind.NOT_WRITTEN,
        f"{why}: it is not known to be written; send it again, to write it twice does no harm",
        {"Retry-After": "1"},
    )
