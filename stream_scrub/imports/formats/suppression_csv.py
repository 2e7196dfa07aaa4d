"""`crm-suppression`: a CRM's suppression list in CSV, known by its header `phone,email,date_added,reason`.

LeadConduit's suppression lists, as ActiveProspect's knowledge base describes them; other CRMs write the same columns in
another order and under names close to these. A row with an e-mail address and no phone is for other channels: it is
passed, not refused.
"""

from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import EntryBuffer
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.list_columns import ColumnCounter
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import all_read, countries, need_all_read
from stream_scrub.imports.parsing.titles import PHONES, TITLES
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say


def _recognise(sample: ListSample) -> int:
    titles = csv_table.sample_titles(sample)
    if csv_table.find(titles, PHONES) < 0:
        return NEVER
    others = sum(csv_table.find(titles, TITLES[role]) >= 0 for role in ("email", "added", "reason"))
    return {3: 95, 2: 85}.get(others, NEVER)


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every phone of the list. Raises BadList when no column is one of phones."""
    table = csv_table.CsvTable(source.text(), reading)
    titles = table.headed()
    if not table.head:
        return
    phone = csv_table.find(titles, PHONES)
    if options.column:
        phone = csv_table.place_of(options.column, titles, table.width)
    if phone < 0:
        page = say("no column is called phone: write this title above the column of phone numbers")
        raise BadList(by_door("no column is called phone: name it with --column", page))
    if not options.column:
        need_all_read(table, [phone], options.region)
    email = csv_table.find(titles, TITLES["email"])
    batch, before = EntryBuffer(reading, options.region), reading.passed
    headed, named = bool(titles), bool(options.column)
    counter = ColumnCounter(table.head[0].cells if titles else (), options.region, [phone])
    rows = all_read(table, [phone], options.region, reading, headed=headed, named=named)
    country = countries(table, headed=headed)
    for row in counter.counted(rows):
        cell = row.cell(phone)
        if not cell.strip() and email >= 0 and row.cell(email).strip():
            reading.passed += 1
        else:
            batch.put(cell, row.line, region=country.of(row))
    batch.close()
    reading.columns = reading.columns or counter.columns({country.place: "country", phone: "phone"})
    reading.described = f"suppressed phones of a CRM, CSV by {table.spoken}" + (
        f", without a phone: {passed}" if (passed := reading.passed - before) else ""
    )


FORMAT = FormatSpec(
    "crm-suppression",
    "a CRM's suppression list: phone,email,date_added,reason",
    _recognise,
    _read,
    oppositions=True,
)
