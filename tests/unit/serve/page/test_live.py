"""The live parts of the page: made once for all who look."""

import asyncio

from stream_scrub.serve.page.live_parts import LivePart, LiveParts


def test_a_part_is_made_once_for_all_who_look():
    """A hundred people who look would keep checks waiting."""
    rendered = []
    live = LiveParts({"status": LivePart(lambda: rendered.append(1) or "text", 60)})

    async def first():
        viewers = [live.events(lambda: True) for _ in range(3)]
        return [await anext(viewer) for viewer in viewers]

    events = asyncio.run(first())
    assert {id(event) for event in events} == {id(events[0])} and len(rendered) == 1
    assert events[0] == b'event: status\ndata: "text"\n\n' and live.text("status") == "text"
