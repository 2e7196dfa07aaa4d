"""The demo's truth: what it believes of a number is what phonenumbers says of its every spelling."""

import json
import random
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import pytest

from stream_scrub.demo.leads import (
    COUNTRIES,
    Crowd,
    LeadMaker,
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


def test_an_unreadable_lead_is_no_json(leads):
    """The checker would ask a worker to refuse a prospect that every dialler can read."""
    unreadable = [lead.value(7) for lead in leads if not lead.readable]
    assert len({*unreadable}) > 20
    for value in unreadable:
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(value)
