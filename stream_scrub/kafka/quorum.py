"""The ends of a partition, as a quorum of its replicas warrants them.

A broker that was deposed and hears nothing of the others goes on answering. It names itself as the leader, and the end
that it gives is old: what was acknowledged since lies on other brokers. A client believes the broker that it happens to
ask, so one client cannot notice. Why a quorum can, with RF replicas of which M (`min.insync.replicas`) acknowledge:

1. A record is acknowledged when M replicas have it. Each of them followed its leader, so each knows that leader.
2. We ask RF - M + 1 replicas who leads. They have at least one replica in common with any M.
3. If all of them name L, nothing had been acknowledged under a later leader when we asked the first of them.
4. After that L is asked for the end, and answers as the leader. It may have been deposed and elected again in between,
   but is elected only if it has followed the other leader, or if nothing was acknowledged without it. So its end is
   behind everything that was acknowledged before the first question.

The records may be fetched from any broker: below that end all have the same. Not covered: brokers that lose what they
acknowledged (an unclean election), replicas that are moved while RF - M + 1 of the old ones hear only each other, and
`min.insync.replicas` 1, of which `stream-scrub topics` warns.

Kafka has no request for this. A client asks one broker who leads, the same one as long as they are connected, and the
answer says which one it is. So there is a client for each replica that we need. It takes the right to describe the topic,
which every reader has. docs/decisions/0018-a-quorum-confirms-an-end.md has what was measured, and the alternatives.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata, OffsetSpec, PartitionMetadata  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub import clock
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka.client.asking import AdminClient, poll_all
from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.offsets import LATEST, ask_leader, key_of
from stream_scrub.model import Deadline, PartitionKey

_IN_SYNC = 2  # the `min.insync.replicas` that the promises rest on
_VOTE_S = 2.0
UNNAMED = -1  # a broker by its address, before an answer has named it
_TRIES = 6  # new clients for one question: each chooses its broker at random, and those that help are kept
_LATE = 2  # clients that are waited for longer than for one question
_READY_S = 0.2  # until a leader that was just elected may know it itself: that of a new topic, say
_ABSENT = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
_PAUSE_S, _PAUSE_MAX_S = 0.5, 4.0  # without a quorum, until there are new clients again: doubled each time

# A client that pushes telemetry, or that looks for new leaders by itself, changes its broker or its leader unseen.
QUIET = {"enable.metrics.push": False, "topic.metadata.refresh.interval.ms": -1}


def described_by(
    client: AdminClient, topic: str, deadline: Deadline, patience_s: float = _VOTE_S
) -> ClusterMetadata:
    """A topic, as the broker describes it that this client asks; `orig_broker_id` names that one. Raises Unavailable,
    Refused, KafkaException."""
    found = _metadata(client, topic, deadline, patience_s)
    if (error := found.topics[topic].error) is not None:
        raise translate(error, f"asking for {topic}")
    return found


def _metadata(
    client: AdminClient, topic: str, deadline: Deadline, patience_s: float = _VOTE_S
) -> ClusterMetadata:
    """As `described_by`, with the broker's error for the topic."""
    poll_all()
    for _ in range(2):
        found = client.list_topics(topic, timeout=max(0.1, deadline.left(patience_s)))
        if found.orig_broker_id != UNNAMED:
            break  # else it came from an address, and the next one has the name
    return found


