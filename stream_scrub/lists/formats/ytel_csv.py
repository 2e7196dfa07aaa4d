"""`ytel-csv`: a bulk upload of Ytel's, a CSV whose header says `endpoint,subtype,selector`.

Source: Ytel's API reference, "Upload DNC Async": `endpoint` is the phone in E.164, `subtype` is `call` or `sms`,
`selector` is `CUSTOMER_GLOBAL` or the own number that may not contact the endpoint. A row for text messages only is
passed; one that does not say is taken, although Ytel reads it as `sms`: it blocks a call that may have been lawful,
never the other way round. The same goes for a selector: the number is taken for every own number.
"""

from stream_scrub.lists.parsing import csv_columns
from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_ENDPOINT = frozenset({"endpoint"})
_SUBTYPE, _SELECTOR = frozenset({"subtype"}), frozenset({"selector"})
_SURE, _LIKELY = 98, 90


def _recognise(sample: ListSample) -> int:
    titles = csv_columns.sample_titles(sample)
    if csv_columns.find(titles, _ENDPOINT) is None:
        return NEVER
    others = sum(csv_columns.find(titles, names) is not None for names in (_SUBTYPE, _SELECTOR))
    return (NEVER, _LIKELY, _SURE)[others]


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every endpoint that may not be called. Raises BadList when no column is called `endpoint`."""
    table = csv_columns.CsvTable(source.text(), reading)
    if not table.head:
        return
    titles = table.headed()
    endpoint, subtype = csv_columns.find(titles, _ENDPOINT), csv_columns.find(titles, _SUBTYPE)
    if endpoint is None:
        raise BadList("no column is called endpoint: Ytel's files begin with a header that says endpoint")
    batch = EntryBuffer(reading, options.region)
    texts = 0
    for row in table.body(reading, headed=True):
        if subtype is not None and row.cell(subtype).strip().casefold() == "sms":
            reading.passed += 1
            texts += 1
        else:
            batch.put(row.cell(endpoint), row.line)
    batch.close()
    reading.described = f"endpoints of Ytel's, CSV by {table.spoken}" + (
        f", for text messages only: {texts}" if texts else ""
    )


FORMAT = FormatSpec("ytel-csv", "Ytel's bulk upload: endpoint,subtype,selector", _recognise, _read)
