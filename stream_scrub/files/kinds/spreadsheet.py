"""Spreadsheets: the values of one sheet in, a sheet or CSV with four columns more out. Formats and formulas do not
survive, values do: numbers of the phone as text, dates as dates."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.kinds.delimited.dialect import SAMPLE_ROWS
from stream_scrub.files.results.outputs import Sink
from stream_scrub.files.rows import columns as columns_of
from stream_scrub.files.rows.added import ADDED, REPLACED, earlier_in, is_ours, number_cell, yours
from stream_scrub.files.rows.cells import CellColumn, Distinct, Places
from stream_scrub.files.rows.columns import Columns, shown
from stream_scrub.files.rows.judging import RowOutcome
from stream_scrub.files.rows.run import Run, Targets
from stream_scrub.files.rows.tally import allowed_of
from stream_scrub.files.source import InputFile
from stream_scrub.files.workbook import no_panic, put_errors

_ROWS = 8_192  # judged at a time
_TEXT_SIGNS = 32_767  # what a cell of a workbook holds
_COLUMNS = 16_384  # what a sheet of a workbook holds
_ROWS_MAX = 1_048_576
_SHEET_SIGNS = re.compile(r"[\[\]:*?/\\]")  # which a workbook's sheet may not have in its name
_MISSING = "spreadsheets need two libraries more: pip install 'stream-scrub[files]'"
Row = Sequence[Any]


class SpreadsheetFile:
    """A sheet of a workbook, looked into. Raises ConfigError, if its columns cannot be told or it is not clear which
    sheet is meant, and Refused for what cannot be opened."""

    kind = "spreadsheet"

    def __init__(self, file: InputFile, run: Run, sheet: str, to_csv: bool, scratch: Path) -> None:
        self._run = run
        self.tally = run.tally
        self.extension = ".csv" if to_csv else ".xlsx"
        self._scratch = scratch
        self._name, rows = _sheet(file, sheet)
        self._rows, again = _without_earlier(rows)
        rows = self._rows
        sample = [[text_of(cell) for cell in row] for _, row in islice(rows, SAMPLE_ROWS)]
        if not sample:
            raise Refused(f"{file.name}: it holds no rows")
        self.columns: Columns = columns_of.find(sample, run.asked, run.region)
        self.spoken = self.columns.spoken + (REPLACED if again else "")
        self.titles = self.columns.titles
        self._width = max(len(row) for _, row in rows)

    @property
    def written_as(self) -> str:
        """Which sheet it is, for people."""
        return f"sheet {shown(self._name)}"

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """As `LeadsFile.rows`."""
        for number, row in self._rows[self.titles :]:
            yield number, [text_of(cell) for cell in row]

    def fact_at(self, row: Sequence[str], place: int) -> str:
        """A sheet has every cell: where a row ends, the others are empty."""
        return row[place] if place < len(row) else ""

    def scrub(self, targets: Targets, progress: Callable[[int], None]) -> None:
        """As `LeadsFile.scrub`."""
        made = {id(file): self._writer(file) for file in targets.each}
        writers = list(made.values())
        for place, (_, row) in enumerate(self._rows[: self.titles]):
            last = place == self.titles - 1 and self.columns.titled
            for writer in writers:
                writer.put(self._padded(row, ADDED if last else ()), ())
        for start in range(self.titles, len(self._rows), _ROWS):
            self._put(self._rows[start : start + _ROWS], targets, made)
            progress(self._run.tally.rows)
        for writer in writers:
            writer.close()

    def _writer(self, file: Sink) -> "_Csv | _Sheet":
        return _Csv(file) if self.extension == ".csv" else _Sheet(file, self._name, self._scratch)

    def _put(
        self, rows: Sequence[tuple[int, Row]], targets: Targets, made: "dict[int, _Csv | _Sheet]"
    ) -> None:
        found = self.columns
        block, places = _block(rows, found.numbers)
        regions = None if found.region is None else _texts(rows, found.region)
        facts = {fact: _texts(rows, place) for fact, place in found.facts.items()}
        judged, columns = self._run.judge(block, places, regions, facts)
        tally = self._run.tally
        tally.invalid_lines += [rows[place][0] for place in tally.bad_rows(judged).tolist()]
        allowed = allowed_of(judged).tolist()
        for place, ((_, row), outcome) in enumerate(zip(rows, judged.ids.tolist(), strict=True)):
            padded = self._padded(row, _added(judged.outcomes[outcome], columns, place))
            made[id(targets.allowed if allowed[place] else targets.blocked)].put(padded, found.numbers)
            if targets.annotated is not None:
                made[id(targets.annotated)].put(padded, found.numbers)

    def _padded(self, row: Row, added: Sequence[str]) -> list[Any]:
        return [*row, *[""] * (self._width - len(row)), *added]


class _Csv:
    """Writes rows as CSV that every program opens: UTF-8 with its mark, for Excel."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self._text = io.StringIO()
        self._csv = csv.writer(self._text)
        file.write(b"\xef\xbb\xbf")

    def put(self, row: Row, _numbers: Sequence[int]) -> None:
        """Write a row."""
        self._csv.writerow(map(text_of, row))
        if self._text.tell() > 1 << 20:
            self.close()

    def close(self) -> None:
        """Write what is left."""
        self._file.write(self._text.getvalue().encode("utf-8", "surrogatepass"))
        self._text.seek(0)
        self._text.truncate()


