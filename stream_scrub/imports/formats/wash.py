"""`wash`: what a register that is never handed out gives back: the numbers submitted to it, washed.

Clean numbers go into an `allow` register until the result is too old to be relied on; opposed ones, and those that the
register could not check, are taken out of it at once, wherever else in the file they stand. So a wash is a delta of an
`allow` register. Four kinds of files:

* Singapore's results (PDPC, "Bulk Filtering File Formats"), together or one by one: filtered numbers, rejected numbers
  (`Number,Error Code,Error Message`), a summary and an on-behalf list (`Name`), which hold no numbers. The text and fax
  registers' results are passed: they say nothing about calls.
* Client rows with a status in words (clean, registered, invalid ...), or a column such as Registered or Callable that
  says yes or no.
* Australian results: Y is registered, N is not, I is invalid (ACMA's SOAP fact sheet). One letter means too much, so
  these need `--region AU`.
* A file from which the opposed numbers were taken out (Bloctel): what is listed is clean. One column is that; with more,
  `--columns listed=clean` says that none of them holds the result.

`--columns` may also say `number=`, `status=` (places or names), `clean=` (the status that means clean) and `days=` (how
long a result is good). A register's own days are known for the regions in DAYS. The day of the wash is that of
`--effective-at`, the file name's, or the import's where no rule lets the register grow too old; where it came from a name
or an option, a result ends when its days may be over anywhere on earth.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from stream_scrub.clock import utc_minutes
from stream_scrub.imports.parsing import csv_table
from stream_scrub.imports.parsing.cells import EntryBuffer, day_in, earliest, number_of
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import AS_IT_CAME, BadList, ParsedList
from stream_scrub.imports.parsing.phone_columns import all_read, countries, need_all_read
from stream_scrub.imports.parsing.titles import PHONES, TITLES
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say
from stream_scrub.model import RegisterKind
from stream_scrub.texts import words

# How long a result may be relied on, as each register says; `days=` says otherwise. SG: PDPC. AU: ACMA. FR: Bloctel,
# while it lasted. IT: Registro delle opposizioni.
DAYS: Final[Mapping[str, int]] = MappingProxyType({"SG": 21, "AU": 30, "FR": 30, "IT": 15})
CLEAN, OPPOSED, REJECTED = "clean", "opposed", "rejected"
_TOLD = frozenset({"number", "status", "clean", "listed", "days"})
_WORDS = {
    **dict.fromkeys(
        words(
            "clean clear cleared notregistered unregistered notonregister notlisted callable contactable allowed"
            " nonoppose noninscrit contattabile noniscritto onay"
        ),
        CLEAN,
    ),
    **dict.fromkeys(
        words(
            "registered onregister onregistry listed dnc donotcall opposed blocked oppose inscrit iscritto"
            " noncontattabile notcallable ret"
        ),
        OPPOSED,
    ),
    **dict.fromkeys(words("invalid rejected malformed error invalide rejete scartato"), REJECTED),
}
_YES, _NO = words("y yes true 1 oui o si ja j"), words("n no false 0 non nein")
_OPPOSED_IF_YES, _CLEAN_IF_YES = frozenset(TITLES["opposed"]), frozenset(TITLES["clean"])
_AUSTRALIAN = {"y": OPPOSED, "n": CLEAN, "i": REJECTED}
_REJECTED_TITLES = ["number", "errorcode", "errormessage"]
_RESULT_NAME = re.compile(r"(summary|filtered|rejected|on[-_ ]?behalf)")
_BEGINS_WITH_DAY = re.compile(r"20\d{2}[-_.]?\d{2}[-_.]?\d{2}", re.ASCII)
_SURE, _LIKELY, _MAYBE = 95, 80, 70
_DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class _Wash:
    """How a file's rows are to be read."""

    number: int
    status: int  # -1: none
    listed: str  # without a status: what the numbers in the file are
    meanings: Mapping[str, str]
    others: str | None  # what any other status means
    region: str

    def verdict(self, row: csv_table.CsvRow) -> str | None:
        """CLEAN, OPPOSED or REJECTED; None when the status is not understood."""
        if self.status < 0:
            return self.listed
        said = csv_table.title(row.cell(self.status))
        return self.meanings.get(said, self.others if said else None)


def _name(member: str) -> str:
    return PurePosixPath(member).name.casefold()


def _singapore(name: str, titles: Sequence[str]) -> str:
    """Which of Singapore's files this is: "filtered", "rejected", "summary", "on-behalf", or "" for none of them."""
    if titles == _REJECTED_TITLES:
        return "rejected"
    found = _RESULT_NAME.search(name)
    if found is None or _BEGINS_WITH_DAY.match(name) is None:
        return ""
    return "on-behalf" if found[1].startswith("on") else found[1]


