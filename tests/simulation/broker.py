"""The cluster, as its clients see it: one address that is up or down, and remembers all that it acknowledged.

To a client, several brokers differ only in when they answer. A leader that is gone, a coordinator that moved and one
that loads its partition all say "not now" for a while (KafkaApis: NOT_LEADER_OR_FOLLOWER, NOT_COORDINATOR,
COORDINATOR_LOAD_IN_PROGRESS). The model assumes acks=all and min.insync.replicas: nothing acknowledged is lost.
"""

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError

from tests.simulation.group import Group
from tests.simulation.members import Members
from tests.simulation.records import Batch, Partition, Place, Topic, Written
from tests.simulation.txn import GROUP, Coordinator
from tests.simulation.world import WALL_S, World

_METADATA_S = 1.0  # topic.metadata.refresh.interval.ms, shorter than its five minutes
Answer = Callable[[int, Any], None]
Offsets = dict[Place, tuple[int, str]]


class Deposed:
    """One broker that has not heard that others took over from it, and goes on answering readers: for these topics with
    what was on them, and with what groups had committed. Processes of that kind may ask it."""

    def __init__(self, broker: "Broker", kind: str, topics: Iterable[str], until: float) -> None:
        self.kind, self.since, self.until = kind, broker.world.now, until
        found = {place: broker.partition(place) for place in broker.places(topics)}
        self.ends = {place: (each.low, each.end, each.stable) for place, each in found.items()}
        self.offsets = {name: dict(group.committed) for name, group in broker.groups.items()}


