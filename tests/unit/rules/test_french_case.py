"""100 000 French leads of 2016 in ten groups, under the law of five days: how many of each may be called."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.stamp import decode
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

BOOK = Rulebook.load()
EACH = 10_000
# What the leads of each group say, besides their campaign; and the registers that hold their numbers. `listed` are on
# the national list: in Pacitel, and no answer of Bloctel finds them clean.
GROUPS = {
    "listed": ({}, "listed"),
    "clean": ({}, "clean"),
    "opposed to the caller": ({}, "clean internal"),
    "customers": ({"contract": True}, "listed"),
    "press": ({"purpose": "press"}, "listed"),
    "companies": ({"who": "company"}, "listed"),
    "surveys": ({"purpose": "survey"}, "listed"),
    "renovation": ({"purpose": "insulation"}, "clean"),
    "training accounts": ({"purpose": "cpf"}, "clean"),
    "consenting": ({}, "listed consent@acme"),
}
REGISTERS = {"listed": "pacitel", "clean": "bloctel-clean"}
NUMBERS = {
    name: range(33_612_000_000 + at * EACH, 33_612_000_000 + (at + 1) * EACH)
    for at, name in enumerate(GROUPS)
}


def index(now: datetime):
    age = (law.NOW - now) / timedelta(days=1)
    held: dict[str, list[int]] = {}
    for name, (_, registers) in GROUPS.items():
        for register in registers.split():
            held.setdefault(REGISTERS.get(register, register), []).extend(NUMBERS[name])
    denying = {"internal", "pacitel"}
    return law.index(
        *(
            law.register(name, numbers, days_old=age)
            if name in denying
            else law.allow(name, numbers, days_old=age)
            for name, numbers in held.items()
        )
    )


@pytest.mark.parametrize(
    ("day", "lawful"),
    [
        # Pacitel: customers are left out of it, and nobody else
        ("2015-06-01", "clean, customers, renovation, training accounts"),
        # Pacitel had closed and Bloctel had not opened: only an objection to the caller counts
        ("2016-03-01", ", ".join(name for name in GROUPS if name != "opposed to the caller")),
        # Bloctel: who comes back clean, customers, the press, companies, and what sells nothing
        ("2018-03-15", "clean, customers, press, companies, surveys, renovation, training accounts"),
        # renovation is banned since 2020-07-26, the training account since 2022-12-21
        ("2026-08-10", "clean, customers, press, companies, surveys"),
        # consent: an answer of Bloctel helps nobody any more; the press stays exempt
        ("2026-12-01", "customers, press, companies, surveys, consenting"),
    ],
)
def test_so_many_of_each_group_may_be_called(day, lawful):
    """A caller of 2016 would call people whom the law of the day protects, or lose leads that may be called."""
    now = datetime.fromisoformat(f"{day}T12:00:00+00:00").astimezone(UTC)
    scrubber = Scrubber(Terms(MEMBERS, stamp="header", default_purpose="insurance"), BOOK)
    held = index(now)
    allowed: Counter[str] = Counter()
    for name, (said, _) in GROUPS.items():
        leads = [
            json.dumps({"phone": f"+{number}", "campaign": "acme", **said}).encode()
            for number in NUMBERS[name]
        ]
        allowed[name] = sum(decode(stamp).allowed for stamp in scrubber.scrub(leads, held, now).stamps)

    assert allowed == dict.fromkeys(GROUPS, 0) | dict.fromkeys(lawful.split(", "), EACH)
