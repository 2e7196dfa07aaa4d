"""The verdict on each row, by the plans, look-ups and stamps of every batch on the stream, and what is counted on
the way: shared by every kind of file."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import IO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scrub.config import Settings
from stream_scrub.files.added import call_cells, number_cell
from stream_scrub.files.cells import (
    CellColumn,
    CellReader,
    Distinct,
    FactsReader,
    Mask,
    Places,
    combinations,
)
from stream_scrub.files.options import REGION, FileOptions
from stream_scrub.files.outputs import Sink
from stream_scrub.files.summary import LineCount, StaleCount, Windows
from stream_scrub.index import Index, Register
from stream_scrub.index.index import ByName
from stream_scrub.model import Reason, Verdict, family
from stream_scrub.numbering import AssumedRegion, Line, is_blank, region_named
from stream_scrub.rules import earliest
from stream_scrub.scrub.backend import Plain
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import judge
from stream_scrub.scrub.facts import Facts
from stream_scrub.scrub.hours import Clocks, call_hours, joined
from stream_scrub.scrub.stamp import Outcome, conclude
from stream_scrub.stamp import CallHours, NumberStamp, Stamp

_BLANK, _INVALID = 0, 1  # places in `RowJudge.outcomes` that no number has
_CASES_BYTES = 32 << 20  # what the facts may take whose cases are remembered
_FACTS_BYTES = 500
_TOGETHER = 1 << 19  # numbers that are spilt at once: 4 MiB
_PARTS_BITS = 6
# 2**64 divided by the golden ratio: neighbours land in different parts, and no two numbers become one.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_EDGES = np.arange(1 << _PARTS_BITS, dtype=np.uint64) << np.uint64(64 - _PARTS_BITS)
_BYTES = 8
LINES_TOLD = 100
# Why a number may not be called although nobody opposed.
LACKING = frozenset({Reason.NO_CONSENT, Reason.NOT_WASHED, Reason.NOT_CALLABLE, Reason.INVALID_NUMBER})
REMEMBERED = 10_000  # spellings of regions
_REGION_SIGNS = 16  # of a spelling that is remembered
# Where a spreadsheet may take what follows for a formula: at a cell's beginning, and behind a sign at which the spreadsheets
# of some countries cut cells.
_FORMULA = re.compile("(?<![^;|\t\r\n])(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")

Ids = NDArray[np.int64]
_Key = tuple[Finding, date | None, str, str, Clocks]


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What follows for a row: the reason, the last day of the verdict, and which of its numbers may be called (places
    among the number columns). `numbers` are the outcomes of its numbers, by column; None for a blank cell. `hours`: as on
    its stamp; None at any hour, or not at all. `call` are the two cells of it."""

    reason: Reason
    until: date | None
    callable: tuple[int, ...]
    numbers: tuple[Outcome | None, ...]
    hours: CallHours | None = None
    call: tuple[str, str] = ("", "")

    @property
    def allowed(self) -> bool:
        """Whether the row may be called."""
        return self.reason.verdict is Verdict.ALLOWED

    def cells(self, numbers: Sequence[str]) -> tuple[str, ...]:
        """Our cells for a row. `numbers`: those that may be called."""
        until = "" if self.until is None else self.until.isoformat()
        return str(self.reason.verdict), str(self.reason), number_cell(numbers), until, *self.call


class JudgedRows(NamedTuple):
    """By row: the place of its outcome in `outcomes`."""

    ids: Ids
    outcomes: Sequence[RowOutcome]


def _key(outcome: Outcome) -> _Key:
    """What two outcomes of one run may differ in that a row shows."""
    return outcome.finding, outcome.until, outcome.rules, outcome.residence, outcome.clocks


