"""`nanp-change`: a North American register's additions and deletions since the last download, a CSV.

Source: the US register's "Telemarketer Access Information": the change list is comma-delimited with several contents a
record; their order is published nowhere that could be found. So the columns are recognised by what is in them: three
digits are an area code, seven a number (or ten both together), a day is the day of the change, and A or D what it is.
Where that leaves a doubt, the operator says it: `--columns area=1,number=2,date=3,change=4`, each a place or a header's
name; `date` may be left out, and `area` where the number has ten digits.

A number may change more than once. With dates the last day holds, and of one day the addition; without dates an
addition holds over every deletion, since the order is unknown.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import days, numbers_of
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import AS_IT_CAME, CHANGES_ONLY, BadList, ParsedList
from stream_scrub.imports.parsing.titles import TITLES
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.index import Numbers
from stream_scrub.languages import by_door, say

REGION = "US"  # any region's of +1: read with the calling code
_SURE = 92
_CHANGES = dict.fromkeys(("a", "add", "added", "addition"), False) | dict.fromkeys(
    ("d", "del", "delete", "deleted", "deletion", "r", "remove", "removed"), True
)
_NAMES = (  # of titles, in the order of `_Columns`
    TITLES["area"],
    TITLES["local_number"] + TITLES["phone"],
    TITLES["change_date"],
    TITLES["change"],
)
# By how many digits: an area code, a number, both. No area code begins with 0 or 1, as elsewhere a trunk prefix does.
_LOCAL = {
    3: re.compile(r"[2-9]\d{2}", re.ASCII),
    7: re.compile(r"\d{7}", re.ASCII),
    10: re.compile(r"[2-9]\d{9}", re.ASCII),
}
_IN_AREA = np.uint64(10**7)  # numbers of an area code
_BATCH = 10_000
_ROWS_MAX = 50_000_000  # 1 GB of them; the whole US register has five times as many, and is a full list
_FUTURE_MAX = timedelta(days=1)


class _Columns(NamedTuple):
    """Where the contents are; -1 for none."""

    area: int
    number: int
    date: int
    change: int


def _digits(cell: str) -> str:
    return cell.strip().replace("-", "").replace(" ", "")


def _holds(cells: Sequence[str], name: str, size: int) -> bool:
    """Whether a column is of such contents, but for a few bad lines: what it is for, and for numbers their digits."""
    if name == "change":
        fitting = sum(cell.strip().casefold() in _CHANGES for cell in cells)
    elif name == "date":
        fitting = sum(bool(days(cell)) for cell in cells)
    else:
        fitting = sum(_LOCAL[size].fullmatch(_digits(cell)) is not None for cell in cells)
    return fitting * 4 >= len(cells) * 3


def _found(body: Sequence[Sequence[str]], width: int) -> dict[str, list[int]]:
    """The places that may be of each content; `whole` are numbers with their area code."""
    columns = [[row[place] if place < len(row) else "" for row in body] for place in range(width)]
    sizes = {"area": 3, "number": 7, "whole": 10, "date": 0, "change": 0}
    return {
        name: [place for place, cells in enumerate(columns) if cells and _holds(cells, name, size)]
        for name, size in sizes.items()
    }


def _distinct_columns(body: Sequence[Sequence[str]], width: int) -> _Columns | None:
    """The places by their contents, when each is at one place only."""
    found = _found(body, width)
    if len(found["change"]) != 1 or len(found["date"]) > 1:
        return None
    dated = found["date"][0] if found["date"] else -1
    change = found["change"][0]
    if len(found["area"]) == len(found["number"]) == 1 and not found["whole"]:
        return _Columns(found["area"][0], found["number"][0], dated, change)
    if len(found["whole"]) == 1 and not found["area"] and not found["number"]:
        return _Columns(-1, found["whole"][0], dated, change)
    return None


def _recognise(sample: ListSample) -> int:
    cells = csv_table.sample_rows(sample)
    if cells and csv_table.is_header([csv_table.title(cell) for cell in cells[0]]):
        cells = cells[1:]
    if not cells or (width := len(cells[0])) < 2 or any(len(row) != width for row in cells):
        return NEVER
    return _SURE if _distinct_columns(cells, width) is not None else NEVER


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every change. Raises BadList if it is unclear which column is which, and for more than 50 million changes."""
    reading.change = "delta"
    table = csv_table.CsvTable(source.text(), reading)
    if not table.head:
        return
    titles = table.headed()
    places = _places(table, titles, options.columns)
    changes = _DatedChanges(places, reading, options.now, min(_ROWS_MAX, options.max_numbers))
    body = table.body(reading, headed=bool(titles))
    while some := list(islice(body, _BATCH)):
        changes.take(some)
    changes.apply()
    found = ((name, place) for name, place in places._asdict().items() if place >= 0)
    order = ", ".join(f"{name} in column {place + 1}" for name, place in found)
    reading.described = f"additions and deletions, CSV by {table.spoken}: {order}" + (
        "" if places.date >= 0 else "; without dates an addition holds over a deletion"
    )


