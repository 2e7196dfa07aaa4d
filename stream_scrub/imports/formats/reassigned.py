"""`reassigned`: answers of the Reassigned Numbers Database of the United States, to questions of number and day.

`yes`: the number was permanently disconnected after that day, so another person has it, or nobody. It joins a register that
ends the consents and relations of the person before. `no` takes it out: it was not disconnected. `no data` changes
nothing. A number with both answers is reassigned: the questions were of different days.

Source: 47 CFR 64.1200(m). A vendor's interface has `IsReassigned` as true, false or null. A column called so, or
`reassigned`, holds the answers; `--columns number=1,answer=3` names others.
"""

from collections.abc import Sequence

from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import EntryBuffer
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import AS_IT_CAME, BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import all_read, need_all_read
from stream_scrub.imports.parsing.titles import PHONES, TITLES
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say
from stream_scrub.model import RegisterKind
from stream_scrub.texts import words

_SURE = 97  # above a list with phones and days
_YES, _NO, _NO_DATA = words("yes y true 1"), words("no n false 0"), frozenset({"nodata", "null", "none", ""})
_REGION = "US"


def _recognise(sample: ListSample) -> int:
    titles = csv_table.sample_titles(sample)
    known = csv_table.find(titles, TITLES["reassigned"]) >= 0 and csv_table.find(titles, PHONES) >= 0
    return _SURE if known else NEVER


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Reassigned numbers, and the others as removals. Raises BadList if it is unclear where they are."""
    reading.kind, reading.change = RegisterKind.DENY, "delta"
    table = csv_table.CsvTable(source.text(), reading)
    if not table.head:
        return
    titles = table.headed()
    number, answer = _columns(table, titles, options)
    count = dict.fromkeys(("reassigned", "not reassigned", "no data"), 0)
    batch = EntryBuffer(reading, _REGION, last="additions")
    named = bool(options.column) or "number" in options.columns
    for row in all_read(table, [number], _REGION, reading, headed=bool(titles), named=named):
        said = csv_table.title(row.cell(answer))
        if said in _YES:
            count["reassigned"] += 1
            batch.put(row.cell(number), row.line)
        elif said in _NO:
            count["not reassigned"] += 1
            batch.put(row.cell(number), row.line, removed=True)
        elif said in _NO_DATA:
            count["no data"] += 1
            reading.passed += 1
        else:
            batch.refuse(row.line)
    batch.close()
    figures = ", ".join(f"{lines} {answered}" for answered, lines in count.items() if lines)
    reading.described = f"answers ({figures})"


def _columns(table: csv_table.CsvTable, titles: Sequence[str], options: ListOptions) -> tuple[int, int]:
    """The columns of the numbers and of the answers."""
    wanted = options.columns.get("number", options.column)
    number = csv_table.find(titles, PHONES)
    if wanted:
        number = csv_table.place_of(wanted, titles, table.width)
    elif number >= 0:
        need_all_read(table, [number], _REGION)
    answer = csv_table.find(titles, TITLES["reassigned"])
    if "answer" in options.columns:
        answer = csv_table.place_of(options.columns["answer"], titles, table.width)
    if number < 0 or answer < 0:
        why = (
            "it is unclear which columns hold the numbers and the answers (yes, no, no data): name them, as in"
            " --columns number=1,answer=3"
        )
        raise BadList(by_door(why, say(AS_IT_CAME)))
    return number, answer


FORMAT = FormatSpec(
    "reassigned",
    "answers of the Reassigned Numbers Database (US): yes, no, no data",
    _recognise,
    _read,
    frozenset({"number", "answer"}),
)
