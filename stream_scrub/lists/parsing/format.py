"""What a format is: how its files are recognised, and how one is read into a `ParsedList`.

A format's module defines FORMAT, which `stream_scrub.lists.formats.FORMATS` names. It knows nothing of packing,
files on disk, registers or the log.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType

from stream_scrub.lists.parsing.parsed_list import ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

SAMPLE_LINES = 50
SURELY = 100
NEVER = 0


@dataclass(frozen=True)
class ListSample:
    """The beginning of a file, for `recognise`: bytes as `ListSource.blocks` gives them, at most 64 KiB.

    `member` is the name of the file, or of the file within the zip. `whole`: there is no more than `head`.
    """

    head: bytes
    member: str
    whole: bool = False

    @cached_property
    def lines(self) -> list[str]:
        """The first 50 lines without their ends, as `ListSource.text` gives them; the one that the sample cuts off
        is not among them.
        """
        text = self.head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        if not self.whole or not lines[-1]:
            lines = lines[:-1]
        return lines[:SAMPLE_LINES]

    @cached_property
    def filled(self) -> list[str]:
        """Those of `lines` that are not blank."""
        return [line for line in self.lines if line.strip()]


def mostly(alike: int, lines: int) -> bool:
    """Whether so many of a sample's lines are enough to know them by: all but a tenth, or but one of a few."""
    return alike >= 1 and lines - alike <= max(lines // 10, 1 if alike > 1 else 0)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What an operator may say about a list. `region` is the ISO 3166-1 code that national numbers are read in.

    `column`: the column of the numbers, a header's name or a number from 1; "" when it was not said.
    `columns`: places for named contents, as in {"area": "1", "number": "2", "date": "3", "change": "4"}; values are
    as those of `column`, or what else the format says. `now` is the moment of the import: an end before it has passed.
    `max_numbers` is the most that the list may hold (`lists.max_numbers`), `said` the moment that it speaks of where the
    operator says it.
    """

    region: str
    now: datetime
    column: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    max_numbers: float = math.inf
    said: datetime | None = None


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """One list format.

    `about` is a line for `--help` and the docs. `recognise` says how surely a file is of this format by its beginning,
    0 (surely not) to 100 (nothing else looks so); `plain` says 1 of whatever it may be able to read, so a format that
    says less than 2 is never chosen over it. It must not raise, whatever the bytes, nor look at more than the sample.

    `read` reads one file to its end into the `ParsedList`, which it also describes (`ParsedList.described`). It calls one of
    the source's `text`, `chunks` and `blocks`, once. Every line is counted (see `ParsedList`); a number that is not valid
    is a refused line. It raises BadList when the file as a whole is not of this format, and nothing else, whatever
    the bytes. For a zip of several files it is called once for each of them, with the same `ParsedList`.

    `columns` are the names that `ListOptions.columns` may have for it.
    """

    name: str
    about: str
    recognise: Callable[[ListSample], int]
    read: Callable[[ListSource, ListOptions, ParsedList], None]
    columns: frozenset[str] = frozenset()
