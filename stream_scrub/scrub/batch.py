"""Steps 2 to 5 of a prospect's life (decode, normalise, decide, stamp), composed once.

Pure: the index, the rules and the moment are arguments. Every verdict comes from `Scrubber.scrub`;
`scrub_each` is its part for prospects that are not plain, which is quicker for less than `FEW` of any kind.

Most prospects are plain: one number, and nothing that two parsers could read differently. These are read, judged and
spliced a batch at a time (`backend`, `decide_batch`). The others go one by one through the strict reader
(`decode`), to the same plans and stamps.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.errors import StaleIndex
from stream_scrub.index import NO_KEYS, HashKeys, Index, Numbers
from stream_scrub.model import Fault, Reason, Verdict, Why, family
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import backend, stamp
from stream_scrub.scrub.backend import Backend, Kinds, Plain, Regions, SwiftReader
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import BatchContext, Judged, judge, judge_text
from stream_scrub.scrub.decode import ABSENT, Members, Prospect, Unreadable, read_strictly
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of
from stream_scrub.scrub.stamp import Outcome

# The record of a value longer than this is measured against the topic's limit. Key and headers are mostly far shorter.
LARGE = 32_768
# More numbers than any person has: a prospect with more counts as one without a valid number. Each is judged by itself,
# which may take milliseconds, and gets about 150 bytes on the stamp; the output topics have room for so many
# (`kafka/admin/topics.py: STAMP_ROOM`).
NUMBERS_MAX = 100
_NUMBER_ROOM = 20  # digits
FEW = 4  # values: so many cost as much by arrays as one by one


def _never() -> bool:
    return False


def _null(_place: int) -> Fault:
    return Fault(Why.NULL)


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that verdicts and stamps depend on."""

    members: Members
    default_region: str = "FR"
    default_purpose: str = ""  # of prospects that state no purpose
    default_campaign: str = ""  # the operator's own, as campaigns are compared: of prospects that name none
    contract_shapes: tuple[str, ...] = ()  # of identifiers of contracts, see `contracts`
    professionals: Mapping[str, str] = field(default_factory=dict)  # by campaign: for whom it is
    mixed: Literal["block", "strip"] = "block"
    stamp: Literal["value", "header"] = "value"
    stale: Literal["hold", "block"] = "block"
    hash_keys: HashKeys = NO_KEYS
    stale_by_register: Mapping[str, Literal["hold", "block"]] = field(default_factory=dict)

    def waits_for(self, finding: Finding) -> list[str]:
        """The registers that a prospect with this finding is held for."""
        if finding.reason is not Reason.STALE_REGISTER or finding.lasting:
            return []  # `lasting`: no fresh list would settle it
        by_register = self.stale_by_register
        return [
            name
            for name in finding.registers
            if by_register.get(name, by_register.get(family(name), self.stale)) == "hold"
        ]

    @property
    def facts_of(self) -> FactsOf:
        """How facts are read from a prospect's members."""
        return partial(
            facts_of,
            default_purpose=self.default_purpose,
            default_campaign=self.default_campaign,
            contract_shapes=self.contract_shapes,
            professionals=self.professionals,
        )


@dataclass(slots=True)
class Batch:
    """The result for each value, by place: the verdict, the value to emit, and the stamp for its header, if any. It
    covers as many of the first values as there was time for."""

    allowed: list[bool]
    values: list[bytes | None]
    stamps: list[bytes | None]
    tally: Counter[Reason] = field(default_factory=Counter)
    shortened: int = 0  # how many were too large for their topic once stamped
    # By register that could not be used: how many were blocked for it.
    stale: Counter[str] = field(default_factory=Counter)


