"""Work that blocks and knows no end of its own, beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")


async def beside(work: Callable[Given, Found], *given: Given.args, **more: Given.kwargs) -> Found:
    """What `work` returns or raises, in a thread of its own, which the end of the process does not wait for: it would
    for a thread of asyncio's pool."""
    done: Future[Found] = Future()
    done.set_running_or_notify_cancel()  # who waits may go; the work goes on, and its outcome is dropped

    def run() -> None:
        try:
            done.set_result(work(*given, **more))
        except BaseException as fault:  # noqa: BLE001 - whoever waits for it raises it
            done.set_exception(fault)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return await asyncio.wrap_future(done)
