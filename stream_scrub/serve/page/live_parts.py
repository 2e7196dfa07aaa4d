"""The parts of the status page that update themselves, and the events that send them to viewers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from stream_scrub.serve.guard import Account

LIVE_EVERY_S = 2.0
_SPREAD = 0.2  # random share of it, so that viewers who reconnect after a restart do not stay in step


class LivePart(NamedTuple):
    """A part of the page: how to render it, and for how many seconds to reuse the result."""

    render: Callable[[], str]
    age_s: float


class _RenderedPart(NamedTuple):
    text: str
    event: bytes
    at: float


class LiveParts:
    """The parts that update themselves, by the names in the page's script; rendered once for all viewers."""

    def __init__(self, parts: Mapping[str, LivePart]) -> None:
        self._parts = parts
        self._rendered: dict[str, _RenderedPart] = {}
        self.viewers = 0

    def text(self, name: str) -> str:
        """Return a part as HTML."""
        return self._current(name).text

    def _current(self, name: str) -> _RenderedPart:
        part = self._rendered.get(name)
        if part is None or time.monotonic() - part.at >= self._parts[name].age_s:
            text = self._parts[name].render()
            event = b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(text) + b"\n\n"
            part = self._rendered[name] = _RenderedPart(text, event, time.monotonic())
        return part

    async def events(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield server-sent events for one viewer until it disconnects or `goes_on` returns False: each part at once, and
        again whenever it has changed."""
        sent: dict[str, bytes] = {}
        while goes_on():
            for name in self._parts:
                event = self._current(name).event
                if sent.get(name) is not event:
                    sent[name] = event
                    yield event
            spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - not for cryptography
            await asyncio.sleep(LIVE_EVERY_S * spread)


class ViewersEvents(StreamingResponse):
    """The events of one viewer, who counts with the page's and with the token's until they end."""

    def __init__(self, events: AsyncIterator[bytes], *counts: LiveParts | Account) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._counts = counts
        for each in counts:
            each.viewers += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            for each in self._counts:
                each.viewers -= 1
