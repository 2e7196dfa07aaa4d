"""Whether this machine had a free processor for the demo, from the kernel's counters. Linux only; elsewhere nothing
is known.

The kernel counts for each thread how long it was ready to run and waited for a processor (`schedstat`), and for each
processor how long it was busy and how long other virtual machines had it (`steal`). A thread that waits for the
interpreter's lock is not ready to run, so the demo's own slowness does not count as the machine's.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

_PROC = Path("/proc")
_THROTTLED = Path("/sys/fs/cgroup/cpu.stat")  # of a container with a quota of processor time
_BUSY = (0, 1, 2, 5, 6, 7)  # of a processor's line in /proc/stat: user, nice, system, irq, softirq, steal
# When other programs use fewer processors than this, the demo's threads waited only for each other.
_OTHERS_MIN = 0.5


class Moment(NamedTuple):
    """What was counted up to a moment, in seconds: of our threads, of all processors that we may run on."""

    at: float
    ran_s: float
    waited_s: float
    throttled_s: float
    busy_s: float


class Load(NamedTuple):
    """What the machine was like for some seconds. `others` is how many processors other programs used, of
    `processors`; `waited_s` how long our threads stood in line, added up, and `throttled_s` how long a quota kept all of
    them; `average` the load average at the end."""

    seconds: float
    processors: int
    others: float
    waited_s: float
    throttled_s: float
    average: float

    def excuses(self, excess_s: float) -> bool:
        """Whether the machine, rather than the demo, may be why something took `excess_s` too long."""
        by_others = self.waited_s if self.others >= _OTHERS_MIN else 0.0
        return by_others + self.throttled_s >= excess_s

    def __str__(self) -> str:
        quota = f", a quota stopped it for {self.throttled_s:.2f} s" if self.throttled_s else ""
        return (
            f"in these {self.seconds:.2f} s other programs used {self.others:.1f} of {self.processors} processors,"
            f" the demo's threads stood in line for {self.waited_s:.2f} s{quota}; load average {self.average:.1f}"
        )


def look(pids: Iterable[int]) -> Moment | None:
    """What the kernel has counted by now for these processes; None where it does not tell."""
    try:
        ran_ns, waited_ns = map(sum, zip(*_threads(pids), strict=True))
        return Moment(monotonic(), ran_ns / 1e9, waited_ns / 1e9, _throttled_s(), _busy_s())
    except (OSError, ValueError):
        return None


def between(before: Moment | None, after: Moment | None) -> Load | None:
    """What the machine was like between two looks; None where one of them saw nothing."""
    if before is None or after is None:
        return None
    seconds = max(after.at - before.at, 1e-9)
    others_s = (after.busy_s - before.busy_s) - (after.ran_s - before.ran_s)
    return Load(
        seconds=seconds,
        processors=len(os.sched_getaffinity(0)),
        others=max(0.0, others_s) / seconds,
        waited_s=after.waited_s - before.waited_s,
        throttled_s=after.throttled_s - before.throttled_s,
        average=os.getloadavg()[0],
    )


def _threads(pids: Iterable[int]) -> list[tuple[int, int]]:
    """Of each thread, the nanoseconds that it ran and stood in line."""
    found = []
    for pid in pids:
        for path in (_PROC / str(pid) / "task").glob("*/schedstat"):
            try:
                ran, waited, *_ = path.read_text().split()
            except OSError:  # it has just ended
                continue
            found.append((int(ran), int(waited)))
    return found


def _busy_s() -> float:
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in (_PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name in mine:
            ticks += sum(int(fields[place]) for place in _BUSY)
    return ticks / os.sysconf("SC_CLK_TCK")


def _throttled_s() -> float:
    try:
        lines = dict(line.split() for line in _THROTTLED.read_text().splitlines())
    except OSError:
        return 0.0
    return int(lines.get("throttled_usec", 0)) / 1e6
