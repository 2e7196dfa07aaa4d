"""Who leads a partition, by the votes of brokers. The proof that an end counts if a quorum of replicas confirms its leader.

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
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError
from confluent_kafka.admin import ClusterMetadata, TopicMetadata  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.errors import Refused
from stream_scrub.kafka.client.asking import AdminClient, poll_all
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline, PartitionKey

_IN_SYNC = 2  # the `min.insync.replicas` that the promises rest on
VOTE_S = 2.0
UNNAMED = -1  # a broker by its address, before an answer has named it
ABSENT = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


class Voter(NamedTuple):
    """A client that only asks who leads, and the broker that answered it last."""

    client: AdminClient
    broker: int = UNNAMED


class Votes:
    """Who leads the wanted partitions, as brokers say. `wanted`: by topic a partition, or None for all. `of_replicas`: only the
    votes of brokers count that have one of them."""

    def __init__(self, wanted: Mapping[str, int | None], *, of_replicas: bool) -> None:
        self.wanted, self.of_replicas = wanted, of_replicas
        self.leaders: dict[PartitionKey, dict[int, int]] = {}  # by the broker that names it
        self._replicas: dict[PartitionKey, Sequence[int]] = {}
        self.heard: set[int] = set()
        self.last = UNNAMED  # the broker that voted last
        self.is_alone = False  # whether the cluster is one broker

    def take(self, answers: Sequence[ClusterMetadata]) -> Literal["counts", "repeated", "elsewhere"]:
        """Take the answers of one client, one for each topic. A vote is "repeated" if another client speaks for that broker, and
        from "elsewhere" if the broker has none of the partitions. Raises Refused."""
        broker = self.last = answers[-1].orig_broker_id
        is_heard = broker in self.heard
        for answer in answers:
            self.is_alone = len(answer.brokers) == 1
            self.heard.add(answer.orig_broker_id)
            for topic, described in answer.topics.items():
                only = self.wanted[topic]
                if self.of_replicas:
                    _need_described(topic, only, described)
                for number, partition in described.partitions.items():
                    if only in (None, number):
                        self._replicas[topic, number] = partition.replicas
                        self.leaders.setdefault((topic, number), {})[answer.orig_broker_id] = partition.leader
        if self.of_replicas and self.leaders and broker not in (UNNAMED, *self.replicas):
            return "elsewhere"
        is_unnamed = broker == UNNAMED and not self.is_alone
        return "repeated" if is_heard or is_unnamed else "counts"

    @property
    def is_complete(self) -> bool:
        """Whether every broker has voted whose vote counts."""
        return self.of_replicas and bool(self.leaders) and self.replicas <= self.heard

    @property
    def replicas(self) -> set[int]:
        """The brokers that have one of the partitions."""
        return {broker for brokers in self._replicas.values() for broker in brokers}

    def by_quorum(self) -> dict[PartitionKey, int]:
        """The leaders that enough replicas name; -1 where too few agree."""
        named = {}
        for key, leaders in self.leaders.items():
            replicas = self._replicas[key]
            agree = Counter(leader for broker, leader in leaders.items() if broker in replicas)
            leader, count = agree.most_common(1)[0] if agree else (UNNAMED, 0)
            named[key] = leader if count > len(replicas) - _IN_SYNC else UNNAMED
        return named

    def by_another(self) -> dict[PartitionKey, int]:
        """The leaders that another broker names, where all of these agree. That is weaker than a quorum, since brokers that are
        cut off together confirm each other."""
        named = {}
        for key, leaders in self.leaders.items():
            others = {
                leader
                for broker, leader in leaders.items()
                if self.is_alone or broker not in (leader, UNNAMED)
            }
            if len(others) == 1:
                named[key] = others.pop()
        return named


def described_by(client: AdminClient, topic: str, deadline: Deadline) -> ClusterMetadata:
    """A topic, as the broker describes it that this client asks; `orig_broker_id` names that one. Raises KafkaException."""
    poll_all()
    for _ in range(2):
        answer = client.list_topics(topic, timeout=max(0.1, deadline.left(VOTE_S)))
        if answer.orig_broker_id != UNNAMED:
            break  # else it came from an address, and the next one has the name
    return answer


def _need_described(topic: str, number: int | None, described: TopicMetadata) -> None:
    """Raises Refused or Unavailable for a topic or a partition that is not there. A topic of which all partitions are wanted may
    be absent."""
    is_absent = described.error is not None and described.error.code() in ABSENT
    if described.error is not None and not (is_absent and number is None):
        raise translate(described.error, f"asking for {topic}")
    if number is not None and number not in described.partitions:
        raise Refused(f"{topic} has no partition {number}")
