"""(a) A message as the client hands it to the application: a record, or an error; for consumers and for delivery
reports. (b) A partition that is read."""

from collections import deque
from typing import Any

from confluent_kafka import KafkaError

from tests.simulation.records import Place, Written


class Message:
    """As confluent_kafka's."""

    __slots__ = ("_error", "_offset", "_place", "_record")

    def __init__(
        self, place: Place, offset: int, record: Written | None, error: KafkaError | None = None
    ) -> None:
        self._place, self._offset, self._record, self._error = place, offset, record, error

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error

    def key(self) -> Any:
        return None if self._record is None else self._record.key

    def value(self) -> Any:
        return None if self._record is None else self._record.value

    def headers(self) -> Any:
        return None if self._record is None else self._record.headers

    def timestamp(self) -> tuple[int, int]:
        return (0, 0) if self._record is None else (1, self._record.timestamp_ms)

    def leader_epoch(self) -> int:
        return 0


class Feed:
    """One partition that is read. `upto` is the offset that the application has reached, `next` the one that the
    fetcher has reached."""

    __slots__ = ("failed", "next", "paused", "queue", "told_end")

    def __init__(self) -> None:
        self.next = -1  # not known yet
        self.queue: deque[tuple[int, Written]] = deque()
        self.paused = False
        self.told_end = self.failed = False
