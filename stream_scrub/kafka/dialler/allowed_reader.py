"""The allowed topics as one member of a group of diallers reads them: committed records only, each until it is done.

A lead is done in any order. So a committed offset is that of the first lead that is not done, and its metadata says
which of the later ones are not: they are all that comes again after a crash or from another member.

Kafka forgets the offsets of a group some time after its last member left (`offsets.retention.minutes`), and no memory
distinguishes that from a first start. So a partition without an offset is read only if it is empty, or if the caller chose
where. Its offset is committed before its first record is read.

Brokers may lose leads that were read (an unclean election), and new ones get their offsets. A committed offset has the
epoch of the leader that wrote the last lead before it (KIP-320): by it the client learns of such a loss.
"""

import base64
import re
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_scrub import clock
from stream_scrub.clock import Throttle
from stream_scrub.errors import ScrubError
from stream_scrub.kafka.client.producer_calls import leave_group
from stream_scrub.kafka.client.translate import cause_of, translate, translating
from stream_scrub.kafka.offsets import NOT_FETCHING, TRUNCATED, committed_soon, epoch_of, key_of
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import BeginAt, Deadline, Logger, PartitionKey

_COMMIT_EVERY_S = 0.1
_ASK_S = 5.0
_SLOW_S = 10.0  # a commit that takes longer is a problem to be told
_OUTCOME_S = 60.0  # a commit whose outcome the client has not told by then never ends
_NOTE_MAX = 4_000  # a broker takes 4096 bytes (its offset.metadata.max.bytes)
_NOTE = re.compile(
    r"upto=(?P<upto>\d{1,19}) first=(?P<first>-?\d{1,19}) begun=(?P<begun>\d{1,19}) open=(?P<open>\S*)"
)
_WINDOW = 1 << 18  # offsets that a note is about
_PLACE_EVERY_S = 1.0
_LOST_NOTE = "brokers lost leads before this offset"  # of an offset that a start must replace
_NO_OFFSET = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})


class _Stage(Enum):
    """Whether a partition is read."""

    ASSIGNED = auto()  # not yet: the committed offset and its note are not known
    UNPLACED = auto()  # no: the client has no offset from which it could fetch
    LOST = auto()  # no: brokers lost leads, and new ones have their offsets. A start must be chosen
    READ = auto()


