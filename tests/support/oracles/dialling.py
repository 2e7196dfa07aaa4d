"""A dialler that calls everybody whom it may, and what the law says of each verdict that it gets, counted by hand."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from stream_scrub.stamp import Stamp

START, DAYS = datetime(2026, 2, 1, tzinfo=UTC), 60  # until 2026-08-10 a refusal silenced for sixty days
PROFESSIONALS = {"spring": "acme", "autumn": "acme", "other": "beta"}
PARIS, REUNION = ZoneInfo("Europe/Paris"), ZoneInfo("Indian/Reunion")
NUMBERS = {33612345600 + place: PARIS for place in range(6)} | {
    262692123450 + place: REUNION for place in range(2)
}
Ask = tuple[int, str]  # a number and the campaign that would call it
Pair = tuple[int, str]  # a number and a professional


class Door(Protocol):
    """The system as the dialler sees it."""

    def stamps(self, asks: list[Ask], now: datetime) -> list[Stamp]:
        """The verdicts of that moment."""

    def report(self, records: list[bytes], opposed: list[int], now: datetime) -> None:
        """Tell of attempts and of oppositions."""

    def settle(self, rests: dict[Pair, datetime], now: datetime) -> None:
        """Return when all that was reported counts. `rests`: the ends of what must rest then."""


def moments(rng: random.Random, a_day: int) -> Iterator[datetime]:
    """So many hours of each day, by day and by night, at any minute but around the hour."""
    for day in range(DAYS):
        for hour in sorted(rng.sample((0, 6, *range(8, 20), 23), a_day)):
            yield START + timedelta(
                days=day, hours=hour, minutes=rng.randint(5, 50), seconds=rng.randint(0, 20)
            )


class Dialler:
    """What it did, and how that limits it."""

    def __init__(self, door: Door, rng: random.Random) -> None:
        self._door, self._rng = door, rng
        self.calls: list[tuple[datetime, int, str]] = []
        self.refusals: dict[Pair, datetime] = {}
        self.opposed: set[int] = set()
        self.told = set[datetime | None]()
        self._late: list[tuple[datetime, bytes]] = []

    def work(self, a_day: int) -> None:
        """Sixty days."""
        for now in moments(self._rng, a_day):
            self._call(now)

    def _call(self, now: datetime) -> None:
        """Ask for every number, and call those that may be called now."""
        rng, opposed = self._rng, list[int]()
        late = [record for due, record in self._late if due <= now]  # doubled and out of order
        records = [each for each in late for _ in range(rng.randint(1, 2))]
        self._late = [each for each in self._late if each[0] > now]
        asks = [(number, rng.choice(sorted(PROFESSIONALS))) for number in NUMBERS]
        for (number, campaign), stamp in zip(asks, self._door.stamps(asks, now), strict=True):
            who = PROFESSIONALS[campaign]
            self._check(stamp, number, who, now)
            if not stamp.allowed or not stamp.callable_at(now) or rng.random() < 0.2:
                self.told.add(stamp.rests_until)
                continue
            refused = rng.random() < 0.05
            said = {
                "request": "refusal" if refused else "attempt",
                "id": len(self.calls),
                "number": f"+{number}",
            }
            records.append(json.dumps(said | {"at": now.isoformat(), "campaign": campaign}).encode())
            self.calls.append((now, number, who))
            if refused:
                self.refusals[number, who] = now
                opposed += [number] * (rng.random() < 0.2)
            if rng.random() < 0.2:
                self._late.append((now + timedelta(hours=rng.randint(1, 100)), records[-1]))
        self.opposed.update(opposed)
        rng.shuffle(records)
        self._door.report(records, opposed, now)
        pairs = {(n, w) for _, n, w in self.calls}
        self._door.settle({each: end for each in pairs if (end := self._end(*each)) and end > now}, now)

    def _end(self, number: int, who: str) -> datetime | None:
        """Until when that professional may not call that number."""
        more = int(NUMBERS[number] is REUNION)  # overseas the day counts by both clocks
        days = [
            at.astimezone(PARIS).date() + timedelta(days=30 + more)
            for at in sorted(at for at, n, w in self.calls if (n, w) == (number, who))[-4:][:-3]
        ]
        if silent := self.refusals.get((number, who)):
            days.append(silent.astimezone(PARIS).date() + timedelta(days=61 + more))
        return max((datetime(d.year, d.month, d.day, tzinfo=PARIS) for d in days), default=None)

    def _check(self, stamp: Stamp, number: int, who: str, now: datetime) -> None:
        """What the law says about a call to that number at that moment."""
        there, end = now.astimezone(NUMBERS[number]), self._end(number, who)
        minute = there.hour * 60 + there.minute
        in_hours = 600 <= minute < 780 or 840 <= minute < 1200
        in_hours &= there.weekday() < 5  # no holiday falls into these days
        rests = end is not None and now < end
        assert stamp.allowed is not (rests or number in self.opposed), (stamp, end)
        if stamp.allowed:
            assert stamp.callable_at(now) is in_hours, (stamp, there)
        elif number not in self.opposed:
            assert (stamp.reason, stamp.rests_until) == ("too-often", end)
