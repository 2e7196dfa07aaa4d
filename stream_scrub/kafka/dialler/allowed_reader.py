"""The allowed topics as one member of a group of diallers reads them: committed records only, each until it is done.

A lead is done in any order. So a committed offset is that of the first lead that is not done, and its metadata says
which of the later ones are not: they are all that comes again after a crash or from another member.
"""

import base64
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_scrub import clock
from stream_scrub.clock import Throttle
from stream_scrub.kafka.client.producer_calls import leave_group
from stream_scrub.kafka.client.translate import cause_of, translate
from stream_scrub.kafka.offsets import key_of
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import PartitionKey

_COMMIT_EVERY_S = 0.1
_ASK_S = 5.0
_NOTE_MAX = 4_000  # a broker takes 4096 bytes (its offset.metadata.max.bytes)
_NOTE = re.compile(r"upto=(\d+) first=(-?\d+) begun=(\d+) open=(\S*)")
_WINDOW = 1 << 18  # offsets that a note is about


class _PartitionProgress:
    """What is done of one partition: everything from `begun` to `upto` but for `open`, which has their timestamps, where
    known. `begun`: the first offset that the group has read; -1: none yet."""

    def __init__(self) -> None:
        self.open: OrderedDict[int, int | None] = OrderedDict()
        self.upto = self.begun = -1
        self.is_changed = False
        # The offset and timestamp of the record that was read last; before the first one, those in the note.
        self._seen = -1, -1
        self._is_proven = True

    @classmethod
    def noted(cls, committed: TopicPartition) -> Self:
        """As a committed offset with its metadata says; metadata that are not ours say nothing."""
        found, first, noted = _NOTE.fullmatch(committed.metadata or ""), committed.offset, cls()
        noted.begun = min(first, 0)
        with suppress(ValueError, zlib.error):
            if found is not None and first >= 0:
                bits = zlib.decompressobj().decompress(base64.b64decode(found[4]), _WINDOW // 8)
                places = (8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)
                noted.open = OrderedDict.fromkeys(first + each for each in places)
                noted.upto, noted.begun = int(found[1]), int(found[3])
                # With nothing open the note skips no record, and what comes first is new.
                noted._is_proven = not noted.open
                noted._seen = (first, int(found[2])) if noted.open else (first - 1, -1)
        return noted

    def begin(self, offset: int, timestamp_ms: int) -> bool:
        """Whether this record, read now, is not done yet."""
        # A topic that was created again may have its committed offsets still. Other records are there now, and a note that
        # is believed would skip them.
        if offset <= self._seen[0] if self._is_proven else (offset, timestamp_ms) != self._seen:
            self.open.clear()
            self.upto = self.begun = -1
        self._seen, self._is_proven = (offset, timestamp_ms), True
        self.begun = offset if self.begun < 0 else self.begun
        is_open = offset >= self.upto or offset in self.open
        if is_open:
            self.open[offset] = timestamp_ms
            self.upto = max(self.upto, offset + 1)
        return is_open

    def is_done(self, offset: int) -> bool:
        """Whether this record, an earlier one, need not come again."""
        return 0 <= self.begun <= offset and offset not in self.open

    def place(self, key: PartitionKey) -> TopicPartition:
        """The offset to commit, with its note. Where the note has no room for all, later records come again."""
        first, timestamp_ms = next(iter(self.open.items()), (self.upto, -1))
        if timestamp_ms is None:  # not read yet, and without a timestamp the note would not be believed
            first, timestamp_ms = self._seen
        upto = min(self.upto, first + _WINDOW)
        while True:
            bits = bytearray((upto - first + 7) // 8)
            for at in self.open:
                if at < upto:
                    bits[(at - first) // 8] |= 1 << (at - first) % 8
            packed = base64.b64encode(zlib.compress(bits)).decode()
            note = f"upto={upto} first={timestamp_ms} begun={self.begun} open={packed}"
            if len(note) <= _NOTE_MAX:
                return TopicPartition(*key, first, note)
            upto = first + (upto - first) // 2


class AllowedReader:
    """One thread polls; any thread may call the rest. `options`: those of `Role.MEMBER` with the dialler's group."""

    def __init__(self, options: dict[str, Any], topics: Sequence[str]) -> None:
        self._options, self._topics = options, list(topics)
        self._lock = threading.RLock()
        self._progress: dict[PartitionKey, _PartitionProgress] = {}
        self._gone: set[PartitionKey] = set()
        self._commit_due = Throttle(_COMMIT_EVERY_S)
        self._failing_since: float | None = None
        self.commit_failure = ""
        """Why the last commit failed; empty if it did not."""
        self._consumer = self._join()

    def _join(self) -> Consumer:
        self._is_paused: bool | None = None
        consumer = Consumer({**self._options, "on_commit": self._on_commit})
        consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return  # it was replaced, and may call back still
        # An exception here would lose a fetched batch. Without an answer, what was done may come again.
        committed = partitions
        with suppress(KafkaException):
            committed = consumer.committed(partitions, timeout=_ASK_S) if partitions else []
        with self._lock:
            self._progress |= {key_of(each): _PartitionProgress.noted(each) for each in committed}
        # The client keeps one paused that went away while it was, also when it comes back.
        self._is_paused = None

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        with self._lock:
            self._note(next(filter(None, (error, *(each.error for each in places))), None))
            for each in places:
                if (error or each.error) and (progress := self._progress.get(key_of(each))) is not None:
                    progress.is_changed = True

    def _note(self, failure: KafkaError | None) -> None:
        """How a commit ended."""
        self.commit_failure = "" if failure is None else str(translate(failure, "committing what is done"))
        if failure is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = clock.elapsed()

    @property
    def uncommitted_s(self) -> float:
        """For how many seconds every commit has failed; 0 if the last one did not."""
        since = self._failing_since
        return 0.0 if since is None else clock.elapsed() - since

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._commit(wait=True)
            self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        with self._lock:
            for key in map(key_of, partitions):
                self._progress.pop(key, None)
                self._gone.add(key)

    def poll(self, records_max: int, wait_s: float, *, take: bool = True) -> PolledBatch:
        """The next records that are not done, often none, after at most `wait_s`. Without `take` the fetching stops, and
        the membership goes on. Raises Unavailable, Migrated, Refused."""
        if self._is_paused is not (not take):
            (self._consumer.resume if take else self._consumer.pause)(self._consumer.assignment())
            self._is_paused = not take
        messages: list[Message] = []
        failure: KafkaError | None = None
        for message in self._consumer.consume(records_max, wait_s):
            key, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            if (error := message.error()) is not None:
                failure = error
                continue
            with self._lock:
                # Fetched before its partition was given away, it is another member's.
                if key in self._progress and self._progress[key].begin(offset, message.timestamp()[1]):
                    messages.append(message)
        if failure is not None and cause_of(failure).fatal():
            self._rejoin()
        if failure is not None and not messages:
            raise translate(failure, f"consuming {', '.join(self._topics)}")
        return PolledBatch.of(messages, several=True)

    def _rejoin(self) -> None:
        """Replace a consumer that failed for good."""
        with self._lock:
            self._gone.update(self._progress)
            self._progress.clear()
            failed, self._consumer = self._consumer, self._join()
        leave_group(failed)  # without the lock: it may take seconds

    def gone(self) -> set[PartitionKey]:
        """The partitions that were given to others since the last call."""
        with self._lock:
            gone, self._gone = self._gone, set()
        return gone

    def is_done(self, key: PartitionKey, offset: int) -> bool:
        """Whether a record before one that was just read is done."""
        with self._lock:
            return key not in self._progress or self._progress[key].is_done(offset)

    def done(self, key: PartitionKey, offset: int) -> None:
        """This record need not come again, once that is committed."""
        with self._lock:
            if (progress := self._progress.get(key)) is not None:
                progress.open.pop(offset, None)
                progress.is_changed = True
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit what is done, at most ten times a second. Call it often."""
        if self._commit_due.is_due():
            self._commit()

    def _commit(self, *, wait: bool = False) -> None:
        """Where that fails, what was done comes again."""
        # Within the lock: a partition that another member has meanwhile is not committed.
        with self._lock:
            changed = {key: each for key, each in self._progress.items() if each.is_changed or wait}
            places = [each.place(key) for key, each in changed.items() if each.upto >= 0]
            try:
                if places and wait:
                    self._consumer.commit(offsets=places, asynchronous=False)
                elif places:
                    self._consumer.commit(offsets=places)
            except KafkaException as error:
                self._note(error.args[0])
            else:
                for each in changed.values():
                    each.is_changed = False

    def close(self) -> None:
        """Commit what is done, and leave the group. Blocks as `leave_group`: without a broker, a commit waits for the
        session's time."""
        leave_group(self._consumer, partial(self._commit, wait=True))
