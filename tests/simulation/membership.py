"""What a consumer does as a member of a group, by the classic protocol or by the brokers' own (KIP-848).

Rules and their sources: (a) partitions come and go in callbacks, which run only within `consume` and `poll`
(librdkafka: rdkafka_cgrp.c, rd_kafka_rebalance_op); (b) a member hears of a rebalance with its heartbeat, and joins
again with what it owns (KIP-429); (c) a member that is unknown or of an old generation has lost everything
(rd_kafka_cgrp_handle_Heartbeat); so has one that heard no answer for session.timeout.ms
(rd_kafka_cgrp_session_timeout_check) or did not poll for max.poll.interval.ms; (d) by KIP-848 there is one request, the
heartbeat: it says what the member owns and answers what it is to own, first what to give up and then what to take; the
metadata of a commit has the member's epoch in place of the generation; (e) by the classic protocol
a static member says nobody that it goes (rd_kafka_cgrp_leave); one whose place another has, or whose place nobody has
left yet, has failed for good (rd_kafka_cgrp_handle_heartbeat_error, rd_kafka_cgrp_handle_ConsumerGroupHeartbeat).
"""

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from tests.simulation.messages import Feed, Message
from tests.simulation.records import Place
from tests.simulation.wire import Api, Call, Net
from tests.simulation.world import Signal, Thread


