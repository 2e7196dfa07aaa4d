"""The leads between their topic and the dialler: read, handed out, waiting for a register, taken back. No Kafka, no clock.

One lock around all calls (`allowed.py`).
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice
from typing import NamedTuple, NoReturn

from stream_scrub.dialler.recalls import Recalls, digests_of
from stream_scrub.model import PartitionKey
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import Stamp

Place = tuple[PartitionKey, int]  # a partition and an offset
_LAPSED_MAX = 100_000  # leads that ended before they could be handed out: 20 MB
_UNKNOWN_FOR = timedelta(seconds=1)  # recalls are read again within it, mostly
_FIRST_ZONE = timezone(timedelta(hours=14))  # a day ends first on earth where clocks are so far ahead of UTC


@dataclass(frozen=True, slots=True, repr=False)
class Lead:
    """A prospect that may be called, if `may_dial` says so of the moment."""

    numbers: tuple[str, ...]  # in E.164 with a plus, from the stamp: call these and no others
    key: bytes | None  # of the record, as the producer wrote it
    value: bytes | None  # of the record, with the stamp unless that is in a header
    stamp: Stamp
    topic: str
    partition: int
    offset: int

    @property
    def until(self) -> date | None:
        """The last day on which it may be called, in the country of its numbers; None if no rule sets one."""
        return self.stamp.until

    @property
    def place(self) -> Place:
        """Its partition and offset."""
        return (self.topic, self.partition), self.offset

    def __repr__(self) -> str:
        """Without numbers: none may get into a log."""
        return f"Lead({self.topic}/{self.partition}/{self.offset}, {self.stamp!r})"


@dataclass(frozen=True, slots=True)
class MayDial:
    """Whether a lead may be called now. A no with `not_before` leaves the lead with the dialler, to be asked about again
    then. Every other no has taken it back."""

    allowed: bool
    # Why not: "outside-hours", "unknown", "suspended", "recalled", "too-often", "past-until", "too-old", "not-allowed",
    # "other-channel" or "not-held".
    why: str | None = None
    not_before: datetime | None = None

    def __bool__(self) -> NoReturn:
        """Raises TypeError: a caller that acknowledges after each no would lose the leads of the night."""
        raise TypeError("ask `.allowed`; if there is a `.not_before`, postpone the lead until then")


class TakenBack(NamedTuple):
    """A lead that was handed out, is not acknowledged, and must not be called any more."""

    lead: Lead
    # "recalled": for good, or it is handed out again for the numbers that are left. "suspended": until its register is
    # renewed; it is then handed out again. "moved": another dialler of the group has it now.
    why: str


class LeadQueue:
    """`channel` and `max_age`: as for `Allowed`."""

    def __init__(self, recalls: Recalls, book: Rulebook, channel: str, max_age: timedelta) -> None:
        self._recalls = recalls
        self._zones = {code: each.zone for code, each in book.countries.items()}
        self._channel, self._max_age = channel, max_age
        self._read: deque[Lead] = deque()
        self._resumed: dict[Place, Lead] = {}  # to be handed out again, unless an `ack` comes
        self.suspended: dict[Place, Lead] = {}
        self.postponed: dict[Place, Lead] = {}
        self._due: list[tuple[datetime, Place]] = []  # a heap: when each of them is handed out again
        self.out: dict[Place, Lead] = {}
        self._renewals: dict[Place, list[Lead]] = {}  # of leads that are not done: they are done with it
        self._renewed: dict[Place, Place] = {}  # by a renewal's place that of its lead
        self._by_number: dict[str, set[Place]] = {}
        # The last leads that ended before they could be handed out. They are done, and their renewals are not.
        self._lapsed: dict[Place, None] = {}
        self.dropped: Counter[str] = Counter()
        self._done: list[Place] = []

    def __len__(self) -> int:
        """How many are read and not handed out yet."""
        return len(self._read) + len(self._resumed)

    def add(self, lead: Lead) -> None:
        """A lead that was read."""
        self._read.append(lead)

    def renew(self, renewal: Lead, renewed: Place, *, is_done: bool) -> list[TakenBack]:
        """A lead that was read again, with a later `until`. It stays the lead that it was. `renewed`: the place that it
        renews; `is_done`: that one need not come again. Returns it if it was handed out, and the renewal lacks a number or
        rests on a suspended register."""
        place = self._renewed.get(renewed, renewed)
        held_in = [
            held for held in (self.out, self.suspended, self.postponed, self._resumed) if place in held
        ]
        if place in self._lapsed:
            del self._lapsed[place]
            self.add(renewal)
        elif is_done or place in self._done:
            self.drop(renewal.place, "renewed")
        elif held_in or any(each.place == place for each in self._read):
            self._renewed[renewal.place] = place
            self._renewals.setdefault(place, []).append(renewal)
            out = self.out.get(place)
            if out is not None and not {*out.numbers} <= {*renewal.numbers}:
                # The recall of that number may not be read yet. It is older than the renewal, and would stop nothing.
                self.forget(place)
                self._resumed[place] = self._latest(out)
                return [TakenBack(out, "recalled")]
            for held in held_in:
                held[place] = replace(self._latest(held[place]), numbers=held[place].numbers)
            # The renewal may rest on another rule, whose register was suspended before.
            if out is not None and self._recalls.suspend(self.out[place].stamp):
                lead = self.out[place]
                self.forget(place)
                self.suspended[place] = lead
                return [TakenBack(out, "suspended")]
        else:  # its lead is no longer on the topic
            self.add(renewal)
        return []

    def _latest(self, lead: Lead) -> Lead:
        """The lead with its last verdict."""
        renewals = self._renewals.get(lead.place)
        return lead if not renewals else replace(renewals[-1], offset=lead.offset)

    def finish(self, place: Place) -> list[Place]:
        """A lead is done. Returns all its places."""
        self.forget(place)
        places = [place, *(each.place for each in self._renewals.pop(place, ()))]
        for each in places:
            self._renewed.pop(each, None)
            self._lapsed.pop(each, None)
        return places

    def drop(self, place: Place, why: str) -> None:
        """Skip a record: no lead of it is handed out."""
        self.dropped[why] += 1
        places = self.finish(place)
        self._done += places
        if why in ("past-until", "too-old", "outside-hours"):
            self._lapsed |= dict.fromkeys(places)
            for each in [*islice(self._lapsed, max(0, len(self._lapsed) - _LAPSED_MAX))]:
                del self._lapsed[each]

    def take_done(self) -> list[Place]:
        """The places that need not come again and were not acknowledged, since the last call."""
        done, self._done = self._done, []
        return done

    def take(self, now: datetime) -> Lead | None:
        """The next lead that may be called now, handed out from here on."""
        while self._due and self._due[0][0] <= now:
            place = heapq.heappop(self._due)[1]
            if place in self.postponed:
                self._resumed[place] = self.postponed.pop(place)
        while self:
            resumed = next(iter(self._resumed), None)
            lead = self._latest(self._read.popleft() if resumed is None else self._resumed.pop(resumed))
            numbers = tuple(self._numbers(lead))
            if why := self._fault(lead, now) or ("" if numbers else "recalled"):
                self.drop(lead.place, why)
            elif self._recalls.suspend(lead.stamp):
                self.suspended[lead.place] = lead
            else:
                lead = replace(lead, numbers=numbers)
                self.out[lead.place] = lead
                for number in numbers:
                    self._by_number.setdefault(number, set()).add(lead.place)
                return lead
        return None

    def sweep(self, now: datetime) -> None:
        """Drop what waits and would be too late by now."""
        waiting = [*self.suspended.items(), *self.postponed.items()]
        for place, why in [(place, self._fault(lead, now)) for place, lead in waiting]:
            if why:
                self.drop(place, why)

    def postpone(self, lead: Lead, not_before: datetime) -> None:
        """Hand out a lead again then, if it is the dialler's."""
        if (held := self._held(lead)) is not None:
            self.forget(lead.place)
            self.postponed[lead.place] = held
            # Times of one zone are compared by its clocks, which go back in autumn.
            heapq.heappush(self._due, (not_before.astimezone(UTC), lead.place))

    def may_dial(self, lead: Lead, now: datetime, *, is_known: bool = True) -> MayDial:
        """Whether this lead is handed out and may be called now, by each of its numbers. Ends one that never may be.
        `is_known`: every recall was read, and recall works."""
        held = self._held(lead)
        if held is None:
            return MayDial(False, self._why_not_held(lead))
        why = self._fault(held, now)
        opens: datetime | None = now
        if not why and held.stamp.call is not None:
            try:
                opens = held.stamp.call.next_at(now)
            except ValueError:
                why = "not-allowed"
        if why or opens is None:  # a renewal may bring other windows
            self.drop(lead.place, why or "outside-hours")
            return MayDial(False, why or "outside-hours")
        if opens > now:
            return MayDial(False, "outside-hours", opens)
        return MayDial(True) if is_known else MayDial(False, "unknown", now + _UNKNOWN_FOR)

    def _held(self, lead: Lead) -> Lead | None:
        """The lead as it is handed out; None if it is not, or came again without a number that it had."""
        held = self.out.get(lead.place)
        return held if held is not None and {*lead.numbers} <= {*held.numbers} else None

    def _why_not_held(self, lead: Lead) -> str:
        again = self.out.get(lead.place) or self._resumed.get(lead.place) or lead
        recalled = [number for number in lead.numbers if self._recalls.stop(number, lead.stamp)]
        if any(map(self._recalls.is_rested, recalled)):
            return "too-often"
        if recalled or not {*lead.numbers} <= {*again.numbers}:
            return "recalled"
        return "suspended" if lead.place in self.suspended else "not-held"

    def _numbers(self, lead: Lead) -> Iterator[str]:
        """The numbers that were not recalled; none if one was, unless the stamp says that some are enough."""
        callable_numbers = [number for number in lead.numbers if not self._recalls.stop(number, lead.stamp)]
        if lead.stamp.callable or len(callable_numbers) == len(lead.numbers):
            yield from callable_numbers

    def _fault(self, lead: Lead, now: datetime) -> str:
        """Why a lead may never be called any more, whatever was recalled; empty if nothing is wrong."""
        stamp = lead.stamp
        if not stamp.allowed or not lead.numbers:
            return "not-allowed"
        if stamp.channel != self._channel:
            return "other-channel"
        if stamp.until is not None and any(day > stamp.until for day in self._days(stamp, now)):
            return "past-until"
        return "too-old" if now - stamp.at > self._max_age else ""

    def _days(self, stamp: Stamp, now: datetime) -> Iterator[date]:
        """Today in the countries whose rules decided."""
        for digest in digests_of(stamp):
            zone = self._zones.get(digest.partition("@")[0].upper(), _FIRST_ZONE)
            yield now.astimezone(zone).date()

    def apply(self, notice: RecallNotice) -> list[TakenBack]:
        """Apply a recall; return the leads in the dialler's hands that it takes back."""
        self._recalls.take(notice)
        back = []
        if notice.kind == "recalled":
            for place in list(self._by_number.get(notice.number, ())):
                lead = self.out[place]
                if self._recalls.stop(notice.number, lead.stamp):
                    self.forget(place)
                    if any(self._numbers(lead)):
                        self._resumed[place] = lead
                    else:
                        self._done += self.finish(place)
                    back.append(TakenBack(lead, "recalled"))
        elif notice.kind == "suspended":
            for lead in [each for each in self.out.values() if self._recalls.suspend(each.stamp)]:
                self.forget(lead.place)
                self.suspended[lead.place] = lead
                back.append(TakenBack(lead, "suspended"))
        else:
            for lead in [each for each in self.suspended.values() if not self._recalls.suspend(each.stamp)]:
                self._resumed[lead.place] = self.suspended.pop(lead.place)
        return back

    def forget(self, place: Place) -> None:
        """A lead is done, or another's."""
        self.suspended.pop(place, None)
        self.postponed.pop(place, None)
        self._resumed.pop(place, None)
        if (lead := self.out.pop(place, None)) is not None:
            for number in lead.numbers:
                places = self._by_number[number]
                places.discard(place)
                if not places:
                    del self._by_number[number]

    def give_up(self, partitions: Iterable[PartitionKey]) -> list[TakenBack]:
        """Forget everything of partitions that others have now."""
        revoked = set(partitions)
        if not revoked:
            return []
        back = [TakenBack(lead, "moved") for (key, _), lead in self.out.items() if key in revoked]
        held = [*self.out, *self.suspended, *self.postponed, *self._resumed]
        for place in [place for place in held if place[0] in revoked]:
            self.forget(place)
        self._due = [due for due in self._due if due[1][0] not in revoked]
        heapq.heapify(self._due)
        for place in [renewal for renewal in self._renewals if renewal[0] in revoked]:
            self.finish(place)
        self._read = deque(lead for lead in self._read if lead.place[0] not in revoked)
        self._done = [place for place in self._done if place[0] not in revoked]
        self._lapsed = {place: None for place in self._lapsed if place[0] not in revoked}
        return back


def lead_of(key: bytes | None, value: bytes | None, stamp: Stamp, place: Place) -> Lead:
    """A record with its stamp. Its numbers are the stamp's: those to call, else those that were judged."""
    numbers = stamp.callable or [each.number or "" for each in stamp.each]
    return Lead(tuple(dict.fromkeys(filter(None, numbers))), key, value, stamp, *place[0], place[1])
