"""The admin client, in the methods that `kafka/witnesses.py` and `kafka/log_writer.py` call.

Rules: a topic's id tells it from another topic of the same name (KIP-516, DescribeTopicPartitions). By isolation
level, list_offsets gives the last stable offset or the end (KIP-98; ReplicaManager.fetchOffset); it also gives the
latest timestamp (KIP-734).
"""

from collections.abc import Callable
from concurrent.futures import TimeoutError as Late
from types import SimpleNamespace
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException

from tests.simulation.wire import Api, Net
from tests.simulation.world import Signal


class _Answer:
    """A future; waiting for it takes virtual time."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self.told: tuple[int, Any] | None = None
        self.signal = Signal()

    def _await(self, timeout: float | None) -> tuple[int, Any]:
        world = self._net.world
        until = world.now + (60.0 if timeout is None else timeout)
        while self.told is None:
            if world.now >= until:
                raise Late
            world.wait(until, self.signal)
        return self.told

    def done(self) -> bool:
        return self.told is not None

    def result(self, timeout: float | None = None) -> Any:
        code, body = self._await(timeout)
        if code:
            raise _error(code)
        return body

    def exception(self, timeout: float | None = None) -> Any:
        code, _ = self._await(timeout)
        return _error(code) if code else None


def _error(code: int) -> KafkaException:
    return KafkaException(KafkaError(code, "asked in vain"))


class AdminClient:
    """As confluent_kafka's."""

    net_of: Callable[[], Net]

    def __init__(self, options: dict[str, Any]) -> None:
        self.net = type(self).net_of()
        self.net.call_on(options["bootstrap.servers"])

    def _ask(self, api: Api, handle: Any, timeout_s: float) -> _Answer:
        future = _Answer(self.net)

        def then(code: int, body: Any) -> None:
            future.told = (code, body)
            future.signal.notify()

        self.net.ask(api, handle, then, timeout_s=timeout_s)
        return future

    def describe_topics(self, asked: Any, request_timeout: float) -> dict[str, Any]:
        broker = self.net.broker

        def handler(name: str) -> Any:
            def handle(answer: Any) -> None:
                topic = broker.topics.get(name)
                if topic is None:
                    answer(KafkaError.UNKNOWN_TOPIC_OR_PART, None)
                else:
                    answer(0, SimpleNamespace(topic_id=topic.id))

            return handle

        names = asked.topic_names if hasattr(asked, "topic_names") else asked
        return {name: self._ask(Api.METADATA, handler(name), request_timeout) for name in names}

    def list_topics(self, topic: str, timeout: float) -> Any:
        broker = self.net.broker
        found = self._ask(Api.METADATA, lambda answer: answer(0, broker.topics.get(topic)), timeout).result(
            timeout + 1
        )
        error = None if found is not None else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        speaker, leader, replicas = self.net.named(topic)
        partitions = {
            p: SimpleNamespace(leader=leader, replicas=replicas)
            for p in range(len(found.partitions) if found else 0)
        }
        described = SimpleNamespace(topic=topic, partitions=partitions, error=error)
        brokers = {each: SimpleNamespace(id=each, host=f"broker-{each}", port=9092) for each in replicas}
        return SimpleNamespace(topics={topic: described}, orig_broker_id=speaker, brokers=brokers)

    def list_offsets(self, asked: Any, isolation_level: Any, request_timeout: float) -> dict[Any, Any]:
        broker = self.net.broker
        committed = isolation_level == IsolationLevel.READ_COMMITTED

        def handler(place: Any, what: str) -> Any:
            def handle(answer: Any) -> None:
                if not broker.has(place):
                    answer(KafkaError.UNKNOWN_TOPIC_OR_PART, None)
                    return
                if not broker.leads(answer):
                    return
                partition = broker.partition(place)
                low, last, stable = broker.ends(place, self.net.deposed)
                end = stable if committed else last
                if "MaxTimestamp" not in what:
                    offset = end if "Latest" in what else low
                    answer(0, SimpleNamespace(offset=offset, timestamp=-1, leader_epoch=0))
                    return
                stamped = [(partition.records[at].timestamp_ms, -at) for at in range(partition.low, end)]
                moment, at = max(stamped, default=(-1, 1))
                answer(0, SimpleNamespace(offset=-at, timestamp=moment))

            return handle

        return {
            each: self._ask(
                Api.LIST_OFFSETS,
                handler((each.topic, each.partition), type(what).__name__),
                request_timeout,
            )
            for each, what in asked.items()
        }
