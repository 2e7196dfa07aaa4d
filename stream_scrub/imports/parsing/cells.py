"""Cells to numbers, one by one or buffered and read in columns; and cells to days and moments.

Where a text may mean two days, the one that protects more is for the caller to take. Without a zone a moment is read where
it comes last on earth (UTC-12) as a latest one, and where it comes first (UTC+14) as an earliest one.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.index import FIRST_ZONE, Numbers
from stream_scrub.numbering import lines_many, normalise
from stream_scrub.numbering.tables import ASK, FIRST_LINE

_SIZE = 10_000
_LONGEST = 15  # digits of a number (ITU-T E.164)
_CELL_SIGNS_MAX = 250  # no number is longer; what waits here is as short
NO_END = 0
NO_DAY = 0  # on which a consent was given
_EPOCH = date(1970, 1, 1).toordinal()
_LAST_ZONE_S = 12 * 3600
_FOREVER = 2200  # years from which lists mean "never"
_SIGNS_MAX = 40
_DAY = re.compile(
    r"(?P<y>\d{4})(?P<sign>[-/.]?)(?P<m>\d{2})(?P=sign)(?P<d>\d{2})|(?P<a>\d{1,2})(?P<by>[-/.])(?P<b>\d{1,2})(?P=by)(?P<year>\d{4})",
    re.ASCII,
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?Z", re.ASCII)
_IN_NAME = re.compile(r"(?<!\d)(20\d{2})([-_.]?)(\d{2})\2(\d{2})(?=\D|\d{4}(?!\d)|\d{6}(?!\d)|$)", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d++)?)?\s*+([AaPp][Mm])?", re.ASCII)
_ZONE = re.compile(r"(Z|UTC|GMT)|([+-])(\d{2}):?(\d{2})?", re.ASCII)


def clean(cell: str) -> str:
    """A cell as text: quotes off, and Latin-1 bytes that were kept as surrogates read as Latin-1."""
    cell = cell.strip().strip("\"'").strip()
    if not cell.isascii() and any("\udc80" <= sign <= "\udcff" for sign in cell):
        kept = _bytes(cell)
        return cell if kept is None else kept.decode("latin-1")
    return cell


def _bytes(text: str) -> bytes | None:
    """The bytes that a file had for it; None for what no file of text has, as JSON's lone halves of UTF-16."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def number_of(cell: str, region: str) -> int | None:
    """The number in a cell as typed in `region`; None unless it is a valid one."""
    # Blanks, words, signs: the reference takes ten times as long to say so.
    if not any(map(str.isdecimal, cell)):
        return None
    bare, cleaned = cell.strip(), clean(cell)
    found = normalise(bare, region)
    if found is None and cleaned != bare:
        found = normalise(cleaned, region)
    return None if found is None else found[0]


def numbers_of_lines(chunk: bytes, region: str) -> tuple[Numbers, NDArray[np.bool_]]:
    r"""`number_of` every line of `chunk` (each ends in `\n`): the numbers, and whether there is one."""
    numbers, codes = lines_many(chunk, region)
    valid: NDArray[np.bool_] = codes >= FIRST_LINE
    asked = np.flatnonzero(codes == ASK).tolist()
    if asked:
        lines = chunk.split(b"\n")
        for at in asked:
            found = number_of(lines[at].decode("utf-8", "surrogateescape"), region) if lines[at] else None
            if found is not None:
                numbers[at], valid[at] = found, True
    return numbers, valid


def numbers_of(cells: Sequence[str], region: str) -> tuple[Numbers, NDArray[np.bool_]]:
    """`number_of` every cell: the numbers (anything where there is none), and whether there is one. Some ten thousand
    cells at a time are quickest.
    """
    if not cells:
        return np.empty(0, np.uint64), np.empty(0, bool)
    text = "\n".join(cells) + "\n"
    lines = _bytes(text) if text.count("\n") == len(cells) else None  # a cell may have a line end in it
    if lines is not None:
        return numbers_of_lines(lines, region)
    found = [number_of(cell, region) for cell in cells]
    return (
        np.array([one or 0 for one in found], np.uint64),
        np.array([one is not None for one in found], bool),
    )


