"""Reads the tables that `make tables` wrote, one calling code at a time, the first time that a number needs it.

A table is `bytes`: one cell for each choice of a significant number's first digits. A cell is 0 (no valid number), 1
(ask phonenumbers) or stands for a line. A `Row` adds how the digits that people type lead to a cell.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, SUPPORTED_REGIONS, country_code_for_region

from stream_scrub.numbering.library import CALLING_CODE_DIGITS_MAX, NSN_DIGITS_MAX, Line

REGIONS: Final[frozenset[str]] = frozenset(SUPPORTED_REGIONS)
# Digits after a plus that choose a row: enough for any calling code and a national prefix of one digit.
LEADING: Final = 4
PREFIX_DIGITS_MAX: Final = 3  # of a shape: a national prefix, or a calling code without its plus

FOLDER: Final = Path(__file__).with_name("tables")
FORMAT: Final = 2
NONE: Final = 0  # cell values; higher ones stand for lines
ASK: Final = 1
FIRST_LINE: Final = 2


class Row(NamedTuple):
    """Digit strings of one length and beginning, read as one integer n: the cell is `cells[n // size - first]`.

    The number is n + `shifts[cell]`, its line `lines[cell]`.
    """

    size: int
    first: int
    cells: bytes
    shifts: tuple[int, ...]
    lines: tuple[Line | None, ...]


class StoredShape(NamedTuple):
    """Strings of `length` digits beginning with `prefix`, then the significant number (`tools/numbering_tables.py: Shape`)."""

    length: int
    prefix: str
    depth: int
    masked: tuple[tuple[int, int], ...]


UNKNOWN: Final = Row(10**20, 0, bytes([ASK]), (0, 0), (None, None))  # ask, whatever the digits


@dataclass(slots=True)
class TableMemory:
    """Bytes of tables in memory."""

    size: int = 0


@dataclass(frozen=True, slots=True)
class TableFile:
    """One calling code's file."""

    calling_code: int
    lines: tuple[Line | None, ...]
    # By line: what makes an E.164 number with this calling code the one of its home (`homes`); mostly 0.
    moves: tuple[int, ...]
    tables: dict[int, bytes]  # by digits of the significant number; no entry: none is valid
    international: tuple[StoredShape, ...]  # prefixes without the calling code
    national: dict[str, tuple[StoredShape, ...]]  # by region
    memory: TableMemory
    _rows: dict[tuple[StoredShape, str], Row] = field(default_factory=dict)
    _parts: dict[tuple[StoredShape, str, str], Row] = field(default_factory=dict)
    _significant: dict[int, Row] = field(default_factory=dict)
    _shifts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _masked: dict[tuple[int, int, tuple[tuple[int, int], ...]], bytes] = field(default_factory=dict)

    def cells(self, digits: int, depth: int, masked: tuple[tuple[int, int], ...]) -> bytes:
        """The table of significant numbers of so many digits, at least `depth` deep, the `masked` runs set to ASK."""
        key = (digits, depth, masked)
        if key not in self._masked:
            plain = self.tables.get(digits, bytes([NONE]))
            wider = 10**depth // len(plain)
            if wider > 1:
                plain = b"".join(bytes([cell]) * wider for cell in plain)
            deeper = len(plain) // 10**depth
            cells = bytearray(plain)
            for begin, end in masked:
                cells[begin * deeper : end * deeper] = bytes([ASK]) * ((end - begin) * deeper)
            self._masked[key] = bytes(cells) if masked else plain
            if masked or wider > 1:  # a copy
                self.memory.size += len(plain)
        return self._masked[key]

    def row(self, shape: StoredShape, before: str) -> Row:
        """The row of a shape whose strings begin with `before`, followed by its prefix."""
        if (shape, before) not in self._rows:
            rest = shape.length - len(shape.prefix)
            cells = self.cells(rest, shape.depth, shape.masked)
            low = int(before + shape.prefix or "0") * 10**rest
            size = 10**rest // len(cells)
            shifts = self._shifted(self.calling_code * 10**rest - low)
            self._rows[shape, before] = Row(size, low // size, cells, shifts, self.lines)
        return self._rows[shape, before]

    def part(self, shape: StoredShape, before: str, behind: str) -> tuple[Row, float]:
        """As `row`, only for strings in which `behind` follows the prefix; and the share of their cells that is left
        to phonenumbers. The row uses (a) the plan's own table if none of these cells is masked, else (b) a copy of a
        small piece of it. With a copy of the whole table for every shape, all plans would be four times as large."""
        rest = shape.length - len(shape.prefix)
        plain = self.tables.get(rest, bytes([NONE]))
        own = len(str(len(plain))) - 1  # digits that choose a cell
        depth = max(own, shape.depth)
        wide = 10 ** max(depth - len(behind), 0)
        begin = int(behind[:depth] or "0") * wide
        unit = 10 ** (depth - shape.depth)
        masked = [
            (max(a * unit - begin, 0), min(b * unit - begin, wide))
            for a, b in shape.masked
            if a * unit < begin + wide and b * unit > begin
        ]
        ratio = 10 ** (depth - own)
        if not masked:
            at, end = begin // ratio, -((begin + wide) // -ratio)
            return self.row(StoredShape(shape.length, shape.prefix, 0, ()), before), plain.count(
                ASK, at, end
            ) / (end - at)
        key = (shape, before, behind[:depth])
        if key not in self._parts:
            cells = bytearray(
                plain[begin : begin + wide]
                if ratio == 1
                else bytes(plain[cell // ratio] for cell in range(begin, begin + wide))
            )
            for a, b in masked:
                cells[a:b] = bytes([ASK]) * (b - a)
            size = 10 ** (rest - depth)
            low = int(before + shape.prefix or "0") * 10**rest
            shifts = self._shifted(self.calling_code * 10**rest - low)
            self._parts[key] = Row(size, low // size + begin, bytes(cells), shifts, self.lines)
            self.memory.size += wide
        row = self._parts[key]
        return row, row.cells.count(ASK) / wide

    def significant(self, digits: int) -> Row:
        """The row of E.164 numbers of this calling code, with so many digits behind it. Those with another home are no
        numbers."""
        if digits not in self._significant:
            row = self.row(StoredShape(digits, "", 0, ()), str(self.calling_code))
            own = zip(self.lines, self.moves, strict=True)
            self._significant[digits] = row._replace(
                lines=tuple(None if move else line for line, move in own)
            )
        return self._significant[digits]

    def _shifted(self, shift: int) -> tuple[int, ...]:
        """`shift` by cell: one tuple for all rows with it."""
        if shift not in self._shifts:
            self._shifts[shift] = tuple(shift + move for move in self.moves)
        return self._shifts[shift]


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of all calling codes, for one version of phonenumbers, loaded when first needed."""

    version: str
    digests: dict[str, str]
    memory: TableMemory = field(default_factory=TableMemory)
    _plans: dict[int, TableFile | None] = field(default_factory=dict)

    @classmethod
    def shipped(cls) -> "Tables":
        """The package's own. Without an index there are none, and phonenumbers answers everything."""
        try:
            index = json.loads((FOLDER / "index.json").read_bytes())
        except FileNotFoundError:
            return cls("", {})
        is_current = index["format"] == FORMAT
        return cls(index["phonenumbers"], index["sha256"]) if is_current else cls("", {})

    def plan(self, calling_code: int) -> TableFile | None:
        """One calling code's tables; None if (a) there are none, or (b) the file is not the one in the index."""
        if calling_code not in self._plans:
            self._plans[calling_code] = self._read(calling_code)
        return self._plans[calling_code]

    def _read(self, calling_code: int) -> TableFile | None:
        digest = self.digests.get(str(calling_code))
        if digest is None:
            return None
        content = zlib.decompress((FOLDER / f"{calling_code}.z").read_bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            return None
        self.memory.size += len(content)
        return _plan(calling_code, content, self.memory)

    def forget(self) -> None:
        """Drop all rows; they are read again when needed. Rows in use stay valid."""
        self._plans.clear()
        self.memory.size = 0

    @property
    def in_use(self) -> bool:
        """Whether they were made from the installed version of phonenumbers. Another version may differ."""
        return self.version == phonenumbers.__version__

    def main(self, region: str, length: int) -> Row:
        """Of the rows that start at zero: the one that strings of so many digits typed in `region` most likely need.

        A string may lie behind its last cell: then the look-up raises IndexError. UNKNOWN when there is no such row.
        """
        plan = self.plan(country_code_for_region(region))
        if plan is None:
            return UNKNOWN
        zero = [
            shape
            for shape in _of_length(plan.national.get(region, ()), length)
            if not shape.prefix.strip("0")
        ]
        row = UNKNOWN
        for shape in sorted(zero, key=lambda shape: -len(shape.prefix)):
            row = plan.row(shape, "")
            if row.cells.count(NONE) + row.cells.count(ASK) < len(row.cells):
                break  # this row has lines
        return row

    def national(self, region: str, digits: str) -> tuple[int, Row] | None:
        """How many leading digits choose the row of this string typed in `region`, and the row."""
        plan = self.plan(country_code_for_region(region))
        shapes = () if plan is None else _of_length(plan.national.get(region, ()), len(digits))
        return None if plan is None or not shapes else _best(plan, shapes, 0, digits)

    def international(self, digits: str) -> tuple[int, Row] | None:
        """The same for what follows a plus: a calling code, then perhaps a national prefix."""
        code = _calling_code(digits)
        plan = self.plan(int(code)) if code else None
        shapes = () if plan is None else _of_length(plan.international, len(digits) - len(code))
        return None if plan is None or not shapes else _best(plan, shapes, len(code), digits)

    def significant(self, digits: str) -> tuple[int, Row] | None:
        """The same for the digits of an E.164 number: calling code and significant number, nothing else."""
        code = _calling_code(digits)
        plan = self.plan(int(code)) if code else None
        rest = len(digits) - len(code)
        if plan is None or not 2 <= rest <= NSN_DIGITS_MAX:
            return None
        return CALLING_CODE_DIGITS_MAX, plan.significant(rest)


def _of_length(shapes: tuple[StoredShape, ...], length: int) -> tuple[StoredShape, ...]:
    return tuple(shape for shape in shapes if shape.length == length)


def _calling_code(digits: str) -> str:
    """The assigned calling code at the beginning, "" when there is none. At most one fits: no code begins with
    another one."""
    codes = (digits[:length] for length in range(1, CALLING_CODE_DIGITS_MAX + 1))
    return next((code for code in codes if code[0] != "0" and int(code) in COUNTRY_CODE_TO_REGION_CODE), "")


def _best(plan: TableFile, shapes: tuple[StoredShape, ...], code_digits: int, digits: str) -> tuple[int, Row]:
    """Among the rows for these leading digits, the one that leaves the least to phonenumbers. All of them are exact.

    The number of leading digits depends only on the string's length, so that one divisor serves all strings of a
    length. A shape whose beginning is longer than that is left to phonenumbers.
    """
    key = digits[: min(LEADING if code_digits else PREFIX_DIGITS_MAX, len(digits))]
    best, least = UNKNOWN, 1.0
    for shape in shapes:
        before = digits[:code_digits]
        if not key.startswith(before + shape.prefix):
            continue
        row, share = plan.part(shape, before, key[code_digits + len(shape.prefix) :])
        if share < least:
            best, least = row, share
    return len(key), best


def _plan(calling_code: int, content: bytes, memory: TableMemory) -> TableFile:
    head, _, rest = content.partition(b"\n")
    fields: dict[str, Any] = json.loads(head)
    tables = {}
    for digits, cells in fields["tables"]:
        tables[digits], rest = rest[:cells], rest[cells:]
    return TableFile(
        calling_code,
        (None, None, *(Line.of(region, type_) for region, type_, _ in fields["lines"])),
        (0, 0, *(move for _, _, move in fields["lines"])),
        tables,
        _shapes(fields["international"]),
        {region: _shapes(rows) for region, rows in fields["national"].items()},
        memory,
    )


def _shapes(rows: list[Any]) -> tuple[StoredShape, ...]:
    return tuple(
        StoredShape(length, prefix, depth, tuple((begin, end) for begin, end in masked))
        for length, prefix, depth, masked in rows
    )
