"""What the parent knows of its worker processes: each tells its vitals over a pipe of its own, about once a second."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from stream_scrub.observability import health, metric_catalogue
from stream_scrub.observability.process_status import Vitals


@dataclass(slots=True)
class _Child:
    since: float
    told: Vitals | None = None
    told_at: float = 0.0
    listener: threading.Thread | None = None


class Fleet:
    """A board of several processes. One that has ended, or has said nothing yet, is shown as not ready and without
    figures; its successor's begin anew. That each was once ready to work is remembered.
    """

    def __init__(self, names: Sequence[str], limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        now = time.monotonic()
        self._children = {name: _Child(now) for name in names}
        self._begun: set[str] = set()

    def started(self, name: str, told: Connection) -> None:
        """A process has been started; what it tells comes from this end of its pipe."""
        child = _Child(time.monotonic())
        child.listener = threading.Thread(
            target=self._listen, args=(child, told), name=f"from {name}", daemon=True
        )
        with self._lock:
            self._children[name] = child
        child.listener.start()

    def heard_out(self, name: str) -> None:
        """Return when all is known that a process told which has ended."""
        if (listener := self._children[name].listener) is not None:
            listener.join()

    def ended(self, name: str) -> None:
        """It is no more."""
        with self._lock:
            self._children[name] = _Child(time.monotonic())

    def _listen(self, child: _Child, told: Connection) -> None:
        with told:
            while True:
                try:
                    vitals = Vitals.decoded(told.recv_bytes())
                except (EOFError, OSError):
                    return
                with self._lock:
                    child.told, child.told_at = vitals, time.monotonic()
                    if vitals.health.begun:
                        self._begun.add(vitals.who)

    def __call__(self) -> list[Vitals]:
        """Everybody's vitals now."""
        now = time.monotonic()
        with self._lock:
            return [self._vitals(name, child, now) for name, child in self._children.items()]

    def _vitals(self, name: str, child: _Child, now: float) -> Vitals:
        begun = name in self._begun
        if child.told is not None:
            return child.told.older(now - child.told_at, begun=begun)
        found = health.missing(now - child.since, self._limit_s, begun=begun)
        return Vitals(name, found, {metric_catalogue.READY.name: [((), 0.0)]})


def tell(
    vitals: Callable[[], Vitals], to: Connection, ended: threading.Event, *, every_s: float = 1.0
) -> threading.Thread:
    """In a child, for as long as the parent listens: tell it everything, again and again, and a last time when `ended` is
    set. Returns the thread that does."""

    def telling() -> None:
        with to:
            is_last = False
            while not is_last:
                is_last = ended.is_set()
                try:
                    to.send_bytes(vitals().encoded())
                except OSError:
                    return
                ended.wait(0 if is_last else every_s)

    thread = threading.Thread(target=telling, name="vitals", daemon=True)
    thread.start()
    return thread
