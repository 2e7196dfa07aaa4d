"""`expiry-csv`: oppositions that end, a CSV with phones and a column of ends or of days to them.

Sources: Genesys Cloud, "Create a new internal DNC list" (any number of phone columns, ends as `yyyy-MM-ddTHH:mmZ` in
UTC); LiveVox, "Dial-Time Phone DNC - File Upload" (phone, contact group id, days to expiry); NICE CXone, "Upload a Do
Not Call List" (phone, expire date). Days count from the import.

No opposition is lifted early; a register of consents takes no list with ends that cannot be read
(`plan_import.check_fits`). An empty cell means that the number does not end, and so does a cell that cannot be read: such a
line is taken without an end, and `ParsedList.described` names the line. An end without a zone is the last moment that it
can be on earth. 03/04/2026 has two readings: the later one holds. The importer leaves out what has ended already.

`until`, `end` and the like may be about anything, for example a contract: such a column counts as one of ends only where
it holds moments, and no other format knows the file better.

A file without a header is never taken for this by its content: the last column of somebody's customers may hold
anything, and would lift oppositions. `--format expiry-csv` reads one by `--columns`: `number=1,expires=3` or
`number=1,days=3`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import NO_END, EntryBuffer, days, latest
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample, mostly
from stream_scrub.imports.parsing.list_columns import ColumnCounter
from stream_scrub.imports.parsing.parsed_list import AS_IT_CAME, BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import all_read, countries, need_all_read
from stream_scrub.imports.parsing.titles import PHONES, TITLES
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say
from stream_scrub.model import RegisterKind

_SURE = 96  # above a CRM's list that has an end as well
_MAYBE = 75
# Genesys' lists hold several phones a row, called as people please: DNC_Home, Cell Phone, phone2.
_PHONE = re.compile(
    r"(?=.)(dnc)?(home|cell|work|mobile|business|evening|day|other)?(phone|telephone|tel|number)?(number)?\d{0,2}"
)
_BEHIND_DAY = re.compile(r"(?<=\d)[T ].*+")
_DAYS_MAX = 36_500
_TOLD = 10


class _Places(NamedTuple):
    """Where the contents are; -1 for none."""

    phones: list[int]
    expires: int
    days: int


def _is_phone(name: str) -> bool:
    return name in PHONES or _PHONE.fullmatch(name) is not None


def _recognise(sample: ListSample) -> int:
    titles = csv_table.sample_titles(sample)
    if not any(map(_is_phone, filter(None, titles))) or csv_table.CONSENTED_ON in titles:
        return NEVER
    if csv_table.find(titles, TITLES["ends"] + TITLES["days_to_end"]) >= 0:
        return _SURE
    place = csv_table.find(titles, TITLES["maybe_ends"])
    return _MAYBE if place >= 0 and _are_moments(csv_table.sample_rows(sample)[1:], place) else NEVER


def _are_moments(body: Sequence[Sequence[str]], place: int) -> bool:
    """Whether a column holds moments, as far as it holds anything."""
    cells = [row[place] for row in body if place < len(row) and row[place].strip()]
    return mostly(sum(latest(cell) is not None for cell in cells), len(cells))


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every phone with its end. Raises BadList if it is unclear where phones and ends are."""
    reading.kind = RegisterKind.DENY
    table = csv_table.CsvTable(source.text(), reading)
    if not table.head:
        return
    titles = table.headed()
    places = _places(titles, table, options)
    now = int(options.now.timestamp())
    batch = EntryBuffer(reading, options.region)
    odd: list[int] = []  # the first lines whose end could not be read
    ended = unreadable = 0
    headed, named = bool(titles), bool(options.column) or "number" in options.columns
    counter = ColumnCounter(table.head[0].cells if titles else (), options.region, places.phones)
    rows = all_read(table, places.phones, options.region, reading, headed=headed, named=named)
    country = countries(table, headed=headed)
    for row in counter.counted(rows):
        end = _end(row, places, now)
        if places.expires >= 0 and len(days(_BEHIND_DAY.sub("", row.cell(places.expires)))) > 1:
            reading.end_at = row.line, places.expires + 1
        if end is None:
            unreadable += 1
            odd += [row.line] if len(odd) < _TOLD else []
            end = NO_END
        phones = [cell for cell in map(row.cell, places.phones) if cell.strip()]
        if not phones:
            batch.refuse(row.line)
        for phone in phones:
            batch.put(phone, row.line, end, region=country.of(row))
        ended += end != NO_END and end <= now
    batch.close()
    roles = {
        country.place: "country",
        places.expires: "until",
        places.days: "until",
        **dict.fromkeys(places.phones, "phone"),
    }
    reading.columns = reading.columns or counter.columns(roles)
    reading.endless = unreadable
    lines = ", ".join(map(str, odd)) + (" ..." if unreadable > len(odd) else "")
    what = f"{len(places.phones)} columns of phones" if len(places.phones) > 1 else "phones"
    reading.described = (
        f"{what} with {'days to their end' if places.days >= 0 else 'their ends'}, CSV by {table.spoken}"
        + (f", unreadable ends taken as none: {unreadable} (lines {lines})" if unreadable else "")
        + (f", ended before the import: {ended}" if ended else "")
    )


def _places(titles: Sequence[str], table: csv_table.CsvTable, options: ListOptions) -> _Places:
    named = {name: csv_table.place_of(place, titles, table.width) for name, place in options.columns.items()}
    if options.column:
        named["number"] = csv_table.place_of(options.column, titles, table.width)
    phones = [place for place, name in enumerate(titles) if name and _is_phone(name)]
    expires, days = csv_table.find(titles, TITLES["ends"]), csv_table.find(titles, TITLES["days_to_end"])
    if expires < 0 and days < 0:
        expires = csv_table.find(titles, TITLES["maybe_ends"])
    if "number" in named:
        phones = [named["number"]]
    if named.keys() & {"expires", "days"}:
        expires, days = named.get("expires", -1), named.get("days", -1)
    if not phones or (expires < 0 and days < 0):
        why = "no columns of phones and of their ends: name them, as in --columns number=1,expires=2"
        raise BadList(by_door(why, say(AS_IT_CAME)))
    if titles and "number" not in named:
        need_all_read(table, phones, options.region)
    return _Places(phones, expires, days)


def _end(row: csv_table.CsvRow, places: _Places, now: int) -> int | None:
    """When a row's numbers end, in epoch seconds UTC, NO_END for never; None when what stands there is neither.

    With both an end and days to it, the later one holds.
    """
    ends = []
    if places.expires >= 0:
        text = row.cell(places.expires).strip().strip("\"'")
        ends.append(latest(text) if text else NO_END)
    if places.days >= 0:
        text = row.cell(places.days).strip()
        ends.append(_after_days(text, now) if text else NO_END)
    if None in ends:
        return None
    return NO_END if NO_END in ends else max(end for end in ends if end is not None)


def _after_days(text: str, now: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        return None
    return NO_END if int(text) > _DAYS_MAX else now + int(text) * 86_400


FORMAT = FormatSpec(
    "expiry-csv",
    "phones with their ends, or days to them: Genesys, LiveVox, NICE",
    _recognise,
    _read,
    frozenset({"number", "expires", "days"}),
    oppositions=True,
)
