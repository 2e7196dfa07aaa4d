"""The six cells that each row gets, and those that a row has from an earlier scrub: these are replaced.

An old verdict must not stay in a row next to the new one: a reader of the first one calls by what held then. So
one row with such cells is enough for a file to be one that was scrubbed before, and what stands in their place and is
none of ours ends the run.
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from stream_scrub import texts
from stream_scrub.clock import local_minutes, zone
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.languages import by_door, say, translatable
from stream_scrub.model import Reason
from stream_scrub.stamp import CallHours

NO_HOUR = "none"  # in the cells of a row whose hours are all over: an empty cell would mean any hour
ADDED = (
    "scrub_verdict",
    "scrub_reason",
    "scrub_number",
    "scrub_until",
    "scrub_call_from",
    "scrub_call_to",
)
REPLACED = "; it was scrubbed before: those verdicts are replaced"
_TITLES = frozenset(map(texts.plain, ADDED))
_LEAD_ROWS = 50  # among which titles stand
_TRIMMED = 3  # of our cells, a trimmed row may lack the last ones
_VERDICTS = ("allowed", "blocked")
_REASONS = "|".join(sorted(Reason))
# A spreadsheet may have written the number, the day and the hours in its own way.
_HOURS = rf"{NO_HOUR}|[-+:./, 0-9TZAPM]*"
_SHAPES = ("|".join(_VERDICTS), _REASONS, r"[-+() 0-9.,eE]*", r"[-./ 0-9]*", _HOURS, _HOURS)
_ROW = [re.compile(shape) for shape in _SHAPES]
_ELSEWHERE = translatable(
    "the file has columns of an earlier scrub (scrub_verdict, ...) that were moved or renamed: delete these columns, or"
    " scrub the original file"
)


def number_cell(numbers: Sequence[str]) -> str:
    """The numbers that may be called, in one cell. Several stand in brackets: a spreadsheet would take +1 +2 for a sum,
    and show it."""
    if len(numbers) == 1:
        return f"+{numbers[0]}"
    return " ".join(f"(+{number})" for number in numbers)


def call_cells(hours: CallHours | None, now: datetime, *, whole_day: bool) -> tuple[str, str]:
    """When a call may begin on the first day that has an hour left, and when it is too late, on the clock of the person.
    `whole_day`: that of `now` counts from its first hour. Two windows of that day stand in both cells, in one order. Empty at
    any hour."""
    if hours is None:
        return "", ""
    clock = zone(hours.zones[0]) if hours.zones else UTC
    spans = [(opens.astimezone(clock), closes) for opens, closes in hours.spans()]
    left = [each for each in spans if (each[0].date() >= now.date() if whole_day else now < each[1])]
    if not left:
        return NO_HOUR, NO_HOUR
    of_day = [each for each in left if each[0].date() == left[0][0].date()]
    ends = [(opens, closes.astimezone(clock)) for opens, closes in of_day]
    first, last = (" ".join(local_minutes(each[at]) for each in ends) for at in (0, 1))
    return first, last


class Earlier(NamedTuple):
    """Where a file has the cells of an earlier scrub: in the six columns before `width`. The first `above` rows are no
    leads, and may hold anything there."""

    width: int
    above: int

    @property
    def place(self) -> int:
        """The first of the six columns, counted from 0."""
        return self.width - len(ADDED)

    def ends(self, row: Sequence[str]) -> bool:
        """Whether the last six cells of a row are those. They are empty in a row that somebody added."""
        last = row[-len(ADDED) :]
        return (
            len(last) == len(ADDED)
            and is_ours(last)
            and (len(row) == self.width or any(map(str.strip, last)))
        )


def is_ours(cells: Sequence[str]) -> bool:
    """Whether these six cells are those of an earlier scrub, or of its titles, or empty."""
    bare = [cell.strip() for cell in cells]
    return tuple(bare) == ADDED or _is_verdict(bare) or not any(bare)


def yours(where: str, line: int) -> BadFile:
    """What is raised for a row that holds something else there; `where` is "line" or "row"."""
    why = (
        f"{where} {line}: the columns of the earlier scrub (scrub_verdict, ...) hold something other than our verdict:"
        " move it, or delete these six columns"
    )
    page = say(
        "line %(line)s: the columns of the earlier scrub (scrub_verdict, ...) hold something other than our verdict: move it,"
        " or delete these six columns",
        line=line,
    )
    return BadFile(by_door(why, page))


def below(line: int) -> BadFile:
    """What is raised for a row with such cells in a file whose first rows have none."""
    return BadFile(
        say(
            "line %(line)s has the cells of an earlier scrub, and the first rows have none: delete these cells, or put that"
            " line first",
            line=str(line),
        )
    )


def earlier_in(rows: Sequence[Sequence[str]], *, trimmed: bool = False) -> Earlier | None:
    """Where a file with these rows has the cells of an earlier scrub: titles tell it, or else one row with a verdict.
    `trimmed`: empty cells at a row's end are left out. Raises ConfigError if they are not in its last six columns."""
    titled = [
        place
        for place, row in enumerate(rows[:_LEAD_ROWS])
        if any("scrub" in cell.casefold() and texts.plain(cell) in _TITLES for cell in row)
    ]
    for place in titled:
        own, last = rows[place][: -len(ADDED)], [cell.strip() for cell in rows[place][-len(ADDED) :]]
        if tuple(last) != ADDED or any(texts.plain(cell) in _TITLES for cell in own):
            raise ConfigError([say(_ELSEWHERE)])
    if titled:
        return Earlier(len(rows[titled[-1]]), titled[-1] + 1)
    widths: Counter[int] = Counter()
    for row in rows:
        begin = _verdict_in(row, trimmed=trimmed)
        if begin is not None:
            widths[begin + len(ADDED)] += 1
            if begin + len(ADDED) < len(row) or (trimmed and len(widths) > 1):
                raise ConfigError([say(_ELSEWHERE)])
    return Earlier(widths.most_common(1)[0][0], 0) if widths else None


def _verdict_in(row: Sequence[str], *, trimmed: bool) -> int | None:
    """Where the first six cells of a row begin that are a verdict; None without any. Of a trimmed row three are enough,
    and no fewer: `blocked` next to `opposed` may be the user's own words."""
    for place, cell in enumerate(row):
        if cell.strip() in _VERDICTS:
            cells = [each.strip() for each in row[place : place + len(ADDED)]]
            missing = len(ADDED) - len(cells)
            if missing <= (_TRIMMED if trimmed else 0) and _is_verdict([*cells, *[""] * missing]):
                return place
    return None


def _is_verdict(cells: Sequence[str]) -> bool:
    return all(shape.fullmatch(cell) for shape, cell in zip(_ROW, cells, strict=True))


def verdict_at_end(delimiter: bytes) -> re.Pattern[bytes]:
    """Finds the cells of a verdict at the end of some line, in bytes with this delimiter."""
    sign, shapes = re.escape(delimiter), [shape.encode() for shape in _SHAPES]
    cells = (sign + rb' *(?:"(?:' + shape + rb')"|(?:' + shape + rb")) *" for shape in shapes)
    return re.compile(b"".join(cells) + rb"(?=[\r\n]|\Z)")