class RowJudge:
    """Judges rows by one index at one moment. `on_day`: the user named its day. `facts` are what the rows say, as `Facts` by their
    place."""

    def __init__(self, scrubber: Scrubber, index: Index, moment: datetime, *, on_day: bool = False) -> None:
        self._new_context = partial(scrubber.context, index, moment)
        self._context = self._new_context()
        self._now, self._on_day = moment, on_day
        self._weight = 0
        self._strip = scrubber.terms.mixed == "strip"
        no_number = self._context.outcome(Finding(Reason.INVALID_NUMBER))
        self._known: dict[_Key, int] = {_key(no_number): _INVALID}
        self._outcomes: list[Outcome | None] = [None, no_number]
        self.rows: list[RowOutcome] = []
        self._combined: dict[tuple[int, ...], int] = {}
        self._by_reason: dict[
            Reason, int
        ] = {}  # of rows blocked without a look at their numbers: places in `rows`

    def judge(
        self,
        columns: Sequence[CellColumn],
        lines: Sequence[Line],
        facts: Sequence[Facts],
        facts_at: NDArray[np.int32] | None,
    ) -> JudgedRows:
        """The outcome of each row. `facts_at` has the place of each row's facts, None for the first for all."""
        self._forget(facts)
        ids = [self._column(column, lines, facts, facts_at) for column in columns]
        first, back = combinations(ids)
        places = [self._row(tuple(int(column[row]) for column in ids)) for row in first.tolist()]
        return JudgedRows(np.array(places, np.int64)[back], self.rows)

    def without(self, judged: JudgedRows, blocked: Mask, reason: Reason, columns: int) -> JudgedRows:
        """The same with these rows, of so many number columns, blocked for this reason."""
        if reason not in self._by_reason:
            self._by_reason[reason] = len(self.rows)
            self.rows.append(RowOutcome(reason, None, (), (None,) * columns))
        return JudgedRows(np.where(blocked, self._by_reason[reason], judged.ids), self.rows)

    def _forget(self, facts: Sequence[Facts]) -> None:
        """Forget the cases that were met, before they take much memory: each row may say something else."""
        self._weight += sum(_FACTS_BYTES + sum(map(len, (*each.purposes, *each.campaigns))) for each in facts)
        if self._weight > _CASES_BYTES:
            self._weight, self._context = 0, self._new_context()

    def _column(
        self,
        column: CellColumn,
        lines: Sequence[Line],
        facts: Sequence[Facts],
        facts_at: NDArray[np.int32] | None,
    ) -> Ids:
        """The outcome of each cell, as its place in `_outcomes`."""
        kinds, pairs = column.places, [(line, facts[0]) for line in lines]
        if facts_at is not None:  # of all that could be, those that occur
            codes = np.where(kinds < 0, -1, kinds + facts_at.astype(np.int64) * len(lines))
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
            reason, until = conclude(filled, self._strip)
        if reason.verdict is not Verdict.ALLOWED:
            return RowOutcome(reason, None, (), numbers)
        usable = tuple(place for place, each in enumerate(numbers) if each is not None and each.allowed)
        clocks = joined(each.clocks for each in filled)
        hours = call_hours(clocks, self._now, until) if clocks else None
        return RowOutcome(
            reason, until, usable, numbers, hours, call_cells(hours, self._now, whole_day=self._on_day)
        )


