"""Partitions of the prospects topic for which an output topic has no partition of the same number. One thread."""

from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.model import Deadline
from stream_scrub.observability.counters import Counters

_DO = "give both output topics as many partitions (`stream-scrub topics --check`); it goes on by itself"


class MissingPartitions:
    """Keeps a source from reading partitions that its session could not emit to."""

    def __init__(
        self, source: ProspectSource, session: Session, counters: Counters, log: FilteringBoundLogger
    ) -> None:
        self._source = source
        self._session = session
        self._counters = counters
        self._log = log
        self._logged: list[int] = []

    def measure(self, deadline: Deadline) -> None:
        """Ask how many partitions the outputs have. While no broker answers, the last answer holds."""
        with suppress(Unavailable, Refused):
            self._source.widen(self._session.width(deadline))

    def tell(self) -> None:
        """Count the partitions that wait, and log a line when they are others than before."""
        waiting = self._source.waiting
        self._counters.unread = len(waiting)
        if waiting and waiting != self._logged:
            self._log.warning(
                "partitions wait: the output topics have fewer than the prospects", partitions=waiting, do=_DO
            )
        elif self._logged and not waiting:
            self._log.info("no partition waits for the output topics any more")
        self._logged = waiting
