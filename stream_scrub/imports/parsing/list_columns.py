"""The columns of a CSV list, as an operator is told of them: title, role, filled cells, and the commonest values.

A value is shown in words only if it is an answer or repeated in a column of few values: any other may be a person's, and
shows as its shape. Digits never show.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pyroaring import BitMap64

from stream_scrub.imports.parsing.cells import clean, days, number_of
from stream_scrub.imports.parsing.csv_table import CsvRow, speakable, title
from stream_scrub.imports.parsing.parsed_list import ListColumn
from stream_scrub.imports.parsing.phone_columns import may_be_countries
from stream_scrub.imports.parsing.roles import NOES, ROLES, Answer, answer, suggested_role

_BATCH = 200  # rows, of a mebibyte at most
_VALUES_MAX = 12  # different values of a column whose values are shown in words
_BESIDE = 20  # filled cells of each value whose rows' phone numbers are kept
_SAMPLE = 200  # filled cells by which a column's shapes and its suggested role are told
_SHOWN = 3
_SHOWN_SIGNS = 24
_COLUMNS_SHOWN = 100
OTHER_LENGTH = "for +"  # and a length: of rows that state a window for another register
DATE_THEM = (
    "The law asks for the day on which each of these people consented: write the list as phone,consented_on, or name the"
    " column that has the day, as in --columns phone=1,given=2, or one day for all, as in given=2026-11-24"
)


@dataclass(frozen=True, slots=True)
class ListReading:
    """How a list was read: its columns, its rows by what became of them, and what does not count: so many expiry dates
    (`endless`), and so many of `total` lines without a valid number (`refused`), which are at these `places`. `said_no`: the
    people whom a list of consents says a no of."""

    columns: list[ListColumn]
    outcomes: dict[str, int]
    endless: int = 0
    refused: int = 0
    places: str = ""
    total: int = 0
    said_no: BitMap64 = field(default_factory=BitMap64)

    @property
    def lines(self) -> list[str]:
        """The same for people."""
        lines = ["rows: " + ", ".join(f"{name} {count:,}" for name, count in self.outcomes.items())]
        if "undated" in self.outcomes:
            lines.append(f"undated: {DATE_THEM}")
        if other := next((name for name in self.outcomes if name.startswith(OTHER_LENGTH)), None):
            length = other.removeprefix("for ")
            lines.append(
                f"{other}: their windows have another length. Import the same list again for each length, as in --register"
                f" consent-hours@acme{length}"
            )
        for what, chosen in (
            ("columns used", [column for column in self.columns if column.role]),
            ("columns ignored", [column for column in self.columns if not column.role and column.filled]),
        ):
            if chosen:
                lines.append(f"{what}: {', '.join(map(_brief, chosen))}")
        lines += [
            f"{_brief(column)} says {column.values}, and every row counts. To import only the people who said no,"
            " import the list into its register of consents, with this column as consent= and with --no-into"
            for column in self.columns
            if column.answers and not column.role and not self.consents
        ]
        return lines

    @property
    def consents(self) -> bool:
        """Whether the list was read by the columns of its consents."""
        return any(column.role not in ("", "phone", "country") for column in self.columns)


def _brief(column: ListColumn) -> str:
    called = column.title or f"column {column.place}"
    role = column.role or (f"{column.suggested}?" if column.suggested else "")
    return f"{called} ({role})" if role else called


class ColumnCounter:
    """Counts the cells of each column while the rows go by."""

    def __init__(self, titles: Sequence[str], region: str, phones: Sequence[int]) -> None:
        """`titles` are as in the file; none without a header. `phones`: the columns of the numbers."""
        self._titles = titles
        self._phones = phones
        self._region = region
        self._rows = 0
        self._columns: list[_Cells] = []

    def counted(self, rows: Iterator[CsvRow]) -> Iterator[CsvRow]:
        """The same rows."""
        while batch := list(islice(rows, _BATCH)):
            self._rows += len(batch)
            width = max(len(row.cells) for row in batch)
            while len(self._columns) < width:
                self._columns.append(_Cells())
            for index, column in enumerate(self._columns[:width]):
                column.take([row for row in batch if len(row.cells) > index], index, self._phones)
            yield from batch

    def others_filled(self, read: int) -> bool:
        """Whether a column besides the one that was read has anything in it."""
        return any(column.filled for index, column in enumerate(self._columns) if index != read)

    def columns(self, roles: Mapping[int, str]) -> list[ListColumn]:
        """What was counted, by column. `roles` are the roles that columns were read in, by index."""
        listed = []
        for index, column in enumerate(self._columns[:_COLUMNS_SHOWN]):
            name = clean(self._titles[index]) if index < len(self._titles) else ""
            listed.append(column.told(index, name, self._rows, roles.get(index, ""), self._region))
        return listed


class _Cells:
    """The cells of one column. Without `values` there are too many different ones."""

    def __init__(self) -> None:
        self.filled = 0
        self.values: Counter[str] | None = Counter()
        self.sample: list[str] = []
        # A few cells of each value, each with the phone number of its row.
        self.beside: list[tuple[str, str]] = []

    def take(self, rows: Sequence[CsvRow], index: int, phones: Sequence[int]) -> None:
        filled = [row.cells[index] for row in rows if row.cells[index] and not row.cells[index].isspace()]
        self.filled += len(filled)
        if len(self.sample) < _SAMPLE:
            self.sample += filled[: _SAMPLE - len(self.sample)]
        if self.values is not None:
            wanting = {cell for cell in {*filled} if self.values[cell] < _BESIDE}
            if wanting:
                self._take_beside(rows, index, phones, wanting)
            self.values.update(filled)
            if len(self.values) > _VALUES_MAX:
                self.values = None

    def _take_beside(
        self, rows: Sequence[CsvRow], index: int, phones: Sequence[int], wanting: Collection[str]
    ) -> None:
        """Keep the first cells of the values in `wanting`, up to `_BESIDE` of each."""
        taken = Counter(self.values)
        for row in rows:
            cell = row.cells[index]
            if cell in wanting and taken[cell] < _BESIDE:
                taken[cell] += 1
                self.beside += [(cell, row.cell(phone)) for phone in phones if row.cell(phone).strip()]

    def told(self, index: int, name: str, rows: int, role: str, region: str) -> ListColumn:
        sample = self.sample
        numbers = sum(number_of(cell, region) is not None and not _is_day(cell) for cell in sample)
        holds_days = bool(sample) and sum(map(_is_day, sample)) * 2 > len(sample)
        suggested = suggested_role(
            title(name),
            sample,
            holds_days=holds_days,
            holds_numbers=bool(sample) and numbers * 2 > len(sample),
        )
        if not role and may_be_countries(name, [*(self.values or sample)], region, self.beside):
            suggested = "country"
        answers = [answer(cell) for cell in (self.values or sample)]
        return ListColumn(
            place=index + 1,
            title="" if not name else speakable(name) if speakable(name) == name else "",
            role=role,
            suggested=suggested,
            filled=self.filled,
            empty=rows - self.filled,
            values=self._shown(),
            answers=_are_answers(answers),
        )

    def _shown(self) -> str:
        counts: Counter[str] = Counter()
        if self.values is None:
            counts.update(map(_shape, self.sample))
        else:
            for value, count in self.values.items():
                in_words = answer(value) != "unclear" or (count > 1 and self.filled > len(self.values) * 2)
                counts[_digitless(clean(value)) if in_words else _shape(value)] += count
        shown = [f"{value} {count:,}" for value, count in counts.most_common(_SHOWN)]
        return ", ".join(shown) + (" ..." if len(counts) > _SHOWN or self.values is None else "")


def _are_answers(answers: Sequence[Answer]) -> bool:
    """Whether a column says both yes and no, and little else."""
    says_no = any(each in NOES for each in answers)
    return "yes" in answers and says_no and answers.count("unclear") * 2 < len(answers)


def _is_day(cell: str) -> bool:
    text = clean(cell)
    return bool(days(text)) or bool(days(text[:10].rstrip("T ")))


def suggested_columns(columns: Sequence[ListColumn]) -> dict[str, str]:
    """The columns that the operator might name, by role: of each role the first one. Where a role has two, only the
    operator knows which consent is for calls, so none is named."""
    names = {column.place: column.name for column in columns}
    return {role: names[place] for role, place in suggested_places(columns).items()}


def suggested_places(columns: Sequence[ListColumn]) -> dict[str, int]:
    """The same by place, from 1."""
    named: dict[str, int] = {}
    is_clear = True
    for role in ROLES:
        places = [column.place for column in columns if (column.role or column.suggested) == role]
        if places:
            named[role] = places[0]
        if len(places) > 1 and role != "phone":
            is_clear = False
    if not is_clear:
        named.pop("consent", None)
    return named


def _digitless(text: str) -> str:
    cut = "".join("9" if sign.isdigit() else sign for sign in text if sign.isprintable())
    return cut if len(cut) <= _SHOWN_SIGNS else cut[:_SHOWN_SIGNS] + "..."


def _shape(cell: str) -> str:
    return "".join("x" if sign.isalpha() else sign for sign in _digitless(cell.strip()))
