"""A delimited file from its first block to its last: each record comes out with its own bytes and six cells more."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files import columns as columns_of
from stream_scrub.files.added import ADDED, REPLACED, Earlier, below, earlier_in, verdict_at_end, yours
from stream_scrub.files.cells import CUT_OFF, CellColumn, Distinct, Mask, bare, distinct
from stream_scrub.files.columns import Columns, phone_share
from stream_scrub.files.csv_records import QUOTED, Cells, Cutter, Records, records_of
from stream_scrub.files.outputs import Sink
from stream_scrub.files.rows import LINES_TOLD, JudgedRows, RowOutcome, Run, Targets, allowed_of
from stream_scrub.files.source import InputFile
from stream_scrub.imports.parsing.parsed_list import DAMAGED, NO_ROWS
from stream_scrub.languages import by_door, say

SAMPLE_ROWS = 1_000
_SEPARATORS = (b";", b",", b"\t", b"|", b"^", b"~", b"\x1f", b"\x01")
_NAMES = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar"}
_EXTENSIONS = (".csv", ".tsv", ".txt", ".tab", ".psv")  # which its outputs keep
_BLANK = b' "\t\0'
_SURROGATES = "surrogatepass"  # halves of signs come back as they were
_PHONES = 0.5  # of a column's cells: by so many it is one of numbers
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """`delimiter` is one byte. `quoted`: every cell stands in quotes, so ours do as well."""

    delimiter: bytes
    quoted: bool = False

    @property
    def spoken(self) -> str:
        """The delimiter for people."""
        sign = self.delimiter.decode("latin-1")
        return _NAMES.get(sign, sign if sign.isprintable() else f"0x{ord(sign):02x}")

    def joined(self, cells: Sequence[str]) -> bytes:
        """Cells of ours as they follow a record, in quotes where the file has them everywhere, or where they hold its
        delimiter. None of them holds a quote or a line end."""
        return b"".join(self.delimiter + self._written(cell.encode()) for cell in cells)

    def mended(self, cells: Sequence[bytes], width: int) -> bytes:
        """The cells of an odd or too long record as `width` cells that every reader reads alike. What is beyond them joins
        the last one, and is left out if it is blank."""
        made = [
            cell if b'"' not in cell or QUOTED.fullmatch(cell) else _literal(cell) for cell in cells[:width]
        ]
        if any(_is_filled(cell) for cell in cells[width:]):
            made[-1] = _literal(self.delimiter.join(cells[width - 1 :]))
        return self.delimiter.join(made)

    def _written(self, cell: bytes) -> bytes:
        return b'"' + cell + b'"' if self.quoted or self.delimiter in cell else cell


def _literal(cell: bytes) -> bytes:
    """A cell in quotes that holds these bytes."""
    return b'"' + cell.replace(b'"', b'""') + b'"'


def _is_filled(cell: bytes) -> bool:
    return bool(cell.strip(_BLANK))


def wide_encoding(head: bytes) -> tuple[bytes, str]:
    """The byte order mark of a file that begins so, and the encoding of a file in UTF-16; empty where there is none.
    Without a mark, UTF-16 shows by a NUL in every second byte."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return mark, name if name != "utf-8" else ""
    sample = head[:2048]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) >= 4 and max(even, odd) * 5 > len(sample) * 2 and min(even, odd) * 20 < len(sample):
        return b"", "utf-16-le" if odd > even else "utf-16-be"
    return b"", ""


def text_encoding(head: bytes, said: str = "") -> str:
    """The encoding of titles for people: UTF-8 if all of the head is, else the one that is said, else cp1252."""
    if said:
        return said
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def decoded(cell: bytes, encoding: str) -> str:
    """The text of a cell without its quotes. Bytes that the encoding lacks become replacement signs."""
    return bare(cell).decode(encoding, "replace")


