"""Offsets of partitions: the first, the end, and what a group has committed. One thread."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.errors import Refused, StaleIndex, Unavailable
from stream_scrub.kafka.client.translate import translate, translating
from stream_scrub.model import Deadline, PartitionKey

EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
_ASK_S = 5.0
_AGAIN_S = 0.05
# A seek in a partition that the client does not fetch, or does not fetch yet.
NOT_FETCHING = frozenset({KafkaError._STATE, KafkaError._UNKNOWN_PARTITION})
TRUNCATED = "truncation"  # in the client's text, by the epoch of the last record (KIP-320)
_NOTE = re.compile(r"index=(\d{1,19}) log=([^\s/]+)/(\S*) topic=(\S*)")


class CommitNote(NamedTuple):
    """The note in the metadata of a worker's committed offset."""

    position: int  # of the index that judged the records before
    log_topic: str
    log_id: str = ""  # of the log's topic, which may be deleted and created again; empty if unknown
    topic_id: str = ""  # of the offset's topic, likewise

    @classmethod
    def read(cls, text: str | None) -> "CommitNote | None":
        """The note in an offset's metadata; None if it is not ours."""
        found = _NOTE.fullmatch(text or "")
        return None if found is None else cls(int(found[1]), found[2], found[3], found[4])

    def __str__(self) -> str:
        return f"index={self.position} log={self.log_topic}/{self.log_id} topic={self.topic_id}"

    def is_of_earlier(self, log_topic: str, log_id: str) -> bool:
        """Whether the records were judged by an earlier log of this name, which was deleted: its positions mean nothing on
        this one, and its oppositions are not on it."""
        return self.log_topic == log_topic and bool(self.log_id and log_id) and self.log_id != log_id


def earlier_log(log_topic: str) -> StaleIndex:
    """The hold of a process whose workers judged by an earlier log of this name."""
    return StaleIndex(
        "log-behind",
        f"{log_topic} was deleted and created again since workers judged by it, and lacks what people had asked before:"
        " set topics.log to a new name (docs/runbook.md, Restoring a log)",
    )


def key_of(place: TopicPartition) -> PartitionKey:
    """The topic and the number of a partition."""
    return place.topic, place.partition


def epoch_of(leader_epoch: int | None) -> int:
    """A leader epoch as the client's calls want it; -1: unknown."""
    return -1 if leader_epoch is None else leader_epoch


def partitions_of(client: Consumer | Producer | AdminClient, topic: str, deadline: Deadline) -> list[int]:
    """The partitions that a topic has now. Raises Unavailable, Refused."""
    with translating(f"asking for {topic}"):
        found = client.list_topics(topic, timeout=max(0.1, deadline.left())).topics[topic]
    if found.error is not None:
        raise translate(found.error, f"asking for {topic}")
    return sorted(found.partitions)


def bounds_of(consumer: Consumer, place: TopicPartition, deadline: Deadline) -> tuple[int, int]:
    """The oldest offset of a partition, and its end. Raises Unavailable, Refused."""
    with translating(f"asking for the ends of {place.topic}"):
        found = consumer.get_watermark_offsets(place, timeout=max(0.1, deadline.left()))
    if found is None:
        raise Unavailable(f"asking for the ends of {place.topic}: no broker answers now")
    return int(found[0]), int(found[1])


class LeadersAnswer(NamedTuple):
    """An offset, and with a partition's end the epoch of the leader that gave it: which election it won."""

    offset: int
    epoch: int  # -1 if the broker gives none


def ask_leader(
    admin: AdminClient, place: TopicPartition, what: OffsetSpec, isolation: IsolationLevel, timeout_s: float
) -> LeadersAnswer:
    """What the leader of a partition answers. Raises Unavailable, KafkaException."""
    answers = admin.list_offsets({place: what}, isolation_level=isolation, request_timeout=timeout_s)
    found = answers[place].result()
    if found.offset < 0:  # librdkafka 2.16.0 calls it a success if no answer came in time
        raise Unavailable(f"asking for the end of {place.topic}: its leader does not answer")
    return LeadersAnswer(int(found.offset), -1 if found.leader_epoch is None else int(found.leader_epoch))


