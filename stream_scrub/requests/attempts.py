"""Attempts to call and refusals: from a record of `call.attempts` to a parsed attempt, and how often each number was called.
Pure.

An attempt counts once, by its id, at the latest moment reported. schemas/attempt.schema.json lists the members.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers
from stream_scrub.numbering import normalise, region_named
from stream_scrub.numbering.regions import residence_named
from stream_scrub.requests.parse_request import said_ms
from stream_scrub.rules.country import Attempts
from stream_scrub.rules.rule import ATTEMPTS_MAX
from stream_scrub.scrub.facts import campaigns_of, professionals_of

ATTEMPT, REFUSAL = "attempt", "refusal"
_MINUTE = 60
_RECORD_BYTES_MAX = (
    4096  # the schema's members take a tenth; a list of campaigns as long as a record takes 35 ms
)
_CAMPAIGNS_KEPT = 1_000
_KEPT = ATTEMPTS_MAX  # attempts for one professional to one number: no rule counts more


class AttemptRecord(msgspec.Struct, omit_defaults=True):
    """The members that count. Any others are their dialler's own. A type that none should have must hide no call."""

    request: str
    number: str | int
    id: Any = None
    at: Any = None
    region: str | None = None
    residence: Any = None
    campaign: Any = None


decode = msgspec.json.Decoder(AttemptRecord).decode


class CallAttempt(NamedTuple):
    """One attempt, as a record tells it."""

    id: int  # 64 bits of a hash
    number: int
    region: str  # of the number's plan
    residence: str  # of the person; empty if it is not known
    professional: str  # for whom it was; empty if it may have been for anyone
    at: int  # epoch seconds
    refused: bool  # the person refused


def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


NO_ID = _hashed("")  # of a refusal, which protects without one too


