"""Which columns of a list hold phone numbers, and their countries: none may be left out without a word."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from stream_scrub.imports.parsing.cells import clean, number_of, numbers_of
from stream_scrub.imports.parsing.csv_table import CsvRow, CsvTable, broken
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.roles import answer
from stream_scrub.imports.parsing.titles import says_phone
from stream_scrub.languages import by_door, say
from stream_scrub.numbering import NOWHERE, calling_code, is_blank, normalise, region_named
from stream_scrub.numbering.regions import US_STATES

# Of a telephone too, but not its number. A day may pass for a number: 20261101 is one of Wuppertal.
_ELSE = re.compile(
    r"fax|t[ée]l[ée]cop|(?:\b|_)(?:date|datum|fecha|since|seit|depuis)(?:\b|_)|(?:\b|_)(?:at|on|am|le|id)$"
)
_DAY = re.compile(r"(?:\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{4})(?:$|[T ])")
# `land`, `paese` and `iso` also title other columns: a German land may be Bavaria, and an Italian paese a village.
COUNTRY = re.compile(r"countr|\bpays|\bpais|\bpaís|nazione|(?P<perhaps>\bland|paese|\biso\b)")
_ROWS = 200  # of a mebibyte at most
_CHOOSE = "choose one with --column"

Rows = Sequence[Sequence[str]]
Beside = Sequence[tuple[str, str]]


def holding_numbers(body: Rows, width: int, region: str) -> list[int]:
    """The columns most of whose filled cells are numbers."""
    return [place for place in range(width) if _holds_numbers(_filled(body, place), region)]


def unread_phones(titles: Sequence[str], body: Rows, taken: Collection[int], region: str) -> list[int]:
    """The others that hold phone numbers. `titles` are as in the file."""
    # Digits alone may be a customer's number; what is called or spelt as a phone number is one.
    # `plain` would turn Phone (AM) into one that ends in a word of `_ELSE`.
    names = [clean(cell).casefold() for cell in titles]
    return [
        place
        for place in holding_numbers(body, len(names), region)
        if place not in taken
        and not _ELSE.search(names[place])
        and (says_phone(names[place]) or _are_spelt(_filled(body, place), region))
    ]


def all_read(
    table: CsvTable, phones: Sequence[int], region: str, reading: ParsedList, *, headed: bool, named: bool
) -> Iterator[CsvRow]:
    """The rows behind the header, whose numbers are in the columns `phones`. Raises BadList for a number elsewhere: in a
    column whose title says phone, unless the user `named` the column, or in rows that a quote without its end has put
    into a cell."""
    rows = table.body(reading, headed=headed)
    titles = [clean(cell).casefold() for cell in table.head[0].cells] if headed and not named else []
    others = [
        place
        for place, name in enumerate(titles)
        if place not in phones and says_phone(name) and not _ELSE.search(name)
    ]
    while some := list(islice(rows, _ROWS)):
        for place in [*others]:
            cells = ["" if _DAY.match(row.cell(place).strip()) else row.cell(place) for row in some]
            _, valid = numbers_of(cells, region)
            if sum(any(map(str.isdecimal, cell)) for cell in cells) > _ROWS / 2 and not valid.any():
                others.remove(place)  # of moments, or of something else that takes long to be read
            if valid.any():
                raise _elsewhere(some[int(valid.argmax())].line, place + 1)
        for row in some:
            if any("\n" in cell and _holds_row(cell, table.separator, phones, region) for cell in row.cells):
                raise broken(row.line, "a cell holds other rows")
        yield from some


def _elsewhere(line: int, column: int) -> BadList:
    """What to raise for a phone number in a column that is not read."""
    why = (
        f"line {line}: column {column} holds a phone number too: {_CHOOSE} of `stream-scrub lists import`, or save each"
        " column as a list of its own"
    )
    page = say(
        "line %(line)s: column %(column)s holds a phone number too. Keep one column of phone numbers in the list, with one"
        " number in each row",
        line=line,
        column=column,
    )
    return BadList(by_door(why, page))


def _holds_row(cell: str, separator: str, phones: Sequence[int], region: str) -> bool:
    rows = [line.split(separator) for line in cell.split("\n")[1:] if separator in line]
    cells = [row[place] for row in rows for place in phones if place < len(row)]
    # Somebody's words with a number among them are no row.
    return any(number_of(each, region) is not None and not any(map(str.isalpha, each)) for each in cells)


@dataclass(frozen=True, slots=True)
class CountryColumn:
    """The column that says each row's country; `place` is -1 without one."""

    place: int

    def of(self, row: CsvRow) -> str:
        """The region that a row names: "" for a blank cell, and NOWHERE for an unknown country, in which only numbers with a
        plus are valid."""
        cell = row.cell(self.place) if self.place >= 0 else ""
        return "" if is_blank(cell) else region_named(cell) or NOWHERE


