"""What one run judges by, and where its rows go: shared by every kind of file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.files.results.outputs import Sink
from stream_scrub.files.rows.cells import CellColumn, CellReader, Distinct, Places
from stream_scrub.files.rows.columns import Asked
from stream_scrub.files.rows.facts import FactsReader
from stream_scrub.files.rows.judging import JudgedRows, RowJudge
from stream_scrub.files.rows.tally import Tally
from stream_scrub.model import Reason
from stream_scrub.numbering import REGIONS

_REMEMBERED = 10_000  # spellings of regions
_REGION_SIGNS = 16  # of a spelling that is remembered


class NumberStamp(msgspec.Struct):
    """What is told of one number: an entry of a stamp."""

    reason: Reason
    number: str | None = None
    registers: tuple[str, ...] = ()
    rules: str = ""
    until: date | None = None


class Watch(Protocol):
    """Is shown what was judged."""

    def rows(self, judged: JudgedRows, columns: Sequence[CellColumn]) -> None:
        """A block of rows, with the cells of their numbers."""
        ...

    def stamps(self, entries: Sequence[NumberStamp]) -> None:
        """The numbers of some lines of NDJSON."""
        ...


@dataclass(frozen=True, slots=True)
class Targets:
    """Where rows go. `annotated` is None unless it was asked for."""

    allowed: Sink
    blocked: Sink
    annotated: Sink | None

    @property
    def each(self) -> list[Sink]:
        """All of them."""
        return [file for file in (self.allowed, self.blocked, self.annotated) if file is not None]


class Run:
    """Rows in, verdicts out. `asked` is what the user said of the columns, `region` that of national numbers; `facts`
    reads what rows say beside them."""

    def __init__(
        self,
        judge: RowJudge,
        facts: FactsReader,
        region: str,
        asked: Asked,
        tally: Tally,
        watch: "Watch | None" = None,
    ) -> None:
        self.asked = asked
        self.region = region
        self.tally = tally
        self._watch = watch
        self.reader = CellReader()
        self._judge = judge
        self._facts = facts
        self._regions: list[str] = [region]
        self._region_of: dict[str, int] = {}

    def judge(
        self,
        block: bytes,
        cells: Sequence[tuple[Places, Places]],
        regions: Distinct | None,
        facts: Mapping[str, Distinct],
    ) -> tuple[JudgedRows, list[CellColumn]]:
        """The verdict on each row. `cells` are the places of the number columns' cells in `block`; `regions` is that
        column, None without one; `facts` are those of facts."""
        of_region = None if regions is None else _placed(regions, self._region)
        columns = [self.reader.read(block, *each, self._regions, of_region) for each in cells]
        judged = self._judge.judge(columns, self.reader.lines, *self._facts.read(facts))
        self.tally.take(judged, columns, self.reader.lines)
        if self._watch is not None:
            self._watch.rows(judged, columns)
        return judged, columns

    def _region(self, text: str) -> int:
        """The place of a region, in any case; of the default one where the text names none."""
        place = self._region_of.get(text)
        if place is None:
            name = text.strip().upper()
            if name not in REGIONS:
                name = self.region
            if name not in self._regions:
                self._regions.append(name)
            place = self._regions.index(name)
            if len(self._region_of) < _REMEMBERED and len(text) <= _REGION_SIGNS:
                self._region_of[text] = place
        return place


def _placed(column: Distinct, place_of: Callable[[str], int]) -> NDArray[np.int32]:
    """By row, the place of what its text means."""
    return np.array([place_of(text) for text in column.texts], np.int32)[column.ids]
