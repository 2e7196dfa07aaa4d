"""Step 4 for plain prospects: all numbers of a batch judged at once, by whole-array operations.

One pass over a register's filter finds that most numbers are surely not in that register. The others are looked up
exactly. `decide` gives the finding, once for each kind of prospect and each set of registers that holds a number.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers, Register
from stream_scrub.scrub.batch_context import BatchContext, Case, Outcome
from stream_scrub.scrub.plain import Kinds, Plain

_TABLE_MAX = 65_536  # combinations of kinds and sets: up to so many, a table is cheaper than sorting
_DIGITS_MAX = 20
_FEW = 100  # numbers: for so few, an exact look-up is quicker than a filter


class Judged(NamedTuple):
    """By place: the place of its outcome in `outcomes`, -1 if the prospect is not plain. The first outcomes may be
    unused; all others occur."""

    ids: Kinds
    outcomes: list[Outcome]

    def at(self, place: int) -> Outcome | None:
        """The outcome at that place; None if the prospect is not plain."""
        found = int(self.ids[place])
        return None if found < 0 else self.outcomes[found]


def judge(plain: Plain, context: BatchContext) -> Judged:
    """The outcome of every plain prospect of a batch."""
    kinds, cases = _cases(plain, context)
    met = [case for case in cases if case is not None]
    if not met:
        return Judged(np.full(len(kinds), -1, np.int32), [])
    sets, sets_met = _held(plain.numbers, kinds, cases)
    codes = kinds.astype(np.int64) * len(sets_met) + sets  # negative where not plain
    outcomes: dict[Outcome, int] = {}

    def outcome(code: int) -> int:
        case = cases[code // len(sets_met)] if code >= 0 else None
        if case is None:
            return -1
        names = sets_met[code % len(sets_met)]
        return outcomes.setdefault(context.conclude(case, names), len(outcomes))

    size = len(cases) * len(sets_met)
    if size <= _TABLE_MAX:
        counts = np.bincount(codes[kinds >= 0], minlength=size)
        table = np.full(size + 1, -1, np.int32)  # the last one is for negative codes
        for code in np.flatnonzero(counts).tolist():
            table[code] = outcome(code)
        return Judged(table[np.where(kinds >= 0, codes, size)], list(outcomes))
    found, back = np.unique(codes, return_inverse=True)
    ids = np.array([outcome(code) for code in found.tolist()], np.int32)
    return Judged(ids[back], list(outcomes))


def _cases(plain: Plain, context: BatchContext) -> tuple[Kinds, list[Case | None]]:
    """The case of each kind that occurs. Numbers that a rule bars by their prefix become a kind of their own."""
    kinds = plain.kinds
    counts = np.bincount(kinds + 1, minlength=len(plain.pairs) + 1)[1:]
    cases: list[Case | None] = [None] * len(plain.pairs)
    some_barred: dict[tuple[str, ...], tuple[NDArray[np.bool_], set[int]]] = {}
    for kind in np.flatnonzero(counts).tolist():
        line, told = plain.pairs[kind]
        cases[kind] = context.case(line, told, barred=False)
        rule = context.rule(line.region, told.channel)
        prefixes = () if rule is None else rule.not_callable_prefixes
        if not prefixes:
            continue
        if prefixes not in some_barred:
            begins = _begin_with(plain.numbers, prefixes)
            some_barred[prefixes] = begins, set(plain.kinds[begins].tolist())
        begins, of_kinds = some_barred[prefixes]
        if kind in of_kinds:
            kinds = kinds.copy() if kinds is plain.kinds else kinds
            kinds[(plain.kinds == kind) & begins] = len(cases)
            cases.append(context.case(line, told, barred=True))
    return kinds, cases


def _begin_with(numbers: Numbers, prefixes: tuple[str, ...]) -> NDArray[np.bool_]:
    """For each number: whether its digits begin with one of these prefixes."""
    found: NDArray[np.bool_] = np.searchsorted(_edges(prefixes), numbers, "right") % 2 == 1
    return found


@lru_cache(maxsize=64)
def _edges(prefixes: tuple[str, ...]) -> Numbers:
    """Where the numbers with one of these prefixes begin and end, in turn and in order."""
    ranges = sorted(
        (int(prefix) * 10**more, (int(prefix) + 1) * 10**more)
        for prefix in prefixes
        for more in range(_DIGITS_MAX - len(prefix))
    )
    edges: list[int] = []
    for first, end in ranges:
        if edges and first <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        elif end < 2**64:
            edges += (first, end)
    return np.array(edges, np.uint64)


def _held(
    numbers: Numbers, kinds: Kinds, cases: Sequence[Case | None]
) -> tuple[NDArray[np.int64], list[frozenset[str]]]:
    """By place: which set of registers holds the number; and the sets, as names. The first set is empty."""
    sets = np.zeros(len(numbers), np.int64)
    met: dict[frozenset[str], int] = {frozenset(): 0}
    names: list[frozenset[str]] = [frozenset()]
    for register, perhaps in _asked(numbers, kinds, cases):
        if not len(perhaps):
            continue
        inside = perhaps[register.holds(numbers[perhaps])]
        before = sets[inside]
        for old in set(before.tolist()):
            wider = names[old] | {register.name}
            new = met.setdefault(wider, len(met))
            if new == len(names):
                names.append(wider)
            sets[inside[before == old]] = new
    return sets, names


def _asked(
    numbers: Numbers, kinds: Kinds, cases: Sequence[Case | None]
) -> Iterator[tuple[Register, NDArray[np.int64]]]:
    """Every register that a case asks, and the places of the numbers that may be in it.

    An unscoped register is asked for every number at once. A scoped one is asked only for the numbers of the kinds
    that need it: there may be thousands of scoped registers, each for the few prospects of its campaign.
    """
    asking: dict[Register, list[int]] = {}
    for kind, case in enumerate(cases):
        for register in () if case is None else case.registers:
            asking.setdefault(register, []).append(kind)
    if len(numbers) <= _FEW:
        every = np.arange(len(numbers))
        for register, of_kinds in asking.items():
            yield register, np.flatnonzero(np.isin(kinds, of_kinds)) if register.scope else every
        return
    order = np.argsort(kinds, kind="stable")
    ends = np.searchsorted(kinds[order], np.arange(len(cases) + 1)).tolist()
    for register, of_kinds in asking.items():
        if not register.scope:
            yield register, np.flatnonzero(register.filter.perhaps(numbers))
            continue
        places = np.concatenate([order[ends[kind] : ends[kind + 1]] for kind in of_kinds])
        if len(places) > _FEW:
            places = places[register.filter.perhaps(numbers[places])]
        yield register, places