class _Sheet:
    """Writes rows as a workbook of one sheet, a row at a time."""

    def __init__(self, file: Sink, name: str, scratch: Path) -> None:
        import xlsxwriter

        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": str(scratch)})
        self._sheet = self._book.add_worksheet(_SHEET_SIGNS.sub("_", name)[:31].strip("'") or None)
        self._formats = {
            kind: self._book.add_format({"num_format": shape})
            for kind, shape in (
                (date, "yyyy-mm-dd"),
                (datetime, "yyyy-mm-dd hh:mm:ss"),
                (time, "hh:mm:ss"),
                (timedelta, "[h]:mm:ss"),
            )
        }
        self._at = 0

    def put(self, row: Row, numbers: Sequence[int]) -> None:
        """Write a row; the cells at the places `numbers` as text. Raises Refused for what a workbook cannot hold."""
        sheet, at = self._sheet, self._at
        if len(row) > _COLUMNS or at >= _ROWS_MAX:
            raise Refused(f"row {at + 1}: with our cells it is more than a workbook takes: say --to csv")
        for place, cell in enumerate(row):
            if isinstance(cell, str) or place in numbers:
                text = text_of(cell)
                if len(text) > _TEXT_SIGNS:
                    raise Refused(f"row {at + 1}: a cell holds more than a workbook takes: say --to csv")
                if text:
                    sheet.write_string(at, place, text)
            elif isinstance(cell, bool):
                sheet.write_boolean(at, place, cell)
            elif isinstance(cell, int | float):
                if isfinite(cell):
                    sheet.write_number(at, place, cell)
                else:  # no workbook holds such a number: it is told as a text
                    sheet.write_string(at, place, text_of(cell))
            elif (shape := self._formats.get(type(cell))) is not None:
                sheet.write_datetime(at, place, cell, shape)
        self._at += 1

    def close(self) -> None:
        """Write the workbook."""
        self._book.close()


def text_of(cell: Any) -> str:
    """A cell as a text: whole numbers without a point, dates as in 2026-11-24."""
    match cell:
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1 << 53 else repr(cell)
        case None:
            return ""
        case datetime():
            return cell.isoformat(" ")
        case date() | time():
            return cell.isoformat()
    return str(cell)


def _added(outcome: RowOutcome, columns: Sequence[CellColumn], row: int) -> tuple[str, ...]:
    """Our four cells for a row."""
    numbers = number_cell([str(columns[place].numbers[row]) for place in outcome.callable])
    until = "" if outcome.until is None else outcome.until.isoformat()
    return str(outcome.reason.verdict), str(outcome.reason), numbers, until


