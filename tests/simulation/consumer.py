"""The client's consumer, in the methods that `kafka/source.py` and `kafka/log_reader.py` call.

Rules and their sources: (a) partitions come and go in callbacks, which run only within `consume` and `poll`
(librdkafka: rdkafka_cgrp.c, rd_kafka_rebalance_op); (b) a member hears of a rebalance with its heartbeat, and joins
again with what it owns (KIP-429); (c) a member that is unknown or of an old generation has lost everything
(rd_kafka_cgrp_handle_Heartbeat); so has one that heard no answer for session.timeout.ms
(rd_kafka_cgrp_session_timeout_check) or did not poll for max.poll.interval.ms; (d) `seek` fails on a partition that
is not fetching (rd_kafka_seek: _STATE), and drops what was fetched; `pause` drops it too; (e) `consume` gives what is
there at the end of its wait.
"""

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from tests.simulation.messages import Feed, Message
from tests.simulation.records import Place
from tests.simulation.wire import Api, Call, Net, answered
from tests.simulation.world import Signal

_FETCH_RECORDS = 50


class Consumer:
    """As confluent_kafka's."""

    net_of: Callable[[], Net]

    def __init__(self, options: dict[str, Any]) -> None:
        self.net = type(self).net_of()
        self.world = self.net.world
        self.options = options
        self._read_all = options.get("isolation.level") == "read_uncommitted"
        self._wait_s = float(options.get("fetch.wait.max.ms", 500)) / 1000
        self._group = options["group.id"]
        self._session_s = float(options.get("session.timeout.ms", 45_000)) / 1000
        self._poll_s = float(options.get("max.poll.interval.ms", 300_000)) / 1000
        self._beat_s = float(options.get("heartbeat.interval.ms", 3_000)) / 1000
        self._tells_end = bool(options.get("enable.partition.eof"))
        self._feeds: dict[Place, Feed] = {}
        self._ends: dict[Place, tuple[int, int]] = {}
        self._fetching: Call | None = None
        self._version = 0
        self._errors: deque[Message] = deque()
        self._moved = Signal()
        self._topic = ""
        self._member, self._generation = "", -1
        self._owned: set[int] = set()
        self._moves: deque[tuple[str, set[int]]] = deque()
        self._joining: Call | None = None
        self._must_join = False
        self._heard_at = self._polled_at = self.world.now
        self._lives = 0
        self._away = self._closing = False

    # -- asking

    def _ask(self, api: Api, handle: Any, timeout_s: float, about: str = "") -> tuple[int, Any]:
        return answered(
            self.world,
            self._moved,
            timeout_s,
            lambda then: self.net.ask(api, handle, then, timeout_s=timeout_s, about=about),
        )

    def list_topics(self, topic: str, timeout: float) -> None:
        broker = self.net.broker
        code, _ = self._ask(Api.METADATA, lambda answer: answer(0, broker.topics.get(topic)), timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 60, cached: bool = False
    ) -> Any:
        place = (partition.topic, partition.partition)
        if cached:
            return self._ends.get(place, (-1001, -1001))
        broker = self.net.broker

        def handle(answer: Any) -> None:
            if broker.leads(answer):
                found = broker.partition(place)
                answer(0, (found.low, found.end if self._read_all else found.stable))

        code, body = self._ask(Api.LIST_OFFSETS, handle, timeout, place[0])
        if code:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "watermarks"))
        self._ends[place] = body
        return body

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        broker = self.net.broker
        places = [(each.topic, each.partition) for each in partitions]

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(self._group).fetch(places, answer)

        code, body = self._ask(Api.OFFSET_FETCH, handle, timeout)
        if code:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "committed offsets"))
        return [TopicPartition(*place, body[place][0], body[place][1]) for place in places]

    # -- reading

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._feeds.clear()
        self._drop_fetch()
        for each in partitions:
            feed = self._feeds[each.topic, each.partition] = Feed()
            feed.next = 0 if each.offset == OFFSET_BEGINNING else each.offset

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
        feed.next = 0 if partition.offset == OFFSET_BEGINNING else partition.offset
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
            lambda answer: broker.fetch(places, _FETCH_RECORDS, self._wait_s, self._read_all, answer),
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
                partition = topic.partitions[place[1]]
                self._ends[place] = (partition.low, partition.end if self._read_all else partition.stable)
        self._moved.notify()
        if not any(feed.queue for feed in self._feeds.values()):
            self._fetch()

    def _reset(self, place: Place, feed: Feed) -> None:
        """What happens by auto.offset.reset when an offset does not exist."""
        if self.options.get("auto.offset.reset") == "earliest":
            feed.next, feed.failed = self.net.broker.partition(place).low, False
        else:
            self._errors.append(Message(place, -1, None, KafkaError(KafkaError._AUTO_OFFSET_RESET)))

    # -- the group

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        (self._topic,) = topics
        self._calls = {"assigned": on_assign, "revoked": on_revoke, "lost": on_lost}
        self._lives += 1
        self._heard_at = self.world.now
        self._join()
        self.net.process.later(self._beat_s, self._beat, self._lives)

    def consumer_group_metadata(self) -> bytes:
        who = f"{self._group}\0{self._member}\0\1".encode()
        return b"CGMDv2:" + struct.pack("=i", self._generation) + who

    def _join(self) -> None:
        if self._joining is not None or self._closing:
            return
        if self._moves:  # first the application must hear what came and went
            self._must_join = True
            return
        self._must_join = False
        broker, group, topic = self.net.broker, self._group, self._topic
        name, owned, times = self._member, set(self._owned), (self._session_s, self._poll_s)

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(group).join(name, topic, owned, times, answer)

        # rd_kafka_JoinGroupRequest waits for as long as a member may take to poll, and three seconds more
        self._joining = self.net.ask(Api.JOIN, handle, self._joined, timeout_s=self._poll_s + 3.0)

    def _joined(self, code: int, body: Any) -> None:
        self._joining = None
        if code:
            self._lose()
            self._join()
            return
        self._heard_at = self.world.now
        self._member, self._generation, share = body
        gone, came = self._owned - share, share - self._owned
        if gone:
            self._moves.append(("revoked", gone))
            self._must_join = True
        if came:
            self._moves.append(("assigned", came))
        self._moved.notify()

    def _lose(self) -> None:
        """It is no member of any group any more."""
        self._member, self._generation = "", -1
        pending = {p for event, ps in self._moves if event == "revoked" for p in ps}
        self._moves.clear()
        if self._owned | pending:
            self._moves.append(("lost", set(self._owned)))
        self._must_join = True
        self._moved.notify()

    def _serve(self) -> None:
        while self._moves:
            event, partitions = self._moves.popleft()
            asked = [TopicPartition(self._topic, p) for p in sorted(partitions)]
            self._calls[event](self, asked)
            if event == "assigned":
                self._owned |= partitions
                for p in sorted(partitions):
                    self._begin((self._topic, p))
            else:
                self._owned -= partitions
                for p in partitions:
                    self._feeds.pop((self._topic, p), None)
            self._drop_fetch()
        if self._must_join or self._away:
            self._away = False
            self._join()

    def _begin(self, place: Place) -> None:
        """Ask where the group stands, and read from there."""
        feed = self._feeds[place] = Feed()
        broker = self.net.broker

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(self._group).fetch([place], answer)

        def then(_: int, body: Any) -> None:
            if self._feeds.get(place) is feed and feed.next < 0:
                offset = body[place][0]
                feed.next = offset if offset >= 0 else broker.partition(place).low
                self._drop_fetch()
                self._moved.notify()

        self.net.ask(Api.OFFSET_FETCH, handle, then)

    def _beat(self, life: int) -> None:
        if self.net.closed or life != self._lives:
            return
        self.net.process.later(self._beat_s, self._beat, life)
        now = self.world.now
        if self._joining is not None or not self._member:
            return
        if now - self._polled_at > self._poll_s and not self._away:
            self._away = True
            self._errors.append(
                Message((self._topic, -1), -1, None, KafkaError(KafkaError._MAX_POLL_EXCEEDED))
            )
            name = self._member
            broker = self.net.broker
            self.net.ask(Api.LEAVE, lambda answer: broker.group(self._group).leave(name, answer), _ignore)
            self._lose()
            return
        if now - self._heard_at > self._session_s:
            self._lose()
            self._join()
            return
        broker, name, generation = self.net.broker, self._member, self._generation

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(self._group).heartbeat(name, generation, answer)

        self.net.ask(
            Api.HEARTBEAT,
            handle,
            lambda code, _: self._heard(name, generation, code),
            timeout_s=self._session_s,
        )

    def _heard(self, name: str, generation: int, code: int) -> None:
        if (name, generation) != (self._member, self._generation) or self.net.closed:
            return
        if code in (0, KafkaError.REBALANCE_IN_PROGRESS):
            self._heard_at = self.world.now
        if code == KafkaError.REBALANCE_IN_PROGRESS:
            self._join()
        elif code in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION):
            self._lose()
            self._join()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._joining is not None:
            self._joining.drop()
        if self._member:
            broker, name = self.net.broker, self._member
            if self._owned:
                self._calls["revoked"](self, [TopicPartition(self._topic, p) for p in sorted(self._owned)])
            self._ask(Api.LEAVE, lambda answer: broker.group(self._group).leave(name, answer), 1.0)
        self.net.closed = True
        self._lives += 1
        self._drop_fetch()


def _ignore(_code: int, _body: Any) -> None:
    """Accepts any argument."""
