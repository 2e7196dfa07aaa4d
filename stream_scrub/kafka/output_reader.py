"""Reads output topics for `retry`, a shadow and the fan-out: every partition, committed records only, in no group.

Its place is committed under a group's name with the producer's transaction; the transactional id keeps a second reader
out. One thread.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scrub.errors import Migrated, Unavailable
from stream_scrub.kafka.admin.confirmed_ends import ConfirmedEnds
from stream_scrub.kafka.client.translate import translate, translating
from stream_scrub.kafka.offsets import committed, key_of, need_read_back, new_mark, partitions_of
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline, PartitionKey


class OutputReader:
    """`options`: those of `Role.OUTPUT_READER`. `log_topic`: where marks are put (`kafka/offsets.py: new_mark`)."""

    def __init__(
        self, options: dict[str, Any], topics: Sequence[str], witnesses: Witnesses, log_topic: str
    ) -> None:
        self._options, self._log_topic = options, log_topic
        self._consumer = Consumer(options)
        self._witnesses = witnesses
        self._ids: dict[str, str] = {}
        self._topics = tuple(topics)
        self._written_ends = ConfirmedEnds(witnesses, written=True)
        self._upto: dict[PartitionKey, int] = {}
        self.gone_back: set[PartitionKey] = set()
        """Partitions that lost records: the client reads them from their start again."""
        self.stopped: set[PartitionKey] = set()
        """Partitions with an error of their own since `assign`: their later records are left out."""
        self._error: KafkaError | None = None

    def confirm(self, session: Session, deadline: Deadline) -> None:
        """Call it after a session was opened and before `noted`, whose answer may otherwise be older than what another
        process has committed. Raises Unavailable, Refused, Uncertain, Migrated."""
        mark = new_mark(self._consumer, self._log_topic, deadline)
        session.emit((), (), (), (), (), ())
        session.commit([mark], self.membership, deadline)
        try:
            need_read_back(self._consumer, mark, deadline)
        except Unavailable:
            # Another client may find another coordinator.
            self._consumer.close()
            self._consumer = Consumer(self._options)
            raise

    def noted(self, deadline: Deadline) -> dict[PartitionKey, tuple[int, str] | None]:
        """By partition its committed offset with its note; None without one. Raises Unavailable, Refused."""
        places = [each for topic in self._topics for each in committed(self._consumer, topic, deadline)]
        return {
            key_of(each): (each.offset, each.metadata or "") if each.offset >= 0 else None for each in places
        }

    def partitions(self, deadline: Deadline) -> list[PartitionKey]:
        """The partitions that there are. Raises Unavailable, Refused."""
        return [
            (topic, each) for topic in self._topics for each in partitions_of(self._consumer, topic, deadline)
        ]

    def ids(self, deadline: Deadline) -> dict[str, str]:
        """The topics' ids. Raises Unavailable, Refused."""
        if self._topics:
            self._ids = self._witnesses.ids(self._topics, deadline)
        return self._ids

    def need_same(self, deadline: Deadline) -> None:
        """Raises Migrated if a topic was created again since `ids`: records may be of either. Raises Unavailable, Refused."""
        for topic, identity in self._witnesses.answered_ids(self._topics, deadline).items():
            if identity not in ("", self._ids.get(topic, "")):
                raise Migrated(f"{topic} was deleted and created again")

    def bounds(self, key: PartitionKey, deadline: Deadline) -> tuple[int, int]:
        """The oldest offset of a partition, and its end. Raises Unavailable, Refused."""
        with translating(f"asking for the ends of {key[0]}"):
            return self._witnesses.bounds(key, deadline)

    def since(
        self, keys: Collection[PartitionKey], moment: datetime, deadline: Deadline
    ) -> dict[PartitionKey, int]:
        """By partition: the offset of the first record with that timestamp or a later one; a partition without one is left
        out. Raises Unavailable, Refused."""
        asked = [TopicPartition(*key, int(moment.timestamp() * 1000)) for key in keys]
        with translating("asking for offsets by time"):
            found = self._consumer.offsets_for_times(asked, timeout=max(0.1, deadline.left()))
        for each in found:
            if each.error is not None:
                raise translate(each.error, "asking for offsets by time")
        return {key_of(each): each.offset for each in found if each.offset >= 0}

    def written_ends(self, deadline: Deadline) -> dict[PartitionKey, int]:
        """The end of each partition, open transactions included, as two brokers confirm it: one that was deposed and does not
        know it gives an old end. Raises Unavailable, Refused."""
        return self._written_ends.now(self.partitions(deadline), deadline)

    def assign(self, offsets: Mapping[PartitionKey, int]) -> None:
        """Read these partitions, from these offsets on."""
        self._upto = dict(offsets)
        self.stopped.clear()
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in offsets.items()])

    def poll(self, records_max: int, wait_s: float) -> PolledBatch:
        """The next records, after at most `wait_s`; often none. Raises Unavailable, Refused.

        An error between records is raised by the next call: the client has moved past the records of this one.
        """
        self._raise_error()
        records = []
        for message in self._consumer.consume(records_max, wait_s):
            key = message.topic() or "", message.partition() or 0
            error, offset = message.error(), message.offset() or 0
            if error is None and key in self.stopped:
                continue  # it is after records that could not be read
            if error is None:
                records.append(message)
                if offset < self._upto.get(key, 0):
                    self.gone_back.add(key)
                self._upto[key] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._upto[key] = max(offset, self._upto.get(key, 0))
            else:
                self._error = error
                if key in self._upto:
                    self.stopped.add(key)
        if not records:
            self._raise_error()
            return NOTHING
        self._witnesses.begin_ids(self._topics)
        return PolledBatch.of(records, several=True)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise translate(error, f"reading {', '.join(self._topics)}")

    def read_upto(self, key: PartitionKey) -> int:
        """Everything before this offset was read, markers and aborted records too."""
        return self._upto.get(key, 0)

    @property
    def all_upto(self) -> dict[PartitionKey, int]:
        """`read_upto` of every partition that is read."""
        return dict(self._upto)

    @property
    def membership(self) -> bytes:
        """The group metadata for a commit: not a member's."""
        metadata: bytes = self._consumer.consumer_group_metadata()
        return metadata

    def places(self, notes: Mapping[PartitionKey, tuple[int, str]]) -> list[TopicPartition]:
        """Offsets to commit, each with its note."""
        return [TopicPartition(*key, offset, note) for key, (offset, note) in notes.items()]

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
