"""The hot part of step 3: digits in a proven shape are looked up, everything else is asked of phonenumbers.

No regular expression runs here. Rows are learnt when a length and beginning is first met (see `tables`). There is one
of each however many beginnings share it. All of the world's would be 200 MB, of which one country needs a few: so they
are forgotten when HELD_MAX has long not been enough, and what is still needed is learnt again. Threads may share a normaliser: a learnt row is only ever
replaced by its equal.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from phonenumbers import PhoneMetadata

from stream_scrub.numbering.library import TEXT_MAX, ask, ask_line
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.tables import ASK, REGIONS, Held, Row, Tables

Answer: TypeAlias = tuple[int, Line] | None
Normalise: TypeAlias = Callable[[str, str], Answer]
LineOf: TypeAlias = Callable[[int], Line | None]
# A Row's fields as a plain tuple, which the interpreter unpacks 50 ns faster than a named one.
Fields: TypeAlias = tuple[int, int, bytes, int, tuple[Line | None, ...]]
# By how many digits: (d, the row for each n // d that was met).
Rows: TypeAlias = dict[int, tuple[int, list[Fields | None]]]

DIGITS_MIN: Final = 4  # shorter ones are phonenumbers' own business
DIGITS_MAX: Final = 20
HELD_MAX: Final = 64 << 20  # bytes of tables; a dozen countries with all that is typed in them are 20 MB
TURNED_AWAY_MAX: Final = 50_000
_POINTER = 8
# Besides the space: what phonenumbers skips anywhere in a number and never takes for the start of an extension or of
# a second number. "x", "~", "#", ",", ";" and letters mean something to it, so they are not here.
SEPARATORS: Final = ("-", ".", "(", ")", "/", "\u00a0")


def normaliser(learnt: "Learnt") -> Normalise:  # noqa: C901  # flat: on the hot path a call costs more than a branch
    """The function that reads what people type, with these rows, or without any whose tables are of another version."""
    if not learnt.tables.in_use:
        return ask
    main, international, elsewhere = learnt.main, learnt.international, learnt.read

    def normalise(text: str, region: str) -> Answer:
        """The number in `text` as typed in `region` (ISO 3166-1), and its line; None unless it is a valid number.

        Valid exactly when phonenumbers' `parse(text, region)` succeeds and `is_valid_number` says so, and the text is
        none that would take it long (`library.ask`); the number is
        the integer of the E.164 digits (ITU-T E.164), an Italian leading zero included, an extension dropped. With a
        region that phonenumbers does not know, only numbers with a plus are valid. Never raises, whatever the text;
        never blocks. About 0.3 us for plain digits with or without spaces, 15 to 40 us for what must be parsed.
        """
        digits = text.replace(" ", "")
        if digits.isdigit() and digits.isascii() and len(text) <= TEXT_MAX:
            try:
                size, _, cells, shift, lines = main[region][len(digits)]
                n = int(digits)
                cell = cells[n // size]
            except (KeyError, IndexError):
                return elsewhere(text, digits, region)
            if cell > ASK:
                return n + shift, lines[cell]  # type: ignore[return-value]  # a cell above ASK has a line
            if cell < ASK:
                return None
        elif digits and digits[0] == "+":
            plain = digits[1:]
            if plain.isdigit() and plain.isascii() and len(text) <= TEXT_MAX:
                try:
                    divisor, rows = international[len(plain)]
                    n = int(plain)
                    size, first, cells, shift, lines = rows[n // divisor]  # type: ignore[misc]
                except (KeyError, TypeError):  # no such length, or no row for that beginning, so far
                    return elsewhere(text, digits, region)
                cell = cells[n // size - first]
                if cell > ASK:
                    return n + shift, lines[cell]  # type: ignore[return-value]
                if cell < ASK:
                    return None
        return elsewhere(text, digits, region)

    return normalise


class Learnt:
    """The rows met so far, and the way in for texts that the hot function does not settle."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.main: dict[str, dict[int, Fields]] = {}  # by region and digits
        self.national: dict[str, Rows] = {}  # by region
        self.international: Rows = {}  # of what follows a plus
        self.forgotten = 0  # how often: who keeps rows of ours must then drop them, or they are held twice
        self._shared = _Shared(tables.held)
        self._turned_away = 0

    def read(self, text: str, digits: str, region: str) -> Answer:
        """Other separators, a calling code without its plus, 00, a length not met before; else the library."""
        settled, answer = False, None
        if len(text) <= TEXT_MAX:
            for separator in SEPARATORS:
                digits = digits.replace(separator, "")
            if digits.startswith("+"):
                settled, answer = self._international(digits[1:])
            elif region in REGIONS:
                settled, answer = self.read_national(digits, region)
        return answer if settled else ask(text, region)

    def main_row(self, region: str, length: int) -> Fields | None:
        """The row for so many digits typed in a region of phonenumbers', read from its first cell; None when only
        the library can say. The strings may go on behind its last cell: ask the library about these."""
        if not self.tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX:
            return None
        lengths = self.main.get(region, {})
        if length not in lengths:
            if not self._has_room():
                return None
            lengths = self.main.setdefault(region, {})
            lengths[length] = self._shared.fields(self.tables.main(region, length))
        return lengths[length]

    def international_row(self, digits: str) -> tuple[int, int, Fields] | None:
        """For what follows a plus: the divisor that leaves the digits that choose a row, those digits as an integer,
        and the row; None when only the library can say."""
        if not self.tables.in_use:
            return None
        self._international(digits)
        divisor, rows = self.international.get(len(digits), (1, None))
        row = None if rows is None else rows[int(digits) // divisor]
        return None if row is None else (divisor, int(digits) // divisor, row)

    def read_national(self, digits: str, region: str) -> tuple[bool, Answer]:
        """Whether the tables settle digits typed without a plus in a region of phonenumbers', and how."""
        self.main_row(region, len(digits))
        rows = self.national.setdefault(region, {})
        settled, answer = self._look_up(digits, rows, lambda typed: self.tables.national(region, typed))
        if not settled and digits.startswith("00") and digits[2:3] != "0" and _dials_00(region):
            return self._international(digits[2:])
        return settled, answer

    @property
    def is_full(self) -> bool:
        """Whether nothing more is learnt for a while, so that what is not known now may be later."""
        return self.tables.held.size >= HELD_MAX

    def _has_room(self) -> bool:
        """Whether a row may be learnt. When all is full the library answers, and after many such answers everything is
        forgotten: to do so at once would cost whoever sends numbers of the whole world half a millisecond for each."""
        if not self.is_full:
            return True
        self._turned_away += 1
        if self._turned_away < TURNED_AWAY_MAX:
            return False
        self._turned_away = 0
        self.forgotten += 1
        for known in (self.main, self.national, self.international):
            known.clear()
        self._shared = _Shared(self.tables.held)
        self.tables.forget()
        return True

    def _international(self, digits: str) -> tuple[bool, Answer]:
        return self._look_up(digits, self.international, self.tables.international)

    def _look_up(
        self, digits: str, rows: Rows, find: Callable[[str], tuple[int, Row] | None]
    ) -> tuple[bool, Answer]:
        return _look_up(digits, rows, lambda typed: find(typed) if self._has_room() else None, self._shared)


class _Shared:
    """Rows as fields, one for each row. It holds the rows, so that no other object is ever given the id of one."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self._known: dict[int, tuple[Row, Fields]] = {}

    def fields(self, row: Row) -> Fields:
        """The row's fields, always the same object."""
        return self._known.setdefault(id(row), (row, row[:]))[1]


def liner(tables: Tables) -> LineOf:
    """The function that tells a number's line, with these tables, or without any that are not of this version."""
    if not tables.in_use:
        return ask_line
    significant: Rows = {}
    shared = _Shared(tables.held)

    def line_of(number: int) -> Line | None:
        """The line of a number (the integer of its E.164 digits); None unless it is valid.

        For every answer of `normalise`, `line_of(number)` is its line. Nothing is stripped: 330612345678, a French
        number with its national prefix kept, is not valid although +330612345678 can be read. Never raises or blocks.
        """
        if not 10**DIGITS_MIN <= number < 10**DIGITS_MAX:
            return ask_line(number)
        try:
            divisor, rows = significant[len(str(number))]
            size, first, cells, _, lines = rows[number // divisor]  # type: ignore[misc]
        except (KeyError, TypeError):
            settled, answer = _look_up(str(number), significant, tables.significant, shared)
            return answer and answer[1] if settled else ask_line(number)
        cell = cells[number // size - first]
        return ask_line(number) if cell == ASK else lines[cell]

    return line_of


def _look_up(
    digits: str, rows: Rows, find: Callable[[str], tuple[int, Row] | None], shared: _Shared
) -> tuple[bool, Answer]:
    """Whether the tables settle these digits, and how; `rows` learns from `find` what it lacks."""
    if not (digits.isdigit() and digits.isascii() and DIGITS_MIN <= len(digits) <= DIGITS_MAX):
        return False, None
    n = int(digits)
    known = rows.get(len(digits))
    row = None if known is None else known[1][n // known[0]]
    if row is None:
        found = find(digits)
        if found is None:
            return False, None
        chosen, row = found[0], shared.fields(found[1])
        if known is None:
            known = rows.setdefault(len(digits), (10 ** (len(digits) - chosen), [None] * 10**chosen))
            shared.held.size += _POINTER * 10**chosen
        known[1][n // known[0]] = row
    size, first, cells, shift, lines = row
    cell = cells[n // size - first]
    line = lines[cell]
    return cell != ASK, None if line is None else (n + shift, line)


def _dials_00(region: str) -> bool:
    """Whether 00 and nothing else is the region's international prefix."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    return metadata is not None and metadata.international_prefix == "00"
