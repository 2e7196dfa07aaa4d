"""What one run judges by, and where its rows go: shared by every kind of file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scrub.files.results.outputs import Sink
from stream_scrub.files.rows.cells import CellColumn, CellReader, Distinct, Places
from stream_scrub.files.rows.columns import Asked
from stream_scrub.files.rows.judging import JudgedRows, RowJudge
from stream_scrub.files.rows.tally import Tally
from stream_scrub.numbering import REGIONS
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.facts import Facts

ADDED = ("scrub_verdict", "scrub_reason", "scrub_number", "scrub_until")
_REMEMBERED = 10_000  # spellings of regions and contracts


Watch = Callable[[JudgedRows, Sequence[CellColumn]], None]  # is shown every block of judged rows


@dataclass(frozen=True, slots=True)
class FactsAsked:
    """What holds for all rows, as a prospect would say it, and the region of national numbers."""

    region: str
    purpose: str | None
    campaign: str | None
    channel: str | None
    who: str | None
    voice_kind: str | None


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
    """Rows in, verdicts out. `asked` is what the user said of the columns."""

    def __init__(
        self,
        judge: RowJudge,
        scrubber: Scrubber,
        facts: FactsAsked,
        asked: Asked,
        tally: Tally,
        watch: "Watch | None" = None,
    ) -> None:
        self.asked = asked
        self.facts = facts
        self.tally = tally
        self._watch = watch
        self.reader = CellReader()
        self._judge = judge
        self._scrubber = scrubber
        self._regions: list[str] = [facts.region]
        self._region_of: dict[str, int] = {}
        self._told: list[Facts] = [self._facts(None)]
        self._told_of: dict[str, int] = {}

    def judge(
        self,
        block: bytes,
        cells: Sequence[tuple[Places, Places]],
        regions: Distinct | None,
        contracts: Distinct | None,
    ) -> tuple[JudgedRows, list[CellColumn]]:
        """The verdict on each row. `cells` are the places of the number columns' cells in `block`; `regions` and
        `contracts` are those columns, None without one."""
        of_region = None if regions is None else _placed(regions, self._region)
        columns = [self.reader.read(block, *each, self._regions, of_region) for each in cells]
        told = None if contracts is None else _placed(contracts, self._contract)
        judged = self._judge.judge(columns, self.reader.lines, self._told, told)
        self.tally.take(judged, columns, self.reader.lines)
        if self._watch is not None:
            self._watch(judged, columns)
        return judged, columns

    def _region(self, text: str) -> int:
        """The place of a region, in any case; of the default one where the text names none."""
        place = self._region_of.get(text)
        if place is None:
            name = text.strip().upper()
            if name not in REGIONS:
                name = self.facts.region
            if name not in self._regions:
                self._regions.append(name)
            place = self._regions.index(name)
            if len(self._region_of) < _REMEMBERED:
                self._region_of[text] = place
        return place

    def _contract(self, text: str) -> int:
        place = self._told_of.get(text)
        if place is None:
            told = self._facts(text)
            if told not in self._told:
                self._told.append(told)
            place = self._told.index(told)
            if len(self._told_of) < _REMEMBERED:
                self._told_of[text] = place
        return place

    def _facts(self, contract: Any) -> Facts:
        said = self.facts
        return self._scrubber.facts_of(
            said.purpose, contract, said.campaign, said.channel, said.who, None, said.voice_kind
        )


def _placed(column: Distinct, place_of: Callable[[str], int]) -> NDArray[np.int32]:
    """By row, the place of what its text means."""
    return np.array([place_of(text) for text in column.texts], np.int32)[column.ids]
