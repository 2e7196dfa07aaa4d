"""Whole arrays of numbers at once, and chunks of typed lines and cells, by the same tables as for single numbers.

What the tables do not settle is marked ASK, and goes to `normalise` or `line_of` one by one. So the answers are those
of these two, only faster. Of typed text only what needs no parsing is settled here: digits among separators that
phonenumbers skips, with or without a plus before them and double quotes around them.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering.library import CALLING_CODE_DIGITS_MAX, TEXT_MAX, Line
from stream_scrub.numbering.row_cache import DIGITS_MIN, SEPARATORS, LineOf, Normalise, _dials_00
from stream_scrub.numbering.tables import (
    ASK,
    FIRST_LINE,
    LEADING,
    NONE,
    PREFIX_DIGITS_MAX,
    REGIONS,
    UNKNOWN,
    Row,
    Tables,
)
from stream_scrub.numbering.two_numbers import pair_digits

Numbers: TypeAlias = NDArray[np.uint64]
Codes: TypeAlias = NDArray[np.uint16]

DIGITS_MAX: Final = 17  # ITU-T E.164's 15 after 00; longer strings are ASK
# The largest power of ten in 64 bits, above any such string, so that the quotient is 0.
_SIZE_MAX: Final = 10**19
_LEARNING: Final = threading.Lock()  # one thread at a time finds and fills a row's place; readers never wait
_POWERS: Final = np.array([10**digits for digits in range(DIGITS_MIN, DIGITS_MAX + 1)], np.uint64)


class Answers(NamedTuple):
    """For each string: NONE (no valid number), ASK, or from FIRST_LINE on its line in `Many.lines`; and the number,
    meaningful where it has a line."""

    numbers: Numbers
    codes: Codes


class _Lines:
    """The lines met so far, and by code what moves a number to its home (`tables.TableFile`). Only ever longer."""

    def __init__(self) -> None:
        self.lines: list[Line] = []  # the first one has the code FIRST_LINE
        self.moves: Numbers = np.zeros(FIRST_LINE, np.uint64)  # modulo 2**64, like the addition
        self._codes: dict[tuple[Line, int], int] = {}

    def codes_of(self, row: Row) -> Codes:
        """The code of each of the row's cells."""
        codes = [NONE, ASK]
        for line, shift in zip(row.lines[FIRST_LINE:], row.shifts[FIRST_LINE:], strict=True):
            codes.append(NONE if line is None else self._code(line, shift - row.shifts[NONE]))
        return np.array(codes, np.uint16)[np.frombuffer(row.cells, np.uint8)]

    def _code(self, line: Line, move: int) -> int:
        if (line, move) not in self._codes:
            self._codes[line, move] = FIRST_LINE + len(self.lines)
            self.lines.append(line)
            self.moves = np.append(self.moves, np.uint64(move % 2**64))
        return self._codes[line, move]


