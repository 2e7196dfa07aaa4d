"""The parts of the page that keep themselves up to date, as server-sent events: made once for all who look."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import msgspec

LIVE_EVERY_S = 2.0
# Each viewer's own share of it more or less: those who came back at one moment, after a restart, part again.
_SPREAD = 0.2


class Part(NamedTuple):
    """A part of the page: its text now, and how old a text may be, in seconds."""

    render: Callable[[], str]
    age_s: float


class _Made(NamedTuple):
    text: str
    event: bytes
    at: float


class Live:
    """The parts, by the names that the page's script knows them by."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts
        self._made: dict[str, _Made] = {}
        self.viewers = 0

    def text(self, name: str) -> str:
        """A part, at most as old as it may be."""
        return self._now(name).text

    def _now(self, name: str) -> _Made:
        made = self._made.get(name)
        if made is None or time.monotonic() - made.at >= self._parts[name].age_s:
            text = self._parts[name].render()
            event = b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(text) + b"\n\n"
            made = self._made[name] = _Made(text, event, time.monotonic())
        return made

    async def told(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Events for one viewer, until it goes or `goes_on` says no: each part at once, and again when it has changed."""
        self.viewers += 1
        sent: dict[str, bytes] = {}
        try:
            while goes_on():
                for name in self._parts:
                    event = self._now(name).event
                    if sent.get(name) is not event:
                        sent[name] = event
                        yield event
                spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - no secret rests on it
                await asyncio.sleep(LIVE_EVERY_S * spread)
        finally:
            self.viewers -= 1
