"""Whether an accepted request waits for the publisher: what it has committed, compared with the ends of its two topics.

An opt-out that a sender's broker has acknowledged is accepted, but counts only once the publisher has written it to the
log. So no verdict is safe while requests have waited for too long. A look is: 1. the ends of the topics, as a quorum of their
replicas confirms them (`kafka/witnesses.py`), 2. the offsets that the publisher has committed. If they have reached the ends of an
earlier look, everything that was accepted before that look is on the log. This uses only this process's own clock, and
no right to read a request.

The ends are those of written records: an open transaction hides accepted requests behind it. A publisher commits the offset
after the transaction markers too, so its offset is the end if nothing waits.
"""

from collections.abc import Mapping
from typing import NamedTuple

from stream_scrub import clock
from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.kafka.guards.background import BackgroundLook
from stream_scrub.kafka.offsets import key_of
from stream_scrub.kafka.requests_reader import OwnerNote
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline, PartitionKey

_LOOK_EVERY_S = 3.0
_LOOKS = 20  # while a request may wait: the pause between two of them is a small part of that time


class _EndsLook(NamedTuple):
    asked_at: float  # by `clock.elapsed`
    ends: Mapping[PartitionKey, int]


class _Applied(NamedTuple):
    """Every request that was accepted before `accepted` was on the log at `known_at`."""

    accepted: float
    known_at: float


class WaitingRequests(BackgroundLook):
    """Any thread may call `need` and `need_none`, which never block."""

    def __init__(
        self,
        witnesses: Witnesses,
        group: str,
        topics: tuple[str, str],
        log_topic: str,
        lag_max_s: float,
        *,
        reads_log: bool = True,
    ) -> None:
        """`group`: the publisher's. `topics`: of requests and of lifts. Without `reads_log` the publisher's offsets count for
        whatever log they are."""
        super().__init__(min(_LOOK_EVERY_S, lag_max_s / _LOOKS))
        self._witnesses, self._group = witnesses, group
        self._topics, self._lag_max_s = topics, lag_max_s
        self._log_topic, self._reads_log, self._log = log_topic, reads_log, ""
        self._looks: list[_EndsLook] = []  # whose requests may wait, the oldest first
        self._applied: tuple[_Applied, ...] = ()  # the newest last
        self._reached: dict[PartitionKey, int] = {}  # what the publisher had committed at the last look
        self._topics_seen: set[str] = set()
        self._waiting = ""

    @property
    def lag_s(self) -> float | None:
        """Seconds since the latest moment before which every accepted request is known to be on the log; None before the first
        such moment."""
        applied = self._applied
        return clock.elapsed() - applied[-1].accepted if applied else None

    def need(self, position: int, known_at: float) -> None:  # noqa: ARG002  # as of every guard of an index
        """As `need_none`, for an index that had the whole log at `known_at`."""
        self.need_none(known_at)

    def need_none(self, index_at: float | None = None) -> None:
        """Raises StaleIndex if a request may have waited longer than the limit. `index_at`: a moment by `clock.elapsed`, of which
        the index holds the whole log; without it only the log counts."""
        accepted = None
        for each in reversed(self._applied):
            if index_at is None or each.known_at <= index_at:
                accepted = each.accepted
                break
        if not self._applied and not self._waiting:
            raise StaleIndex(
                "log-behind", f"it is not known yet whether requests wait for the publisher: {self._trouble}"
            )
        if accepted is None or clock.elapsed() - accepted > self._lag_max_s:
            raise self._stale(accepted)

    def _stale(self, accepted: float | None) -> StaleIndex:
        since = "" if accepted is None else f" for more than {clock.elapsed() - accepted:.0f} s"
        if self._trouble:
            why = f"it is not known{since} whether a request waits for the publisher: {self._trouble}"
            return StaleIndex("requests-waiting", why)
        if self._waiting:
            why = f"accepted requests wait{since} for the publisher, at {self._waiting}: is `stream-scrub lists publish` running?"
            return StaleIndex("requests-waiting", why)
        return StaleIndex(
            "log-behind", "every accepted request is on the log, and the index is about to follow"
        )

    def look(self, deadline: Deadline) -> bool:
        """As `BackgroundLook.look`; whether everything that was accepted before a look is on the log."""
        asked_at = clock.elapsed()
        ends = self._witnesses.ends(self._topics, deadline)
        there = {topic for topic, _ in ends}
        if gone := sorted(self._topics_seen - there):
            raise Unavailable(f"{gone[0]} was deleted, with requests that may not be on the log")
        self._topics_seen |= there
        oldest = asked_at - self._lag_max_s
        self._looks = [each for each in self._looks if each.asked_at > oldest] + [_EndsLook(asked_at, ends)]
        reached = self._committed(ends, deadline)
        known_at = clock.elapsed()
        done = [each for each in self._looks if not _behind(reached, each.ends)]
        if done:
            self._looks = self._looks[self._looks.index(done[-1]) + 1 :]
            recent = [each for each in self._applied if each.accepted > oldest]
            self._applied = (*recent, _Applied(done[-1].asked_at, known_at))
        self._waiting = _named(_behind(reached, ends))
        self._trouble = ""
        return bool(done)

    def _committed(self, ends: Mapping[PartitionKey, int], deadline: Deadline) -> dict[PartitionKey, int]:
        """By partition, the offset up to which its requests are on this log. Raises Unavailable, Refused."""
        if not ends:
            return {}
        doing = "asking for the publisher's offsets"
        found = self._witnesses.committed(self._group, sorted(ends), doing, deadline)
        notes = {
            each.partition: OwnerNote.of(each.metadata) for each in found if each.topic == self._topics[0]
        }
        log = notes[0].log if 0 in notes else ""
        if log and self._reads_log and log != self._log:
            self._log = f"{self._log_topic}/{self._witnesses.id_of(self._log_topic, deadline)}"
            if log != self._log:
                return {}
        before, self._reached = self._reached, {key_of(each): each.offset for each in found}
        # Brokers lost requests that the publisher had taken. Others may be at their offsets now.
        lost = [key for key, end in ends.items() if min(before.get(key, 0), self._reached[key]) > end]
        return self._reached | dict.fromkeys(lost, 0)


def _behind(reached: Mapping[PartitionKey, int], ends: Mapping[PartitionKey, int]) -> list[PartitionKey]:
    """The partitions with requests that are not on the log. One without a committed offset has some if it ever had one."""
    return sorted(key for key, end in ends.items() if max(0, reached.get(key, 0)) < end)


def _named(partitions: list[PartitionKey]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in partitions)
