"""What to scrub, and into which folder."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from stream_scrub.call import FACTS, Call
from stream_scrub.config import Settings
from stream_scrub.languages import ENGLISH
from stream_scrub.numbering import region_of_user

MAX_BAD = 0.2
REGION = "region"
COLUMNS = (REGION, *FACTS)  # what a column may hold apart from numbers


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user said of the columns: titles, or numbers counted from 1. `facts` has the column of the region and of
    each fact. `titles` is how many lines stand above the first row, None if the user did not say.

    `members` has the title that makes a column one of the region or of a fact, as that of a member does in a prospect.
    `said` are the facts that options say of all rows: no column may say them as well. `exact`: no title makes a column one
    that the user did not name."""

    numbers: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    titles: int | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    said: Collection[str] = ()
    exact: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that the user named."""
        return (*self.numbers, *self.facts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """One file to scrub. `language` is that of the report. `input` is a path, `-` for standard input. `columns` are those that the user named. `region` is
    that of national numbers, None for the settings' own; `call` holds for every row. `on` is the moment whose rules decide, None for now. `sheet` is the sheet's name or number, `to` what a
    spreadsheet is written as ("" or "csv"). `max_bad` is the largest share of rows without a readable number. With `dry_run` nothing is
    written. `token`: the name of the token for whose owner a server scrubs it."""

    input: str
    output: Path
    columns: Asked = field(default_factory=Asked)
    region: str | None = None
    call: Call = field(default_factory=Call)
    on: datetime | None = None
    annotated: bool = False
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    to: str = ""
    max_bad: float = MAX_BAD
    dry_run: bool = False
    force: bool = False
    language: str = ENGLISH
    token: str = ""

    def region_by(self, settings: Settings) -> str:
        """The region of national numbers. Raises ConfigError."""
        return region_of_user(self.region or settings.prospect.default_region)
