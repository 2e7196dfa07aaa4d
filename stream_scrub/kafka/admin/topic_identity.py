"""Topic ids. A topic that was deleted and created again has its old name, but old offsets mean nothing in it.

Kafka gives every new topic an id of its own (since 2.8). One thread.
"""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import TopicCollection

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.asking import AdminClient
from stream_scrub.kafka.client.translate import translating
from stream_scrub.model import Deadline

_ASK_S = 5.0
_OTHERS = 2
# In less time no topic is deleted, created again, and filled up to where it was read.
_FRESH_S = 0.2


class TopicIdentity:
    """The ids of topics. `admin`: an admin client's properties."""

    def __init__(self, admin: dict[str, Any]) -> None:
        self._options = {**admin, "statistics.interval.ms": 0}  # it is hardly ever polled
        self._admin = AdminClient(self._options)
        self._agreed: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._asked_at = self._answered_at = float("-inf")

    def ask(self, topics: Sequence[str], deadline: Deadline) -> dict[str, str]:
        """The id of each; empty from brokers before 2.8. Raises Unavailable, Refused."""
        answers = self._request(self._admin, topics, max(0.1, deadline.left()))
        return self._sure({topic: self._need(topic, future) for topic, future in answers.items()}, deadline)

    def begin(self, topics: Sequence[str]) -> None:
        """Send a question, unless the last one or its answer is fresh. Never blocks. A batch that is given up takes no
        answer, so an old one may be left."""
        known_at = self._asked_at if self._asked else self._answered_at
        if topics and time.monotonic() - known_at > _FRESH_S:
            self._asked = self._request(self._admin, topics, _ASK_S)
            self._asked_at = time.monotonic()

    def answer(self, topics: Collection[str], deadline: Deadline) -> dict[str, str]:
        """The ids that `begin` asked for: of all `topics`, and of others whose answer has come. Usually it has; empty if
        there was no question. Raises Unavailable, Refused."""
        answers, self._asked = self._asked, {}
        ids = {}
        for topic, future in answers.items():
            if topic not in topics and (not future.done() or future.exception() is not None):
                continue
            try:
                future.exception(deadline.left())
            except TimeoutError as error:
                self._admin = AdminClient(self._options)
                raise Unavailable(f"asking for {topic}: no broker answers now") from error
            ids[topic] = self._need(topic, future)
        if answers and len(ids) == len(answers):
            self._answered_at = self._asked_at
        return self._sure(ids, deadline)

    def _need(self, topic: str, answer: "Future[Any]") -> str:
        """As `_id`. After a failure another client asks."""
        # It asks the controller that the brokers named once. While that one is away it waits for it, for minutes.
        try:
            return self._id(topic, answer)
        except Unavailable:
            self._admin = AdminClient(self._options)
            raise

    def _sure(self, ids: dict[str, str], deadline: Deadline) -> dict[str, str]:
        """The ids, if other brokers give the same for topics whose id is not known or has changed. Raises Unavailable,
        Refused."""
        # A broker that does not hear the others gives a topic's id of before, and all of it would be judged again. Each
        # client asks one broker, which it chooses at random: three that are wrong alike are one in 27 if one of three is.
        doubtful = [topic for topic, identity in ids.items() if self._agreed.get(topic) != identity]
        others = [AdminClient(self._options) for _ in range(_OTHERS)] if doubtful else []
        for answers in [self._request(each, doubtful, max(0.1, deadline.left())) for each in others]:
            for topic in doubtful:
                if self._id(topic, answers[topic]) != ids[topic]:
                    self._admin = AdminClient(self._options)  # this one may ask the broker that is wrong
                    raise Unavailable(f"the brokers do not agree now whether {topic} was created again")
        self._agreed |= {topic: ids[topic] for topic in doubtful}
        return ids

    @staticmethod
    def _request(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> "dict[str, Future[Any]]":
        return admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)

    @staticmethod
    def _id(topic: str, answer: "Future[Any]") -> str:
        with translating(f"asking for {topic}"):
            identity = str(answer.result().topic_id)
        return "" if set(identity) <= {"A"} else identity  # an id of zeros only
