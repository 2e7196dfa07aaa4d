"""Step 4 for plain prospects: all numbers of a batch judged at once, by whole-array operations.

A filter pass a register says for most numbers that they are surely not in it; what it lets through is looked up
exactly, all in one intersection. The thinking is that of `decide`, done once for each kind of prospect and each set of
registers that holds its number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers, Register
from stream_scrub.scrub.cases import Bench, Case, Outcome
from stream_scrub.scrub.plain import Kinds, Plain

_TABLE_MAX = 65_536  # combinations of kinds and sets, up to which a table is cheaper than sorting
_DIGITS_MAX = 20


class Judged(NamedTuple):
    """By place: which of `outcomes` it is, -1 where the prospect is not plain. All outcomes occur, but the first few
    may not."""

    ids: Kinds
    outcomes: list[Outcome]

    def at(self, place: int) -> Outcome | None:
        """The outcome there; None where the prospect is not plain."""
        found = int(self.ids[place])
        return None if found < 0 else self.outcomes[found]


def judge(plain: Plain, bench: Bench) -> Judged:
    """The outcome of every plain prospect of a batch."""
    kinds, cases = _cases(plain, bench)
    met = [case for case in cases if case is not None]
    if not met:
        return Judged(np.full(len(kinds), -1, np.int32), [])
    registers = list({register for case in met for register in case.plan.registers})
    sets, sets_met = _held(plain.numbers, registers)
    codes = kinds.astype(np.int64) * len(sets_met) + sets  # negative where not plain
    outcomes: dict[Outcome, int] = {}

    def outcome(code: int) -> int:
        case = cases[code // len(sets_met)] if code >= 0 else None
        if case is None:
            return -1
        names = sets_met[code % len(sets_met)]
        return outcomes.setdefault(bench.conclude(case, names), len(outcomes))

    size = len(cases) * len(sets_met)
    if size <= _TABLE_MAX:
        counts = np.bincount(codes[kinds >= 0], minlength=size)
        table = np.full(size + 1, -1, np.int32)  # its last one is what the negative codes are given
        for code in np.flatnonzero(counts).tolist():
            table[code] = outcome(code)
        return Judged(table[np.where(kinds >= 0, codes, size)], list(outcomes))
    found, back = np.unique(codes, return_inverse=True)
    ids = np.array([outcome(code) for code in found.tolist()], np.int32)
    return Judged(ids[back], list(outcomes))


def _cases(plain: Plain, bench: Bench) -> tuple[Kinds, list[Case | None]]:
    """The case of each kind that occurs. Where a rule bars some numbers by their prefix, these are a kind of their own."""
    kinds = plain.kinds
    counts = np.bincount(kinds + 1, minlength=len(plain.pairs) + 1)[1:]
    cases: list[Case | None] = [None] * len(plain.pairs)
    for kind in np.flatnonzero(counts).tolist():
        line, told = plain.pairs[kind]
        cases[kind] = bench.case(line, told, barred=False)
        rule = bench.rule(line.region)
        if rule is not None and rule.not_callable_prefixes:
            of_it = np.flatnonzero(kinds == kind)
            barred = of_it[_begin_with(plain.numbers[of_it], rule.not_callable_prefixes)]
            if len(barred):
                kinds = kinds.copy() if kinds is plain.kinds else kinds
                kinds[barred] = len(cases)
                cases.append(bench.case(line, told, barred=True))
    return kinds, cases


def _begin_with(numbers: Numbers, prefixes: Sequence[str]) -> NDArray[np.bool_]:
    """Which numbers' digits begin with one of these."""
    found = np.zeros(len(numbers), np.bool_)
    for prefix in prefixes:
        for more in range(_DIGITS_MAX - len(prefix)):
            first, end = int(prefix) * 10**more, (int(prefix) + 1) * 10**more
            if end <= 2**64:
                found |= (numbers >= np.uint64(first)) & (numbers <= np.uint64(end - 1))
    return found


def _held(numbers: Numbers, registers: Sequence[Register]) -> tuple[NDArray[np.int64], list[frozenset[str]]]:
    """By place, which of the sets of registers' names holds the number. The first set is the empty one."""
    sets = np.zeros(len(numbers), np.int64)
    met: dict[frozenset[str], int] = {frozenset(): 0}
    names: list[frozenset[str]] = [frozenset()]
    for register in registers:
        perhaps = np.flatnonzero(register.filter.perhaps(numbers))
        if not len(perhaps):
            continue
        inside = perhaps[register.holds(numbers[perhaps])]
        before = sets[inside]
        for old in np.flatnonzero(np.bincount(before)).tolist():
            wider = names[old] | {register.name}
            new = met.setdefault(wider, len(met))
            if new == len(names):
                names.append(wider)
            sets[inside[before == old]] = new
    return sets, names
