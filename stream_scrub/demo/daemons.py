"""The demo's worker and its recall: daemons, each in a process of its own.

In the demo's own process they would share the interpreter with the lead producer and the checker: verdicts and deltas
would wait for them. In production these are other machines. The worker is the one that `stream-scrub worker` runs. The
recall daemon needs committed offsets and a time index, which the embedded broker lacks; it judges and
recalls by its own code (`recall/member.py`).
"""

import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.clock import Throttle, from_millis
from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.embedded import EmbeddedProducer, EmbeddedReader
from stream_scrub.log.follower import Follower
from stream_scrub.ops import following, metric_catalogue, processes
from stream_scrub.ops.daemon import Daemon, Process, work_as_child
from stream_scrub.ops.loop_state import RecallState
from stream_scrub.ops.metric_catalogue import Side
from stream_scrub.recall.member import Emission, Member
from stream_scrub.scrub import scrubbing
from stream_scrub.worker import start as worker

_TAIL_BYTES, _LINES = 16_384, 20
_WAIT_S, _SOON_S, _LOOK_EVERY_S = 0.05, 0.01, 5.0
_BEAT_LIMIT_S = 60.0  # no probe asks for it


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


class DemoWorkerState(NamedTuple):
    """The worker's last reported state, at most about a second old."""

    assigned: int = 0  # partitions
    position: int = -1  # of its index
    reasons: Mapping[str, int] = MappingProxyType({})  # prospects emitted
    aborts: int = 0  # batches given up


class DemoProcess:
    """A daemon in a process of its own, from `__init__` to `stop`."""

    def __init__(self, side: Side, daemon: Daemon[Any], log_file: Path, log: FilteringBoundLogger) -> None:
        self._name = daemon.settings.worker.id
        self._children = processes.ChildProcesses(side, [self._name], daemon.limit_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, args=((daemon, log_file), log), daemon=True)
        self._thread.start()

    def _keep(self, arguments: tuple[Any, ...], log: FilteringBoundLogger) -> None:
        # The process inherits this, so Ctrl-C does not end it: the demo does.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        processes.keep([self._name], _child, arguments, self._children, log, self._stopping)

    def stop(self) -> None:
        """Stop it, and wait for its end and for its last report."""
        self._stopping.set()
        self._thread.join()
        self._children.drain(self._name)


class WorkerProcess(DemoProcess):
    """A worker."""

    def __init__(self, settings: Settings, log_file: Path, log: FilteringBoundLogger) -> None:
        work = partial(worker.work, record_limit=None, embedded=True)
        super().__init__(Side.WORKER, replace(worker.daemon(settings), work=work), log_file, log)

    def need(self) -> None:
        """Raises Unavailable when it has ended by itself."""
        if not self._thread.is_alive():
            raise Unavailable("the worker has ended by itself")

    @property
    def state(self) -> DemoWorkerState:
        """The state that it reported last."""
        (status,) = self._children()
        if not (prospects := status.samples(metric_catalogue.PROSPECTS)):  # it has reported nothing yet
            return DemoWorkerState()

        def count(metric: metric_catalogue.Metric) -> int:
            return int(sum(sample.value for sample in status.samples(metric)))

        reasons = {prospect.labels["reason"]: int(prospect.value) for prospect in prospects if prospect.value}
        assigned, position = count(metric_catalogue.ASSIGNED), count(metric_catalogue.POSITION)
        return DemoWorkerState(assigned, position, reasons, count(metric_catalogue.ABORTS_TOTAL))


def _child(daemon: Daemon[Any], log_file: Path, name: str, alive: Connection, parent: Connection) -> None:
    with log_file.open("ab") as file:
        os.dup2(file.fileno(), 2)
    work_as_child(daemon, name, alive, parent)


@contextmanager
def recalling(settings: Settings, log_file: Path, log: FilteringBoundLogger) -> Iterator[None]:
    """Recall, for the length of a block."""
    process = DemoProcess(Side.RECALL, Daemon(settings, RecallState, _work, _BEAT_LIMIT_S), log_file, log)
    try:
        yield
    finally:
        process.stop()


def _work(process: Process[RecallState]) -> None:
    settings, state, log = process.settings, process.state, process.log
    with following.counted(clients.Brokers(settings, log, embedded=True), state) as follower:
        _DemoRecall(settings, follower, process.stopping).run()


class _DemoRecall:
    """The only member, of every partition, which it has from the first record on."""

    def __init__(self, settings: Settings, follower: Follower, stopping: threading.Event) -> None:
        bootstrap, topics = settings.kafka.bootstrap_servers, settings.topics
        self._follower, self._stopping = follower, stopping
        self._member = Member(scrubbing.scrubber(settings, hold=False), settings.recall.keep_days)
        self._reader = EmbeddedReader(bootstrap, [topics.allowed])
        self._producer = EmbeddedProducer(bootstrap, topics.recalled)
        self._upto = dict.fromkeys(self._reader.partitions, 0)
        for partition in self._upto:
            self._member.outstanding.begin(partition)
        self._looking = Throttle(_LOOK_EVERY_S)

    def run(self) -> None:
        """Recall until the demo ends."""
        while not self._stopping.is_set():
            fetched = self._reader.batch(_WAIT_S)
            leads = self._member.leads.read(fetched, datetime.now(UTC))
            # The worker may know more of the log for a moment.
            while self._follower.index.position < leads.position and not self._stopping.wait(_SOON_S):
                pass
            now, index = datetime.now(UTC), self._follower.index
            since = from_millis(self._follower.sealed_ms) or now
            for due in self._member.due(index, now, since, self._upto, look=self._looking.is_due()):
                self._emit(due)
            for topic, partition, offset, _ in fetched.lasts():
                self._upto[topic, partition] = offset + 1
            self._emit(self._member.take(fetched, leads, now, since, self._upto))

    def _emit(self, emission: Emission) -> None:
        for (number, recall), header in zip(emission.recalls.items(), emission.headers, strict=True):
            self._producer.produce(recall, b"+%d" % number, [header])
        self._producer.serve()
        self._member.committed(emission)
