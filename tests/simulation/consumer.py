"""The client's consumer, in the methods that `kafka/source.py`, `kafka/log_reader.py` and other readers call.

Rules and their sources: (a) `seek` fails on a partition that is not fetching (rd_kafka_seek: _STATE), and drops what was
fetched; `pause` drops it too; (b) `consume` gives what is there at the end of its wait. What a member of a group does
is in `membership.py`.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from tests.simulation.membership import Membership
from tests.simulation.messages import Feed, Message
from tests.simulation.records import Place
from tests.simulation.wire import Api, Call, Net, answered
from tests.simulation.world import FOREVER

_FETCH_RECORDS = 50
_COMMIT_S = 10.0
_CALL_S = 0.003  # a call returns when its thread has its turn: an answer may have come by then


class Consumer(Membership):
    """As confluent_kafka's."""

    net_of: Callable[[], Net]

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(type(self).net_of(), options)
        self._read_all = options.get("isolation.level") == "read_uncommitted"
        self._wait_s = float(options.get("fetch.wait.max.ms", 500)) / 1000
        self._tells_end = bool(options.get("enable.partition.eof"))
        self._ends: dict[Place, tuple[int, int]] = {}
        self._fetching: Call | None = None
        self._version = 0

    # -- asking

    def _ask(self, api: Api, handle: Any, timeout_s: float, about: str = "") -> tuple[int, Any]:
        return answered(
            self.world,
            timeout_s,
            lambda then: self.net.ask(api, handle, then, timeout_s=timeout_s, about=about),
        )

    def list_topics(self, topic: str, timeout: float) -> Any:
        broker = self.net.broker
        code, found = self._ask(Api.METADATA, lambda answer: answer(0, broker.topics.get(topic)), timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        error = None if found is not None else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        _, leader, _ = self.net.named(topic)
        partitions = {p: SimpleNamespace(leader=leader) for p in range(len(found.partitions) if found else 0)}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions, error=error)})

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 60, cached: bool = False
    ) -> Any:
        place = (partition.topic, partition.partition)
        if cached:
            return self._ends.get(place, (-1001, -1001))
        broker = self.net.broker

        def handle(answer: Any) -> None:
            if not broker.has(place):
                answer(KafkaError._UNKNOWN_PARTITION, None)
            elif broker.leads(answer):
                low, end, stable = broker.ends(place, self.net.deposed)
                answer(0, (low, end if self._read_all else stable))

        code, body = self._ask(Api.LIST_OFFSETS, handle, timeout, place[0])
        if code == KafkaError._UNKNOWN_PARTITION:
            raise KafkaException(KafkaError(code, "watermarks"))
        if code:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "watermarks"))
        self._ends[place] = body
        return body

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        broker = self.net.broker
        places = [(each.topic, each.partition) for each in partitions]

        def handle(answer: Any) -> None:
            deposed = self.net.deposed
            # Only the true coordinator lets somebody join, and the same client asks it for offsets then.
            if deposed is not None and self._member_since <= deposed.since:
                known = deposed.offsets.get(self._group, {})
                answer(0, {place: known.get(place, (-1001, "")) for place in places})
            elif broker.coordinates(answer):
                broker.group(self._group).fetch(places, answer, stable=not self._read_all)

        code, body = self._ask(Api.OFFSET_FETCH, handle, timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "committed offsets"))
        return [TopicPartition(*place, body[place][0], body[place][1]) for place in places]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in sorted(self._owned)]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool = True) -> list[TopicPartition] | None:
        """Commit offsets of the group. The outcome of one that is not waited for is told by `on_commit`, within `consume`."""
        broker, who = self.net.broker, (self._member, self._instance, self._generation)
        notes = {(each.topic, each.partition): (each.offset, each.metadata or "") for each in offsets}

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(self._group).commit(*who, notes, answer)

        def then(code: int, _: Any) -> None:
            self._committed.append((KafkaError(code) if code else None, offsets))
            self._moved.notify()

        if asynchronous:
            self.net.ask(Api.OFFSET_COMMIT, handle, then, timeout_s=_COMMIT_S)
            self.world.wait(self.world.now + _CALL_S)
            while self._calling not in (
                None,
                self.world.running,
            ):  # the client's calls wait for its callbacks
                self.world.wait(FOREVER, self._moved)
            return None
        code, _ = self._ask(Api.OFFSET_COMMIT, handle, _COMMIT_S)
        if code:
            raise KafkaException(KafkaError(code, "committing"))
        return offsets

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Where the records of a time begin. No history is long enough for another answer than the first record."""
        del timeout
        found = []
        for each in asked:
            place, broker = (each.topic, each.partition), self.net.broker
            is_empty = not broker.has(place) or broker.low(place) >= broker.partition(place).end
            found.append(TopicPartition(*place, OFFSET_END if is_empty else broker.low(place)))
        return found

    # -- reading

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._feeds.clear()
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            feed = self._feeds[each.topic, each.partition] = Feed()
            feed.next = self._offset(each)
        self._drop_fetch()

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._feeds.pop((each.topic, each.partition), None)
        self._drop_fetch()

    def _offset(self, place: TopicPartition) -> int:
        if place.offset == OFFSET_BEGINNING:
            return self.net.broker.low((place.topic, place.partition))
        return place.offset

    def _drop_fetch(self) -> None:
        self._version += 1
        if self._fetching is not None:
            self._fetching.drop()
            self._fetching = None

    def seek(self, partition: TopicPartition) -> None:
        place = (partition.topic, partition.partition)
        feed = self._feeds.get(place)
        if feed is None or feed.next < 0:
            code = KafkaError._UNKNOWN_PARTITION if feed is None else KafkaError._STATE
            raise KafkaException(KafkaError(code, "not fetching"))
        feed.next = self._offset(partition)
        feed.queue.clear()
        self._drop_fetch()

    def pause(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            feed = self._feeds.get((each.topic, each.partition))
            if feed is not None and not feed.paused:
                feed.paused = True
                if feed.queue:
                    feed.next = feed.queue[0][0]
                    feed.queue.clear()
                self._drop_fetch()

    def resume(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            feed = self._feeds.get((each.topic, each.partition))
            if feed is not None and feed.paused:
                feed.paused = False
                self._drop_fetch()

    def poll(self, timeout: float) -> Message | None:
        found = self.consume(1, timeout)
        return found[0] if found else None

    def consume(self, count: int, timeout: float) -> list[Message]:
        until = self.world.now + timeout
        self._polled_at = self.world.now
        found: list[Message] = []
        while True:
            self._serve()
            while self._errors and len(found) < count:
                found.append(self._errors.popleft())
            self._take(found, count)
            if len(found) < count:
                self._fetch()
            if len(found) >= count or self.world.now >= until:
                self._polled_at = self.world.now
                return found
            self.world.wait(until, self._moved)

    def _take(self, found: list[Message], count: int) -> None:
        for place, feed in self._feeds.items():
            if feed.paused:
                continue
            queue = feed.queue
            while queue and len(found) < count:
                offset, record = queue.popleft()
                found.append(Message(place, offset, record))
            end = self._ends.get(place, (0, -1))[1]
            if (
                self._tells_end
                and not queue
                and not feed.told_end
                and feed.next == end
                and len(found) < count
            ):
                feed.told_end = True
                found.append(Message(place, feed.next, None, KafkaError(KafkaError._PARTITION_EOF)))

    def _fetch(self) -> None:
        if self._fetching is not None or self.net.closed:
            return
        places = {
            place: feed.next
            for place, feed in self._feeds.items()
            if feed.next >= 0 and not feed.paused and not feed.queue and not feed.failed
        }
        if not places:
            return
        broker, version = self.net.broker, self._version
        self._fetching = self.net.ask(
            Api.FETCH,
            lambda answer: broker.fetch(
                places, _FETCH_RECORDS, self._wait_s, self._read_all, answer, self.net.deposed
            ),
            lambda _code, body: self._fetched(version, places, body or {}),
            about=next(iter(places))[0],
        )

    def _fetched(self, version: int, places: dict[Place, int], body: dict[Place, Any]) -> None:
        if version != self._version:
            return
        self._fetching = None
        for place, (records, upto) in body.items():
            feed = self._feeds.get(place)
            if feed is None or feed.next != places[place]:
                continue
            if records is None:
                feed.failed = True
                self._reset(place, feed)
                continue
            feed.queue.extend(records)
            feed.next = upto
            feed.told_end = False
        for place in places:
            topic = self.net.broker.topics.get(place[0])
            if topic is not None:
                low, end, stable = self.net.broker.ends(place, self.net.deposed)
                self._ends[place] = (low, end if self._read_all else stable)
        self._moved.notify()
        if not any(feed.queue for feed in self._feeds.values()):
            self._fetch()

    def _reset(self, place: Place, feed: Feed) -> None:
        """What happens by auto.offset.reset when an offset does not exist."""
        if self.options.get("auto.offset.reset") == "earliest":
            feed.next, feed.failed = self.net.broker.low(place), False
        else:
            self._errors.append(Message(place, -1, None, KafkaError(KafkaError._AUTO_OFFSET_RESET)))

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._joining is not None:
            self._joining.drop()
        if self._member:
            if self._owned:
                self._calls["revoked"](self, [TopicPartition(*place) for place in sorted(self._owned)])
            if self._by_broker or not self._instance:
                self._ask(Api.LEAVE, self._leaves(), 1.0)
        self.net.closed = True
        self._lives += 1
        self._drop_fetch()
