"""The topic of recalls as a dialler follows it: every partition from a moment on, committed records only, in no group.

Its ends are the leaders' words: a broker that was deposed and does not know it gives an old one (docs/decisions.md), and
nothing here notices.
"""

from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub import clock
from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.asking import AdminClient, poll_all
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import place, translate, translating
from stream_scrub.kafka.offsets import LATEST, partitions_of
from stream_scrub.model import Deadline

_ASK_S, _ASK_EVERY_S = 5.0, 0.2
_RECORDS = 2000
_ASKED_MAX = 8


class RecallRecord(NamedTuple):
    """One record with its partition and offset."""

    value: bytes | None
    place: str
    written_after: float  # by `clock.elapsed`; -inf if unknown. No other machine's clock is believed


class RecallsReader:
    """One thread. `options`: those of `Role.OUTPUT_READER`. `since`: records with an earlier timestamp may be left out."""

    def __init__(self, options: dict[str, Any], topic: str, since: datetime) -> None:
        self._topic = topic
        self._since = OffsetSpec.for_timestamp(int(since.timestamp() * 1000))
        self._consumer = Consumer(options)
        self._admin = AdminClient(asking_options(options))
        self._upto: dict[int, int] = {}
        self._asked_at = float("-inf")
        self._ends: Mapping[int, int] = {}
        # The last questions for the ends, the latest first: a record behind an end was written after the question.
        self._asked: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=_ASKED_MAX)
        self.complete_at = float("-inf")
        """A moment by `clock.elapsed`: everything that was committed before it has been returned."""

    def read(self, wait_s: float) -> list[RecallRecord]:
        """The next records, after at most `wait_s`. Raises Unavailable, Refused."""
        age_s = clock.elapsed() - self._asked_at
        if age_s >= (_ASK_EVERY_S if self.complete_at >= self._asked_at else _ASK_S):
            self._ask()
        records = []
        failure: KafkaError | None = None
        for message in self._consumer.consume(_RECORDS, wait_s):
            partition, offset = message.partition() or 0, message.offset() or 0
            if (error := message.error()) is None:
                where = place(self._topic, partition, offset)
                records.append(RecallRecord(message.value(), where, self._written_after(partition, offset)))
                self._upto[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._upto[partition] = max(offset, self._upto.get(partition, 0))
            else:
                failure = error
        if failure is not None:
            self._assign()  # what the client has after an error may have a gap
            if not records:
                raise translate(failure, f"following {self._topic}")
        if all(self._upto[each] >= end for each, end in self._ends.items()):
            self.complete_at = self._asked_at
        return records

    def _written_after(self, partition: int, offset: int) -> float:
        for asked_at, ends in self._asked:
            if ends.get(partition, offset + 1) <= offset:
                return asked_at
        return float("-inf")

    def _ask(self) -> None:
        """Ask for the written ends: an open transaction hides later committed records."""
        asked_at, deadline = clock.elapsed(), Deadline.after(_ASK_S)
        poll_all()
        ends = self._offsets(partitions_of(self._admin, self._topic, deadline), LATEST, deadline)
        if min(ends.values(), default=-1) < 0:  # librdkafka calls it a success if no answer came in time
            raise Unavailable(f"asking for the ends of {self._topic}: a leader does not answer")
        if any(end < self._upto.get(each, 0) for each, end in ends.items()):
            self._upto = {}  # created again, or a broker lost records
            self._asked.clear()
        if ends.keys() != self._upto.keys():
            # Without a record of that time, and without an answer, a partition is read from its beginning.
            begins = self._offsets(ends.keys() - self._upto.keys(), self._since, deadline)
            upto = {**begins, **self._upto}
            self._upto = {each: max(0, upto[each]) for each in ends}
            self._assign()
        self._asked_at, self._ends = asked_at, ends
        self._asked.appendleft((asked_at, ends))

    def _offsets(
        self, partitions: Collection[int], which: OffsetSpec, deadline: Deadline
    ) -> Mapping[int, int]:
        """The leaders' answers about written records; -1 for no such record and for no answer in time."""
        places = {TopicPartition(self._topic, each): which for each in partitions}
        if not places:
            return {}
        left_s, written = max(0.1, deadline.left()), IsolationLevel.READ_UNCOMMITTED
        with translating(f"asking for the offsets of {self._topic}"):
            answers = self._admin.list_offsets(places, isolation_level=written, request_timeout=left_s)
            return {each.partition: int(answer.result().offset) for each, answer in answers.items()}

    def _assign(self) -> None:
        self._consumer.assign(
            [TopicPartition(self._topic, each, upto or OFFSET_BEGINNING) for each, upto in self._upto.items()]
        )

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()
