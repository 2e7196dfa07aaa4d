"""Whether this machine's wall clock agrees with the brokers'. The clock chooses rules and ages lists, so with a wrong
clock no verdict is safe.

A timestamp that a broker wrote (`kafka/admin/broker_time.py`) bounds the difference from both sides. (a) It is not
later than now: if our clock reads an earlier time, it is behind. (b) The marker of our own commit is not earlier than
the moment before that commit: if our clock read a later time then, it is ahead. The marker is surely written once the
next commit has succeeded, since no transaction begins before. A producer's timestamp from the future can hide that we
are ahead, on its own partition and until that time; it can never make a right clock look wrong. Of several brokers
the majority counts.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from stream_scrub import clock
from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.admin.broker_time import LatestTimestamp
from stream_scrub.model import PartitionKey

_EVERY_S = 5.0
# For how long a measurement counts: clocks drift, and a broker's clock may have been wrong and be right again.
_KEEP_S = 600.0
# Until the brokers were asked about one of our commits, a batch has at most this many records: so few a wrong clock
# may judge.
_FEW = 10
_UNTIL_S = 5.0  # an answer that takes longer counts as none
_PLACES = 6


class _Bounds(NamedTuple):
    """The bounds, in seconds, of how far our wall clock is ahead of a broker's. `offset` is how far our wall clock
    was ahead of the monotonic clock at that moment: if that changes, somebody has set our clock.
    """

    at_least: float
    at_most: float
    offset: float
    learnt_at: float


class _ClockReading(NamedTuple):
    """What our wall clock read, and how far it was ahead of the monotonic clock."""

    wall: float
    offset: float


class ClockWatch:
    """One worker's watch. The loop reports its commits and asks for the result; a thread beside it asks the brokers.

    `ask` as `BrokerTimes.ask`; `topics` are some that are written to; `wall` is the clock watched.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[PartitionKey]], list[LatestTimestamp]],
        topics: Sequence[str],
        skew_max_s: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._topics = topics
        self._max_s = skew_max_s
        self._wall = wall
        self._known: dict[int, _Bounds] = {}
        self._lock = threading.Lock()
        self._before = _ClockReading(0.0, 0.0)
        self._noted: tuple[_ClockReading, list[PartitionKey]] | None = None
        self._asked_at = float("-inf")
        self._asking_since: float | None = None
        self._answered_at = float("-inf")

    def first_look(self) -> None:
        """Ask once before any verdict. Without a commit of our own this can only show that our clock is behind.
        Blocks for a few seconds at most."""
        each = _PLACES // max(1, len(self._topics[:_PLACES]))
        self._learn(
            [(topic, partition) for topic in self._topics[:_PLACES] for partition in range(each)], None
        )

    def at_most(self, records: int) -> int:
        """How many records a batch may have now, at most `records`."""
        now = clock.elapsed()
        since = self._asking_since
        in_vain = since is not None and now - since > _UNTIL_S
        return records if in_vain or now - self._answered_at < _KEEP_S else min(records, _FEW)

    def begins(self) -> None:
        """A commit is about to begin."""
        wall = self._wall()
        self._before = _ClockReading(wall, wall - clock.elapsed())

    def committed(self, places: Callable[[], Iterable[PartitionKey]]) -> None:
        """The commit has succeeded, with records in these places. They are asked for only now and then."""
        noted, self._noted = self._noted, None
        now = clock.elapsed()
        if noted is not None:
            before, touched = noted
            self._asking_since = now if self._asking_since is None else self._asking_since
            threading.Thread(
                target=self._learn, args=(touched, before), name="brokers' time", daemon=True
            ).start()
        elif now - self._asked_at >= _EVERY_S:
            self._asked_at = now
            touched = sorted(set(places()))
            self._noted = self._before, touched[:: -(-len(touched) // _PLACES)]

    def _learn(self, places: Sequence[PartitionKey], before: _ClockReading | None) -> None:
        """Ask, and keep the bounds for each broker. `before` is when the commit began, by our clock. Somebody may
        have set the clock since: the bounds that are kept are those of the clock as it reads now.
        """
        seen = self._ask(places)
        now, wall = clock.elapsed(), self._wall()
        with self._lock:
            for broker in {each.broker for each in seen}:
                of_it = [each for each in seen if each.broker == broker]
                made = [each.at for each in of_it if each.is_brokers]
                # Each timestamp is not earlier than the marker of that commit; the earliest one gives the closest
                # bound.
                least = float("-inf")
                if before is not None:
                    least = before.wall - min(each.at for each in of_it) + (wall - now) - before.offset
                most = wall - max(made) if made else float("inf")
                self._known[broker] = _Bounds(least, most, wall - now, now)
            if before is not None:
                self._answered_at, self._asking_since = now, None

    def need_right(self) -> None:
        """Raises StaleIndex while our clock is surely too far from the clocks of most known brokers."""
        now, wall = clock.elapsed(), self._wall()
        with self._lock:
            known = [each for each in self._known.values() if now - each.learnt_at < _KEEP_S]
        moved = [(wall - now) - each.offset for each in known]
        ahead = [each.at_least + by for each, by in zip(known, moved, strict=True)]
        behind = [-(each.at_most + by) for each, by in zip(known, moved, strict=True)]
        for found, word in ((ahead, "ahead of"), (behind, "behind")):
            wrong = sorted(each for each in found if each > self._max_s)
            if 2 * len(wrong) > len(found):
                raise StaleIndex(
                    "clock",
                    f"this machine's clock is {wrong[0]:.0f} s {word} the brokers': it chooses rules and ages lists",
                )
