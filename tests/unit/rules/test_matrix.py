"""Every country, day of change, line, purpose, relation and channel: the verdict that the table of the law says."""

import json
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, product
from math import ceil

import pytest

from stream_scrub.model import RegisterKind
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.machine.effort import ALL
from tests.support.oracles import matrix
from tests.support.oracles.matrix import Land, Planned

LANDS = matrix.lands()
BOOK = Rulebook.load()
TODAY = law.NOW.date()
WORDS = {"unnamed": ["zzz"], "mixed": ["survey", "insurance"]}
# Who holds the number, by what the table says of it.
HELD = {
    matrix.CONSENTED: "consent@acme",
    matrix.NOBODY: "consent",
    matrix.MESSAGES: "consent-sms@acme",
    matrix.TO_MACHINE: "consent-artificial@acme",
}
SINCE_OF = {"IT": "consent-since-rpo@acme", "BE": "consent-since-dncm@acme"}


def number_of(phone: str, place: int) -> int:
    """Another number of that line for each thing that registers may say."""
    return int(phone[1:]) // 100 * 100 + place


def index(land: Land, now: datetime, said: Sequence[frozenset[str]]):
    """The registers of a country on that day, with what they say of the numbers in their places."""
    age, late = (law.NOW - now) / timedelta(days=1), not said[0].isdisjoint({matrix.OLD, matrix.OLD_STATE})

    def register(name: str, words: set[str], days: int = 0, kind: RegisterKind = RegisterKind.ALLOW):
        held = [place for place, each in enumerate(said) if each & words]
        holding = [number_of(phone, place) for phone in land.numbers.values() for place in held]
        return law.register(name, holding, kind=kind, days_old=age + (days + 1 if days and late else 0))

    made = [register("internal", {matrix.OPPOSED}, kind=RegisterKind.DENY)]
    made += [register(name, {word}) for word, name in HELD.items()]
    if land.code in SINCE_OF:
        made.append(register(SINCE_OF[land.code], {matrix.SINCE}))
    for place, (name, days) in enumerate(land.listed.items()):
        if place:
            made.append(
                register(
                    name, {matrix.BY_STATE}, days if matrix.OLD_STATE in said[0] else 0, RegisterKind.DENY
                )
            )
            continue
        each = register(name, {matrix.LISTED}, days if matrix.OLD in said[0] else 0, RegisterKind.DENY)
        bought = "1999" if matrix.AREA in said[0] else land.areas
        made.append(replace(each, areas=(bought,)) if bought else each)
    for place, (name, days) in enumerate(land.clean.items()):
        own = f"{name}@acme" if name in {"rpo-clean", "tr-iys"} else name
        made.append(
            register(
                own, {matrix.CLEAN, matrix.OLD} if place else {matrix.CLEAN, matrix.OLD, matrix.ONE}, days
            )
        )
    return law.index(*made)


def prospect(number: int, call: Planned, day: date) -> bytes:
    """A prospect that describes such a call."""
    said: dict = {"phone": f"+{number}", "campaign": "acme", "purpose": WORDS.get(call.purpose, call.purpose)}
    said["channel"] = call.channel
    if call.said in matrix.TERMS:
        said["relation"] = {"kind": call.said, "since": str(ago(day, call.months))}
    said |= {"contract": True} if call.said == "contract" else {}
    said |= {"who": "company"} if call.said == matrix.COMPANY else {}
    said |= {"voice_kind": "artificial"} if call.said == matrix.MACHINE else {}
    return json.dumps(said).encode()


def ago(day: date, months: float) -> date:
    """The same day so many months ago; for a half, five weeks less than the next whole: no verdict is good for so long."""
    at = day.year * 12 + day.month - 1 - ceil(months)
    last = monthrange(at // 12, at % 12 + 1)[1]
    since = date(at // 12, at % 12 + 1, min(day.day, last))
    return since if months == int(months) else since + timedelta(weeks=5)


def days(land: Land) -> list[date]:
    """The day before and the day of each change, and today."""
    changes = {day for channel in land.since for day in land.changes(channel)}
    return sorted(changes | {day - timedelta(days=1) for day in changes} | {TODAY})


CALLS = list(matrix.calls())
EACH = 1 if ALL else 6  # else a sixth of the cells, others the next day
SCRUBBER = Scrubber(Terms(MEMBERS, stamp="header", default_campaign="house"), BOOK)


def differences(land: Land):
    """What differs from the table, how many cells there are, and the rows that decide some."""
    wrong, cells, used = [], 0, set()
    alike = groupby(sorted(matrix.numbers(land), key=by_registers), by_registers)
    groups = [list(group) for _, group in alike]
    for day, said in product(days(land), groups):
        now = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        asked = [
            each
            for each in product(land.numbers.items(), enumerate(said), CALLS)
            if each[0][0] != matrix.PREMIUM or not each[1][0]
        ][date.today().toordinal() % EACH :: EACH]
        prospects = [prospect(number_of(phone, at), call, day) for (_, phone), (at, _), call in asked]
        stamps = SCRUBBER.scrub(prospects, index(land, now, said), now).stamps
        for ((line, _), (_, number), call), stamp in zip(asked, map(json.loads, stamps), strict=True):
            verdict, until, row = land.verdict(day, line, number, call)
            cells += 1
            used.add(row)
            if (stamp["reason"], stamp.get("until")) != (verdict, until and str(until)):
                gave = f"{stamp['reason']} {stamp.get('until', '')}"
                wrong.append(f"{day} {line} {sorted(number)} {tuple(call)}: {verdict} {until}, gave {gave}")
    return wrong, cells, used


def by_registers(number: frozenset[str]) -> list[bool]:
    """Which registers there must be, whatever they hold."""
    return [matrix.OLD in number, matrix.OLD_STATE in number, matrix.AREA in number]


@pytest.mark.parametrize("code", LANDS)
def test_every_verdict_is_the_one_of_the_table(code):
    """Somebody whom the law protects on that day, on that line, from that call would be called, or a lead be lost."""
    wrong, cells, used = differences(LANDS[code])
    assert cells > 3_000 / EACH
    assert not wrong, f"{len(wrong)} of {cells}:\n" + "\n".join(wrong[:20])
    if EACH == 1:
        assert [row for row in LANDS[code].rows if row not in used] == [], "rows that decide nothing"


def test_the_table_has_every_country_and_change():
    """A rule could change, or a country come, that no lawyer read."""
    assert set(LANDS) == set(BOOK.countries)
    for code, land in LANDS.items():
        for channel in BOOK.countries[code].channels:
            assert land.changes(channel) == [rule.start for rule in BOOK.countries[code].of(channel)], (
                code,
                channel,
            )
        assert set(land.since) == set(BOOK.countries[code].channels)


def test_every_row_has_its_source():
    """A verdict would rest on nobody knows what."""
    for land in LANDS.values():
        assert land.not_modelled
        assert all(row.law and row.source for row in land.rows), land.name
