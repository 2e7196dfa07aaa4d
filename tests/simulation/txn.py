"""The transaction coordinator, protocol v1 (librdkafka speaks no other: librdkafka#5423).

Each rule is kafka's core/src/main/scala/kafka/coordinator/transaction/TransactionCoordinator.scala: handleInitProducerId
(prepareInitProducerIdTransit), handleAddPartitionsToTransaction, endTransaction with transactionVersion 0, and
abortTimedOutTransactions. Verification of a partition (KIP-890, part 1): AddPartitionsToTxnManager, by which a broker
asks the coordinator whether a write belongs to an open transaction.
"""

import itertools
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from tests.simulation.records import Place

if TYPE_CHECKING:
    from tests.simulation.broker import Broker

GROUP = "__consumer_offsets"
_CLEANUP_S = 1.0  # transaction.abort.timed.out.transaction.cleanup.interval.ms, shorter than its 10 s
Answer = tuple[int, Any]


class Txn:
    """One transaction, from the first partition added to it to its last marker."""

    __slots__ = ("commit", "ended_at", "number", "producer", "tid")
    numbers = itertools.count(1)

    def __init__(self, tid: str, producer: int) -> None:
        self.tid, self.producer = tid, producer
        self.number = next(self.numbers)
        self.commit: bool | None = None
        self.ended_at = 0.0


class Owner:
    """What the coordinator keeps of a transactional id."""

    __slots__ = ("epoch", "left", "partitions", "pid", "since", "state", "timeout_s", "txn")

    def __init__(self, pid: int) -> None:
        self.pid, self.epoch, self.state = pid, -1, "empty"
        self.partitions: set[Place] = set()
        self.timeout_s = self.since = 0.0
        self.left = 0
        self.txn: Txn | None = None


class Coordinator:
    """All transactional ids."""

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.owners: dict[str, Owner] = {}
        self._pids = itertools.count(1000)

    def init(self, tid: str, timeout_s: float) -> Answer:
        """InitProducerId: fences the producer that had the id, and ends its open transaction."""
        owner = self.owners.get(tid)
        if owner is None:
            owner = self.owners[tid] = Owner(next(self._pids))
        if owner.state in ("prepare-commit", "prepare-abort"):
            return KafkaError.CONCURRENT_TRANSACTIONS, None
        if owner.state == "ongoing":
            owner.epoch += 1
            self._end(tid, owner, commit=False)
            return KafkaError.CONCURRENT_TRANSACTIONS, None
        owner.epoch += 1
        owner.state, owner.timeout_s, owner.txn = "empty", timeout_s, None
        return 0, (owner.pid, owner.epoch)

    def _owner(self, tid: str, pid: int, epoch: int) -> tuple[int, Owner | None]:
        owner = self.owners.get(tid)
        if owner is None or owner.pid != pid:
            return KafkaError.INVALID_PRODUCER_ID_MAPPING, None
        # Clients of old versions get INVALID_PRODUCER_EPOCH for PRODUCER_FENCED (KafkaApis).
        return (0 if owner.epoch == epoch else KafkaError.INVALID_PRODUCER_EPOCH), owner

    def add(self, tid: str, pid: int, epoch: int, places: set[Place]) -> Answer:
        """AddPartitionsToTxn and AddOffsetsToTxn."""
        code, owner = self._owner(tid, pid, epoch)
        if code or owner is None:
            return code, None
        if owner.state in ("prepare-commit", "prepare-abort"):
            return KafkaError.CONCURRENT_TRANSACTIONS, None
        if owner.state != "ongoing":
            owner.state, owner.partitions = "ongoing", set()
            owner.since = self.broker.world.now
            owner.txn = Txn(tid, pid)
            self._watch(tid, owner)
        owner.partitions |= places
        return 0, None

    def end(self, tid: str, pid: int, epoch: int, commit: bool) -> Answer:
        """EndTxn. The request names its producer, but not its transaction."""
        code, owner = self._owner(tid, pid, epoch)
        if code or owner is None:
            return code, None
        if owner.state == "ongoing":
            self._end(tid, owner, commit=commit)
            return 0, None
        if owner.state == ("complete-commit" if commit else "complete-abort"):
            return 0, None
        if owner.state == ("prepare-commit" if commit else "prepare-abort"):
            return KafkaError.CONCURRENT_TRANSACTIONS, None
        return KafkaError.INVALID_TXN_STATE, None

    def verify(self, pid: int, epoch: int, place: Place) -> tuple[int, Txn | None]:
        """Whether a write to that place belongs to an open transaction."""
        owner = next((each for each in self.owners.values() if each.pid == pid), None)
        if owner is None:
            return KafkaError.INVALID_PRODUCER_ID_MAPPING, None
        if owner.epoch != epoch:
            return KafkaError.INVALID_PRODUCER_EPOCH, None
        if owner.state in ("prepare-commit", "prepare-abort"):
            return (
                KafkaError.NOT_ENOUGH_REPLICAS,
                None,
            )  # ReplicaManager: CONCURRENT_TRANSACTIONS is told as this
        if owner.state != "ongoing" or place not in owner.partitions:
            return KafkaError.INVALID_TXN_STATE, None
        return 0, owner.txn

    def _watch(self, tid: str, owner: Owner) -> None:
        txn = owner.txn

        def look() -> None:
            if owner.txn is not txn or owner.state != "ongoing":
                return
            self.broker.world.tell(f"the coordinator ends {tid}'s transaction, which took too long")
            owner.epoch += 1
            self._end(tid, owner, commit=False)

        self.broker.world.at(owner.since + owner.timeout_s + _CLEANUP_S, look)

    def _end(self, tid: str, owner: Owner, *, commit: bool) -> None:
        """Write the markers, one after the other. Until the last one is written, the transaction is neither open nor
        ended."""
        world, txn = self.broker.world, owner.txn
        owner.state = "prepare-commit" if commit else "prepare-abort"
        owner.left = len(owner.partitions)
        assert txn is not None, "an ongoing transaction is known"
        txn.commit, txn.ended_at = commit, world.now
        for place in sorted(owner.partitions):
            world.at(world.now + world.rng.uniform(0.0002, 0.004), self._mark, owner, place, commit)
        if not owner.left:
            owner.state = "complete-commit" if commit else "complete-abort"

    def _mark(self, owner: Owner, place: Place, commit: bool) -> None:
        broker = self.broker
        if not broker.up:
            broker.world.at(broker.world.now + 0.1, self._mark, owner, place, commit)
            return
        topic, _partition = place
        if topic == GROUP:
            for group in broker.groups.values():
                group.mark(owner.pid, commit=commit)
        for partition in broker.all_of(place):
            partition.mark(owner.pid, owner.epoch, broker.world.now, broker.now_ms, commit=commit)
        owner.left -= 1
        if not owner.left:
            owner.state = "complete-commit" if commit else "complete-abort"
