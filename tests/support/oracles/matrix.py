"""Reads tests/golden/rules/matrix.toml: what its rows say of a number and a call on a day."""

import tomllib
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parents[2] / "golden" / "rules" / "matrix.toml"
ALLOWED = {"clear", "consented", "contract", "exempt"}
VOICE, SMS, MACHINE, COMPANY, CONSUMER = "voice", "sms", "machine", "company", "consumer"
ANY, PREMIUM = "any", "premium"
TO_MACHINE = "consented to a machine"
OPPOSED, LISTED, CLEAN, ONE, OLD, AREA = (
    "opposed",
    "listed",
    "clean",
    "clean of one",
    "old",
    "area not bought",
)
BY_STATE, OLD_STATE = "listed by the state", "old list of the state"
BOUND = "bound"
CONSENTED, NOBODY, SINCE, MESSAGES = "consented", "consented to nobody", "consented since", "messages"
PURPOSES = (
    *("other", "insurance", "unnamed", "mixed", "press", "newspapers", "charity", "associations", "survey"),
    *("politics", "energy-renovation", "renewable-energy", "home-adaptation", "electricity", "gas"),
    *("training-account", "claims-management", "pensions", "funeral-plans", "investments", "mortgages"),
    *("gambling", "lottery", "office-supplies"),
)
TERMS = {"purchase": (6, 12, 18, 36), "inquiry": (3, 6)}  # in months


class Planned(NamedTuple):
    """A call: its purpose, and what else is said of it."""

    purpose: str
    said: str = ""  # contract, company, machine, or a relation
    months: float = 0  # how long ago the relation was; a half: five weeks less than the next whole
    channel: str = VOICE

    def is_a(self, word: str) -> bool:
        """Whether one word of a row fits."""
        if word.startswith("not "):
            return not self.is_a(word[4:])
        relation, _, term = word.partition(" ")
        if relation in TERMS:
            return self.said == relation and self.months < int(term)
        if word == CONSUMER:
            return self.said != COMPANY
        return word in (self.purpose, self.said, self.channel)


class Row(NamedTuple):
    """A row: verdict and days for the numbers and calls that fit."""

    first: date
    last: date
    line: str
    number: str
    call: str
    verdict: str
    days: int | None  # for which the verdict is good; None for no limit
    law: str
    source: str

    @classmethod
    def of(cls, text: str) -> "Row":
        """The row in a line of the table."""
        days, line, number, call, verdict, valid, law, source = (cell.strip() for cell in text.split("|"))
        first, last = days.split("..")
        good = int(valid) if valid.isdigit() else None
        until = date.fromisoformat(last) if last else date.max
        return cls(date.fromisoformat(first), until, line, number, call, verdict, good, law, source)

    @property
    def channel(self) -> str:
        """The channel of the calls that the row is for."""
        return _channel(self.call)

    def fits(self, day: date, line: str, number: frozenset[str], call: Planned) -> bool:
        """Whether the row is for that number and call on that day."""
        return (
            self.first <= day <= self.last
            and self.line in (ANY, line)
            and call.channel == self.channel
            and any(ways <= number for ways in _ways(self.number))
            and any(all(map(call.is_a, words)) for words in _ways(self.call))
        )


@cache
def _channel(call: str) -> str:
    return SMS if SMS in call.split(" + ") or call.startswith(SMS) else VOICE


@cache
def _ways(cell: str) -> list[frozenset[str]]:
    """The alternatives of a cell, each as what must all be so."""
    ways = [frozenset(way.split(" + ")) - {ANY} for way in cell.split(", ")]
    return [
        one
        for way in ways
        for one in (
            [way - {BOUND} | {each} for each in (LISTED, BY_STATE, OLD, OLD_STATE, AREA)]
            if BOUND in way
            else [way]
        )
    ]


