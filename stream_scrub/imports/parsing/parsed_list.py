"""What a format makes of a list: numbers with their ends, and the counts of every line."""

import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.errors import ScrubError, TooMany
from stream_scrub.index import Hashing, Numbers, as_bitmap, as_numbers
from stream_scrub.index.capacity import weight
from stream_scrub.index.deltas import StatedEnds
from stream_scrub.languages import by_door, say, translatable
from stream_scrub.model import RegisterKind
from stream_scrub.numbering import AssumedRegion
from stream_scrub.texts import masked

EndTimes = NDArray[np.int64]

_FOLD = 1 << 22  # numbers; 32 MB of them, sorted within a processor's larger caches' reach
_NEVER = np.iinfo(np.int64).max  # the end of a number that does not end, while ends are compared


class _Piece(NamedTuple):
    """Numbers in the file's order. `ends` None: they do not end."""

    numbers: Numbers
    ends: EndTimes | None
    removed: NDArray[np.bool_] | bool  # of each, or of all


@dataclass(slots=True)
class ListAccumulator:
    """`endless` and `ending` are disjoint after `fold`, and so are both from `removed`. All of it together counts as no
    more than `most` numbers (`capacity.weight`): whatever gives more raises TooMany.
    """

    most: float = math.inf
    endless: BitMap64 = field(default_factory=BitMap64)
    removed: BitMap64 = field(default_factory=BitMap64)
    ending: Numbers = field(default_factory=lambda: np.empty(0, np.uint64))  # ascending, distinct
    ending_at: EndTimes = field(default_factory=lambda: np.empty(0, np.int64))  # epoch seconds UTC
    _pieces: list[_Piece] = field(default_factory=list)
    _waiting: int = 0
    _at_most: float = 0

    def add(self, numbers: Numbers, ends: EndTimes | None, removed: NDArray[np.bool_] | bool) -> None:
        """Numbers in the file's order, of which the list takes the `removed` ones away; an end of 0 is none."""
        self._pieces.append(_Piece(numbers, ends if ends is not None and ends.any() else None, removed))
        self._waiting += len(numbers)
        # Numbers that end are sorted again with every fold. Waiting for half as many as there are keeps that in proportion.
        if self._waiting >= max(_FOLD, len(self.ending) // 2):
            self.fold()

    def span(self, first: int, last: int) -> None:
        """Every number from `first` to `last`, both included."""
        self.fold()
        self.endless.add_range(first, last + 1)
        self.removed.remove_range(first, last + 1)
        self._keep_ending(~((self.ending >= np.uint64(first)) & (self.ending <= np.uint64(last))))
        self.need_room(last - first + 1)

    def fold(self) -> None:
        """Bring what waits into the bitmaps."""
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        if not any(len(piece.numbers) for piece in pieces):
            return
        numbers = np.concatenate([piece.numbers for piece in pieces])
        if any(np.any(piece.removed) for piece in pieces):
            self._fold_changes(numbers, pieces)
        else:
            ending = any(piece.ends is not None for piece in pieces)
            self._fold_added(numbers, _ends_of(pieces) if ending else None)
        self.need_room()

    def need_room(self, more: float = math.inf) -> None:
        """For so many more at most, that are there already; they are counted when it may be too many. Raises TooMany."""
        self._at_most += more
        if self._at_most <= self.most or math.isinf(self.most):
            return
        self._at_most = weight(self.endless) + weight(self.removed) + len(self.ending)
        if self._at_most > self.most:
            why = (
                f"it holds more than lists.max_numbers ({self.most:,.0f}) allows, scattered ones counted as up to 21 each."
                " Give publisher and workers the memory that more takes (docs/sizing.md), then raise it"
            )
            raise TooMany(by_door(why, say(NO_ROOM)))

    def _fold_added(self, numbers: Numbers, ends: EndTimes | None) -> None:
        endless = numbers if ends is None else numbers[ends == _NEVER]
        if not bool((endless[1:] > endless[:-1]).all()):  # registers are mostly sorted already
            endless = np.sort(endless)
        self.endless |= as_bitmap(endless)
        if self.removed:
            self.removed -= as_bitmap(np.sort(numbers))
        if ends is not None:
            some = ends != _NEVER
            self.ending, self.ending_at = _latest(
                np.concatenate([self.ending, numbers[some]]), np.concatenate([self.ending_at, ends[some]])
            )
        if len(self.ending) and (both := as_bitmap(self.ending) & self.endless):
            self._keep_ending(~np.isin(self.ending, as_numbers(both)))

    def _fold_changes(self, numbers: Numbers, pieces: list[_Piece]) -> None:
        """Additions and removals in the file's order: of each number only what follows its last removal counts."""
        ends = _ends_of(pieces)
        removed = np.concatenate([np.broadcast_to(piece.removed, len(piece.numbers)) for piece in pieces])
        order = np.argsort(numbers, kind="stable")
        numbers, ends, removed = numbers[order], ends[order], removed[order]
        places = np.arange(len(numbers))
        head = np.concatenate(([True], numbers[1:] != numbers[:-1]))
        last_removal = np.maximum.reduceat(np.where(removed, places, -1), np.flatnonzero(head))
        gone = numbers[head][last_removal >= 0]
        taken_out = as_bitmap(gone)
        self.endless -= taken_out
        self.removed |= taken_out
        self._keep_ending(~np.isin(self.ending, gone))
        after = places > last_removal[np.cumsum(head) - 1]
        if after.any():
            self._fold_added(numbers[after], ends[after])

    def _keep_ending(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self.ending, self.ending_at = self.ending[kept], self.ending_at[kept]


def _ends_of(pieces: list[_Piece]) -> EndTimes:
    """One end for each number of the pieces, _NEVER for those that do not end."""
    return np.concatenate(
        [
            np.full(len(piece.numbers), _NEVER)
            if piece.ends is None
            else np.where(piece.ends == 0, _NEVER, piece.ends)
            for piece in pieces
        ]
    )


def _latest(numbers: Numbers, ends: EndTimes) -> tuple[Numbers, EndTimes]:
    """The distinct numbers, ascending, each with its latest end."""
    order = np.lexsort((ends, numbers))
    numbers, ends = numbers[order], ends[order]
    last = np.concatenate((numbers[1:] != numbers[:-1], [True])) if len(numbers) else np.empty(0, bool)
    return numbers[last], ends[last]


_KEPT = 20
SPAN_MAX = 100_000_000  # numbers; ten whole area codes of North America
# What a page says of errors that its reader mends in the same way.
NOT_A_LIST = translatable("this file is not a list of phone numbers: check that it is the right file")
DAMAGED = translatable("the file is damaged or not whole: download it again, or export it again")
CHANGES_ONLY = translatable("the list holds changes only: upload the full list")
AS_IT_CAME = translatable(
    "it is not clear which column of the list holds what: upload the registry's file exactly as you received it"
)
LOCKED = translatable("the file is damaged, or locked by a password: download it again, or unlock it")
UNREADABLE = translatable("the server cannot read the file (%(code)s): tell your operator")
NO_ROWS = translatable("the file holds no rows")
NO_TABLE = translatable("no line ends within %(most)s MiB: this is not a table")
NO_ROOM = translatable("the list has more numbers than the server has room for: tell your operator")


class BadList(ScrubError):
    """The file as a whole cannot be read as a list. Exit 1; nothing was published. Says what to change."""

    def __init__(self, text: str, figures: Sequence[str] = ()) -> None:
        """`figures` are the parts of the text that are ours, as counts are: no mask may take them for phone numbers."""
        super().__init__(text)
        self.figures = tuple(figures)

    @property
    def shown(self) -> str:
        """The text for a page or a log: masked, except for its figures."""
        return _masked(str(self), [each for each in self.figures if each])


def _masked(text: str, figures: Sequence[str]) -> str:
    if not figures:
        return masked(text)
    parts = text.split(figures[0])
    return figures[0].join(_masked(part, figures[1:]) for part in parts)


@dataclass(frozen=True, slots=True)
class ListColumn:
    """One column of a list. `place` counts from 1; `title` is empty without a header. `role` is what it was read as,
    `suggested` what it might be. `answers`: most of its cells say yes or no, and both occur."""

    place: int
    title: str
    role: str
    suggested: str
    filled: int
    empty: int
    values: str
    answers: bool

    @property
    def name(self) -> str:
        """The column as `--columns` may name it: by its title, or by its place if the title could be misread."""
        plain = self.title and not self.title.isdecimal() and not set(self.title) & set(",='\"")
        return self.title if plain else str(self.place)

    def __str__(self) -> str:
        empty = f", {self.empty:,} empty" if self.empty else ""
        called = f"{self.place} {self.title}" if self.title else str(self.place)
        role = self.role or (f"{self.suggested}?" if self.suggested else "")
        shown = f": {self.values}" if self.values else ""
        return f"column {called}{f' ({role})' if role else ''}: {self.filled:,} filled{empty}{shown}"


@dataclass(slots=True)
class ParsedList:
    """A list as it was read. Line numbers count from 1 in each file; a refused line's text is never kept.

    Every line of a list is counted once: taken, refused, blank, a title, or passed. Where a format has no lines
    (XML, a JSON array) its entries are the lines.
    """

    described: str = ""  # the format in words, as in "one number a line"; no text of the list
    taken: int = 0  # lines that gave a number, a removal or a span
    refused: int = 0
    blank: int = 0
    titles: int = 0  # headers, and whatever speaks of the list itself
    passed: int = 0  # understood, and nothing for this register, as an e-mail address
    first_refused: list[int] = field(default_factory=list)
    refused_in: list[str] = field(default_factory=list)  # of each of these, the file within a zip of several
    member: str = ""  # the file of a zip of several that is being read; the importer's
    effective_at: datetime | None = None  # when the list itself says what moment it speaks of; aware
    # Who says the day of `effective_at` and of the ends; "import": no one, so the import's own day is taken.
    day_by: Literal["list", "name", "import"] = "list"
    base: int | None = None  # the sequence number that this delta applies on
    scope: str = ""  # the campaign that the list says it is for
    kind: RegisterKind | None = None  # what the format means: washed numbers belong in an `allow` register
    endless: int = 0  # lines whose end could not be read, and whose number was taken without one
    change: Literal["full", "delta"] = "full"  # "delta": holds additions and removals, never a whole register
    unread_columns: bool = False  # the numbers were one column of several, and nothing looked at the others
    unstated: bool = (
        False  # its rows do not say that their persons consented: it has columns that nobody named
    )
    answered: bool = False  # it was read by columns that the operator named, so only its consents are in it
    dated: bool = False  # its rows say when each consent was given, or do not count
    # The line and the column of the last end that may be one of two days; zeros without one.
    end_at: tuple[int, int] = (0, 0)
    columns: list[ListColumn] = field(
        default_factory=list
    )  # of a CSV; of a zip of several, those of the first
    outcomes: dict[str, int] = field(default_factory=dict)  # rows by what became of them, as people are told
    assumed: AssumedRegion | None = None  # how national numbers without a country were read
    hashed: Hashing | None = None  # how its numbers were hashed; then they are the prefixes of digests
    good_s: int = 0  # the answers of a wash are good for so many seconds; 0: it is no wash
    since: datetime | None = None  # of changes: the first day that they speak of
    area_days: dict[str, datetime] = field(default_factory=dict)  # of changes by area: the last day of each
    occurrences: int = 0  # numbers that the lines gave, each as often as it was said
    max_numbers: InitVar[float] = math.inf  # as `ListAccumulator.most`: what gives more raises TooMany
    _gathered: ListAccumulator = field(init=False)

    def __post_init__(self, max_numbers: float) -> None:
        self._gathered = ListAccumulator(max_numbers)

    def take(
        self, numbers: Numbers, ends: EndTimes | None = None, removed: NDArray[np.bool_] | bool = False
    ) -> None:
        """Numbers (uint64) in the order of the file, one a line. `ends`: epoch seconds UTC, 0 for no end. `removed`: those
        that a delta takes out; what the file says last about a number holds.

        Of several ends of one number the latest holds, and none at all outlives them. The arrays are kept as they
        are: do not write into them afterwards.
        """
        self.taken += len(numbers)
        self.occurrences += len(numbers)
        self._gathered.add(numbers, ends, removed)

    def count(self, lines: bytes, numbers: Numbers, valid: NDArray[np.bool_], region: str) -> None:
        """Count the numbers that were read from lines as those of a region that no line names."""
        if self.assumed is None:
            self.assumed = AssumedRegion(region)
        self.assumed.count(lines, numbers, valid)

    @property
    def spoken(self) -> str:
        """How it was read, for people."""
        return self.described if self.assumed is None else f"{self.described}; {self.assumed.spoken}"

    def span(self, first: int, last: int) -> None:
        """One line that holds every number from `first` to `last`, both included. Raises BadList for too many."""
        if last - first >= SPAN_MAX:
            why = f"a prefix or range stands for more than {SPAN_MAX:,} numbers: name it in a rule's not_callable instead"
            raise BadList(by_door(why, say(NOT_A_LIST)))
        self.taken += 1
        self.occurrences += last - first + 1
        self._gathered.span(first, last)

    def refuse(self, line: int) -> None:
        """Count a line that holds no valid number."""
        self.refused += 1
        if len(self.first_refused) < _KEPT:
            self.first_refused.append(line)
            if self.member:
                self.refused_in.append(self.member)

    def refuse_many(self, lines: NDArray[np.integer]) -> None:
        """Count lines that hold no valid number, ascending."""
        for line in lines[:_KEPT].tolist():
            self.refuse(line)
        self.refused += max(0, len(lines) - _KEPT)

    @property
    def lines(self) -> int:
        """Lines that should have held a number: taken and refused."""
        return self.taken + self.refused

    @property
    def refused_share(self) -> float:
        """Refused lines as a share of all, 0 to 1."""
        return self.refused / self.lines if self.lines else 0.0

    @property
    def duplicates(self) -> int:
        """How many of the numbers stood in the list before, in whatever spelling."""
        return self.occurrences - len(self.bitmap()) - len(self.removals())

    def refused_places(self) -> str:
        """The first refused lines for people: "3, 6 ...", or "416.csv: 3 ..." for a zip of several files."""
        names = self.refused_in or [""] * len(self.first_refused)
        places = [
            f"{name}: {at}" if name else str(at) for name, at in zip(names, self.first_refused, strict=True)
        ]
        return ", ".join(places) + (" ..." if self.refused > len(places) else "")

    def gathered(self) -> ListAccumulator:
        """All the numbers that were read, folded."""
        self._gathered.fold()
        return self._gathered

    def bitmap(self) -> BitMap64:
        """The distinct numbers that the list holds, those that end included. Not to be written into."""
        gathered = self.gathered()
        return gathered.endless | as_bitmap(gathered.ending) if len(gathered.ending) else gathered.endless

    def removals(self) -> BitMap64:
        """The distinct numbers that a delta takes out. Not to be written into."""
        return self.gathered().removed

    def refusals(self) -> "ParsedList":
        """The people who said no, as a list of their own."""
        refusing = ParsedList(described=f"{self.described}, the people who said no")
        refusing.take(as_numbers(self.removals()))
        refusing.outcomes = {"said no": refusing.taken}
        return refusing

    def ends(self) -> StatedEnds:
        """The numbers that end, and when. They are in `bitmap` as well."""
        return StatedEnds(self.gathered().ending, self.gathered().ending_at)
