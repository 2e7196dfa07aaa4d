"""What is counted while a file is scrubbed: rows by outcome, numbers by line, lines that deserve a look."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from stream_scrub.files.results.summary import LineCount, StaleCount
from stream_scrub.files.rows.cells import CellColumn
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.judging import JudgedRows, RowOutcome
from stream_scrub.index import Index
from stream_scrub.model import Reason
from stream_scrub.numbering import Line
from stream_scrub.rules import earliest

LINES_TOLD = 100


class Tally:
    """The counts of one run. `take` is called once a block of rows."""

    def __init__(self, duplicates: Duplicates) -> None:
        self.rows = 0
        self.uneven = 0
        self.destroyed = 0
        self.invalid_lines: list[int] = []
        self.unclosed_lines: list[int] = []
        self.duplicates = duplicates
        self._outcomes: Sequence[RowOutcome] = ()
        self._of_outcome = np.zeros(0, np.int64)
        self._numbers: Counter[tuple[int, bool]] = Counter()
        self._lines: Sequence[Line] = ()

    def take(self, judged: JudgedRows, columns: Sequence[CellColumn], lines: Sequence[Line]) -> None:
        """Count a block of rows; `lines` are those that are known so far."""
        ids, self._outcomes = judged
        self._lines = lines
        self.rows += len(ids)
        counted = np.bincount(ids, minlength=len(self._outcomes))
        counted[: len(self._of_outcome)] += self._of_outcome
        self._of_outcome = counted
        allowed = allowed_of(judged)
        for column in columns:
            self.destroyed += int(column.destroyed.sum())
            codes = np.bincount((column.places + 1) * 2 + allowed, minlength=len(lines) * 2 + 2)[2:]
            for code in np.flatnonzero(codes).tolist():
                self._numbers[code >> 1, bool(code & 1)] += int(codes[code])
            self.duplicates.add(column.numbers)

    def bad_rows(self, judged: JudgedRows) -> NDArray[np.int64]:
        """The first rows of a block whose lines are still to be told, because they hold no readable number."""
        if len(self.invalid_lines) >= LINES_TOLD:
            return np.empty(0, np.int64)
        bad = np.array([outcome.reason is Reason.INVALID_NUMBER for outcome in judged.outcomes], np.bool_)
        return np.flatnonzero(bad[judged.ids])[: LINES_TOLD - len(self.invalid_lines)]

    def _each(self) -> Iterator[tuple[RowOutcome, int]]:
        for outcome, count in zip(self._outcomes, self._of_outcome.tolist(), strict=True):
            if count:
                yield outcome, count

    @property
    def allowed(self) -> int:
        """How many rows may be called."""
        return sum(count for outcome, count in self._each() if outcome.allowed)

    def reasons(self) -> dict[str, int]:
        """The rows by reason, in the order of `Reason`."""
        counts: Counter[Reason] = Counter()
        for outcome, count in self._each():
            counts[outcome.reason] += count
        return {str(reason): counts[reason] for reason in Reason if counts[reason]}

    def lines(self) -> list[LineCount]:
        """The numbers by region and type of line, the most frequent first."""
        return line_counts(
            {(self._lines[place], may): count for (place, may), count in self._numbers.items()}
        )

    def stale(self, index: Index) -> list[StaleCount]:
        """The registers that block rows because they are missing or too old."""
        counts: Counter[str] = Counter()
        for outcome, count in self._each():
            if outcome.reason is Reason.STALE_REGISTER:
                each = [number.finding for number in outcome.numbers if number is not None]
                stale = [finding for finding in each if finding.reason is Reason.STALE_REGISTER]
                counts.update(dict.fromkeys({name for finding in stale for name in finding.registers}, count))
        return stale_counts(counts, index)

    def until(self) -> date | None:
        """The last day on which every allowed row may still be called."""
        return earliest(outcome.until for outcome, _ in self._each() if outcome.allowed)

    def digests(self) -> list[str]:
        """The rules that decided, by their digests."""
        numbers = (number for outcome, _ in self._each() for number in outcome.numbers if number is not None)
        return sorted({number.rules for number in numbers if number.rules})


def line_counts(numbers: Mapping[tuple[Line, bool], int]) -> list[LineCount]:
    """Numbers by their line and by whether their row is allowed, as counts by region and type, the most frequent
    first."""
    found: Counter[tuple[str, str]] = Counter()
    allowed: Counter[tuple[str, str]] = Counter()
    for (line, may), count in numbers.items():
        found[line.region, line.type] += count
        allowed[line.region, line.type] += count if may else 0
    return [
        LineCount(
            region=region, type=type_, allowed=allowed[region, type_], blocked=count - allowed[region, type_]
        )
        for (region, type_), count in sorted(found.items(), key=lambda each: (-each[1], each[0]))
    ]


def stale_counts(rows: Mapping[str, int], index: Index) -> list[StaleCount]:
    """Rows by the register that blocks them, the most first."""
    return [
        StaleCount(register=name, rows=count, missing=name not in index.registers)
        for name, count in sorted(rows.items(), key=lambda each: (-each[1], each[0]))
    ]


def allowed_of(judged: JudgedRows) -> NDArray[np.bool_]:
    """Whether each row may be called."""
    return np.array([outcome.allowed for outcome in judged.outcomes], np.bool_)[judged.ids]
