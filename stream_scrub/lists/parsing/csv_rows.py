"""CSV as people really save it: which separator it has, and its rows with the lines that they start on."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from stream_scrub.lists.parsing.parsed_list import BadList

SEPARATORS = ";,\t|"
ROW_SIGNS_MAX = 1 << 20  # of a row with line ends in its cells: as long as one line may be
COLUMNS_MAX = 1_000
_BATCH = 2_000  # rows; the more of them are kept at once, the longer Python's collector looks at them
_BATCH_SIGNS = 2 << 20  # of which the cells of one or two signs take twenty times the memory


class CsvRows(NamedTuple):
    """Some rows, in order: the line that each starts on, counted from 1, and its cells. Blank lines are `[]`."""

    starts: Sequence[int]
    cells: list[list[str]]


class MeteredLines:
    """Lines on their way into a csv.reader, whose rows may have any number of them. `signs` are those of the lines given
    since the caller last set it to 0, and more than `most` raise BadList.
    """

    def __init__(self, lines: Iterable[str], most: int) -> None:
        self._lines, self._most = lines, most
        self.signs = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.signs += len(line)
            if self.signs > self._most:
                raise BadList(
                    f"a row is longer than {ROW_SIGNS_MAX >> 20} MiB: this is no list of rows, or a quote that is never"
                    " closed"
                )
            yield line


def separator_of(sample: list[str]) -> str | None:
    """The separator that most lines of the sample share, or most rows where quoted cells have line ends in them;
    None for a list of lines.
    """
    filled = [line for line in sample if line.strip()]
    lines = {s: sum(s in line for line in filled) for s in SEPARATORS}
    best = max(lines, key=lambda s: lines[s])
    if lines[best] * 2 > len(filled):
        return best
    rows = {s: _rows_share(sample, s) for s in SEPARATORS if any('"' in line for line in filled)}
    best = max(rows, key=lambda s: rows[s], default="")
    return best if best and rows[best] > 0.5 else None


def _rows_share(sample: list[str], separator: str) -> float:
    """The share of rows with more than one cell, if that is the separator."""
    try:
        rows = [row for row in csv.reader(sample, delimiter=separator) if any(row)]
    except csv.Error:
        return 0.0
    return sum(len(row) > 1 for row in rows) / max(1, len(rows))


def spoken(separator: str) -> str:
    """The separator's name for people."""
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[separator]


def rows_of(lines: Iterable[str], separator: str) -> Iterator[CsvRows]:
    """The rows, some thousand at a time, of lines that each have their end. Raises BadList for CSV that is broken."""
    metered = MeteredLines(lines, _BATCH_SIGNS + ROW_SIGNS_MAX)
    reader = csv.reader(metered, delimiter=separator)
    started = 1  # the line that the next row starts on
    while True:
        cells: list[list[str]] = []
        metered.signs = 0
        try:
            for row in islice(reader, _BATCH):  # what came before an error is kept
                cells.append(row)
                if metered.signs > _BATCH_SIGNS:
                    break
        except csv.Error as error:
            raise broken(started + sum(map(_lines, cells)), error) from error
        if not cells:
            return
        starts: Sequence[int] = range(started, started + len(cells) + 1)
        if reader.line_num + 1 != starts[-1]:  # some row has more than one line
            starts = list(accumulate(map(_lines, cells), initial=started))
        started = starts[-1]
        if started > reader.line_num + 1:  # the last cell has the end of the last line in it
            raise broken(starts[-2], "the file ends within quotes")
        yield CsvRows(starts[:-1], cells)


def _lines(cells: list[str]) -> int:
    return 1 + sum(cell.count("\n") for cell in cells)


def broken(line: int, error: csv.Error | str) -> BadList:
    """What to raise for CSV that cannot be read on from a line."""
    return BadList(f"line {line}: broken CSV ({error}); a quote that is never closed, perhaps")
