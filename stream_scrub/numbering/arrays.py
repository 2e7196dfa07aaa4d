"""Whole arrays of numbers at once, by the same tables in which single numbers are looked up.

This is for lists of millions of lines. What the tables do not settle is marked ASK, and goes to `normalise` or
`line_of` one by one. So the answers are those of these two, only faster.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering.library import CALLING_CODE_DIGITS_MAX
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.row_cache import DIGITS_MIN, LineOf, _dials_00
from stream_scrub.numbering.tables import (
    ASK,
    FIRST_LINE,
    LEADING,
    NONE,
    PREFIX_DIGITS_MAX,
    REGIONS,
    UNKNOWN,
    Row,
    Tables,
)

Numbers: TypeAlias = NDArray[np.uint64]
States: TypeAlias = NDArray[np.uint8]
Codes: TypeAlias = NDArray[np.uint16]

VALID: Final = 2  # of States; NONE and ASK are the tables' own
DIGITS_MAX: Final = 17  # ITU-T E.164's 15 after 00; longer strings are ASK
_SIZE_MAX: Final = (
    10**19
)  # the largest power of ten in 64 bits, above any such string, so that the quotient is 0
_LEARNING: Final = threading.Lock()  # one thread at a time finds and fills a row's place; readers never wait
_POWERS: Final = np.array([10**digits for digits in range(DIGITS_MIN, DIGITS_MAX + 1)], np.uint64)


class Answers(NamedTuple):
    """For each string: NONE (no valid number), VALID, or ASK; and the number, meaningful where it is VALID."""

    numbers: Numbers
    states: States


@dataclass(slots=True)
class _Rows:
    """The rows of digit strings of one length, by their first digits, as arrays. A row is learnt when it is first
    met."""

    divisor: int
    keys: int
    size: Numbers = field(init=False)
    base: NDArray[np.int64] = field(init=False)  # where a row's cells begin, minus `first` of the row
    shift: Numbers = field(init=False)  # modulo 2**64, like the addition
    known: NDArray[np.bool_] = field(init=False)
    cells: NDArray[Any] = field(init=False)  # what `_meaning` makes of the tables' cells
    _places: dict[tuple[int, int], tuple[Row, int]] = field(
        init=False
    )  # by identity: the rows are held, so that their ids stay theirs

    def __post_init__(self) -> None:
        self.size = np.full(self.keys, _SIZE_MAX, np.uint64)
        self.base = np.zeros(self.keys, np.int64)
        self.shift = np.zeros(self.keys, np.uint64)
        self.known = np.zeros(self.keys, bool)
        self.cells = self._meaning(UNKNOWN)
        self._places = {}

    def learn(self, key: int, row: Row | None) -> None:
        """Note a row for a key, or None if there are no tables: every string then gets the first cell, ASK."""
        if row is not None:
            at = self._place(row)
            self.size[key] = min(row.size, _SIZE_MAX)
            self.base[key] = at - row.first
            self.shift[key] = row.shift % 2**64
        self.known[key] = True

    def _place(self, row: Row) -> int:
        key = (id(row.cells), id(row.lines))
        if key not in self._places:
            self._places[key] = row, len(self.cells)
            self.cells = np.concatenate((self.cells, self._meaning(row)))
        return self._places[key][1]

    def _meaning(self, row: Row) -> NDArray[Any]:
        """What is kept of a row's cells: NONE, ASK, or VALID for any line."""
        return np.minimum(np.frombuffer(row.cells, np.uint8), VALID)

    def look_up(self, values: Numbers, find: Callable[[int], Row | None]) -> Answers:
        """The answers for strings of this length. `find` gives the row of a value whose first digits were not met
        before."""
        keys = (values // np.uint64(self.divisor)).astype(np.int64)
        if not (known := self.known[keys]).all():
            new, examples = np.unique(keys[~known], return_index=True)
            with _LEARNING:
                for key, value in zip(new.tolist(), values[~known][examples].tolist(), strict=True):
                    self.learn(key, find(value))
        cells = (values // self.size[keys]).astype(np.int64) + self.base[keys]
        return Answers(values + self.shift[keys], self.cells[cells])


@dataclass(slots=True)
class _LineRows(_Rows):
    """Rows that keep the line of each cell, as its place in `lines`, counted from FIRST_LINE."""

    lines: list[Line] = field(default_factory=list)

    def _meaning(self, row: Row) -> Codes:
        places = [NONE, ASK]
        for line in row.lines[FIRST_LINE:]:
            if line not in self.lines:
                self.lines.append(line)  # type: ignore[arg-type]  # from FIRST_LINE on there are lines
            places.append(FIRST_LINE + self.lines.index(line))  # type: ignore[arg-type]
        return np.array(places, np.uint16)[np.frombuffer(row.cells, np.uint8)]


class Many:
    """The tables for arrays. Threads may share one: a learnt row is only ever replaced by its equal."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lines: list[Line] = []  # those met so far; only ever longer
        self._of_lines: dict[int, _Rows] = {}
        self._typed: dict[tuple[str, int], _Rows] = {}
        self._after_plus: dict[int, _Rows] = {}
        self._significant: dict[int, _Rows] = {}

    def typed(self, values: Numbers, length: int, region: str) -> Answers:
        """Strings of `length` digits, given as integers, as typed in `region` without a plus."""
        if not self._tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX or region not in REGIONS:
            return _unsettled(values)
        lead = min(PREFIX_DIGITS_MAX, length)
        rows = self._typed.setdefault((region, length), _Rows(10 ** (length - lead), 10**lead))

        def find(value: int) -> Row | None:
            return _row(self._tables.national(region, f"{value:0{length}d}"))

        answers = rows.look_up(values, find)
        abroad = values // np.uint64(10 ** (length - 3))
        dialled = (answers.states == ASK) & (abroad > 0) & (abroad < 10)  # 00 and then another digit
        if dialled.any() and _dials_00(region):
            behind = self.after_plus(values[dialled], length - 2)
            answers.numbers[dialled], answers.states[dialled] = behind
        return answers

    def after_plus(self, values: Numbers, length: int) -> Answers:
        """Strings of `length` digits, given as integers, that follow a plus."""
        if not self._tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX:
            return _unsettled(values)
        lead = min(LEADING, length)
        rows = self._after_plus.setdefault(length, _Rows(10 ** (length - lead), 10**lead))
        return rows.look_up(values, lambda value: _row(self._tables.international(f"{value:0{length}d}")))

    def states(self, numbers: Numbers) -> States:
        """Whether each number (the integer of its E.164 digits) is valid: NONE, VALID, or ASK."""
        states = np.full(len(numbers), ASK, np.uint8)
        self._look_up_significant(numbers, states, self._significant, _Rows)
        return states

    def lines(self, numbers: Numbers) -> tuple[Codes, Sequence[Line]]:
        """The line of each number (the integer of its E.164 digits), as a code: NONE, ASK, or FIRST_LINE plus the
        place of its line in the second result, which may hold other lines too."""
        codes = np.full(len(numbers), ASK, np.uint16)
        self._look_up_significant(
            numbers, codes, self._of_lines, lambda divisor, keys: _LineRows(divisor, keys, self._lines)
        )
        return codes, self._lines

    def _look_up_significant(
        self,
        numbers: Numbers,
        into: NDArray[Any],
        known: dict[int, _Rows],
        new: Callable[[int, int], _Rows],
    ) -> None:
        """Look up each number in the rows in `known`, and write the answer to the number's place in `into`. Where the
        tables have no answer, `into` stays as it is."""
        if not self._tables.in_use:
            return
        lead = CALLING_CODE_DIGITS_MAX
        lengths = digits_of(numbers)
        for length in _distinct(lengths):
            if DIGITS_MIN < length <= DIGITS_MAX:
                chosen = lengths == length
                rows = known.setdefault(length, new(10 ** (length - lead), 10**lead))
                found = rows.look_up(
                    numbers[chosen], lambda number: _row(self._tables.significant(str(number)))
                )
                into[chosen] = found.states


def digits_of(numbers: Numbers) -> NDArray[np.int64]:
    """How many digits each number has. DIGITS_MIN means so many or fewer, DIGITS_MAX + 1 means more than
    DIGITS_MAX."""
    return np.searchsorted(_POWERS, numbers, side="right") + DIGITS_MIN


def validator(many: Many, line_of: LineOf) -> Callable[[Numbers], NDArray[np.bool_]]:
    """The function that tells for many numbers at once whether `line_of` gives them a line."""

    def valid_many(numbers: Numbers) -> NDArray[np.bool_]:
        """For each number (the integer of its E.164 digits), whether `line_of` gives it a line. Never raises."""
        states = many.states(numbers)
        valid: NDArray[np.bool_] = states == VALID
        for place in np.flatnonzero(states == ASK).tolist():
            valid[place] = line_of(int(numbers[place])) is not None
        return valid

    return valid_many


def _row(found: tuple[int, Row] | None) -> Row | None:
    return None if found is None else found[1]


def _unsettled(values: Numbers) -> Answers:
    return Answers(values, np.full(len(values), ASK, np.uint8))


def _distinct(lengths: NDArray[np.int64]) -> Iterable[int]:
    counts = np.bincount(lengths)
    return [int(length) for length in np.flatnonzero(counts)]
