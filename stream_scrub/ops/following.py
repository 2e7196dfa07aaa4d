"""The index that is followed, by settings: for daemons, and for programs that embed the checker."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stream_scrub.clock import Throttle
from stream_scrub.config import Settings
from stream_scrub.index import Index
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.clients import Brokers
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import Logger
from stream_scrub.ops.log_lines import RecurringProblem, SwapLog

if TYPE_CHECKING:  # it loads the metrics, which a command does without
    from stream_scrub.ops.loop_state import FollowerState

_READING_EVERY_S = 30.0


def counted(
    brokers: Brokers,
    state: "FollowerState",
    logs: Callable[[], ClientLog] | None = None,
    *,
    judged: bool = True,
) -> Follower:
    """A daemon's follower, which logs and counts its swaps and problems. `logs` makes the log of its Kafka client. `judged` is as
    for `Brokers.index_guards`. The caller starts it."""
    log = brokers.log
    problem = RecurringProblem(log, "the log cannot be followed, trying again", "the log is followed")
    unwritten = RecurringProblem(log, "snapshot not written", "snapshot written")
    lines, reading = SwapLog(log), Throttle(_READING_EVERY_S, at_once=False)

    def swapped(index: Index, seconds: float, stall_s: float) -> None:
        """An index from before the log's end was first reached is history: it is counted and not logged."""
        is_news, sealed_ms = follower.lag_s is not None, follower.sealed_ms
        waited_s = time.time() - sealed_ms / 1000 if is_news and sealed_ms is not None else None
        state.swapped(index.position, seconds, stall_s, waited_s)
        if is_news:
            lines.swapped(index, seconds, stall_s, waited_s)

    def read(offset: int, end: int) -> None:
        if reading.is_due():
            log.info("reading the opposition log", offset=offset, end=end)

    def at_end() -> None:
        problem.end()
        lines.flush()

    def written(why: str) -> None:
        if why:
            state.snapshot_unwritten()
        unwritten.report(why)

    follower = _follower(
        brokers,
        logs,
        judged=judged,
        on_write=written,
        on_swap=swapped,
        on_trouble=problem.occurred,
        on_read=read,
        on_end=at_end,
    )
    return follower


def following(settings: Settings, log: Logger) -> Follower:
    """A follower of the log, to be entered. With `worker.state_dir` it begins with the snapshot there, and keeps it up to
    date."""
    return _follower(
        Brokers(settings, log),
        on_write=RecurringProblem(log, "snapshot not written", "snapshot written").report,
        on_trouble=lambda text: log.warning("the log cannot be followed, trying again", trouble=text),
    )


def _follower(
    brokers: Brokers,
    logs: Callable[[], ClientLog] | None = None,
    *,
    judged: bool = True,
    on_write: Callable[[str], None],
    **hooks: Callable[..., None],
) -> Follower:
    settings, log = brokers.settings, brokers.log
    snapshots = None
    if settings.worker.state_dir:
        snapshots = SnapshotWriter(
            Path(settings.worker.state_dir),
            settings.topics.log,
            on_unused=lambda why: log.warning("snapshot not used", why=why),
            on_write=on_write,
        )
    return Follower(
        lambda: brokers.log_reader(None if logs is None else logs()),
        guards=brokers.index_guards(judged=judged),
        snapshots=snapshots,
        max_numbers=settings.lists.max_numbers,
        **hooks,
    )
