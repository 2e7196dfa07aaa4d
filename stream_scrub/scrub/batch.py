"""Steps 2 to 5 of a prospect's life, composed once: a batch of values in, as many verdicts and bytes out.

Pure: the index, the rules and the moment come as arguments. The worker, the check command and the demo all call
`Scrubber.scrub`; there is no second way to a verdict.

Most prospects are plain: one number, nothing that two parsers could read differently. For these it is a few tight loops
(read, normalise; one filter look-up for all; splice). Whatever is not plain goes one by one through the strict
reader, to the same plans and stamps.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index, Register
from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import REGIONS, Line, normalise
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import decide, stamp
from stream_scrub.scrub.cases import Bench, Case, Outcome
from stream_scrub.scrub.decide import NO_FACTS, Facts, Finding
from stream_scrub.scrub.decode import (
    ABSENT,
    MAX_DEPTH,
    QUICK_ERRORS,
    Members,
    Prospect,
    Unreadable,
    all_plain,
    is_plain,
    occurs_at_most,
    quick_decoder,
    quoted,
    read_quickly,
    read_strictly,
)

# A value longer than this is measured against the topic's limit with all that goes with it, which is mostly far less.
_LARGE = 32_768
_REGIONS_MAX = 1024
_BRACE = ord("}")


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that verdicts and stamps depend on."""

    members: Members
    default_region: str = "FR"
    mixed: Literal["block", "strip"] = "block"
    stamp: Literal["value", "header"] = "value"
    stale: Literal["hold", "block"] = "hold"


@dataclass(slots=True)
class Batch:
    """What became of each value, by place: the verdict, the value to emit and the stamp for its header, if any."""

    allowed: list[bool]
    values: list[bytes | None]
    stamps: list[bytes | None]
    tally: Counter[Reason] = field(default_factory=Counter)


