"""Spreadsheets: the values of one sheet in, a sheet or CSV with six columns more out. Formats and formulas do not
survive, values do: numbers of the phone as text, dates as dates."""

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from stream_scrub.errors import BadFile
from stream_scrub.files import columns as columns_of
from stream_scrub.files.added import ADDED, REPLACED, earlier_in, is_ours, yours
from stream_scrub.files.cells import Distinct, Places
from stream_scrub.files.columns import Columns
from stream_scrub.files.csv_file import SAMPLE_ROWS
from stream_scrub.files.outputs import Sink
from stream_scrub.files.rows import BadNumbers, Run, Targets, allowed_of
from stream_scrub.files.source import InputFile
from stream_scrub.imports.parsing.parsed_list import NO_ROWS
from stream_scrub.imports.parsing.workbook import Row, read_sheet, text_of
from stream_scrub.languages import by_door, say
from stream_scrub.texts import shown

_ROWS = 8_192  # judged at a time
_TEXT_SIGNS = 32_767  # what a cell of a workbook holds
_COLUMNS = 16_384  # what a sheet of a workbook holds
_ROWS_MAX = 1_048_576
_WIDTH_MAX = 60  # characters of a column that is shown whole
_ADDED_WIDTH = 24  # a moment has 22 characters
_SHEET_SIGNS = re.compile(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]")  # which a sheet may not have in its name
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
# What XML cannot hold, and what stands for it in a workbook; a text that looks the same is escaped too.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9a-fA-F]{4}_)")
_ODD = re.compile(rf"[&<>]|{_UNWRITABLE.pattern}")

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_SHEET = "xl/worksheets/sheet1.xml"
# Each kind of date and time, and how a program shows it. Its style is its place here, from 1.
_SHAPES: dict[type, str] = {
    date: "yyyy-mm-dd",
    datetime: "yyyy-mm-dd hh:mm:ss",
    time: "hh:mm:ss",
    timedelta: "[h]:mm:ss",
}
_STYLES = {kind: place for place, kind in enumerate(_SHAPES, 1)}
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_KIND}.styles+xml"/>'
    f'<Override PartName="/{_SHEET}" ContentType="{_KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_DOCUMENT}/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f"<styleSheet {_MAIN}>"
    f'<numFmts count="{len(_SHAPES)}">'
    + "".join(
        f'<numFmt numFmtId="{163 + _STYLES[kind]}" formatCode="{shape}"/>' for kind, shape in _SHAPES.items()
    )
    + '</numFmts><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    f'<cellXfs count="{len(_SHAPES) + 1}"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    + "".join(
        f'<xf numFmtId="{163 + style}" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        for style in _STYLES.values()
    )
    + '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}


