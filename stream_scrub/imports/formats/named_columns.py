"""`named-columns`: a CRM's export as CSV, whose columns the operator names: `--columns phone=Mobile,consent=Opt-in`.

A row is a consent only if the named columns state it:

* `consent`: a yes of the dictionary (`imports/parsing/roles.toml`). A no, and whatever a column `withdrawn` holds besides a
  plain no, ends the consent; a no anywhere in the list beats a yes of the same number. Anything else is unclear, and no
  consent.
* The row has as many cells as the header: in a shorter or longer one, cells stand under the wrong titles.
* `channel`: it names those of the register: calls, or messages for `consent-sms`.
* `until` has not passed, and `given` has come. A cell that is no day makes the row unclear. The order of day and month
  follows the column: one cell such as 15/03/2027 proves it for all. If none does, the reading that ends a consent earlier,
  or begins it later, counts. An end without a zone is the first moment that it can be on earth.
  `given` may also be one day for all, as in `given=2026-11-24`. Where the law says how long a consent lasts, it ends so
  many days after its row's own day, and a row without one is undated.
* `from`: with `until` it states a window of time, for a register of windows. Both are moments with a zone. A row whose
  window has another length than those of the register takes its number out of the register, and is told by its length.
  Of two windows of one number none counts.
* `country` is that of the number in the row, as a code or name; a blank cell is of the import's region.
* `proof` is for people: it says which column of the file has the proof.

Without `consent` every row states it only with `--all-consented`, or in our own layout: a header `phone,consented_on`, or
`phone,consented_on,until`, is recognised; there a row without a day is unclear.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.imports.consents import StatedWindow
from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import (
    NO_DAY,
    NO_END,
    DayOrder,
    EntryBuffer,
    begins_with,
    clean,
    earliest,
    first_end,
    in_orders,
    number_of,
)
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.list_columns import OTHER_LENGTH, ColumnCounter
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import CountryColumn, all_read, countries
from stream_scrub.imports.parsing.roles import NOES, ROLES, answer, channels
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.index import Numbers
from stream_scrub.languages import by_door, say
from stream_scrub.model import RegisterKind

_DAYS = ("given", "until")
# The titles of our own layout, which states consents, and their roles.
_OURS = {"phone": "phone", csv_table.CONSENTED_ON: "given", "until": "until"}
_SURE = 98
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WAITING_MAX = 1_000_000  # rows whose days may be read in two ways: some 300 MB
_EVERY = "every"  # a channel word for all of them
_DAY_S = 86_400
_CONSENTED, _SAID_NO, _UNCLEAR = "consented", "said no", "unclear"
_RAGGED = "with more or fewer cells than the header"
_ENDED, _NOT_BEGUN, _OTHER_CHANNEL, UNDATED = "ended", "not begun", "for another channel", "undated"
_NO_WINDOW = "without two moments with a zone, at most a day apart"
_TWO_WINDOWS = "with two windows"
_NO_NUMBER = "without a valid number"
_OUTCOMES = (
    _CONSENTED,
    _SAID_NO,
    _UNCLEAR,
    _RAGGED,
    _ENDED,
    _NOT_BEGUN,
    _OTHER_CHANNEL,
    _NO_WINDOW,
    _TWO_WINDOWS,
    UNDATED,
    _NO_NUMBER,
)


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every consent, and every no as a removal. Raises BadList if a column is missing, or its days contradict."""
    table = csv_table.CsvTable(source.text(), reading)
    if not table.head:
        return
    named = {**options.columns, **({"phone": options.column} if options.column else {})}
    is_ours = not options.columns and _is_ours(table.headed())
    columns, one_day, titles = roles_in(table, {} if is_ours else named)
    if options.all_consented and "consent" in columns:
        page = say("if everybody in the list consented, choose no column with the answer")
        raise BadList(by_door("--all-consented counts every row: leave consent= out of --columns", page))
    width = len(titles) or table.width
    consents = _Consents(columns, options, reading, one_day, width, is_ours=is_ours)
    counter = ColumnCounter(table.head[0].cells if titles else (), options.region, [columns["phone"]])
    rows = all_read(table, [columns["phone"]], options.region, reading, headed=bool(titles), named=True)
    place = columns.get("country", -1)
    country = CountryColumn(place) if place >= 0 else countries(table, headed=bool(titles))
    for row in counter.counted(rows):
        consents.take(row, country.of(row))
    consents.close()
    reading.columns = reading.columns or counter.columns(
        {country.place: "country"} | {place: role for role, place in columns.items()}
    )
    if {*columns} - {"phone", "country", "proof"} or one_day is not None:
        reading.kind, reading.answered = RegisterKind.ALLOW, True
    is_stated = is_ours or "consent" in columns
    if not is_stated and counter.others_filled(columns["phone"]):
        reading.unstated = True
    reading.dated = "given" in columns or one_day is not None
    reading.described = f"named columns of CSV by {table.spoken}" + (", with header" if titles else "")