class Broker:
    """All brokers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = True
        self.life = 0
        self.not_coordinator_until = self.no_leader_until = 0.0
        self.deposed: Deposed | None = None
        self.topics: dict[str, Topic] = {}
        self.gone: list[Topic] = []  # those that were deleted
        self.groups: dict[str, Group] = {}
        self.modern: dict[str, Members] = {}
        self.session_s = 45.0  # group.consumer.session.timeout.ms
        self.txns = Coordinator(self)

    @property
    def now_ms(self) -> int:
        return int((WALL_S + self.world.now) * 1000)

    def create(self, name: str, partitions: int, **more: Any) -> Topic:
        made = self.topics[name] = Topic(name, partitions, **more)
        self._tell(name)
        return made

    def widen(self, name: str) -> None:
        """One partition more (CreatePartitions)."""
        self.topics[name].partitions.append(Partition())
        self._tell(name)

    def _tell(self, name: str) -> None:
        """Members hear that there is a topic or a partition that they do not read."""
        for members in self.modern.values():
            members.topic_made(name)
        for group in self.groups.values():
            if name in group.topics:
                self.world.at(self.world.now + _METADATA_S, group.topic_made)

    def delete(self, name: str) -> Topic:
        """Delete a topic, and with it what groups have committed of it (GroupCoordinatorService.onPartitionsDeleted).
        Members by KIP-848 lose it at once; those by the classic protocol may not notice
        (tests/contract/test_simulation_model.py: deleted)."""
        gone = self.topics.pop(name)
        self.gone.append(gone)
        for group in self.groups.values():
            for offsets in (group.committed, *group.pending.values()):
                for place in [each for each in offsets if each[0] == name]:
                    del offsets[place]
        for members in self.modern.values():
            members.topic_deleted(name)
        return gone

    def has(self, place: Place) -> bool:
        """Whether there is such a partition."""
        topic = self.topics.get(place[0])
        return topic is not None and place[1] < len(topic.partitions)

    def partition(self, place: Place) -> Partition:
        return self.topics[place[0]].partitions[place[1]]

    def low(self, place: Place) -> int:
        """The first offset that there is; 0 where there is no such partition."""
        return self.partition(place).low if self.has(place) else 0

    def all_of(self, place: Place) -> list[Partition]:
        """The partition, and those of deleted topics that had its name: nobody reads these any more, but whether what
        stands there was committed is of their history."""
        name, at = place
        topics = [each for each in (*self.topics.values(), *self.gone) if each.name == name]
        return [each.partitions[at] for each in topics if at < len(each.partitions)]

    def ends(self, place: Place, deposed: Deposed | None = None) -> tuple[int, int, int]:
        """The first offset, the end and the last stable offset of a partition, as the true leader or another says."""
        if deposed is not None and place in deposed.ends:
            return deposed.ends[place]
        partition = self.partition(place)
        return partition.low, partition.end, partition.stable

    def places(self, topics: Iterable[str]) -> list[Place]:
        """All partitions of these topics."""
        return [
            (name, at)
            for name in topics
            if name in self.topics
            for at in range(len(self.topics[name].partitions))
        ]

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self, name)
        return self.groups[name]

    def members(self, name: str) -> Members:
        """The members of a group by KIP-848; its offsets are in `group`."""
        if name not in self.modern:
            self.modern[name] = self.group(name).modern = Members(self)
        return self.modern[name]

    def restart(self, seconds: float, loading_s: float) -> None:
        """Every connection breaks. When the cluster is back, the coordinators load what they had."""
        self.up = False
        self.life += 1
        self.world.at(self.world.now + seconds, self._back, loading_s)

    def _back(self, loading_s: float) -> None:
        self.up = True
        self.not_coordinator_until = max(self.not_coordinator_until, self.world.now + loading_s)
        for group in self.groups.values():  # sessions begin anew when a coordinator has loaded (onLoaded)
            for member in group.members.values():
                member.seen = self.world.now
        for modern in self.modern.values():
            for each in modern.members.values():
                each.seen = each.told_at = self.world.now

    def coordinates(self, answer: Answer) -> bool:
        """Whether a coordinator answers now; else it says so."""
        if self.world.now < self.not_coordinator_until:
            answer(KafkaError.NOT_COORDINATOR, None)
            return False
        return True

    def leads(self, answer: Answer) -> bool:
        """The same for the leader of a partition."""
        if self.world.now < self.no_leader_until:
            answer(KafkaError.NOT_LEADER_FOR_PARTITION, None)
            return False
        return True

    # -- what clients ask

    def produce(self, place: Place, batch: Batch, answer: Answer) -> None:
        """ReplicaManager.appendRecords with LogValidator's refusals: the answer is about the first record that is
        refused."""
        if not self.leads(answer):
            return
        topic = self.topics.get(place[0])
        if topic is None or place[1] >= len(topic.partitions):
            answer(KafkaError.UNKNOWN_TOPIC_OR_PART, None)
            return
        partition, txn = topic.partitions[place[1]], None
        if batch.producer in partition.open:
            txn = partition.open[batch.producer][0].txn
        else:
            code, txn = self.txns.verify(batch.producer, batch.epoch, place)
            if code:
                answer(code, None)
                return
        code = partition.refusal(batch)
        if code == -1:
            answer(0, partition.base_of(batch.producer, batch.first))
        elif code:
            answer(code, None)
        elif topic.needs_key and any(record.key is None for record in batch.records):
            answer(KafkaError.INVALID_RECORD, None)
        elif sum(len(record.value or b"") + 70 for record in batch.records) > topic.limit:
            answer(KafkaError.MSG_SIZE_TOO_LARGE, None)
        else:
            answer(0, partition.append(batch, txn))

    def commit_offsets(
        self, name: str, who: tuple[int, int], member: tuple[str, str, int], offsets: Offsets, answer: Answer
    ) -> None:
        """TxnOffsetCommit (GroupCoordinatorService.commitTransactionalOffsets)."""
        if not self.coordinates(answer):
            return
        group = self.group(name)
        code, _ = self.txns.verify(*who, (GROUP, 0))
        code = code or group.refusal(*member, offsets)
        if not code and any(place[0] not in self.topics for place in offsets):
            code = KafkaError.UNKNOWN_TOPIC_OR_PART  # KafkaApis.handleTxnOffsetCommitRequest
        if not code:
            group.pending.setdefault(who[0], {}).update(offsets)
        answer(code, None)

    def fetch(
        self,
        places: dict[Place, int],
        count: int,
        wait_s: float,
        read_all: bool,
        answer: Answer,
        deposed: Deposed | None = None,
    ) -> None:
        """Fetch of committed records. It answers (a) at once if there are some, else (b) when some come, or (c) after
        the wait."""
        if not self.leads(answer):
            return
        until = self.world.now + wait_s
        found = self._found(places, count, read_all, deposed)
        if found or not places:
            answer(0, found)
            return
        _Waiting(self, places, count, read_all, until, answer, deposed)

    def _found(
        self, places: dict[Place, int], count: int, read_all: bool, deposed: Deposed | None
    ) -> dict[Place, Any]:
        """By place: the records with their offsets, and the offset to go on at; an error code if the asked offset
        does not exist."""
        found: dict[Place, Any] = {}
        for place, offset in places.items():
            topic = self.topics.get(place[0])
            if topic is None:
                continue
            partition = topic.partitions[place[1]]
            low, last, stable = self.ends(place, deposed)
            end = last if read_all else stable
            if offset < low or offset > last:
                found[place] = (None, KafkaError.OFFSET_OUT_OF_RANGE)
            elif offset < end:
                upto = min(end, offset + count)
                records: list[tuple[int, Written]] = [
                    (at, partition.records[at])
                    for at in range(offset, upto)
                    if not partition.records[at].is_marker and (read_all or partition.records[at].committed)
                ]
                found[place] = (records, upto)
        return found


class _Waiting:
    """A fetch that waits until there is something to return."""

    turn = 0

    def __init__(
        self,
        broker: Broker,
        places: dict[Place, int],
        count: int,
        read_all: bool,
        until: float,
        answer: Answer,
        deposed: Deposed | None,
    ) -> None:
        self.deposed = deposed
        self.broker, self.places, self.count, self.read_all, self.answer = (
            broker,
            places,
            count,
            read_all,
            answer,
        )
        self.over = False
        self.life = broker.life
        for topic, partition in places:
            if topic in broker.topics:  # else it was deleted, and the client asks again after a while
                broker.topics[topic].partitions[partition].changed.waiting.append((self, 0))  # type: ignore[arg-type]
        broker.world.at(until, self._end)

    # A partition's signal wakes this as if it were a waiting thread.

    @property
    def process(self) -> "_Waiting":
        return self

    def later(self, _: float, function: Callable[..., None], turn: int) -> None:
        function(turn)

    def wake(self, _: int) -> None:
        if self.over or any(topic not in self.broker.topics for topic, _ in self.places):
            return
        if found := self.broker._found(self.places, self.count, self.read_all, self.deposed):
            self.over = True
            self.answer(0, found)
            return
        for topic, partition in self.places:
            signal = self.broker.topics[topic].partitions[partition].changed
            if all(each is not self for each, _ in signal.waiting):
                signal.waiting.append((self, 0))  # type: ignore[arg-type]

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self.answer(0, {})
