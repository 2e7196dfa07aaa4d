"""`crm-suppression`: a CRM's suppression list, a CSV whose header says `phone,email,date_added,reason`.

Source: LeadConduit's suppression lists, as ActiveProspect's knowledge base describes them; other CRMs write the same
columns in another order and under names close to these. A row with an e-mail address and no phone is for other
channels: it is passed, not refused.
"""

from stream_scrub.lists.parsing import csv_columns
from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_EMAILS = frozenset({"email", "emailaddress", "mail"})
_ADDED = frozenset({"dateadded", "added", "addeddate", "addedat", "addedon", "createdat", "suppressedat"})
_REASONS = frozenset({"reason", "suppressionreason", "comment"})
_SURE, _LIKELY = 95, 85


def _recognise(sample: ListSample) -> int:
    titles = csv_columns.sample_titles(sample)
    found = [
        csv_columns.find(titles, names) is not None
        for names in (csv_columns.PHONES, _EMAILS, _ADDED, _REASONS)
    ]
    if not found[0]:
        return NEVER
    return {3: _SURE, 2: _LIKELY}.get(sum(found[1:]), NEVER)


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every phone of the list. Raises BadList when no column is one of phones."""
    table = csv_columns.CsvTable(source.text(), reading)
    titles = table.headed()
    if not table.head:
        return
    if options.column:
        phone: int | None = csv_columns.place_of(options.column, titles, table.width)
    else:
        phone = csv_columns.find(titles, csv_columns.PHONES)
    if phone is None:
        raise BadList("no column is called phone: name it with --column")
    email = csv_columns.find(titles, _EMAILS)
    batch = EntryBuffer(reading, options.region)
    without = 0
    for row in table.body(reading, headed=bool(titles)):
        cell = row.cell(phone)
        if not cell.strip() and email is not None and row.cell(email).strip():
            reading.passed += 1
            without += 1
        else:
            batch.put(cell, row.line)
    batch.close()
    reading.described = f"suppressed phones of a CRM, CSV by {table.spoken}" + (
        f", without a phone: {without}" if without else ""
    )


FORMAT = FormatSpec(
    "crm-suppression", "a CRM's suppression list: phone,email,date_added,reason", _recognise, _read
)