class EntryBuffer:
    """Collects cells that should hold a number as typed in a region (ISO 3166-1), and hands them to `reading` in batches.

    `close` must be called at the end of the file, or the last of them are lost. `last`: "removals" hold over every
    addition of the same number, wherever in the file they stand, or "additions" over every removal.
    """

    def __init__(
        self, reading: ParsedList, region: str, *, last: Literal["", "additions", "removals"] = ""
    ) -> None:
        self._last = last
        self._held: list[Numbers] = []
        self._reading = reading
        self._region = region
        self._empty()

    def _empty(self) -> None:
        self._cells: list[str] = []
        self._elsewhere: defaultdict[str, list[int]] = defaultdict(list)  # places, by their region
        self._lines: list[int] = []
        self._ends: list[int] = []
        self._given: list[int] = []
        self._removed: list[bool] = []

    def put(
        self,
        cell: str,
        line: int,
        end: int = NO_END,
        *,
        removed: bool = False,
        region: str = "",
        given: int = NO_DAY,
    ) -> None:
        """One cell and the line that it stands on; a cell without a valid number is a refused line. `end` and `given` (when
        a consent was given) are in epoch seconds UTC, `region` another one than the batch's.
        """
        if len(self._cells) >= _SIZE:
            self._flush()
        if region and region != self._region:
            self._elsewhere[region].append(len(self._cells))
        self._cells.append(cell if len(cell) <= _CELL_SIGNS_MAX else clean(cell)[: _CELL_SIGNS_MAX + 1])
        self._lines.append(line)
        self._ends.append(end)
        self._given.append(given)
        self._removed.append(removed)

    def refuse(self, line: int) -> None:
        """A line that is no entry, in its place among the others."""
        self.put("", line)

    def close(self) -> None:
        """Hand everything that was put to the reading."""
        self._flush()
        for numbers in self._held:
            if self._last == "removals":
                self._reading.take(numbers, removed=True)
            else:
                self._reading.take(numbers)

    def _flush(self) -> None:
        if not self._cells:
            return
        cells = self._cells
        there = {place: cells[place] for places in self._elsewhere.values() for place in places}
        numbers, valid = numbers_of(
            ["" if at in there else cell for at, cell in enumerate(cells)] if there else cells, self._region
        )
        self._count(cells, numbers, valid, there)
        for region, places in self._elsewhere.items():
            numbers[places], valid[places] = numbers_of([there[place] for place in places], region)
        lines = np.array(self._lines, np.int64)
        ends = np.array(self._ends, np.int64)
        given = np.array(self._given, np.int64)
        removed = np.array(self._removed, bool)
        self._empty()
        self._hand_on(*self._lawful(numbers[valid], removed[valid], ends[valid], given[valid]))
        self._reading.refuse_many(lines[~valid])

    def _lawful(
        self, numbers: Numbers, removed: NDArray[np.bool_], ends: NDArray[np.int64], given: NDArray[np.int64]
    ) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.int64]]:
        """What counts of a batch, and when it ends. A format of consents looks at `given`."""
        del given
        return numbers, removed, ends

    def _count(
        self, cells: Sequence[str], numbers: Numbers, valid: NDArray[np.bool_], there: Collection[int]
    ) -> None:
        """Count the cells that no country is named for; those at the places `there` have one."""
        here = [cell.partition("\n")[0] for place, cell in enumerate(cells) if place not in there]
        lines = _bytes("".join(f"{cell}\n" for cell in here))
        if lines is not None:
            chosen = np.array([place not in there for place in range(len(cells))], np.bool_)
            self._reading.count(lines, numbers[chosen], valid[chosen], self._region)

    def _hand_on(self, numbers: Numbers, removed: NDArray[np.bool_], ends: NDArray[np.int64]) -> None:
        """Additions and removals. Their order matters only for a number that is among both: to keep that of all would
        cut them into as many pieces as they take turns.
        """
        if self._last == "additions":
            self._reading.take(numbers[removed], removed=True)
            self._held.append(numbers[~removed])
            return
        if not removed.any():
            self._reading.take(numbers, ends)
            return
        if self._last == "removals":
            self._reading.take(numbers[~removed], ends[~removed])
            self._held.append(numbers[removed])
            return
        both = np.isin(numbers, np.intersect1d(numbers[removed], numbers[~removed]))
        taken, removed_only = ~removed & ~both, removed & ~both
        self._reading.take(numbers[taken], ends[taken])
        self._reading.take(numbers[removed_only], removed=True)
        self._reading.take(numbers[both], ends[both], removed[both])


def days(text: str) -> list[date]:
    """The days that a text may mean: one, or two where day and month could be either way round; none for no day."""
    found = _DAY.fullmatch(text.strip()[:_SIGNS_MAX])
    if found is None:
        return []
    if found["y"]:
        return _dates((found["y"], found["m"], found["d"]))
    ways = [(found["year"], found["b"], found["a"])]
    if found["by"] != ".":  # 31.12.2026 is never month first
        ways.append((found["year"], found["a"], found["b"]))
    return _dates(*ways)


class DayOrder(NamedTuple):
    """The days that a cell may mean: with the day first, and with the month first. Both are the same if the cell is clear.
    None: no such day."""

    day_first: date | None
    month_first: date | None

    @property
    def proves(self) -> str:
        """The order that the cell proves: "day first", "month first", or "" if it may be either or needs none."""
        if self.day_first is None:
            return "month first"
        return "day first" if self.month_first is None else ""


