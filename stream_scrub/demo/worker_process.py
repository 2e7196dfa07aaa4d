"""The demo's worker: the one that `stream-scrub worker` runs, in a process of its own.

In the demo's own process it would share the interpreter with the lead producer and the checker, which are other
machines in production: verdicts and deltas would wait for them.
"""

import io
import multiprocessing
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.observability import child_processes, crash_report, logs, metric_catalogue
from stream_scrub.wiring import clients, process_family
from stream_scrub.worker import assembly, supervisor
from stream_scrub.worker.loop import beat_limit_s

_EVERY_S = 0.1
_STOP_S = 20.0
_TAIL_BYTES, _LINES = 16_384, 20


class LogLines:
    """A file that the demo's processes log to; its last lines are shown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("ab", buffering=0)
        self._from = 0

    def last(self) -> list[str]:
        """The last lines since `forget`."""
        with self.path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(self._from, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return lines[-_LINES:]

    def forget(self) -> None:
        """Forget the lines so far."""
        self._from = self.path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The worker's last reported state: its partitions, the position of its index, the prospects emitted by reason,
    and the batches given up."""

    assigned: int = 0
    position: int = -1
    reasons: Counter[str] = field(default_factory=Counter)
    aborts: int = 0


class WorkerProcess:
    """A worker, from `start` to `stop`. Of one thread."""

    def __init__(self, settings: Settings, log_file: Path) -> None:
        self._name = settings.worker.id
        self._children = child_processes.ChildProcesses(
            [self._name], beat_limit_s(assembly.batch_limits(settings))
        )
        context = multiprocessing.get_context("spawn")
        alive, self._held = context.Pipe(duplex=False)
        self._receiver, self._sender = context.Pipe(duplex=False)
        arguments = (settings, log_file, alive, self._sender)
        self._process = context.Process(target=_child, args=arguments, name=self._name, daemon=True)

    def start(self) -> None:
        """Start it. Ctrl-C is the demo's affair: the process inherits that it is ignored."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        self._sender.close()  # so that the pipe ends with the process
        self._children.started(self._name, self._receiver)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def need(self) -> None:
        """Raises Unavailable when it has ended by itself."""
        if self._process.exitcode is not None:
            raise Unavailable(f"the worker has ended by itself, with code {self._process.exitcode}")

    @property
    def state(self) -> WorkerState:
        """The state that it reported last, at most about a tenth of a second ago."""
        (status,) = self._children()
        values = status.values

        def only(metric: metric_catalogue.Metric, otherwise: int) -> int:
            found = values.get(metric.name)
            return int(found[0][1]) if found else otherwise

        reasons = {
            labels[1]: int(value)
            for labels, value in values.get(metric_catalogue.PROSPECTS.name, [])
            if value
        }
        aborts = sum(int(value) for _, value in values.get(metric_catalogue.ABORTS_TOTAL.name, []))
        return WorkerState(
            only(metric_catalogue.ASSIGNED, 0), only(metric_catalogue.POSITION, -1), Counter(reasons), aborts
        )

    def stop(self) -> None:
        """Stop it, and wait for its end and for its last report."""
        self._held.close()
        self._process.join(_STOP_S)
        self.kill()
        self._children.heard_out(self._name)

    def kill(self) -> None:
        """End it at once, if it has not ended yet."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _child(settings: Settings, log_file: Path, alive: Connection, sender: Connection) -> None:
    crash_report.watch()
    collector = supervisor.collector_of(settings, settings.worker.id)
    ended, stopping = threading.Event(), threading.Event()
    reporter = child_processes.report_to_parent(collector, sender, ended, every_s=_EVERY_S)

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    process_family.stop_with(alive, stopping)
    with log_file.open("ab", buffering=0) as stream:
        log = logs.configure("warning", "console", stream)
        code = crash_report.coded(
            lambda: supervisor.work(settings, collector, log, stopping, None, clients.no_identity)
        )
    ended.set()
    reporter.join()
    sys.exit(code)