class _Result(NamedTuple):
    """The result for one prospect that is not plain."""

    reason: Reason
    value: bytes | None
    stamp: bytes | None
    stale: frozenset[str] = frozenset()

    @property
    def allowed(self) -> bool:
        return self.reason.verdict is Verdict.ALLOWED

    def into(self, batch: Batch, place: int) -> None:
        batch.allowed[place] = self.allowed
        batch.values[place], batch.stamps[place] = self.value, self.stamp
        self.counted(batch.tally, batch.stale)

    def counted(self, tally: Counter[Reason], stale: Counter[str]) -> None:
        tally[self.reason] += 1
        if self.stale:
            stale.update(self.stale)


class _Strict(NamedTuple):
    """The places of prospects that are judged one by one, and the results of the first ones, as far as there was time."""

    places: Sequence[int]
    results: list[_Result]

    @property
    def upto(self) -> int | None:
        """The index of the first prospect that was not judged for lack of time; None if all were."""
        return self.places[len(self.results)] if len(self.results) < len(self.places) else None


@dataclass(slots=True)
class RecordVerdicts:
    """As `Batch`, by place: the template of each plain prospect and its number; and the value and stamp of the others."""

    ids: Kinds
    numbers: Numbers
    templates: list[bytes]
    into_value: bool
    allowed: NDArray[np.bool_]
    others: dict[int, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    tally: Counter[Reason] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)


