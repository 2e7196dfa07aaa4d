"""Prospects that retention deleted before anybody read them. One thread.

The client then reads on at what is left, and only its log says so. Whoever asks the brokers where that is knows what is
gone.
"""

from structlog.typing import FilteringBoundLogger

from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.model import Deadline, PartitionKey
from stream_scrub.observability.counters import Counters

_DO = "raise retention.ms of the topic, and see what kept the workers from reading"


class DeletedUnread:
    """Of one worker."""

    def __init__(self, source: ProspectSource, counters: Counters, log: FilteringBoundLogger) -> None:
        self._source = source
        self._counters = counters
        self._log = log
        self._told: dict[PartitionKey, int] = {}

    def look(self, deadline: Deadline) -> None:
        """To be called about once a second. While no broker answers, the next look tells it."""
        while self._source.resets:
            key, wanted = self._source.resets[0]
            try:
                first = self._source.first(key, deadline)
            except (Unavailable, Refused):
                return
            self._source.resets.popleft()
            self._tell(key, max(wanted, self._told.get(key, 0)), first)

    def _tell(self, key: PartitionKey, wanted: int, first: int) -> None:
        if first <= wanted:
            return  # the topic was made anew, or it was told before: a place is committed with the next batch only
        self._told[key] = first
        (partition,) = self._source.said([key])
        self._counters.lost_unread(str(partition), first - wanted)
        self._log.error(
            "prospects were deleted before they were read",
            partition=partition,
            offsets=[wanted, first - 1],
            at_most=first - wanted,
            do=_DO,
        )