def countries(table: CsvTable, *, headed: bool) -> CountryColumn:
    """The column of countries, by its title and its first cells. Raises BadList if several columns differ."""
    rows = [row.cells for row in table.head]
    titles = [clean(cell).casefold() for cell in rows[0]] if headed else []
    named = [
        place
        for place, name in enumerate(titles)
        if COUNTRY.search(name) and are_regions(_filled(rows[1:], place))
    ]
    columns = [[region_named(row.cell(place)) for row in table.head[1:]] for place in named]
    if any(column != columns[0] for column in columns):
        places = [str(place + 1) for place in named]
        why = f"columns {' and '.join(places)} name different countries: name the numbers' own with --columns phone=1,country=2"
        page = say(
            "columns %(columns)s name different countries: keep the one with the countries of the phone numbers",
            columns=", ".join(places),
        )
        raise BadList(by_door(why, page))
    return CountryColumn(named[0] if named else -1)


def may_be_countries(name: str, cells: Sequence[str], region: str, beside: Beside) -> bool:
    """Whether a column that nobody has named may say each row's country, and another one than `region`. `beside`: some filled
    cells of the column, each with a phone number of its row."""
    regions = [region_named(cell) for cell in cells if answer(cell) == "unclear"]
    if {*regions} <= {region} or len(regions) * 2 < len(cells):
        return False
    title = clean(name).casefold()
    titled = COUNTRY.search(title)
    if titled and not titled["perhaps"]:
        return True
    if region == "US" and "state" in title and _are_states(cells):
        return False
    if are_regions(cells):
        return _may_be_theirs(beside, region)
    return titled is not None and any(regions)


def _are_states(cells: Sequence[str]) -> bool:
    """Whether a column holds American states alone, some of which are spelt like countries: CA, DE, IN."""
    return all(f"US-{clean(cell).upper()}" in US_STATES for cell in cells)


def _may_be_theirs(beside: Beside, region: str) -> bool:
    """Whether numbers may belong to the countries in the cells beside them. `MR` is Mauritania in a column of countries, and a
    man's title beside a number that no Mauritanian has."""
    names_others = not beside
    national = theirs = 0
    for cell, phone in beside:
        country = region_named(cell)
        if not country or calling_code(country) == calling_code(region):
            continue
        names_others = True
        if number_of(phone, region) is None or number_of(phone, NOWHERE) is not None:
            continue
        national += 1
        if number_of(phone, country) is not None:
            theirs += 1
    return 2 * theirs >= national if national else names_others


def are_regions(cells: Sequence[str]) -> bool:
    """Whether nearly all of them name one."""
    return bool(cells) and sum(bool(region_named(cell)) for cell in cells) >= 0.9 * len(cells)


def need_all_read(table: CsvTable, phones: Collection[int], region: str) -> None:
    """Raises BadList if columns besides `phones` hold phone numbers. The table has titles."""
    titles, *body = (row.cells for row in table.head)
    if others := unread_phones(titles, body, phones, region):
        raise several(len(phones) + len(others), table.width, titled=True)


def several(count: int, width: int, *, titled: bool) -> BadList:
    """What to raise for so many columns of phone numbers."""
    name = "a header's name or a number from 1" if titled else "a number from 1"
    why = (
        f"{count} of the list's {width} columns hold phone numbers: {_CHOOSE} ({name}) of `stream-scrub lists import`, or"
        " save each as a list of its own"
    )
    page = say(
        "several columns of the list hold phone numbers: %(count)s of %(width)s. Keep one of them in the list, with one"
        " number in each row",
        count=count,
        width=width,
    )
    return BadList(by_door(why, page))


def _filled(rows: Rows, place: int) -> list[str]:
    return [clean(row[place]) for row in rows if len(row) > place and row[place].strip()]


def _holds_numbers(cells: Sequence[str], region: str) -> bool:
    valid = sum(not _DAY.match(cell) and normalise(cell, region) is not None for cell in cells)
    return valid > 0 and valid * 2 >= len(cells)


def _are_spelt(cells: Sequence[str], region: str) -> bool:
    spelt = (cell.startswith(("+", "0", "(")) or str(number_of(cell, region)) == cell for cell in cells)
    return sum(spelt) * 2 > len(cells)
