"""What a process asks the brokers besides reading and writing: ends, topic ids, their time, and what groups have committed.

Kafka has no request for what `admin/votes.py` needs. A client asks one broker who leads, the same one as long as they are
connected, and the answer says which one it is. So there is a voter, a client that asks nothing else, for each broker that
we need: two on most clusters. A third client, the asker, asks everything else. It takes the right to describe the topic,
which every reader has. docs/decisions.md has what was measured, and the alternatives.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub import clock
from stream_scrub.clock import Throttle
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka.admin.votes import ABSENT, UNNAMED, VOTE_S, Voter, Votes, described_by
from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import translate, translating
from stream_scrub.kafka.offsets import EARLIEST, LATEST, committed_soon, key_of
from stream_scrub.model import Deadline, PartitionKey

_ASK_S = 5.0
_TRIES = 6  # new clients for one question: each chooses its broker at random, and those that help are kept
_LATE = 2  # clients that are waited for longer than for one question
_READY_S = 0.2  # until a leader that was just elected may know it itself: that of a new topic, say
# Without a quorum, the pause until there are new clients again: doubled each time.
_PAUSE_S = 0.5
_PAUSE_MAX_S = 4.0
_ANOTHER_ASKER_EVERY_S = 60.0
_SILENCES = 5  # questions that a new asker may not answer yet
_OTHER_WITNESSES = 2  # of a topic id that is new to us
_FRESH_S = 0.2  # in less time no topic is deleted, created again, and filled up to where it was read
_MAX_TIMESTAMP = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]

# A client that pushes telemetry, or that looks for new leaders by itself, changes its broker or its leader unseen.
_QUIET = {"enable.metrics.push": False, "topic.metadata.refresh.interval.ms": -1}


class QuorumEnd(NamedTuple):
    """An offset by a leader that a quorum of replicas confirmed."""

    at: float  # by `clock.elapsed`: before the first question
    offset: int
    epoch: int  # of the leader, with a partition's latest offset; -1 if the broker gives none


class LatestTimestamp(NamedTuple):
    """The latest timestamp in a partition."""

    broker: int  # which leads it
    at: float  # seconds since 1970
    is_brokers: bool  # a marker's; otherwise a producer's, and the last marker's is no later


class Witnesses:
    """One for a process; any thread may ask. A question waits for another one that is under way, up to its deadline.

    Its clients are made when they are needed, and again after `close`.
    """

    def __init__(self, options: dict[str, Any], *, has_ids: bool = True) -> None:
        """`options`: the properties of any consumer. Without `has_ids` (the embedded broker) no topic has an id."""
        self._options = asking_options(options)
        self._has_ids = has_ids
        self._voting = threading.Lock()
        self._voters: list[Voter] = []
        self._replicas: dict[str, set[int]] = {}  # of each topic, by the last votes
        self._leaders: dict[PartitionKey, int] = {}
        self._pause_s = _PAUSE_S
        self._new_from = float("-inf")
        self._asking = threading.Lock()
        self._asker: AdminClient | None = None
        self._has_answered = False
        self._silences = 0
        self._another = Throttle(_ANOTHER_ASKER_EVERY_S, at_once=False)
        self._groups: dict[str, Consumer] = {}
        self._ids: dict[str, str] = {}  # that other brokers confirmed
        self._asked_ids: dict[str, Future[Any]] = {}
        self._ids_asker: AdminClient | None = None  # which `_asked_ids` wait for
        self._asked_at = self._answered_at = float("-inf")

    def close(self) -> None:
        """Close the clients."""
        self._voters = []
        self._asker = self._ids_asker = None
        for group in list(self._groups):
            self._groups.pop(group).close()

    # -- The ends that a quorum confirms.

    def end(
        self,
        key: PartitionKey,
        deadline: Deadline,
        what: OffsetSpec = LATEST,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> QuorumEnd:
        """An offset of a partition. The latest one is behind everything that was acknowledged before `QuorumEnd.at`. Raises
        Unavailable without a quorum, Refused."""
        return self._quorum_ends({key[0]: key[1]}, what, isolation, deadline)[key]

    def ends(self, topics: Sequence[str], deadline: Deadline) -> dict[PartitionKey, int]:
        """The written ends of every partition of some topics, behind everything that was acknowledged before this call. A topic
        that does not exist has none. Raises Unavailable without a quorum, Refused."""
        written = IsolationLevel.READ_UNCOMMITTED
        ends = self._quorum_ends(dict.fromkeys(topics), LATEST, written, deadline)
        return {key: end.offset for key, end in ends.items()}

    def leader_of(self, key: PartitionKey) -> int:
        """The broker that a quorum named last; -1 before."""
        return self._leaders.get(key, UNNAMED)

    def _quorum_ends(
        self,
        wanted: Mapping[str, int | None],
        what: OffsetSpec,
        isolation: IsolationLevel,
        deadline: Deadline,
    ) -> dict[PartitionKey, QuorumEnd]:
        at, doing = clock.elapsed(), f"asking for the end of {' and '.join(wanted)}"
        try:
            leaders = self._elected(wanted, doing, deadline)
            self._leaders |= leaders
            answers = self._answers(leaders, what, isolation, doing, deadline)
        except KafkaException as error:
            raise translate(error, doing) from error
        return {
            key: QuorumEnd(at, int(answer.offset), -1 if answer.leader_epoch is None else answer.leader_epoch)
            for key, answer in answers.items()
        }

    def _elected(
        self, wanted: Mapping[str, int | None], doing: str, deadline: Deadline
    ) -> dict[PartitionKey, int]:
        """The leaders that enough replicas name. Raises Unavailable, Refused, KafkaException."""
        votes = Votes(wanted, of_replicas=True)

        def is_enough() -> bool:
            if not votes.leaders:
                # No broker knows the topics. One alone may not have heard of them yet.
                return len(votes.heard) > 1 or votes.is_alone
            return UNNAMED not in votes.by_quorum().values()

        with self._voting:
            known = [self._replicas.get(topic, set()) for topic in wanted]
            useful = set().union(*known) if all(known) else set()
            failure = self._collect(votes, is_enough, useful, deadline)
            self._replicas |= dict.fromkeys((topic for topic, _ in votes.leaders), votes.replicas)
        if is_enough():
            return votes.by_quorum()
        if failure is not None and not votes.heard:
            raise KafkaException(failure)
        raise Unavailable(
            f"{doing}: too few of its replicas answer, or they do not agree on their leader now"
            f" ({len(votes.heard)} answered)"
        )

    def _collect(
        self, votes: Votes, is_enough: Callable[[], bool], useful: Collection[int], deadline: Deadline
    ) -> KafkaError | None:
        """Ask the voters until their votes are enough, and new ones if they are not. `useful`: the brokers to ask, if known.
        Keeps one voter for each broker whose vote counts. Returns an error of one that did not answer. Raises Refused."""
        voters, self._voters = self._voters, []
        waiting = [each for each in voters if not useful or each.broker in (UNNAMED, *useful)]
        others = [each for each in voters if each not in waiting]
        counted: list[Voter] = []
        # Over TLS a far broker takes seconds to connect to: the next question finds these connected.
        late: list[Voter] = []
        # Not the exception, whose traceback would keep all these clients alive.
        failure: KafkaError | None = None
        is_due = clock.elapsed() >= self._new_from
        in_vain = 0
        while not (is_enough() or votes.is_complete or deadline.passed):
            if not waiting and (not is_due or in_vain == _TRIES):
                break
            client = waiting.pop().client if waiting else AdminClient({**self._options, **_QUIET})
            try:
                vote = votes.take([described_by(client, topic, deadline) for topic in votes.wanted])
            except KafkaException as error:
                failure = error.args[0]
                late.append(Voter(client))
                in_vain = min(_TRIES, in_vain + 1)
                continue
            if vote == "counts":
                counted.append(Voter(client, votes.last))
            elif vote == "repeated":
                # A client whose broker died goes to any other one, and stays.
                in_vain = min(_TRIES, in_vain + 1)
            # Votes from elsewhere are not in vain: of thirty brokers most have nothing of a topic.
        if is_enough():
            self._pause_s = _PAUSE_S
            late = []
            others += [each for each in waiting if each.broker != UNNAMED]
        elif is_due:
            # Else each process of a fleet would open connections all the time, to brokers that are in trouble.
            self._new_from = clock.elapsed() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
        brokers = {each.broker for each in counted}
        others = [each for each in others if each.broker not in brokers]
        self._voters = late[:_LATE] + others + counted  # the next question begins with the last
        return failure

    def _answers(
        self,
        leaders: Mapping[PartitionKey, int],
        what: OffsetSpec,
        isolation: IsolationLevel,
        doing: str,
        deadline: Deadline,
    ) -> dict[PartitionKey, Any]:
        """The leaders' answers. Raises Unavailable, KafkaException."""
        if not leaders:
            return {}
        for _ in range(_TRIES):
            asker, futures = self._sent(leaders, what, isolation, deadline)
            if len(futures) < len(leaders):
                self._replace(asker)  # it has asked a deposed one
                continue
            try:
                answers = {key: future.result() for key, future in futures.items()}
            except KafkaException as error:
                self._replace(asker)
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                time.sleep(_READY_S)
                continue
            if any(answer.offset < 0 for answer in answers.values()):
                # librdkafka 2.16.0 calls it a success if no answer came in time.
                self._replace(asker)
                raise Unavailable(f"{doing}: its leader does not answer")
            return answers
        raise Unavailable(f"{doing}: its leader is changing now")

    def _sent(
        self,
        leaders: Mapping[PartitionKey, int],
        what: OffsetSpec,
        isolation: IsolationLevel,
        deadline: Deadline,
    ) -> tuple[AdminClient, dict[PartitionKey, "Future[Any]"]]:
        """Ask the leaders of those partitions for which the asker's broker names the same leader. The caller keeps the asker
        until the answers are there. Raises KafkaException."""
        # The client sends the question to the leader that the last description named. So no other thread may ask for
        # another description in between.
        with self._asking:
            asker = self._asker_now()
            same = []
            try:
                for topic in dict.fromkeys(topic for topic, _ in leaders):
                    described = described_by(asker, topic, deadline).topics[topic]
                    same += [
                        (topic, number)
                        for number, partition in described.partitions.items()
                        if leaders.get((topic, number)) == partition.leader
                    ]
                self._has_answered = True
                return asker, _asked(asker, same, what, isolation, deadline.left())
            except KafkaException:
                # Over TLS a far broker takes seconds to connect to.
                self._silences += 1
                if self._has_answered or self._silences == _SILENCES:
                    self._replace(asker)
                raise

    # -- What the asker is told, and ends that a second broker confirms.

    def confirmed_ends(
        self, partitions: Collection[PartitionKey], isolation: IsolationLevel, deadline: Deadline
    ) -> dict[PartitionKey, int]:
        """The ends of those partitions whose leader answers, and is named as the leader by another broker. Costs the same for one
        partition as for a thousand. Never raises."""
        topics = dict.fromkeys(sorted({topic for topic, _ in partitions}))
        votes = Votes(topics, of_replicas=False)

        def is_enough() -> bool:
            return len(votes.heard - {UNNAMED}) > 1 or (votes.is_alone and bool(votes.heard))

        ends: dict[PartitionKey, int] = {}
        with suppress(KafkaException, ScrubError):
            with self._voting:
                self._collect(votes, is_enough, (), deadline)
            if not is_enough():
                return ends
            named = votes.by_another()
            leaders = {key: named[key] for key in partitions if key in named}
            asker, futures = self._sent(leaders, LATEST, isolation, deadline)
            for key, future in futures.items():
                with suppress(KafkaException):
                    if (offset := future.result().offset) >= 0:
                        ends[key] = int(offset)
            if len(ends) < len(partitions):
                # Other clients may meet brokers that know better.
                self._voters = []
                self._replace(asker)
        return ends

    def bounds(self, key: PartitionKey, deadline: Deadline) -> tuple[int, int]:
        """The oldest offset of a partition, and its end before its first open transaction, by its leader's word. Raises
        Unavailable, KafkaException."""
        # Not with the client that fetches: it has one connection to each broker, and this would wait there behind its fetches.
        # On a slow link the question times out. librdkafka then breaks the connection (`socket.max.fails` is 1), and with it the
        # fetch that is half done: nothing would ever arrive.
        with self._asking:
            # A client stays with the broker that it has asked first. That one may not know that others lead by now.
            if self._another.is_due():
                self._asker = None
            asker = self._asker_now()
            committed = IsolationLevel.READ_COMMITTED
            firsts = _asked(asker, [key], EARLIEST, committed, deadline.left())
            ends = _asked(asker, [key], LATEST, committed, deadline.left())
        try:
            first, end = firsts[key].result().offset, ends[key].result().offset
        except KafkaException:
            self._replace(asker)
            raise
        if min(first, end) < 0:
            self._replace(asker)
            raise Unavailable(f"asking for the ends of {key[0]}: no broker answers now")
        return int(first), int(end)

    def partitions(self, topic: str, deadline: Deadline) -> list[int]:
        """The partitions that a topic has now; none if it does not exist. Raises Unavailable, Refused."""
        with translating(f"asking for {topic}"), self._asking:
            described = described_by(self._asker_now(), topic, deadline).topics[topic]
        if described.error is not None and described.error.code() not in ABSENT:
            raise translate(described.error, f"asking for {topic}")
        return sorted(described.partitions)

    def topics(self, deadline: Deadline) -> list[str]:
        """The names of all topics. Raises Unavailable, Refused."""
        with translating("asking for the topics"), self._asking:
            return sorted(self._asker_now().list_topics(timeout=max(0.1, deadline.left())).topics)

    def committed(
        self, group: str, partitions: Sequence[PartitionKey], doing: str, deadline: Deadline
    ) -> list[TopicPartition]:
        """What a group has committed. Does not wait for an open transaction. One thread for each group. Raises Unavailable,
        Refused."""
        # Not by AdminClient.list_consumer_group_offsets: librdkafka 2.16.0 crashes (SIGSEGV) while the group's coordinator
        # is not available, as on a new cluster or after a broker's restart.
        if not partitions:
            return []
        if group not in self._groups:
            self._groups[group] = Consumer({**self._options, "group.id": group})
        consumer = self._groups[group]
        places = [TopicPartition(*key) for key in partitions]
        try:
            return committed_soon(consumer, places, doing, deadline)
        except Unavailable:
            # A refused question for the coordinator ends in the timeout of ours, and the consumer reports why.
            message = consumer.poll(0)
            error = None if message is None else message.error()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise translate(error, doing) from None
            raise

    def now(self, partitions: Sequence[PartitionKey]) -> list[LatestTimestamp]:
        """The brokers' time: the latest timestamps of the partitions that answer within some seconds. Never raises.

        No answer of Kafka's protocol has the time, and the timestamps of records are their producers'. A marker's, at the
        end of a transaction, is that of the broker that leads the partition. It is the last committed entry of an output,
        since all its writers use transactions.
        """
        deadline = Deadline.after(VOTE_S)
        leaders: dict[PartitionKey, int] = {}
        with self._asking:
            asker = self._asker_now()
            for topic in {topic for topic, _ in partitions}:
                with suppress(KafkaException):
                    described = described_by(asker, topic, deadline).topics[topic]
                    leaders |= {(topic, number): each.leader for number, each in described.partitions.items()}
            led = [key for key in partitions if leaders.get(key, UNNAMED) >= 0]
            committed = IsolationLevel.READ_COMMITTED
            latest, ends = {}, {}
            with suppress(KafkaException):
                latest = _asked(asker, led, _MAX_TIMESTAMP, committed, VOTE_S)
                ends = _asked(asker, led, LATEST, committed, VOTE_S)
        times = []
        for key in led:
            with suppress(KafkaException, KeyError):
                last, end = latest[key].result(), ends[key].result()
                if last.timestamp > 0:
                    is_brokers = last.offset == end.offset - 1
                    times.append(LatestTimestamp(leaders[key], last.timestamp / 1000, is_brokers))
        return times

    def _asker_now(self) -> AdminClient:
        # Not `or`: a client without anything queued is falsy.
        if self._asker is None:
            self._asker = AdminClient({**self._options, **_QUIET})
            self._has_answered, self._silences = False, 0
        return self._asker

    def _replace(self, asker: AdminClient) -> None:
        """Make the next question one of another client, which may meet another broker."""
        if self._asker is asker:
            self._asker = None

    # -- Topic ids. A topic that was deleted and created again has its old name, but old offsets mean nothing in it. Kafka gives
    # every new topic an id of its own (since 2.8).

    def id_of(self, topic: str, deadline: Deadline) -> str:
        """As `ids`, of one topic."""
        return self.ids([topic], deadline)[topic]

    def ids(self, topics: Sequence[str], deadline: Deadline) -> dict[str, str]:
        """The id of each; empty from brokers before 2.8. Raises Unavailable, Refused."""
        if not self._has_ids:
            return dict.fromkeys(topics, "")
        asker = self._asker_now()
        answers = _described_topics(asker, topics, max(0.1, deadline.left()))
        return self._confirmed_ids(
            {topic: self._need_id(asker, topic, answers[topic]) for topic in answers}, deadline
        )

    def begin_ids(self, topics: Sequence[str]) -> None:
        """Send the question of `answered_ids`, unless the last one or its answer is fresh. Never blocks. A batch that is given up
        takes no answer, so an old one may be left."""
        known_at = self._asked_at if self._asked_ids else self._answered_at
        if self._has_ids and topics and time.monotonic() - known_at > _FRESH_S:
            self._ids_asker = self._asker_now()
            self._asked_ids = _described_topics(self._ids_asker, topics, _ASK_S)
            self._asked_at = time.monotonic()

    def answered_ids(self, topics: Collection[str], deadline: Deadline) -> dict[str, str]:
        """The ids that `begin_ids` asked for: of all `topics`, and of others whose answer has come. Usually it has; empty if
        there was no question. One thread begins and takes. Raises Unavailable, Refused."""
        answers, self._asked_ids = self._asked_ids, {}
        asker, self._ids_asker = self._ids_asker, None
        ids = {}
        for topic, future in answers.items():
            if topic not in topics and (not future.done() or future.exception() is not None):
                continue
            assert asker is not None, "it was asked"
            try:
                future.exception(deadline.left())
            except TimeoutError as error:
                self._replace(asker)
                raise Unavailable(f"asking for {topic}: no broker answers now") from error
            ids[topic] = self._need_id(asker, topic, future)
        if answers and len(ids) == len(answers):
            self._answered_at = self._asked_at
        return self._confirmed_ids(ids, deadline)

    def _need_id(self, asker: AdminClient, topic: str, answer: "Future[Any]") -> str:
        """As `_id`. After a failure another client asks."""
        # It asks the controller that the brokers named once. While that one is away it waits for it, for minutes.
        try:
            return _id(topic, answer)
        except Unavailable:
            self._replace(asker)
            raise

    def _confirmed_ids(self, ids: dict[str, str], deadline: Deadline) -> dict[str, str]:
        """The ids, if other brokers give the same for topics whose id is not known or has changed. Raises Unavailable,
        Refused."""
        # A broker that does not hear the others gives a topic's id of before, and all of it would be judged again. Each
        # client asks one broker, which it chooses at random: three that are wrong alike are one in 27 if one of three is.
        doubtful = [topic for topic, identity in ids.items() if self._ids.get(topic) != identity]
        if not doubtful:
            return ids
        others = [AdminClient({**self._options, **_QUIET}) for _ in range(_OTHER_WITNESSES)]
        for answers in [_described_topics(each, doubtful, max(0.1, deadline.left())) for each in others]:
            for topic in doubtful:
                if _id(topic, answers[topic]) != ids[topic]:
                    self._asker = None  # this one may ask the broker that is wrong
                    raise Unavailable(f"the brokers do not agree now whether {topic} was created again")
        self._ids |= {topic: ids[topic] for topic in doubtful}
        return ids


def _asked(
    client: AdminClient,
    partitions: Sequence[PartitionKey],
    what: OffsetSpec,
    isolation: IsolationLevel,
    timeout_s: float,
) -> dict[PartitionKey, "Future[Any]"]:
    """Ask the leaders of these partitions for an offset. Raises KafkaException from a client that can no longer ask."""
    if not partitions:
        return {}
    places = {TopicPartition(*key): what for key in partitions}
    answers = client.list_offsets(places, isolation_level=isolation, request_timeout=max(0.1, timeout_s))
    return {key_of(place): answer for place, answer in answers.items()}


def _described_topics(
    client: AdminClient, topics: Sequence[str], timeout_s: float
) -> "dict[str, Future[Any]]":
    return client.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)


def _id(topic: str, answer: "Future[Any]") -> str:
    with translating(f"asking for {topic}"):
        identity = str(answer.result().topic_id)
    return "" if set(identity) <= {"A"} else identity  # an id of zeros only
