"""What to scrub, and into which folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files.rows.columns import Asked
from stream_scrub.numbering import REGIONS
from stream_scrub.rules import RELATIONS
from stream_scrub.scrub.facts import relation_spelt

MAX_BAD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOrder:
    """One file to scrub. `input` is a path, `-` for standard input. `columns` are those that the user named. `region` is
    that of national numbers, None for the settings' own; `said` are the facts that hold for every row, as a cell would
    say them. `on` is the moment whose rules decide, None for now. `sheet` is the sheet's name or number, `to` what a
    spreadsheet is written as ("" or "csv"). `max_bad` is the largest share of rows without a readable number. Raises
    ConfigError for a relation that is none."""

    input: str
    output: Path
    columns: Asked = field(default_factory=Asked)
    region: str | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    on: datetime | None = None
    annotated: bool = False
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    to: str = ""
    max_bad: float = MAX_BAD
    force: bool = False

    def __post_init__(self) -> None:
        relation = self.said.get("relation")
        if relation is not None and relation_spelt(relation) is None:
            known = " or ".join(RELATIONS)
            raise ConfigError(
                [
                    f"--relation: {relation!r} is no relation; write {known} and its day, as in purchase:2026-01-31"
                ]
            )

    def region_by(self, settings: Settings) -> str:
        """The region of national numbers. Raises ConfigError."""
        said = (self.region or settings.prospect.default_region).upper()
        if said not in REGIONS:
            raise ConfigError(
                [f"--region: {said!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
            )
        return said
