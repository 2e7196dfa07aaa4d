"""The four cells that each row gets, and those that a row has from an earlier scrub: these are replaced."""

import re
from collections.abc import Sequence

from stream_scrub.errors import ConfigError
from stream_scrub.model import Reason

ADDED = ("scrub_verdict", "scrub_reason", "scrub_number", "scrub_until")
REPLACED = "; it was scrubbed before: those verdicts are replaced"
_LEAD_ROWS = 50  # among which titles stand
_REASONS = "|".join(sorted(Reason))
_SHAPES = ("allowed|blocked", _REASONS, r"[+() 0-9]*", r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2})?")
_ROW = [re.compile(shape) for shape in _SHAPES]
_ELSEWHERE = (
    "the file has columns of an earlier scrub (scrub_verdict, ...) that are not its last four: delete these columns, or"
    " scrub the file that they were made from"
)


def number_cell(numbers: Sequence[str]) -> str:
    """The numbers that may be called, in one cell. Several stand in brackets: a spreadsheet would take +1 +2 for a sum,
    and show it."""
    if len(numbers) == 1:
        return f"+{numbers[0]}"
    return " ".join(f"(+{number})" for number in numbers)


def is_earlier(cells: Sequence[str]) -> bool:
    """Whether these are the last four cells of a row, or of the titles, of a file that was scrubbed before. Those of a row that
    somebody added by hand are empty."""
    if len(cells) < len(ADDED):
        return False
    last = [cell.strip() for cell in cells[-len(ADDED) :]]
    return (
        tuple(last) == ADDED
        or not any(last)
        or all(shape.fullmatch(cell) for shape, cell in zip(_ROW, last, strict=True))
    )


def was_scrubbed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a file with these first rows was scrubbed before. Raises ConfigError if its cells of that scrub are not the last
    ones."""
    titled = [row for row in rows[:_LEAD_ROWS] if ADDED[0] in (cell.strip() for cell in row)]
    if not titled:
        return bool(rows) and all(is_earlier(row) and any(map(str.strip, row[-len(ADDED) :])) for row in rows)
    if not all(is_earlier(row) and ADDED[0] not in row[: -len(ADDED)] for row in titled):
        raise ConfigError([_ELSEWHERE])
    return True


def earlier_in(delimiter: bytes) -> re.Pattern[bytes]:
    """Finds what `is_earlier` means at the end of a record's bytes."""
    sign = re.escape(delimiter)

    def cells(shapes: Sequence[str]) -> bytes:
        return b"".join(
            sign + rb' *(?:"(?:' + shape.encode() + rb')"|(?:' + shape.encode() + rb")) *" for shape in shapes
        )

    return re.compile(b"(?:" + b"|".join(map(cells, (ADDED, _SHAPES, [""] * len(ADDED)))) + rb")\Z")
