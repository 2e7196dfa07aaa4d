"""The numbers that were allowed and may still be called, and which of them may no longer be. Pure.

One bitmap for each partition, kind of call and last day. A kind (line and facts) is all that a verdict depends on apart from
the number, so no record is read again to judge it (docs/decisions.md, Recall without a store).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import NO_KEYS, HashKeys, Index, Register, as_numbers
from stream_scrub.model import PartitionKey, Reason
from stream_scrub.numbering import Line
from stream_scrub.ops.batch_size import BatchSize
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.backend import Kind, Plain
from stream_scrub.scrub.decide import Finding, Plan
from stream_scrub.scrub.decide_batch import BatchContext, Case, judge
from stream_scrub.scrub.stamp import Outcome

_BLOCK = 65_536  # numbers that are judged at once
_PART_MAX = 20_000  # recalls in one transaction, where the link carries so many
_LAST_ZONE = timedelta(hours=12)  # a day ends last on earth where clocks are this far behind UTC


def day_that_lasts(now: datetime) -> date:
    """The earliest day that is not over everywhere."""
    return (now.astimezone(UTC) - _LAST_ZONE).date()


class Uncallable(NamedTuple):
    """Numbers that may no longer be called with the verdicts on them now, and what is outstanding of them."""

    outcomes: dict[int, Outcome]
    held: "Outstanding"


class Outstanding:
    """The numbers by kind, partition and last day. A partition counts from `begin` on."""

    def __init__(self) -> None:
        self.partitions: set[PartitionKey] = set()  # those that have begun
        self._held: dict[Kind, dict[tuple[PartitionKey, date], BitMap64]] = {}

    def begin(self, partition: PartitionKey) -> None:
        """Begin with nothing outstanding."""
        self.partitions.add(partition)

    def join(self, more: "Outstanding") -> None:
        """Take over the partitions of another one."""
        self.partitions |= more.partitions
        for kind, places in more._held.items():  # noqa: SLF001  # of the same class
            self._held.setdefault(kind, {}).update(places)

    def drop(self, partitions: Collection[PartitionKey]) -> None:
        """Forget partitions, which are another member's now."""
        self.partitions.difference_update(partitions)
        self._keep(lambda partition, _: partition in self.partitions)

    def expire(self, now: datetime) -> None:
        """Drop the days that are over everywhere, and what is empty."""
        today = day_that_lasts(now)
        self._keep(lambda _, last: last >= today)

    def _keep(self, counts: Callable[[PartitionKey, date], bool]) -> None:
        kept = {
            kind: {place: held for place, held in places.items() if held and counts(*place)}
            for kind, places in self._held.items()
        }
        self._held = {kind: places for kind, places in kept.items() if places}

    def add(self, partition: PartitionKey, kind: Kind, last: date, numbers: Collection[int]) -> None:
        """Numbers that may be called until their `last` day."""
        assert partition in self.partitions, "it has begun"
        self._held.setdefault(kind, {}).setdefault((partition, last), BitMap64()).update(numbers)

    def among(self, numbers: BitMap64) -> "Outstanding":
        """What is held of these numbers, in every partition, for every kind of call."""
        part = Outstanding()
        for kind, places in self._held.items():
            found = {place: held & numbers for place, held in places.items()}
            if any(found.values()):
                part._held[kind] = {place: held for place, held in found.items() if held}
        return part

    def remove(self, part: "Outstanding") -> None:
        """Forget what was found by `among`."""
        for kind, places in part._held.items():  # noqa: SLF001  # of the same class
            for place, numbers in places.items():
                # One by one: a bitmap minus another one is a walk over the whole of it.
                discard = self._held[kind][place].discard
                for number in numbers:
                    discard(number)

    def kinds(self) -> list[Kind]:
        """Every kind of call that has numbers."""
        return list(self._held)

    def of_kind(self, kind: Kind) -> BitMap64:
        """The numbers of a kind."""
        return BitMap64.union(BitMap64(), *self._held.get(kind, {}).values())

    def holders(self) -> dict[PartitionKey, BitMap64]:
        """The numbers by partition."""
        found: defaultdict[PartitionKey, BitMap64] = defaultdict(BitMap64)
        for places in self._held.values():
            for (partition, _), held in places.items():
                found[partition] |= held
        return found

    def by_day(self) -> Counter[tuple[str, date]]:
        """How many there are for each region and last day."""
        counts: Counter[tuple[str, date]] = Counter()
        for (line, _), places in self._held.items():
            for (_, last), held in places.items():
                counts[line.region, last] += len(held)
        return counts

    def __len__(self) -> int:
        return self.by_day().total()