class AttemptReader:
    """Reads records. `professionals`: by campaign."""

    def __init__(self, default_region: str, professionals: Mapping[str, str]) -> None:
        self._region, self._professionals = default_region, professionals
        self._of_one = lru_cache(_CAMPAIGNS_KEPT, typed=True)(self._of)

    def read(self, value: bytes | None, written_ms: int) -> CallAttempt | str:
        """The attempt in a record that was written at that moment, or the member at fault. No attempt is later than its
        record, and one without a moment is as late."""
        if len(value or b"") > _RECORD_BYTES_MAX:
            return "the whole record"
        try:
            record = decode(value or b"")
        except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, which is not a DecodeError
            return str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else "the whole record"
        is_refusal, id_ = record.request == REFUSAL, _named(record.id)
        if not is_refusal and record.request != ATTEMPT:
            return "request"
        if not id_.strip() and not is_refusal:
            return "id"  # all of them would count as one
        region = self._region if record.region is None else region_named(record.region)
        found = normalise(str(record.number), region) if region else None
        if found is None:
            return "number"
        said = None if record.at is None else said_ms(record.at, restricts=True)
        return CallAttempt(
            _hashed(id_ if id_.strip() else ""),
            found[0],
            found[1].region,
            residence_named(record.residence),
            self._professional(record.campaign) if self._professionals else "",
            max(0, (written_ms if said is None or said > written_ms else said) // 1000),
            is_refusal,
        )

    def _professional(self, campaign: Any) -> str:
        return self._of(campaign) if isinstance(campaign, list | dict) else self._of_one(campaign)

    def _of(self, campaign: Any) -> str:
        named = professionals_of(tuple(campaigns_of(campaign)), self._professionals)
        return named[0] if len(named) == 1 else ""


def _named(member: Any) -> str:
    """A text, or an integer as one; empty for anything else."""
    return str(member) if isinstance(member, str | int) and not isinstance(member, bool) else ""


def rested_until(limit: Attempts, nth: int, refused: int, zone: tzinfo, more_days: int) -> int:
    """Until when a number rests (epoch seconds; 0: not at all). `nth` is the moment of its `limit.most`-th last attempt
    and `refused` that of its last refusal; 0 for none. Days are those of `zone`, and so many more."""
    end = 0
    if nth and limit.hours:
        end = -(-(nth + limit.hours * 3600) // _MINUTE) * _MINUTE  # by the minute: a delta names few ends
    elif nth:
        end = _begins(nth, limit.days + more_days, zone)
    if refused and limit.refusal_days:
        end = max(end, _begins(refused, limit.refusal_days + 1 + more_days, zone))
    return end


def _begins(at: int, days: int, zone: tzinfo) -> int:
    """When the day begins that is so many days after that of `at`."""
    day = datetime.fromtimestamp(at, zone).date() + timedelta(days=days)
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp())


Moments = NDArray[np.int64]


class AttemptCounts:
    """The last `rows` attempts, by number and professional: 30 bytes each, which the kernel gives as they fill.

    A ring of rows in the order in which they came, and a hash table whose chains go from each row to the one before it.
    What is overwritten needs no removal: a link to it is older than all rows that are left. Of one number and professional
    only the latest `_KEPT` are kept, so that no sender makes a chain long.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._wrap = rows, (2**32 - 1) // rows * rows
        self._numbers, self._ids = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
        self._at, self._who = np.empty(rows, np.uint32), np.empty(rows, np.uint16)
        # A link is a row's serial number plus one, and 0 for none. A serial number modulo `rows` is the row's place.
        self._before, self._last = np.empty(rows, np.uint32), np.zeros(rows, np.uint32)
        self._next = self._count = 0
        self._salt = np.uint64(secrets.randbits(64) | 1)  # or a sender could choose numbers of one chain

    def add(self, numbers: Numbers, who: NDArray[np.uint16], at: Moments, ids: Numbers, needed: int) -> int:
        """Take the attempts that are new by their ids, of which no two are the same; move one that is there to its latest
        moment. Returns how many rows were overwritten that are as late as `needed`: these are no longer counted."""
        new = np.ones(len(numbers), np.bool_)
        known = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for places, rows in self._each(numbers, who):
            is_same = self._ids[rows] == ids[places]
            same_places, same_rows = places[is_same], rows[is_same]
            new[same_places] = False
            self._at[same_rows] = np.maximum(self._at[same_rows], at[same_places])
            known.append((places, rows))
        self._keep_latest(new, known, numbers, who, at, ids)
        numbers = numbers[new]
        serials = (self._next + np.arange(len(numbers))) % self._wrap
        rows = serials % self._rows
        lost = int(np.count_nonzero(self._at[rows[max(0, self._rows - self._count) :]] >= needed))
        self._numbers[rows], self._who[rows], self._at[rows] = numbers, who[new], at[new]
        self._ids[rows] = ids[new]
        slots = self._slots(numbers)
        order = np.argsort(slots, kind="stable")
        slots, links = slots[order], serials[order] + 1
        first = np.ones(len(slots), np.bool_)
        first[1:] = slots[1:] != slots[:-1]
        before = np.roll(links, 1)
        before[first] = self._last[slots[first]]
        self._before[rows[order]] = before
        last = np.roll(first, -1)
        self._last[slots[last]] = links[last]
        self._next = int((self._next + len(numbers)) % self._wrap)
        self._count = min(self._rows, self._count + len(numbers))
        return lost

    def _keep_latest(
        self,
        new: NDArray[np.bool_],
        known: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
        numbers: Numbers,
        who: NDArray[np.uint16],
        at: Moments,
        ids: Numbers,
    ) -> None:
        """Overwrite the earliest rows of a number that would have too many, and leave the earliest attempts out of `new`.
        `known`: places of the numbers, and rows that they have."""
        places, rows = (np.concatenate(each) for each in zip(*known, strict=True))
        _, repeats = np.unique(numbers, return_counts=True)
        if np.bincount(places, minlength=1).max() + repeats.max(initial=0) <= _KEPT:
            return
        order = np.argsort(places, kind="stable")
        rows, ends = rows[order], np.cumsum(np.bincount(places, minlength=len(numbers))).tolist()
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place in np.flatnonzero(new).tolist():
            groups[int(numbers[place]), int(who[place])].append(place)
        for group in groups.values():
            own = rows[ends[group[0] - 1] if group[0] else 0 : ends[group[0]]]
            excess = len(own) + len(group) - _KEPT
            if excess <= 0:
                continue
            moments = np.concatenate([self._at[own].astype(np.int64), at[group]])
            earliest = np.argsort(moments, kind="stable")[:excess]
            free = own[earliest[earliest < len(own)]]
            new[[group[each - len(own)] for each in earliest.tolist() if each >= len(own)]] = False
            for row, place in zip(free.tolist(), [each for each in group if new[each]], strict=False):
                self._at[row], self._ids[row], new[place] = at[place], ids[place], False

    def nth_last(
        self, numbers: Numbers, who: NDArray[np.uint16], nth: NDArray[np.int64], *, anybodys: bool = False
    ) -> Moments:
        """For each number and professional: the moment of the `nth`-last attempt; 0 if there were fewer. `anybodys`: those
        of the professional 0, which may have been for anyone, count too."""
        every = self._each(numbers, who, anybodys=anybodys)
        found = [(places, self._at[rows].astype(np.int64)) for places, rows in every]
        places = np.concatenate([np.empty(0, np.int64), *(each for each, _ in found)])
        at = np.concatenate([np.empty(0, np.int64), *(each for _, each in found)])
        order = np.lexsort((-at, places))
        places, at = places[order], at[order]
        begins = np.searchsorted(places, np.arange(len(numbers)))
        counts = np.searchsorted(places, np.arange(len(numbers)), "right") - begins
        enough = (counts >= nth) & (nth > 0)
        moments = np.zeros(len(numbers), np.int64)
        moments[enough] = at[begins[enough] + nth[enough] - 1]
        return moments

    def named(self, numbers: Numbers) -> set[tuple[int, int]]:
        """The numbers with each professional who has attempts on them, other than 0."""
        every = self._each(numbers, None)
        return {
            each
            for places, rows in every
            for each in zip(numbers[places].tolist(), self._who[rows].tolist(), strict=True)
            if each[1]
        }

    def _slots(self, numbers: Numbers) -> NDArray[np.int64]:
        mixed = (numbers * self._salt) >> np.uint64(32)
        return ((mixed * np.uint64(self._rows)) >> np.uint64(32)).astype(np.int64)

    def _each(
        self, numbers: Numbers, who: NDArray[np.uint16] | None, *, anybodys: bool = False
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For one link of the chains after another: the places of the numbers that it is about, and its rows. Those of the
        professionals `who`, if given, and of the professional 0 with `anybodys`."""
        places, ages = np.arange(len(numbers)), np.zeros(len(numbers), np.int64)
        links = self._last[self._slots(numbers)].astype(np.int64)
        while len(places):
            older = (self._next - links) % self._wrap + 1
            live = (links > 0) & (older > ages) & (older <= self._count)
            places, ages = places[live], older[live]
            rows = (links[live] - 1) % self._rows
            same = self._numbers[rows] == numbers[places]
            if who is not None:
                theirs = self._who[rows]
                same &= (theirs == who[places]) | (anybodys & (theirs == 0))
            yield places[same], rows[same]
            links = self._before[rows].astype(np.int64)