class Roles(NamedTuple):
    """The places of a list's columns by role, the day of all consents if one was named, and the list's titles."""

    columns: dict[str, int]
    one_day: DayOrder | None
    titles: list[str]


def roles_in(table: csv_table.CsvTable, named: Mapping[str, str]) -> Roles:
    """The roles of the columns that are named, by default those of our own layout. Raises BadList."""
    if not named and _is_ours(table.headed()):
        named = {_OURS[title]: title for title in table.headed()}
    one_day = in_orders(named["given"]) if _ISO_DAY.fullmatch(named.get("given", "")) else None
    if one_day is not None:
        named = {role: name for role, name in named.items() if role != "given"}
    # A named title makes the first row a header, whatever else is in it.
    titles = table.headed() or _titles(table, named)
    columns = {role: csv_table.place_of(name, titles, table.width) for role, name in named.items()}
    if "phone" not in columns:
        page = say("choose the column of the phone numbers, too")
        raise BadList(by_door("name the column of the numbers too, as in --columns phone=1", page))
    if len(set(columns.values())) < len(columns):
        raise BadList("--columns: one column has two roles: name another for one of them")
    return Roles(columns, one_day, titles)


def _is_ours(titles: Sequence[str]) -> bool:
    return {"phone", csv_table.CONSENTED_ON} <= {*titles} <= _OURS.keys()


def _recognise(sample: ListSample) -> int:
    return _SURE if _is_ours(csv_table.sample_titles(sample)) else NEVER


def _titles(table: csv_table.CsvTable, named: Mapping[str, str]) -> list[str]:
    titles = [csv_table.title(cell) for cell in table.head[0].cells]
    return (
        titles
        if any(csv_table.title(name) in titles for name in named.values() if not name.isdecimal())
        else []
    )


