"""Requests between the poll and their answer: each partition gets its turn, whatever waits in another one.

A turn ends by bytes here, and by the time that reading its requests takes in `requests_to_delta.py: take`.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from stream_scrub.model import Request

# Of one request; also of each partition's smaller ones in one part: a few hundred opt-outs.
LARGE_BYTES = 65_536
_PART_BYTES = 2 << 20
_FULL_BYTES = 2 << 20  # of one partition: it is paused until some requests are answered


class Backlog:
    """The polled requests of one topic that are not answered yet, in order by partition."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Request]] = {}  # the next turn first
        self._bytes: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, polled: Iterable[Request]) -> None:
        """Add the polled requests."""
        for request in polled:
            self._waiting.setdefault(request.partition, deque()).append(request)
            self._bytes[request.partition] = self._bytes.get(request.partition, 0) + size_of(request)

    def give_back(self, left: Iterable[Request]) -> None:
        """Take back requests of a part, in order by partition: they come first in the next part."""
        behind, self._waiting = self._waiting, {}
        self.add(left)
        for partition, queue in behind.items():
            self._waiting.setdefault(partition, deque()).extend(queue)

    @property
    def full(self) -> frozenset[int]:
        """The partitions of which no more should be polled."""
        return frozenset(partition for partition, size in self._bytes.items() if size >= _FULL_BYTES)

    def part(self, requests_max: int) -> Sequence[Request]:
        """Take the next requests to answer together: a few small ones of each partition, and then large ones and more small
        ones in turn, as far as there is room."""
        part: list[Request] = []
        size = self._turns(part, requests_max, 0)
        while size < _PART_BYTES and (more := self._turns(part, requests_max, _PART_BYTES - size)):
            size += more
        return part

    def _turns(self, part: list[Request], requests_max: int, room: int) -> int:
        """Give each partition a turn, a large request only while there is room; the bytes that were taken."""
        size = 0
        for partition in tuple(self._waiting):
            queue, of_partition = self._waiting[partition], 0
            while queue and len(part) < requests_max:
                next_size = size_of(queue[0])
                if of_partition + next_size > LARGE_BYTES and (of_partition or size >= room):
                    break
                of_partition += next_size
                part.append(queue.popleft())
            size += of_partition
            if of_partition:
                self._taken(partition, of_partition)
        return size

    def _taken(self, partition: int, size: int) -> None:
        """Put a partition that had its turn behind the others."""
        queue = self._waiting.pop(partition)
        self._bytes[partition] -= size
        if queue:
            self._waiting[partition] = queue
        else:
            del self._bytes[partition]


def size_of(request: Request) -> int:
    """The bytes of a request."""
    return max(1, len(request.value or b""))
