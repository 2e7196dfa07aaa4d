"""The client's transactional producer, in the methods that `kafka/session.py` and `kafka/log_writer.py` call.

Rules and their sources: (a) the states, and which call is refused in which (librdkafka: rdkafka_txnmgr.c,
rd_kafka_txn_require_state, rd_kafka_txn_curr_api_init); (b) the codes and flags of each failure
(tests/contract/test_error_table.py, where each was provoked); (c) a transaction in which nothing was registered ends
without a request (rd_kafka_txn_op_commit_transaction, txn_req_cnt); (d) after a gap in the sequence the epoch is
raised (KIP-360, rd_kafka_idemp_drain_epoch_bump). For each partition only one Produce request is on its way at a
time.
"""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from tests.simulation.messages import Message
from tests.simulation.records import Batch, Place, Written
from tests.simulation.txn import GROUP
from tests.simulation.wire import Api, Call, Net, answered
from tests.simulation.world import Signal

_LINGER_S = 0.005
_FATAL = frozenset(
    {KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_ID_MAPPING}
)
_DOUBTFUL = frozenset({Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.OFFSETS, Api.END})
Report = Callable[[KafkaError | None, Any], None]


def group_of(metadata: bytes) -> tuple[str, tuple[str, str, int]]:
    """Group, and member with instance and generation, of a client's group metadata (rdkafka_cgrp.c)."""
    group, member, instance = metadata[11:].split(b"\0", 2)
    generation = int.from_bytes(metadata[7:11], "little", signed=True)
    return group.decode(), (member.decode(), instance[1:-1].decode() if instance[0] == 0 else "", generation)


class Lane:
    """The records that go to one partition."""

    __slots__ = ("call", "queue", "sequence")

    def __init__(self) -> None:
        self.queue: deque[tuple[Written, Report | None]] = deque()
        self.call: Call | None = None
        self.sequence = 0


