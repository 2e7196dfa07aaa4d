"""Which topic it is. A topic that was deleted and made anew has its old name, but old offsets mean nothing in it.

Kafka gives every topic an id of its own when it is made (since 2.8). One thread.
"""

import time
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
    """The id of one topic; `admin` are an admin client's properties."""

    def __init__(self, admin: dict[str, Any], topic: str) -> None:
        self._admin = AdminClient({**admin, "statistics.interval.ms": 0})  # it is hardly ever polled
        self._topic = topic
        self._asked: Future[Any] | None = None
        self._asked_at = self._answered_at = float("-inf")

    def ask(self, deadline: Deadline) -> str:
        """The id now; empty from brokers before 2.8, which give none. Raises Unavailable, Refused."""
        return self._id(self._request(max(0.1, deadline.left())))

    def begin(self) -> None:
        """Ask, unless the last answer is fresh. Never blocks."""
        if self._asked is None and time.monotonic() - self._answered_at > _FRESH_S:
            self._asked = self._request(_ASK_S)
            self._asked_at = time.monotonic()

    def answer(self, deadline: Deadline) -> str:
        """The id that `begin` asked for; empty where it asked nothing. Mostly the answer is there. Raises Unavailable, Refused."""
        asked, self._asked = self._asked, None
        if asked is None:
            return ""
        try:
            asked.exception(deadline.left())
        except TimeoutError as error:
            raise Unavailable(f"asking for {self._topic}: no broker answers now") from error
        found = self._id(asked)
        self._answered_at = self._asked_at
        return found

    def _request(self, timeout_s: float) -> "Future[Any]":
        asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=timeout_s)
        future: Future[Any] = asked[self._topic]
        return future

    def _id(self, asked: "Future[Any]") -> str:
        try:
            made = str(asked.result().topic_id)
        except KafkaException as error:
            raise translate(error, f"asking for {self._topic}") from error
        return "" if set(made) <= {"A"} else made  # an id of zeros only