class Membership:
    """The part of a consumer that belongs to its group."""

    def __init__(self, net: Net, options: dict[str, Any]) -> None:
        self.net, self.world, self.options = net, net.world, options
        self._group = options["group.id"]
        self._by_broker = options.get("group.protocol") == "consumer"
        self._session_s = float(options.get("session.timeout.ms", 45_000)) / 1000
        self._poll_s = float(options.get("max.poll.interval.ms", 300_000)) / 1000
        self._beat_s = float(options.get("heartbeat.interval.ms", 3_000)) / 1000
        if self._by_broker:  # the broker says how often
            self._session_s, self._beat_s = net.broker.session_s, net.broker.session_s * 0.3
        self._feeds: dict[Place, Feed] = {}
        self._errors: deque[Message] = deque()
        self._moved = Signal()
        self._topics: tuple[str, ...] = ()
        self._instance = options.get("group.instance.id", "")
        self._member, self._generation = "", -1
        self._member_since = 0.0
        self._owned: set[Place] = set()
        self._moves: deque[tuple[str, set[Place]]] = deque()
        self._joining: Call | None = None
        self._must_join = False
        self._heard_at = self._polled_at = self.world.now
        self._lives = 0
        self._away = self._closing = self._failed = False
        self._committed: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()  # not told yet
        self._calling: Thread | None = None  # the thread in which a callback runs

    def _drop_fetch(self) -> None:
        raise NotImplementedError

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._topics = tuple(topics)
        self._calls = {"assigned": on_assign, "revoked": on_revoke, "lost": on_lost}
        self._lives += 1
        self._heard_at = self.world.now
        self._join()
        self.net.process.later(self._beat_s, self._beat, self._lives)

    def consumer_group_metadata(self) -> bytes:
        instance = f"\0{self._instance}\0" if self._instance else "\1"
        who = f"{self._group}\0{self._member}\0{instance}".encode()
        return b"CGMDv2:" + struct.pack("=i", self._generation) + who

    def _join(self) -> None:
        if self._joining is not None or self._closing or self._failed:
            return
        if self._moves:  # first the application must hear what came and went
            self._must_join = True
            return
        self._must_join = False
        if self._by_broker:
            self._tell()
            return
        broker, group, topics = self.net.broker, self._group, self._topics
        name, instance, owned = self._member, self._instance, set(self._owned)
        times = (self._session_s, self._poll_s)

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(group).join(name, instance, topics, owned, times, answer)

        # rd_kafka_JoinGroupRequest waits for as long as a member may take to poll, and three seconds more
        self._joining = self.net.ask(Api.JOIN, handle, self._joined, timeout_s=self._poll_s + 3.0)

    def _joined(self, code: int, body: Any) -> None:
        self._joining = None
        if code == KafkaError.FENCED_INSTANCE_ID:
            self._fail(code)
            return
        if code:
            self._lose()
            self._join()
            return
        self._heard_at = self.world.now
        self._member, self._generation, share = body
        self._member_since = self.world.now
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

    def _fail(self, code: int) -> None:
        """It can do nothing any more."""
        self._lose()
        self._must_join, self._failed = False, True
        self._errors.append(Message((self._topics[0], -1), -1, None, _fatal(code)))

    def _serve(self) -> None:
        self._calling = self.world.running
        while self._committed:
            self.options.get("on_commit", _ignore)(*self._committed.popleft())
        while self._moves:
            event, partitions = self._moves.popleft()
            asked = [TopicPartition(*place) for place in sorted(partitions)]
            self._calls[event](self, asked)
            if event == "assigned":
                self._owned |= partitions
                for place in sorted(partitions):
                    self._begin(place)
            else:
                self._owned -= partitions
                for place in partitions:
                    self._feeds.pop(place, None)
            self._drop_fetch()
        self._calling = None
        self._moved.notify()
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
                feed.next = body[place][0]
                if feed.next < 0:
                    self._reset(place, feed)
                self._drop_fetch()
                self._moved.notify()

        self.net.ask(Api.OFFSET_FETCH, handle, then)

    def _leaves(self) -> Callable[[Any], None]:
        """The request by which it goes."""
        broker, group, name = self.net.broker, self._group, self._member
        if self._by_broker:
            return lambda answer: broker.members(group).leave(name, answer)
        return lambda answer: broker.group(group).leave(name, answer)

    def _tell(self) -> None:
        """ConsumerGroupHeartbeat: says what it owns, and hears what it is to own. Also how it joins."""
        broker, group, topics = self.net.broker, self._group, self._topics
        times = (self._session_s, self._poll_s)
        name = self._member = self._member or f"c{next(self.world.names)}"
        instance = self._instance
        epoch, owned = max(0, self._generation), set(self._owned)

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.members(group).beat(name, instance, epoch, topics, owned, times, answer)

        self._joining = self.net.ask(Api.HEARTBEAT, handle, self._told, timeout_s=self._session_s)

    def _told(self, code: int, body: Any) -> None:
        """rd_kafka_cgrp_handle_ConsumerGroupHeartbeat: who is unknown or fenced has lost everything, and joins again."""
        self._joining = None
        if self.net.closed or not self._member:
            return
        if code in (KafkaError.UNRELEASED_INSTANCE_ID, KafkaError.FENCED_INSTANCE_ID):
            self._fail(code)
            return
        if code in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_MEMBER_EPOCH):
            self._lose()
            self._join()
            return
        if code:
            return  # the next heartbeat asks again
        if (self._generation, self._owned) != body:
            self._member_since = self.world.now
        self._generation, share = body
        gone, came = self._owned - share, share - self._owned
        if gone and not self._moves:
            self._moves.append(("revoked", gone))
        elif came and not self._moves:
            self._moves.append(("assigned", came))
        if self._moves:
            self._must_join = True  # it says so at once when the application has heard
            self._moved.notify()

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
                Message((self._topics[0], -1), -1, None, KafkaError(KafkaError._MAX_POLL_EXCEEDED))
            )
            if self._by_broker or not self._instance:
                self.net.ask(Api.LEAVE, self._leaves(), _ignore)
            self._lose()
            return
        if self._by_broker:
            self._tell()
            return
        if now - self._heard_at > self._session_s:
            self._lose()
            self._join()
            return
        broker, name, generation = self.net.broker, self._member, self._generation
        instance = self._instance

        def handle(answer: Any) -> None:
            if broker.coordinates(answer):
                broker.group(self._group).heartbeat(name, instance, generation, answer)

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
        elif code == KafkaError.FENCED_INSTANCE_ID:
            self._fail(code)
        elif code in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION):
            self._lose()
            self._join()


def _fatal(code: int) -> KafkaError:
    """As a consumer hears of it (rd_kafka_set_fatal_error): what it is stands in the text."""
    return KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(code).str()}")


def _ignore(_code: int, _body: Any) -> None:
    """Accepts any argument."""