@dataclass(frozen=True, slots=True)
class _Start:
    """The first rows of a file by one delimiter, as bytes with their quotes."""

    delimiter: bytes
    rows: list[list[bytes]]

    @classmethod
    def of(cls, head: bytes, delimiter: bytes, *, whole: bool) -> "_Start":
        """If most of the head is one quoted cell, its quote is taken for a stray one: what follows it are rows, the last
        of which may be cut off."""
        records = Cutter(delimiter).cut(head, final=whole)
        count = len(records.ends)
        if not whole and not (count and 2 * int(records.nexts[-1]) > len(head)):
            records = Cutter(delimiter).cut(head, final=True)
            count = len(records.ends)
            count -= count > 1 and int(records.ends[-1]) == len(head)
        cells = records.cells()
        return cls(delimiter, [cells.texts(place) for place in range(min(SAMPLE_ROWS, count))])

    def texts(self, encoding: str) -> list[list[str]]:
        return [[decoded(cell, encoding) for cell in row] for row in self.rows]

    def dialect(self) -> Dialect:
        cells = [cell for row in self.rows[:50] for cell in row]
        quoted = bool(cells) and all(len(cell) > 1 and cell[:1] == cell[-1:] == b'"' for cell in cells)
        return Dialect(self.delimiter, quoted)

    def score(self) -> float:
        """How well rows agree on a number of cells: their share, less where the cells are few; 0 for one cell a row."""
        counts = Counter(map(len, self.rows))
        counts.pop(1, None)
        if not counts:
            return 0.0
        width, found = max(counts.items(), key=lambda each: (each[1] * (1 - 1 / each[0]), each[0]))
        share = found / len(self.rows)
        return share * (1 - 1 / width) if share > 0.25 else 0.0


def find(
    head: bytes, encoding: str, said: str, region: str, *, whole: bool
) -> tuple[Dialect, list[list[str]]]:
    """The dialect of a file that begins with `head`, and its first rows. `said` is the delimiter if the user knows it,
    `region` that of national numbers.

    The delimiter is the one by which most rows have as many cells, and as many as possible. One by which a column of
    numbers appears goes before all others.
    """
    if not said:
        starts = [_Start.of(head, each, whole=whole) for each in _SEPARATORS if each in head]
        scored = [
            (phone_share(start.texts(encoding), region) >= _PHONES, score, start)
            for start in starts
            if (score := start.score()) > 0
        ]
        if scored:
            start = max(scored, key=lambda each: each[:2])[-1]
            return start.dialect(), start.texts(encoding)
        said = ";" if b"," in head else ","
    start = _Start.of(head, said.encode("latin-1", "replace"), whole=whole)
    return start.dialect(), start.texts(encoding)


class Opening(NamedTuple):
    """How a delimited file begins: its byte order mark, its encoding if it is UTF-16, the encoding of its cells, its dialect
    and its first rows."""

    mark: bytes
    wide: str
    encoding: str
    dialect: Dialect
    rows: list[list[str]]


