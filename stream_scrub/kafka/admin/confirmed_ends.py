"""The ends of partitions that more than one broker confirms: for a member's lag, and for who must read all that is there.

A broker that was deposed and does not know it gives old ends and no new records, so the lag of its partitions would be 0
for as long as that lasts. An end counts as confirmed if the broker that gave it is named as the leader by another one.
That is weaker than a quorum of replicas (`kafka/quorum.py`), since brokers that are cut off together confirm each other. No
verdict rests on it: it decides whether a recall or a renewal of an earlier process is seen. It costs the same for one
partition as for a thousand: two questions for the leaders of a topic, and one for all ends.
"""

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition

from stream_scrub import clock
from stream_scrub.clock import Throttle
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.offsets import LATEST, key_of
from stream_scrub.kafka.quorum import QUIET, UNNAMED, described_by
from stream_scrub.model import Deadline, PartitionKey

_EVERY_S = 5.0
_ASK_S = 4.0
_AGAIN_S = 0.2
_TRIES = 6  # clients until two brokers have answered: each new one meets a broker at random
_LATE = 2  # clients that are waited for longer: over TLS a far broker takes seconds to connect to


class ConfirmedEnd(NamedTuple):
    """The last confirmed end of a partition."""

    at: float  # by `clock.elapsed`: when it was asked for, or else when the partition came
    offset: int = -1  # before its first open transaction; -1 before the first answer


class ConfirmedEnds:
    """The loop says which partitions it has, and reads what is known of them; another thread asks the brokers.

    `options`: those of the consumer that fetches. A partition ends before its first open transaction; `written`: at the
    end of what is written.
    """

    def __init__(self, options: dict[str, Any], *, written: bool = False) -> None:
        self._options = {**asking_options(options), **QUIET}
        self._isolation = IsolationLevel.READ_UNCOMMITTED if written else IsolationLevel.READ_COMMITTED
        self._due = Throttle(_EVERY_S)
        self._thread: threading.Thread | None = None
        self._answers: Mapping[PartitionKey, ConfirmedEnd] = {}
        self._voters: list[AdminClient] = []
        self._asking: AdminClient | None = None  # asks the leaders; it does not vote
        self._is_alone = False  # whether the cluster is one broker
        self.known: dict[PartitionKey, ConfirmedEnd] = {}
        """The last confirmed end of each partition."""

    def look(self, partitions: Collection[PartitionKey]) -> None:
        """Take over what the brokers have answered about these, and ask them again now and then. Returns at once."""
        new, answers = ConfirmedEnd(clock.elapsed()), self._answers
        before = {key: self.known.get(key, new) for key in partitions}
        self.known = {key: max(end, answers.get(key, end)) for key, end in before.items()}
        is_asking = self._thread is not None and self._thread.is_alive()
        if partitions and not is_asking and self._due.is_due():
            self._thread = threading.Thread(
                target=self._ask, args=(sorted(partitions),), name="ends", daemon=True
            )
            self._thread.start()

    def now(self, partitions: Collection[PartitionKey], deadline: Deadline) -> dict[PartitionKey, int]:
        """The ends of these, as they are now. Raises Unavailable."""
        asked_at = clock.elapsed()
        while True:
            self._ask(sorted(partitions))
            ends = {key: end.offset for key, end in self._answers.items() if end.at >= asked_at}
            if missing := sorted(set(partitions) - ends.keys()):
                if deadline.passed:
                    topic, partition = missing[0]
                    raise Unavailable(
                        f"asking for the end of {topic}/{partition}: no second broker confirms who leads it"
                    )
                time.sleep(_AGAIN_S)
                continue
            return {key: ends[key] for key in partitions}

    def _ask(self, partitions: Sequence[PartitionKey]) -> None:
        deadline, at = Deadline.after(_ASK_S), clock.elapsed()
        topics = sorted({topic for topic, _ in partitions})
        leaders, late = self._vouched_for(topics, deadline)
        asking = AdminClient(self._options) if self._asking is None else self._asking
        own = {key: leader for key, leader, _ in self._named_by(asking, topics, deadline)}
        asked = [key for key in partitions if key in leaders and leaders[key] == own.get(key)]
        ends = {key: ConfirmedEnd(at, end) for key, end in _ends(asking, asked, self._isolation, deadline)}
        if len(ends) < len(partitions):  # other clients may meet brokers that know better
            self._voters.clear()
        self._voters[:0] = late  # the next question finds them connected
        self._asking = None if own and len(ends) < len(partitions) else asking
        self._answers = ends

    def _vouched_for(
        self, topics: Sequence[str], deadline: Deadline
    ) -> tuple[dict[PartitionKey, int], list[AdminClient]]:
        """The leaders that other brokers name, where they agree; and clients that have not answered yet."""
        named: dict[PartitionKey, set[int]] = {}
        heard: set[int] = set()
        known, self._voters = self._voters, []
        late = []
        for _ in range(_TRIES):
            if deadline.passed or len(heard) > 1 or (heard and self._is_alone):
                break
            voter = known.pop() if known else AdminClient(self._options)
            said = list(self._named_by(voter, topics, deadline))
            speakers = {speaker for _, _, speaker in said} - heard
            if not self._is_alone:
                speakers.discard(UNNAMED)  # it may be the leader itself
            if not speakers:
                late += [] if said else [voter]
                continue  # if it has answered, another client speaks for its broker
            self._voters.append(voter)
            heard |= speakers
            for key, leader, speaker in said:
                if leader != speaker or self._is_alone:
                    named.setdefault(key, set()).add(leader)
        return {key: leaders.pop() for key, leaders in named.items() if len(leaders) == 1}, late[:_LATE]

    def _named_by(
        self, client: AdminClient, topics: Sequence[str], deadline: Deadline
    ) -> Iterator[tuple[PartitionKey, int, int]]:
        """Partitions of the topics that this client may describe, with their leader, and the broker that says so."""
        for topic in topics:
            with suppress(KafkaException, ScrubError):
                found = described_by(client, topic, deadline)
                self._is_alone = len(found.brokers) == 1
                for number, each in found.topics[topic].partitions.items():
                    yield (topic, number), each.leader, found.orig_broker_id


def _ends(
    client: AdminClient, partitions: Sequence[PartitionKey], isolation: IsolationLevel, deadline: Deadline
) -> Iterator[tuple[PartitionKey, int]]:
    """The ends that the leaders give, of those that answer. None from a client that can no longer ask."""
    if not partitions:
        return
    try:
        answers = client.list_offsets(
            {TopicPartition(*key): LATEST for key in partitions},
            isolation_level=isolation,
            request_timeout=max(0.1, deadline.left()),
        )
    except KafkaException:
        return
    for place, answer in answers.items():
        with suppress(KafkaException):
            offset = answer.result().offset
            if offset >= 0:  # librdkafka calls -1 a success if no answer came in time
                yield key_of(place), int(offset)
