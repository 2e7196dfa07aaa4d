"""What to scrub, and into which folder."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files.rows.columns import Asked
from stream_scrub.numbering import REGIONS

MAX_BAD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOrder:
    """One file to scrub. `input` is a path, `-` for standard input. `columns` are those that the user named. `purpose`,
    `campaign`, `channel`, `who`, `voice_kind` and `region` hold for every row, None for the settings' own. `on` is the moment whose rules decide, None for
    now. `sheet` is the sheet's name or number, `to` what a spreadsheet is written as
    ("" or "csv"). `max_bad` is the largest share of rows without a readable number."""

    input: str
    output: Path
    columns: Asked = field(default_factory=Asked)
    region: str | None = None
    purpose: str | None = None
    campaign: str | None = None
    channel: str | None = None
    who: str | None = None
    voice_kind: str | None = None
    on: datetime | None = None
    annotated: bool = False
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    to: str = ""
    max_bad: float = MAX_BAD
    force: bool = False

    @property
    def said(self) -> dict[str, str | None]:
        """What holds for every row, by the name that prospects' settings have for it; None for what was not said."""
        return {
            "purpose": self.purpose,
            "campaign": self.campaign,
            "channel": self.channel,
            "who": self.who,
            "voice_kind": self.voice_kind,
        }

    def region_by(self, settings: Settings) -> str:
        """The region of national numbers. Raises ConfigError."""
        said = (self.region or settings.prospect.default_region).upper()
        if said not in REGIONS:
            raise ConfigError(
                [f"--region: {said!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
            )
        return said
