"""The skeleton of every daemon: signals, logs, health and metrics, one process or several, waiting for brokers, exit code.

Exit codes: 0 stopped by a signal, 1 failed, 3 a corrupt log. 2 (settings) ends the command before a daemon begins.
"""

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Migrated, ScrubError, StaleIndex, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.log.follower import Follower
from stream_scrub.model import Logger
from stream_scrub.ops import crash_report, http_server, logs, processes
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import LoopState
from stream_scrub.ops.metrics import Board, ProcessStatus

RETRY_S = (0.5, 1.0, 2.0, 5.0)
_REPORT_S = 1.0  # for the last figures of a child
_IDLE_S = 0.2
_KEPT_BYTES = 64 << 20
# M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD of glibc's malloc.h. The last one is at most half of the first.
_MALLOC_OPTIONS = {-1: _KEPT_BYTES, -2: _KEPT_BYTES, -3: _KEPT_BYTES // 2}

State = TypeVar("State", bound=LoopState)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Process(Generic[State]):
    """One process of a daemon: what its work gets."""

    settings: Settings
    state: State
    log: Logger
    stopping: threading.Event = field(default_factory=threading.Event)
    board: Board = tuple  # the statuses of all processes

    def wait_for_brokers(self, ask: Callable[[], Answer]) -> Answer | None:
        """What `ask` returns, once the brokers answer. None if the process is asked to stop first. Raises Refused."""
        problem = RecurringProblem(self.log, "no broker answers, trying again", "brokers answer")
        return until_answered(ask, self.state, self.stopping, problem)


def until_answered(
    ask: Callable[[], Answer],
    state: LoopState,
    stopping: threading.Event,
    problem: RecurringProblem,
    *,
    cause: str = "broker",
    retry_s: Sequence[float] = RETRY_S,
) -> Answer | None:
    """What `ask` returns, as soon as it raises neither Unavailable nor Uncertain. None if `stopping` is set first."""
    tries = 0
    while not stopping.is_set():
        try:
            answer = ask()
        except (Unavailable, Uncertain) as error:
            state.waits(cause, str(error))
            problem.occurred(str(error), tries=tries + 1)
            stopping.wait(retry_s[min(tries, len(retry_s) - 1)])
            tries += 1
        else:
            problem.end()
            return answer
    return None


@dataclass(frozen=True)
class Daemon(Generic[State]):
    """A daemon. All of it can be pickled: child processes get it."""

    settings: Settings
    state: type[State]
    work: Callable[[Process[State]], None]  # returns when `stopping` is set; raises ScrubError
    limit_s: float  # how long its loop may go without a heartbeat
    processes: int = 1
    names: tuple[str, ...] = ()  # one process for each of these identities, instead of `processes`
    own_pages: bool = False  # it serves health and metrics itself, for all of its processes
    # In the parent of several processes: what must last as long as they do. Yields the settings for them.
    around_children: Callable[[Settings], AbstractContextManager[Settings]] = nullcontext

    def run(self) -> int:
        """Work until SIGTERM or SIGINT, in one process or several; returns the exit code."""
        settings, stopping = self.settings, threading.Event()
        processes.stop_on_signals(stopping)
        log = logs.configure(settings.log.level, settings.log.format)
        try:
            with processes.identity(settings.worker, self.state.side) as identity:
                return self._run_as(identity, log, stopping)
        except ScrubError as error:
            return _ended_by(error, log)

    def _run_as(self, identity: str, log: Logger, stopping: threading.Event) -> int:
        settings = self.settings
        several = tuple(f"{identity}-{n}" for n in range(self.processes))
        names = self.names or (several if self.processes > 1 else (identity,))
        if len(names) == 1:
            return self._run_here(names[0], log, stopping)
        children = processes.ChildProcesses(self.state.side, names, self.limit_s, shared=self.own_pages)
        with (
            http_server.serving(settings.http, children, children.limit_hit, log, probes_only=self.own_pages),
            self.around_children(settings) as for_children,
        ):
            daemon = replace(self, settings=for_children)
            return processes.keep(names, work_as_child, (daemon,), children, log, stopping)

    def _run_here(self, name: str, log: Logger, stopping: threading.Event) -> int:
        settings = self.settings
        state = self.state(name, settings, self.limit_s)

        def board() -> Sequence[ProcessStatus]:
            return [state.status()]

        with http_server.serving(settings.http, board, state.limit_hit, log, probes_only=self.own_pages):
            return self.exit_code(Process(settings, state, _named(log, state), stopping, board))

    def exit_code(self, process: Process[State]) -> int:
        """Do the work in this process; returns the exit code."""
        try:
            self.work(process)
        except ScrubError as error:
            return _ended_by(error, process.log)
        return 0


def _ended_by(error: ScrubError, log: Logger) -> int:
    """Log why a process cannot work; returns its exit code, as the commands do."""
    if isinstance(error, Corrupt):
        log.error("stopped on a corrupt log", why=str(error), offset=error.offset)
        return 3
    log.error("cannot work", why=str(error))
    return 2 if isinstance(error, ConfigError) else 1


def _named(log: Logger, state: LoopState) -> Logger:
    return log.bind(**dict.fromkeys(state.side.identity, state.identity))


def work_as_child(daemon: Daemon[Any], name: str, alive: Connection, parent: Connection) -> None:
    """In a child of `processes.keep`: do the work, report to the parent, and exit."""
    crash_report.watch()
    settings = daemon.settings
    state = daemon.state(name, settings, daemon.limit_s)
    board, ended, stopping = processes.SharedBoard(state.status), threading.Event(), threading.Event()
    reporter = processes.report_to_parent(
        state.status, parent, ended, answered=board.update if daemon.own_pages else None
    )
    processes.stop_on_signals(stopping)
    processes.when_gone(alive, stopping.set)
    log = _named(logs.configure(settings.log.level, settings.log.format), state)
    code = crash_report.coded(lambda: daemon.exit_code(Process(settings, state, log, stopping, board)))
    ended.set()
    reporter.join(_REPORT_S)
    sys.exit(code)


def judge_until_stopped(
    process: Process[Any],
    follower: Follower,
    turn: Callable[[Index], None],
    give_up: Callable[[], None],
    problem: RecurringProblem,
    *,
    retry_s: float = 1.0,
    hold: Callable[[StaleIndex], None] | None = None,
) -> None:
    """Call `turn` with a usable index until `stopping` is set. A turn that fails and may be repeated is given up: the
    next one must begin again at what is committed. So is one that raises StaleIndex: a prospect needs what is missing.
    `hold`: waits a moment instead, also while no index is usable."""
    state, stopping = process.state, process.stopping
    while not stopping.is_set():
        state.beat()
        try:
            index = follower.usable(process.settings.rules.index_lag_max_s)
        except StaleIndex as stale:
            if hold is not None:
                hold(stale)
                continue
            state.waiting = None  # the status says what the index waits for
            stopping.wait(_IDLE_S)
            continue
        try:
            turn(index)
            problem.end()
        except StaleIndex as stale:
            if hold is not None:
                hold(stale)
                continue
            problem.occurred(str(stale))
            give_up()
            state.waits(stale.cause, str(stale))
            stopping.wait(retry_s)
        except (Migrated, Unavailable, Uncertain) as error:
            state.gave_up(error)
            problem.occurred(str(error), failures=state.failures)
            give_up()
            stopping.wait(retry_s)
    state.stopping = True


def settle_garbage() -> None:
    """Tell the cyclic garbage collector that everything loaded now stays, so that it does not walk all of it every few
    hundred records. Reference counts free a batch's records. Measured in a worker: 2 to 8 % less CPU a prospect."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def keep_freed_memory() -> None:
    """Tell glibc to keep up to 64 MB of freed memory for each thread, for the buffers of the next batch. It would return
    them to the kernel, which clears every page again: three quarters of a worker's page faults. Elsewhere: nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, nbytes in _MALLOC_OPTIONS.items():
            mallopt(option, nbytes)
