"""The demo's countries, numbers, lists and prospects. What is true is known here because it was drawn here.

The truth is the integers that were drawn; the system gets only their spellings. Nothing here reads a number back, so
a mistake in the system's own reading cannot hide. (`line_of` only filters the draw: a number that is not valid would
be blocked for that.) A `DemoLead` is a prospect without its id. It is sent many times, each time with the next id, so that
a number that opts out midway appears before and after. Each lead is kept with its expected output.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_scrub.model import Header
from stream_scrub.numbering import line_of

HOME = "FR"  # whose people wrote the lists: they spell their own numbers nationally
LISTED, CONSENTED, FRESH, SWING = 30_000, 40_000, 15_000, 5_000
BY_AREA = frozenset({"us-dnc"})  # registers that their registries hand out by area
_BAD_EVERY = 2_000  # well under the import's guard of one line in a hundred
_BAD_LINES = ("unknown", "n/a", "+33 6 12", "see file 2")


class Law(NamedTuple):
    """What a country's law asks today."""

    deny: str = ""  # the opposition register
    consent: str = ""  # the register of consents in which a number must be
    wash: str = ""  # the register of clean answers in which a number must be
    banned: frozenset[str] = frozenset()  # forbidden purposes
    contract_lifts: bool = False  # a contract lifts every requirement


class DemoCountry(NamedTuple):
    """One country of the demo, and how its mobile numbers are written."""

    code: str
    calling: str
    trunk: str  # dialled before a national number
    abroad: str  # dialled before a calling code
    groups: tuple[int, ...]  # digits of each group as people write them
    millions: tuple[tuple[int, int], ...]  # where its numbers begin and end, in millions
    share: int  # its part of every list and of the prospects, in hundredths
    law: Law | None  # None: no shipped rule, so no one may be called there


_RENOVATION = frozenset({"energy-renovation", "home-adaptation", "renewable-energy"})
# Of states without rules of their own.
_US_AREAS = tuple((10_002 + area * 10, 10_010 + area * 10) for area in (404, 415, 602, 614))
_FR = Law(consent="consent", banned=_RENOVATION, contract_lifts=True)
_GB = Law(deny="tps", banned=frozenset({"claims-management", "pensions"}))
# In Italy a contract lifts nothing of this ban; no lead of the demo states both.
_IT = Law(wash="rpo-clean", banned=frozenset({"electricity"}), contract_lifts=True)
_ASKS = Law(consent="consent")

COUNTRIES = (
    DemoCountry("FR", "33", "0", "00", (1, 2, 2, 2, 2), ((33_610, 33_690), (33_740, 33_790)), 36, _FR),
    DemoCountry("GB", "44", "0", "00", (4, 6), ((447_400, 447_600), (447_700, 447_900)), 18, _GB),
    DemoCountry("US", "1", "", "011", (3, 3, 4), _US_AREAS, 12, Law(deny="us-dnc")),
    DemoCountry("DE", "49", "0", "00", (3, 7), ((491_700, 491_800),), 15, _ASKS),
    DemoCountry("BE", "32", "0", "00", (3, 2, 2, 2), ((32_470, 32_500),), 6, Law(deny="dncm")),
    DemoCountry("IT", "39", "", "00", (3, 7), ((393_200, 393_500),), 8, _IT),
    DemoCountry("NL", "31", "0", "00", (1, 8), ((31_610, 31_660),), 4, _ASKS),
    DemoCountry("FI", "358", "0", "00", (2, 3, 4), ((358_400, 358_410),), 1, None),
)


def _grouped(country: DemoCountry, national: str, sign: str) -> str:
    ends = np.cumsum(country.groups).tolist()
    return sign.join(national[end - size : end] for size, end in zip(country.groups, ends, strict=True))


# Each spells one number, given its digits after the calling code, for a reader in its own country.
SPELLINGS: dict[str, Callable[[DemoCountry, str], str]] = {
    "international": lambda c, n: f"+{c.calling}{n}",
    "international, spaced": lambda c, n: f"+{c.calling} {_grouped(c, n, ' ')}",
    "dialled from abroad": lambda c, n: f"{c.abroad}{c.calling}{n}",
    "national": lambda c, n: c.trunk + n,
    "national, spaced": lambda c, n: c.trunk + _grouped(c, n, " "),
    "national, dots": lambda c, n: c.trunk + _grouped(c, n, "."),
    "national, hyphens": lambda c, n: c.trunk + _grouped(c, n, "-"),
    "national, no-break spaces": lambda c, n: c.trunk + _grouped(c, n, "\u00a0"),
    "area code in brackets": lambda c, n: f"({c.trunk}{n[: c.groups[0]]}) {n[c.groups[0] :]}",
    "trunk in brackets": lambda c, n: f"+{c.calling} {c.trunk and f'({c.trunk})'}{_grouped(c, n, ' ')}",
    "tel URI": lambda c, n: f"tel:+{c.calling}-{_grouped(c, n, '-')}",
}
_AT_HOME = ("international", "national", "dialled from abroad", "national, spaced", "national, dots")
_ABROAD = ("international", "international, spaced", "trunk in brackets")


