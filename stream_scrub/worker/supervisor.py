"""`worker`: signals, start-up against a broker that may be away, and several processes on one machine.

Each process is a whole worker with an identity of its own (`<id>-<n>`), hence its own transactional id, its own
consumer and its own copy of the index. The parent only watches: it passes signals on, starts anew what died, and serves
health and metrics for all.
"""

import sys
import threading

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Corrupt, ScrubError, Unavailable
from stream_scrub.model import BeginAt
from stream_scrub.observability import child_processes, crash_report, http_server, logs
from stream_scrub.observability.collect import WorkerCollector
from stream_scrub.observability.counters import Counters
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.scrub import backend
from stream_scrub.wiring import clients, garbage, preflight, process_family
from stream_scrub.worker import assembly
from stream_scrub.worker.loop import beat_limit_s

_RETRY_S = (0.5, 1.0, 2.0, 5.0)
_REPORT_S = 1.0  # for the last figures of a child


def run(settings: Settings, begin_at: BeginAt | None = None) -> int:
    """Run the worker or workers until SIGTERM or SIGINT; returns the exit code. `begin_at` is as `assembly.worker`
    takes it."""
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    names = [settings.worker.id]
    if settings.worker.processes > 1:
        names = [f"{settings.worker.id}-{n}" for n in range(settings.worker.processes)]
    try:
        if len(names) == 1:
            collector = collector_of(settings, names[0])
            with http_server.serving(settings.http, Side.WORKER, lambda: [collector()], log):
                return one(settings, collector, log.bind(worker=names[0]), stopping, begin_at)
        children = child_processes.ChildProcesses(names, beat_limit_s(assembly.batch_limits(settings)))
        with http_server.serving(settings.http, Side.WORKER, children, log):
            return process_family.keep(names, _child, (settings, begin_at), children, log, stopping)
    except ScrubError as error:
        log.error("cannot work", why=str(error))
        return 1


def collector_of(settings: Settings, identity: str) -> WorkerCollector:
    """Collects the status of a worker with that identity."""
    limits = assembly.batch_limits(settings)
    return WorkerCollector(
        identity, Counters(), limit_s=beat_limit_s(limits), index_lag_max_s=limits.index_lag_max_s
    )


def one(
    settings: Settings,
    collector: WorkerCollector,
    log: FilteringBoundLogger,
    stopping: threading.Event,
    begin_at: BeginAt | None = None,
) -> int:
    """One worker, from its first look at the broker to its end; returns the exit code."""
    try:
        limit = _preflight(settings, collector.counters, log, stopping)
    except ScrubError as error:
        log.error("cannot work", why=str(error))
        return 1
    return 0 if stopping.is_set() else work(settings, collector, log, stopping, limit, begin_at=begin_at)


def work(
    settings: Settings,
    collector: WorkerCollector,
    log: FilteringBoundLogger,
    stopping: threading.Event,
    limit: int | None,
    identity_of: clients.IdentityOf = clients.topic_identity,
    begin_at: BeginAt | None = None,
) -> int:
    """One worker, once the topics exist. Its outputs take records of at most `limit` bytes. Returns the exit code.
    `identity_of` and `begin_at` are as `assembly.worker` takes them.
    """
    try:
        worker, follower = assembly.worker(
            settings, collector.identity, collector.counters, log, limit, identity_of, begin_at
        )
        collector.attach(follower, worker.rulebook)
        log.info(
            "started",
            topic=str(settings.topics.inputs),
            group=settings.worker.group_id,
            record_limit=limit,
            reader=backend.BEST.name,
        )
        follower.start()
        garbage.settle()
        try:
            worker.run(stopping)
        finally:
            follower.stop()
    except Corrupt as error:
        log.error("stopped on a corrupt log", why=str(error), offset=error.offset)
        return 3
    except ScrubError as error:
        log.error("cannot work", why=str(error))
        return 1
    return 0


def _preflight(
    settings: Settings, counters: Counters, log: FilteringBoundLogger, stopping: threading.Event
) -> int | None:
    """Wait for the brokers, then check the topics. Returns the largest record in bytes that the outputs take, None
    where we may not ask.

    Raises Refused when the topics are not as a worker needs them.
    """
    tries = 0
    problem = RecurringProblem(log, "no broker answers, trying again", "brokers answer")
    while not stopping.is_set():
        try:
            limit = preflight.record_limit(settings, log)
        except Unavailable as error:
            counters.waits("broker", str(error))
            problem.tell(str(error), tries=tries + 1)
            stopping.wait(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1
        else:
            problem.end()
            return limit
    return None


def _child(settings: Settings, begin_at: BeginAt | None, identity: str, link: process_family.Link) -> None:
    crash_report.watch()
    collector = collector_of(settings, identity)
    ended = threading.Event()
    reporter = child_processes.report_to_parent(collector, link.parent, ended)
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    link.stop_with_parent(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    code = crash_report.coded(lambda: one(settings, collector, log.bind(worker=identity), stopping, begin_at))
    ended.set()
    reporter.join(_REPORT_S)
    sys.exit(code)
