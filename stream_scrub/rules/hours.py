"""When calls may be made: the hours of a rule by weekday, and the days without calls. Reads one file, the shipped
holidays, once.

The text of a rule holds every holiday that it was read with, so an old stamp is given again by the days that counted
then, whatever a later release says about them.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from itertools import groupby, pairwise
from typing import Any

from stream_scrub.rules.problem_sheet import ProblemSheet, nearest
from stream_scrub.rules.shipped import shipped as shipped_rules

FILE = "holidays.toml"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Spans = tuple[tuple[int, int], ...]  # of one day: from this minute to before that one
_DAY_END = 24 * 60
_SPAN = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_KEYS = ("holidays", "holidays_in", "lifted_by", "windows_only", "source")
_EXAMPLE = '{ mon-fri = ["10:00-13:00", "14:00-20:00"], source = "..." }'


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours of one rule, by the clock of the person who is called."""

    source: str
    week: tuple[Spans, ...]  # by weekday, from Monday
    holidays: frozenset[date]  # days without calls
    holidays_in: Mapping[str, frozenset[date]] = field(hash=False)  # by region: more of them
    lifted_by: tuple[str, ...]  # consents to other times: a scoped list lifts the hours for its campaign
    windows_only: bool = (
        False  # these consents count only within the window that they state, on days with hours
    )

    def closed(self, day: date, region: str) -> bool:
        """Whether the day is a holiday there, or in a year whose holidays are not known."""
        of_region = self.holidays_in.get(region, frozenset())
        if day in self.holidays or day in of_region:
            return True
        holidays = self.holidays or of_region
        return bool(holidays) and all(each.year != day.year for each in holidays)

    def on(self, day: date, region: str) -> Spans:
        """The spans of that day for somebody in the region; none on a day without calls."""
        return () if self.closed(day, region) else self.week[day.weekday()]

    def asks_more_than(self, other: "Hours | None", since: date) -> bool:
        """Whether a call is too early or late by these hours, from that day on, and not by the other ones; None: at any
        time."""
        if other is None or (self.windows_only and other.lifted_by and not other.windows_only):
            return True
        spans = (
            any(begin <= opens and closes <= end for begin, end in own_days)
            for own_days, theirs in zip(self.week, other.week, strict=True)
            for opens, closes in theirs
        )
        days = [(self.holidays, frozenset[date]())]
        days += [(each, other.holidays_in.get(name, frozenset())) for name, each in self.holidays_in.items()]
        open_days = (day for own_days, theirs in days for day in own_days - theirs - other.holidays)
        return not all(spans) or any(day >= since for day in open_days)

    @property
    def in_words(self) -> str:
        """The week for people: "Mon-Fri 10:00-13:00, 14:00-20:00"."""
        days = [
            f"{_title(name)} {', '.join(map(_written, spans))}" for name, spans in self._by_days() if spans
        ]
        return "; ".join(days)

    def within(self, first: date, last: date | None) -> "Hours":
        """The same for a rule of these days, with the holidays of their years and of the year after them. If none is
        known of these years, all stay: without any, every day would be open."""
        years = range(first.year, date.max.year if last is None else last.year + 2)

        def kept(days: frozenset[date]) -> frozenset[date]:
            return frozenset(day for day in days if day.year in years) or frozenset(days)

        inside = {region: kept(days) for region, days in self.holidays_in.items()}
        return replace(self, holidays=kept(self.holidays), holidays_in=inside)

    @property
    def text(self) -> str:
        """The hours as an inline table of TOML, in a fixed order."""

        def listed(days: Iterable[date]) -> str:
            return f"[{', '.join(day.isoformat() for day in sorted(days))}]"

        members = [
            (name, json.dumps([_written(span) for span in spans])) for name, spans in self._by_days() if spans
        ]
        if self.holidays:
            members.append(("holidays", listed(self.holidays)))
        if self.holidays_in:
            regions = (f"{region} = {listed(days)}" for region, days in sorted(self.holidays_in.items()))
            members.append(("holidays_in", f"{{ {', '.join(regions)} }}"))
        if self.lifted_by:
            members.append(("lifted_by", json.dumps(self.lifted_by)))
        if self.windows_only:
            members.append(("windows_only", "true"))
        members.append(("source", json.dumps(self.source, ensure_ascii=False)))
        return f"{{ {', '.join(f'{key} = {value}' for key, value in members)} }}"

    def _by_days(self) -> Iterator[tuple[str, Spans]]:
        """The spans of each group of days that follow each other and are the same."""
        for spans, group in groupby(range(7), key=lambda at: self.week[at]):
            days = [WEEKDAYS[at] for at in group]
            yield (days[0] if len(days) == 1 else f"{days[0]}-{days[-1]}"), spans


