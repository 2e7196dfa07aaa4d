"""One worker's partitions: which are read, and what happens to them, counted and logged. One thread."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from itertools import groupby
from operator import itemgetter

from stream_scrub.config.settings import Inputs, outputs_of
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.model import BeginAt, Deadline, Logger, PartitionKey
from stream_scrub.ops import metric_catalogue
from stream_scrub.ops.health import DO
from stream_scrub.ops.loop_state import WorkerState

_RESETS_MAX = 1000
_DELETED = "raise retention.ms of the topic, and find out what kept the workers from reading"


@dataclass(eq=False)
class PartitionEvents:
    """The partitions of one worker. `multi_topic`: they belong to more than one topic."""

    state: WorkerState
    log: Logger
    begin_at: BeginAt | None = None
    _: KW_ONLY
    multi_topic: bool
    _resets: deque[tuple[PartitionKey, int]] = field(
        default_factory=lambda: deque(maxlen=_RESETS_MAX), init=False
    )
    _deleted_upto: dict[PartitionKey, int] = field(default_factory=dict, init=False)

    def labels(self, partitions: Iterable[PartitionKey]) -> list[int] | list[str]:
        """Partitions for people: by number, or by topic and number if there are several topics."""
        if self.multi_topic:
            return [f"{topic}/{partition}" for topic, partition in sorted(partitions)]
        return sorted(partition for _, partition in partitions)

    def label(self, partition: PartitionKey) -> str:
        """One partition for people."""
        return str(*self.labels([partition]))

    def moved(self, event: str, partitions: list[PartitionKey]) -> None:
        """Partitions were "assigned", "revoked" or "lost"."""
        self.state.moved(event, len(partitions))
        self.log.info(f"partitions {event}", partitions=self.labels(partitions), assigned=self.state.assigned)

    def settled(self, seconds: float) -> None:
        """Records are polled again, so long after a change of the assignment."""
        self.state.metrics[metric_catalogue.REBALANCE_SECONDS].observe(seconds)

    def chosen(self, offsets: dict[PartitionKey, int]) -> None:
        """Partitions without a committed offset start at these."""
        self.log.warning(
            "no committed offset: starting at the configured position",
            at=self.begin_at,
            offsets={self.label(key): offset for key, offset in offsets.items()},
        )

    def recreated(self, partitions: list[PartitionKey]) -> None:
        """The topics of these partitions were deleted and created again."""
        for topic, of_topic in groupby(partitions, itemgetter(0)):
            self.state.topic_recreated(topic, self.log, partitions=[partition for _, partition in of_topic])

    def reset(self, key: PartitionKey, offset: int) -> None:
        """The client's log says that the record at this offset is gone: it goes on with what is left. May be called
        from within a poll."""
        self._resets.append((key, offset))

    def count_deleted(self, first: Callable[[PartitionKey, Deadline], int], deadline: Deadline) -> None:
        """Count and log prospects that retention deleted before they were read. `first` asks the brokers for a
        partition's oldest offset; if none answers, the next call counts them."""
        while self._resets:
            key, wanted = self._resets[0]
            try:
                oldest = first(key, deadline)
            except (Unavailable, Refused):
                return
            self._resets.popleft()
            wanted = max(wanted, self._deleted_upto.get(key, 0))
            if oldest <= wanted:
                continue  # the topic was created again, or this is counted: a place is committed with the next batch only
            self._deleted_upto[key] = oldest
            self.state.metrics[metric_catalogue.DELETED_UNREAD].labels(self.label(key)).inc(oldest - wanted)
            self.log.error(
                "prospects were deleted before they were read",
                partition=self.labels([key])[0],
                offsets=[wanted, oldest - 1],
                at_most=oldest - wanted,
                do=_DELETED,
            )


@dataclass(eq=False)
class InputTopics:
    """Keeps a source from reading partitions that the session could not emit to."""

    source: ProspectSource
    session: Session
    inputs: Inputs
    events: PartitionEvents
    state: WorkerState
    log: Logger
    list_every_s: float
    _logged: list[PartitionKey] = field(default_factory=list, init=False)
    _listed: Deadline = field(default_factory=lambda: Deadline.after(0), init=False)

    def measure(self, deadline: Deadline) -> None:
        """Ask which topics exist, and how many partitions the outputs have. While no broker answers, the last answer
        counts."""
        with suppress(Unavailable, Refused):
            if self.inputs.pattern is not None:
                self._list(deadline)
            self.source.widen({topic: self._width(topic, deadline) for topic in self.source.topics})

    def _list(self, deadline: Deadline) -> None:
        # Librdkafka has patterns too. Ours are the same as in the commands, and never match our own outputs.
        self._listed = Deadline.after(self.list_every_s)
        routes = self.inputs.among(self.session.names(deadline))
        topics = [each.input for each in routes]
        if topics != list(self.source.topics):
            self.session.reach(outputs_of(routes))
            self.source.follow(topics)
            self.log.info("input topics changed", topics=topics)

    def _width(self, topic: str, deadline: Deadline) -> int:
        try:
            return self.session.width(self.inputs.route(topic).outputs, deadline)
        except Refused:
            if self.inputs.several:
                return 0  # one input without outputs must not stop the others
            raise

    def look(self, deadline: Deadline, *, ask: bool) -> None:
        """Call it about once a second; `ask`: there is a reason to ask the brokers. Counts the partitions that wait, and
        logs a line when they change."""
        if ask or (self.inputs.pattern is not None and self._listed.passed):
            self.measure(deadline)
        waiting = self.source.waiting
        self.state.unread = self.events.labels(waiting)
        if waiting and waiting != self._logged:
            self.log.warning(
                "partitions not read: the output topics have fewer partitions",
                partitions=self.state.unread,
                do=DO["partitions"],
            )
        elif self._logged and not waiting:
            self.log.info("all partitions read again")
        self._logged = waiting
