"""The verdict on each row, by the plans, look-ups and stamps of every batch on the stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.files.rows.cells import CellColumn
from stream_scrub.index import Index
from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import Line
from stream_scrub.rules import VOICE
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.batch_context import BatchContext, Outcome
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import judge
from stream_scrub.scrub.facts import Facts
from stream_scrub.scrub.plain import Plain
from stream_scrub.scrub.stamp import Entry, several

_BLANK, _INVALID = 0, 1  # places in `RowJudge.outcomes` that no number has
_COMBINED_MAX = 1 << 62
_CASES_BYTES = 32 << 20  # what the facts may take whose cases are remembered
_FACTS_BYTES = 500
_TABLE = 65_536  # combinations of outcomes: up to so many, a table is cheaper than sorting

Ids = NDArray[np.int64]
_Key = tuple[Finding, date | None, str, str]


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What follows for a row: the reason, the last day of the verdict, and which of its numbers may be called (places
    among the number columns). `numbers` are the outcomes of its numbers, by column; None for a blank cell."""

    reason: Reason
    until: date | None
    callable: tuple[int, ...]
    numbers: tuple[Outcome | None, ...]

    @property
    def allowed(self) -> bool:
        """Whether the row may be called."""
        return self.reason.verdict is Verdict.ALLOWED


class JudgedRows(NamedTuple):
    """By row: the place of its outcome in `outcomes`."""

    ids: Ids
    outcomes: Sequence[RowOutcome]


def _key(outcome: Outcome) -> _Key:
    """What two outcomes of one run may differ in that a row shows."""
    return outcome.finding, outcome.until, outcome.rules, outcome.residence


class _Until(msgspec.Struct):
    until: date | None = None


class RowJudge:
    """Judges rows by one index at one moment. `facts` are what the rows say, as `Facts` by their place."""

    def __init__(self, scrubber: Scrubber, index: Index, moment: datetime) -> None:
        self._new_context = partial(BatchContext, scrubber.rulebook, index, moment)
        self._context = self._new_context()
        self._weight = 0
        self._strip = scrubber.terms.mixed == "strip"
        no_number = self._context.outcome(Finding(Reason.INVALID_NUMBER))
        self._known: dict[_Key, int] = {_key(no_number): _INVALID}
        self._outcomes: list[Outcome | None] = [None, no_number]
        self.rows: list[RowOutcome] = []
        self._combined: dict[tuple[int, ...], int] = {}

    def judge(
        self,
        columns: Sequence[CellColumn],
        lines: Sequence[Line],
        facts: Sequence[Facts],
        told: NDArray[np.int32] | None,
    ) -> JudgedRows:
        """The outcome of each row. `told` has the place of each row's facts, None for the first for all."""
        self._forget(facts)
        ids = [self._column(column, lines, facts, told) for column in columns]
        combined = np.zeros(len(ids[0]), np.int64)
        for each in ids:
            combined = combined * len(self._outcomes) + each
        if len(self._outcomes) ** len(ids) > _COMBINED_MAX:
            return self._by_row(ids)
        size = len(self._outcomes) ** len(ids)
        if size <= _TABLE:
            table = np.zeros(size, np.int64)
            for code in np.flatnonzero(np.bincount(combined, minlength=size)).tolist():
                table[code] = self._coded(code, len(ids))
            return JudgedRows(table[combined], self.rows)
        found, back = np.unique(combined, return_inverse=True)
        places = [self._coded(code, len(ids)) for code in found.tolist()]
        return JudgedRows(np.array(places, np.int64)[back], self.rows)

    def _forget(self, facts: Sequence[Facts]) -> None:
        """Forget the cases that were met, before they take much memory: each row may say something else."""
        self._weight += sum(_FACTS_BYTES + sum(map(len, (*each.purposes, *each.campaigns))) for each in facts)
        if self._weight > _CASES_BYTES:
            self._weight, self._context = 0, self._new_context()

    def _coded(self, code: int, columns: int) -> int:
        """The row outcome for a code: the places of the numbers' outcomes, as digits."""
        key: list[int] = []
        for _ in range(columns):
            code, place = divmod(code, len(self._outcomes))
            key.append(place)
        return self._row(tuple(reversed(key)))

    def _by_row(self, ids: Sequence[Ids]) -> JudgedRows:
        keys = zip(*(each.tolist() for each in ids), strict=True)
        return JudgedRows(np.array([self._row(key) for key in keys], np.int64), self.rows)

    def _column(
        self,
        column: CellColumn,
        lines: Sequence[Line],
        facts: Sequence[Facts],
        told: NDArray[np.int32] | None,
    ) -> Ids:
        """The outcome of each cell, as its place in `_outcomes`."""
        kinds, pairs = column.places, [(line, facts[0]) for line in lines]
        if told is not None:  # of all that could be, those that occur
            codes = np.where(kinds < 0, -1, kinds + told.astype(np.int64) * len(lines))
            met, back = np.unique(np.append(codes, -1), return_inverse=True)  # -1 is the first of them
            kinds = (back[:-1] - 1).astype(np.int32)
            pairs = [(lines[code % len(lines)], facts[code // len(lines)]) for code in met[1:].tolist()]
        judged = judge(Plain(column.numbers, kinds, pairs), self._context)
        places = [self._place(outcome) for outcome in judged.outcomes]
        ids = np.array([*places, _INVALID], np.int64)[judged.ids]  # the last one is found by -1
        ids[column.blank] = _BLANK
        return ids

    def _place(self, outcome: Outcome) -> int:
        place = self._known.setdefault(_key(outcome), len(self._outcomes))
        if place == len(self._outcomes):
            self._outcomes.append(outcome)
        return place

    def _row(self, key: tuple[int, ...]) -> int:
        place = self._combined.get(key)
        if place is None:
            place = self._combined[key] = len(self.rows)
            self.rows.append(self._concluded(tuple(self._outcomes[each] for each in key)))
        return place

    def _concluded(self, numbers: tuple[Outcome | None, ...]) -> RowOutcome:
        """The outcome of a row with these numbers, as a prospect with them has it: blank cells are no numbers."""
        filled = [outcome for outcome in numbers if outcome is not None]
        if not filled:
            return RowOutcome(Reason.INVALID_NUMBER, None, (), numbers)
        reason, until = filled[0].reason, filled[0].until
        if len(filled) > 1:
            entries = [Entry(each.finding, None, each.rules, each.until, each.residence) for each in filled]
            reason, made = several(entries, self._strip, VOICE, self._context.evidence)
            until = msgspec.json.decode(made, type=_Until).until
        if reason.verdict is not Verdict.ALLOWED:
            return RowOutcome(reason, None, (), numbers)
        usable = tuple(place for place, each in enumerate(numbers) if each is not None and each.allowed)
        return RowOutcome(reason, until, usable, numbers)