def _title(name: str) -> str:
    return "-".join(day.capitalize() for day in name.split("-"))


def _written(span: tuple[int, int]) -> str:
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in span)


@cache
def shipped() -> Mapping[str, frozenset[date]]:
    """The shipped sets of holidays by name, as in "FR" or "FR-RE"."""
    table = tomllib.loads(shipped_rules().folder.joinpath(FILE).read_text("utf-8"))
    return {
        name: frozenset(date.fromisoformat(f"{year}-{day}") for year, days in years.items() for day in days)
        for name, years in table.items()
    }


def read_hours(
    sheet: ProblemSheet, regions: Iterable[str], register_problem: Callable[[str], str | None]
) -> Hours | None:
    """The hours in the sheet's table; None for a rule without any. `regions` are those that its country may name.
    `register_problem` returns the fault of a register in `lifted_by`."""
    table = sheet.table.get("hours")
    if table is None:
        return None
    if not isinstance(table, dict):
        sheet.wrong("hours", f"`hours` must be a table, as in hours = {_EXAMPLE}")
        return None
    source = table.get("source")
    if not isinstance(source, str) or not source.strip():
        sheet.wrong("hours", '`hours` has no `source`: say which law names them, as in source = "D.223-9"')
    week: list[Spans | None] = [None] * 7
    for key, value in table.items():
        if key not in _KEYS:
            _fill(sheet, week, key, value)
    inside, known = table.get("holidays_in", {}), frozenset(regions)
    if not isinstance(inside, dict):
        sheet.wrong("hours", '`hours.holidays_in` must be a table, as in { RE = ["FR-RE"] }')
        inside = {}
    for region in inside:
        if region not in known:
            sheet.wrong("hours", f'`hours.holidays_in` names "{region}"{nearest(region, known)}')
    lifted_by = sheet.names_in("hours", "hours.lifted_by", table.get("lifted_by", []), register_problem)
    windows_only = table.get("windows_only", False)
    if windows_only is not False and (windows_only is not True or not lifted_by):
        sheet.wrong("hours", "`hours.windows_only` must be true, beside a `lifted_by`: remove it otherwise")
    return Hours(
        source=str(source),
        week=tuple(spans or () for spans in week),
        holidays=_holidays(sheet, "hours.holidays", table.get("holidays", [])),
        holidays_in={
            each: _holidays(sheet, f"hours.holidays_in.{each}", days) for each, days in inside.items()
        },
        lifted_by=lifted_by,
        windows_only=windows_only is True,
    )


def _fill(sheet: ProblemSheet, week: list[Spans | None], key: str, value: Any) -> None:
    """Put the spans of a key as in `mon-fri` or `sat` into the week."""
    first, _, last = key.partition("-")
    if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
        sheet.wrong("hours", f'`hours`: unknown key "{key}": write days as in mon-fri or sat')
        return
    days = range(WEEKDAYS.index(first), WEEKDAYS.index(last or first) + 1)
    spans = [_span(text) for text in value] if isinstance(value, list) else [None]
    if not days or not spans or None in spans:
        sheet.wrong(
            "hours", f'`hours.{key}` must be spans of one day from Monday on, as in {key} = ["09:00-20:00"]'
        )
        return
    if any(end > begin for (_, end), (begin, _) in pairwise(spans)):  # type: ignore[misc]
        sheet.wrong(
            "hours", f"`hours.{key}`: its spans overlap, or the later one is first: put them in order"
        )
    for day in days:
        if week[day] is not None:
            sheet.wrong("hours", f"`hours`: two keys name {WEEKDAYS[day]}: keep one of them")
        week[day] = tuple(spans)  # type: ignore[arg-type]  # none is None


def _span(text: object) -> tuple[int, int] | None:
    match = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return (begin, end) if begin < end <= _DAY_END else None


def _holidays(sheet: ProblemSheet, label: str, value: Any) -> frozenset[date]:
    """The days of a list of names of shipped sets, and of days."""
    days: set[date] = set()
    for each in value if isinstance(value, list) else [None]:
        if type(each) is date:
            days.add(each)
        elif isinstance(each, str) and each in shipped():
            days |= shipped()[each]
        else:
            sheet.wrong(
                "hours", f'`{label}` must be a list of days and shipped holidays, as in ["FR", 2026-05-08]'
            )
    return frozenset(days)
