"""Measures what a piece of work costs: this thread's processor time and this process's memory, whatever else the
machine does."""

import time
from collections.abc import Callable
from pathlib import Path

_TRIES = 3  # the least of them counts: an interrupted or cold run can only take longer


def cpu_s(work: Callable[[], object], *, enough: float = 0.0) -> float:
    """Seconds of this thread's processor time that the work takes: the least of three, or the first within `enough`."""
    least = float("inf")
    for _ in range(_TRIES):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
        if least <= enough:
            break
    return least


def grows_evenly(work: Callable[[int], object], size: int, *, free_s: float) -> bool:
    """Whether four times as much work takes about four times as long: at most eight times; quadratic work would take
    sixteen times. Work that takes at most `free_s` at the larger size passes without a closer look.
    """
    large = cpu_s(lambda: work(4 * size), enough=free_s)
    if large <= free_s:
        return True
    return large <= 8 * cpu_s(lambda: work(size))


def peak_bytes(work: Callable[[], object]) -> int:
    """By how many bytes the process grows within the work: its peak minus its size before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = _status("VmRSS:")
    work()
    return _status("VmHWM:") - before


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10
