"""A client's requests on the wire, repeated as librdkafka repeats them.

A request whose connection broke goes out again over a new one, `retry.backoff.ms` later, give or take a fifth. The
next wait is twice as long, up to `retry.backoff.max.ms` (librdkafka: rdkafka_broker.c, rd_kafka_buf_retry;
RD_KAFKA_RETRY_JITTER_PERCENT). The first copy may still arrive, at any time (docs/decisions.md;
tests/chaos/test_late_requests.py shows it on a real Kafka). After an answer "not now" the same request is sent again,
and the first copy is in no doubt.
"""

from collections.abc import Callable
from enum import Enum, IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from tests.simulation.broker import Broker, Deposed
from tests.simulation.world import FOREVER, Process, Signal, World

if TYPE_CHECKING:
    from tests.simulation.adversary import Adversary

Answer = Callable[[int, Any], None]
DEPOSED, ELECTED = 1, 2  # brokers; before an election there is only the first
_BACKOFF_S, _BACKOFF_MAX_S = 0.1, 1.0
_AGAIN = frozenset(
    {
        KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)  # fmt: skip


class Api(IntEnum):
    """The kinds of requests; and COMPUTE, which is none: the process computes between two requests."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    JOIN = 11
    HEARTBEAT = 12
    LEAVE = 13
    INIT = 22
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END = 26
    OFFSETS = 28
    COMPUTE = 1000


_READS = frozenset({Api.FETCH, Api.LIST_OFFSETS, Api.METADATA, Api.OFFSET_FETCH})


class Fate(Enum):
    """What becomes of one copy of a request."""

    WELL = "well"
    SLOW = "is delayed"
    CUT_BEFORE = "is cut off before it arrives"
    CUT_AFTER = "is cut off before its answer"
    LATE = "is cut off, and arrives late"
    LOST = "is swallowed"


class Net:
    """One client's way to the brokers. `socket_s` is its socket.timeout.ms."""

    def __init__(self, process: Process, broker: Broker, adversary: "Adversary", socket_s: float) -> None:
        self.process, self.broker, self.adversary, self.socket_s = process, broker, adversary, socket_s
        self.world = process.world
        self.closed = False
        self._born, self._told, self._right = process.world.now, False, False
        self._speaker: int | None = None

    def call_on(self, servers: str) -> None:
        """Ask the one broker of that address (`broker-2:9092`), if it is one broker's."""
        name, _, number = servers.partition(":")[0].rpartition("-")
        if name == "broker":
            self._speaker = int(number)
            self._told, self._right, self._born = True, self._speaker != DEPOSED, FOREVER

    @property
    def deposed(self) -> Deposed | None:
        """The broker that this client takes for the leader, or the coordinator, and that is not any more. A client that was
        there before does not learn of it; a new one is told by one broker or by another."""
        found = self.broker.deposed
        if found is None or found.until <= self.world.now or found.kind != self.process.kind:
            return None
        if self._born > found.since:
            if not self._told:
                self._told, self._right = True, self.world.rng.random() < 0.5
            if self._right:
                return None
        return found

    def named(self, topic: str) -> tuple[int, int, list[int]]:
        """The broker that answers this client, the leader of the topic's partitions that it names, and their replicas."""
        found = self.broker.deposed
        if found is None or found.until <= self.world.now or topic not in {name for name, _ in found.ends}:
            return DEPOSED, DEPOSED, [DEPOSED]
        if self.deposed is not None:
            return DEPOSED, DEPOSED, [1, 2, 3]
        if self._speaker is None:
            self._speaker = ELECTED + (self.world.rng.random() < 0.5)
        return self._speaker, ELECTED, [1, 2, 3]

    def ask(
        self,
        api: Api,
        handle: Callable[[Answer], None],
        then: Answer,
        *,
        timeout_s: float = 1e9,
        patient: bool = True,
        about: str = "",
    ) -> "Call":
        """Send a request. `then` is called in the process with the broker's answer, or with `_TIMED_OUT`. `patient`
        repeats the request after an answer "not now". `about` is the topic that is read."""
        return Call(self, api, handle, then, timeout_s, patient, about)


class Call:
    """One request with all its copies. `in_doubt`: (a) a copy was sent before an earlier one was answered, or (b) no
    copy was answered."""

    __slots__ = (
        "_about",
        "_handle",
        "_net",
        "_patient",
        "_then",
        "_until",
        "api",
        "copies",
        "over",
        "repeated",
    )

    def __init__(
        self,
        net: Net,
        api: Api,
        handle: Callable[[Answer], None],
        then: Answer,
        timeout_s: float,
        patient: bool,
        about: str,
    ) -> None:
        self._about = about
        self._net, self.api, self._handle, self._then, self._patient = net, api, handle, then, patient
        self.copies = 0
        self.repeated = self.over = False
        self._until = net.world.now + timeout_s
        if timeout_s < 1e8:
            net.process.later(timeout_s, self._expire)
        self._send()

    @property
    def in_doubt(self) -> bool:
        return self.repeated or not self.over

    def _expire(self) -> None:
        if not self.over:
            self.over = self.repeated = True
            self._then(KafkaError._TIMED_OUT, None)

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if not self.over:
            self.over = self.repeated = True

    def _send(self) -> None:
        net = self._net
        if self.over or net.closed or not net.process.alive:
            return
        world, process = net.world, net.process
        chance = world.rng.random
        self.copies += 1
        copy = self.copies
        there_s, back_s = 0.0003 + 0.0015 * chance(), 0.0003 + 0.0015 * chance()
        fate, seconds = net.adversary.fate(process, self.api, self._about)
        world.note(self.api)
        if fate is Fate.WELL:
            if self.api in _READS:  # an event less: it arrives at once, and only the answer takes time
                self._arrive(copy, there_s + back_s)
            else:
                world.at(world.now + there_s, self._arrive, copy, back_s)
        elif fate is Fate.SLOW:
            world.at(world.now + there_s + seconds, self._arrive, copy, back_s)
        elif fate is Fate.LOST:
            process.later(net.socket_s, self._broken, copy)
        elif fate is Fate.CUT_BEFORE:
            process.later(there_s, self._broken, copy)
        elif fate is Fate.LATE:
            process.later(there_s, self._broken, copy)
            net.adversary.hold(process, seconds, partial(self._arrive, copy, None))
        else:
            world.at(world.now + there_s, self._arrive, copy, None)
            process.later(there_s + back_s, self._broken, copy)

    def _arrive(self, copy: int, back_s: float | None) -> None:
        net = self._net
        broker = net.broker
        if not broker.up:
            if back_s is not None:
                net.process.later(back_s, self._broken, copy)
            return
        if back_s is None:
            self._handle(_nobody)
            return
        life = broker.life

        def answer(code: int, body: Any) -> None:
            if broker.life != life:
                net.process.later(0.0, self._broken, copy)
            else:
                net.process.later(back_s, self._answered, copy, code, body)

        self._handle(answer)

    def _broken(self, copy: int) -> None:
        if self.over or copy != self.copies:
            return
        self.repeated = True
        self._again()

    def _again(self) -> None:
        net = self._net
        longest = min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** min(5, self.copies - 1))
        net.process.later(longest * (0.8 + 0.4 * net.world.rng.random()), self._send)

    def _answered(self, copy: int, code: int, body: Any) -> None:
        if self.over or copy != self.copies or self._net.closed:
            return
        if self._patient and code in _AGAIN:
            self._again()
            return
        self.over = True
        self._then(code, body)


def _nobody(_code: int, _body: Any) -> None:
    """Answers nobody: the client is gone."""


def answered(world: World, timeout_s: float, ask: Callable[[Answer], Call]) -> tuple[int, Any]:
    """Ask, and wait in the calling thread for the answer. It comes, if only as `_TIMED_OUT`."""
    found: list[tuple[int, Any]] = []
    signal = Signal()

    def then(code: int, body: Any) -> None:
        found.append((code, body))
        signal.notify()

    ask(then)
    while not found:
        world.wait(FOREVER, signal)
    return found[0]
