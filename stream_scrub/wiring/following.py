"""From settings to the index in force, for programs that embed the checker: they follow the log as a worker does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.lists.log.follower import Follower
from stream_scrub.lists.log.snapshot_writer import SnapshotWriter
from stream_scrub.wiring import clients


@contextmanager
def following(settings: Settings, log: FilteringBoundLogger) -> Iterator[Follower]:
    """A follower of the log, for as long as the context lasts. With `worker.state_dir` it begins with the snapshot
    there, and keeps it up to date."""
    folder, topic = settings.worker.state_dir, settings.topics.log
    follower = Follower(
        lambda: clients.log_reader(settings, clients.client_log(settings, log, "follower")),
        start=settings.lists.start,
        snapshots=SnapshotWriter(
            Path(folder), topic, on_trouble=lambda text: log.warning("keeping a snapshot", trouble=text)
        )
        if folder
        else None,
        max_numbers=settings.lists.max_numbers,
        on_trouble=lambda text: log.warning("the log cannot be followed, trying again", trouble=text),
    )
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()
