"""Writes `stream_scrub/rules/holidays.toml` from the library `holidays`; `make holidays` runs it. Read the difference
before you commit it: the library changes past years too, and no earlier verdict may change.
"""

import json
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Final

import holidays

from stream_scrub.rules import hours

TARGET: Final = Path(hours.__file__).with_name(hours.FILE)
LAST: Final = 2032
# By set: the library's country, its parts, and the first year that a shipped rule asks for.
_SPAIN: Final = "AN AR AS CB CE CL CM CN CT EX GA IB MC MD ML NC PV RI VC"
SETS: Final = {
    "FR": ("FR", "", 2023),  # code du travail L.3133-1
    "FR-6AE": ("FR", "6AE", 2023),  # code du travail L.3134-13: Alsace and Moselle
    "ES": ("ES", _SPAIN, 2018),  # those of every community: a number does not show its own
    "NL": ("NL", "", 2021),
    "CA": ("CA", "", 2008),  # those of the whole country
    "AU": ("AU", "", 2007),  # the national ones
    "NO": ("NO", "", 2009),
    "PT": ("PT", "20 30", 2026),  # those of the Azores and Madeira too: most numbers show no region
    "ZA": ("ZA", "", 2026),
    "US-AL": ("US", "AL", 2003),
    "US-LA": ("US", "LA", 2003),
    "US-MS": ("US", "MS", 2003),
    "US-PA": ("US", "PA", 2003),
    "US-RI": ("US", "RI", 2003),
    "US-UT": ("US", "UT", 2003),
}
# Code du travail L.3422-2: the abolition of slavery. The library has other days there that no statute lists.
ABOLITION: Final = {
    "FR-GP": "05-27",
    "FR-GF": "06-10",
    "FR-MQ": "05-22",
    "FR-RE": "12-20",
    "FR-BL": "10-09",
    "FR-MF": "05-28",
    "FR-YT": "04-27",
}
# Code Telemarketing, art. 9: calls end at 18:30 on these days, which are closed as a whole. Not on 5 May: a recognised
# holiday of every year (Algemene termijnenwet, art. 3), of which the library has every fifth.
CODE_NL: Final = ["05-04", "05-05", "12-05", "12-24"]


def days_of(country: str, parts: str, first: int) -> set[date]:
    """The days of a set. Raises ValueError for a year about which the library silently says nothing."""
    years = range(first, LAST + 1)
    found = {
        day
        for part in (None, *parts.split())
        for day in holidays.country_holidays(country, subdiv=part, years=years)
    }
    if missing := set(years) - {day.year for day in found}:
        raise ValueError(f"{country} {parts}: the library knows no holidays in {sorted(missing)}")
    return found


def text() -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield "# Days without calls, as month and day, by country or region, and year."
    yield f"# Written by tools/holidays_table.py from holidays {version('holidays')}."
    by_year: dict[str, dict[int, list[str]]] = {}
    for name, chosen in SETS.items():
        for day in sorted(days_of(*chosen)):
            by_year.setdefault(name, {}).setdefault(day.year, []).append(f"{day:%m-%d}")
    for name, day_of_year in ABOLITION.items():
        by_year[name] = {year: [day_of_year] for year in range(SETS["FR"][2], LAST + 1)}
    by_year["NL-CTM"] = dict.fromkeys(range(SETS["NL"][2], LAST + 1), CODE_NL)
    for name, years in by_year.items():
        yield ""
        yield f"[{name}]"
        for year, days in years.items():
            yield f"{year} = {json.dumps(days)}"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