def opening_of(file: InputFile, encoding: str, delimiter: str, region: str) -> Opening:
    """Read how a file begins. `encoding` and `delimiter` are empty unless the user named them. Raises BadFile without rows."""
    mark, wide = wide_encoding(file.head)
    head = file.head[len(mark) :]
    if wide:
        head = head[: len(head) // 2 * 2].decode(wide, "ignore").encode(errors="ignore")
    encoding = "utf-8" if wide else text_encoding(head, encoding)
    dialect, rows = find(head, encoding, delimiter, region, whole=file.whole)
    if not rows:
        raise BadFile(by_door(f"{file.name}: it holds no rows", say(NO_ROWS)))
    return Opening(mark, wide, encoding, dialect, rows)


class DelimitedFile:
    """A delimited file, looked into.

    Raises ConfigError if its columns are not clear, or an option does not fit it.
    """

    kind = "csv"

    def __init__(self, file: InputFile, run: Run, delimiter: str, encoding: str) -> None:
        self._file = file
        self._run = run
        self.tally = run.tally
        found = PurePath(file.inner).suffix.lower()
        self.extension = found if found in _EXTENSIONS else ".csv"
        opening = opening_of(file, encoding, delimiter, run.region)
        self._mark, self._wide, self._encoding = opening.mark, opening.wide, opening.encoding
        self.dialect, rows = opening.dialect, opening.rows
        region = run.region
        marked = " with a byte order mark" if self._mark else ""
        self.written_as = f"{self.dialect.spoken}, {(self._wide or self._encoding).upper()}{marked}"
        self._earlier = earlier_in(rows)
        if (earlier := self._earlier) is not None:
            rows = [row[: -len(ADDED)] if earlier.ends(row) else row for row in rows]
        self.columns: Columns = columns_of.find(rows, run.asked, region)
        self.spoken = self.columns.spoken + ("" if earlier is None else REPLACED)
        self.titles = self.columns.titles
        self.facts = frozenset(self.columns.facts)
        self.countries = self.columns.countries
        counts = np.bincount([len(row) for row in rows[self.columns.titles :] or rows])
        # Our cells stand behind so many: where the titles of ours are, in every row.
        self._width = max(int(counts.argmax()), len(rows[self.titles - 1]) if self.titles else 0)
        self._last: Sink | None = None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Its rows in order, each with its line, instead of `scrub`. Raises BadFile, also for a row that `scrub` blocks as
        unreadable."""
        titles, line = self.columns.titles, 1
        for records in self._records():
            count = min(titles, len(records.starts))
            titles -= count
            rows = records.after(count)
            cells = rows.cells()
            bad = self._unreadable(rows, cells)
            for place in range(len(rows.starts)):
                here = line + rows.line(place)
                if bad[place]:
                    why = say(
                        "line %(line)s has more cells than titles, or a quote that readers read differently: correct or delete"
                        " it",
                        line=str(here),
                    )
                    raise BadFile(f"{self._file.name}: {why}")
                yield here, [decoded(cell, self._encoding) for cell in cells.texts(place)]
            line += len(records.breaks)

    def fact_at(self, row: Sequence[str], place: int) -> str:
        """A row that ends before the column may have lost any of its cells."""
        return row[place] if place < len(row) else CUT_OFF

    def scrub(self, targets: Targets, progress: Callable[[], None]) -> None:
        """Write every row to its outputs. `progress` is called once a block. Raises BadFile, OSError."""
        for file in targets.each:
            file.write(self._mark)
        titles, line = self.columns.titles, 1
        for records in self._records():
            self._put_blank(records.lead, targets)
            count = min(titles, len(records.starts))
            if count:
                self._put_titles(records.first(count), line, titles == count, targets)
                titles -= count
            self._put_rows(records.after(count), line, targets)
            line += len(records.breaks)
            progress()

    def _records(self) -> Iterator[Records]:
        """The file's records, without the cells of an earlier scrub. Raises BadFile where they are not like those of the
        first rows."""
        delimiter = self.dialect.delimiter
        blocks = self._narrow()
        if self._earlier is not None:
            return records_of(_without_earlier(blocks, delimiter, self._earlier), delimiter)
        return _without_any(records_of(blocks, delimiter), delimiter)

    def _narrow(self) -> Iterator[bytes]:
        """The file without its mark; UTF-16 as UTF-8."""
        blocks = self._file.blocks()
        first = next(blocks, b"")[len(self._mark) :]
        if not self._wide:
            yield first
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder(self._wide)(_SURROGATES)
        try:
            yield decoder.decode(first).encode("utf-8", _SURROGATES)
            for block in blocks:
                yield decoder.decode(block).encode("utf-8", _SURROGATES)
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            why = f"{self._file.name}: its UTF-16 ends in the middle of a sign: fetch it again"
            raise BadFile(by_door(why, say(DAMAGED))) from error

    def _write(self, file: Sink | None, content: bytes) -> None:
        if file is not None and content:
            file.write(
                content.decode("utf-8", _SURROGATES).encode(self._wide, _SURROGATES)
                if self._wide
                else content
            )

    def _put_blank(self, lead: bytes, targets: Targets) -> None:
        """Blank lines at the beginning of a block follow the last row of the block before."""
        if not lead:
            return
        self._write(targets.annotated, lead)
        for file in (targets.allowed, targets.blocked) if self._last is None else (self._last,):
            self._write(file, lead)

    def _put_titles(self, records: Records, line: int, last: bool, targets: Targets) -> None:
        """Lines above the first row go to every output. The last of them gets the titles of our columns. Raises BadFile
        for an odd one."""
        if len(records.odd):
            why = say(
                "line %(line)s, above the first lead, has a quote that is never closed, or something next to a quoted cell:"
                " correct or delete it",
                line=str(line + records.line(int(records.odd[0]))),
            )
            raise BadFile(f"{self._file.name}: {why}")
        start, stop = int(records.starts[0]), int(records.nexts[-1])
        made = records.block[start:stop]
        if last and self.columns.titled:
            end = int(records.ends[-1])
            missing = self._width - 1 - int(records.cells().counts[-1])
            added = self.dialect.delimiter * missing + self.dialect.joined(ADDED)
            made = records.block[start:end] + added + records.block[end:stop]
        for file in targets.each:
            self._write(file, made)

    def _put_rows(self, records: Records, line: int, targets: Targets) -> None:
        if not len(records.starts):
            return
        cells = records.cells()
        bad = self._unreadable(records, cells)
        judged, columns = self._judged(records, cells, bad)
        tally = self._run.tally
        tally.uneven += int((cells.counts != self._width - 1).sum())
        tally.invalid_lines += [line + records.line(row) for row in tally.bad_rows(judged).tolist()]
        room = LINES_TOLD - len(tally.unreadable_lines)
        tally.unreadable_lines += [line + records.line(row) for row in np.flatnonzero(bad)[:room].tolist()]
        if targets.bad is not None:
            names = [self.columns.name(place) for place in self.columns.numbers]
            targets.bad.put(columns, names, lambda row: line + records.line(row), bad)
        allowed = allowed_of(judged)
        added = self._added(judged, columns)
        for row in np.flatnonzero(cells.counts < self._width - 1).tolist():
            added[row] = self.dialect.delimiter * (self._width - 1 - int(cells.counts[row])) + added[row]
        rows = _joined(records, added)
        for row in np.flatnonzero(bad | (cells.counts > self._width - 1)).tolist():
            mended = self.dialect.mended(cells.texts(row), self._width)
            rows[row] = mended + added[row] + records.block[records.ends[row] : records.nexts[row]]
        self._write(targets.allowed, b"".join(compress(rows, allowed.tolist())))
        self._write(targets.blocked, b"".join(compress(rows, (~allowed).tolist())))
        if targets.annotated is not None:
            self._write(targets.annotated, b"".join(rows))
        self._last = targets.allowed if allowed[-1] else targets.blocked

    def _unreadable(self, records: Records, cells: Cells) -> Mask:
        """The rows of which readers may take different cells for ours: odd ones, and those with more cells than titles."""
        bad: Mask = np.zeros(len(cells.counts), np.bool_)
        for row in np.flatnonzero(cells.counts > self._width - 1).tolist():
            bad[row] = any(map(_is_filled, cells.texts(row)[self._width :]))
        bad[records.odd] = True
        return bad

    def _judged(self, records: Records, cells: Cells, bad: Mask) -> tuple[JudgedRows, list[CellColumn]]:
        found = self.columns
        return self._run.judge(
            records.block,
            [cells.column(place) for place in found.numbers],
            None if found.region is None else self._texts(records, cells, found.region),
            {fact: self._facts(records, cells, place) for fact, place in found.facts.items()},
            bad,
        )

    def _texts(self, records: Records, cells: Cells, place: int) -> Distinct:
        return distinct(records.block, *cells.column(place), lambda cell: decoded(cell, self._encoding))

    def _facts(self, records: Records, cells: Cells, place: int) -> Distinct:
        """As `fact_at`, of each row."""
        found, short = self._texts(records, cells, place), cells.counts < place
        if not short.any():
            return found
        return Distinct(
            [*found.texts, CUT_OFF], np.where(short, len(found.texts), found.ids).astype(np.int32)
        )

    def _added(self, judged: JudgedRows, columns: Sequence[CellColumn]) -> list[bytes]:
        """Our cells for each row."""
        made = [_template(outcome, self.dialect) for outcome in judged.outcomes]
        ids = judged.ids.tolist()
        if len(columns) == 1:
            numbers = columns[0].numbers.tolist()
            slots = [bool(outcome.callable) for outcome in judged.outcomes]
            return [
                made[place] % number if slots[place] else made[place]
                for place, number in zip(ids, numbers, strict=True)
            ]
        each = [column.numbers.tolist() for column in columns]
        usable = [outcome.callable for outcome in judged.outcomes]
        return [
            made[place] % tuple(each[column][row] for column in usable[place])
            if usable[place]
            else made[place]
            for row, place in enumerate(ids)
        ]


def _joined(records: Records, added: Sequence[bytes]) -> list[bytes]:
    """Each record with our cells before its line end."""
    block = records.block
    starts, ends, nexts = (each.tolist() for each in (records.starts, records.ends, records.nexts))
    first = block[ends[0] : nexts[0]]
    if records.end_alike(first):
        return [
            block[start:end] + cells + first for start, end, cells in zip(starts, ends, added, strict=True)
        ]
    bounds = zip(starts, ends, nexts, added, strict=True)
    return [block[start:end] + cells + block[end:following] for start, end, following, cells in bounds]


def _template(outcome: RowOutcome, dialect: Dialect) -> bytes:
    """Our cells for rows with this outcome, with a `%d` for each number that may be called."""
    made = dialect.joined(outcome.cells(["\0"] * len(outcome.callable)))
    return made.replace(b"%", b"%%").replace(b"\0", b"%d") if outcome.callable else made


def _without_earlier(blocks: Iterator[bytes], delimiter: bytes, earlier: Earlier) -> Iterator[bytes]:
    """A file's bytes without the cells of an earlier scrub. Raises BadFile for other cells in their place."""
    above, line = earlier.above, 1
    for records in records_of(blocks, delimiter):
        cells, marks = records.cells(), records.delimiters
        made = [records.lead]
        bounds = zip(*(each.tolist() for each in (records.starts, records.ends, records.nexts)), strict=True)
        for place, (start, end, following) in enumerate(bounds):
            row, upto = cells.texts(place), end
            own = len(row) - len(ADDED)
            if own > 0 and earlier.ends([decoded(cell, "latin-1") for cell in row]):
                upto = int(marks[cells.first[place] + own - 1])
            elif place >= above and any(map(_is_filled, row[earlier.place : earlier.width])):
                raise yours("line", line + records.line(place))
            made += [records.block[start:upto], records.block[end:following]]
        above = max(0, above - len(records.starts))
        line += len(records.breaks)
        yield b"".join(made)


def _without_any(found: Iterator[Records], delimiter: bytes) -> Iterator[Records]:
    """Records of which none has the cells of an earlier scrub. Raises BadFile for one that has."""
    ending, line = verdict_at_end(delimiter), 1
    for records in found:
        if b"allowed" in records.block or b"blocked" in records.block:
            held = ending.search(records.block)
            if held is not None:
                raise below(line + int(np.searchsorted(records.breaks, held.start())))
        line += len(records.breaks)
        yield records


def need_delimiter(said: str) -> str:
    """The delimiter that the user named: one sign, or `tab`. Raises ConfigError."""
    sign = {"tab": "\t", "\\t": "\t"}.get(said, said)
    if sign and (len(sign) != 1 or not sign.isascii() or sign.isalnum() or sign in '"\r\n+\0'):
        raise ConfigError(
            [
                f"--delimiter: {said!r} is not a delimiter: give one character other than a letter or digit, or tab"
            ]
        )
    return sign
