"""A delimited file from its first block to its last: each record comes out with its own bytes and four cells more."""

import codecs
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from pathlib import PurePath

import numpy as np

from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.kinds.delimited import dialect as dialects
from stream_scrub.files.kinds.delimited.dialect import Dialect, decoded
from stream_scrub.files.kinds.delimited.records import Cells, Records, records_of
from stream_scrub.files.results.outputs import Sink
from stream_scrub.files.rows import columns as columns_of
from stream_scrub.files.rows.added import (
    ADDED,
    REPLACED,
    Earlier,
    Endings,
    below,
    earlier_in,
    number_cell,
    yours,
)
from stream_scrub.files.rows.cells import CellColumn, Distinct, distinct
from stream_scrub.files.rows.columns import Columns
from stream_scrub.files.rows.facts import CUT_OFF
from stream_scrub.files.rows.judging import JudgedRows, RowOutcome
from stream_scrub.files.rows.run import Run, Targets
from stream_scrub.files.rows.shares import phone_share
from stream_scrub.files.rows.tally import LINES_TOLD, allowed_of
from stream_scrub.files.source import InputFile

_EXTENSIONS = (".csv", ".tsv", ".txt", ".tab", ".psv")  # which its outputs keep
_BLANK = b' "\t\0'
_SURROGATES = "surrogatepass"  # halves of signs come back as they were