class QuorumEnds:
    """Asks for the ends of one partition. One thread."""

    def __init__(self, options: dict[str, Any], place: TopicPartition) -> None:
        """`options`: the properties of any client."""
        self._options = {**asking_options(options), **QUIET}
        self._place = place
        # Made at once, since each takes a moment to connect; two replicas of three are enough.
        self._voters = [AdminClient(self._options), AdminClient(self._options)]
        self._asking: AdminClient | None = AdminClient(self._options)  # asks the leader; it does not vote
        self._pause_s, self._new_from = _PAUSE_S, float("-inf")
        self.leader = UNNAMED
        """The broker that the quorum named last."""
        self.epoch = UNNAMED
        """The epoch of the leader that gave the last end; -1 before."""

    def ask(
        self,
        what: OffsetSpec,
        deadline: Deadline,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> tuple[float, int]:
        """A moment by `clock.elapsed`, and the offset. A partition's latest offset is behind everything that was
        acknowledged before the moment.

        Raises Unavailable without a quorum, Refused.
        """
        asked_at = clock.elapsed()
        try:
            self.leader = self._elected(deadline)
            return asked_at, self._offset(what, isolation, deadline)
        except KafkaException as error:
            raise translate(error, self._doing) from error

    def close(self) -> None:
        """Close the clients."""
        self._voters, self._asking = [], None

    @property
    def _doing(self) -> str:
        return f"asking for the end of {self._place.topic}"

    def _elected(self, deadline: Deadline) -> int:
        """The leader that enough replicas name. Raises Unavailable, Refused, KafkaException."""
        votes: dict[int, int] = {}
        known, self._voters = self._voters, []
        failure: KafkaError | None = (
            None  # not the exception, whose traceback would keep all these clients alive
        )
        late = []  # over TLS a far broker takes seconds to connect to: the next question finds them connected
        is_due = clock.elapsed() >= self._new_from
        tries = len(known) + _TRIES * is_due
        while tries and not deadline.passed:
            tries -= 1
            voter = known.pop() if known else AdminClient(self._options)
            try:
                broker, partition = self._named_by(voter, deadline)
            except KafkaException as error:
                failure = error.args[0]
                late.append(voter)
                continue
            if broker not in partition.replicas:
                tries += 1  # it does not count: of thirty brokers most do not
                continue
            if broker in votes:
                continue  # another client speaks for it
            self._voters.append(voter)
            votes[broker] = leader = partition.leader
            agree = sum(each == leader for each in votes.values())
            if leader != UNNAMED and agree > len(partition.replicas) - _IN_SYNC:
                self._voters = known + self._voters  # the next question begins with the last
                self._pause_s = _PAUSE_S
                return int(leader)
            if len(votes) == len(partition.replicas):
                break
        self._voters = late[:_LATE] + self._voters
        # Else each process of a fleet would open connections all the time, to brokers that are in trouble.
        if is_due:
            self._new_from = clock.elapsed() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
        if failure is not None and not votes:
            raise KafkaException(failure)
        raise Unavailable(
            f"{self._doing}: too few of its replicas answer, or they do not agree on their leader now"
            f" ({len(votes)} answered)"
        )

    def _named_by(
        self, client: AdminClient, deadline: Deadline, patience_s: float = _VOTE_S
    ) -> tuple[int, PartitionMetadata]:
        """The broker that answers this client, and what it says. Raises Unavailable, Refused, KafkaException."""
        topic = self._place.topic
        found = described_by(client, topic, deadline, patience_s)
        partitions = found.topics[topic].partitions
        if self._place.partition not in partitions:
            raise Refused(f"{topic} has no partition {self._place.partition}")
        return found.orig_broker_id, partitions[self._place.partition]

    def _offset(self, what: OffsetSpec, isolation: IsolationLevel, deadline: Deadline) -> int:
        """The leader's answer. Raises Unavailable, Refused, KafkaException."""
        for _ in range(_TRIES):
            # Not `or`: a client without anything queued is falsy. It is kept if all goes well.
            asking = AdminClient(self._options) if self._asking is None else self._asking
            self._asking = None
            if self._named_by(asking, deadline, deadline.left())[1].leader != self.leader:
                continue  # it has asked the deposed one
            try:
                answer = ask_leader(asking, self._place, what, isolation, max(0.1, deadline.left()))
            except KafkaException as error:
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                time.sleep(_READY_S)
                continue
            if what is LATEST:
                self.epoch = answer.epoch
            self._asking = asking
            return answer.offset
        raise Unavailable(f"{self._doing}: its leader is changing now")


class _Votes:
    """Who leads each partition of some topics, as their brokers say."""

    def __init__(self) -> None:
        self._leaders: dict[PartitionKey, dict[int, int]] = {}  # by partition and the broker that names it
        self._replicas: dict[PartitionKey, Sequence[int]] = {}
        self.heard: set[int] = set()

    def count(self, found: Sequence[ClusterMetadata]) -> bool:
        """Whether its brokers were heard before."""
        for each in found:
            for topic in each.topics.values():
                for number, partition in topic.partitions.items():
                    key = str(topic.topic), number
                    self._replicas[key] = partition.replicas
                    self._leaders.setdefault(key, {})[each.orig_broker_id] = partition.leader
        brokers = {each.orig_broker_id for each in found}
        is_heard = brokers <= self.heard
        self.heard |= brokers
        return is_heard

    @property
    def replicas(self) -> set[int]:
        """The brokers that have one of the partitions."""
        return {broker for brokers in self._replicas.values() for broker in brokers}

    @property
    def agreed(self) -> dict[PartitionKey, int]:
        """The leaders; -1 where too few brokers agree."""
        return {key: _agreed(leaders, self._replicas[key]) for key, leaders in self._leaders.items()}

    @property
    def missing(self) -> bool:
        """Whether too few agree on one of them."""
        return UNNAMED in self.agreed.values()


class TopicEnds:
    """Asks for the written ends of every partition of some topics: as `QuorumEnds`, with a few clients for all of them. One
    thread."""

    def __init__(self, options: dict[str, Any], topics: Sequence[str]) -> None:
        """`options`: the properties of any client."""
        self._options = {**asking_options(options), **QUIET}
        self._topics = topics
        self._voters: list[AdminClient] = []
        self._asking: AdminClient | None = None  # asks the leaders; it does not vote
        self._pause_s, self._new_from = _PAUSE_S, float("-inf")

    def ask(self, deadline: Deadline) -> dict[PartitionKey, int]:
        """The ends, which are behind everything that was acknowledged before this call. A topic that does not exist has none.
        Raises Unavailable without a quorum, Refused."""
        try:
            leaders = self._elected(deadline)
            return self._ends(leaders, deadline) if leaders else {}
        except KafkaException as error:
            raise translate(error, self._doing) from error

    @property
    def _doing(self) -> str:
        return f"asking for the ends of {' and '.join(self._topics)}"

    def _elected(self, deadline: Deadline) -> dict[PartitionKey, int]:
        """The leaders that enough replicas name. Raises Unavailable, Refused, KafkaException."""
        votes = _Votes()
        known, self._voters = self._voters, []
        failure: KafkaError | None = None
        late = []
        is_due = clock.elapsed() >= self._new_from
        in_vain = 0
        while not deadline.passed and (known or (is_due and in_vain < _TRIES)):
            voter = known.pop() if known else AdminClient(self._options)
            try:
                found = self._described(voter, deadline)
            except KafkaException as error:
                failure = error.args[0]
                late.append(voter)
                in_vain += 1
                continue
            is_heard = votes.count(found)
            if not votes.missing:
                self._voters = [*known, *self._voters, voter]  # the next question begins with the last
                self._pause_s = _PAUSE_S
                return votes.agreed
            if is_heard:
                in_vain += 1  # another client speaks for its broker: one whose broker died goes to any other
                continue
            if found[-1].orig_broker_id in votes.replicas:
                self._voters.append(voter)
            if votes.replicas <= votes.heard:
                break
        self._voters = late[:_LATE] + known + self._voters
        if is_due:
            self._new_from = clock.elapsed() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
        if failure is not None and not votes.heard:
            raise KafkaException(failure)
        raise Unavailable(
            f"{self._doing}: too few replicas answer, or they do not agree on their leader now"
            f" ({len(votes.heard)} brokers answered)"
        )

    def _described(self, voter: AdminClient, deadline: Deadline) -> list[ClusterMetadata]:
        """The topics that exist, as this client's broker describes them. Raises Refused, KafkaException."""
        found = []
        for topic in self._topics:
            metadata = _metadata(voter, topic, deadline)
            error = metadata.topics[topic].error
            if error is not None and error.code() not in _ABSENT:
                raise translate(error, f"asking for {topic}")
            found.append(metadata)
        return found

    def _ends(self, leaders: Mapping[PartitionKey, int], deadline: Deadline) -> dict[PartitionKey, int]:
        """The leaders' answers. Raises Unavailable, Refused, KafkaException."""
        # Not `or`: a client without anything queued is falsy. It is kept if all goes well.
        asking = AdminClient(self._options) if self._asking is None else self._asking
        self._asking = None
        for topic in sorted({topic for topic, _ in leaders}):
            for number, partition in described_by(asking, topic, deadline).topics[topic].partitions.items():
                if leaders.get((topic, number)) != partition.leader:
                    raise Unavailable(f"{self._doing}: the leader of {topic}/{number} is changing now")
        answers = asking.list_offsets(
            {TopicPartition(*key): LATEST for key in leaders},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=max(0.1, deadline.left()),
        )
        ends = {key_of(place): int(answer.result().offset) for place, answer in answers.items()}
        if min(ends.values()) < 0:  # librdkafka 2.16.0 calls it a success if no answer came in time
            raise Unavailable(f"{self._doing}: a leader does not answer")
        self._asking = asking
        return ends

    def close(self) -> None:
        """Close the clients."""
        self._voters, self._asking = [], None


def _agreed(votes: Mapping[int, int], replicas: Sequence[int]) -> int:
    """The leader that enough replicas name; -1 if there is none."""
    named = Counter(leader for broker, leader in votes.items() if broker in replicas)
    leader, count = named.most_common(1)[0] if named else (UNNAMED, 0)
    return leader if count > len(replicas) - _IN_SYNC else UNNAMED
