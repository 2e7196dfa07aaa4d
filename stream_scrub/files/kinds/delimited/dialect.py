"""How a delimited file is written: its encoding, its delimiter, whether it quotes every cell. Found by its beginning."""

import codecs
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream_scrub.files.kinds.delimited.records import Cutter, Records
from stream_scrub.files.rows.cells import spaced

SAMPLE_ROWS = 1_000
_SEPARATORS = (b";", b",", b"\t", b"|", b"^", b"~", b"\x1f", b"\x01")
_NAMES = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar"}
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

    def _written(self, cell: bytes) -> bytes:
        return b'"' + cell + b'"' if self.quoted or self.delimiter in cell else cell


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
    if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"'):
        cell = cell[1:-1].replace(b'""', b'"')
    return spaced(cell).decode(encoding, "replace")


def _records(head: bytes, delimiter: bytes, *, whole: bool) -> Records:
    """The records of a file's beginning. If most of it is one quoted cell, its quote is taken for a stray one: what
    follows it are rows, the last of which may be cut off."""
    records = Cutter(delimiter).cut(head, final=whole)
    if whole or (len(records.nexts) and 2 * int(records.nexts[-1]) > len(head)):
        return records
    records = Cutter(delimiter).cut(head, final=True)
    cut_off = len(records.ends) > 1 and int(records.ends[-1]) == len(head)
    return records.first(len(records.ends) - cut_off)


def rows_of(head: bytes, delimiter: bytes, encoding: str, *, whole: bool) -> list[list[str]]:
    """The first rows of a file, as texts."""
    records = _records(head, delimiter, whole=whole)
    cells = records.cells()
    return [
        [decoded(cell, encoding) for cell in cells.texts(place)]
        for place in range(min(SAMPLE_ROWS, len(records.starts)))
    ]


def find(
    head: bytes,
    encoding: str,
    said: str,
    phones: Callable[[list[list[str]]], float],
    *,
    whole: bool,
) -> tuple[Dialect, list[list[str]]]:
    """The dialect of a file that begins with `head`, and its first rows. `said` is the delimiter if the user knows it.
    `phones` gives the largest share of numbers in a column of such rows.

    The delimiter is the one by which most rows have as many cells, and as many as possible. One by which a column of
    numbers appears goes before all others.
    """
    if said:
        delimiter = said.encode("latin-1", "replace")
        return _dialect(delimiter, head, rows_of(head, delimiter, encoding, whole=whole), whole=whole)
    scored = []
    for delimiter in _SEPARATORS:
        if delimiter in head:
            rows = rows_of(head, delimiter, encoding, whole=whole)
            if (score := _score(rows)) > 0:
                scored.append((phones(rows) >= _PHONES, score, delimiter, rows))
    if not scored:
        delimiter = b";" if b"," in head else b","
        return _dialect(delimiter, head, rows_of(head, delimiter, encoding, whole=whole), whole=whole)
    *_, delimiter, rows = max(scored, key=lambda each: each[:2])
    return _dialect(delimiter, head, rows, whole=whole)


def _score(rows: Sequence[Sequence[str]]) -> float:
    """How well rows agree on a number of cells: their share, less where the cells are few; 0 for one cell a row."""
    counts = Counter(len(row) for row in rows)
    counts.pop(1, None)
    if not counts:
        return 0.0
    width, found = max(counts.items(), key=lambda each: (each[1] * (1 - 1 / each[0]), each[0]))
    share = found / len(rows)
    return share * (1 - 1 / width) if share > 0.25 else 0.0


def _dialect(
    delimiter: bytes, head: bytes, rows: list[list[str]], *, whole: bool
) -> tuple[Dialect, list[list[str]]]:
    records = _records(head, delimiter, whole=whole)
    cells = records.cells()
    sample = [cell for place in range(min(50, len(records.starts))) for cell in cells.texts(place)]
    quoted = bool(sample) and all(len(cell) > 1 and cell[:1] == cell[-1:] == b'"' for cell in sample)
    return Dialect(delimiter, quoted), rows