_HAS_MEMBERS = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}
)


def committed(consumer: Consumer, topic: str, deadline: Deadline) -> list[TopicPartition]:
    """The committed offset of the consumer's group for every partition of a topic; negative without one. Raises
    Unavailable, Refused."""
    doing = f"asking for the committed offsets of {topic}"
    partitions = [TopicPartition(topic, partition) for partition in partitions_of(consumer, topic, deadline)]
    with translating(doing):
        places = consumer.committed(partitions, timeout=max(0.1, deadline.left()))
    for each in places:
        if each.error is not None:
            raise translate(each.error, doing)
    return places


def committed_soon(
    consumer: Consumer, places: list[TopicPartition], doing: str, deadline: Deadline
) -> list[TopicPartition]:
    """The committed offsets of the consumer's group. Waits for a transaction that is just ending: before, they cannot be
    read. Raises Unavailable, Refused."""
    while True:
        try:
            found = consumer.committed(places, timeout=max(0.1, deadline.left(_ASK_S)))
        except KafkaException as error:
            failure = translate(error, doing)
            if deadline.passed or not isinstance(failure, Unavailable):
                raise failure from error
            time.sleep(_AGAIN_S)
            continue
        for each in found:
            if each.error is not None:
                raise translate(each.error, doing)
        return found


# A deposed coordinator that does not know it takes no commits, and still answers with the earlier offsets.
# So a process that takes over from another one commits a mark first, and believes a client once that reads the mark back.


def new_mark(consumer: Consumer, log_topic: str, deadline: Deadline) -> TopicPartition:
    """An offset of the opposition log to commit, which means nothing but that it was committed. It is the log's end, so that
    no monitoring of groups shows a lag. Raises Unavailable, Refused."""
    _, end = bounds_of(consumer, TopicPartition(log_topic, 0), deadline)
    return TopicPartition(log_topic, 0, end, f"taken over {uuid4().hex}")


def need_read_back(consumer: Consumer, mark: TopicPartition, deadline: Deadline) -> None:
    """Raises Unavailable unless this client is answered with the mark, which was committed; Refused."""
    doing = "asking for what this process has just committed"
    (found,) = committed_soon(consumer, [TopicPartition(mark.topic, 0)], doing, deadline)
    if found.metadata != mark.metadata:
        raise Unavailable(
            f"{doing}: a broker answers with something older. It may not know that it no longer coordinates the group"
        )


class GroupOffsets:
    """`options`: those of a consumer of the group. It never joins."""

    def __init__(self, options: dict[str, Any], topics: Sequence[str]) -> None:
        self._consumer = Consumer(options)
        self._topics = tuple(topics)

    def committed(self, deadline: Deadline) -> dict[PartitionKey, int | None]:
        """By partition of the topics; None without one. Raises Unavailable, Refused."""
        places = [each for topic in self._topics for each in committed(self._consumer, topic, deadline)]
        return {key_of(each): each.offset if each.offset >= 0 else None for each in places}

    def commit(self, offsets: Mapping[PartitionKey, int], note: CommitNote) -> None:
        """Commit these. Raises Refused while the group has members."""
        places = [TopicPartition(*key, offset, str(note)) for key, offset in offsets.items()]
        try:
            answers = self._consumer.commit(offsets=places, asynchronous=False) or []
        except KafkaException as error:
            raise self._of(error.args[0]) from error
        for each in answers:
            if each.error is not None:
                raise self._of(each.error)

    def _of(self, error: KafkaError) -> Exception:
        if error.code() in _HAS_MEMBERS:
            return Refused("the group has members: stop every worker of it first")
        return translate(error, f"committing offsets of {', '.join(self._topics)}")

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