class _Consents:
    """The rows on their way into a list. A row waits while the order of its day and month is not known."""

    def __init__(
        self,
        columns: Mapping[str, int],
        options: ListOptions,
        reading: ParsedList,
        one_day: DayOrder | None,
        width: int,
        *,
        is_ours: bool,
    ) -> None:
        """`one_day`: all consents were given on it. `width` is the number of the list's columns. `is_ours`: our own layout,
        in which the day states the consent."""
        self._columns = columns
        self._needed = max(columns.values()) + 1
        self._width = width
        self._is_ours = is_ours
        self._channels = options.channels
        self._region = options.region
        self._one_day = one_day
        self._reading = reading
        self._now = int(options.now.timestamp())
        self._today = options.now.date()
        self._window_minutes = options.window_minutes
        # A window's moments are clear: no cell proves their order.
        self._days_of = ("given",) if options.window_minutes else _DAYS
        self._orders: dict[str, tuple[str, int]] = {}  # by role, with the line of the cell that proves it
        self._waiting: list[tuple[csv_table.CsvRow, str]] = []
        dated = "given" in columns or one_day is not None
        law = options.law if dated else ()
        self._batch = _ConsentBuffer(
            reading, options.region, law, self._now, keeps_ends=options.window_minutes > 0
        )
        self._passed: Counter[str] = Counter()
        self._moved: Counter[str] = Counter()  # to a window of another length
        self._refused = reading.refused

    def take(self, row: csv_table.CsvRow, region: str) -> None:
        """Raises BadList for days of another order than the column's."""
        unsure = [role for role in self._days_of if role in self._columns and self._is_unsure(role, row)]
        if not unsure:
            self._put(row, region)
            return
        self._waiting.append((row, region))
        if len(self._waiting) > _WAITING_MAX:
            why = f"in the first {_WAITING_MAX:,} rows day and month may be either way round: write days as in 2027-01-31"
            page = say(
                "in the column of days, day and month may be either way round: write the days as in 2027-01-31"
            )
            raise BadList(by_door(why, page))

    def close(self) -> None:
        """Put the rows that waited, and say what became of all."""
        for row, region in self._waiting:
            self._put(row, region)
        self._batch.close()
        outcomes = Counter(self._reading.outcomes)
        outcomes.update(self._passed)
        outcomes.update(self._batch.outcomes)
        outcomes.update(self._moved)
        outcomes[_SAID_NO] -= self._moved.total()
        outcomes[_NO_NUMBER] += self._reading.refused - self._refused
        # Windows of other lengths come last, by the register that they are for.
        names = (*_OUTCOMES, *sorted(outcomes.keys() - {*_OUTCOMES}))
        self._reading.outcomes = {
            name: outcomes[name] for name in names if outcomes[name] or name == _CONSENTED
        }

    def _is_unsure(self, role: str, row: csv_table.CsvRow) -> bool:
        """Whether a row's day waits for the column's order. Notes the order if the row proves it."""
        days = in_orders(row.cell(self._columns[role]))
        if days is None or days.day_first == days.month_first:
            return False
        if not days.proves:
            return role not in self._orders
        order, line = self._orders.setdefault(role, (days.proves, row.line))
        if order != days.proves:
            column = self._columns[role] + 1
            why = (
                f"column {column}: the days are {order} in line {line}, and {days.proves} in line {row.line}: write them as"
                " in 2027-01-31"
            )
            page = say(
                "column %(column)s: the days in lines %(first)s and %(second)s have day and month in different orders: write"
                " them as in 2027-01-31",
                column=column,
                first=line,
                second=row.line,
            )
            raise BadList(by_door(why, page))
        return False

    def _put(self, row: csv_table.CsvRow, region: str) -> None:
        phone = row.cell(self._columns["phone"])
        if self._refuses(row):
            self._batch.put(phone, row.line, removed=True, region=region)
            return
        end, given = self._end(row), self._given(row)
        outcome = self._lack(row, end, given) or self._lack_of_window(row)
        is_moved = outcome.startswith(OTHER_LENGTH)
        if (outcome == _RAGGED or is_moved) and number_of(phone, region or self._region) is None:
            self._batch.refuse(row.line)
            return
        if is_moved:
            # The window that the register has of this number, if any, is not the latest.
            self._moved[outcome] += 1
            self._batch.put(phone, row.line, removed=True, region=region)
            return
        if outcome:
            self._passed[outcome] += 1
            self._reading.passed += 1
            return
        assert end is not None, "an unreadable day is unclear"
        assert given is not None, "an unreadable day is unclear"
        self._batch.put(phone, row.line, end, region=region, given=given)

    def _refuses(self, row: csv_table.CsvRow) -> bool:
        consent, withdrawn = self._cell("consent", row), self._cell("withdrawn", row)
        return answer(consent) in NOES or (bool(withdrawn) and answer(withdrawn) != "no")

    def _lack(self, row: csv_table.CsvRow, end: int | None, given: int | None) -> str:
        """Why a row that does not refuse is no consent; "" if it is one."""
        if len(row.cells) < self._needed or any(map(str.strip, row.cells[self._width :])):
            return _RAGGED
        if self._is_ours and given == NO_DAY:
            return _UNCLEAR
        if "consent" in self._columns and answer(self._cell("consent", row)) != "yes":
            return _UNCLEAR
        if end is None or given is None:
            return _UNCLEAR
        if "channel" in self._columns:
            named = channels(self._cell("channel", row))
            if not named:
                return _UNCLEAR
            if _EVERY not in named and not self._channels <= named:
                return _OTHER_CHANNEL
        if end != NO_END and end <= self._now:
            return _ENDED
        days = self._days("given", row)
        return _NOT_BEGUN if any(day > self._today for day in days) else ""

    def _lack_of_window(self, row: csv_table.CsvRow) -> str:
        """Why a row is for no window of the register's; "" if it is, or if the register has none."""
        if not self._window_minutes:
            return ""
        window = self._window(row)
        if window is None:
            return _NO_WINDOW
        return "" if window.minutes == self._window_minutes else f"{OTHER_LENGTH}{window.minutes}m"

    def _window(self, row: csv_table.CsvRow) -> StatedWindow | None:
        """The window that a row states; None without one."""
        return StatedWindow.of(self._cell("from", row), self._cell("until", row))

    def _end(self, row: csv_table.CsvRow) -> int | None:
        """The first moment, epoch seconds, at which the row's consent may be over; None if the cell cannot be read."""
        if self._window_minutes:
            window = self._window(row)
            return NO_END if window is None else window.end  # a row without one does not count
        cell = self._cell("until", row)
        if not cell:
            return NO_END
        ends = [first_end(day, cell) for day in self._days("until", row)]
        return None if not ends or None in ends else min(end for end in ends if end is not None)

    def _given(self, row: csv_table.CsvRow) -> int | None:
        if self._one_day is None and not self._cell("given", row):
            return NO_DAY
        days = self._days("given", row)
        if not days or first_end(days[0], self._cell("given", row)) is None:
            return None
        return max(1, earliest(min(days)))

    def _days(self, role: str, row: csv_table.CsvRow) -> list[date]:
        """The days that a row's cell may mean by the order of its column."""
        days = in_orders(self._cell(role, row))
        if role == "given" and self._one_day is not None:
            days = self._one_day
        if days is None:
            return []
        order, _ = self._orders.get(role, ("", 0))
        if order == "day first":
            both = [days.day_first or days.month_first]
        elif order == "month first":
            both = [days.month_first or days.day_first]
        else:
            both = [days.day_first, days.month_first]
        return [day for day in both if day is not None]

    def _cell(self, role: str, row: csv_table.CsvRow) -> str:
        return clean(row.cell(self._columns[role])) if role in self._columns else ""