@dataclass(slots=True)
class _Rows:
    """The rows of digit strings of one length, by their first digits, as arrays. A row is learnt when first met."""

    divisor: int
    keys: int
    lines: _Lines
    size: Numbers = field(init=False)
    base: NDArray[np.int64] = field(init=False)  # where a row's cells begin, minus `first` of the row
    shift: Numbers = field(init=False)  # modulo 2**64, like the addition
    known: NDArray[np.bool_] = field(init=False)
    codes: Codes = field(init=False)  # of all cells
    # By identity: the rows are kept, so that their ids stay theirs.
    _places: dict[tuple[int, int], tuple[Row, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.size = np.full(self.keys, _SIZE_MAX, np.uint64)
        self.base = np.zeros(self.keys, np.int64)
        self.shift = np.zeros(self.keys, np.uint64)
        self.known = np.zeros(self.keys, bool)
        self.codes = self.lines.codes_of(UNKNOWN)
        self._places = {}

    def learn(self, key: int, row: Row | None) -> None:
        """Note a row for a key, or None if there are no tables: every string then gets the first cell, ASK."""
        if row is not None:
            at = self._place(row)
            self.size[key] = min(row.size, _SIZE_MAX)
            self.base[key] = at - row.first
            self.shift[key] = row.shifts[NONE] % 2**64
        self.known[key] = True

    def _place(self, row: Row) -> int:
        key = (id(row.cells), id(row.lines))
        if key not in self._places:
            self._places[key] = row, len(self.codes)
            self.codes = np.concatenate((self.codes, self.lines.codes_of(row)))
        return self._places[key][1]

    def look_up(self, values: Numbers, find: Callable[[int], Row | None]) -> Answers:
        """The answers for strings of this length. `find` gives the row of a value whose first digits were not met
        before."""
        keys = (values // np.uint64(self.divisor)).astype(np.int64)
        if not (known := self.known[keys]).all():
            new, examples = np.unique(keys[~known], return_index=True)
            with _LEARNING:
                for key, value in zip(new.tolist(), values[~known][examples].tolist(), strict=True):
                    self.learn(key, find(value))
        codes = self.codes[(values // self.size[keys]).astype(np.int64) + self.base[keys]]
        return Answers(values + self.shift[keys] + self.lines.moves[codes], codes)


class Many:
    """The tables for arrays. Threads may share one: a learnt row is only ever replaced by its equal."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lines = _Lines()
        self._typed: dict[tuple[str, int], _Rows] = {}
        self._after_plus: dict[int, _Rows] = {}
        self._significant: dict[int, _Rows] = {}

    @property
    def lines(self) -> list[Line]:
        """A copy of the lines met so far. The first one has the code FIRST_LINE."""
        return self._lines.lines[:]

    def typed(self, values: Numbers, length: int, region: str) -> Answers:
        """Strings of `length` digits, given as integers, as typed in `region` without a plus."""
        if not self._tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX or region not in REGIONS:
            return _unsettled(values)
        lead = min(PREFIX_DIGITS_MAX, length)
        rows = self._rows(self._typed, (region, length), length, lead)

        def find(value: int) -> Row | None:
            return _row(self._tables.national(region, f"{value:0{length}d}"))

        answers = rows.look_up(values, find)
        abroad = values // np.uint64(10 ** (length - 3))
        dialled = (answers.codes == ASK) & (abroad > 0) & (abroad < 10)  # 00 and then another digit
        if dialled.any() and _dials_00(region):
            behind = self.after_plus(values[dialled], length - 2)
            answers.numbers[dialled], answers.codes[dialled] = behind
        return answers

    def after_plus(self, values: Numbers, length: int) -> Answers:
        """Strings of `length` digits, given as integers, that follow a plus."""
        if not self._tables.in_use or not DIGITS_MIN <= length <= DIGITS_MAX:
            return _unsettled(values)
        rows = self._rows(self._after_plus, length, length, min(LEADING, length))
        return rows.look_up(values, lambda value: _row(self._tables.international(f"{value:0{length}d}")))

    def significant(self, numbers: Numbers) -> Codes:
        """The code of each number (the integer of its E.164 digits)."""
        codes = np.full(len(numbers), ASK, np.uint16)
        if not self._tables.in_use:
            return codes
        for length, chosen in _by_length(numbers):
            rows = self._rows(self._significant, length, length, CALLING_CODE_DIGITS_MAX)
            answers = rows.look_up(
                numbers[chosen], lambda number: _row(self._tables.significant(str(number)))
            )
            codes[chosen] = answers.codes
        return codes

    def _rows(self, known: dict[Any, _Rows], key: Any, length: int, lead: int) -> _Rows:
        """The rows in `known` for strings of this length, whose first `lead` digits choose one."""
        if key not in known:
            known.setdefault(key, _Rows(10 ** (length - lead), 10**lead, self._lines))
        return known[key]


def digits_of(numbers: Numbers) -> NDArray[np.int64]:
    """How many digits each number has. DIGITS_MIN means so many or fewer, DIGITS_MAX + 1 means more than
    DIGITS_MAX."""
    return np.searchsorted(_POWERS, numbers, side="right") + DIGITS_MIN


def _by_length(values: Numbers) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each number of digits that the tables may know, with the places of the values that have so many."""
    lengths = digits_of(values)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        if DIGITS_MIN < length <= DIGITS_MAX:
            yield length, np.flatnonzero(lengths == length)


def validator(many: Many, line_of: LineOf) -> Callable[[Numbers], NDArray[np.bool_]]:
    """The function that tells for many numbers at once whether `line_of` gives them a line."""

    def valid_many(numbers: Numbers) -> NDArray[np.bool_]:
        """For each number (the integer of its E.164 digits), whether `line_of` gives it a line. Never raises."""
        codes = many.significant(numbers)
        valid: NDArray[np.bool_] = codes >= FIRST_LINE
        for index in np.flatnonzero(codes == ASK).tolist():
            valid[index] = line_of(int(numbers[index])) is not None
        return valid

    return valid_many


def _row(learnt: tuple[int, Row] | None) -> Row | None:
    return None if learnt is None else learnt[1]


def _unsettled(values: Numbers) -> Answers:
    return Answers(values, np.full(len(values), ASK, np.uint16))


_END: Final = ord("\n")
_PLUS: Final = ord("+")
_QUOTE: Final = ord('"')
_SEPARATOR, _KEPT, _ODD = range(3)
_PADDING: Final = b"\n" * 8  # so that a word can be read from the last digit on
_WORD_DIGITS: Final = 8

Place = NDArray[np.int64]
# A run of digits that a program held as a float, as `fractions.readings` reads it; and any line that may end in a fraction.
_RUN_FRACTION: Final = re.compile(rb'(?m)^("? *[0-9]{5,17})\.0+( *"?)$')
_FRACTION: Final = re.compile(rb"\.0+[^0-9\n]*\n")
_FEW_FRACTIONS: Final = 200  # bytes for each: so many lines with a fraction are quicker asked one by one
_NO_CELL = "?"  # replaces a cell of several lines; `normalise` then gets the original cell


def _kinds() -> NDArray[np.uint8]:
    kinds = np.full(256, _ODD, np.uint8)
    kinds[[ord(sign) for sign in (" ", *SEPARATORS) if sign.isascii()]] = _SEPARATOR
    kinds[[*b"0123456789", _PLUS, _END]] = _KEPT
    return kinds


_KINDS: Final = _kinds()
_BETWEEN_NUMBERS: Final = (
    b"/()"  # separators before which one number may end and behind which another may begin
)


def _odd_lines(raw: NDArray[np.uint8], ends: Place, odd: Place) -> Place:
    """The lines with a sign that cannot be settled here. One pair of quotes around a whole line can be."""
    if not len(odd):
        return odd
    lines = np.searchsorted(ends, odd)
    counts = np.bincount(lines, minlength=len(ends))
    begins = np.concatenate(([0], ends[:-1] + 1))
    pair = (counts == 2) & (raw[begins] == _QUOTE) & (raw[ends - 1] == _QUOTE)
    return np.flatnonzero((counts > 0) & ~pair)


def _fractions(chunk: bytes) -> list[int]:
    """Where the lines end that may end in a fraction of zeros."""
    return [match.end() - 1 for match in _FRACTION.finditer(chunk)] if b".0" in chunk else []


def _parted_lines(raw: NDArray[np.uint8], kinds: NDArray[np.uint8], ends: Place) -> Place:
    """The lines that separators could part into two numbers: all but single blanks, hyphens and dots before other digits
    than 0."""
    separator = kinds[:-1] == _SEPARATOR
    parting = separator & ((kinds[1:] == _SEPARATOR) | (raw[1:] == ord("0")))
    for sign in _BETWEEN_NUMBERS:
        parting |= raw[:-1] == sign
    return np.searchsorted(ends, np.flatnonzero(parting))


def _values(compact: NDArray[np.uint8], starts: Place, length: int) -> Numbers:
    """The integer of the `length` digits at each place."""
    # A word of eight signs at every place.
    words: Numbers = np.ndarray(len(compact) - 7, "<u8", compact, strides=(1,))
    values = np.zeros(len(starts), np.uint64)
    for done in range(0, length, _WORD_DIGITS):
        digits = min(_WORD_DIGITS, length - done)
        word = words[starts + done] << np.uint64(8 * (_WORD_DIGITS - digits))
        values = values * np.uint64(10**digits) + eight_digits(word)
    return values


def eight_digits(words: Numbers) -> Numbers:
    """The integers of eight decimal digits each. The first digit is in the lowest byte; a byte of 0 is a leading
    zero.

    Three multiplications join neighbours to pairs, pairs to fours, fours to eight (D. Lemire, "Quickly parsing eight
    digits", 2018).
    """
    words = words & np.uint64(0x0F0F0F0F0F0F0F0F)
    words = (words * np.uint64(10 * 2**8 + 1) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    words = (words * np.uint64(100 * 2**16 + 1) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    return words * np.uint64(10000 * 2**32 + 1) >> np.uint64(32)


class Column(NamedTuple):
    """By place: the number (0 if it is not valid), and the place of its line in `lines` (-1 if it is not valid). Some
    of `lines` may not occur."""

    numbers: Numbers
    places: NDArray[np.int32]
    lines: Sequence[Line]


def _as_lines(cells: Sequence[str]) -> bytes:
    """The cells as lines, each with its line end. A cell that holds a line end, or half a character, becomes a line
    that is not settled."""
    if not cells:
        return b""
    text = "\n".join(cells) + "\n"
    if text.count("\n") != len(cells):
        text = "".join((_NO_CELL if "\n" in cell else cell) + "\n" for cell in cells)
    return text.encode("utf-8", "surrogatepass")


class Typed:
    """Reads typed numbers with the tables, and with `normalise` where these are undecided. Raises nothing, for any line or
    cell."""

    def __init__(self, many: Many, normalise: Normalise) -> None:
        self._many = many
        self._normalise = normalise

    def lines(self, chunk: bytes, region: str) -> Answers:
        r"""For each line of `chunk` (each ends in `\n`), the answer of `normalise`: NONE, or its line and number,
        or ASK for a line that `normalise` must get as text. Blank lines are ASK."""
        if not chunk:
            return Answers(np.empty(0, np.uint64), np.empty(0, np.uint16))
        fractions = _fractions(chunk)
        if len(fractions) * _FEW_FRACTIONS > len(chunk):
            chunk = _RUN_FRACTION.sub(rb"\1\2", chunk)
            fractions = _fractions(chunk)
        raw = np.frombuffer(chunk, np.uint8)
        kinds = _KINDS[raw]
        ends = np.flatnonzero(raw == _END)
        compact = np.frombuffer(raw[kinds == _KEPT].tobytes() + _PADDING, np.uint8)
        stops = np.flatnonzero(compact[: -len(_PADDING)] == _END)
        starts = np.concatenate(([0], stops[:-1] + 1))
        plus = compact[starts] == _PLUS
        lengths = stops - starts - plus
        lengths[np.diff(ends, prepend=-1) > TEXT_MAX + 1] = 0
        lengths[_odd_lines(raw, ends, np.flatnonzero(kinds == _ODD))] = 0
        pluses = np.flatnonzero(compact == _PLUS)
        if len(pluses) != int(plus.sum()):  # some plus does not begin its line
            inner = pluses[~np.isin(pluses, starts)]
            lengths[np.searchsorted(stops, inner)] = 0
        lengths[np.searchsorted(ends, fractions)] = 0
        least = pair_digits(region), pair_digits(region, plus=True)
        if int(lengths.max()) >= min(least):
            parted = _parted_lines(raw, kinds, ends)
            lengths[parted[lengths[parted] >= np.where(plus[parted], least[1], least[0])]] = 0
        return self._settle(compact, starts + plus, np.where(plus, -lengths, lengths), region)

    def read_lines(self, chunk: bytes, region: str, text_of: Callable[[int], str]) -> Column:
        r"""The lines of `chunk`, each ending in `\n`, as typed in `region`. `text_of` gives the text of the line at a
        place, and is called for lines that must be parsed."""
        return self._column(*self.lines(chunk, region), region, text_of)

    def read_column(self, cells: Sequence[str] | Numbers, region: str) -> Column:
        """The cells of a column as typed in `region`: texts, or an array of unsigned integers (their digits). Fastest
        with some ten thousand cells at a time."""
        if isinstance(cells, np.ndarray):
            answers = self._integers(cells, region)
        else:
            answers = self.lines(_as_lines(cells), region)
        return self._column(*answers, region, lambda place: str(cells[place]))

    def _settle(self, compact: NDArray[np.uint8], starts: Place, lengths: Place, region: str) -> Answers:
        """The answers. `lengths` are in digits: negative after a plus, 0 for a line that is not settled here."""
        numbers = np.zeros(len(starts), np.uint64)
        codes = np.full(len(starts), ASK, np.uint16)
        offset = DIGITS_MAX
        counted = np.bincount(np.clip(lengths, -offset - 1, offset + 1) + offset + 1)
        for length in (np.flatnonzero(counted) - offset - 1).tolist():
            if not 0 < abs(length) <= offset:
                continue
            counts_all = counted[length + offset + 1] == len(starts)
            chosen = slice(None) if counts_all else np.flatnonzero(lengths == length)
            values = _values(compact, starts[chosen], abs(length))
            if length < 0:
                numbers[chosen], codes[chosen] = self._many.after_plus(values, -length)
            else:
                numbers[chosen], codes[chosen] = self._many.typed(values, length, region)
        return Answers(numbers, codes)

    def _integers(self, values: Numbers, region: str) -> Answers:
        """The answers that `lines` would give for the digits of each integer."""
        numbers = np.zeros(len(values), np.uint64)
        codes = np.full(len(values), ASK, np.uint16)
        for length, chosen in _by_length(values):
            numbers[chosen], codes[chosen] = self._many.typed(values[chosen], length, region)
        return Answers(numbers, codes)

    def _column(
        self,
        numbers: Numbers,
        codes: Codes,
        region: str,
        text_of: Callable[[int], str],
    ) -> Column:
        """The column of these answers, with the line of each number. What is not settled goes to `normalise` one by one."""
        lines = self._many.lines
        numbers[codes < FIRST_LINE] = 0
        places = np.maximum(codes.astype(np.int32) - FIRST_LINE, -1)
        for index in np.flatnonzero(codes == ASK).tolist():
            text = text_of(index)
            valid = self._normalise(text, region) if text and not text.isspace() else None
            if valid is None:
                numbers[index], places[index] = 0, -1
                continue
            number, line = valid
            if line not in lines:
                lines.append(line)
            numbers[index], places[index] = number, lines.index(line)
        return Column(numbers, places, lines)
