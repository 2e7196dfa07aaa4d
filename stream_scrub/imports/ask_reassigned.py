"""What to ask the Reassigned Numbers Database: American numbers, each with the first day of its consents and relations."""

import csv
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.errors import ConfigError
from stream_scrub.imports.formats import ParsedList, named_columns, open_list
from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import DayOrder, clean, in_orders, number_of
from stream_scrub.imports.parsing.list_columns import ColumnCounter, suggested_columns
from stream_scrub.imports.parsing.parsed_list import BadList
from stream_scrub.numbering import line_of
from stream_scrub.texts import masked

_REGION = "US"
_AMERICAN = frozenset({"US", "PR", "VI", "GU", "AS", "MP"})


class ReassignedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The questions: `numbers` are in the file. The others are left out: `undated` rows have no day that is certain and not
    in the future, `others` no American number."""

    file: str
    numbers: int
    undated: int
    others: int


def ask(lists: list[Path], into: Path, columns: dict[str, str], now: datetime) -> ReassignedQuery:
    """Write `number,date` lines for the numbers of lists of consents or leads: of several days of one number the first.

    A later day would hide that the number was given to another person between two consents. `columns` are those of
    `named-columns`. Raises BadList, OSError; ConfigError for a file that exists.
    """
    first: dict[int, date] = {}
    undated = others = 0
    today = now.astimezone(UTC).date()
    for path in lists:
        with open_list(path) as packed:
            for member in packed.members:
                reading = ParsedList()
                table = csv_table.CsvTable(member.source.text(), reading)
                if not table.head:
                    continue
                roles = _roles(path, table, columns)
                for row in table.body(reading, headed=bool(roles.titles)):
                    number = number_of(row.cell(roles.columns["phone"]), _REGION)
                    line = None if number is None else line_of(number)
                    if number is None or line is None or line.region not in _AMERICAN:
                        others += 1
                        continue
                    day = _first_day(roles.one_day or in_orders(clean(row.cell(roles.columns["given"]))))
                    if day is None or day > today:
                        undated += 1
                    else:
                        first[number] = min(day, first.get(number, day))
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(("number", "date"))
    writer.writerows((str(number)[1:], day.isoformat()) for number, day in sorted(first.items()))
    try:
        with atomic_file(into.parent, f".{into.name}.new") as file:
            file.out.write(text.getvalue().encode())
            file.keep(into.name, new=True)
    except FileExistsError as error:
        raise ConfigError([f"{into}: it exists: name another file with --output, or remove it"]) from error
    return ReassignedQuery(file=str(into), numbers=len(first), undated=undated, others=others)


def _roles(path: Path, table: csv_table.CsvTable, columns: dict[str, str]) -> named_columns.Roles:
    """The columns of the numbers and of the days. Raises BadList, with the columns to name, unless both are known."""
    try:
        roles = named_columns.roles_in(table, columns)
    except BadList:
        if columns:
            raise
        roles = named_columns.Roles({}, None, table.headed())
    if "phone" in roles.columns and ("given" in roles.columns or roles.one_day is not None):
        return roles
    counter = ColumnCounter(table.head[0].cells if roles.titles else (), _REGION, ())
    for _ in counter.counted(iter(table.head[bool(roles.titles) :])):
        pass
    suggested = {"phone": "1", "given": "2"} | suggested_columns(counter.columns({}))
    raise BadList(
        f"{masked(str(path))}: it does not say which column holds the numbers, and which the day of the consent, purchase or"
        f" inquiry: name them, as in --columns phone={suggested['phone']},given={suggested['given']}, or name one day for"
        " all, as in given=2026-11-24"
    )


def _first_day(days: DayOrder | None) -> date | None:
    """The first day that a cell may mean; None for none."""
    return None if days is None else min(filter(None, days), default=None)
