"""Who publishes requests: what a second publisher checks before it takes anything over.

Safety does not rest on this: opening a register's writer fences the one before. This check keeps a second
publisher from putting a live one out of work by mistake: it says so and ends.
"""

import os
import socket
import time
from collections.abc import Callable, Collection
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, Refused
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_reader import OwnerNote
from stream_scrub.log.ledger import LogMark
from stream_scrub.log.scan import mark_seals
from stream_scrub.model import Logger, family

BEAT_S = 1.0  # a live publisher commits at least that often
_WATCH_S = 4 * BEAT_S
_LOOK_S = 0.25
_READ_S = 20.0


def identity() -> str:
    """A name for this process that no other one has: its host, its pid namespace, its process id, and when it
    began."""
    return f"{socket.gethostname()}/{_space()}/{os.getpid()}/{_began(os.getpid())}"


def named(owner: str) -> str:
    """An owner for people: host and process id."""
    host, _, rest = owner.partition("/")
    return f"process {rest.split('/')[1]} on {host}" if rest.count("/") == 2 else owner


def need_free(ask: Callable[[], OwnerNote], registers: Collection[str]) -> None:
    """Return when no live publisher has any of these registers (without scopes). Returns at once when no one had
    them, or when the owner was a process of this machine that is gone. Otherwise watches the owner's beat for
    `_WATCH_S` seconds.

    Raises Refused, naming who it is; what `ask` raises.
    """
    first = ask()
    if not first.registers.intersection(registers) or not first.owner or _is_gone(first.owner):
        return
    until = time.monotonic() + _WATCH_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        note = ask()
        if not note.owner:
            return
        if note != first:
            owned = ", ".join(sorted(note.registers))
            raise Refused(
                f"{named(note.owner)} is the live publisher of {owned}: stop it first, or give it the file through its folder"
            )


def need_ours(ask: Callable[[], OwnerNote], mine: str) -> None:
    """A publisher that stood still while its writer was replaced may fence a newer one, and does not know which
    requests that one has taken. Raises Migrated if the last to commit was another; what `ask` raises."""
    if (owner := ask().owner) != mine:
        raise Migrated(f"{named(owner)} has published by requests meanwhile")


def leave_to_daemon(settings: Settings, register: str, log: Logger) -> None:
    """For commands that publish one register: raises Refused when a live publisher daemon has it. Without the right to
    read the requests topic, or without that topic, the command goes on: fencing still keeps the two apart."""
    with closing(clients.Brokers(settings, log).requests()) as requests:
        try:
            requests.note()
        except Refused:
            return
        need_free(requests.note, [family(register)])


def need_counted(settings: Settings, log: Logger, after: int, position: int) -> None:
    """Check that the first list of a register counts, published up to `position` after reading up to `after`.
    Renewing a log fences the registers that are on it, or that rules name. The first list of any other may come to lie
    behind the mark that ends the log, where no reader looks. Raises Refused then; Unavailable."""
    # The first look waits for no open transaction, and may see a mark that was never committed.
    for uncommitted in (True, False):
        with clients.Brokers(settings, log).reading(uncommitted=uncommitted) as reader:
            seals = mark_seals(reader, after, position, _READ_S)
        if not seals:
            return
    mark: LogMark | None = None
    for seal in seals:
        mark = LogMark.after(seal, mark)
    if mark is not None:
        raise Refused(
            f"{mark.why}. The list came too late for this log, at position {position}: import it again then, unless the"
            " renewal says that it failed"
        )


def _is_gone(owner: str) -> bool:
    """Whether that was a process of this machine that surely has ended. Its process id may belong to another process
    by now."""
    host, _, rest = owner.partition("/")
    space, pid, began = ([*rest.split("/"), "", "", ""])[:3]
    if host != socket.gethostname() or not space or space != _space() or not pid.isdigit():
        return False
    return _began(int(pid)) != began


def _space() -> str:
    """A name for this boot and this pid namespace; empty where the system gives none."""
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
