"""The time zones in which the person at a number may be: all of its region, unless its first digits tell more."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from stream_scrub.numbering.tables import FOLDER

Zones = tuple[str, ...]  # names of the zone database, one for each clock

TARGET: Final = FOLDER / "zones.json"
_CODES: Final = {"US": "1", "CA": "1", "ES": "34"}  # the calling codes of regions whose areas are known
# Of these types the first digits name an area: others move with a person, or are nowhere. In the plan of +1 nothing
# tells fixed lines from mobiles.
TYPES_WITH_AREA: Final = frozenset({"fixed_line", "fixed_line_or_mobile"})


@cache
def _table() -> Any:
    return json.loads(TARGET.read_bytes())


@cache
def zones_of(region: str) -> Zones:
    """The zones of a region, or of a state; none of a region that has no people."""
    return tuple(_table()["regions"].get(region, ()))


@cache
def areas_of(region: str) -> Mapping[str, Zones]:
    """The zones of a region's areas by the first digits of their numbers; empty for a region whose areas are not
    known."""
    areas = _table()["areas"].get(_CODES.get(region, ""), {})
    return {prefix: tuple(zones.split()) for zones, prefixes in areas.items() for prefix in prefixes}