class SpreadsheetFile:
    """A sheet of a workbook, looked into. Raises ConfigError, if its columns are not clear, or it is not clear which
    sheet is meant, and BadFile for what cannot be opened."""

    kind = "spreadsheet"

    def __init__(self, file: InputFile, run: Run, sheet: str, to_csv: bool, scratch: Path) -> None:
        self._run = run
        self.tally = run.tally
        self.extension = ".csv" if to_csv or file.table else ".xlsx"
        self._scratch = scratch
        self._name, cells = read_sheet(file.name, file.stream, sheet, file.table)
        self.written_as = file.table or f"sheet {shown(self._name)}"
        self._rows, again = _without_earlier([*cells])
        rows = self._rows
        sample = [[text_of(cell) for cell in row] for _, row in islice(rows, SAMPLE_ROWS)]
        if not sample:
            raise BadFile(by_door(f"{file.name}: it holds no rows", say(NO_ROWS)))
        self.columns: Columns = columns_of.find(sample, run.asked, run.region)
        self.spoken = self.columns.spoken + (REPLACED if again else "")
        self.titles = self.columns.titles
        self.facts = frozenset(self.columns.facts)
        self.countries = self.columns.countries
        self._width = max(len(row) for _, row in rows)
        longest = [0] * self._width
        for texts in sample:
            for place, text in enumerate(texts):
                longest[place] = max(longest[place], len(text))
        self._widths = [min(length + 2, _WIDTH_MAX) for length in longest]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Its rows in order, each with its line, instead of `scrub`. Raises BadFile."""
        for number, row in self._rows[self.titles :]:
            yield number, [text_of(cell) for cell in row]

    def fact_at(self, row: Sequence[str], place: int) -> str:
        """A sheet has every cell: where a row ends, the others are empty."""
        return row[place] if place < len(row) else ""

    def scrub(self, targets: Targets, progress: Callable[[], None]) -> None:
        """Write every row to its outputs. `progress` is called once a block. Raises BadFile, OSError."""
        header = self.titles if self.columns.titled else 0
        widths = [*self._widths, *[_ADDED_WIDTH] * len(ADDED)]
        writers: list[_Csv | SheetWriter] = []
        for file in targets.each:
            if self.extension == ".csv":
                writers.append(_Csv(file))
            else:
                writers.append(SheetWriter(file, self._name, self._scratch, widths, header))
        for place, (_, row) in enumerate(self._rows[: self.titles]):
            last = place == self.titles - 1 and self.columns.titled
            for writer in writers:
                writer.put(self._padded(row, ADDED if last else ()), ())
        for start in range(self.titles, len(self._rows), _ROWS):
            self._put(self._rows[start : start + _ROWS], writers, targets.bad)
            progress()
        for writer in writers:
            writer.close()

    def _put(
        self,
        rows: Sequence[tuple[int, Row]],
        writers: "Sequence[_Csv | SheetWriter]",
        bad: BadNumbers | None,
    ) -> None:
        found, (allowed_to, blocked_to, *annotated_to) = self.columns, writers
        block, places = _block(rows, found.numbers)
        regions = None if found.region is None else _texts(rows, found.region)
        facts = {fact: _texts(rows, place) for fact, place in found.facts.items()}
        judged, columns = self._run.judge(block, places, regions, facts)
        self.tally.invalid_lines += [rows[place][0] for place in self.tally.bad_rows(judged).tolist()]
        if bad is not None:
            names = [found.name(place) for place in found.numbers]
            bad.put(columns, names, lambda row: rows[row][0], np.zeros(len(rows), np.bool_))
        allowed = allowed_of(judged).tolist()
        for place, ((_, row), outcome) in enumerate(zip(rows, judged.ids.tolist(), strict=True)):
            made = judged.outcomes[outcome]
            numbers = [str(columns[column].numbers[place]) for column in made.callable]
            padded = self._padded(row, made.cells(numbers))
            for writer in (allowed_to if allowed[place] else blocked_to, *annotated_to):
                writer.put(padded, found.numbers)

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


class SheetWriter:
    """Writes rows as a workbook of one sheet. They wait in a file in `scratch`, so memory does not grow. `widths` are
    those of the columns, in characters. The row `header` (from 1; 0 if there is none) stays in view, and can be filtered.

    A library would take three times as long, and it takes a text between <r> and </r> for markup, so that one cell of a
    lead could make its workbook unreadable.
    """

    def __init__(self, file: Sink, name: str, scratch: Path, widths: Sequence[int], header: int) -> None:
        self._file = file
        self._header = header
        self._name = _SHEET_SIGNS.sub("_", name)[:31].strip("'") or "Sheet1"
        self._rows = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # until `close`
        pane = ""
        if header:
            pane = f'<pane ySplit="{header}" topLeftCell="A{header + 1}" activePane="bottomLeft" state="frozen"/>'
        columns = "".join(
            f'<col min="{column}" max="{column}" width="{width}" customWidth="1"/>'
            for column, width in enumerate(widths, 1)
        )
        view = f'<sheetViews><sheetView workbookViewId="0">{pane}</sheetView></sheetViews>'
        self._rows.write(f"{_HEAD}<worksheet {_MAIN}>{view}<cols>{columns}</cols><sheetData>".encode())
        self._letters: list[str] = []
        self._at = 0

    def put(self, row: Sequence[Any], numbers: Sequence[int]) -> None:
        """Write a row; the cells at the places `numbers` as text. Raises BadFile for what a workbook cannot hold."""
        self._at += 1
        if len(row) > _COLUMNS or self._at > _ROWS_MAX:
            page = say(
                "row %(row)s does not fit into a workbook with the columns of the result: save the file as CSV, and upload"
                " that",
                row=self._at,
            )
            why = f"row {self._at}: with our cells it is more than a workbook takes: say --to csv"
            raise BadFile(by_door(why, page))
        for place in range(len(self._letters), len(row)):
            self._letters.append(_letters(place))
        made = [f'<row r="{self._at}">']
        for place, cell in enumerate(row):
            if cell != "":
                made.append(
                    f'<c r="{self._letters[place]}{self._at}"{self._content(cell, as_text=place in numbers)}</c>'
                )
        made.append("</row>")
        self._rows.write("".join(made).encode())

    def _content(self, cell: Any, *, as_text: bool) -> str:
        """The attributes and the inside of a cell's element."""
        if not as_text and not isinstance(cell, str):
            if isinstance(cell, bool):
                return f' t="b"><v>{cell:d}</v>'
            if isinstance(cell, int | float) and isfinite(cell):
                return f"><v>{cell}</v>"
            if (style := _STYLES.get(type(cell))) is not None:
                return f' s="{style}"><v>{_days(cell)}</v>'
        text = text_of(cell)
        if len(text) > _TEXT_SIGNS:
            page = say(
                "row %(row)s: a cell is longer than a workbook allows: save the file as CSV, and upload that",
                row=self._at,
            )
            raise BadFile(
                by_door(f"row {self._at}: a cell holds more than a workbook takes: say --to csv", page)
            )
        if _ODD.search(text):
            text = _UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text).translate(_ESCAPED)
        return f' t="inlineStr"><is><t xml:space="preserve">{text}</t></is>'

    def close(self) -> None:
        """Write the workbook."""
        workbook = (
            f'<workbook {_MAIN} xmlns:r="{_DOCUMENT}"><sheets>'
            f'<sheet name="{self._name.translate(_ESCAPED)}" sheetId="1" r:id="rId1"/></sheets></workbook>'
        )
        filtered = ""
        if self._header:
            filtered = f'<autoFilter ref="A{self._header}:{self._letters[-1]}{self._at}"/>'
        self._rows.write(f"</sheetData>{filtered}</worksheet>".encode())
        out: Any = self._file
        with self._rows, ZipFile(out, "w", ZIP_DEFLATED) as archive:
            for path, part in {**_PARTS, "xl/workbook.xml": workbook}.items():
                archive.writestr(ZipInfo(path), _HEAD + part, ZIP_DEFLATED)
            sheet = ZipInfo(_SHEET)
            sheet.compress_type, sheet.file_size = ZIP_DEFLATED, self._rows.tell()
            self._rows.seek(0)
            with archive.open(sheet, "w") as written:
                shutil.copyfileobj(self._rows, written)


def _letters(place: int) -> str:
    """A column's letters: A for 0, AA for 26."""
    before, last = divmod(place, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + last)


def _days(cell: date | time | timedelta) -> float:
    """A date, a time or a duration as a workbook counts: days since the last one of 1899, 1900 taken for a leap year."""
    match cell:
        case timedelta():
            since = cell
        case time():
            since = timedelta(0, cell.second, cell.microsecond, 0, cell.minute, cell.hour)
        case datetime():
            since = cell - datetime(1899, 12, 31)  # noqa: DTZ001  # a workbook knows no zone
        case _:
            since = timedelta(cell.toordinal() - date(1899, 12, 31).toordinal())
    leap = isinstance(cell, date) and since.days > 59
    return since / timedelta(days=1) + leap


def _without_earlier(rows: list[tuple[int, Row]]) -> tuple[list[tuple[int, Row]], bool]:
    """The rows without the cells of an earlier scrub, and whether they had any. Raises ConfigError, and BadFile for other
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