def _without_earlier(rows: list[tuple[int, Row]]) -> tuple[list[tuple[int, Row]], bool]:
    """The rows without the cells of an earlier scrub, and whether they had any. Raises ConfigError, and Refused for other
    cells in their place."""
    looked = [
        [text_of(cell) for cell in row]
        for place, (_, row) in enumerate(rows)
        if place < SAMPLE_ROWS or "allowed" in row or "blocked" in row
    ]
    earlier = earlier_in(looked, trimmed=True)
    if earlier is None:
        return rows, False
    for number, row in rows:
        cells = [text_of(cell) for cell in row[earlier.place : earlier.width]]
        if not is_ours([*cells, *[""] * (len(ADDED) - len(cells))]):
            raise yours("row", number)
    return [(number, [*row[: earlier.place], *row[earlier.width :]]) for number, row in rows], True


def _texts(rows: Sequence[tuple[int, Row]], place: int) -> Distinct:
    return Distinct.of([text_of(row[place]) if place < len(row) else "" for _, row in rows])


def _block(
    rows: Sequence[tuple[int, Row]], numbers: Sequence[int]
) -> tuple[bytes, list[tuple[Places, Places]]]:
    """The cells of the number columns one after the other, and where each begins and ends."""
    made: list[bytes] = []
    for place in numbers:
        made += [
            text_of(row[place]).encode("utf-8", "replace") if place < len(row) else b"" for _, row in rows
        ]
    ends = np.cumsum([len(cell) for cell in made])
    begins = np.concatenate(([0], ends[:-1]))
    count = len(rows)
    cuts = [slice(start, start + count) for start in range(0, len(made), count)]
    return b"".join(made), [(begins[cut], ends[cut]) for cut in cuts]


def _sheet(file: InputFile, wanted: str) -> tuple[str, list[tuple[int, Row]]]:
    """The sheet's name and its rows that hold something, each with its number counted from 1."""
    try:
        import python_calamine
        import xlsxwriter  # noqa: F401 - what reads but cannot write is no use
    except ImportError as error:
        raise Refused(_MISSING) from error
    try:
        with no_panic(file.name):
            return _chosen(file, python_calamine.CalamineWorkbook.from_filelike(file.document()), wanted)
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise Refused(f"{file.name}: this workbook cannot be opened ({type(error).__name__})") from error


def _chosen(file: InputFile, book: Any, wanted: str) -> tuple[str, list[tuple[int, Row]]]:
    """As `_sheet`."""
    names = book.sheet_names
    if wanted:
        name = _named(names, wanted)
        if not (rows := _rows(file, book, name)):
            raise Refused(f"{file.name}: it holds no rows")
        return name, rows
    found: list[tuple[str, list[tuple[int, Row]]]] = []
    for place, name in enumerate(names, 1):
        if rows := _rows(file, book, name):
            found.append((name, rows))
        if len(found) > 1:  # no further one is read: each may take as much memory as the limits let it
            listed, rest = ", ".join(shown(name) for name, _ in found), names[place:]
            more = f", and {len(rest)} more" if rest else ""
            raise ConfigError(
                [f"{file.name}: it has 2 sheets ({listed}) with rows{more}: name one with --sheet"]
            )
    if not found:
        raise Refused(f"{file.name}: it holds no rows")
    return found[0]


def _named(names: Sequence[str], wanted: str) -> str:
    if wanted in names:
        return wanted
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    listed = ", ".join(map(shown, names))
    raise ConfigError([f"--sheet: no sheet is called {wanted!r}; there are: {listed}"])


def _rows(file: InputFile, book: Any, name: str) -> list[tuple[int, Row]]:
    rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    put_errors(file.document(), name, rows)
    return list(_filled(rows))


def _filled(rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(rows, 1):
        last = next((place for place in range(len(row), 0, -1) if row[place - 1] != ""), 0)
        if last:
            yield number, row[:last]
