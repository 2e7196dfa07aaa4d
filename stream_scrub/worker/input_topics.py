"""The topics that prospects come from: which ones a pattern matches now, and whether their partitions have a counterpart
in the outputs. One thread.
"""

from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from stream_scrub.config.inputs import Inputs, outputs_of
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.model import Deadline, PartitionKey
from stream_scrub.observability.counters import Counters

_DO = "give both output topics as many partitions (`stream-scrub topics --check`); it goes on by itself"


class InputTopics:
    """Of one worker. Keeps its source from reading partitions that its session could not emit to."""

    def __init__(
        self,
        source: ProspectSource,
        session: Session,
        inputs: Inputs,
        counters: Counters,
        log: FilteringBoundLogger,
        list_every_s: float,
    ) -> None:
        self._source = source
        self._session = session
        self._inputs = inputs
        self._counters = counters
        self._log = log
        self._logged: list[PartitionKey] = []
        self._list_every_s = list_every_s
        self._listed = Deadline.after(0)

    def measure(self, deadline: Deadline) -> None:
        """Ask which topics there are, and how many partitions the outputs have. While no broker answers, the last answer
        holds."""
        with suppress(Unavailable, Refused):
            if self._inputs.pattern is not None:
                self._list(deadline)
            self._source.widen({topic: self._width(topic, deadline) for topic in self._source.topics})

    def _list(self, deadline: Deadline) -> None:
        """The client has patterns as well. Ours are those of the commands, and never match what is written here."""
        self._listed = Deadline.after(self._list_every_s)
        routes = self._inputs.among(self._session.names(deadline))
        topics = [each.input for each in routes]
        if topics != list(self._source.topics):
            self._session.reach(outputs_of(routes))
            self._source.follow(topics)
            self._log.info("prospects come from these topics now", topics=topics)

    def _width(self, topic: str, deadline: Deadline) -> int:
        try:
            return self._session.width(self._inputs.route(topic).outputs, deadline)
        except Refused:
            if self._inputs.several:
                return 0  # one input without outputs must not stop the others
            raise

    def look(self, deadline: Deadline, *, anew: bool) -> None:
        """To be called about once a second; `anew` says that there is a reason to ask. Counts the partitions that wait,
        and logs a line when they are others than before."""
        if anew or (self._inputs.pattern is not None and self._listed.passed):
            self.measure(deadline)
        waiting = self._source.waiting
        self._counters.unread = len(waiting)
        if waiting and waiting != self._logged:
            self._log.warning(
                "partitions wait: the output topics have fewer than the prospects",
                partitions=self._source.said(waiting),
                do=_DO,
            )
        elif self._logged and not waiting:
            self._log.info("no partition waits for the output topics any more")
        self._logged = waiting
