"""The four cells that each row gets, and those that a row has from an earlier scrub: these are replaced.

An old verdict must not stay in a row beside the new one: whoever reads the first of the two calls by what held then. So
one row with such cells is enough for a file to be one that was scrubbed before, and what stands in their place and is
none of ours ends the run.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stream_scrub import spelling
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.model import Reason

ADDED = ("scrub_verdict", "scrub_reason", "scrub_number", "scrub_until")
REPLACED = "; it was scrubbed before: those verdicts are replaced"
_TITLES = frozenset(map(spelling.plain, ADDED))
_LEAD_ROWS = 50  # among which titles stand
_VERDICTS = ("allowed", "blocked")
_REASONS = "|".join(sorted(Reason))
# A spreadsheet may have written the number and the day in its own way.
_SHAPES = ("|".join(_VERDICTS), _REASONS, r"[-+() 0-9.,eE]*", r"[-./ 0-9]*")
_ROW = [re.compile(shape) for shape in _SHAPES]
_ELSEWHERE = (
    "the file has columns of an earlier scrub (scrub_verdict, ...) that are not its last four, or not titled so: delete"
    " these columns, or scrub the file that they were made from"
)
_YOURS = (
    "{where} {line}: what stands in the columns of the earlier scrub (scrub_verdict, ...) is no verdict of ours and would be"
    " lost, or taken for one: move it, or delete these four columns"
)
_BELOW = (
    "line {line} has the cells of an earlier scrub, and the first rows have none: delete these cells, or put that line"
    " first"
)


def number_cell(numbers: Sequence[str]) -> str:
    """The numbers that may be called, in one cell. Several stand in brackets: a spreadsheet would take +1 +2 for a sum,
    and show it."""
    if len(numbers) == 1:
        return f"+{numbers[0]}"
    return " ".join(f"(+{number})" for number in numbers)


class Earlier(NamedTuple):
    """Where a file has the cells of an earlier scrub: in the four columns before `width`. The first `above` rows are no
    leads, and may hold anything there."""

    width: int
    above: int

    @property
    def place(self) -> int:
        """The first of the four columns, counted from 0."""
        return self.width - len(ADDED)

    def ends(self, row: Sequence[str]) -> bool:
        """Whether the last four cells of a row are those. They are empty in a row that somebody added."""
        last = [cell.strip() for cell in row[-len(ADDED) :]]
        return len(last) == len(ADDED) and (
            tuple(last) == ADDED or _is_verdict(last) or (len(row) == self.width and not any(last))
        )


def is_ours(cells: Sequence[str]) -> bool:
    """Whether these four cells are those of an earlier scrub, or of its titles, or empty."""
    told = [cell.strip() for cell in cells]
    return tuple(told) == ADDED or _is_verdict(told) or not any(told)


def yours(where: str, line: int) -> Refused:
    """What is raised for a row that holds something else there; `where` is "line" or "row"."""
    return Refused(_YOURS.format(where=where, line=line))


def below(line: int) -> Refused:
    """What is raised for a row with such cells in a file whose first rows have none."""
    return Refused(_BELOW.format(line=line))


def earlier_in(rows: Sequence[Sequence[str]], *, trimmed: bool = False) -> Earlier | None:
    """Where a file with these rows has the cells of an earlier scrub: titles tell it, or else one row with a verdict.
    `trimmed`: empty cells at a row's end are left out. Raises ConfigError if they are not in its last four columns."""
    titled = [
        place
        for place, row in enumerate(rows[:_LEAD_ROWS])
        if any("scrub" in cell.casefold() and spelling.plain(cell) in _TITLES for cell in row)
    ]
    for place in titled:
        own, last = rows[place][: -len(ADDED)], [cell.strip() for cell in rows[place][-len(ADDED) :]]
        if tuple(last) != ADDED or any(spelling.plain(cell) in _TITLES for cell in own):
            raise ConfigError([_ELSEWHERE])
    if titled:
        return Earlier(len(rows[titled[-1]]), titled[-1] + 1)
    widths: Counter[int] = Counter()
    for row in rows:
        begin = _verdict_in(row, trimmed=trimmed)
        if begin is not None:
            widths[begin + len(ADDED)] += 1
            if begin + len(ADDED) < len(row) or (trimmed and len(widths) > 1):
                raise ConfigError([_ELSEWHERE])
    return Earlier(widths.most_common(1)[0][0], 0) if widths else None


def _verdict_in(row: Sequence[str], *, trimmed: bool) -> int | None:
    """Where the first four cells of a row begin that are a verdict; None without any. Of a trimmed row three are enough,
    and no fewer: `blocked` beside `opposed` may be somebody's own words."""
    for place, cell in enumerate(row):
        if cell.strip() in _VERDICTS:
            cells = [each.strip() for each in row[place : place + len(ADDED)]]
            missing = len(ADDED) - len(cells)
            if missing <= trimmed and _is_verdict([*cells, *[""] * missing]):
                return place
    return None


def _is_verdict(cells: Sequence[str]) -> bool:
    return all(shape.fullmatch(cell) for shape, cell in zip(_ROW, cells, strict=True))


class Endings(NamedTuple):
    """Finds at the end of a record's bytes what `Earlier.ends` means: `told` the titles or a verdict, `blank` four empty
    cells. `line` finds a verdict at the end of some line in a block."""

    told: re.Pattern[bytes]
    blank: re.Pattern[bytes]
    line: re.Pattern[bytes]

    @classmethod
    def by(cls, delimiter: bytes) -> "Endings":
        """In records with this delimiter."""
        sign = re.escape(delimiter)

        def cells(shapes: Sequence[str]) -> bytes:
            return b"".join(
                sign + rb' *(?:"(?:' + shape.encode() + rb')"|(?:' + shape.encode() + rb")) *"
                for shape in shapes
            )

        verdict = cells(_SHAPES)
        return cls(
            re.compile(b"(?:" + cells(ADDED) + b"|" + verdict + rb")\Z"),
            re.compile(cells([""] * len(ADDED)) + rb"\Z"),
            re.compile(verdict + rb"(?=[\r\n]|\Z)"),
        )
