"""What the parent knows of its worker processes: each sends its status over a pipe of its own, about once a
second."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import msgspec

from stream_scrub.observability import health, metric_catalogue
from stream_scrub.observability.process_status import ProcessStatus


@dataclass(slots=True)
class _Child:
    since: float
    status: ProcessStatus | None = None
    heard_at: float = 0.0
    listener: threading.Thread | None = None


class ChildProcesses:
    """The statuses of several processes. A process that has ended, or has sent nothing yet, is shown as not ready and
    without values; its successor's values begin at zero. Whether each was ever ready to work is remembered. With
    `shared` each is told the statuses of all whenever it sends its own.
    """

    def __init__(self, names: Sequence[str], limit_s: float, *, shared: bool = False) -> None:
        self._limit_s = limit_s
        self._shared = shared
        self._lock = threading.Lock()
        now = time.monotonic()
        self._children = {name: _Child(now) for name in names}
        self._begun: set[str] = set()

    def started(self, name: str, pipe: Connection) -> None:
        """A process has been started. Its statuses come from this end of its pipe."""
        child = _Child(time.monotonic())
        child.listener = threading.Thread(
            target=self._listen, args=(child, pipe), name=f"from {name}", daemon=True
        )
        with self._lock:
            self._children[name] = child
        child.listener.start()

    def heard_out(self, name: str) -> None:
        """Wait until everything is read that an ended process has sent."""
        if (listener := self._children[name].listener) is not None:
            listener.join()

    def ended(self, name: str) -> None:
        """A process has ended."""
        with self._lock:
            self._children[name] = _Child(time.monotonic())

    def _listen(self, child: _Child, pipe: Connection) -> None:
        with pipe:
            while True:
                try:
                    status = ProcessStatus.decoded(pipe.recv_bytes())
                except (EOFError, OSError):
                    return
                with self._lock:
                    child.status, child.heard_at = status, time.monotonic()
                    if status.health.begun:
                        self._begun.add(status.who)
                if self._shared and not _told(pipe, self()):
                    return

    def __call__(self) -> list[ProcessStatus]:
        """The status of every process now."""
        now = time.monotonic()
        with self._lock:
            return [self._status(name, child, now) for name, child in self._children.items()]

    def _status(self, name: str, child: _Child, now: float) -> ProcessStatus:
        begun = name in self._begun
        if child.status is not None:
            return child.status.older(now - child.heard_at, begun=begun)
        found = health.missing(now - child.since, self._limit_s, begun=begun)
        return ProcessStatus(name, found, {metric_catalogue.READY.name: [((), 0.0)]})


def _told(pipe: Connection, statuses: Sequence[ProcessStatus]) -> bool:
    """Tell a child the statuses of all; whether it still listens."""
    try:
        pipe.send_bytes(msgspec.msgpack.encode(statuses))
    except OSError:
        return False
    return True


class SharedBoard:
    """In a child: the statuses of all processes as the parent knew them a moment ago; its own until then."""

    def __init__(self, own: Callable[[], ProcessStatus]) -> None:
        self._own = own
        self._told: Sequence[ProcessStatus] = ()
        self._at = 0.0

    def hear(self, content: bytes) -> None:
        """The parent tells."""
        self._told = msgspec.msgpack.decode(content, type=list[ProcessStatus])
        self._at = time.monotonic()

    def __call__(self) -> Sequence[ProcessStatus]:
        """The statuses now."""
        since = time.monotonic() - self._at
        return [each.older(since, begun=each.health.begun) for each in self._told] or [self._own()]


def report_to_parent(
    collect: Callable[[], ProcessStatus],
    to: Connection,
    ended: threading.Event,
    *,
    every_s: float = 1.0,
    hear: Callable[[bytes], None] | None = None,
) -> threading.Thread:
    """In a child: send the status to the parent every `every_s` seconds while it listens, and a last time when
    `ended` is set. `hear` is given what the parent answers each time, where it is one that answers. Returns the thread
    that does it."""

    def report() -> None:
        with to:
            is_last = False
            while not is_last:
                is_last = ended.is_set()
                try:
                    to.send_bytes(collect().encoded())
                    if hear is not None:
                        hear(to.recv_bytes())
                except (OSError, EOFError):
                    return
                ended.wait(0 if is_last else every_s)

    thread = threading.Thread(target=report, name="status", daemon=True)
    thread.start()
    return thread