class _PartitionProgress:
    """What is done of one partition: everything from `begun` to `upto` but for `open`, which has their timestamps, where
    known. `begun`: the first offset that the group has read; -1: none yet."""

    def __init__(self, stage: _Stage) -> None:
        self.stage = stage
        self.open: OrderedDict[int, int | None] = OrderedDict()
        self.upto = self.begun = -1
        self.is_changed = False
        self._epoch = -1  # of the record that was read last; -1 if unknown
        # The offset and timestamp of the record that was read last; before the first one, those in the note.
        self._seen = -1, -1
        self._is_proven = True

    @classmethod
    def from_offset(cls, offset: int, begun: int) -> Self:
        """A partition that is read from this offset on."""
        progress = cls(_Stage.READ)
        progress.upto, progress.begun = offset, begun
        return progress

    @classmethod
    def noted(cls, committed: TopicPartition) -> Self:
        """As a committed offset with its metadata says; metadata that are not ours say nothing."""
        first, noted = committed.offset, cls(_Stage.READ)
        noted.begun = min(first, 0)
        noted._epoch = epoch_of(committed.leader_epoch)
        found = _NOTE.fullmatch(committed.metadata or "")
        if found is None or first < 0:
            return noted
        upto = int(found["upto"])
        with suppress(ValueError, zlib.error):
            bits = zlib.decompressobj().decompress(base64.b64decode(found["open"]), _WINDOW // 8)
            places = (8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1)
            still_open = OrderedDict.fromkeys(first + each for each in places)
            # Another program's note could skip every lead for ever. With nothing open, the offset is where reading goes on.
            if upto == first or (still_open and first < upto <= first + _WINDOW):
                noted.open, noted.upto, noted.begun = still_open, upto, int(found["begun"])
                # With nothing open the note skips no record, and what comes first is new.
                noted._is_proven = not still_open
                noted._seen = (first, int(found["first"])) if still_open else (first - 1, -1)
        return noted

    def is_cut_before(self, offset: int, epoch: int) -> bool:
        """Whether a record that is read now shows that brokers lost leads that were read: it has the offset of one of them, and
        its leader was elected later."""
        return offset < self.upto and 0 <= self._epoch < epoch

    def begin(self, offset: int, timestamp_ms: int, epoch: int) -> bool:
        """Whether this record, read now, is not done yet."""
        self._epoch = epoch
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
                return TopicPartition(*key, first, note, self._epoch)
            upto = first + (upto - first) // 2


class _Commit(NamedTuple):
    """A commit under way: when it was sent, and when its oldest record was done."""

    at: float
    acked_at: float


class AllowedReader:
    """One thread polls, commits and closes; any thread may call the rest. `options`: those of `Role.MEMBER` with the
    dialler's group. `begin_at`: where partitions without a committed offset start; None: they are not read.

    The client's calls wait for its callbacks, so no lock is held during a call: a callback that waited for the caller's lock
    would stop both for ever.
    """

    def __init__(
        self, options: dict[str, Any], topics: Sequence[str], begin_at: BeginAt | None, log: Logger
    ) -> None:
        # The client reports each partition that it cannot place.
        self._options, self._topics = {**options, "auto.offset.reset": "error"}, list(topics)
        self._begin_at, self._log = begin_at, log
        self._witnesses = Witnesses(options)
        # Partitions that this process has read: if brokers lose their end, the choice for its start does not apply.
        self._begun: set[PartitionKey] = set()
        self._place_due = Throttle(_PLACE_EVERY_S)
        self.no_offsets = ""
        """Why some partitions are not read; empty if all are."""
        self._lock = threading.Lock()
        self._progress: dict[PartitionKey, _PartitionProgress] = {}
        self._gone: set[PartitionKey] = set()
        self._commit_due = Throttle(_COMMIT_EVERY_S)
        # The outcomes of commits, as the client called back.
        self._outcomes: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()
        self._acked_at: float | None = None
        """When the oldest record was done whose commit has not been sent; None without one."""
        self._sent: _Commit | None = None
        self._failure = ""
        self._consumer = self._join()

    def _join(self) -> Consumer:
        self._is_paused: bool | None = None
        consumer = Consumer({**self._options, "on_commit": lambda *outcome: self._outcomes.append(outcome)})
        consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return  # it was replaced, and may call back still
        # `poll` asks for the offsets: an exception here would lose a fetched batch.
        with self._lock:
            self._progress |= {key_of(each): _PartitionProgress(_Stage.ASSIGNED) for each in partitions}
        # The client keeps one paused that went away while it was, also when it comes back.
        self._is_paused = None

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._commit_now()
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
            error = message.error()
            if error is not None and error.code() not in _NO_OFFSET:
                failure = error
            elif self._takes(message, error):
                messages.append(message)
        if failure is not None and cause_of(failure).fatal():
            self._rejoin()
        if failure is not None and not messages:
            raise translate(failure, f"consuming {', '.join(self._topics)}")
        try:
            self._place()
        except ScrubError:
            if not messages:  # the next call tries again
                raise
        return PolledBatch.of(messages, several=True)

    def _takes(self, message: Message, error: KafkaError | None) -> bool:
        """Whether it is a record that is not done yet."""
        key, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        with self._lock:
            progress = self._progress.get(key)
            if progress is None:
                return False  # fetched before its partition was given away, it is another member's
            if error is not None:
                is_truncation = error.code() == KafkaError._LOG_TRUNCATION or TRUNCATED in error.str()
                progress.stage = _Stage.LOST if is_truncation else _Stage.UNPLACED
            # The client fetches by itself, also from an offset that is not examined yet, or that a start must replace.
            if progress.stage is not _Stage.READ:
                return False
            epoch = epoch_of(message.leader_epoch())
            if progress.is_cut_before(offset, epoch):
                progress.stage = _Stage.LOST
                return False
            self._begun.add(key)
            return progress.begin(offset, message.timestamp()[1], epoch)

    def _place(self) -> None:
        """Begin the partitions that are not read yet, where that is no guess. Raises Unavailable, Migrated, Refused."""
        with self._lock:
            waiting = {key: each for key, each in self._progress.items() if each.stage is not _Stage.READ}
        is_new = any(each.stage is _Stage.ASSIGNED for each in waiting.values())
        if not waiting:
            self.no_offsets = ""
        if not waiting or not (is_new or self._place_due.is_due()):
            return
        doing, deadline = "asking where the leads begin", Deadline.after(_ASK_S)
        places = [TopicPartition(*key) for key in sorted(waiting)]
        unknown = []
        for place in committed_soon(self._consumer, places, doing, deadline):
            with translating(doing):
                if not self._begins(place, waiting[key_of(place)], deadline):
                    unknown.append(f"{place.topic}/{place.partition}")
        self.no_offsets = ""
        if unknown:
            self.no_offsets = (
                f"the group has no committed offset in {', '.join(unknown)}, or brokers lost leads there. Either this is its first"
                " start, or Kafka expired its offsets, and leads that were acknowledged would come again. Choose for one start:"
                ' start="beginning" hands out every lead that is still good, start="end" only those that come from now on'
                " (docs/runbook.md, A dialler without committed offsets)"
            )

    def _begins(self, place: TopicPartition, progress: _PartitionProgress, deadline: Deadline) -> bool:
        """Begin a partition with this committed offset; False if a start must be chosen. Raises KafkaException, Unavailable,
        Migrated."""
        key = key_of(place)
        if progress.stage is _Stage.ASSIGNED:
            if place.metadata == _LOST_NOTE:
                progress.stage = _Stage.LOST
            else:
                # Without an offset the client will say so.
                if place.offset >= 0:
                    self._go_on(place)
                return True
        low, high = self._witnesses.bounds(key, deadline)
        begin_at = None if key in self._begun else self._begin_at
        if place.offset >= 0 and max(place.offset, progress.upto) > high:
            progress.stage = _Stage.LOST
        if place.offset >= 0 and progress.stage is not _Stage.LOST:
            # Kafka deleted leads that were not read.
            self._begin(key, max(low, place.offset), progress)
        elif low == high or begin_at == "beginning":
            self._begin_anew(key, low, low)
        elif begin_at == "end":
            # Earlier leads count as done, also if their verdict is renewed.
            self._begin_anew(key, high, 0)
        else:
            if progress.stage is _Stage.LOST and place.metadata != _LOST_NOTE:
                self._note_lost(key, place.offset)
            return False
        return True

    def _go_on(self, committed: TopicPartition) -> None:
        """Read on at the committed offset, as soon as the client fetches."""
        # It goes there by itself, but compares the epoch with the leader's in a seek alone (librdkafka 2.16.0).
        try:
            self._consumer.seek(committed)
        except KafkaException as error:
            if error.args[0].code() not in NOT_FETCHING:
                raise
        else:
            self._reads(key_of(committed), _PartitionProgress.noted(committed))

    def _reads(self, key: PartitionKey, progress: _PartitionProgress) -> None:
        with self._lock:
            if key in self._progress:
                self._progress[key] = progress

    def _note_lost(self, key: PartitionKey, offset: int) -> None:
        """Have every other member, and the next process, wait for a start too. Raises KafkaException, Unavailable, Migrated."""
        self._commit_start(TopicPartition(*key, offset, _LOST_NOTE))
        self._reads(key, _PartitionProgress(_Stage.LOST))  # which commits nothing

    def _commit_start(self, start: TopicPartition) -> None:
        for place in self._consumer.commit(offsets=[start], asynchronous=False) or ():
            if place.error is not None:
                raise translate(place.error, "committing where the leads begin")

    def _begin_anew(self, key: PartitionKey, offset: int, begun: int) -> None:
        """Commit this offset, and read from there on. Raises KafkaException, Unavailable, Migrated."""
        progress = _PartitionProgress.from_offset(offset, begun)
        self._commit_start(progress.place(key))
        self._begun.add(key)
        if self._begin_at is not None:
            self._log.warning(
                "no committed offset: starting at the configured position",
                at=self._begin_at,
                offsets={f"{key[0]}/{key[1]}": offset},
            )
        self._begin(key, offset, progress)

    def _begin(self, key: PartitionKey, offset: int, progress: _PartitionProgress) -> None:
        # The client seeks only in partitions that it reads.
        self._consumer.incremental_unassign([TopicPartition(*key)])
        self._consumer.incremental_assign([TopicPartition(*key, offset)])
        progress.stage = _Stage.READ
        self._reads(key, progress)
        self._is_paused = None

    def _rejoin(self) -> None:
        """Replace a consumer that failed for good."""
        with self._lock:
            self._gone.update(self._progress)
            self._progress.clear()
            self._acked_at = self._sent = None
        failed, self._consumer = self._consumer, self._join()
        self._outcomes.clear()
        leave_group(failed)  # it may take seconds

    @property
    def partitions(self) -> set[PartitionKey]:
        """The partitions that this member has."""
        with self._lock:
            return set(self._progress)

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
                if self._acked_at is None:
                    self._acked_at = clock.elapsed()

    def commit_if_due(self) -> None:
        """Commit what is done, at most ten times a second. Call it before each poll."""
        while self._outcomes:
            error, places = self._outcomes.popleft()
            self._took(places, next(filter(None, (error, *(each.error for each in places))), None))
        # One commit at a time: two that overtake each other would have records come again.
        is_lost = self._sent is not None and clock.elapsed() - self._sent.at > _OUTCOME_S
        if (self._sent is None or is_lost) and self._commit_due.is_due():
            self._send()

    def _send(self) -> None:
        places = self._changed(all_=False)
        if not places:
            return
        try:
            self._consumer.commit(offsets=places)
        except KafkaException as error:
            self._took(places, error.args[0])

    def _commit_now(self) -> None:
        places = self._changed(all_=True)
        if not places:
            return
        failure = None
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            failure = error.args[0]
        self._took(places, failure)

    def _changed(self, *, all_: bool) -> list[TopicPartition]:
        """The offsets to commit; they count as sent. `all_`: also of partitions in which nothing is done."""
        with self._lock:
            changed = {key: each for key, each in self._progress.items() if each.is_changed or all_}
            places = [each.place(key) for key, each in changed.items() if each.upto >= 0]
            for each in changed.values():
                each.is_changed = False
            oldest = self._acked_at
            if self._sent is not None:
                oldest = self._sent.acked_at
            now = clock.elapsed()
            self._sent = _Commit(now, now if oldest is None else oldest) if places else None
            self._acked_at = None
        return places

    def _took(self, places: Sequence[TopicPartition], failure: KafkaError | None) -> None:
        """How a commit ended. What was not committed is sent again."""
        with self._lock:
            if failure is not None:
                for each in places:
                    if (progress := self._progress.get(key_of(each))) is not None:
                        progress.is_changed = True
                if self._sent is not None:
                    self._acked_at = self._sent.acked_at
            self._sent = None
        self._failure = "" if failure is None else str(translate(failure, "committing what is done"))

    @property
    def uncommitted_s(self) -> float:
        """The age of the oldest record that is done and not committed; 0 without one."""
        with self._lock:
            since = self._acked_at if self._sent is None else self._sent.acked_at
        return 0.0 if since is None else clock.elapsed() - since

    @property
    def commit_failure(self) -> str:
        """Why what is done is not committed; empty if it is, or will be at once."""
        if self._failure or self.uncommitted_s < _SLOW_S:
            return self._failure
        return "no lead was asked for since, or the broker does not answer the commit"

    def close(self) -> None:
        """Commit what is done, and leave the group. Blocks as `leave_group`: without a broker, a commit waits for the
        session's time."""
        leave_group(self._consumer, self._commit_now)
        self._witnesses.close()