class OutstandingWatch:
    """Says which outstanding numbers may no longer be called. `index`: the one by which all of them were judged last."""

    def __init__(self, outstanding: Outstanding, rulebook: Rulebook, keys: HashKeys = NO_KEYS) -> None:
        self.outstanding = outstanding
        self.size = BatchSize(_PART_MAX)
        self.index = Index.empty()
        self.position = -1  # of the index of the last verdict
        self._rulebook = rulebook
        self._keys = keys
        self._signs: dict[Kind, Any] = {}

    def forget(self) -> None:
        """Judge every number again at the next `due`."""
        self._signs.clear()

    def due(self, index: Index, now: datetime, *, look: bool) -> Iterator[Uncallable]:
        """The numbers that may no longer be called by this index at this moment, in parts. The caller removes each part
        from `outstanding` before it asks for the next one, and tells `size` what became of it.

        Numbers are judged again (a) if a register gained or lost them since the last index, or (b) if the plan for their
        kind says something else than before: a rule that begins, a register that became stale. (b) costs some time for
        each kind, and is done if `look`, and for kinds that were never judged.
        """
        context = BatchContext(self._rulebook, index, now, keys=self._keys)
        self.position = index.position
        # No hash tells its number: all numbers whose plan asks such a register are judged again.
        look = look or _hashes_changed(self.index, index)
        touched = (
            Outstanding() if index is self.index else self.outstanding.among(_changed(self.index, index))
        )
        signs = {
            kind: self._sign(kind, context) if look or kind not in self._signs else self._signs[kind]
            for kind in self.outstanding.kinds()
        }
        same = [kind for kind, sign in signs.items() if sign == self._signs.get(kind)]
        for part in _parts(self.outstanding, signs.keys() - same, context, self.size):
            yield part
            touched.remove(touched.among(BitMap64([*part.outcomes])))
        yield from _parts(touched, same, context, self.size)
        self._signs, self.index = signs, index

    def judge(self, leads: Plain, now: datetime) -> dict[int, Outcome]:
        """The places of those leads, just read, that may not be called by `index`, with the verdicts on them."""
        context = BatchContext(self._rulebook, self.index, now, keys=self._keys)
        for kind in leads.pairs:
            if kind not in self._signs:
                self._signs[kind] = self._sign(kind, context)
        return uncallable(leads, context)

    def _sign(self, kind: Kind, context: BatchContext) -> Any:
        """What the plans for a kind say, apart from which numbers the registers hold."""
        line, facts = kind
        regions = sorted({*context.regions_of(line.region).values()})
        return [
            _said(case.plan)
            for each in (line, *(Line.of(region, line.type) for region in regions))
            for barred in (False, True)
            for case in _with_home(context.case(each, facts, barred=barred))
        ]


def _with_home(case: Case) -> list[Case]:
    return [case] if case.home is None else [case, case.home]


def _said(plan: Plan) -> tuple[Any, ...]:
    # Areas that nobody declared are those of the register's numbers, and may change with each of its deltas.
    areas = [(r.name, r.areas, r.position if r.areas is None else 0) for r in plan.deny] if plan.areas else []
    return (
        None if plan.rule is None else plan.rule.digest,
        plan.now.date(),
        plan.precheck,
        plan.lift,
        (plan.stale_internal, plan.stale_deny, plan.stale_required, plan.stale_washes),
        [(r.name, r.position if r.hashed else 0) for r in plan.registers],
        areas,
    )


def _hashes_changed(before: Index, after: Index) -> bool:
    return any(
        _is_hashed(old, new)
        for name, new in after.registers.items()
        if (old := before.registers.get(name)) is not new
    )


def _is_hashed(old: Register | None, new: Register | None) -> bool:
    return any(each is not None and each.hashed is not None for each in (old, new))


def _changed(before: Index, after: Index) -> BitMap64:
    """The numbers that some register gained or lost, apart from registers of hashes."""
    changed = BitMap64()
    for name in {*before.registers, *after.registers}:
        old, new = before.registers.get(name), after.registers.get(name)
        if old is not new and not _is_hashed(old, new):
            held = [each.numbers for each in (old, new) if each is not None]
            changed |= held[0] if len(held) == 1 else held[0] ^ held[1]
    return changed


def _parts(
    held: Outstanding, kinds: Iterable[Kind], context: BatchContext, size: BatchSize
) -> Iterator[Uncallable]:
    """What may no longer be called of these kinds, each number once."""
    found, done = dict[int, Outcome](), BitMap64()

    def part() -> Uncallable:
        outcomes = dict(islice(found.items(), size.records))
        for number in outcomes:
            del found[number]
        numbers = BitMap64([*outcomes])
        done.update(numbers)
        return Uncallable(outcomes, held.among(numbers))

    for kind in kinds:
        numbers = as_numbers(held.of_kind(kind) - done)
        for start in range(0, len(numbers), _BLOCK):
            block = numbers[start : start + _BLOCK]
            judged = uncallable(Plain(block, np.zeros(len(block), np.int32), (kind,)), context)
            found.update(zip(block[[*judged]].tolist(), judged.values(), strict=True))
            while len(found) >= size.records:
                yield part()
    while found:
        yield part()


def uncallable(leads: Plain, context: BatchContext) -> dict[int, Outcome]:
    """The places of those that may not be called, with the verdicts on them. A register that is stale does not count: it
    is suspended as a whole, and its numbers stay outstanding."""
    judged = judge(leads, context)
    taken = [not each.allowed and not _waits(each.finding) for each in judged.outcomes]
    places = np.flatnonzero(np.array([*taken, False])[judged.ids])  # the last one is found by -1
    return {place: judged.outcomes[judged.ids[place]] for place in places.tolist()}


def _waits(finding: Finding) -> bool:
    return finding.reason is Reason.STALE_REGISTER and not finding.lasting
