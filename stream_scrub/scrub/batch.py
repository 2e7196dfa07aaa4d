"""Steps 2 to 5 of a prospect's life, composed once: a batch of values goes in, as many verdicts and bytes come out.

Pure: the index, the rules and the moment come as arguments. The worker, the check command and the demo all call
`Scrubber.scrub`; there is no second way to a verdict.

Most prospects are plain: they have one number and nothing that two parsers could read differently. These are read,
judged and spliced a batch at a time (`plain`, `decide_batch`, `backend`). All others go one by one through the strict
reader, to the same plans and stamps.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.model import Reason, Verdict, family
from stream_scrub.rules import CALLERS, CLOSED, FACTS, HOUSE, Rulebook
from stream_scrub.scrub import backend, stamp
from stream_scrub.scrub.backend import Backend
from stream_scrub.scrub.batch_context import BatchContext
from stream_scrub.scrub.columns import judge_text
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import Judged, judge
from stream_scrub.scrub.decode import (
    ABSENT,
    Members,
    Prospect,
    QuickReader,
    Unreadable,
    read_strictly,
)
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of, of_three, words_of
from stream_scrub.scrub.plain import Plain, Regions

# The whole record of a value longer than this is measured against the topic's limit. What goes with a value is mostly
# far less.
LARGE = 32_768
# More numbers than any person has. Each is judged by itself, which may take milliseconds, and gets an entry of about
# 150 bytes on the stamp. A hundred fit the room that the output topics have for a stamp
# (`kafka/admin/topics.py: STAMP_ROOM`).
NUMBERS_MAX = 100


_NO_NUMBER = stamp.Entry(Finding(Reason.INVALID_NUMBER), None, "", None)


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that verdicts and stamps depend on."""

    members: Members
    default_region: str = "FR"
    default_purpose: str = ""  # of prospects that state no purpose
    default_campaign: str = ""  # the house's own, as campaigns are compared: of prospects that name none
    contract_shapes: tuple[str, ...] = ()  # of identifiers of contracts, see `contracts`
    mixed: Literal["block", "strip"] = "block"
    stamp: Literal["value", "header"] = "value"
    stale: Literal["hold", "block"] = "block"
    stale_by_register: Mapping[str, Literal["hold", "block"]] = field(default_factory=dict)
    numbers_max: int = NUMBERS_MAX  # a prospect with more numbers counts as one without a valid number

    def waits_for(self, finding: Finding) -> list[str]:
        """The registers that a prospect with this finding is held for."""
        if finding.reason is not Reason.STALE_REGISTER or finding.lasting:
            return []  # `lasting`: no fresh list would settle it
        said = self.stale_by_register
        return [n for n in finding.registers if said.get(n, said.get(family(n), self.stale)) == "hold"]

    def facts_of(self, rulebook: Rulebook) -> FactsOf:
        """How prospects are read for these rules. The first reading knew no default purpose, and took for a contract
        whatever did not say no. The first two compared campaigns by their case alone, and the first three took no
        more than three facts. The first four knew no campaign of the house."""
        campaigns = words_of if rulebook.reading < CALLERS else None
        if rulebook.reading < CLOSED:
            return partial(of_three, contract_shapes=None, campaigns=campaigns)
        return partial(
            of_three if rulebook.reading < FACTS else facts_of,
            default_purpose=self.default_purpose,
            default_campaign="" if rulebook.reading < HOUSE else self.default_campaign,
            contract_shapes=self.contract_shapes,
            campaigns=campaigns,
        )


@dataclass(slots=True)
class Batch:
    """What became of each value, by place: the verdict, the value to emit, and the stamp for its header, if any. It
    covers the first values only, as many as there was time for."""

    allowed: list[bool]
    values: list[bytes | None]
    stamps: list[bytes | None]
    tally: Counter[Reason] = field(default_factory=Counter)
    shortened: int = 0  # how many of them were too large for their topic once stamped
    stale: Counter[str] = field(
        default_factory=Counter
    )  # by register that could not be used: how many were blocked for it


class _Made(NamedTuple):
    """What became of one prospect that is not plain."""

    reason: Reason
    value: bytes | None
    stamp: bytes | None
    stale: frozenset[str] = frozenset()

    def into(self, batch: Batch, place: int) -> None:
        batch.allowed[place] = self.reason.verdict is Verdict.ALLOWED
        batch.values[place], batch.stamps[place] = self.value, self.stamp
        batch.tally[self.reason] += 1
        batch.stale.update(self.stale)


class _Odd(NamedTuple):
    """The places of all prospects that are not plain, and what became of the first ones, as far as there was time."""

    places: list[int]
    judged: list[_Made]


