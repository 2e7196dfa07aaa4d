"""The demo's truth: what it believes of a number is what phonenumbers says of its every spelling."""

import json
import random
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import phonenumbers
import pytest

from stream_scrub.demo.leads import (
    COUNTRIES,
    HOME,
    Crowd,
    LeadMaker,
    phone_forms,
    write_list,
)
from stream_scrub.demo.oracle import expected
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

INTERNAL = 5_000


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd.draw(INTERNAL, np.random.default_rng(11))


@pytest.mark.parametrize("country", [c for c in COUNTRIES if c.law], ids=lambda c: c.code)
def test_the_bans_that_it_believes_in_are_those_of_today(country, leads):
    """A newcomer's first minute would end with NOT ok, because a law was changed and the demo was not told."""
    rule = Rulebook.load().rule(country.code, datetime.now(UTC))
    said = {lead.facts["purpose"] for lead in leads if "purpose" in lead.facts}
    assert said & rule.banned == said & country.law.banned
    assert not rule.require_named_for, "the demo's leads name no campaign"


@pytest.fixture(scope="module")
def leads(crowd):
    return LeadMaker(crowd, random.Random(12)).make(6_000)


def test_the_verdicts_that_it_believes_in_are_those_of_today(crowd, leads):
    """A newcomer's first minute would end with NOT ok for what the demo takes to be the law, with one lead in thousands."""
    registers = [
        (law.allow if name in {"consent", "rpo-clean"} else law.register)(
            name, chain.from_iterable(held.values())
        )
        for name, held in crowd.registers().items()
    ]
    terms = Terms(
        MEMBERS,
        default_purpose="other",
        default_campaign="demo",
        contract_shapes=("C-#+",),
        stamp="header",
    )
    judged = [lead for lead in leads if lead.claim is not None and lead.claim.country.code != "US"]  # by area
    made = Scrubber(terms, Rulebook.load()).scrub(
        [lead.value(1) for lead in judged], law.index(*registers), law.NOW
    )
    for lead, stamp in zip(judged, map(json.loads, made.stamps), strict=True):
        must = expected(lead, after=False)
        assert (stamp["verdict"], stamp["reason"]) == (must.verdict, must.reason), lead


def read(text: str, region: str) -> int | None:
    """The reference's reading: the number's E.164 digits, None unless it is valid."""
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return int(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:])


def some(crowd: Crowd, code: str, count: int = 25) -> list[int]:
    groups = (crowd.fresh, crowd.listed, crowd.consented, crowd.opposed, crowd.swing)
    return [number for group in groups for number in group[code][: count // 5 + 1]]


@pytest.mark.parametrize("country", COUNTRIES, ids=lambda c: c.code)
def test_every_spelling_is_read_as_the_number_that_was_drawn(crowd, country):
    """The demo would blame the worker for a verdict on a number that its own spelling had changed."""
    for number in some(crowd, country.code):
        for name, form in phone_forms(country, number).items():
            member = json.loads(form)
            assert read(str(member), country.code) == number, (name, form)
        assert phonenumbers.region_code_for_number(phonenumbers.parse(f"+{number}")) == country.code


def test_a_list_holds_exactly_its_numbers_for_a_reader_at_home(crowd, tmp_path):
    """The registers would hold others than those that the checker takes for opposed."""
    held = crowd.registers()["internal"]
    made = write_list(tmp_path / "internal.csv", held)
    header, *lines = made.path.read_text().splitlines()
    found = [read(line, HOME) for line in lines]

    assert header == "phone"
    assert made.bad == found.count(None) == len(lines) // 2000 > 0
    assert {n for n in found if n is not None} == {n for numbers in held.values() for n in numbers}
    assert made.numbers == len(lines) - made.bad == INTERNAL


def test_who_opts_out_midway_could_be_called_before(crowd):
    """That the delta is enforced could not be seen on numbers that were blocked anyway."""
    registers = crowd.registers()

    for country in COUNTRIES:
        swing = set(crowd.swing[country.code])
        if country.law is None:
            continue
        law = country.law
        assert not law.consent or swing <= set(registers[law.consent][country.code])
        assert not swing & set(registers["internal"][country.code])
        assert not law.deny or not swing & set(registers[law.deny][country.code])


def test_a_readable_lead_claims_what_a_reader_finds_in_it(leads):
    """The checker would expect the verdict on another number than the prospect's."""
    readable = [lead for lead in leads if lead.readable]
    assert len(readable) > 5_000
    for lead in readable:
        prospect = json.loads(lead.value(7))
        phone = prospect["phone"]
        is_typed = isinstance(phone, str | int) and not isinstance(phone, bool)
        found = read(str(phone), prospect["country"]) if is_typed else None
        assert prospect["id"] == 7
        assert found == (lead.claim and lead.claim.number)
        assert lead.facts == {name: prospect[name] for name in ("purpose", "contract") if name in prospect}


def test_what_must_come_out_is_what_was_sent_but_for_the_stamp(leads):
    """The checker would call an honest worker's bytes changed."""
    for lead in (lead for lead in leads if lead.readable):
        sent = json.loads(lead.value(7))
        out = json.loads(b'%b,"scrub":{}}' % lead.value(7)[:-1])
        assert out.pop("scrub") == {}
        assert out == sent
        assert list(out) == list(sent)
        assert all(name != "scrub" for name, _ in lead.headers)


def test_an_unreadable_lead_is_no_json(leads):
    """The checker would ask a worker to refuse a prospect that every dialler can read."""
    unreadable = [lead.value(7) for lead in leads if not lead.readable]
    assert len({*unreadable}) > 20
    for value in unreadable:
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(value)
