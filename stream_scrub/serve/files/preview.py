"""The first rows of a table of leads, with a suggested role for each column, for somebody who says what each column holds."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files import columns as columns_of
from stream_scrub.files.added import earlier_in
from stream_scrub.files.columns import SOME_NUMBERS, shares_in
from stream_scrub.files.csv_file import SAMPLE_ROWS, opening_of
from stream_scrub.files.ndjson import is_ndjson
from stream_scrub.files.options import REGION, Asked, FileOptions
from stream_scrub.files.source import InputFile, open_input
from stream_scrub.imports.formats import open_list
from stream_scrub.imports.parsing.cells import clean
from stream_scrub.imports.parsing.csv_table import CsvTable
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.imports.parsing.workbook import UnclearSheet, read_sheet, text_of
from stream_scrub.terminal import one_line
from stream_scrub.texts import shown

PHONE = "phone"  # the role of a column of numbers to call
_ROWS_SHOWN = 5
_COLUMNS_SHOWN = 100
_CELL_SIGNS = 40


class PreviewColumn(msgspec.Struct, frozen=True):
    """A column: its title, the role that it seems to have ("" for none), and whether that must be looked at."""

    title: str
    role: str = ""
    unsure: bool = False


class Preview(msgspec.Struct, frozen=True):
    """What a file of leads looks like. `titles`: how many lines stand above the first lead. `sheets` are those of a workbook
    that has several, `sheet` is the one that is shown. `why`: what is not clear about the columns."""

    columns: list[PreviewColumn]
    rows: list[list[str]]
    titles: int = 0
    sheet: str = ""
    sheets: list[str] = []
    why: str = ""


def preview_of(options: FileOptions, settings: Settings) -> Preview:
    """Look into a file of leads. NDJSON has no columns. Raises ConfigError, BadFile."""
    region = options.region_by(settings)
    with open_input(options.input) as file:
        if not file.spreadsheet and is_ndjson(file.head):
            return Preview([], [])
        rows, sheet, sheets = _rows_of(file, options, region)
    earlier = earlier_in(rows, trimmed=True)
    if earlier is not None:  # the columns of an earlier scrub are replaced
        rows = [row[: earlier.place] for row in rows]
    members = {REGION: settings.prospect.region, **settings.prospect.facts}
    asked = Asked(titles=options.columns.titles, members=members)
    width = max(map(len, rows), default=0)
    try:
        found = columns_of.find(rows, asked, region)
    except ConfigError as error:
        return _unclear(rows, width, asked, region, str(error), sheet, sheets)
    roles = dict.fromkeys(found.numbers, PHONE) | {place: fact for fact, place in found.facts.items()}
    if found.region is not None:
        roles[found.region] = REGION
    columns = []
    for place in range(width):
        name = found.name(place)
        is_overlooked = any(each.startswith(f"not looked at: {name}") for each in found.overlooked)
        is_doubtful = place not in roles and (name in found.countries or is_overlooked)
        columns.append(PreviewColumn(name, roles.get(place, ""), is_doubtful))
    return _shown(columns, rows, found.titles, sheet, sheets)


def _rows_of(file: InputFile, options: FileOptions, region: str) -> tuple[list[list[str]], str, list[str]]:
    """The first rows, and of a workbook with several sheets the sheet that they are of, and all sheets."""
    if not file.spreadsheet:
        return opening_of(file, options.encoding, options.delimiter, region).rows, "", []
    sheets: list[str] = []
    wanted = options.sheet
    try:
        name, found = read_sheet(file.name, file.stream, wanted, file.table)
    except UnclearSheet as unclear:
        sheets = unclear.sheets
        name, found = read_sheet(file.name, file.stream, sheets[0], file.table)
    rows = [[text_of(cell) for cell in row] for _, row in islice(found, SAMPLE_ROWS)]
    return rows, name if sheets or wanted else "", sheets


def _unclear(
    rows: Sequence[Sequence[str]],
    width: int,
    asked: Asked,
    region: str,
    why: str,
    sheet: str,
    sheets: list[str],
) -> Preview:
    """The same of a table whose columns are not clear: each column with numbers is marked."""
    titles = columns_of.titles_of(rows, region) if asked.titles is None else min(asked.titles, len(rows))
    names = rows[titles - 1] if titles else ()
    columns = []
    for place, share in enumerate(shares_in(rows[titles:], width, region, None)):
        name = shown(names[place].strip()) if place < len(names) else ""
        is_number = share >= SOME_NUMBERS
        columns.append(PreviewColumn(name, PHONE if is_number else "", is_number))
    return msgspec.structs.replace(_shown(columns, rows, titles, sheet, sheets), why=why)


def _shown(
    columns: list[PreviewColumn],
    rows: Sequence[Sequence[str]],
    titles: int,
    sheet: str,
    sheets: list[str],
) -> Preview:
    shown_rows = [
        [one_line(cell)[:_CELL_SIGNS] for cell in row[:_COLUMNS_SHOWN]]
        for row in rows[titles : titles + _ROWS_SHOWN]
    ]
    return Preview(columns[:_COLUMNS_SHOWN], shown_rows, titles, sheet, sheets)


def list_rows(file: Path) -> list[list[str]]:
    """The first rows of a list in CSV, for its owner."""
    with open_list(file) as packed:
        head = CsvTable(packed.members[0].source.text(), ParsedList(), strict=False).head[: _ROWS_SHOWN + 1]
    return [[one_line(clean(cell))[:_CELL_SIGNS] for cell in row.cells[:_COLUMNS_SHOWN]] for row in head]
