"""Work of which a process does one piece at a time, so that the callers share it and no one's pieces pile up."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from stream_scrub.languages import say
from stream_scrub.serve.bodies import Kind, Problem, too_many

Result = TypeVar("Result")


class Turns:
    """Turns that callers take, one after the other. Of each at most `most` pieces may wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.is_taken = False  # a piece of work is being done
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the next caller first

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn of this caller, and hold it for the block. Raises Problem (429)."""
        if self.is_taken:
            await self._wait(caller)
        self.is_taken = True
        try:
            yield
        finally:
            self._next()

    async def _wait(self, caller: str) -> None:
        queue = self._waiting.setdefault(caller, deque())
        for each in [each for each in queue if each.done()]:
            queue.remove(each)  # its caller has left
        if len(queue) >= self._most:
            why = say(
                "%(most)s questions of this kind wait already: ask again when they are answered",
                most=str(self._most),
            )
            raise too_many(why)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()  # the turn came as the caller left
            raise

    def _next(self) -> None:
        """Give the turn to the next caller, which then is the last one."""
        self.is_taken = False
        while self._waiting and not self.is_taken:
            caller, queue = next(iter(self._waiting.items()))
            del self._waiting[caller]
            turn = queue.popleft()
            if queue:
                self._waiting[caller] = queue
            if not turn.done():  # else its caller has left
                turn.set_result(None)
                self.is_taken = True


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return or raise what `work` does; cancel it when the client leaves. The request's body has been read."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Problem(Kind.MALFORMED_REQUEST, "the connection closed before the answer")
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
