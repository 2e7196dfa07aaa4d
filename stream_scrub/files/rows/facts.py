"""What rows say beside their numbers: the one table of facts, for every kind of file and every command on files.

Each fact is a member of a prospect, by the name that `prospect.<fact>` gives it. A file says it in a column, or an
option says it of all rows; either way it is read as the stream reads a prospect's member.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scrub.files.rows.cells import Distinct
from stream_scrub.scrub.facts import Facts, FactsOf, relation_spelt

# In the order in which `scrub.facts.facts_of` takes them.
FACTS = ("purpose", "contract", "campaign", "channel", "who", "relation", "voice_kind", "residence")
REGION = "region"
COLUMNS = (REGION, *FACTS)  # what a column may say
# What a row says that is too short for a fact's column. Which of its cells is missing nobody knows, so this one cannot be
# understood: it lifts nothing, whatever the fact.
CUT_OFF = "?"
_REMEMBERED = 10_000  # combinations of cells
_SIGNS = 200  # of a combination that is remembered: a cell may hold megabytes


def option(fact: str, *, column: bool = False) -> str:
    """The option that says a fact of all rows, or that names its column."""
    return f"--{fact.replace('_', '-')}{'-column' if column else ''}"


def member(fact: str, text: str) -> Any:
    """A cell, or what an option said, as the member of a prospect."""
    return (relation_spelt(text) or text) if fact == "relation" else text


class FactsReader:
    """Reads the facts of rows. `said` holds for all of them, as texts."""

    def __init__(self, facts_of: FactsOf, said: Mapping[str, str]) -> None:
        self._facts_of = facts_of
        self._said = {fact: member(fact, text) for fact, text in said.items()}
        self._all = [facts_of(*map(self._said.get, FACTS))]
        self._known: dict[tuple[tuple[str, str], ...], Facts] = {}

    def read(self, columns: Mapping[str, Distinct]) -> tuple[list[Facts], NDArray[np.int32] | None]:
        """The different facts of some rows, and by row the place of its own; None for the first for all. `columns` has the
        cells of each fact's column."""
        if not columns:
            return self._all, None
        cells, ids = _combined(list(columns.values()))
        met: dict[Facts, int] = {}
        places = [met.setdefault(self._of(tuple(zip(columns, row, strict=True))), len(met)) for row in cells]
        return list(met), np.array(places, np.int32)[ids]

    def _of(self, cells: tuple[tuple[str, str], ...]) -> Facts:
        facts = self._known.get(cells)
        if facts is None:
            told = self._said | {fact: member(fact, text) for fact, text in cells}
            facts = self._facts_of(*map(told.get, FACTS))
            if len(self._known) < _REMEMBERED and sum(len(text) for _, text in cells) <= _SIGNS:
                self._known[cells] = facts
        return facts


def _combined(columns: list[Distinct]) -> tuple[Iterator[tuple[str, ...]], NDArray[np.int64]]:
    """The different combinations of cells that occur in a row, and by row the place of its own."""
    ids = columns[0].ids.astype(np.int64)
    if len(columns) == 1:
        return ((text,) for text in columns[0].texts), ids
    first = np.arange(len(ids))
    for column in columns[1:]:
        # Joined again after each column: the codes of all together may be too large.
        _, first, ids = np.unique(
            ids * len(column.texts) + column.ids, return_index=True, return_inverse=True
        )
    held = (tuple(column.texts[column.ids[row]] for column in columns) for row in first.tolist())
    return held, ids
