"""Step 3, normalise: digits in a proven shape are looked up, phonenumbers answers everything else.

No regular expression runs here. A row is learnt when a length and beginning is first met (see `tables`). All rows of
the world would take 200 MB, and one country needs a few MB. So all rows are forgotten when HELD_MAX has not been
enough for a while, and learnt again when needed. Threads may share a normaliser: a learnt row is only ever replaced
by an equal one.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from phonenumbers import PhoneMetadata

from stream_scrub.numbering.fractions import is_suspect, only, readings
from stream_scrub.numbering.library import ASKED_MAX, TEXT_MAX, Line, ask, ask_line
from stream_scrub.numbering.tables import ASK, REGIONS, Row, TableMemory, Tables
from stream_scrub.numbering.two_numbers import may_be_two, pair_digits

Answer: TypeAlias = tuple[int, Line] | None
Normalise: TypeAlias = Callable[[str, str], Answer]
LineOf: TypeAlias = Callable[[int], Line | None]
# A Row's fields as a plain tuple, which the interpreter unpacks 50 ns faster than a named one.
Fields: TypeAlias = tuple[int, int, bytes, tuple[int, ...], tuple[Line | None, ...]]
# By the number of digits: (d, the row for each n // d that was met).
Rows: TypeAlias = dict[int, tuple[int, list[Fields | None]]]

DIGITS_MIN: Final = 4  # phonenumbers answers for shorter ones
DIGITS_MAX: Final = 20
HELD_MAX: Final = 64 << 20  # bytes of tables; a dozen countries with all that is typed in them are 20 MB
TURNED_AWAY_MAX: Final = 50_000
_POINTER = 8
# With the space, these are the signs that phonenumbers skips anywhere in a number and never takes for the start of an
# extension or of a second number. "x", "~", "#", ",", ";" and letters mean something to it, so they are not here.
SEPARATORS: Final = ("-", ".", "(", ")", "/", "\u00a0")


def normaliser(learnt: "Learnt") -> Normalise:  # noqa: C901  # flat: on the hot path a call costs more than a branch
    """The function that reads what people type, with these rows; without rows if the tables are of another version."""
    if not learnt.tables.in_use:
        return ask
    main, international, elsewhere = learnt.main, learnt.international, learnt.read
    pairs, pairs_after_plus = learnt.pairs, learnt.pairs_after_plus

    def normalise(text: str, region: str) -> Answer:
        """The number in `text` as typed in `region` (ISO 3166-1), and its line; None unless it is a valid number.

        Valid exactly if phonenumbers' `parse(text, region)` succeeds, `is_valid_number` says so, the text would not
        take phonenumbers long, and it cannot be two numbers (`library.ask`). The number is the integer of the E.164
        digits, with an Italian leading zero, without an extension. In an unknown region only numbers with a plus are
        valid. Never raises or blocks. 0.3 us for plain digits with or without spaces, 15 to 40 us for what must be
        parsed.
        """
        digits = text.replace(" ", "")
        if digits.isdigit() and digits.isascii() and len(text) <= TEXT_MAX:
            try:
                size, _, cells, shifts, lines = main[region][len(digits)]
                n = int(digits)
                cell = cells[n // size]
            except (KeyError, IndexError):
                return elsewhere(text, digits, region)
            if cell > ASK and (
                digits is text or len(digits) < pairs[region] or (" 0" not in text and "  " not in text)
            ):  # one number
                return n + shifts[cell], lines[cell]  # type: ignore[return-value]  # a cell above ASK has a line
            if cell < ASK:
                return None
        elif digits and digits[0] == "+":
            plain = digits[1:]
            if plain.isdigit() and plain.isascii() and len(text) <= TEXT_MAX:
                try:
                    divisor, rows = international[len(plain)]
                    n = int(plain)
                    size, first, cells, shifts, lines = rows[n // divisor]  # type: ignore[misc]
                except (KeyError, TypeError):  # no such length so far, or no row for that beginning
                    return elsewhere(text, digits, region)
                cell = cells[n // size - first]
                if cell > ASK and (
                    digits is text
                    or len(plain) < pairs_after_plus.get(region, 0)
                    or (" 0" not in text and "  " not in text)
                ):
                    return n + shifts[cell], lines[cell]  # type: ignore[return-value]
                if cell < ASK:
                    return None
        return elsewhere(text, digits, region)

    return normalise


class Learnt:
    """The rows met so far, and the reader of texts that the hot function does not settle."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.main: dict[str, dict[int, Fields]] = {}  # by region and digits
        self.national: dict[str, Rows] = {}  # by region
        self.international: Rows = {}  # for what follows a plus
        # By region: the fewest digits that may be two numbers, without a plus and after one.
        self.pairs: dict[str, int] = {}
        self.pairs_after_plus: dict[str, int] = {}
        # How often: code that keeps our rows must drop them when this changes, or they are in memory twice.
        self.forgotten = 0
        self._shared = _Shared(tables.memory)
        self._turned_away = 0

    def read(self, text: str, digits: str, region: str) -> Answer:
        """Reads other separators, a calling code without its plus, 00, and lengths not met before; else asks the
        library."""
        settled, answer, pairs = False, None, self.pairs
        if len(text) <= TEXT_MAX:
            if is_suspect(text):
                texts = readings(text)
                if tuple(texts) != (text,):
                    return only(texts, lambda each: self.read(each, each.replace(" ", ""), region))
            for separator in SEPARATORS:
                digits = digits.replace(separator, "")
            if len(digits) > ASKED_MAX and digits.isdigit():
                return None  # 20 times as fast as by the library
            if digits.startswith("+"):
                settled, answer = self._international(digits[1:])
                pairs = self.pairs_after_plus
            elif region in REGIONS:
                settled, answer = self.read_national(digits, region)
        if not settled:
            return ask(text, region, self.is_number)
        if answer is None or len(digits) < pairs.get(region, 0):
            return answer
        return None if may_be_two(text, region, self.is_number) else answer

    def is_number(self, digits: str, region: str) -> bool:
        """Whether digits, perhaps with a plus before them, are a valid number as typed in `region`."""
        return self.read(digits, digits, region) is not None

    def main_row(self, region: str, length: int) -> Fields | None:
        """The row for so many digits typed in a region that phonenumbers knows, read from its first cell; None when
        only the library can tell. Some strings may lie behind its last cell: ask the library about these."""
        if not self.tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX:
            return None
        lengths = self.main.get(region, {})
        if length not in lengths:
            if not self._has_room():
                return None
            self.pairs[region] = pair_digits(region)
            self.pairs_after_plus[region] = pair_digits(region, plus=True)
            lengths = self.main.setdefault(region, {})
            lengths[length] = self._shared.fields(self.tables.main(region, length))
        return lengths[length]

    def international_row(self, digits: str) -> tuple[int, int, Fields] | None:
        """For what follows a plus: (a) the divisor that leaves the digits which choose a row, (b) those digits as an
        integer, (c) the row; None when only the library can tell."""
        if not self.tables.in_use:
            return None
        self._international(digits)
        divisor, rows = self.international.get(len(digits), (1, None))
        row = None if rows is None else rows[int(digits) // divisor]
        return None if row is None else (divisor, int(digits) // divisor, row)

    def read_national(self, digits: str, region: str) -> tuple[bool, Answer]:
        """Whether the tables settle digits typed without a plus in a known region, and the answer."""
        self.main_row(region, len(digits))
        rows = self.national.setdefault(region, {})
        settled, answer = self._look_up(digits, rows, lambda typed: self.tables.national(region, typed))
        if not settled and digits.startswith("00") and digits[2:3] != "0" and _dials_00(region):
            return self._international(digits[2:])
        return settled, answer

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more rows now. Rows that are unknown now may be learnt later."""
        return self.tables.memory.size >= HELD_MAX

    def _has_room(self) -> bool:
        """Whether a row may be learnt. Without room the library answers, and after many such answers all rows are
        forgotten. Forgetting them at once would cost half a millisecond a number when all countries come mixed."""
        if not self.is_full:
            return True
        self._turned_away += 1
        if self._turned_away < TURNED_AWAY_MAX:
            return False
        self._turned_away = 0
        self.forgotten += 1
        for cache in (self.main, self.national, self.international):
            cache.clear()
        self._shared = _Shared(self.tables.memory)
        self.tables.forget()
        return True

    def _international(self, digits: str) -> tuple[bool, Answer]:
        """As `read_national`, for what follows a plus."""
        return self._look_up(digits, self.international, self.tables.international)

    def _look_up(
        self, digits: str, rows: Rows, find: Callable[[str], tuple[int, Row] | None]
    ) -> tuple[bool, Answer]:
        return _look_up(digits, rows, lambda typed: find(typed) if self._has_room() else None, self._shared)


class _Shared:
    """The fields of each row, as one object. It keeps the rows, so that no other object ever gets the id of one."""

    def __init__(self, memory: TableMemory) -> None:
        self.memory = memory
        self._known: dict[int, tuple[Row, Fields]] = {}

    def fields(self, row: Row) -> Fields:
        """The row's fields, always the same object."""
        return self._known.setdefault(id(row), (row, row[:]))[1]


def liner(tables: Tables) -> LineOf:
    """The function that gives a number's line, with these tables; without tables if they are of another version."""
    if not tables.in_use:
        return ask_line
    significant: Rows = {}
    shared = _Shared(tables.memory)

    def line_of(number: int) -> Line | None:
        """The line of a number (the integer of its E.164 digits); None unless it is valid.

        For every answer of `normalise`, `line_of(number)` is its line. Nothing is stripped: 330612345678, a French
        number that keeps its national prefix, is not valid, although `normalise` reads +330612345678. Never raises or
        blocks.
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
    """Whether the tables settle these digits, and the answer. `find` gives the rows that `rows` lacks."""
    if not (digits.isdigit() and digits.isascii() and DIGITS_MIN <= len(digits) <= DIGITS_MAX):
        return False, None
    n = int(digits)
    known = rows.get(len(digits))
    row = None if known is None else known[1][n // known[0]]
    if row is None:
        learnt = find(digits)
        if learnt is None:
            return False, None
        chosen, row = learnt[0], shared.fields(learnt[1])
        if known is None:
            known = rows.setdefault(len(digits), (10 ** (len(digits) - chosen), [None] * 10**chosen))
            shared.memory.size += _POINTER * 10**chosen
        known[1][n // known[0]] = row
    size, first, cells, shifts, lines = row
    cell = cells[n // size - first]
    line = lines[cell]
    return cell != ASK, None if line is None else (n + shifts[cell], line)


def _dials_00(region: str) -> bool:
    """Whether 00 and nothing else is the region's international prefix."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    return metadata is not None and metadata.international_prefix == "00"
