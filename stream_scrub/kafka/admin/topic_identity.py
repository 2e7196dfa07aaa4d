"""Which topic it is. A topic that was deleted and made anew has its old name, but old offsets mean nothing in it.

Kafka gives every topic an id of its own when it is made (since 2.8). One thread.
"""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline

_ASK_S = 5.0
# In less time no topic is deleted, made anew, and filled again up to where it was read.
_FRESH_S = 0.2


class TopicIdentity:
    """The ids of topics; `admin` are an admin client's properties."""

    def __init__(self, admin: dict[str, Any]) -> None:
        self._admin = AdminClient({**admin, "statistics.interval.ms": 0})  # it is hardly ever polled
        self._asked: dict[str, Future[Any]] = {}
        self._asked_at = self._answered_at = float("-inf")

    def ask(self, topics: Sequence[str], deadline: Deadline) -> dict[str, str]:
        """The id of each now; empty from brokers before 2.8, which give none. Raises Unavailable, Refused."""
        asked = self._request(topics, max(0.1, deadline.left()))
        return {topic: self._id(topic, future) for topic, future in asked.items()}

    def begin(self, topics: Sequence[str]) -> None:
        """Ask, unless what was asked or answered last is fresh. Never blocks. A batch that is given up takes no answer, so
        one that was asked for then may be there still, and old."""
        known_at = self._asked_at if self._asked else self._answered_at
        if topics and time.monotonic() - known_at > _FRESH_S:
            self._asked = self._request(topics, _ASK_S)
            self._asked_at = time.monotonic()

    def answer(self, topics: Collection[str], deadline: Deadline) -> dict[str, str]:
        """The ids that `begin` asked for: surely of `topics`, and of others as far as they are there. Mostly the answer is
        there; it is empty where nothing was asked. Raises Unavailable, Refused."""
        asked, self._asked = self._asked, {}
        found = {}
        for topic, future in asked.items():
            if topic not in topics and (not future.done() or future.exception() is not None):
                continue
            try:
                future.exception(deadline.left())
            except TimeoutError as error:
                raise Unavailable(f"asking for {topic}: no broker answers now") from error
            found[topic] = self._id(topic, future)
        if asked and len(found) == len(asked):
            self._answered_at = self._asked_at
        return found

    def _request(self, topics: Sequence[str], timeout_s: float) -> "dict[str, Future[Any]]":
        return self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)

    @staticmethod
    def _id(topic: str, asked: "Future[Any]") -> str:
        try:
            made = str(asked.result().topic_id)
        except KafkaException as error:
            raise translate(error, f"asking for {topic}") from error
        return "" if set(made) <= {"A"} else made  # an id of zeros only
