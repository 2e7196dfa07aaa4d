"""Several processes of one kind on one machine: the parent starts them, starts anew what died, and ends them all."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.observability.child_processes import ChildProcesses

_RESTART_S = 1.0
_STOP_S = 30.0


class Link(NamedTuple):
    """What ties a child to its parent. `alive` ends with the parent; `held` is the parent's end of that, to be closed by
    the child; its statuses go to `parent`."""

    alive: Connection
    held: Connection
    parent: Connection

    def stop_with_parent(self, stopping: threading.Event) -> None:
        """In a child: stop when the parent is gone."""
        self.held.close()
        stop_with(self.alive, stopping)


def stop_on_signals(stopping: threading.Event) -> None:
    """From now on SIGTERM and SIGINT set `stopping`, and nothing else."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()  # an exception raised here could land in the middle of a fetch

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def stop_with(alive: Connection, stopping: threading.Event) -> None:
    """In a child: stop when the parent is gone, which ends this pipe."""
    _when_gone(alive, stopping.set)


def end_with(alive: Connection) -> None:
    """In a child whose work nobody wants without its parent: end at once when that is gone, in the middle of anything."""
    _when_gone(alive, lambda: os._exit(1))


def _when_gone(alive: Connection, then: Callable[[], None]) -> None:
    def watch() -> None:
        try:
            alive.recv_bytes()
        except (EOFError, OSError):
            then()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def keep(
    names: Sequence[str],
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    children: ChildProcesses,
    log: FilteringBoundLogger,
    stopping: threading.Event,
) -> int:
    """Run `target(*arguments, name, link)` in a process for each name until `stopping`, and start again those that died.
    One that ends with 1, 2 or 3 has logged why, and the same would happen again: then all end. Returns the highest
    exit code.
    """
    context = multiprocessing.get_context("spawn")
    alive, held = context.Pipe(duplex=False)  # its end of file tells the children that the parent is gone
    processes: dict[str, SpawnProcess] = {}
    started: dict[str, float] = {}
    codes: list[int] = []
    while not stopping.is_set():
        for name in names:
            child = processes.get(name)
            if child is not None and child.is_alive():
                continue
            if child is not None:
                children.ended(name)
                log.error("a worker process ended", worker=name, code=child.exitcode)
                if child.exitcode in (1, 2, 3):
                    codes.append(child.exitcode)
                    stopping.set()
                    break
                stopping.wait(max(0.0, started[name] + _RESTART_S - time.monotonic()))
            ours, theirs = context.Pipe()
            given = (*arguments, name, Link(alive, held, theirs))
            processes[name] = context.Process(target=target, args=given, name=name)
            processes[name].start()
            theirs.close()  # so that the pipe ends with the child
            children.started(name, ours)
            started[name] = time.monotonic()
        stopping.wait(0.2)
    codes += _ended(list(processes.values()))
    held.close()
    return max(codes, default=0)


def _ended(processes: list[SpawnProcess]) -> list[int]:
    """End them all; their exit codes."""
    for child in processes:
        if child.is_alive():
            child.terminate()
    until = time.monotonic() + _STOP_S
    codes = []
    for child in processes:
        child.join(max(0.1, until - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
        codes.append(_code(child.exitcode))
    return codes


def _code(found: int | None) -> int:
    """One that had not begun to heed SIGTERM has done nothing that could have failed."""
    if found == -signal.SIGTERM:
        return 0
    return 1 if found is None or found < 0 else found