class Duplicates:
    """Counts repeated numbers. `scratch` is an empty file of ours, which holds eight bytes a number until the run ends.

    Each spill is sorted by a spread of the number, so that a part of all numbers is one stretch of each spill."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._held: list[NDArray[np.uint64]] = []
        self._waiting = 0
        self._spilt = 0
        self._bounds: list[
            list[int]
        ] = []  # of each spill: where its parts begin in the file, and where it ends

    def add(self, numbers: NDArray[np.uint64]) -> None:
        """Add numbers; 0 is none. Raises OSError."""
        found = numbers[numbers > 0]
        self._held.append(found)
        self._waiting += len(found)
        if self._waiting > _TOGETHER:
            self._spill()

    def _spill(self) -> None:
        spread = np.concatenate(self._held) * _SPREAD
        spread.sort()
        begins = self._spilt + np.searchsorted(spread, _EDGES)
        self._spilt += len(spread)
        self._bounds.append([*begins.tolist(), self._spilt])
        self._scratch.write(spread.tobytes())
        self._held, self._waiting = [], 0

    def count(self) -> int:
        """How many of all numbers were there before. Raises OSError."""
        if self._held:
            self._spill()
        return sum(map(self._of_part, range(len(_EDGES)))) if self._spilt else 0

    def _of_part(self, part: int) -> int:
        """The repeated numbers among those of one part."""
        chosen = []
        for bounds in self._bounds:
            self._scratch.seek(bounds[part] * _BYTES)
            chosen.append(
                np.frombuffer(self._scratch.read((bounds[part + 1] - bounds[part]) * _BYTES), np.uint64)
            )
        ordered = np.sort(np.concatenate(chosen))  # np.unique takes twenty times as long
        return int((ordered[1:] == ordered[:-1]).sum())


class Counts:
    """The counts of one run, whatever the kind of file."""

    def __init__(self, duplicates: Duplicates) -> None:
        self.rows = 0
        self.allowed = 0
        self.uneven = 0
        self.destroyed = 0
        # Rows that are blocked for want of something by one number, while another may be called.
        self.partly = 0
        self.invalid_lines: list[int] = []
        self.unreadable_lines: list[int] = []
        self.duplicates = duplicates
        self.assumed: list[AssumedRegion] = []  # by number column
        self.reasons: Counter[Reason] = Counter()
        self.stale: Counter[str] = Counter()  # rows by the register that blocks them
        self.lines: Counter[tuple[Line, bool]] = Counter()  # numbers, also by whether their row is allowed
        self.rules: set[str] = set()
        self.purposes: set[str] = set()  # as rows state them; only the first `REMEMBERED`
        self.windows: Counter[Windows] = Counter()  # allowed rows by when they may be called
        self.until: date | None = None  # the last day on which every allowed row may still be called

    def finish(self) -> None:
        """All rows are counted; called once."""

    @property
    def line_counts(self) -> list[LineCount]:
        """The numbers by region and type of line, the most frequent first."""
        types: dict[tuple[str, str], list[int]] = {}
        for (line, may), count in self.lines.items():
            types.setdefault((line.region, line.type), [0, 0])[not may] += count
        by_count = sorted(types.items(), key=lambda each: (-sum(each[1]), each[0]))
        return [LineCount(region=r, type=t, allowed=yes, blocked=no) for (r, t), (yes, no) in by_count]

    def stale_counts(self, index: Index) -> list[StaleCount]:
        """The rows by the register that blocks them, the most frequent first."""
        by_rows = sorted(self.stale.items(), key=lambda each: (-each[1], each[0]))
        return [StaleCount(register=name, rows=n, missing=name not in index.registers) for name, n in by_rows]


class Tally(Counts):
    """The counts of rows of cells. `take` is called once a block of rows."""

    def __init__(self, duplicates: Duplicates) -> None:
        super().__init__(duplicates)
        self._outcomes: Sequence[RowOutcome] = ()
        self._of_outcome = np.zeros(0, np.int64)

    def take(self, judged: JudgedRows, columns: Sequence[CellColumn], lines: Sequence[Line]) -> None:
        """Count a block of rows; `lines` are those that are known so far."""
        ids, self._outcomes = judged
        self.rows += len(ids)
        counted = np.bincount(ids, minlength=len(self._outcomes))
        counted[: len(self._of_outcome)] += self._of_outcome
        self._of_outcome = counted
        allowed = allowed_of(judged)
        for column in columns:
            self.destroyed += int(column.destroyed.sum())
            codes = np.bincount((column.places + 1) * 2 + allowed, minlength=len(lines) * 2 + 2)[2:]
            for code in np.flatnonzero(codes).tolist():
                self.lines[lines[code >> 1], bool(code & 1)] += int(codes[code])
            self.duplicates.add(column.numbers)

    def bad_rows(self, judged: JudgedRows) -> NDArray[np.int64]:
        """The first rows of a block whose lines are still to be reported, because they hold no readable number."""
        if len(self.invalid_lines) >= LINES_TOLD:
            return np.empty(0, np.int64)
        bad = np.array([outcome.reason is Reason.INVALID_NUMBER for outcome in judged.outcomes], np.bool_)
        return np.flatnonzero(bad[judged.ids])[: LINES_TOLD - len(self.invalid_lines)]

    def finish(self) -> None:
        """Count what the outcomes of all rows say."""
        seen = [each for each in zip(self._outcomes, self._of_outcome.tolist(), strict=True) if each[1]]
        for outcome, count in seen:
            self.reasons[outcome.reason] += count
            numbers = [number for number in outcome.numbers if number is not None]
            self.rules.update(number.rules for number in numbers if number.rules)
            if outcome.reason in LACKING and any(number.allowed for number in numbers):
                self.partly += count
            if outcome.reason is Reason.STALE_REGISTER:
                blocking = [each.finding for each in numbers if each.finding.reason is Reason.STALE_REGISTER]
                self.stale.update({name: count for each in blocking for name in each.registers})
            if outcome.hours is not None:
                self.windows[tuple(outcome.hours.windows)] += count
        self.allowed = sum(count for outcome, count in seen if outcome.allowed)
        self.until = earliest(outcome.until for outcome, _ in seen if outcome.allowed)


def allowed_of(judged: JudgedRows) -> NDArray[np.bool_]:
    """Whether each row may be called."""
    return np.array([outcome.allowed for outcome in judged.outcomes], np.bool_)[judged.ids]


class Watch(Protocol):
    """Is shown what was judged."""

    def rows(self, judged: JudgedRows, columns: Sequence[CellColumn]) -> None:
        """A block of rows, with the cells of their numbers."""
        ...

    def stamps(self, entries: Sequence[Stamp | NumberStamp]) -> None:
        """The numbers of some lines of NDJSON."""
        ...


class BadNumbers:
    """Writes `unreadable-numbers.csv`: each cell that holds no readable number, with its line, its column and why, and the
    lines of rows without any number. The file is made for the first of them."""

    def __init__(self, opened: Callable[[], Sink]) -> None:
        self._opened = opened
        self._file: Sink | None = None

    def put(
        self, columns: Sequence[CellColumn], names: Sequence[str], lines: Callable[[int], int], skipped: Mask
    ) -> None:
        """Write those of a block. `names` are those of the columns that the file has; `lines` gives the line of a row; rows
        that are `skipped` are left out. Raises OSError."""
        empty = np.logical_and.reduce([column.blank for column in columns]) & ~skipped
        found = [(row, "", "", "the row holds no number") for row in np.flatnonzero(empty).tolist()]
        place = 0
        for name in map(_as_text, names):
            found += [
                (row, name, _as_text(text), why) for row, text, why in columns[place].bad if not skipped[row]
            ]
            place += 1 + len(columns[place].others)
        if not found:
            return
        made = io.StringIO()
        writer = csv.writer(made)
        if self._file is None:
            self._file = self._opened()
            self._file.write(codecs.BOM_UTF8)
            writer.writerow(("line", "column", "cell", "why"))
        writer.writerows((lines(row), *rest) for row, *rest in sorted(found))
        self._file.write(made.getvalue().encode("utf-8", "replace"))


def _as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub("'", cell)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where rows go. `annotated` is None unless it was asked for, `bad` where nobody asks for it."""

    allowed: Sink
    blocked: Sink
    annotated: Sink | None = None
    bad: BadNumbers | None = None

    @property
    def each(self) -> list[Sink]:
        """All of them."""
        return [file for file in (self.allowed, self.blocked, self.annotated) if file is not None]


