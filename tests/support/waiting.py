"""The one wait of the tests: for a state, with one deadline for all, scaled by the pace of this machine."""

import linecache
import sys
import time
from collections.abc import Callable

_LOOPS = 400_000
_LOOPS_S = 0.04  # they take this long on one of two idle cores of 2.5 GHz
_PACE_MAX = 3.0


def _measured_pace() -> float:
    """How many times slower than a usual machine this one is now, 1 to 3."""
    began = time.perf_counter()
    for _ in range(_LOOPS):
        pass
    return min(_PACE_MAX, max(1.0, (time.perf_counter() - began) / _LOOPS_S))


# Seconds until a wait fails. A wait that succeeds costs nothing by it, and the product itself may need its look of 60 s,
# its lease of 45 s and its transaction's timeout one after the other.
WAIT_S = 240 * _measured_pace()


def wait_until(
    condition: Callable[[], object],
    timeout: float = WAIT_S,
    every: float = 0.1,
    *,
    step: Callable[[], object] = lambda: None,
) -> float:
    """Wait until the condition is true, with a `step` before each new look. Return the seconds that it took.

    It asks less often the longer it waits: many conditions read a topic or run a command. With 0 for `every` it never
    sleeps: the step waits. A failure shows the waiting line and the condition's last value; the report of a failed test
    has the last log lines of its processes.
    """
    began = time.monotonic()
    while not (last := condition()):
        waited = time.monotonic() - began
        if waited >= timeout:
            caller = sys._getframe(1)
            line = linecache.getline(caller.f_code.co_filename, caller.f_lineno).strip()
            raise AssertionError(f"it did not happen in {waited:.0f} s: {line}\nthe condition said {last!r}")
        step()
        if every:
            time.sleep(max(every, min(waited / 10, 1.0)))
    return time.monotonic() - began
