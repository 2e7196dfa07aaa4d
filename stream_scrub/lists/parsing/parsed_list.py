"""What every format gives: the numbers of a list, and the lines that hold none, by their line number."""

import math
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.errors import ScrubError
from stream_scrub.index import Numbers, as_bitmap
from stream_scrub.lists.parsing.accumulator import EndTimes, ListAccumulator
from stream_scrub.model import RegisterKind

_KEPT = 20
SPAN_MAX = 100_000_000  # numbers; ten whole area codes of North America


class BadList(ScrubError):
    """The file as a whole cannot be read as a list. Exit 1; nothing was published. Says what to change."""


class EndingNumbers(NamedTuple):
    """The numbers that end: ascending and distinct, each with its end in epoch seconds UTC."""

    numbers: Numbers
    ends: EndTimes


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
    passed: int = (
        0  # understood, and nothing for this register: a washed number that is opposed, an e-mail address
    )
    first_refused: list[int] = field(default_factory=list)
    refused_in: list[str] = field(default_factory=list)  # of each of these, the file within a zip of several
    member: str = ""  # the file of a zip of several that is being read; the importer's
    effective_at: datetime | None = None  # when the list itself says what moment it speaks of; aware
    day_by: Literal["list", "name", "import"] = (
        "list"  # who says the day of `effective_at` and of the ends; "import": nobody, so that of the import is taken
    )
    base: int | None = None  # the sequence number that this delta applies on
    scope: str = ""  # the campaign that the list says it is for
    kind: RegisterKind | None = (
        None  # what the format means: numbers washed clean belong in an `allow` register
    )
    endless: int = 0  # lines whose end could not be read, and whose number was taken without one
    change: Literal["full", "delta"] = "full"  # "delta": holds additions and removals, never a whole register
    occurrences: int = 0  # numbers that the lines gave, each as often as it was said
    max_numbers: InitVar[float] = math.inf  # as `ListAccumulator.most`: what gives more raises TooMany
    _gathered: ListAccumulator = field(init=False)

    def __post_init__(self, max_numbers: float) -> None:
        self._gathered = ListAccumulator(max_numbers)

    def take(self, numbers: Numbers, ends: EndTimes | None = None) -> None:
        """Numbers (uint64) in the order of the file, one a line. `ends`: epoch seconds UTC, 0 for no end.

        Of several ends of one number the latest holds, and none at all outlives them. The arrays are kept as they
        are: do not write into them afterwards.
        """
        self.taken += len(numbers)
        self.occurrences += len(numbers)
        self._gathered.add(numbers, ends)

    def remove(self, numbers: Numbers) -> None:
        """Numbers that a delta takes out, one a line; what the file says last about a number holds."""
        self.taken += len(numbers)
        self.occurrences += len(numbers)
        self._gathered.remove(numbers)

    def change_many(self, numbers: Numbers, removed: NDArray[np.bool_], ends: EndTimes | None = None) -> None:
        """`take` and `remove` in one, where they take turns line by line."""
        self.taken += len(numbers)
        self.occurrences += len(numbers)
        self._gathered.change(numbers, removed, ends)

    def span(self, first: int, last: int) -> None:
        """One line that holds every number from `first` to `last`, both included. Raises BadList for too many."""
        if last - first >= SPAN_MAX:
            raise BadList(
                f"a prefix or range stands for more than {SPAN_MAX:,} numbers: name it in a rule's not_callable instead"
            )
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
    def accounted(self) -> int:
        """Every line of the file, whatever came of it."""
        return self.lines + self.blank + self.titles + self.passed

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
        self._gathered.fold()
        if not len(self._gathered.ending):
            return self._gathered.endless
        return self._gathered.endless | as_bitmap(self._gathered.ending)

    def removals(self) -> BitMap64:
        """The distinct numbers that a delta takes out. Not to be written into."""
        self._gathered.fold()
        return self._gathered.removed

    def ends(self) -> EndingNumbers:
        """The numbers that end, and when. They are in `bitmap` as well."""
        self._gathered.fold()
        return EndingNumbers(self._gathered.ending, self._gathered.ending_at)
