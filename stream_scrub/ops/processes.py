"""Several processes of one kind on one machine: the parent starts them, restarts those that died, and shows the status
that each child reports over a pipe about once a second."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import msgspec

from stream_scrub.atomic_file import try_lock
from stream_scrub.config.settings import Worker
from stream_scrub.errors import ConfigError
from stream_scrub.model import Logger
from stream_scrub.ops import crash_report, health, metric_catalogue
from stream_scrub.ops.metric_catalogue import Side
from stream_scrub.ops.metrics import Metrics, ProcessStatus

Params = ParamSpec("Params")
Result = TypeVar("Result")
Message = TypeVar("Message", bound=msgspec.Struct)
_POLL_S = 0.25
_LAST_S = 5.0  # a child that dies closes its pipe first: its exit code comes within this time
_RESTART_S = 1.0
_STOP_S = 30.0


def stop_on_signals(stopping: threading.Event) -> None:
    """From now on SIGTERM and SIGINT set `stopping`, and nothing else."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()  # an exception raised here could land in the middle of a fetch

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


@contextmanager
def identity(worker: Worker, side: Side) -> Iterator[str]:
    """Yield `worker.id`, or by default the host's name. With `worker.state_dir` each of several processes of a side has a
    name of its own, as in vm7 and vm7_2 (a sign that no host's name has): the first that is free, so that a restart finds its own
    again. Raises ConfigError if another process has the first and no other can be taken, or if a lock is no plain file."""
    host, lock, slot = socket.gethostname(), None, 1
    if worker.state_dir and not worker.id:
        folder = Path(worker.state_dir)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (lock := try_lock(folder / f"stream-scrub-{side}-{slot}.lock")) is None:
                slot += 1
        except OSError as error:
            path = folder / f"stream-scrub-{side}-{slot}.lock"
            # With the host's name instead, two processes would take turns at being fenced.
            if path.is_symlink() or path.is_dir():
                why = f"worker.state_dir: {path} must be a plain file"
                raise ConfigError([f"{why}: remove it, or give each process its own --id"]) from error
            if slot > 1:
                why = f"worker.state_dir: another process uses it, and no name of its own can be taken there ({error.strerror})"
                raise ConfigError([f"{why}: give each process its own --id"]) from error
            # Nothing else can be written there either, and the snapshot's line says why.
    with lock or nullcontext():
        yield worker.id or (host if slot == 1 else f"{host}_{slot}")


def in_daemon_thread(
    work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
) -> "Future[Result]":
    """What `work` returns or raises, from a thread that the end of the process does not wait for. If the future is
    cancelled, the work goes on and its result is dropped."""
    outcome: Future[Result] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work(*args, **kwargs))
        except BaseException as fault:  # noqa: BLE001 - the caller raises it
            outcome.set_exception(fault)

    threading.Thread(target=run, name="daemon-work", daemon=True).start()
    return outcome


def when_gone(alive: Connection, then: Callable[[], None]) -> None:
    """In a child: call `then` when the parent is gone, which ends this pipe."""

    def watch() -> None:
        try:
            alive.recv_bytes()
        except (EOFError, OSError):
            then()

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def one_child(
    target: Callable[..., None], *arguments: Any, name: str
) -> Iterator[tuple[Connection, SpawnProcess]]:
    """Run `target(*arguments, parent, alive)` in a process that is killed at the end of the block; yields our end of the
    pipe to it. It begins with `begin_child(alive)`, and so ends with this process, however that ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    alive, kept_open = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, theirs, alive), name=name, daemon=True)
    process.start()
    theirs.close()
    alive.close()
    try:
        yield ours, process
    finally:
        process.kill()
        process.join()
        ours.close()
        kept_open.close()


class NoAnswer(Exception):
    """A child gave no answer. Its text says why the child was stopped; `code` is its exit code if it was not:
    that of SIGKILL if it closed its pipe, or sent something unreadable, and lived on."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


def answer(
    child: AbstractContextManager[tuple[Connection, SpawnProcess]],
    decoder: msgspec.msgpack.Decoder[Message],
    limit: tuple[float, str],
    why_end: Callable[[], str],
    *,
    begin: Callable[[Connection], None] = lambda _: None,
    is_progress: Callable[[Message], bool] = lambda _: False,
) -> Message:
    """Return the first message of a child of `one_child` that is not progress. `decoder`: of its messages. `limit`: the
    seconds that it may take, and what to say if it takes longer. `why_end` is asked several times a second, in a thread of
    its own, and gives the reason to end, or "". `begin` gets the pipe to the child. Blocks; raises NoAnswer."""
    seconds, too_long = limit
    ends = time.monotonic() + seconds
    why = ""
    is_over = threading.Event()
    with child as (ours, process):

        def watch() -> None:
            nonlocal why
            try:
                while not why and not is_over.wait(_POLL_S):
                    why = why_end() or (too_long if time.monotonic() > ends else "")
            finally:  # also after a fault of `why_end`: without it nothing ends the child
                if not is_over.is_set():
                    process.kill()

        # A thread, because a child may hang before it takes its task, or in the middle of a message. The reasons are in the
        # language of this context.
        watching = threading.Thread(target=copy_context().run, args=(watch,), name="watch child", daemon=True)
        watching.start()
        try:
            begin(ours)
            message = decoder.decode(ours.recv_bytes())
            while is_progress(message):
                message = decoder.decode(ours.recv_bytes())
        except (EOFError, OSError, msgspec.MsgspecError) as error:
            is_over.set()
            watching.join()
            if why:
                raise NoAnswer(why) from error
            process.join(_LAST_S)
            process.kill()
            process.join()
            raise NoAnswer("", process.exitcode) from error
        else:
            return message
        finally:
            is_over.set()
            watching.join()


