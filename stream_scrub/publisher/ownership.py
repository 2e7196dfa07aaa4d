"""Who publishes by requests: what a second publisher asks before it takes anything over.

Safety does not rest on this: whoever opens a register's writer fences the one before. This is the courtesy before it,
so that the one who would put a live publisher out of work says so and ends instead.
"""

import os
import socket
import time
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Refused
from stream_scrub.kafka.requests_reader import OwnerNote
from stream_scrub.model import family
from stream_scrub.wiring import clients

BEAT_S = 1.0  # a live publisher commits at least that often
_WATCH_S = 4 * BEAT_S
_LOOK_S = 0.25


def identity() -> str:
    """This process among all: its host, the space that its process id counts in, that id, and when it began."""
    return f"{socket.gethostname()}/{_space()}/{os.getpid()}/{_began(os.getpid())}"


def named(owner: str) -> str:
    """An owner for people: host and process id."""
    host, _, rest = owner.partition("/")
    return f"process {rest.split('/')[1]} on {host}" if rest.count("/") == 2 else owner


def need_free(ask: Callable[[], OwnerNote], registers: Collection[str], mine: str = "") -> None:
    """Return when nobody alive publishes any of these registers (without scopes) by requests; at once when nobody did,
    or when that was a process of this machine that is gone. Else watch for some seconds whether its beat goes on.

    Raises Refused, naming who it is; what `ask` raises.
    """
    first = ask()
    if not first.registers.intersection(registers) or first.owner in {"", mine} or _is_gone(first.owner):
        return
    until = time.monotonic() + _WATCH_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        note = ask()
        if note.owner in {"", mine}:
            return
        if note != first:
            held = ", ".join(sorted(note.registers))
            raise Refused(
                f"{named(note.owner)} is the live publisher of {held}: stop it first, or give it the file through its folder"
            )


def leave_to_daemon(settings: Settings, register: str, log: FilteringBoundLogger) -> None:
    """For commands that publish one register: raises Refused when a live publisher daemon has it. Who may not ask, or
    has no topic of requests to ask about, goes on: the writers' fencing keeps them apart all the same.
    """
    requests = clients.requests(settings, log)
    try:
        try:
            requests.note()
        except Refused:
            return
        need_free(requests.note, [family(register)])
    finally:
        requests.close()


def _is_gone(owner: str) -> bool:
    """Whether that was a process of this machine that is surely no more. A process id may be another's by now."""
    host, _, rest = owner.partition("/")
    space, pid, began = ([*rest.split("/"), "", "", ""])[:3]
    if host != socket.gethostname() or not space or space != _space() or not pid.isdigit():
        return False
    return _began(int(pid)) != began


def _space() -> str:
    """This boot's, and this container's, own name; empty where the system tells none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return sha256(f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}".encode()).hexdigest()[:12]
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in ticks since the boot; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
