"""What to ask the Reassigned Numbers Database: American numbers, each with the first day of its consents and relations."""

import csv
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.errors import ConfigError
from stream_scrub.imports.formats import ParsedList, open_list
from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import days, number_of
from stream_scrub.imports.parsing.parsed_list import BadList
from stream_scrub.numbering import line_of
from stream_scrub.texts import words

_REGION = "US"
_AMERICAN = frozenset({"US", "PR", "VI", "GU", "AS", "MP"})
_DAYS = words(
    "date day given givenat consentdate consentedat consentday at since relationsince created createdat dateadded"
    " lastcontact optin optindate optedinat"
)


class ReassignedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The questions: `numbers` are in the file. The others are left out: `undated` rows have no day that is certain and not
    in the future, `others` no American number."""

    file: str
    numbers: int
    undated: int
    others: int


def ask(lists: list[Path], into: Path, columns: dict[str, str], now: datetime) -> ReassignedQuery:
    """Write `number,date` lines for the numbers of lists of consents or leads: of several days of one number the first.

    A later day would hide that the number was given to another person between two consents. Raises BadList, OSError;
    ConfigError for a file that exists.
    """
    first: dict[int, date] = {}
    undated = others = 0
    for path in lists:
        with open_list(path) as packed:
            for member in packed.members:
                reading = ParsedList()
                table = csv_table.CsvTable(member.source.text(), reading)
                if not table.head:
                    continue
                titles = table.headed()
                number_at = _column(table, titles, columns, "number", csv_table.PHONES)
                day_at = _column(table, titles, columns, "date", _DAYS)
                for row in table.body(reading, headed=bool(titles)):
                    number = number_of(row.cell(number_at), _REGION)
                    line = None if number is None else line_of(number)
                    if number is None or line is None or line.region not in _AMERICAN:
                        others += 1
                        continue
                    day = _day(row.cell(day_at), now)
                    if day is None:
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


def _column(
    table: csv_table.CsvTable, titles: list[str], columns: dict[str, str], what: str, known: frozenset[str]
) -> int:
    if what in columns:
        return csv_table.place_of(columns[what], titles, table.width)
    if (place := csv_table.find(titles, known)) >= 0:
        return place
    raise BadList(f"no column is known to hold the {what}: name it, as in --columns number=1,date=3")


def _day(cell: str, now: datetime) -> date | None:
    """The first day that a cell may mean; None for none, and for one in the future."""
    said = cell.strip()
    meant = days(said) or days(said[:10])
    day = min(meant, default=None)
    return day if day is not None and day <= now.astimezone(UTC).date() else None