def _recognise(sample: ListSample) -> int:
    cells = csv_table.sample_rows(sample)
    titles = csv_table.sample_titles(sample)
    if _singapore(_name(sample.member), titles):
        return _SURE
    if csv_table.find(titles, PHONES) >= 0:
        body = cells[1:]
        status, meanings = _status(titles, "")
        # One known result is enough: read as plain, everybody in the file would be clean.
        if status >= 0 and any(csv_table.title(cell) in meanings for cell in _column(body, status)):
            return _LIKELY
    if not titles and cells and all(len(row) == 2 for row in cells):
        letters = _mostly(cell.strip().casefold() in _AUSTRALIAN for cell in _column(cells, 1))
        if letters and _mostly(number_of(cell, "AU") is not None for cell in _column(cells, 0)):
            return _MAYBE
    return NEVER


def _mostly(flags: Iterable[bool]) -> bool:
    said = list(flags)
    return bool(said) and sum(said) * 4 >= len(said) * 3


def _column(cells: Iterable[Sequence[str]], place: int) -> list[str]:
    return [row[place] if place < len(row) else "" for row in cells]


def _status(titles: Sequence[str], region: str) -> tuple[int, Mapping[str, str]]:
    """The place of the status by its title, -1 for none, and what its values mean, as `csv_table.title` makes them."""
    place = csv_table.find(titles, _OPPOSED_IF_YES | _CLEAN_IF_YES)
    if place >= 0:
        yes, no = (OPPOSED, CLEAN) if titles[place] in _OPPOSED_IF_YES else (CLEAN, OPPOSED)
        return place, dict.fromkeys(_YES, yes) | dict.fromkeys(_NO, no) | _WORDS
    return csv_table.find(titles, TITLES["status"]), {**_WORDS, **(_AUSTRALIAN if region == "AU" else {})}


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Clean numbers with their end, and the others as removals. Raises BadList if it is unclear which is which."""
    reading.kind, reading.change = RegisterKind.ALLOW, "delta"
    table = csv_table.CsvTable(source.text(), reading)
    name, titles = _name(source.member), table.headed()
    kind = _singapore(name, titles)
    if kind in ("summary", "on-behalf"):
        reading.titles += sum(1 for _ in table)
        _describe(reading, f"{kind} file, no numbers")
        return
    if not table.head:
        return
    wash = _wash(table, kind, options)
    good = _good(wash.region, options)
    washed, end = _until(name, good, options)
    reading.good_s = int(good.total_seconds())
    if kind == "filtered" and "voice" not in name and any(word in name for word in ("text", "sms", "fax")):
        reading.passed += sum(1 for _ in table)
        _describe(reading, "results for text messages or faxes, passed")
        return
    ended = end <= int(options.now.timestamp())
    count = dict.fromkeys((CLEAN, OPPOSED, REJECTED), 0)
    batch = EntryBuffer(reading, wash.region, last="removals")
    headed, named = bool(titles), bool(options.column) or "number" in options.columns
    country = countries(table, headed=headed)
    for row in all_read(table, [wash.number], wash.region, reading, headed=headed, named=named):
        verdict = REJECTED if kind == "rejected" else wash.verdict(row)
        if verdict is not None:
            count[verdict] += 1
        if verdict is None:
            batch.refuse(row.line)
        elif verdict == CLEAN:
            batch.put(row.cell(wash.number), row.line, end, region=country.of(row))
        elif verdict == REJECTED and number_of(row.cell(wash.number), country.of(row) or wash.region) is None:
            reading.passed += 1
        else:
            batch.put(row.cell(wash.number), row.line, removed=True, region=country.of(row))
    batch.close()
    _note_day(reading, washed, options)
    figures = ", ".join(f"{number} {verdict}" for verdict, number in count.items() if number)
    _describe(
        reading,
        f"results ({figures}) {'that had ended' if ended else 'until'} {utc_minutes(datetime.fromtimestamp(end, UTC))}"
        + ("" if washed is not None else ", washed now as no day is given")
        + ("" if wash.status >= 0 or kind == "rejected" else f", whatever is listed is {wash.listed}"),
    )


def _note_day(reading: ParsedList, washed: datetime | None, options: ListOptions) -> None:
    # One of several files without a day is enough for the whole to have none.
    if options.said is None and reading.day_by != "import":
        reading.day_by = "import" if washed is None else "name"
    if washed is not None:
        reading.effective_at = max(filter(None, (reading.effective_at, washed)))


def _describe(reading: ParsedList, what: str) -> None:
    """A set of files is one wash: each adds its part to the description."""
    reading.described = f"{reading.described}; {what}" if reading.described else what


def _wash(table: csv_table.CsvTable, kind: str, options: ListOptions) -> _Wash:
    said = options.columns
    region = "SG" if kind else options.region
    titles = table.headed()
    status, meanings = _status(titles, region)
    if "status" in said:
        status = csv_table.place_of(said["status"], titles, table.width)
    elif status < 0 and not titles and (letters := _letters(table)) >= 0:
        if region != "AU" and "clean" not in said:
            why = "Y, N and I are the Australian register's results: say --region AU, or --columns clean=N"
            page = say(
                "Y, N and I are the results of the Australian register: choose Australia as “Country of numbers without a"
                " country code”"
            )
            raise BadList(by_door(why, page))
        status, meanings = letters, _AUSTRALIAN
    elif any(place != status and _says_result(table, titles, place) for place in range(len(titles))):
        why = "several columns may hold the result: name it with --columns status=..."
        raise BadList(by_door(why, say(AS_IT_CAME)))
    number = _number(table, titles, region, said.get("number", options.column))
    others = None
    if "clean" in said:
        meanings, others = {csv_table.title(said["clean"]): CLEAN}, OPPOSED
    listed = said.get("listed", CLEAN if table.width == 1 or kind == "rejected" else "")
    if status < 0 and listed not in (CLEAN, OPPOSED):
        why = (
            "no column is known to hold the result: name it with --columns status=..., or say --columns listed=clean"
            " when the opposed numbers were taken out of the file"
        )
        raise BadList(by_door(why, say(AS_IT_CAME)))
    return _Wash(number, status, listed, meanings, others, region)


def _says_result(table: csv_table.CsvTable, titles: Sequence[str], place: int) -> bool:
    """Whether a column is titled as one with the result, and has words for it."""
    cells = _column((row.cells for row in table.head[1:]), place)
    known = titles[place] in _OPPOSED_IF_YES.union(TITLES["status"]) | _CLEAN_IF_YES
    return known and any(csv_table.title(cell) in _WORDS for cell in cells)


def _letters(table: csv_table.CsvTable) -> int:
    """Where the Australian letters are, -1 for nowhere."""
    for place in range(table.width):
        cells = _column((row.cells for row in table.head), place)
        if _mostly(cell.strip().casefold() in _AUSTRALIAN for cell in cells):
            return place
    return -1


def _number(table: csv_table.CsvTable, titles: Sequence[str], region: str, wanted: str) -> int:
    """Where the numbers are: (1) where the operator says, (2) by title, (3) in the only column that holds some."""
    if wanted:
        return csv_table.place_of(wanted, titles, table.width)
    if (found := csv_table.find(titles, PHONES)) >= 0:
        need_all_read(table, [found], region)
        return found
    body = [row.cells for row in table.head[bool(titles) :]]
    holding = [
        place
        for place in range(table.width)
        if any(number_of(cell, region) is not None for cell in _column(body, place))
    ]
    if len(holding) > 1 or (not holding and table.width > 1):
        why = "it is unclear which column holds the numbers: name it with --columns number=..."
        raise BadList(by_door(why, say(AS_IT_CAME)))
    return holding[0] if holding else 0


def _good(region: str, options: ListOptions) -> timedelta:
    """How long the results may be relied on. Raises BadList."""
    days = options.columns.get("days", str(DAYS.get(region, "")))
    if not (days.isascii() and days.isdigit() and 1 <= int(days[:9]) <= _DAYS_MAX):
        why = f"how long is a result of this register good? Say it with --columns days=N (1 to {_DAYS_MAX})"
        page = say(
            "it is not known how long the results of this register are good: have your operator import the list"
        )
        raise BadList(by_door(why, page))
    return timedelta(days=int(days))


def _until(name: str, good: timedelta, options: ListOptions) -> tuple[datetime | None, int]:
    """The day of the wash where it is known, and the end of its results in epoch seconds UTC."""
    day = day_in(name, options.now.date()) if options.said is None else options.said.date()
    if day is None:
        return None, int((options.now + good).timestamp())
    return datetime(day.year, day.month, day.day, tzinfo=UTC), earliest(day) + int(good.total_seconds())


FORMAT = FormatSpec(
    "wash",
    "results of a wash (SG, AU, Bloctel, client rows with a status), for an allow register",
    _recognise,
    _read,
    _TOLD,
)
