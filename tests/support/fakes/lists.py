"""Lists as files, read whole."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream_scrub.imports.formats import FORMATS, ListOptions, ParsedList, open_list
from stream_scrub.imports.parsing.format import read_list

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def read(
    folder: Path,
    content: bytes,
    column: str = "",
    region: str = "FR",
    name: str = "list.csv",
    format: str = "auto",  # noqa: A002  # as the option is called
    columns: dict[str, str] | None = None,
    max_numbers: float = math.inf,
) -> ParsedList:
    """What an import would read."""
    path = folder / name
    path.write_bytes(content)
    with open_list(path) as packed:
        return read_list(
            FORMATS, packed, ListOptions(region, NOW, column, columns or {}, max_numbers), format
        )


def accounted(reading: ParsedList) -> int:
    """Every line of the file, whatever came of it."""
    return reading.lines + reading.blank + reading.titles + reading.passed


def consents(numbers: Iterable[object]) -> str:
    """A list of consents in our own layout, all given yesterday."""
    day = datetime.now(UTC).date() - timedelta(days=1)
    return "phone,consented_on\n" + "".join(f"{number},{day}\n" for number in numbers)
