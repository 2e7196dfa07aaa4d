"""From settings to the index in force: for workers and servers, which count and log what happens, and for programs that
embed the checker."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.index import Index
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.lists.log.follower import Follower
from stream_scrub.lists.log.snapshot_writer import SnapshotWriter
from stream_scrub.observability.counters import FollowerCounters
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.observability.swap_log import SwapLog
from stream_scrub.wiring import clients


def counted(
    settings: Settings,
    counters: FollowerCounters,
    log: FilteringBoundLogger,
    logs: Callable[[], ClientLog],
    identity_of: clients.IdentityOf = clients.topic_identity,
) -> Follower:
    """A follower that logs and counts its swaps and problems. `logs` makes the log of its Kafka client. Start it."""
    problem = RecurringProblem(log, "the log cannot be followed, trying again", "the log is followed")
    lines = SwapLog(log)

    def swapped(index: Index, seconds: float, stall_s: float) -> None:
        """An index that was made before the log's end was first reached is history: it is counted and not logged."""
        is_news, sealed_ms = follower.lag_s is not None, follower.sealed_ms
        waited_s = time.time() - sealed_ms / 1000 if is_news and sealed_ms is not None else None
        counters.swapped(index.position, seconds, stall_s, waited_s)
        if is_news:
            lines.tell(index, seconds, stall_s, waited_s)

    def at_end() -> None:
        problem.end()
        lines.tell_rest()

    follower = Follower(
        lambda: clients.log_reader(settings, logs(), identity_of),
        start=settings.lists.start,
        snapshots=_snapshot_writer(settings, log),
        max_numbers=settings.lists.max_numbers,
        on_swap=swapped,
        on_trouble=problem.tell,
        on_end=at_end,
    )
    return follower


@contextmanager
def following(settings: Settings, log: FilteringBoundLogger) -> Iterator[Follower]:
    """A follower of the log, for as long as the context lasts. With `worker.state_dir` it begins with the snapshot
    there, and keeps it up to date."""
    follower = Follower(
        lambda: clients.log_reader(settings, clients.client_log(settings, log, "follower")),
        start=settings.lists.start,
        snapshots=_snapshot_writer(settings, log),
        max_numbers=settings.lists.max_numbers,
        on_trouble=lambda text: log.warning("the log cannot be followed, trying again", trouble=text),
    )
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def _snapshot_writer(settings: Settings, log: FilteringBoundLogger) -> SnapshotWriter | None:
    if not settings.worker.state_dir:
        return None
    return SnapshotWriter(
        Path(settings.worker.state_dir),
        settings.topics.log,
        on_trouble=lambda text: log.warning("keeping a snapshot", problem=text),
    )