class DelimitedFile:
    """A delimited file, looked into.

    Raises ConfigError if its columns cannot be told, or an option does not fit it.
    """

    kind = "csv"

    def __init__(self, file: InputFile, run: Run, delimiter: str, encoding: str) -> None:
        self._file = file
        self._run = run
        self.tally = run.tally
        found = PurePath(file.inner).suffix.lower()
        self.extension = found if found in _EXTENSIONS else ".csv"
        self._mark, self._wide = dialects.wide_encoding(file.head)
        head = file.head[len(self._mark) :]
        if self._wide:
            head = head[: len(head) // 2 * 2].decode(self._wide, "ignore").encode(errors="ignore")
        self._encoding = "utf-8" if self._wide else dialects.text_encoding(head, encoding)
        region = run.region
        self.dialect, rows = dialects.find(
            head,
            self._encoding,
            delimiter,
            lambda sample: phone_share(sample, region),
            whole=file.whole,
        )
        if not rows:
            raise Refused(f"{file.name}: it holds no rows")
        self._earlier = earlier_in(rows)
        if (earlier := self._earlier) is not None:
            rows = [row[: -len(ADDED)] if earlier.ends(row) else row for row in rows]
        self.columns: Columns = columns_of.find(rows, run.asked, region)
        self.spoken = self.columns.spoken + ("" if earlier is None else REPLACED)
        self.titles = self.columns.titles
        counts = np.bincount([len(row) for row in rows[self.columns.titles :] or rows])
        self._width = int(counts.argmax())
        self._last: Sink | None = None

    @property
    def written_as(self) -> str:
        """Delimiter and encoding for people."""
        marked = " with a byte order mark" if self._mark else ""
        return f"{self.dialect.spoken}, {(self._wide or self._encoding).upper()}{marked}"

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """As `LeadsFile.rows`."""
        titles, line = self.columns.titles, 1
        for records in self._records():
            count = min(titles, len(records.starts))
            titles -= count
            rows = records.after(count)
            cells = rows.cells()
            for place in range(len(rows.starts)):
                yield line + rows.line(place), [decoded(cell, self._encoding) for cell in cells.texts(place)]
            line += len(records.breaks)

    def fact_at(self, row: Sequence[str], place: int) -> str:
        """A row that ends before the column may have lost any of its cells."""
        return row[place] if place < len(row) else CUT_OFF

    def scrub(self, targets: Targets, progress: Callable[[int], None]) -> None:
        """Write every row to its outputs. `progress` is told how many rows are done. Raises Refused, OSError."""
        for file in targets.each:
            file.write(self._mark)
        titles, line = self.columns.titles, 1
        for records in self._records():
            self._put_blank(records.lead, targets)
            count = min(titles, len(records.starts))
            if count:
                self._put_titles(records.first(count), titles == count, targets)
                titles -= count
            self._put_rows(records.after(count), line, targets)
            line += len(records.breaks)
            progress(self._run.tally.rows)

    def _records(self) -> Iterator[Records]:
        """The file's records, without the cells of an earlier scrub. Raises Refused where they are not like those of the
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
            raise Refused(
                f"{self._file.name}: its UTF-16 ends in the middle of a sign: fetch it again"
            ) from error

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

    def _put_titles(self, records: Records, last: bool, targets: Targets) -> None:
        """Lines above the first row go to every output. The last of them gets the titles of our columns."""
        start, stop = int(records.starts[0]), int(records.nexts[-1])
        made = records.block[start:stop]
        if last and self.columns.titled:
            end = int(records.ends[-1])
            made = records.block[start:end] + self.dialect.joined(ADDED) + records.block[end:stop]
        for file in targets.each:
            self._write(file, made)

    def _put_rows(self, records: Records, line: int, targets: Targets) -> None:
        if not len(records.starts):
            return
        cells = records.cells()
        judged, columns = self._judged(records, cells)
        tally = self._run.tally
        tally.uneven += int((cells.counts != self._width - 1).sum())
        tally.invalid_lines += [line + records.line(row) for row in tally.bad_rows(judged).tolist()]
        room = LINES_TOLD - len(tally.unclosed_lines)
        tally.unclosed_lines += [line + records.line(row) for row in records.unclosed.tolist()[:room]]
        allowed = allowed_of(judged)
        rows = _joined(records, self._added(judged, columns))
        self._write(targets.allowed, b"".join(compress(rows, allowed.tolist())))
        self._write(targets.blocked, b"".join(compress(rows, (~allowed).tolist())))
        if targets.annotated is not None:
            self._write(targets.annotated, b"".join(rows))
        self._last = targets.allowed if allowed[-1] else targets.blocked

    def _judged(self, records: Records, cells: Cells) -> tuple[JudgedRows, list[CellColumn]]:
        found = self.columns
        return self._run.judge(
            records.block,
            [cells.column(place) for place in found.numbers],
            None if found.region is None else self._texts(records, cells, found.region),
            {fact: self._facts(records, cells, place) for fact, place in found.facts.items()},
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
    until = "" if outcome.until is None else outcome.until.isoformat()
    numbers = number_cell(["\0"] * len(outcome.callable))
    made = dialect.joined((str(outcome.reason.verdict), str(outcome.reason), numbers, until))
    return made.replace(b"%", b"%%").replace(b"\0", b"%d") if outcome.callable else made


def _without_earlier(blocks: Iterator[bytes], delimiter: bytes, earlier: Earlier) -> Iterator[bytes]:
    """A file's bytes without the cells of an earlier scrub. Raises Refused for other cells in their place."""
    endings = Endings.by(delimiter)
    above, line = earlier.above, 1
    for records in records_of(blocks, delimiter):
        cells, marks = records.cells(), records.delimiters
        made = [records.lead]
        bounds = zip(*(each.tolist() for each in (records.starts, records.ends, records.nexts)), strict=True)
        for place, (start, end, following) in enumerate(bounds):
            count = int(cells.counts[place]) - len(ADDED)
            cut = int(marks[cells.first[place] + count]) if count >= 0 else end
            ends = endings.told.match(records.block, cut, end) or (
                count == earlier.place - 1 and endings.blank.match(records.block, cut, end)
            )
            if not ends and place >= above and count + len(ADDED) >= earlier.place:
                held = cells.texts(place)[earlier.place : earlier.width]
                if any(cell.strip(_BLANK) for cell in held):
                    raise yours("line", line + records.line(place))
            made += [records.block[start : cut if ends else end], records.block[end:following]]
        above = max(0, above - len(records.starts))
        line += len(records.breaks)
        yield b"".join(made)


def _without_any(found: Iterator[Records], delimiter: bytes) -> Iterator[Records]:
    """Records of which none has the cells of an earlier scrub. Raises Refused for one that has."""
    ending, line = Endings.by(delimiter).line, 1
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
            [f"--delimiter: {said!r} is no delimiter: give one sign that is no letter or digit, or tab"]
        )
    return sign