class Land:
    """One country of the table."""

    def __init__(self, code: str, table: dict, country: "Land | None" = None) -> None:
        self.code = code
        self.country = country  # of a state
        self.name: str = table["name"]
        self.numbers: dict[str, str] = table["numbers"]
        self.since: dict[str, date] = table["since"]
        self.listed: dict[str, int] = table.get("listed", {})
        self.clean: dict[str, int] = table.get("clean", {})
        self.areas: str = table.get("areas", "")
        self.machines: str = table.get("machines", "")  # never: none may speak
        self.not_modelled: list[str] = table["not_modelled"]
        self.rows = [Row.of(line) for line in table["rows"].strip().splitlines()]
        self._changes: dict[str, list[date]] = {}

    def changes(self, channel: str) -> list[date]:
        """The days on which something changes for a channel."""
        if channel not in self._changes:
            rows = [row for row in self.rows if row.channel == channel]
            ends = {row.last + timedelta(days=1) for row in rows if row.last != date.max}
            self._changes[channel] = sorted({row.first for row in rows} | ends)
        return self._changes[channel]

    def verdict(
        self, day: date, line: str, number: frozenset[str], call: Planned
    ) -> tuple[str, date | None, Row | None]:
        """The verdict, its last day (None for no limit, or if it blocks), and the row that decides."""
        if OPPOSED in number:
            return OPPOSED, None, None
        since = self.since.get(call.channel)
        if (since is None or day < since) and self.country is not None:
            return self.country.verdict(day, line, number, call)
        if since is None or day < since:
            return "no-rule", None, None
        if line == PREMIUM:
            return "not-callable", None, None
        if call.said == MACHINE:
            return self._of_machine(day, line, number, call)
        row = next(row for row in self.rows if row.fits(day, line, number, call))
        if row.verdict not in ALLOWED:
            return row.verdict, None, row
        return row.verdict, self._until(day, row.days, call.channel), row

    def _of_machine(
        self, day: date, line: str, number: frozenset[str], call: Planned
    ) -> tuple[str, date | None, Row | None]:
        verdict, until, row = self.verdict(day, line, number, call._replace(said=""))
        if verdict not in ALLOWED:
            return verdict, until, row
        if TO_MACHINE not in number or self.machines:
            return "no-consent", None, row
        return "consented" if verdict == "clear" else verdict, self._until(day, 1, call.channel), row

    def _until(self, day: date, days: int | None, channel: str) -> date | None:
        ends = [change - timedelta(days=1) for change in self.changes(channel) if change > day][:1]
        return min([*ends, *([] if days is None else [day + timedelta(days=days)])], default=None)


def calls() -> Iterator[Planned]:
    """Every call that is tried."""
    for purpose in PURPOSES:
        yield from (Planned(purpose, said) for said in ("", "contract", COMPANY, MACHINE))
        yield Planned(purpose, channel=SMS)
    yield from (Planned("insurance", "purchase", ago) for ago in (1, 35.5, 36))
    for purpose in ("other", "charity"):
        for relation, terms in TERMS.items():
            lengths = [1, *(term - 0.5 for term in terms), *terms]
            yield from (Planned(purpose, relation, ago) for ago in lengths)
        yield from (Planned(purpose, said, channel=SMS) for said in ("contract", COMPANY))


def numbers(land: Land) -> Iterator[frozenset[str]]:
    """Everything that the registers of a country may say of a number."""
    lone = [
        set(),
        {OPPOSED},
        {CONSENTED},
        {NOBODY},
        {MESSAGES},
        {OPPOSED, CONSENTED},
        {TO_MACHINE},
        {CONSENTED, TO_MACHINE},
    ]
    if land.listed or land.clean:
        lone += [{OLD}, {OLD, CONSENTED}]
    if land.listed:
        lone += [{LISTED}, {LISTED, CONSENTED}, {LISTED, TO_MACHINE}]
    if len(land.listed) > 1:
        lone += [{BY_STATE}, {BY_STATE, CONSENTED}, {OLD_STATE}, {OLD_STATE, CONSENTED}]
    if land.clean:
        lone += [{CLEAN}, {CLEAN, TO_MACHINE}, {CLEAN, OPPOSED}]
    if len(land.clean) > 1:
        lone += [{ONE}]
    if land.areas:
        lone += [{AREA}, {AREA, CONSENTED}]
    if land.code == "IT":
        lone += [{SINCE}]
    if land.code == "BE":
        lone += [{LISTED, SINCE}, {OLD, SINCE}]
    return map(frozenset, lone)


def lands() -> dict[str, Land]:
    """The countries of the table, by code. A country is above its states."""
    table = tomllib.loads(TABLE.read_text("utf-8"))["country"]
    found: dict[str, Land] = {}
    for code, each in table.items():
        found[code] = Land(code, each, found.get(code.partition("-")[0]))
    return found
