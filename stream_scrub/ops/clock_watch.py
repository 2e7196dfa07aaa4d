"""Checks this machine's wall clock against the brokers'. It chooses rules and ages lists, so with a wrong clock no
verdict is safe.

A timestamp that a broker wrote (`kafka/witnesses.py`) bounds the difference from both sides:

(a) It is not later than now. If our clock reads an earlier time, it is behind.
(b) The marker of our own commit is not earlier than the moment before that commit. If our clock read a later time then,
it is ahead. The marker is surely written once the next commit has succeeded, since no transaction begins before.

A producer's timestamp from the future can hide that our clock is ahead, on its partition and until that time. It can
never make a right clock look wrong. Of several brokers the majority counts.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_scrub import clock
from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.witnesses import LatestTimestamp
from stream_scrub.model import PartitionKey

_EVERY_S = 5.0
_KEEP_S = 600.0  # how long a measurement counts: clocks drift, and a broker's wrong clock may be corrected
_FEW = 10  # records in a batch until the brokers have answered about one of our commits: a wrong clock may judge no more
_UNTIL_S = 5.0  # an answer that takes longer counts as none
_PLACES = 6


class _Bounds(NamedTuple):
    """How far our wall clock is ahead of a broker's, in seconds."""

    at_least: float
    at_most: float
    offset: float  # from the monotonic to the wall clock; if it changes, somebody has set our clock
    learnt_at: float


class _ClockReading(NamedTuple):
    """The time of our wall clock, and its offset from the monotonic clock."""

    wall: float
    offset: float


@dataclass(eq=False)
class ClockWatch:
    """One worker's watch. The loop reports its commits and reads the result; another thread asks the brokers.

    `ask`: as `Witnesses.now`. `topics`: some output topics. `wall`: the clock to check.
    """

    ask: Callable[[Sequence[PartitionKey]], list[LatestTimestamp]]
    topics: Sequence[str]
    skew_max_s: float
    wall: Callable[[], float] = time.time
    _known: dict[int, _Bounds] = field(default_factory=dict, init=False)
    _before: _ClockReading = field(default_factory=lambda: _ClockReading(0.0, 0.0), init=False)
    _noted: tuple[_ClockReading, list[PartitionKey]] | None = field(default=None, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)
    _asking_since: float | None = field(default=None, init=False)
    _answered_at: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def first_look(self) -> None:
        """Ask once before any verdict. Without a commit of our own this can only show that our clock is behind.
        Blocks for a few seconds at most."""
        topics = self.topics[:_PLACES]
        each = _PLACES // max(1, len(topics))
        self._learn([(topic, partition) for topic in topics for partition in range(each)], None)

    def at_most(self, records: int) -> int:
        """How many records a batch may have now, at most `records`."""
        now = clock.elapsed()
        since = self._asking_since
        in_vain = since is not None and now - since > _UNTIL_S
        return records if in_vain or now - self._answered_at < _KEEP_S else min(records, _FEW)

    def begins(self) -> None:
        """A commit is about to begin."""
        wall = self.wall()
        self._before = _ClockReading(wall, wall - clock.elapsed())

    def committed(self, places: Callable[[], Iterable[PartitionKey]]) -> None:
        """The commit has succeeded, with records in these places. `places` is called only now and then."""
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
        """Ask, and keep the bounds for each broker. `before`: our clock when the commit began. Somebody may have set the
        clock since: the kept bounds are those of the clock as it reads now."""
        seen = self.ask(places)
        now, wall = clock.elapsed(), self.wall()
        with self._lock:
            for broker in {each.broker for each in seen}:
                of_broker = [each for each in seen if each.broker == broker]
                markers = [each.at for each in of_broker if each.is_brokers]
                # No timestamp is earlier than the marker of that commit; the earliest gives the closest bound.
                least = float("-inf")
                if before is not None:
                    least = before.wall - min(each.at for each in of_broker) + (wall - now) - before.offset
                most = wall - max(markers) if markers else float("inf")
                self._known[broker] = _Bounds(least, most, wall - now, now)
            if before is not None:
                self._answered_at, self._asking_since = now, None

    def need_right(self) -> None:
        """Raises StaleIndex while our clock is surely too far from those of most known brokers."""
        now, wall = clock.elapsed(), self.wall()
        with self._lock:
            known = [each for each in self._known.values() if now - each.learnt_at < _KEEP_S]
        moved = [(wall - now) - each.offset for each in known]
        ahead = [each.at_least + by for each, by in zip(known, moved, strict=True)]
        behind = [-(each.at_most + by) for each, by in zip(known, moved, strict=True)]
        for bounds, word in ((ahead, "ahead of"), (behind, "behind")):
            wrong = sorted(each for each in bounds if each > self.skew_max_s)
            if 2 * len(wrong) > len(bounds):
                raise StaleIndex(
                    "clock",
                    f"this machine's clock is {wrong[0]:.0f} s {word} the brokers': it decides rules and the age of lists",
                )