def _places(table: csv_table.CsvTable, titles: Sequence[str], columns: Mapping[str, str]) -> _Columns:
    if columns:
        named = _Columns(
            *(
                csv_table.place_of(columns[name], titles, table.width) if name in columns else -1
                for name in _Columns._fields
            )
        )
        if min(named.number, named.change) < 0:
            raise BadList("--columns: name number and change at least, as in area=1,number=2,date=3,change=4")
    else:
        named = _Columns(*(csv_table.find(titles, names) for names in _NAMES))
    if min(named.number, named.change) >= 0:
        return named
    body = [row.cells for row in table.head[bool(titles) :]]
    places = _distinct_columns(body, table.width)
    if places is None:
        why = (
            "by its first lines it is unclear which column is what: name them, as in"
            " --columns area=1,number=2,date=3,change=4"
        )
        raise BadList(by_door(why, say(AS_IT_CAME)))
    return places


class _DatedChanges:
    """All changes of a file, to be applied in the order of their days."""

    def __init__(self, places: _Columns, reading: ParsedList, now: datetime, most: float) -> None:
        self._places = places
        self._reading = reading
        self._now = now
        self._most = most
        self._day_of: dict[str, int] = {}  # days repeat by the thousand
        self._parts: list[tuple[Numbers, NDArray[np.bool_], NDArray[np.int32]]] = []  # removed, days
        self._count = 0

    def take(self, some: Sequence[csv_table.CsvRow]) -> None:
        """Some rows; one without a valid number, a known change, or a day where there should be one is refused."""
        places = self._places
        cells, removed, when = [], [], []
        for row in some:
            area = row.cell(places.area) if places.area >= 0 else ""
            digits = _digits(area) + _digits(row.cell(places.number))
            change = _CHANGES.get(row.cell(places.change).strip().casefold())
            day = self._day(row.cell(places.date)) if places.date >= 0 else 0
            known = change is not None and day is not None and _LOCAL[10].fullmatch(digits) is not None
            cells.append(f"+1{digits}" if known else "")
            removed.append(bool(change))
            when.append(day or 0)
        numbers, valid = numbers_of(cells, REGION)
        self._reading.refuse_many(np.array([row.line for row in some], np.int64)[~valid])
        days_of = np.array(when, np.int32)
        self._parts.append((numbers[valid], np.array(removed, bool)[valid], days_of[valid]))
        self._count += int(valid.sum())
        if self._count > self._most:
            why = f"more than {self._most:,.0f} changes: import the full list instead"
            raise BadList(by_door(why, say(CHANGES_ONLY)))

    def _day(self, text: str) -> int | None:
        if text not in self._day_of:
            if len(self._day_of) > _BATCH:  # moments rather than days: they do not repeat
                self._day_of.clear()
            found = days(text) or days(text.strip().partition(" ")[0].partition("T")[0])
            self._day_of[text] = found[-1].toordinal() if found else 0  # month first, as there
        return self._day_of[text] or None

    def apply(self) -> None:
        """Tell the reading, the last day last and of one day the additions last."""
        if not self._count:
            return
        numbers, removed, when = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        order = np.lexsort((~removed, when))
        self._reading.take(numbers[order], removed=removed[order])
        if self._places.date >= 0:
            latest = datetime.combine(date.fromordinal(int(when.max())), time(), UTC)
            if latest <= self._now + _FUTURE_MAX:
                before, since = self._reading.effective_at, self._reading.since
                self._reading.effective_at = latest if before is None else max(before, latest)
                first = datetime.combine(date.fromordinal(max(1, int(when.min()))), time(), UTC)
                self._reading.since = first if since is None else min(since, first)
                self._note_areas(numbers[order] // _IN_AREA, when[order])

    def _note_areas(self, areas: Numbers, when: NDArray[np.int32]) -> None:
        """Note the last day of each area. `when` ascends."""
        known = self._reading.area_days
        distinct, from_end = np.unique(areas[::-1], return_index=True)
        for area, day in zip(distinct.tolist(), when[::-1][from_end].tolist(), strict=True):
            latest = datetime.combine(date.fromordinal(day), time(), UTC)
            known[str(area)] = max(known.get(str(area), latest), latest)


FORMAT = FormatSpec(
    "nanp-change",
    "a North American register's additions and deletions",
    _recognise,
    _read,
    frozenset(_Columns._fields),
    oppositions=True,
)