def begin_child(alive: Connection) -> None:
    """In a child of `one_child`: end with the parent, and leave Ctrl-C to it."""
    when_gone(alive, lambda: os._exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crash_report.watch()


@dataclass(slots=True)
class _Child:
    since: float
    status: ProcessStatus | None = None
    reported_at: float = 0.0
    listener: threading.Thread | None = None


class ChildProcesses:
    """The statuses of several processes. A process that has ended, or has reported nothing yet, is shown as not ready and
    without values; its successor's values begin at zero. `shared`: each child gets the statuses of all in return.
    """

    def __init__(self, side: Side, names: Sequence[str], limit_s: float, *, shared: bool = False) -> None:
        self._side = side
        self._limit_s = limit_s
        self._shared = shared
        self._lock = threading.Lock()
        self._children = {name: _Child(time.monotonic()) for name in names}
        self._begun: set[str] = set()  # names of those that were ever ready
        self._limits: dict[str, int] = {}

    def limit_hit(self, limit: str) -> None:
        """Count a hit of the parent's own limit. It is shown with the first child's."""
        with self._lock:
            self._limits[limit] = self._limits.get(limit, 0) + 1

    def started(self, name: str, pipe: Connection) -> None:
        """A process has been started. Its statuses come from this end of its pipe."""
        child = _Child(time.monotonic())
        child.listener = threading.Thread(
            target=self._listen, args=(child, pipe), name=f"from {name}", daemon=True
        )
        with self._lock:
            self._children[name] = child
        child.listener.start()

    def drain(self, name: str) -> None:
        """Wait until everything that an ended process has sent is read."""
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
                    status: ProcessStatus = pipe.recv()
                    with self._lock:
                        child.status, child.reported_at = status, time.monotonic()
                        if status.health.begun:
                            self._begun.add(status.who)
                    if self._shared:
                        pipe.send(self())
                except (EOFError, OSError):
                    return

    def __call__(self) -> list[ProcessStatus]:
        """The status of every process now."""
        now = time.monotonic()
        with self._lock:
            statuses = [self._status(name, child, now) for name, child in self._children.items()]
            statuses[0] = statuses[0].plus(metric_catalogue.LIMIT_HITS, self._limits)
        return statuses

    def _status(self, name: str, child: _Child, now: float) -> ProcessStatus:
        begun = name in self._begun
        if child.status is not None:
            return child.status.older(now - child.reported_at, begun=begun)
        found = health.missing(now - child.since, self._limit_s, begun=begun)
        metrics = Metrics(self._side, name, only=[metric_catalogue.READY])
        return ProcessStatus(name, found, list(metrics.families()))


class SharedBoard:
    """In a child: the statuses of all processes as the parent knew them a moment ago; its own until then."""

    def __init__(self, own: Callable[[], ProcessStatus]) -> None:
        self._own = own
        self._statuses: Sequence[ProcessStatus] = ()
        self._at = 0.0

    def update(self, statuses: Sequence[ProcessStatus]) -> None:
        """The parent's answer."""
        self._statuses, self._at = statuses, time.monotonic()

    def __call__(self) -> Sequence[ProcessStatus]:
        """The statuses now."""
        since = time.monotonic() - self._at
        return [each.older(since, begun=each.health.begun) for each in self._statuses] or [self._own()]


def report_to_parent(
    status: Callable[[], ProcessStatus],
    to: Connection,
    ended: threading.Event,
    *,
    every_s: float = 1.0,
    answered: Callable[[Sequence[ProcessStatus]], None] | None = None,
) -> threading.Thread:
    """In a child: send the status to the parent every `every_s` seconds, and a last time when `ended` is set. `answered`
    gets the parent's answers, if it is one that answers. Returns the thread."""

    def report() -> None:
        with to:
            is_last = False
            while not is_last:
                is_last = ended.is_set()
                try:
                    to.send(status())
                    if answered is not None:
                        answered(to.recv())
                except (OSError, EOFError):
                    return
                ended.wait(0 if is_last else every_s)

    thread = threading.Thread(target=report, name="status", daemon=True)
    thread.start()
    return thread


def keep(
    names: Sequence[str],
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    children: ChildProcesses,
    log: Logger,
    stopping: threading.Event,
) -> int:
    """Run `target(*arguments, name, alive, to)` in a process for each name until `stopping`, and restart those that died.
    `alive` ends with the parent; the child's statuses go to `to`. A child that ends with 1, 2 or 3 has logged why, and
    the same would happen again: then all end. Returns the highest exit code."""
    context = multiprocessing.get_context("spawn")
    alive, parents_end = context.Pipe(duplex=False)
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
                log.error("process ended", process=name, code=child.exitcode)
                if child.exitcode in (1, 2, 3):
                    codes.append(child.exitcode)
                    stopping.set()
                    break
                stopping.wait(max(0.0, started[name] + _RESTART_S - time.monotonic()))
            ours, theirs = context.Pipe()
            args = (*arguments, name, alive, theirs)
            processes[name] = context.Process(target=target, args=args, name=name)
            processes[name].start()
            theirs.close()  # so that the pipe ends with the child
            children.started(name, ours)
            started[name] = time.monotonic()
        stopping.wait(0.2)
    codes += _ended(list(processes.values()))
    parents_end.close()
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


def _code(exitcode: int | None) -> int:
    # A child that SIGTERM ended before it handled signals has done nothing that could have failed.
    if exitcode == -signal.SIGTERM:
        return 0
    return 1 if exitcode is None or exitcode < 0 else exitcode
