"""The clock for ages and deadlines that the world outside has a part in: since when a log's end is known, how long a
broker may take, how long parts are without their seal.

`time.monotonic` stands still while a machine is suspended (a laptop's lid, a virtual machine that is moved or paused), and
the world does not: what was fresh an hour ago would still be fresh. What only measures this process (how long a step took,
whether its loop goes on, the pace of its log lines) stays with `time.monotonic`: a machine that slept is no loop that hangs.
"""

import time

_GOES_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it; others have nothing better


def elapsed() -> float:
    """Seconds since some moment of the past, suspended or not; never set by anybody. Callers name the module
    (`clock.elapsed()`), so that a test can hand in its own.
    """
    return time.clock_gettime(_GOES_ON)
