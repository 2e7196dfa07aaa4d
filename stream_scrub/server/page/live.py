"""The parts of the page that keep themselves up to date, as server-sent events: made once for all who look."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import msgspec

LIVE_EVERY_S = 2.0


class Part(NamedTuple):
    """A part of the page: its text now, and how old a text may be, in seconds."""

    render: Callable[[], str]
    age_s: float


class Live:
    """The parts, by the names that the page's script knows them by."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts
        self._texts: dict[str, tuple[str, float]] = {}
        self.viewers = 0

    def text(self, name: str) -> str:
        """A part, at most as old as it may be."""
        text, at = self._texts.get(name, ("", float("-inf")))
        if time.monotonic() - at >= self._parts[name].age_s:
            text = self._parts[name].render()
            self._texts[name] = (text, time.monotonic())
        return text

    async def told(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Events for one viewer, until it goes or `goes_on` says no: each part at once, and again when it has changed."""
        self.viewers += 1
        sent: dict[str, str] = {}
        try:
            while goes_on():
                for name in self._parts:
                    text = self.text(name)
                    if sent.get(name) is not text:
                        sent[name] = text
                        yield b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(text) + b"\n\n"
                await asyncio.sleep(LIVE_EVERY_S)
        finally:
            self.viewers -= 1
