"""Questions of single prospects that wait at one moment are judged together, as one batch.

Judging one prospect or a hundred costs nearly the same. So the more is asked, the less a question costs, and a moment in
which the processor was busy elsewhere is made up for at once.
"""

import asyncio
from collections.abc import Callable

from stream_scrub.errors import StaleIndex
from stream_scrub.scrub.batch import Batch
from stream_scrub.server.problems import stale

_AT_ONCE = 200

# One prospect's bytes, and who waits for its stamp.
_Waiting = tuple[bytes, asyncio.Future[bytes]]


class Together:
    """`judge` gives a batch that covers at least the first of the values; it may raise StaleIndex."""

    def __init__(self, judge: Callable[[list[bytes]], Batch]) -> None:
        self._judge = judge
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def stamp(self, value: bytes) -> bytes:
        """The stamp of one prospect. Raises Problem (503)."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append((value, answer))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())  # it begins when all that came by now is read
        return await answer

    async def _work(self) -> None:
        """Judge what waits, some at a time, until nothing does. Whatever goes wrong, nobody is left waiting."""
        while self._waiting:
            some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                done = self._answered(some)
            except Exception as fault:  # noqa: BLE001 - whoever waits for it raises it
                for _, answer in some:
                    _settle(answer, fault)
                continue
            self._waiting[:0] = some[done:]
            await asyncio.sleep(0)

    def _answered(self, some: list[_Waiting]) -> int:
        """Answer the first ones; how many."""
        try:
            batch = self._judge([value for value, _ in some])
        except StaleIndex as found:
            if len(some) == 1:
                _settle(some[0][1], stale(found))
            else:  # perhaps one of them alone must wait for a register
                for each in some:
                    self._answered([each])
            return len(some)
        for (_, answer), stamp in zip(some, batch.stamps, strict=False):
            if not answer.done():  # who asked may be gone
                answer.set_result(stamp or b"")
        return len(batch.stamps)


def _settle(answer: asyncio.Future[bytes], why: Exception) -> None:
    if not answer.done():
        answer.set_exception(why)