def in_orders(text: str) -> DayOrder | None:
    """The day in a cell of a day or a moment, by both orders; None for no day."""
    found = _DAY.match(text.strip()[:_SIGNS_MAX])
    if found is None or text.strip()[found.end() :][:1] not in ("", " ", "T"):
        return None
    if found["y"]:
        clear = _dates((found["y"], found["m"], found["d"]))
        return DayOrder(clear[0], clear[0]) if clear else None
    day_first = _dates((found["year"], found["b"], found["a"]))
    if found["by"] == ".":  # 31.12.2026 is never month first
        return DayOrder(day_first[0], day_first[0]) if day_first else None
    month_first = _dates((found["year"], found["a"], found["b"]))
    if not day_first and not month_first:
        return None
    return DayOrder(day_first[0] if day_first else None, month_first[0] if month_first else None)


def day_in(name: str, today: date) -> date | None:
    """The first day in a file's name, as in clean-2026-11-20.csv or 20261120101500_Filtered.csv; None where there is
    none. A day after tomorrow is not believed.
    """
    for match in _IN_NAME.finditer(name):
        found = days(f"{match[1]}-{match[3]}-{match[4]}")
        if found and found[0] <= today + timedelta(days=1):
            return found[0]
    return None


def latest(text: str) -> int | None:
    """The last moment that a text may mean, in epoch seconds UTC: the end of the day when it names only a day.

    0 when it lies so far ahead that it means never; None when the text is no moment.
    """
    text = text.strip()[:_SIGNS_MAX]
    if _ISO.fullmatch(text):  # what most files have, ten times quicker
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return _ahead(moment.date(), moment.time(), 0)
    if whole := days(text):
        return _ahead(max(whole), time(), 86_400 + _LAST_ZONE_S)
    day, *behind = re.split(r"[T ]", text, maxsplit=1)
    rest = "".join(behind).strip()
    named, found = days(day), _TIME.match(rest)
    if not named or found is None:
        return None
    at, offset = _time(found), _offset(rest[found.end() :].strip())
    return None if at is None or offset is None else _ahead(max(named), at, offset)


def first_end(day: date, text: str) -> int | None:
    """The first moment, in epoch seconds UTC, at which a day or moment that a text names may be over somewhere; NO_END if
    it means never, None if what stands behind the day is no time. `day` is the one that the text means."""
    if day.year >= _FOREVER:
        return NO_END
    found = _DAY.match(text.strip()[:_SIGNS_MAX])
    rest = "" if found is None else text.strip()[found.end() : _SIGNS_MAX].lstrip("T ").rstrip()
    if not rest:
        return earliest(day) + 86_400
    clock = _TIME.match(rest)
    at = None if clock is None else _time(clock)
    zone = "" if clock is None else rest[clock.end() :].strip()
    offset = _offset(zone) if zone else -int(FIRST_ZONE.total_seconds())
    return None if at is None or offset is None else _seconds(day, at) + offset


def begins_with(numbers: Numbers, digits: str) -> NDArray[np.bool_]:
    """Which of the numbers begin with these digits."""
    begins = np.zeros(len(numbers), np.bool_)
    for more in range(_LONGEST - len(digits) + 1):
        first = int(digits) * 10**more
        begins |= (numbers >= np.uint64(first)) & (numbers < np.uint64(first + 10**more))
    return begins


def earliest(day: date) -> int:
    """The first moment of a day anywhere on earth, in epoch seconds UTC."""
    return _seconds(day, time()) - int(FIRST_ZONE.total_seconds())


def _ahead(day: date, at: time, offset: int) -> int:
    return 0 if day.year >= _FOREVER else _seconds(day, at) + offset


def _dates(*ways: tuple[str, str, str]) -> list[date]:
    made = []
    for year, month, day in ways:
        try:
            made.append(date(int(year), int(month), int(day)))
        except ValueError:
            continue
    return list(dict.fromkeys(made))


def _time(found: "re.Match[str]") -> time | None:
    hour, half = int(found[1]), (found[4] or "").casefold()
    if half:
        hour = hour % 12 + 12 * (half == "pm") if 1 <= hour <= 12 else 24
    try:
        return time(hour, int(found[2]), int(found[3] or 0))
    except ValueError:
        return None


def _offset(zone: str) -> int | None:
    """The seconds that make a moment in this zone UTC."""
    if not zone:
        return _LAST_ZONE_S
    found = _ZONE.fullmatch(zone)
    if found is None:
        return None
    if found[1]:
        return 0
    east = int(found[3]) * 3600 + int(found[4] or 0) * 60
    return -east if found[2] == "+" else east


def _seconds(day: date, at: time) -> int:
    return (day.toordinal() - _EPOCH) * 86_400 + at.hour * 3600 + at.minute * 60 + at.second
