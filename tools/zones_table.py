"""Writes `stream_scrub/numbering/tables/zones.json`, the time zones of numbers; `make tables` runs it.

phonenumbers names one zone for an area code whose overlay lies over two, and one for mobile numbers that move freely.
So a number has every zone of its region, except where its area shows fewer: American and Canadian area codes, each
with all zones of those on the same ground, and Spanish fixed lines.
"""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Final

from phonenumbers.tzdata import TIMEZONE_DATA

from stream_scrub import clock
from stream_scrub.numbering.zones import TARGET

# The areas whose zones are told: those of the plan of +1, and of Spanish fixed lines.
AREAS: Final = [f"1{code}" for code in range(200, 1000)], [f"34{code}" for code in range(800, 1000)]
# Area codes on the ground of an older one (NANPA, report of area codes), where phonenumbers names fewer zones.
_OVERLAYS: Final = "364/270 448/850 930/812 458/541 581/418 367/418 729/423 778/250 236/250 257/250 672/250"
# Area codes on the ground of an older one, for which phonenumbers names the zone of another state: Orlando in Central
# Time, and Saskatchewan in the summer time of Manitoba.
_MISPLACED: Final = "689/407 474/306"
# Lloydminster, in the west of Saskatchewan, keeps the time of Alberta (tzdata, zone.tab: "SK(W)").
_MORE: Final = {"1306": "America/Edmonton", "1639": "America/Edmonton"}
# American states by the zones in them: 49 CFR 71.
STATES: Final = {
    "CT DC DE GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV": "America/New_York",
    "FL IN KY MI TN": "America/New_York America/Chicago",
    "AL AR IA IL LA MN MO MS OK WI": "America/Chicago",
    "KS ND NE SD TX": "America/Chicago America/Denver",
    "CO MT NM UT WY": "America/Denver",
    "AZ": "America/Phoenix America/Denver",
    "ID NV OR": "America/Denver America/Los_Angeles",
    "CA WA": "America/Los_Angeles",
    "AK": "America/Anchorage America/Adak",
    "HI": "Pacific/Honolulu",
}
# Australian states; the west of New South Wales (Broken Hill) keeps the time of Adelaide (tzdata, zone.tab).
AU_STATES: Final = {
    "ACT": "Australia/Sydney",
    "NSW": "Australia/Sydney Australia/Adelaide Australia/Lord_Howe",
    "NT": "Australia/Darwin",
    "QLD": "Australia/Brisbane",
    "SA": "Australia/Adelaide",
    "TAS": "Australia/Hobart",
    "VIC": "Australia/Melbourne",
    "WA": "Australia/Perth Australia/Eucla",
}
_USES: Final = Counter(zone for zones in TIMEZONE_DATA.values() for zone in zones)
_STEP: Final = 4  # days: clocks that differ only for fewer are one
_SINCE, _UPTO = datetime(2023, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)


@cache
def clock_of(name: str) -> tuple[timedelta | None, ...]:
    """What tells two zones apart: their distance from UTC, every few days."""
    info, days = clock.zone(name), range(0, (_UPTO - _SINCE).days, _STEP)
    return tuple((_SINCE + timedelta(days=day)).astimezone(info).utcoffset() for day in days)


def distinct(zones: Iterable[str]) -> list[str]:
    """The zones, one for each clock: the one that most numbers have."""
    by_use = sorted(zones, key=_USES.__getitem__)
    return sorted({clock_of(zone): zone for zone in by_use}.values()) if len(by_use) > 1 else by_use


def of_regions() -> dict[str, list[str]]:
    """The zones of every region, and of the American and Australian states."""
    zones: dict[str, list[str]] = {}
    table = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    for line in table.splitlines():
        if not line.startswith("#"):
            zones.setdefault(line.split("\t")[0], []).append(line.split("\t")[2])
    regions = {region: distinct(every) for region, every in sorted(zones.items())}
    american = {code: names for codes, names in STATES.items() for code in codes.split()}
    regions |= {f"US-{code}": names.split() for code, names in american.items()}
    return regions | {f"AU-{code}": names.split() for code, names in AU_STATES.items()}


def _parts(pair: str) -> list[str]:
    return pair.split("/")


def of_area(prefix: str) -> set[str]:
    """The zones of all numbers that begin so; of those that begin with less of it, if phonenumbers tells no more."""
    longer = {zone for each, zones in TIMEZONE_DATA.items() if each.startswith(prefix) for zone in zones}
    shorter = (TIMEZONE_DATA.get(prefix[:end], ()) for end in range(len(prefix) - 1, 2, -1))
    return longer or set(next(filter(None, shorter), ()))


def of_areas() -> dict[str, dict[str, list[str]]]:
    """By calling code: the prefixes of the areas, by their zones."""
    zones_of = {prefix: of_area(prefix) for prefixes in AREAS for prefix in prefixes}
    for prefix, zone in _MORE.items():
        zones_of[prefix].add(zone)
    for overlay, older in map(_parts, _MISPLACED.split()):
        zones_of[f"1{overlay}"] = zones_of[f"1{older}"]
    for overlay, older in map(_parts, _OVERLAYS.split()):
        zones_of[f"1{older}"] |= zones_of[f"1{overlay}"]
    for overlay, older in map(_parts, _OVERLAYS.split()):
        zones_of[f"1{overlay}"] = zones_of[f"1{older}"]
    areas: dict[str, dict[str, list[str]]] = {"1": {}, "34": {}}
    for prefix, zones in sorted(zones_of.items()):
        if zones:
            of_code = areas["1" if prefix[0] == "1" else "34"]
            of_code.setdefault(" ".join(distinct(zones)), []).append(prefix)
    return areas


def content() -> bytes:
    """The bytes of the file."""
    return (json.dumps({"regions": of_regions(), "areas": of_areas()}, indent=1) + "\n").encode()


if __name__ == "__main__":
    TARGET.write_bytes(content())