class Scrubber:
    """The pure composition: built once from terms and rules, then called with each batch.

    `by` reads and splices the plain prospects: the extension if it is installed, else the reference.
    """

    def __init__(self, terms: Terms, rulebook: Rulebook, by: Backend | None = None) -> None:
        self.terms = terms
        self.rulebook = rulebook
        self._quick = QuickReader(terms.members)
        self._regions = Regions(terms.default_region)
        self._by = by or backend.BEST
        self.facts_of = terms.facts_of(rulebook)
        self._nothing = self.facts_of()
        self._reader = self._by.reader(terms.members, terms.default_region, self.facts_of)

    def context(self, index: Index, now: datetime) -> BatchContext:
        """What the batches of one index and one moment share."""
        return BatchContext(self.rulebook, index, now)

    def scrub(
        self,
        values: Sequence[bytes | None],
        index: Index,
        now: datetime,
        *,
        limit: int | None = None,
        overhead: Callable[[int], int] = lambda _: 0,
        floor: int = LARGE,
        enough: Callable[[], bool] = _never,
        spoilt: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
        context: BatchContext | None = None,
    ) -> Batch:
        """Judge and stamp every value, by one index at one moment.

        A prospect that is not plain may take long. `enough` is asked after each of these. Once it returns True, the
        batch ends before the next one: what is judged is then a prefix of the values, at least one if there is any.

        `limit` is the largest record that the output topics take, in bytes. `overhead(i)` is what the i-th record
        weighs besides its value, in bytes. A prospect that is too large once stamped comes out blocked, unchanged.
        Records with less than `floor` bytes of value and stamp are not measured; with 0 all are, as is needed once
        one was refused. `spoilt` holds the places of records that are unreadable whatever their value says, each with
        the members that its stamp gets: they come out blocked with their own bytes. `context` is what an earlier batch of
        this index and moment shared, for batches that are too small to make it for each. Raises StaleIndex, and gives no
        verdict at all, when a prospect needs a register that is missing or too old and the terms say to hold for that
        register.
        """
        context = context or self.context(index, now)
        given, values = values, _without(values, spoilt) if spoilt else values
        plain = self._reader.read(values)
        odd = self._odd(values, plain, context, enough)
        if len(odd.judged) < len(odd.places):
            upto = odd.places[len(odd.judged)]
            values, plain = values[:upto], plain.first(upto)
        judged = judge(plain, context)
        batch = self._stamp(values, plain, judged)
        for place, made in zip(odd.places, odd.judged, strict=False):
            made.into(batch, place)
        for place, told in spoilt.items():
            if place < len(values):
                batch.values[place] = given[place]
                batch.stamps[place] = stamp.unreadable(told, context.evidence)
        self._refuse_stale(batch, judged)
        if limit is not None:
            reasons = dict(zip(odd.places, (made.reason for made in odd.judged), strict=False))
            for place in self._too_large(batch, limit, overhead, min(floor, limit // 2)):
                outcome = judged.at(place)
                batch.tally[reasons[place] if outcome is None else outcome.reason] -= 1
                self._shorten(given[place], place, batch, context, limit - overhead(place))
        return batch

    def _stamp(self, values: Sequence[bytes | None], plain: Plain, judged: Judged) -> Batch:
        """Splice the stamps of the plain prospects in. The others stay at their places as they came, blocked."""
        allowing = [*(outcome.allowed for outcome in judged.outcomes), False]  # the last one is found by -1
        allowed = [allowing[at] for at in judged.ids.tolist()]
        if self.terms.stamp == "value":
            templates = [outcome.splice for outcome in judged.outcomes]
            spliced = self._by.splice(values, plain.numbers, judged.ids, templates)
            batch = Batch(allowed, spliced, [None] * len(values))
        else:
            templates = [outcome.bare for outcome in judged.outcomes]
            batch = Batch(allowed, list(values), self._by.fill(plain.numbers, judged.ids, templates))
        counts = np.bincount(judged.ids + 1, minlength=len(judged.outcomes) + 1)[1:]
        for outcome, count in zip(judged.outcomes, counts.tolist(), strict=True):
            batch.tally[outcome.reason] += count
            if outcome.reason is Reason.STALE_REGISTER and count:
                batch.stale.update(dict.fromkeys(outcome.finding.registers, count))
        return batch

    def _odd(
        self, values: Sequence[bytes | None], plain: Plain, context: BatchContext, enough: Callable[[], bool]
    ) -> _Odd:
        """Judge the prospects that are not plain, one by one, until `enough`."""
        places = np.flatnonzero(plain.kinds < 0).tolist()
        made: list[_Made] = []
        for place in places:
            made.append(self._one(values[place], context))
            if enough():
                break
        return _Odd(places, made)

    def _one(self, value: bytes | None, context: BatchContext) -> _Made:
        """Judge one prospect that is not plain."""
        prospect = self._strict(value)
        if prospect is None:
            return _Made(Reason.UNREADABLE, value, context.outcome(Finding(Reason.UNREADABLE)).bare % ())
        reason, made, stale = self._judge(prospect, context)
        if self.terms.stamp == "header":
            return _Made(reason, prospect.head + prospect.tail, made, stale)
        comma = b"," if prospect.comma else b""
        return _Made(reason, b"".join((prospect.head, comma, b'"scrub":', made, prospect.tail)), None, stale)

    def _strict(self, value: bytes | None) -> Prospect | None:
        if value is None:
            return None
        try:
            return self._quick.read(value) or read_strictly(value, self.terms.members)
        except Unreadable:
            return None

    def _judge(self, prospect: Prospect, context: BatchContext) -> tuple[Reason, bytes, frozenset[str]]:
        """The verdict on a whole prospect, its stamp, and the registers that it needs but that cannot be used."""
        told = (
            self.facts_of(*prospect.facts) if any(f is not ABSENT for f in prospect.facts) else self._nothing
        )
        region = self._regions.of(prospect.region)
        offered = _candidates(prospect.numbers)
        if len(offered) > self.terms.numbers_max:
            offered = []
        entries = [self._entry(member, region, told, context) for member in offered]
        if not entries:
            entries = [_NO_NUMBER]
        if waits := [name for each in entries for name in self.terms.waits_for(each.finding)]:
            raise _stale(waits)
        findings = [each.finding for each in entries if each.finding.reason is Reason.STALE_REGISTER]
        stale = frozenset(name for finding in findings for name in finding.registers)
        if len(entries) > 1:
            strip = self.terms.mixed == "strip"
            return *stamp.several(entries, strip, told.channel, context.evidence), stale
        (only,) = entries
        made = stamp.single(
            only.finding,
            only.number is not None,
            only.rules,
            only.until,
            told.channel,
            context.evidence,
            only.residence,
        )
        return only.finding.reason, made % (() if only.number is None else only.number), stale

    def _entry(self, member: Any, region: str, told: Facts, context: BatchContext) -> stamp.Entry:
        if isinstance(member, int) and not isinstance(member, bool):
            member = str(member)
        number, made = judge_text(member if isinstance(member, str) else "", region, told, context)
        if number is None:
            return _NO_NUMBER
        return stamp.Entry(made.finding, number, made.rules, made.until, made.residence)

    def _refuse_stale(self, batch: Batch, judged: Judged) -> None:
        if batch.tally[Reason.STALE_REGISTER]:
            waits = [name for o in judged.outcomes for name in self.terms.waits_for(o.finding)]
            if waits:
                raise _stale(waits)

    def _too_large(self, batch: Batch, limit: int, overhead: Callable[[int], int], floor: int) -> list[int]:
        """The places whose value and stamp are larger than the topic takes. What is below `floor` is not measured."""
        if self.terms.stamp == "value":  # then the few stamps that go into headers are short
            near = [place for place, value in enumerate(batch.values) if len(value or b"") >= floor]
        else:
            pairs = enumerate(zip(batch.values, batch.stamps, strict=True))
            near = [place for place, (v, s) in pairs if len(v or b"") + len(s or b"") >= floor]
        return [
            place
            for place in near
            if len(batch.values[place] or b"") + len(batch.stamps[place] or b"") + overhead(place) > limit
        ]

    def _shorten(
        self, original: bytes | None, place: int, batch: Batch, context: BatchContext, room: int
    ) -> None:
        """Block a prospect that its stamp makes too large: (a) the original bytes with a short stamp in the header,
        or (b) where even that is too large, the original bytes alone."""
        short = context.outcome(Finding(Reason.UNREADABLE)).bare % ()
        batch.allowed[place] = False
        batch.shortened += 1
        batch.values[place] = original
        batch.stamps[place] = short if len(original or b"") + len(short) <= room else None
        batch.tally[Reason.UNREADABLE] += 1


def _without(values: Sequence[bytes | None], spoilt: Mapping[int, object]) -> list[bytes | None]:
    """The values, with null for each spoilt record, so that nobody reads its bytes."""
    return [None if place in spoilt else value for place, value in enumerate(values)]


def _candidates(members: Sequence[Any]) -> list[Any]:
    """What a prospect offers as numbers: lists are opened, absent and empty members are left out."""
    opened: list[Any] = []
    for member in members:
        opened.extend(member if isinstance(member, list) else [member])
    return [
        m for m in opened if m is not ABSENT and m is not None and not (isinstance(m, str) and not m.strip())
    ]


def _stale(names: Sequence[str]) -> StaleIndex:
    listed = ", ".join(sorted(set(names)))
    return StaleIndex(
        "register",
        f"prospects need registers that are missing, too old, or still hold what should have ended: {listed}; import a"
        " fresh list of each, or see that its publisher runs",
    )
