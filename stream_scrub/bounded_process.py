"""What a child process does first that reads a file from a stranger: it bounds its own memory and time, and ends with
its parent. A hostile file then harms its reader alone."""

import ctypes
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # Windows
    import resource

_GRACE_S = 5  # after which a process whose parent did not end it ends by itself
_SELF = Path("/proc/self")
_GROUPS = Path("/sys/fs/cgroup")
# By the version of control groups: the files of a group's limit and of what it uses.
_GROUP_FILES = {
    2: ("memory.max", "memory.current"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """From now on the kernel kills this process when the thread that started it is gone (Linux). Otherwise it would
    read for minutes, in memory that a successor needs, for a parent that no longer exists."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bound(max_bytes: int, max_s: float) -> None:
    """Bound this process: at most `max_bytes` more memory than now (Linux), and at most `max_s` seconds.

    The bound is on address space, which the kernel refuses before it is used; resident memory is only known
    afterwards. The interpreter and its libraries reserve a different amount on each machine, so that amount is
    measured and added.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent ends this process when it is time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, max_s + _GRACE_S)
    if not _SELF.exists():
        return
    reserved = int((_SELF / "statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: reserved + max_bytes,
        resource.RLIMIT_FSIZE: max_bytes,
    }
    for what, limit in limits.items():
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    end_first()


def affordable(max_bytes: int) -> int:
    """At most `max_bytes`, and at most half of what this process's control groups have left (Linux): a container that
    exceeds its limit may be killed with all its processes (`memory.oom.group`). A process that is bounded itself can afford
    no more than its own bound."""
    most = [max_bytes, *(left // 2 for left in _bytes_left())]
    if _SELF.exists() and (own := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        most.append(own)
    return min(most)


def _bytes_left() -> Iterator[int]:
    """What is left in each control group with a limit on memory, from this process's to the outermost."""
    with suppress(OSError):
        for line in (_SELF / "cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and controllers != "memory":
                continue
            mounted = _GROUPS if number == "0" else _GROUPS / "memory"
            limit_file, used_file = _GROUP_FILES[2 if number == "0" else 1]
            group = mounted / path.lstrip("/")
            # Within a container the path may be that of the host, and the mount is the container's own group.
            for folder in (group, *group.parents, mounted):
                with suppress(OSError, ValueError):
                    limit = int((folder / limit_file).read_text())  # "max" is no number
                    cache = re.search(
                        r"^(?:total_)?inactive_file (\d+)$",
                        (folder / "memory.stat").read_text(),
                        re.MULTILINE,
                    )
                    used = int((folder / used_file).read_text()) - int(cache[1] if cache else 0)
                    yield max(0, limit - used)
                if folder == mounted:
                    break


def end_first() -> None:
    """If the kernel must kill somebody for memory, then this process, and not the one that answers requests (Linux)."""
    with suppress(OSError):
        (_SELF / "oom_score_adj").write_text("1000")


def unbound_memory() -> None:
    """Lift the bound on memory as far as the kernel lets this process: a report of the failure needs a little."""
    with suppress(ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