class _ConsentBuffer(EntryBuffer):
    """Entries of consents, each ended as the law says after the day on which it was given. A no beats every yes of its
    number."""

    def __init__(
        self, reading: ParsedList, region: str, law: Sequence[tuple[str, int]], now: int, *, keeps_ends: bool
    ) -> None:
        """`keeps_ends`: a consent that the law would end earlier does not count, because a window that ended earlier would
        begin earlier."""
        super().__init__(reading, region, last="removals")
        self._keeps_ends = keeps_ends
        self.outcomes: Counter[str] = Counter()
        self._law = law
        self._now = now
        self._windows: dict[int, int] = {}  # by number, the end of the first one in the list
        self._with_two: set[int] = set()

    def _lawful(
        self, numbers: Numbers, removed: NDArray[np.bool_], ends: NDArray[np.int64], given: NDArray[np.int64]
    ) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.int64]]:
        undated, over = np.zeros(len(numbers), np.bool_), np.zeros(len(numbers), np.bool_)
        for digits, days in self._law:
            limited = begins_with(numbers, digits) & ~removed
            last = given + days * _DAY_S
            if self._keeps_ends:
                over |= limited & (given != NO_DAY) & (ends > last)
            ends = np.where(limited & (given != NO_DAY) & ((ends == NO_END) | (ends > last)), last, ends)
            undated |= limited & (given == NO_DAY)
        ended = ~removed & ~undated & (over | ((ends != NO_END) & (ends <= self._now)))
        kept = ~(undated | ended)
        self.outcomes[UNDATED] += int(undated.sum())
        self.outcomes[_ENDED] += int(ended.sum())
        self.outcomes[_SAID_NO] += int(removed.sum())
        self.outcomes[_CONSENTED] += int((kept & ~removed).sum())
        self._reading.passed += int((~kept).sum())
        if self._keeps_ends:
            removed = removed | self._second_windows(numbers, ends, kept & ~removed)
        return numbers[kept], removed[kept], ends[kept]

    def _second_windows(
        self, numbers: Numbers, ends: NDArray[np.int64], consented: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """The rows with another window than one before them: as removals, so that neither counts."""
        others = np.zeros(len(numbers), np.bool_)
        for at in np.flatnonzero(consented):
            number, end = int(numbers[at]), int(ends[at])
            if self._windows.setdefault(number, end) == end:
                continue
            others[at] = True
            newly = 1 if number in self._with_two else 2  # the first one, too
            self._with_two.add(number)
            self.outcomes[_TWO_WINDOWS] += newly
            self.outcomes[_CONSENTED] -= newly
        return others


FORMAT = FormatSpec(
    "named-columns",
    "a CRM's export: --columns phone=Mobile,consent=Opt-in,until=Ends",
    _recognise,
    _read,
    frozenset(ROLES),
)