class Scrubber:
    """The pure composition: built once from terms and rules, then called with each batch."""

    def __init__(self, terms: Terms, rulebook: Rulebook) -> None:
        self.terms = terms
        self.rulebook = rulebook
        members = terms.members
        self._decode = quick_decoder(members)
        flat = all(len(path) == 1 and path[0].isascii() for path in (*members.numbers, *members.facts))
        self._one_flat_number = flat and len(members.numbers) == 1
        self._names = [quoted(path[0]) for path in (members.numbers[0], *members.facts)]

    def scrub(
        self,
        values: Sequence[bytes | None],
        index: Index,
        now: datetime,
        *,
        limit: int | None = None,
        overhead: Callable[[int], int] = lambda _: 0,
        floor: int = _LARGE,
    ) -> Batch:
        """Judge and stamp every value, by one index at one moment.

        `limit` is the largest record that the output topics take, in bytes, and `overhead(i)` what the i-th record
        weighs besides its value: a prospect that its stamp would make unpublishable comes out blocked, unchanged.
        Records with less than `floor` bytes of value and stamp are not measured: 0 measures all, once one was refused.
        Raises StaleIndex (and gives no verdict at all) when a prospect needs a register that is missing or too old,
        unless the terms say to block these.
        """
        bench = Bench(self.rulebook, index, now)
        numbers, cases, others = self._read(values, bench)
        outcomes = _look_up(numbers, cases, bench.registers)
        batch = self._stamp(values, numbers, outcomes)
        odd = {place: self._one(values[place], place, bench, batch) for place in others}
        self._refuse_stale(batch, outcomes)
        if limit is not None:
            for place in self._too_large(batch, limit, overhead, min(floor, limit // 2)):
                outcome = outcomes[place]
                batch.tally[odd[place] if outcome is None else outcome.reason] -= 1
                self._shorten(values[place], place, batch, bench, limit - overhead(place))
        return batch

    def _read(
        self, values: Sequence[bytes | None], bench: Bench
    ) -> tuple[list[int], list[Case | None], list[int]]:
        """The plain ones' numbers and cases, and the places of all others, which have number 0 and no case."""
        numbers: list[int] = []
        cases: list[Case | None] = []
        others: list[int] = []
        number = 0
        if not self._one_flat_number:
            return [0] * len(values), [None] * len(values), list(range(len(values)))
        quicks = _decoded(self._decode, values)
        sure = self._nothing_twice(values, quicks)
        region_of = _Regions(self.terms.default_region).of
        plain: dict[Line, Case] = {}
        for value, quick in zip(values, quicks, strict=True):
            case = None
            if (
                quick is not None
                and value is not None
                and type(quick.n0) is str
                and quick.stamp is ABSENT
                and (value[-1] == _BRACE and len(value) <= MAX_DEPTH if sure else self._is_sure(value, quick))
            ):
                found = normalise(quick.n0, region_of(quick.f0))
                if found is not None:
                    number, line = found
                    if quick.f1 is quick.f2 is quick.f3 is ABSENT:
                        case = plain.get(line)
                    if case is None:
                        case = self._case(value, quick, number, line, bench)
                        if case is not None and case.stands_for_its_line:
                            plain[line] = case
            cases.append(case)
            if case is None:
                others.append(len(numbers))
                number = 0
            numbers.append(number)
        return numbers, cases, others

    def _case(self, value: bytes, quick: Any, number: int, line: Line, bench: Bench) -> Case | None:
        """The case of a plain prospect: a new line's, or one with facts; None where these stand in it twice."""
        told = (quick.f1, quick.f2, quick.f3)
        if all(fact is ABSENT for fact in told):
            return bench.case(number, line, NO_FACTS)
        return bench.case(number, line, decide.facts(*told)) if self._is_sure(value, quick) else None

    def _nothing_twice(self, values: Sequence[bytes | None], quicks: list[Any]) -> bool:
        """Whether every value of the batch is plain text and names its number and its region at most once.

        A name that a value has was found there by the decoder, so the batch holds it at least that often; if it does
        not hold it more often, then no value holds it twice. One value in doubt, and each is looked at by itself.
        """
        joined = b"".join([value for value in values if value is not None])
        if not all_plain(joined):
            return False
        named = sum([quick is not None and quick.n0 is not ABSENT for quick in quicks])
        placed = sum([quick is not None and quick.f0 is not ABSENT for quick in quicks])
        return occurs_at_most(joined, self._names[0], named) and occurs_at_most(
            joined, self._names[1], placed
        )

    def _is_sure(self, value: bytes, quick: Any) -> bool:
        """Whether this value is plain and has no needed name twice."""
        if not is_plain(value) or value.count(self._names[0]) != 1:
            return False
        told = (quick.f0, quick.f1, quick.f2, quick.f3)
        return all(
            fact is ABSENT or value.count(name) == 1 for fact, name in zip(told, self._names[1:], strict=True)
        )

    def _stamp(
        self, values: Sequence[bytes | None], numbers: list[int], outcomes: list[Outcome | None]
    ) -> Batch:
        """Splice the plain ones' stamps in; the others' places stay as they came, blocked."""
        size = len(values)
        allowed = [outcome is not None and outcome.allowed for outcome in outcomes]
        if self.terms.stamp == "value":
            spliced: list[bytes | None] = [
                value[:-1] + outcome.splice % number if outcome is not None else value  # type: ignore[index]
                for value, outcome, number in zip(values, outcomes, numbers, strict=True)
            ]
            batch = Batch(allowed, spliced, [None] * size)
        else:
            stamps = [
                outcome.bare % number if outcome is not None else None
                for outcome, number in zip(outcomes, numbers, strict=True)
            ]
            batch = Batch(allowed, list(values), stamps)
        for made, count in Counter(outcomes).items():
            if made is not None:
                batch.tally[made.reason] += count
        return batch

    def _one(self, value: bytes | None, place: int, bench: Bench, batch: Batch) -> Reason:
        """Judge one prospect that is not plain, and put what became of it in its place; returns the reason."""
        prospect = self._strict(value)
        if prospect is None:
            unreadable = bench.outcome(Finding(Reason.UNREADABLE), None)
            batch.stamps[place] = unreadable.bare % ()
            batch.tally[Reason.UNREADABLE] += 1
            return Reason.UNREADABLE
        reason, made = self._judge(prospect, bench)
        batch.tally[reason] += 1
        batch.allowed[place] = reason.verdict is Verdict.ALLOWED
        if self.terms.stamp == "value":
            comma = b"," if prospect.comma else b""
            batch.values[place] = b"".join((prospect.head, comma, b'"scrub":', made, prospect.tail))
        else:
            batch.values[place] = prospect.head + prospect.tail
            batch.stamps[place] = made
        return reason

    def _strict(self, value: bytes | None) -> Prospect | None:
        if value is None:
            return None
        try:
            return read_quickly(value, self.terms.members, self._decode) or read_strictly(
                value, self.terms.members
            )
        except Unreadable:
            return None

    def _judge(self, prospect: Prospect, bench: Bench) -> tuple[Reason, bytes]:
        """The verdict on a whole prospect and its stamp."""
        told = decide.facts(prospect.purpose, prospect.contract, prospect.campaign)
        region = _Regions(self.terms.default_region).of(prospect.region)
        entries = [self._entry(member, region, told, bench) for member in _candidates(prospect.numbers)]
        if not entries:
            entries = [stamp.Entry(Finding(Reason.INVALID_NUMBER), None, "", None)]
        stale = [
            name for e in entries if e.finding.reason is Reason.STALE_REGISTER for name in e.finding.registers
        ]
        if stale and self.terms.stale == "hold":
            raise _stale(stale)
        if len(entries) > 1:
            return stamp.several(entries, self.terms.mixed == "strip", bench.evidence)
        (only,) = entries
        made = stamp.single(only.finding, only.number is not None, only.rules, only.until, bench.evidence)
        return only.finding.reason, made % (() if only.number is None else only.number)

    def _entry(self, member: Any, region: str, told: Facts, bench: Bench) -> stamp.Entry:
        if isinstance(member, int) and not isinstance(member, bool):
            member = str(member)
        found = normalise(member, region) if isinstance(member, str) else None
        if found is None:
            return stamp.Entry(Finding(Reason.INVALID_NUMBER), None, "", None)
        number, line = found
        made = bench.case(number, line, told).find(number)
        rule = bench.rule(line.region)
        return stamp.Entry(made.finding, number, rule.digest if rule is not None else "", made.until)

    def _refuse_stale(self, batch: Batch, outcomes: list[Outcome | None]) -> None:
        if self.terms.stale == "hold" and batch.tally[Reason.STALE_REGISTER]:
            stale = [o.finding for o in outcomes if o is not None and o.reason is Reason.STALE_REGISTER]
            raise _stale([name for finding in stale for name in finding.registers])

    def _too_large(self, batch: Batch, limit: int, overhead: Callable[[int], int], floor: int) -> list[int]:
        """The places whose value and stamp are more than the topic takes. Below `floor` nothing is asked."""
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

    def _shorten(self, original: bytes | None, place: int, batch: Batch, bench: Bench, room: int) -> None:
        """A prospect that its stamp makes too large: the original bytes, blocked, a short stamp in the header; and
        where even that is too large, the original bytes alone."""
        short = bench.outcome(Finding(Reason.UNREADABLE), None).bare % ()
        batch.allowed[place] = False
        batch.values[place] = original
        batch.stamps[place] = short if len(original or b"") + len(short) <= room else None
        batch.tally[Reason.UNREADABLE] += 1


class _Regions:
    """A prospect's region member, whatever type it is, to a region with a numbering plan; remembers its answers."""

    __slots__ = ("_default", "_known")

    def __init__(self, default: str) -> None:
        self._default = default
        self._known: dict[Any, str] = {ABSENT: default}

    def of(self, member: Any) -> str:
        """The region in capitals, or the default where the member names none."""
        try:
            return self._known[member]
        except KeyError:
            region = member.strip().upper() if isinstance(member, str) else ""
            region = region if region in REGIONS else self._default
            if len(self._known) < _REGIONS_MAX:
                self._known[member] = region
            return region
        except TypeError:  # a list or an object
            return self._default


def _decoded(decode: Callable[[bytes], Any], values: Sequence[bytes | None]) -> list[Any]:
    """The quick reader's structs, None where it gives none. Most batches have no such value."""
    try:
        return list(map(decode, values))  # type: ignore[arg-type]  # None raises TypeError
    except QUICK_ERRORS:
        return [_try(decode, value) for value in values]


def _try(decode: Callable[[bytes], Any], value: bytes | None) -> Any:
    try:
        return decode(value)  # type: ignore[arg-type]
    except QUICK_ERRORS:
        return None


def _look_up(numbers: list[int], cases: list[Case | None], registers: set[Register]) -> list[Outcome | None]:
    """The outcome for each plain number: one pass of the filters for all, exact look-ups for what they let through."""
    if not registers:
        return [None if case is None else case.clean for case in cases]
    array = np.array(numbers, dtype=np.uint64)
    perhaps = np.zeros(len(numbers), dtype=np.bool_)
    for register in registers:
        perhaps |= register.filter.perhaps(array)
    return [
        None if case is None else case.find(number) if hit else case.clean
        for number, case, hit in zip(numbers, cases, perhaps.tolist(), strict=True)
    ]


def _candidates(members: Sequence[Any]) -> list[Any]:
    """What a prospect offers as numbers, lists opened, absent and empty ones left out."""
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
        f"prospects need registers that are missing or too old: {listed}; import a fresh list of each",
    )
