"""What every kind of file offers to a run."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Protocol

from stream_scrub.files.results.summary import LineCount, StaleCount
from stream_scrub.files.rows.columns import Columns
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.run import Targets
from stream_scrub.index import Index


class Counts(Protocol):
    """What was counted of its rows: see `Summary` for the names."""

    rows: int
    uneven: int
    destroyed: int
    invalid_lines: list[int]
    unclosed_lines: list[int]
    duplicates: Duplicates

    @property
    def allowed(self) -> int:
        """How many rows may be called."""
        ...

    def reasons(self) -> dict[str, int]:
        """The rows by reason, in the order of `Reason`."""
        ...

    def lines(self) -> list[LineCount]:
        """The numbers by region and type of line, the most frequent first."""
        ...

    def stale(self, index: Index) -> list[StaleCount]:
        """The registers that block rows because they are missing or too old."""
        ...

    def until(self) -> date | None:
        """The last day on which every allowed row may still be called."""
        ...

    def digests(self) -> list[str]:
        """The rules that decided, by their digests."""
        ...


class LeadsFile(Protocol):
    """A file of leads, looked into. `kind` and `written_as` are as in `InputRead`; `extension` is that of its outputs."""

    kind: str
    extension: str

    @property
    def tally(self) -> Counts:
        """What was counted of its rows so far."""
        ...

    @property
    def written_as(self) -> str:
        """How it is written, for people."""
        ...

    @property
    def spoken(self) -> str:
        """Which columns were found, for people."""
        ...

    @property
    def columns(self) -> Columns:
        """Its columns, by their places in `rows`."""
        ...

    @property
    def titles(self) -> int:
        """How many lines stand above its first row."""
        ...

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Its rows in order, each with its line, instead of `scrub`. Raises Refused."""
        ...

    def fact_at(self, row: Sequence[str], place: int) -> str:
        """What a row of `rows` says in a fact's column: its cell, or what stands for it where the row is too short."""
        ...

    def scrub(self, targets: Targets, progress: Callable[[int], None]) -> None:
        """Write every row to its outputs. `progress` is told how many rows are done. Raises Refused, OSError."""
        ...