class Producer:
    """As confluent_kafka's."""

    net_of: Callable[[], Net]  # the network of the process that makes a client: see `install`

    def __init__(self, options: dict[str, Any]) -> None:
        self.net = type(self).net_of()
        self.world = self.net.world
        self._options = options
        self._tid = options["transactional.id"]
        self._timeout_s = float(options["transaction.timeout.ms"]) / 1000
        self._only_errors = bool(options.get("delivery.report.only.error"))
        self._limit = int(options.get("message.max.bytes", 1_000_000))
        self._batch = int(options.get("batch.size", 1 << 20))
        self._state = "new"
        self._who = (-1, -1)
        self._error: KafkaError | None = None
        self._fatal: KafkaError | None = None
        self._gap = False
        self._lanes: dict[Place, Lane] = {}
        self._places: set[Place] = set()
        self._adding: Call | None = None
        self._any = False
        self._count = 0
        self._reports: deque[tuple[Report | None, KafkaError | None, Message]] = deque()
        self._moved = Signal()
        self.calls: list[Call] = []

    # -- what is known of its requests (kafka/client/repeated_requests.py)

    @property
    def in_doubt(self) -> bool:
        return any(call.in_doubt for call in self.calls)

    def _ask(self, api: Api, handle: Any, then: Any, **more: Any) -> Call:
        call = self.net.ask(api, handle, then, **more)
        if api in _DOUBTFUL:
            self.calls = [each for each in self.calls if each.in_doubt]
            self.calls.append(call)
        return call

    def _wait(self, api: Api, handle: Any, timeout_s: float) -> tuple[int, Any]:
        """Ask and wait for the answer."""
        return answered(
            self.world,
            timeout_s,
            lambda then: self._ask(api, handle, then, timeout_s=timeout_s),
        )

    # -- life

    def list_topics(self, topic: str, timeout: float) -> Any:
        broker = self.net.broker
        code, body = self._wait(Api.METADATA, lambda answer: answer(0, broker.topics.get(topic)), timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker answers"))
        error = None if body is not None else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        leader = -1 if self.world.now < broker.no_leader_until else 1
        count = len(body.partitions) if body is not None else 1 if topic == GROUP else 0
        partitions = {p: SimpleNamespace(leader=leader) for p in range(count)}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions, error=error)})

    def init_transactions(self, timeout: float) -> None:
        self._take_epoch(timeout)
        self._state = "ready"

    def _take_epoch(self, timeout: float) -> None:
        broker = self.net.broker

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                answer(*broker.txns.init(self._tid, self._timeout_s))

        code, body = self._wait(Api.INIT, handle, timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "init_transactions", retriable=True))
        self._who = body
        self._lanes.clear()
        self._gap = False

    def begin_transaction(self) -> None:
        self._need("ready")
        self._state = "open"
        self._error = None
        self._places, self._any = set(), False

    def _need(self, state: str) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._state != state:
            raise KafkaException(KafkaError(KafkaError._STATE, f"{state} is needed, it is {self._state}"))

    def _fails(self, code: int, text: str) -> None:
        """Enter the state of an error: fatal, or the transaction must be aborted."""
        if code in _FATAL and self._fatal is None:
            self._fatal = KafkaError(KafkaError._FENCED, text, fatal=True)
        elif self._error is None:
            self._error = KafkaError(code, text, txn_requires_abort=True)
        self._moved.notify()

    # -- records

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        callback: Report | None = None,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._state != "open" or self._error is not None:
            raise KafkaException(KafkaError(KafkaError._STATE, "no transaction is open"))
        if len(value or b"") + len(key or b"") + 60 > self._limit:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if partition < 0:
            partition = (sum(key or b"") if key else self._count) % (
                len(self.net.broker.topics[topic].partitions) if topic in self.net.broker.topics else 1
            )
        place = (topic, partition)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane()
        if not lane.queue and lane.call is None:
            self.net.process.later(_LINGER_S, self._pump, place)
        now = self.world.now
        lane.queue.append(
            (Written(key, value, headers, timestamp or self.net.broker.now_ms, now), on_delivery or callback)
        )
        self._count += 1

    def _pump(self, place: Place) -> None:
        lane = self._lanes.get(place)
        if lane is None or lane.call is not None or not lane.queue or self._fatal or self._error:
            return
        if place not in self._places:
            self._add()
            return
        taken: list[tuple[Written, Report | None]] = []
        nbytes = 0
        while lane.queue and (not taken or nbytes + len(lane.queue[0][0].value or b"") <= self._batch):
            taken.append(lane.queue.popleft())
            nbytes += len(taken[-1][0].value or b"") + 70
        batch = Batch(*self._who, lane.sequence, [record for record, _ in taken])
        lane.sequence += len(taken)
        broker = self.net.broker
        lane.call = self._ask(
            Api.PRODUCE,
            lambda answer: broker.produce(place, batch, answer),
            lambda code, base: self._delivered(place, lane, taken, code, base),
            timeout_s=self._timeout_s,
        )

    def _delivered(self, place: Place, lane: Lane, taken: list[Any], code: int, base: Any) -> None:
        lane.call = None
        self._count -= len(taken)
        error = None
        if code:
            if code == KafkaError._TIMED_OUT:
                code = KafkaError._MSG_TIMED_OUT
            # A refused record left a gap in the sequence. The next transaction's first record is refused for it, and
            # only then is the epoch raised (tests/contract/test_simulation_model.py, refused).
            lost = code in (KafkaError._MSG_TIMED_OUT, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
            self._gap |= lost
            self._fails(code, f"{place[0]} [{place[1]}]")
            error = KafkaError(
                KafkaError._PURGE_QUEUE if code == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER else code
            )
        for at, (_, report) in enumerate(taken):
            if error is not None or not self._only_errors:
                self._reports.append((report, error, Message(place, -1 if error else base + at, None)))
        self._moved.notify()
        self._pump(place)

    def _add(self) -> None:
        """Tell the coordinator of the partitions that have something to send."""
        if self._adding is not None:
            return
        broker, who = self.net.broker, self._who
        places = {place for place, lane in self._lanes.items() if lane.queue and place not in self._places}

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                answer(*broker.txns.add(self._tid, *who, places))

        def then(code: int, _: Any) -> None:
            self._adding = None
            if code:
                self._fails(code, "AddPartitionsToTxn")
                return
            self._any = True
            self._places |= places
            for place in sorted(places):
                self._pump(place)
            self._pump_all()

        self._adding = self._ask(Api.ADD_PARTITIONS, handle, then)

    def _pump_all(self) -> None:
        for place in list(self._lanes):
            self._pump(place)

    def poll(self, timeout: float = 0) -> int:
        if timeout and not self._reports:
            self.world.wait(self.world.now + timeout, self._moved)
        self._serve()
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        return 0

    def _serve(self) -> None:
        while self._reports:
            report, error, told = self._reports.popleft()
            if report is not None:
                report(error, told)

    def __len__(self) -> int:
        return self._count + len(self._reports)

    def flush(self, timeout: float) -> int:
        until = self.world.now + timeout
        self._pump_all()
        while True:
            self._serve()
            if self._fatal is not None:
                raise KafkaException(self._fatal)
            if not self._count or self.world.now >= until:
                return self._count
            self.world.wait(until, self._moved)

    def purge(self) -> None:
        """Give up what waits and what is on its way."""
        purged = KafkaError(KafkaError._PURGE_QUEUE)
        for place, lane in self._lanes.items():
            if lane.call is not None:
                lane.call.drop()
                self._gap = True
            for _, report in lane.queue:
                self._reports.append((report, purged, Message(place, -1, None)))
            lane.queue.clear()
            lane.call = None
        self._count = 0

    # -- ends

    def send_offsets_to_transaction(self, offsets: list[Any], metadata: bytes, timeout: float) -> None:
        self._need("open")
        if self._error is not None:
            raise KafkaException(self._error)
        until = self.world.now + timeout
        broker, who = self.net.broker, self._who
        group, member = group_of(metadata)
        notes = {(each.topic, each.partition): (each.offset, each.metadata or "") for each in offsets}

        def add(answer: Any) -> None:
            if broker.coordinates(answer):
                answer(*broker.txns.add(self._tid, *who, {(GROUP, 0)}))

        code, _ = self._wait(Api.ADD_OFFSETS, add, timeout)
        if not code:
            self._any = True
            left = max(0.001, until - self.world.now)
            code, _ = self._wait(
                Api.OFFSETS, lambda answer: broker.commit_offsets(group, who, member, notes, answer), left
            )
        if code:
            self._fails(code, "sending offsets")
            error = self._fatal or self._error
            assert error is not None, "it has failed"
            raise KafkaException(error)

    def commit_transaction(self, timeout: float) -> None:
        self._need("open")
        until = self.world.now + timeout
        if self._error is None:
            self.flush(timeout)
        if self._error is not None:
            raise KafkaException(self._error)
        if self._count:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "flushing", retriable=True))
        self._end(True, max(0.001, until - self.world.now))

    def abort_transaction(self, timeout: float) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._state == "committing":
            raise KafkaException(KafkaError(KafkaError._CONFLICT, "a commit is under way"))
        if self._state != "open":
            raise KafkaException(KafkaError(KafkaError._STATE, f"it is {self._state}"))
        until = self.world.now + timeout
        self.purge()
        self._serve()
        if self._adding is not None:  # wait for what was asked of the coordinator
            self._any = True
            self._adding.drop()
            self._adding = None
        self._end(False, timeout)
        if self._gap:
            self._take_epoch(max(0.001, until - self.world.now))

    def _end(self, commit: bool, timeout: float) -> None:
        broker, who = self.net.broker, self._who
        if self._any:

            def handle(answer: Any) -> None:
                if broker.coordinates(answer):
                    answer(*broker.txns.end(self._tid, *who, commit))

            self._state = "committing" if commit else "aborting"
            code, _ = self._wait(Api.END, handle, timeout)
            if code == KafkaError._TIMED_OUT:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "EndTxn", retriable=True))
            if code == KafkaError.INVALID_TXN_STATE or code in _FATAL:
                self._fatal = KafkaError(KafkaError._FENCED if code in _FATAL else code, "EndTxn", fatal=True)
                raise KafkaException(self._fatal)
            if code:
                self._state = "open"
                self._fails(code, "EndTxn")
                raise KafkaException(KafkaError(code, "EndTxn", txn_requires_abort=True))
        self._state = "ready"
