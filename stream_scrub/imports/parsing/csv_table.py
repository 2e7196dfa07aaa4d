"""Lists in CSV: rows with bounds, and the columns that a format asks for."""

import csv
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, NamedTuple, TypeVar

from stream_scrub.imports.parsing.cells import clean
from stream_scrub.imports.parsing.format import ListSample
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.languages import by_door, say
from stream_scrub.texts import masked

SEPARATORS = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar"}  # and their names for people
ROW_SIGNS_MAX = 1 << 20  # of a row with line ends in its cells: as long as one line may be
COLUMNS_MAX = 1_000


class MeteredLines:
    """Lines on their way into a csv.reader, whose rows may have any number of them. `signs` are those of the lines given
    since the caller last set it to 0, and more than a row may have raise BadList.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.signs = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.signs += len(line)
            if self.signs > ROW_SIGNS_MAX:
                raise BadList(
                    say(
                        "a row is longer than %(most)s MiB: this is not a list of rows, or a quote that is never closed",
                        most=ROW_SIGNS_MAX >> 20,
                    )
                )
            yield line


def separator_of(sample: list[str]) -> str | None:
    """The separator that most lines of the sample share, or most rows where quoted cells have line ends in them;
    None for a list of lines.
    """
    filled = [line for line in sample if line.strip()]
    lines = {s: sum(s in line for line in filled) for s in SEPARATORS}
    best = max(lines, key=lambda s: lines[s])
    if lines[best] * 2 > len(filled):
        return best
    rows = {s: _rows_share(sample, s) for s in SEPARATORS if any('"' in line for line in filled)}
    best = max(rows, key=lambda s: rows[s], default="")
    return best if best and rows[best] > 0.5 else None


def _rows_share(sample: list[str], separator: str) -> float:
    """The share of rows with more than one cell, if that is the separator."""
    try:
        rows = [row for row in csv.reader(sample, delimiter=separator) if any(row)]
    except csv.Error:
        return 0.0
    return sum(len(row) > 1 for row in rows) / max(1, len(rows))


def broken(line: int, error: csv.Error | str) -> BadList:
    """What to raise for CSV that cannot be read on from a line."""
    why = f"line {line}: broken CSV ({error}); a quote that is never closed, perhaps"
    page = say(
        "line %(line)s cannot be read; a quote is never closed, perhaps. Correct the line, or delete it",
        line=line,
    )
    return BadList(by_door(why, page))


_T = TypeVar("_T")
_HEAD = 50  # rows by which columns are recognised
_HEAD_SIGNS = 1 << 20  # rows with so many signs are enough, however few they are
_TOLD_COLUMNS = 20


CONSENTED_ON = "consentedon"  # of our own layout of consents


class CsvRow(NamedTuple):
    """One row and the line that it begins on, from 1."""

    line: int
    cells: list[str]

    def cell(self, place: int) -> str:
        """The cell at a place, "" where the row ends before it."""
        return self.cells[place] if place < len(self.cells) else ""


class CsvTable:
    """A CSV (RFC 4180, any of `,` `;` tab `|`), read row by row. Blank rows are counted in `reading` and skipped.

    `head` is the first rows, which iteration gives again. A quote that opens and does not close raises BadList, as
    otherwise the lines behind it would vanish in one cell. `strict`: so does text behind a closing quote.
    """

    def __init__(self, text: IO[str], reading: ParsedList, *, strict: bool = True) -> None:
        lines = list(_first(text, len))
        self.separator = separator_of(lines) or ","
        self.spoken = SEPARATORS[self.separator]  # how the columns are separated, for people
        self._rows = _rows(MeteredLines(chain(lines, text)), self.separator, reading, strict=strict)
        self.head = list(_first(self._rows, lambda row: sum(map(len, row.cells)) + len(row.cells)))
        self.width = max((len(row.cells) for row in self.head), default=0)  # the most columns of these

    def headed(self) -> list[str]:
        """The names of the columns when the first row is a header: some letters, and no cell with many digits."""
        titles = [title(cell) for cell in self.head[0].cells] if self.head else []
        return titles if is_header(titles) else []

    def __iter__(self) -> Iterator[CsvRow]:
        return chain(self.head, self._rows)

    def body(self, reading: ParsedList, *, headed: bool) -> Iterator[CsvRow]:
        """The rows behind the header, which is counted."""
        rows = iter(self)
        if headed and next(rows, None) is not None:
            reading.titles += 1
        return rows


def _first(of: Iterator[_T], signs: Callable[[_T], int]) -> Iterator[_T]:
    """The first 50, or fewer of more than a million signs."""
    total = 0
    for count, each in enumerate(of, 1):
        yield each
        total += signs(each)
        if count == _HEAD or total > _HEAD_SIGNS:
            return


def _rows(lines: MeteredLines, separator: str, reading: ParsedList, *, strict: bool) -> Iterator[CsvRow]:
    rows = csv.reader(lines, delimiter=separator, strict=strict)
    begins, at, cells = 1, 1, list[str]()
    try:
        for cells in rows:
            lines.signs, at = 0, begins
            if len(cells) > COLUMNS_MAX:
                raise BadList(
                    say("a row has more than %(most)s columns: this is not a list", most=COLUMNS_MAX)
                )
            if any(map(str.strip, cells)):
                yield CsvRow(at, cells)
            else:
                reading.blank += 1
            begins = rows.line_num + 1
    except csv.Error as error:
        raise broken(begins, error) from error
    lines_read = begins - at
    # The last cell has the end of the last line in it.
    if lines_read and sum(cell.count("\n") for cell in cells) >= lines_read:
        raise broken(at, "the file ends within quotes")


def title(cell: str) -> str:
    """A column's name without case, accents, spaces and signs: "Numéro_Tél" is numerotel."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", clean(cell).casefold())))


