"""Sharing the interpreter with the hot path while a delta is applied, and measuring how well that goes.

Only one thread runs Python at a time. A thread that computes gives way after 5 ms to another that asks. But the hot
path asks anew after every call that lets go of the interpreter, and the commit of a batch makes such a call for each
record (the client's delivery reports). Beside a thread that computes for 300 ms a commit of 10 ms would take 300 ms,
however short each of that thread's calls is. So after each piece of work the applying thread sleeps for as long as that
piece took.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_TURN_S = 0.001
_ASIDE_MAX_S = 0.01
_TICK_S = 0.001


class CooperativeYield:
    """`pause` may be called as often as one likes: it sleeps when a turn is over."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since = clock()

    def pause(self) -> None:
        """Stand aside for as long as the turn took, if it took long enough to be felt."""
        took_s = self._clock() - self._since
        if took_s >= _TURN_S:
            self._sleep(min(took_s, _ASIDE_MAX_S))
            self._since = self._clock()


class StallMonitor:
    """Measures, while it is entered, for how long at a time a thread is kept from running that wants to every millisecond.

    The figure is at least what the hot path feels of the applying thread: the measuring thread also waits for the hot
    path itself and for whatever else the machine is doing.
    """

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._over = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            asleep_at = time.perf_counter()
            time.sleep(_TICK_S)
            self._longest_s = max(self._longest_s, time.perf_counter() - asleep_at - _TICK_S)

    def longest_s(self) -> float:
        """The longest since this was last asked."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s
