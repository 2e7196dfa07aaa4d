"""What kind of line a number belongs to: one shared object for each (region, type), so that it is cheap as a key."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The region and type of a valid number. Compared and hashed by identity: make one with `Line.of` only.

    `region` is the ISO 3166-1 code of the region that the number itself belongs to ("FR", "RE", "GG", "US"), or
    "001" for the calling codes that no region owns (+800, +882, ...). `type` is phonenumbers' name of its type in
    lower case ("fixed_line", "mobile", "fixed_line_or_mobile", "premium_rate", "voicemail", ...).
    """

    region: str
    type: str

    @classmethod
    def of(cls, region: str, type_: str) -> "Line":
        """The one Line of this region and type in this process."""
        return _LINES.get((region, type_)) or _LINES.setdefault((region, type_), cls(region, type_))

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        # After pickling to another process or copy(), it must again be the one Line of its region and type.
        return Line.of, (self.region, self.type)


_LINES: Final[dict[tuple[str, str], Line]] = {}