def national_digits(country: DemoCountry, number: int) -> str:
    """The digits after the calling code."""
    return str(number)[len(country.calling) :]


@dataclass(frozen=True, slots=True)
class Crowd:
    """The numbers of each group, by country code. No number is in two groups."""

    opposed: Mapping[str, list[int]]  # opted out at the company
    listed: Mapping[str, list[int]]  # are in their country's register
    consented: Mapping[str, list[int]]
    fresh: Mapping[str, list[int]]  # did nothing
    swing: Mapping[str, list[int]]  # may be called, by consent where needed, until they opt out midway

    @classmethod
    def draw(cls, internal: int, rng: np.random.Generator) -> "Crowd":
        """Draw the groups so that `internal` holds this many numbers."""
        groups: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {}, {})
        for country in COUNTRIES:
            sizes = [size * country.share // 100 for size in (internal, LISTED, CONSENTED, FRESH, SWING)]
            numbers = _draw(country, sum(sizes), rng)
            for group, size in zip(groups, sizes, strict=True):
                group[country.code], numbers = numbers[:size], numbers[size:]
        return cls(*groups)

    def registers(self) -> dict[str, dict[str, list[int]]]:
        """What each register holds before the delta: register, then country code, then numbers."""
        numbers_of: dict[str, dict[str, list[int]]] = {"consent": {}}
        for code, law in [(country.code, country.law) for country in COUNTRIES if country.law is not None]:
            if law.deny:
                numbers_of[law.deny] = {code: self.listed[code]}
            if allowing := law.consent or law.wash:
                # Every twentieth of those who oppose once consented: their later opposition binds.
                gave = [*self.consented[code], *self.swing[code], *self.opposed[code][::20]]
                numbers_of.setdefault(allowing, {})[code] = gave
        numbers_of["internal"] = dict(self.opposed)  # the largest last: each import reads the log before it
        return numbers_of


def _draw(country: DemoCountry, count: int, rng: np.random.Generator) -> list[int]:
    """Distinct valid numbers of that country, in no order."""
    lows, highs = np.array(country.millions, dtype=np.int64).T * 1_000_000
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        chosen = rng.integers(len(lows), size=count - len(drawn) + 100)
        for number in rng.integers(lows[chosen], highs[chosen]).tolist():
            if (line := line_of(number)) is not None and line.region == country.code:
                drawn[number] = None
    return list(drawn)[:count]


class WrittenList(NamedTuple):
    """A list as a file: how many distinct numbers it holds, and how many lines without one."""

    path: Path
    numbers: int
    bad: int


def write_list(
    path: Path, numbers: Mapping[str, Sequence[int]], consented_on: date | None = None
) -> WrittenList:
    """One number a line under a header, in the spellings that people of HOME use, with a few lines that hold none. Consents
    have the day on which they were given."""
    head, day = ("phone", "") if consented_on is None else ("phone,consented_on", f",{consented_on}")
    lines = [head]
    for country in COUNTRIES:
        home_numbers = numbers.get(country.code, ())
        names = _AT_HOME if country.code == HOME else _ABROAD
        for at, name in enumerate(names):
            spell = SPELLINGS[name]
            lines += [
                spell(country, national_digits(country, each)) + day
                for each in home_numbers[at :: len(names)]
            ]
    count = len(lines) - 1
    bad = len(range(_BAD_EVERY, len(lines), _BAD_EVERY))
    for at in range(bad):
        lines.insert((at + 1) * _BAD_EVERY, _BAD_LINES[at % len(_BAD_LINES)])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return WrittenList(path, count, bad)


ID_MEMBER = b'{"id":'  # before the id
_NAMES = ("Ada Martin", "Zoé Lefèvre", "Jürgen Groß", "Marta O'Neill", "李 小龙", "Sam Day", "Kim Peeters")
_QUOTED = 'Theodora "Teddy" Low'  # an escape: only the strict reader may take it apart
_INVALID = (b"null", b'""', b"[]", b"{}", b'"call me"', b'"+33 6 12"', b"3" * 300, b"true", b"12.5")
_PURPOSES = ("energy-renovation", "pensions", "electricity", "telecom")
_FACTS: tuple[dict[str, Any], ...] = (
    *({"contract": "C-1234"}, {"contract": False}),
    *({"purpose": each} for each in _PURPOSES),
)
# How often each kind of prospect is made, in thousandths. The first five are groups of the crowd.
_GROUPS = {"opposed": 260, "listed": 110, "consented": 230, "fresh": 160, "swing": 120}
_KINDS = {**_GROUPS, "facts": 80, "invalid": 20, "unreadable": 20}
# Each country as often as its share says.
_BY_SHARE = tuple(country for country in COUNTRIES for _ in range(country.share))


class Claim(NamedTuple):
    """The number that a prospect names, the country that its law comes from, and the group of the crowd that it is in."""

    number: int
    country: DemoCountry
    group: str


class DemoLead(NamedTuple):
    """A prospect without its id: ID_MEMBER, the id and `sent` make its value."""

    sent: bytes
    key: bytes | None = None
    readable: bool = True  # else it comes out as it was sent, the stamp in a header
    claim: Claim | None = None  # None if its number is none
    facts: Mapping[str, Any] = MappingProxyType({})  # its purpose or contract
    headers: tuple[Header, ...] = ()

    def value(self, number: int) -> bytes:
        """The value to send with this id."""
        return b"%b%d%b" % (ID_MEMBER, number, self.sent)


def phone_forms(country: DemoCountry, number: int) -> dict[str, bytes]:
    """Every way in which a prospect of that country may spell the number, by its name, as the JSON of a member."""
    national = national_digits(country, number)
    texts = {name: spell(country, national) for name, spell in SPELLINGS.items()}
    forms = {name: msgspec.json.encode(text) for name, text in texts.items()}
    forms["escaped"] = b'"\\u002b%d"' % number
    if not national.startswith("0"):
        forms["national integer"] = national.encode()  # as a spreadsheet leaves it
    return forms


class LeadMaker:
    """Makes leads from a crowd. `make` is all that others call."""

    def __init__(self, crowd: Crowd, choices: random.Random) -> None:
        self._random = choices
        self._groups = {name: getattr(crowd, name) for name in _GROUPS}
        self._made = 0

    def make(self, count: int) -> list[DemoLead]:
        """So many leads, in a random order of kinds."""
        return [
            self._one(kind) for kind in self._random.choices(list(_KINDS), list(_KINDS.values()), k=count)
        ]

    def _one(self, kind: str) -> DemoLead:
        self._made += 1
        if kind == "invalid":
            return self._lead(self._random.choice(_BY_SHARE), self._random.choice(_INVALID), None)
        claim = self._claim((kind,) if kind in _GROUPS else tuple(_GROUPS))
        if kind == "unreadable":
            cut_off = self._body(claim.country, b'"+%d"' % claim.number)
            return DemoLead(sent=cut_off, readable=False, **self._envelope())
        facts = self._random.choice(_FACTS) if kind == "facts" else {}
        return self._lead(claim.country, self._phone(claim), claim, facts)

    def _claim(self, groups: Sequence[str]) -> Claim:
        country, group = self._random.choice(_BY_SHARE), self._random.choice(groups)
        return Claim(self._random.choice(self._groups[group][country.code]), country, group)

    def _phone(self, claim: Claim) -> bytes:
        """The number's spelling: three in four times a common one, otherwise any that a reader at home understands."""
        forms = phone_forms(claim.country, claim.number)
        return forms[self._random.choice(_AT_HOME if self._random.random() < 0.75 else tuple(forms))]

    def _envelope(self) -> dict[str, Any]:
        draw = self._random.randrange
        headers = (("source", b"form-%d" % draw(90)), ("trace", None)) if self._made % 15 == 0 else ()
        return {"key": None if self._made % 20 == 0 else b"crm-%04d" % draw(4000), "headers": headers}

    def _body(self, country: DemoCountry, phone: bytes) -> bytes:
        """The members after the id, without the closing brace."""
        name = msgspec.json.encode(_QUOTED if self._made % 30 == 0 else self._random.choice(_NAMES))
        return b',"name":%b,"email":"lead%d@example.com","phone":%b,"country":"%b","score":%d' % (
            *(name, self._made, phone, country.code.encode(), self._random.randrange(100)),
        )

    def _lead(
        self,
        country: DemoCountry,
        phone: bytes,
        claim: Claim | None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> DemoLead:
        """A readable one whose number member is `phone`."""
        body = self._body(country, phone)
        for name, fact in facts.items():
            body += b',"%b":%b' % (name.encode(), msgspec.json.encode(fact))
        if self._made % 25 == 0:
            body += b" "
        return DemoLead(sent=body + b"}", claim=claim, facts=facts, **self._envelope())
