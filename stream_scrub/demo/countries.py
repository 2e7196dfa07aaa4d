"""The demo's countries, numbers and lists. What is true is known here because it was drawn here.

The truth is the integers that were drawn; the system gets only their spellings. Nothing here reads a number back, so
a mistake in the system's own reading cannot hide. (`line_of` only filters the draw: a number that is not valid would
be blocked for that.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_scrub.numbering import line_of

HOME = "FR"  # whose people wrote the lists: they spell their own numbers nationally
LISTED, CONSENTED, FRESH, SWING = 30_000, 40_000, 15_000, 5_000
_BAD_EVERY = 2_000  # well under the import's guard of one line in a hundred
_BAD_LINES = ("unknown", "n/a", "+33 6 12", "see file 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCountry:
    """One country of the demo: how its mobile numbers are written, and what its law asks today.

    `trunk` is dialled before a national number, `abroad` before a calling code; `groups` are the digits of each group
    as people write them. `deny` is its opposition register ("": none), `consent` the register in which a number must be ("": none),
    `banned` which purposes are forbidden, `contract_lifts` whether a contract lifts all that. `opposed` and `share`
    are its parts of the internal list and of the prospects, in thousandths. `open_plan`: numbers are of any length, so
    the digits of a whole number without a plus may be a shorter prefix and a longer number of its own.
    """

    code: str
    calling: str
    trunk: str = "0"
    abroad: str = "00"
    groups: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    opposed: int
    share: int
    deny: str = ""
    consent: str = ""
    banned: frozenset[str] = frozenset()
    contract_lifts: bool = False
    ruled: bool = True
    open_plan: bool = False


COUNTRIES = (
    DemoCountry(
        code="FR",
        calling="33",
        groups=(1, 2, 2, 2, 2),
        ranges=((33_610_000_000, 33_690_000_000), (33_740_000_000, 33_790_000_000)),
        opposed=520,
        share=360,
        consent="consent",
        banned=frozenset({"energy-renovation", "home-adaptation", "renewable-energy"}),
        contract_lifts=True,
    ),
    DemoCountry(
        code="GB",
        calling="44",
        groups=(4, 6),
        ranges=((447_400_000_000, 447_600_000_000), (447_700_000_000, 447_900_000_000)),
        opposed=130,
        share=180,
        deny="tps",
        banned=frozenset({"claims-management", "pensions"}),
    ),
    DemoCountry(
        code="US",
        calling="1",
        trunk="",
        abroad="011",
        groups=(3, 3, 4),
        ranges=tuple(
            (10_002_000_000 + area * 10_000_000, 10_010_000_000 + area * 10_000_000)
            for area in (212, 303, 415, 617)
        ),
        opposed=80,
        share=120,
        deny="us-dnc",
    ),
    DemoCountry(
        code="DE",
        calling="49",
        open_plan=True,
        groups=(3, 7),
        ranges=((491_700_000_000, 491_800_000_000),),
        opposed=90,
        share=120,
        consent="consent",
    ),
    DemoCountry(
        code="BE",
        calling="32",
        groups=(3, 2, 2, 2),
        ranges=((32_470_000_000, 32_500_000_000),),
        opposed=50,
        share=60,
        deny="dncm",
    ),
    DemoCountry(
        code="IT",
        calling="39",
        trunk="",
        groups=(3, 7),
        ranges=((393_200_000_000, 393_500_000_000),),
        opposed=50,
        share=60,
        consent="rpo-clean",
        # A contract lifts nothing of this ban; no lead of the demo states both.
        banned=frozenset({"electricity"}),
        contract_lifts=True,
    ),
    DemoCountry(
        code="ES",
        calling="34",
        trunk="",
        groups=(3, 3, 3),
        ranges=((34_600_000_000, 34_700_000_000),),
        opposed=40,
        share=50,
        deny="robinson",
        consent="consent",
        banned=frozenset({"electricity"}),
    ),
    DemoCountry(
        code="NL",
        calling="31",
        groups=(1, 8),
        ranges=((31_610_000_000, 31_660_000_000),),
        opposed=40,
        share=40,
        consent="consent",
    ),
    DemoCountry(  # no shipped rule: nobody may be called there
        code="CH",
        calling="41",
        groups=(2, 3, 2, 2),
        ranges=((41_760_000_000, 41_800_000_000),),
        opposed=0,
        share=10,
        ruled=False,
    ),
)

# The registers in which a number must be where the law asks for it.
BY_AREA = frozenset({"us-dnc", "ca-dncl"})  # registers that their registries hand out by area
ASKED = frozenset(country.consent for country in COUNTRIES if country.consent)

_Spell = Callable[[DemoCountry, str], str]


def _grouped(country: DemoCountry, national: str, sign: str) -> str:
    at, groups = 0, []
    for size in country.groups:
        groups.append(national[at : at + size])
        at += size
    return sign.join(groups)


def _bracketed(country: DemoCountry, national: str) -> str:
    first = country.groups[0]
    return f"({country.trunk}{national[:first]}) {national[first:]}"


def _wide(country: DemoCountry, national: str) -> str:
    return (country.trunk + national).translate({ord("0") + i: 0xFF10 + i for i in range(10)})


# Each spells one number, given its digits after the calling code, for a reader in its own country.
SPELLINGS: dict[str, _Spell] = {
    "international": lambda c, n: f"+{c.calling}{n}",
    "international, spaced": lambda c, n: f"+{c.calling} {_grouped(c, n, ' ')}",
    "dialled from abroad": lambda c, n: f"{c.abroad}{c.calling}{n}",
    "dialled from abroad, spaced": lambda c, n: f"{c.abroad} {c.calling} {_grouped(c, n, ' ')}",
    "national": lambda c, n: c.trunk + n,
    "national, spaced": lambda c, n: c.trunk + _grouped(c, n, " "),
    "national, dots": lambda c, n: c.trunk + _grouped(c, n, "."),
    "national, hyphens": lambda c, n: c.trunk + _grouped(c, n, "-"),
    "national, no-break spaces": lambda c, n: c.trunk + _grouped(c, n, "\u00a0"),
    "national, wide digits": _wide,
    "national, padded": lambda c, n: f"  {c.trunk}{n} ",
    "area code in brackets": _bracketed,
    "trunk in brackets": lambda c, n: (
        f"+{c.calling} {f'({c.trunk})' if c.trunk else ''}{_grouped(c, n, ' ')}"
    ),
    "tel URI": lambda c, n: f"tel:+{c.calling}-{_grouped(c, n, '-')}",
}
_AT_HOME = ("international", "national", "dialled from abroad", "national, spaced", "national, dots")
_ABROAD = ("international", "international, spaced", "trunk in brackets")


def national_digits(country: DemoCountry, number: int) -> str:
    """The digits after the calling code."""
    return str(number)[len(country.calling) :]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Everybody's numbers by what is true of them, per country code; no number is in two groups.

    `opposed` have opted out at the company; `listed` are in their country's register; `consented` gave their consent;
    `fresh` did nothing. `swing` may be called (where consent is needed, they gave it) until they opt out midway.
    """

    opposed: Mapping[str, list[int]]
    listed: Mapping[str, list[int]]
    consented: Mapping[str, list[int]]
    fresh: Mapping[str, list[int]]
    swing: Mapping[str, list[int]]

    @classmethod
    def draw(cls, internal: int, rng: np.random.Generator) -> "Crowd":
        """Draw the groups so that `internal` holds this many numbers."""
        groups: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {}, {})
        left = internal
        for country in COUNTRIES:
            opposed = min(left, internal * country.opposed // 1000)
            left -= opposed
            few = [size * country.share // 1000 for size in (LISTED, CONSENTED, FRESH)]
            sizes = (opposed, *few, _swing(country))
            numbers = _draw(country, sum(sizes), rng)
            at = 0
            for group, size in zip(groups, sizes, strict=True):
                group[country.code] = numbers[at : at + size]
                at += size
        return cls(*groups)

    def registers(self) -> dict[str, dict[str, list[int]]]:
        """What each register holds before the delta: register, then country code, then numbers."""
        held: dict[str, dict[str, list[int]]] = {"consent": {}}
        for country in COUNTRIES:
            if country.deny:
                held[country.deny] = {country.code: self.listed[country.code]}
            if country.consent:
                # Every twentieth of those who oppose once consented: their later opposition binds.
                gave = (*self.consented[country.code], *self.swing[country.code])
                held.setdefault(country.consent, {})[country.code] = [
                    *gave,
                    *self.opposed[country.code][::20],
                ]
        held["internal"] = dict(
            self.opposed
        )  # the largest one last, since each import reads the log before it
        return held


def _swing(country: DemoCountry) -> int:
    """A country's part of SWING. HOME takes what is left by rounding and by countries where nobody may be called
    anyway."""
    if not country.ruled:
        return 0
    if country.code == HOME:
        return SWING - sum(_swing(other) for other in COUNTRIES if other.code != HOME)
    return SWING * country.share // 1000


def _draw(country: DemoCountry, count: int, rng: np.random.Generator) -> list[int]:
    """Distinct valid numbers of that country, in no order."""
    weights = np.array([high - low for low, high in country.ranges], dtype=np.float64)
    found: dict[int, None] = {}
    while len(found) < count:
        wanted = int((count - len(found)) * 1.03) + 100
        chosen = rng.choice(len(country.ranges), wanted, p=weights / weights.sum())
        lows, highs = np.array(country.ranges, dtype=np.int64)[chosen].T
        drawn = rng.integers(lows, highs).tolist()
        found.update(
            (n, None) for n in drawn if (line := line_of(n)) is not None and line.region == country.code
        )
    return list(found)[:count]


@dataclass(frozen=True, slots=True)
class WrittenList:
    """A list as a file: how many distinct numbers it holds, and how many lines without one."""

    path: Path
    numbers: int
    bad: int


def write_list(path: Path, numbers: Mapping[str, Sequence[int]]) -> WrittenList:
    """One number a line under a header, in the spellings that people of HOME use, with a few lines that hold none."""
    lines = ["phone"]
    count = 0
    for country in COUNTRIES:
        mine = numbers.get(country.code, ())
        names = _AT_HOME if country.code == HOME else _ABROAD
        for place, name in enumerate(names):
            lines.extend(_spelled(SPELLINGS[name], country, mine[place :: len(names)]))
        count += len(mine)
    bad = len(range(_BAD_EVERY, len(lines), _BAD_EVERY))
    for place in range(bad):
        lines.insert((place + 1) * _BAD_EVERY, _BAD_LINES[place % len(_BAD_LINES)])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return WrittenList(path, count, bad)


def _spelled(spell: _Spell, country: DemoCountry, numbers: Iterable[int]) -> list[str]:
    start = len(country.calling)
    return [spell(country, str(number)[start:]) for number in numbers]