class Scrubber:
    """Built once from terms and rules, then called with each batch. `by` reads the plain prospects: by default the
    extension if it is installed, else the reference in Python. `facts_of` reads facts: by default as the terms
    say."""

    def __init__(
        self, terms: Terms, rulebook: Rulebook, by: Backend | None = None, facts_of: FactsOf | None = None
    ) -> None:
        self.terms = terms
        self.rulebook = rulebook
        self._regions = Regions(terms.default_region)
        self.facts_of = facts_of or terms.facts_of
        self._no_facts, self._silent = self.facts_of(), (ABSENT,) * len(terms.members.facts)
        self._reader = (by or backend.BEST).reader(terms.members, terms.default_region, self.facts_of)

    def context(self, index: Index, now: datetime, *, asks_now: bool = False) -> BatchContext:
        """The state that batches of one index and one moment share. `asks_now`: stamps have `callable_now`, for checks just
        before a call."""
        return BatchContext(self.rulebook, index, now, asks_now=asks_now, keys=self.terms.hash_keys)

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """Steps 2 and 3 alone, of the plain prospects."""
        return self._reader.read(values)

    def facts(self, value: bytes | None) -> Facts:
        """The facts of a prospect; those of one that states none, if it cannot be read."""
        try:
            return self.facts_of(*read_strictly(value or b"", self.terms.members).facts)
        except Unreadable:
            return self._no_facts

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
        emitted: Sequence[bytes | None] | None = None,
        fault_at: Callable[[int], Fault] = _null,
    ) -> Batch:
        """Judge and stamp every value, by one index at one moment.

        * `limit`: bytes of the largest record for the topic. A stamped prospect beyond it is blocked, unchanged.
        * `overhead(i)`: bytes of the i-th record apart from its value.
        * `floor`: records with fewer bytes of value and stamp are not measured.
        * `enough`: called after each prospect that is not plain; True ends the batch there.
        * `spoilt`: places of records that are unreadable anyhow, with the members of their stamps.
        * `context`: that of an earlier batch of this index and moment.
        * `emitted`: the bytes to emit, unchanged, if `values` are read from them. Stamps go into headers.
        * `fault_at(i)`: why the i-th value is None.

        Raises StaleIndex if a prospect must be held for a register, or needs one whose key is missing.
        """
        context = context or self.context(index, now)
        originals = values if emitted is None else emitted
        values = _without(values, spoilt) if spoilt else values
        # Steps 2 and 3: decode the plain prospects and normalise their numbers.
        plain = self._reader.read(values)
        # Steps 2 to 5 for each of the others.
        strict = self._strict(values.__getitem__, _others(plain), context, enough, fault_at)
        if (upto := strict.upto) is not None:
            values, plain = values[:upto], plain.first(upto)
        # Step 4: decide on the plain prospects.
        judged = judge(plain, context)
        # Step 5: stamp them.
        batch = self._stamp(values, plain, judged)
        for place, result in zip(strict.places, strict.results, strict=False):
            result.into(batch, place)
        if emitted is not None:
            batch.values[:] = emitted[: len(batch.values)]
        for place, members in spoilt.items():
            if place < len(values):
                batch.values[place] = originals[place]
                batch.stamps[place] = stamp.unreadable(members, context.evidence)
        self._need_none_held(batch.tally, judged)
        if limit is not None:
            reasons = {place: each.reason for place, each in zip(strict.places, strict.results, strict=False)}
            for place in self._too_large(batch, limit, overhead, min(floor, limit // 2)):
                outcome = judged.at(place)
                batch.tally[reasons[place] if outcome is None else outcome.reason] -= 1
                self._shorten(originals[place], place, batch, context, limit - overhead(place))
        return batch

    def scrub_each(
        self, values: Sequence[bytes], context: BatchContext, *, enough: Callable[[], bool] = _never
    ) -> Batch:
        """As `scrub`, value by value, plain or not: quicker for less than `FEW`."""
        results = self._strict(values.__getitem__, range(len(values)), context, enough, _null).results
        batch = Batch(
            [result.allowed for result in results],
            [result.value for result in results],
            [result.stamp for result in results],
        )
        for result in results:
            result.counted(batch.tally, batch.stale)
        return batch

    @property
    def takes_records(self) -> bool:
        """Whether `scrub_records` can be asked."""
        return isinstance(self._reader, SwiftReader)

    def scrub_records(
        self,
        records: Any,
        index: Index,
        now: datetime,
        *,
        limit: int | None = None,
        enough: Callable[[], bool] = _never,
        emitted: Any = None,
        fault_at: Callable[[int], Fault] = _null,
    ) -> "RecordVerdicts | None":
        """As `scrub`, for records that the extension holds: their bytes are not copied. None if a record is so large
        that it must be measured: then ask `scrub`. No time was spent on the others then.

        `emitted`: the records to emit, if `records` are read from them. `fault_at`: as for `scrub`."""
        assert isinstance(self._reader, SwiftReader), "ask `takes_records` first"
        context = self.context(index, now)
        # Bytes that no record may get, apart from those that it came with. `scrub` would have no time left if this were found
        # out after the others are judged one by one: it would get one record further in two seconds.
        room = sys.maxsize if limit is None else min(LARGE, limit // 2) - records.longest()
        plain = self._reader.read_records(records)
        judged = judge(plain, context)
        templates = self._templates(judged)
        if max((len(template) + _NUMBER_ROOM for template in templates), default=0) >= room:
            return None
        strict = self._strict(records.value, _others(plain), context, enough, fault_at, room)
        if (upto := strict.upto) is not None:
            if not upto:
                return None
            plain = plain.first(upto)
            judged = judge(plain, context)
            templates = self._templates(judged)
        into_value = self.terms.stamp == "value"
        # The last one is found by -1.
        allowing = np.array([*(outcome.allowed for outcome in judged.outcomes), False])
        verdicts = RecordVerdicts(judged.ids, plain.numbers, templates, into_value, allowing[judged.ids])
        self._count(judged, verdicts.tally, verdicts.stale)
        for place, result in zip(strict.places, strict.results, strict=False):
            result.counted(verdicts.tally, verdicts.stale)
            verdicts.allowed[place] = result.allowed
            value = result.value if emitted is None else emitted.value(place)
            verdicts.others[place] = value, result.stamp
        self._need_none_held(verdicts.tally, judged)
        return verdicts

    def _templates(self, judged: Judged) -> list[bytes]:
        """The stamps of the plain prospects, by outcome, without their numbers."""
        if self.terms.stamp == "value":
            return [outcome.splice for outcome in judged.outcomes]
        return [outcome.bare for outcome in judged.outcomes]

    def _need_none_held(self, tally: Counter[Reason], judged: Judged) -> None:
        if tally[Reason.STALE_REGISTER] and (
            waits := [name for outcome in judged.outcomes for name in self.terms.waits_for(outcome.finding)]
        ):
            raise _stale(waits)

    @staticmethod
    def _count(judged: Judged, tally: Counter[Reason], stale: Counter[str]) -> None:
        """Count the plain prospects by reason."""
        counts = np.bincount(judged.ids + 1, minlength=len(judged.outcomes) + 1)[1:]
        for outcome, count in zip(judged.outcomes, counts.tolist(), strict=True):
            tally[outcome.reason] += count
            if outcome.reason is Reason.STALE_REGISTER and count:
                stale.update(dict.fromkeys(outcome.finding.registers, count))

    def _stamp(self, values: Sequence[bytes | None], plain: Plain, judged: Judged) -> Batch:
        """Splice the stamps of the plain prospects in. The others keep their places and bytes, blocked."""
        allowing = [*(outcome.allowed for outcome in judged.outcomes), False]  # the last one is found by -1
        allowed = [allowing[at] for at in judged.ids.tolist()]
        templates = self._templates(judged)
        if self.terms.stamp == "value":
            spliced = backend.splice(values, plain.numbers, judged.ids, templates)
            batch = Batch(allowed, spliced, [None] * len(values))
        else:
            batch = Batch(allowed, list(values), backend.fill(plain.numbers, judged.ids, templates))
        self._count(judged, batch.tally, batch.stale)
        return batch

    def _strict(
        self,
        value_at: Callable[[int], bytes | None],
        places: Sequence[int],
        context: BatchContext,
        enough: Callable[[], bool],
        fault_at: Callable[[int], Fault],
        room: int = sys.maxsize,
    ) -> _Strict:
        """Judge the prospects at these places one by one, until `enough`, or before one that would get `room` bytes."""
        results: list[_Result] = []
        for index in places:
            value = value_at(index)
            if value is None:
                result = _Result(Reason.UNREADABLE, None, _unreadable(fault_at(index), context))
            else:
                result = self._one(value, context)
            if len(result.value or b"") + len(result.stamp or b"") >= room:
                break
            results.append(result)
            # A verdict must still be good when it is committed.
            if enough():
                break
        return _Strict(places, results)

    def _one(self, value: bytes, context: BatchContext) -> _Result:
        """Judge one prospect, plain or not."""
        try:
            prospect = read_strictly(value, self.terms.members)
        except Unreadable as error:
            stamped = _unreadable(Fault(error.why, error.member), context)
            return _Result(Reason.UNREADABLE, value, stamped)
        reason, stamped, stale = self._judge(prospect, context)
        if self.terms.stamp == "header":
            return _Result(reason, prospect.head + prospect.tail, stamped, stale)
        comma = b"," if prospect.comma else b""
        value = b"".join((prospect.head, comma, b'"scrub":', stamped, prospect.tail))
        return _Result(reason, value, None, stale)

    def _judge(self, prospect: Prospect, context: BatchContext) -> tuple[Reason, bytes, frozenset[str]]:
        """The verdict on a whole prospect, its stamp, and the registers that it needs but that cannot be used."""
        is_silent = prospect.facts == self._silent
        facts = self._no_facts if is_silent else self.facts_of(*prospect.facts)
        region = self._regions.of(prospect.region)
        if not region:
            unknown = context.outcome(Finding(Reason.UNKNOWN_COUNTRY), facts.channel)
            return unknown.reason, unknown.bare % (), frozenset()
        judged = self._judged_numbers(number_members(prospect.numbers), region, facts, context)
        lacking = [outcome.finding for _, outcome in judged if outcome.reason is Reason.STALE_REGISTER]
        # Then the whole batch waits: the emitted half of a batch would be emitted again.
        if waits := [name for finding in lacking for name in self.terms.waits_for(finding)]:
            raise _stale(waits)
        stale = frozenset(name for each in lacking for name in each.registers)
        if len(judged) > 1:
            strip = self.terms.mixed == "strip"
            return *stamp.several(judged, strip, facts.channel, context.evidence, context.opened), stale
        number, outcome = judged[0]
        return outcome.reason, outcome.bare % (() if number is None else number), stale

    def _judged_numbers(
        self, members: Sequence[Any], region: str, facts: Facts, context: BatchContext
    ) -> list[tuple[int | None, Outcome]]:
        """The number (None if it is not valid) and the outcome of each of these; of one invalid number if there are none, or
        too many."""
        paths = self.terms.members.numbers
        path = ".".join(paths[0]) if len(paths) == 1 else ""
        if len(members) > NUMBERS_MAX:
            return [(None, context.invalid(Fault(Why.TOO_MANY_NUMBERS, path), facts))]
        if not members:
            return [(None, context.invalid(Fault(Why.NO_NUMBER, path), facts))]
        judged: list[tuple[int | None, Outcome]] = []
        for member in members:
            text = text_of(member)
            if text:
                judged.append(judge_text(text, region, facts, context))
            else:
                judged.append((None, context.invalid(Fault(Why.WRONG_TYPE, path), facts)))
        return judged

    def _too_large(self, batch: Batch, limit: int, overhead: Callable[[int], int], floor: int) -> list[int]:
        """The places whose record is larger than the topic takes. What is below `floor` is not measured."""
        if self.terms.stamp == "value":  # the few stamps that still go into headers are short
            near = [index for index, value in enumerate(batch.values) if len(value or b"") >= floor]
        else:
            pairs = enumerate(zip(batch.values, batch.stamps, strict=True))
            near = [index for index, (v, s) in pairs if len(v or b"") + len(s or b"") >= floor]
        return [
            index
            for index in near
            if len(batch.values[index] or b"") + len(batch.stamps[index] or b"") + overhead(index) > limit
        ]

    def _shorten(
        self, original: bytes | None, place: int, batch: Batch, context: BatchContext, room: int
    ) -> None:
        """Block a prospect that its stamp makes too large: (a) its own bytes with a short stamp in the header, or (b)
        where that is too large as well, its own bytes alone."""
        short = _unreadable(Fault(Why.TOO_LARGE), context)
        batch.allowed[place] = False
        batch.shortened += 1
        batch.values[place] = original
        batch.stamps[place] = short if len(original or b"") + len(short) <= room else None
        batch.tally[Reason.UNREADABLE] += 1


def _unreadable(fault: Fault, context: BatchContext) -> bytes:
    """The stamp of a prospect that cannot be read."""
    return context.outcome(Finding(Reason.UNREADABLE, fault=fault)).bare % ()


def _others(plain: Plain) -> list[int]:
    """The places of the prospects that are not plain."""
    places: list[int] = np.flatnonzero(plain.kinds < 0).tolist()
    return places


def _without(values: Sequence[bytes | None], spoilt: Mapping[int, object]) -> list[bytes | None]:
    """The values, with None for each spoilt record, so that its bytes are not read."""
    return [None if index in spoilt else value for index, value in enumerate(values)]


def number_members(members: Sequence[Any]) -> list[Any]:
    """What a prospect offers as numbers: lists are opened, absent and empty members are left out."""
    opened = [each for member in members for each in (member if isinstance(member, list) else [member])]
    return [
        each
        for each in opened
        if each is not ABSENT and each is not None and not (isinstance(each, str) and not each.strip())
    ]


_TOO_LONG = 10**40  # for a number; Python refuses to write an integer of thousands of digits


def text_of(member: Any) -> str:
    """What a member of any type says as a number; empty if it says none."""
    if isinstance(member, int) and not isinstance(member, bool):
        return str(member) if abs(member) < _TOO_LONG else ""
    return member if isinstance(member, str) else ""


def _stale(names: Sequence[str]) -> StaleIndex:
    listed = ", ".join(sorted(set(names)))
    return StaleIndex(
        "register",
        f"prospects need registers that are missing, too old, or hold numbers that should have ended: {listed}: import"
        " a fresh list of each, or start the publisher that ends its numbers",
    )
