"""What the status page costs: people who look at it, beside the checks of `check_api.py`; and how soon it is painted."""

import asyncio
import threading
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from bench.harness.failure import Failed
from tests.support.machine import chromium

VIEWERS = 100
_PAINTS = 9
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def look(url: str, ended: threading.Event, events: list[int]) -> None:
    """So many people have the page open: each takes its events as they come, until `ended`. `events` are then how many
    each got."""
    events += asyncio.run(_all(url, ended))


async def _all(url: str, ended: threading.Event) -> list[int]:
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    events = [0] * VIEWERS

    async def one(place: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        try:
            while piece := await reader.read(65_536):
                events[place] += piece.count(b"event: ")
        finally:
            writer.close()

    viewers = [asyncio.create_task(one(place)) for place in range(VIEWERS)]
    await asyncio.to_thread(ended.wait)
    for viewer in viewers:
        viewer.cancel()
    await asyncio.gather(*viewers, return_exceptions=True)
    return events


def first_paint(url: str) -> dict[str, Any]:
    """Milliseconds from the request to the first paint of the page, each time by a browser without a cache. Raises
    Failed."""
    try:
        path = chromium.find()
    except chromium.NoChromium as error:
        raise Failed(str(error)) from error
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[chromium.LOOPBACK_ONLY])
        for _ in range(_PAINTS):
            context = browser.new_context()
            page = context.new_page()
            page.goto(url)
            while (
                painted := page.evaluate(_PAINTED)
            ) is None:  # the page lets nothing be evaluated in it that waits
                page.wait_for_timeout(5)
            times.append(float(painted))
            context.close()
        browser.close()
    return {"median_ms": round(float(np.median(times))), "max_ms": round(max(times))}