def is_header(titles: Sequence[str]) -> bool:
    """Whether cells, as `title` makes them, are names of columns rather than an entry."""
    named = [name for name in titles if name]
    return bool(named) and all(any(map(str.isalpha, name)) and _digits(name) < 5 for name in named)


def sample_rows(sample: ListSample) -> list[list[str]]:
    """The sample's rows, for `recognise`; none where it is no CSV."""
    lines = sample.filled
    try:
        rows = list(csv.reader(lines, delimiter=separator_of(lines) or ",", strict=True))
    except csv.Error:
        return []
    return rows if max(map(len, rows), default=0) <= COLUMNS_MAX else []


def sample_titles(sample: ListSample) -> list[str]:
    """The sample's header as `CsvTable.headed` would give it."""
    rows = sample_rows(sample)
    titles = [title(cell) for cell in rows[0]] if rows else []
    return titles if is_header(titles) else []


def find(titles: Sequence[str], names: Collection[str]) -> int:
    """The place of the first column with one of these names; -1 for none."""
    return next((place for place, name in enumerate(titles) if name in names), -1)


def place_of(wanted: str, titles: Sequence[str], width: int) -> int:
    """The place that a user named: a header's name, or a number from 1. Raises BadList."""
    page = say("the list has other columns than those that you chose: choose them again")
    if wanted.isascii() and wanted.isdigit():
        if 1 <= len(wanted) <= 4 and 1 <= int(wanted) <= width:
            return int(wanted) - 1
        raise BadList(by_door(f"column {wanted} was asked for, but the list has {width}", page))
    # A name of signs alone would match every other one.
    if title(wanted) and (found := find(titles, {title(wanted)})) >= 0:
        if (count := titles.count(titles[found])) > 1:
            why = f"{count} columns are called {masked(wanted)!r}: name one by its number, from 1"
            raise BadList(by_door(why, page))
        return found
    known = ", ".join(map(speakable, titles[:_TOLD_COLUMNS])) or "none: the first line is no header"
    raise BadList(by_door(f"no column is called {masked(wanted)!r}; columns: {known}", page))


def speakable(name: str) -> str:
    """A column's name as an error may show it. A name with as many digits as a phone number is not shown."""
    return "..." if _digits(name) >= 5 else name[:40]


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))
