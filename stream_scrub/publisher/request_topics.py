"""Both topics of requests as the publisher reads them: what anybody may ask, and what lifts an opposition, which few
may.

Each topic has its partitions, its id, its offsets and its notes; one transaction commits the offsets of both. Between
the two topics only the requests' own moments give an order (`lists/intake/lifts.py`).
"""

from collections.abc import Iterator, Mapping, Sequence

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.kafka.requests_reader import OwnerNote, RequestsReader
from stream_scrub.lists.log.wire import Cursor
from stream_scrub.model import Deadline, Request
from stream_scrub.observability.counters import PublisherCounters
from stream_scrub.wiring import clients


class RequestTopics:
    """One thread. Every method blocks and raises as those of `kafka/requests_reader.py: RequestsReader`."""

    def __init__(self, settings: Settings, log: FilteringBoundLogger, ids: dict[str, str]) -> None:
        """`ids` are the topics' ids at the last `begin`, by name; they are updated for the next one."""
        self._requests = clients.requests(settings, log)
        self._lifts = clients.requests(settings, log, lifts=True)
        self._topics = (self._requests, self._lifts)
        self._refused = settings.topics.refused
        self._log = log
        self._ids = ids

    def note(self) -> OwnerNote:
        """Who publishes by the requests."""
        return self._requests.note()

    def begin(self, deadline: Deadline, counters: PublisherCounters) -> None:
        """Seek to the committed offsets. Logs and counts (a) requests that were deleted before they were read, (b)
        topics that were deleted and created again."""
        for each in self._topics:
            each.begin(deadline, self._ids.get(each.topic, ""))
            if not each.id:
                raise Refused("the broker is too old: requests need Kafka 2.8, whose topics have an id")
            if each.anew:
                clients.made_anew(each.topic, counters, self._log)
            self._ids[each.topic] = each.id
        if missed := sum(each.missed for each in self._topics):
            counters.missed += missed
            self._log.error("requests were deleted from their topic before they were read", count=missed)

    def poll(
        self, idle_s: float, batch_s: float, requests_max: int
    ) -> Iterator[tuple[RequestsReader, list[Request]]]:
        """A batch of each topic that has one. Requests that protect come first, and only for them does it wait."""
        for each, waits in ((self._requests, True), (self._lifts, False)):
            batch = each.poll(idle_s if waits else 0.0, batch_s if waits else 0.0, requests_max)
            if batch:
                yield each, batch

    def look(self) -> None:
        """Check that both topics are still the same ones. Raises Migrated where one is not."""
        for each in self._topics:
            each.look()

    def need_partitions(self) -> None:
        """Raises Unavailable when a topic has other partitions than before: a new one is read from its beginning."""
        if any(each.partitions() != each.assigned for each in self._topics):
            raise Unavailable("a topic of requests has other partitions than before: beginning anew")

    def behind(self) -> dict[tuple[str, int], int]:
        """By topic (as the metrics name it) and partition: how many requests wait."""
        return {
            ("lifts" if each.lifts else "requests", partition): behind
            for each in self._topics
            for partition, behind in each.behind().items()
        }

    def skipped(self) -> dict[str, Mapping[int, int]]:
        """The offsets that `begin` skipped, as `beside` and `consumed` take them."""
        return {each.topic: each.skipped for each in self._topics}

    def beside(
        self, note: OwnerNote, consumed: Mapping[str, Mapping[int, int]], refused: Sequence[Request] = ()
    ) -> TransactionExtras:
        """What a writer commits together with a delta: the offset after the last consumed request, by topic and
        partition; the note; and the refused requests."""
        made = [
            each.beside(note, consumed.get(each.topic, {}), self._refused, refused) for each in self._topics
        ]
        return made[0]._replace(offsets=[place for each in made for place in each.offsets])

    def consumed(self, upto: Mapping[str, Mapping[int, int]]) -> None:
        """Remember that these offsets were committed."""
        for each in self._topics:
            each.consumed(upto.get(each.topic, {}))

    def cursor(self, of: RequestsReader, reached: Cursor, asked: Cursor | None) -> Cursor:
        """The cursor `asked` of a register's last seal, moved to what was reached since in one of the topics."""
        before = Cursor(self._requests.topic, self._requests.id, {}) if asked is None else asked
        return before.with_(reached, lifts=of.lifts)

    def close(self) -> None:
        """Release the connections."""
        for each in self._topics:
            each.close()
