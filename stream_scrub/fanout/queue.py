"""The events that a target has not got yet, each with its next try. Pure."""

import heapq
from collections.abc import Iterator
from itertools import count

from stream_scrub.fanout.events import Event

GIVE_UP_S = 30 * 86_400.0  # ten business days are at most 18 days, with the holidays of any country
_AGAIN_MAX_S = 3600.0
_PAUSE_S = 0.5
_PAUSE_MAX_S = 60.0
_ROOM = 100  # tries of replaced events that may stay
_AWAY = 3  # failures in a row after which the target, and not the event, is to blame


class Waiting:
    """One event and its tries."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.tries = 0
        self.first_tried = 0.0
        self.answer = ""  # the last one that was about this event


class EventQueue:
    """A later event about the same number and list replaces an earlier one, so that a late try undoes nothing. Times are
    by `clock.elapsed`."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bool, str, int], Waiting] = {}
        self._due: list[tuple[float, int, Waiting]] = []
        self._order = count()
        self._resumes_at = 0.0
        self.failures = 0  # in a row

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def add(self, event: Event) -> Event | None:
        """Returns the earlier event that this one replaces."""
        replaced = self._waiting.get(event.about)
        self._waiting[event.about] = waiting = Waiting(event)
        self._push(waiting, 0.0)
        return None if replaced is None else replaced.event

    def _push(self, waiting: Waiting, due: float) -> None:
        heapq.heappush(self._due, (due, next(self._order), waiting))
        if len(self._due) > 2 * len(self._waiting) + _ROOM:
            self._due = [each for each in self._due if self._is_current(each[2])]
            heapq.heapify(self._due)

    def _is_current(self, waiting: Waiting) -> bool:
        return self._waiting.get(waiting.event.about) is waiting

    def take(self, now: float, at_most: int) -> list[Waiting]:
        """The next to be delivered together: alike, and new. One that has failed before goes alone. Each must come back to
        `done` or `failed`."""
        due_events: list[Waiting] = []
        while self.is_due(now) and len(due_events) < at_most:
            waiting = self._due[0][2]
            if self._is_current(waiting):
                first = due_events[0] if due_events else waiting
                if due_events and (waiting.tries or first.tries or not _alike(first.event, waiting.event)):
                    break
                due_events.append(waiting)
            heapq.heappop(self._due)
        return due_events

    def is_due(self, now: float) -> bool:
        """Whether there is something to deliver now."""
        return now >= self._resumes_at and bool(self._due) and self._due[0][0] <= now

    def done(self, delivered: list[Waiting]) -> None:
        """The target has them. If it was away, everything that waits is due now."""
        for each in delivered:
            del self._waiting[each.event.about]
        if self.failures >= _AWAY:
            self._due = [(0.0, n, each) for _, n, each in self._due if self._is_current(each)]
            heapq.heapify(self._due)
        self.failures = 0

    def failed(self, tried: list[Waiting], now: float, *, away: bool, wait_s: float = 0.0) -> list[Waiting]:
        """Try them again later. Returns those that were tried for so long that they are given up. `away`: nothing can be
        delivered now. `wait_s`: as the target asks."""
        self.failures += 1
        if away or self.failures >= _AWAY:
            pause_s = min(_PAUSE_MAX_S, _PAUSE_S * 2 ** min(self.failures, 10))
            self._resumes_at = now + max(pause_s, min(wait_s, _AGAIN_MAX_S))
        dead = []
        for each in tried:
            each.tries += 1
            each.first_tried = each.first_tried or now
            if now - each.first_tried >= GIVE_UP_S:
                del self._waiting[each.event.about]
                dead.append(each)
            else:
                self._push(each, now + min(_AGAIN_MAX_S, 2.0 ** min(each.tries, 12)))
        return dead

    @property
    def is_away(self) -> bool:
        """Whether the target seems to be away."""
        return self.failures >= _AWAY


def _alike(one: Event, other: Event) -> bool:
    return (one.type, one.list) == (other.type, other.list)
