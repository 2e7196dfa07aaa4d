"""What every format gives: the numbers of a list, and the lines that hold none, by their line number."""

import array
from dataclasses import dataclass, field

import numpy as np
from pyroaring import BitMap64

from stream_scrub.errors import ScrubError
from stream_scrub.index import as_bitmap

_KEPT = 20


class BadList(ScrubError):
    """The file as a whole cannot be read as a list. Exit 1; nothing was published. Says what to change."""


@dataclass(slots=True)
class Reading:
    """A list as it was read. Line numbers count from 1; a refused line's text is never kept."""

    numbers: "array.array[int]" = field(default_factory=lambda: array.array("Q"))
    refused: int = 0
    first_refused: list[int] = field(default_factory=list)
    blank: int = 0
    described: str = ""

    def refuse(self, line: int) -> None:
        """Count a line that holds no valid number."""
        self.refused += 1
        if len(self.first_refused) < _KEPT:
            self.first_refused.append(line)

    @property
    def lines(self) -> int:
        """Lines that should have held a number: taken and refused."""
        return len(self.numbers) + self.refused

    @property
    def refused_share(self) -> float:
        """Refused lines as a share of all, 0 to 1."""
        return self.refused / self.lines if self.lines else 0.0

    def bitmap(self) -> BitMap64:
        """The distinct numbers."""
        numbers = (
            np.sort(np.frombuffer(self.numbers, dtype=np.uint64)) if self.numbers else np.empty(0, np.uint64)
        )
        return as_bitmap(numbers)