@dataclass(frozen=True, slots=True)
class Judging:
    """What rows are judged by: settings, the scrubber of these settings, index and moment. `watch` is shown every block
    of judged rows. `later`: answers of a later day than the one that the user named; the index lacks them."""

    settings: Settings
    scrubber: Scrubber
    index: Index
    now: datetime
    watch: Watch | None = None
    later: tuple[Register, ...] = ()

    @classmethod
    def as_of(
        cls,
        on: datetime | None,
        settings: Settings,
        scrubber: Scrubber,
        index: Index,
        watch: Watch | None = None,
    ) -> "Judging":
        """Judge as of a moment; None: as of now. An answer of a later day says nothing of that day."""
        if on is None:
            return cls(settings, scrubber, index, datetime.now(UTC), watch)
        washes = scrubber.rulebook.washes
        answers = [each for each in index.present() if family(each.name) in washes]
        later = {each.name: each for each in answers if each.effective_at.date() > on.date()}
        if later:
            known = {name: each for name, each in index.registers.items() if name not in later}
            index = Index(ByName(known), index.position)
        return cls(settings, scrubber, index, on, watch, tuple(later.values()))


class Run:
    """Rows of cells in, verdicts out. `asked` is what the user said of the columns, `region` that of national numbers."""

    def __init__(self, judging: Judging, options: FileOptions, duplicates: Duplicates) -> None:
        prospect = judging.settings.prospect
        members = {REGION: prospect.region, **prospect.facts}
        self.asked = replace(options.columns, members=members, said=options.call.members())
        self.region = options.region_by(judging.settings)
        self.tally = Tally(duplicates)
        self._watch = judging.watch
        self._reader = CellReader()
        self._judge = RowJudge(judging.scrubber, judging.index, judging.now, on_day=options.on is not None)
        self._facts = FactsReader(judging.scrubber.facts_of, options.call)
        self._regions: list[str] = [self.region]
        self._region_of: dict[str, int] = {}

    def judge(
        self,
        block: bytes,
        cells: Sequence[tuple[Places, Places]],
        regions: Distinct | None,
        facts: Mapping[str, Distinct],
        unreadable: Mask | None = None,
    ) -> tuple[JudgedRows, list[CellColumn]]:
        """The verdict on each row. `cells` are the places of the number columns' cells in `block`; `regions` is that
        column, None without one; `facts` are those of facts; `unreadable` rows are blocked, whatever they hold. The columns
        are those of `cells`, each with those of further numbers in its cells behind it, as a prospect has them."""
        of_region = is_assumed = None
        refused: dict[Reason, Mask] = {}
        if regions is not None:
            of_region = np.array(list(map(self._region, regions.texts)), np.int32)[regions.ids]
            refused[Reason.UNKNOWN_COUNTRY] = of_region < 0
            of_region = np.maximum(of_region, 0)
            is_assumed = np.array(list(map(is_blank, regions.texts)), np.bool_)[regions.ids]
        if unreadable is not None:
            refused[Reason.UNREADABLE] = unreadable
        assumed = self.tally.assumed
        assumed += [AssumedRegion(self.region) for _ in cells[len(assumed) :]]
        read = [
            self._reader.read(block, *places, self._regions, of_region, counts, is_assumed)
            for places, counts in zip(cells, assumed, strict=True)
        ]
        columns = [each for column in read for each in (column, *column.others)]
        kinds, kind_of = self._facts.read(facts)
        if len(self.tally.purposes) < REMEMBERED:
            for kind in kinds:
                self.tally.purposes.update(kind.purposes)
        judged = self._judge.judge(columns, self._reader.lines, kinds, kind_of)
        for reason, rows in refused.items():
            if rows.any():
                judged = self._judge.without(judged, rows, reason, len(columns))
                for column in columns:
                    column.numbers[rows], column.places[rows] = 0, -1
        self.tally.take(judged, columns, self._reader.lines)
        if self._watch is not None:
            self._watch.rows(judged, columns)
        return judged, columns

    def _region(self, text: str) -> int:
        """The place of the region that a text names, of the default one for a blank text; -1 for an unknown country."""
        place = self._region_of.get(text)
        if place is None:
            name = self.region if is_blank(text) else region_named(text)
            if name and name not in self._regions:
                self._regions.append(name)
            place = self._regions.index(name) if name else -1
            if len(self._region_of) < REMEMBERED and len(text) <= _REGION_SIGNS:
                self._region_of[text] = place
        return place
