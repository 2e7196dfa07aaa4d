"""The clock for ages and deadlines that depend on the world outside: since when a log's end is known, how long a
broker may take, how long parts lack their seal.

`time.monotonic` stands still while a machine is suspended (a closed laptop, a virtual machine that is moved or
paused). The world goes on: with `time.monotonic`, what was fresh an hour ago would still look fresh. What only
measures this process (how long a step took, whether its loop goes on, the pace of its log lines) uses
`time.monotonic`: a machine that slept has no hanging loop.
"""

import time

_GOES_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it; others have nothing better


def elapsed() -> float:
    """Seconds since some moment of the past. They count on while the machine is suspended, and nobody can set them.
    Callers name the module (`clock.elapsed()`), so that a test can put its own clock there.
    """
    return time.clock_gettime(_GOES_ON)
