"""Consents that name the caller, and registers that are handed out by area: what they lift, what they leave unknown."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.errors import StaleIndex
from stream_scrub.index import Numbers
from stream_scrub.model import Reason
from stream_scrub.numbering import Line
from stream_scrub.scrub import plans
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decide import Finding, is_barred
from stream_scrub.scrub.facts import NO_FACTS, Facts
from stream_scrub.scrub.plans import Areas
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

NUMBER, SAME_AREA, ELSEWHERE = 12125550123, 12125550199, 13055550100
LINE = Line.of("US", "fixed_line_or_mobile")
ACME = Facts(campaigns=("acme",))
RULE = """country = "US"
regions = ["US"]
timezone = "America/New_York"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["list", "internal"]
lifted_by = ["contract"]
named_consents = ["consent"]
max_age_days = { list = 30, consent = 10, internal = 50 }
areas = { list = 4 }
"""
OPT_IN = RULE + 'require = ["washed"]\n'
STALE = Reason.STALE_REGISTER
UNKNOWN = Finding(STALE, ("list",), lasting=True)
covering = law.register("list", [SAME_AREA])
listed = law.register("list", [NUMBER])
consent = law.allow("consent@acme", [NUMBER])


def found(registers, told=NO_FACTS, text=RULE, number=NUMBER):
    rule = law.rulebook(text).rule("US", law.NOW)
    plan = plans.plan_for(LINE, is_barred(number, rule), rule, told, law.index(*registers), law.NOW)
    return plan.verdict_for({r.name for r in plan.registers if number in r.numbers})._replace(last=None)


@pytest.mark.parametrize(
    ("registers", "told", "expected"),
    [
        # a consent that names the caller lifts the list, for that caller
        ([listed, consent], ACME, Finding(Reason.CONSENTED)),
        ([covering, consent], ACME, Finding(Reason.CLEAR)),
        ([listed, consent], NO_FACTS, Finding(Reason.OPPOSED, ("list",))),
        ([listed, consent], Facts(campaigns=("other",)), Finding(Reason.OPPOSED, ("list",))),
        ([listed, consent], Facts(campaigns=("acme", "other")), Finding(Reason.OPPOSED, ("list",))),
        ([listed, law.allow("consent", [NUMBER])], ACME, Finding(Reason.OPPOSED, ("list",))),
        ([listed, law.allow("consent@acme", [SAME_AREA])], ACME, Finding(Reason.OPPOSED, ("list",))),
        # one that is too old, or of the wrong kind, lifts nothing and stops nobody
        ([listed, law.allow("consent@acme", [NUMBER], 11)], ACME, Finding(Reason.OPPOSED, ("list",))),
        ([listed, law.register("consent@acme", [NUMBER])], ACME, Finding(Reason.OPPOSED, ("list",))),
        # the company's own opposition stands above it, and so does its age
        (
            [listed, consent, law.register("internal", [NUMBER])],
            ACME,
            Finding(Reason.OPPOSED, ("internal", "list")),
        ),
        ([listed, consent, law.register("internal", days_old=51)], ACME, Finding(STALE, ("internal",))),
        # a list that is missing or too old is not needed where the person consented
        ([consent], ACME, Finding(Reason.CONSENTED)),
        ([law.register("list", [NUMBER], days_old=31), consent], ACME, Finding(Reason.CONSENTED)),
        # an area of which the list holds no number
        ([law.register("list")], NO_FACTS, UNKNOWN),
        ([law.register("list", [ELSEWHERE]), consent], ACME, Finding(Reason.CONSENTED)),
        ([law.register("list", [ELSEWHERE])], Facts(contract=True), Finding(Reason.CONTRACT)),
        ([law.register("list"), law.register("list@acme", [SAME_AREA])], ACME, Finding(Reason.CLEAR)),
        ([law.register("list"), law.register("list@acme", [SAME_AREA])], NO_FACTS, UNKNOWN),
        # both at once: a fresh list would tell
        ([law.register("list", [ELSEWHERE], days_old=31)], NO_FACTS, Finding(STALE, ("list",))),
    ],
)
def test_what_lifts_a_list_and_what_it_leaves_unknown(registers, told, expected):
    """A person on a list would be called on the strength of a consent to somebody else, or of a list never had."""
    assert found(registers, told) == expected


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        ([listed, consent, law.allow("washed", [NUMBER])], Finding(Reason.CONSENTED)),
        ([listed, consent, law.allow("washed")], Finding(Reason.NO_CONSENT)),
        ([listed, consent], Finding(STALE, ("washed",))),
        ([law.register("list", [ELSEWHERE]), law.allow("washed")], Finding(Reason.NO_CONSENT)),
    ],
)
def test_a_named_consent_does_not_stand_in_for_what_is_required(registers, expected):
    """A consent that lifts one list would pass for every other thing that the law asks."""
    assert found(registers, ACME, OPT_IN) == expected


def test_every_way_to_be_allowed_was_meant():
    """Some combination of lists, consents and areas that nobody thought of would let a call through."""
    places = product(
        ("no", "in", "old", "missing"), ("no", "in", "old"), (False, True), (False, True), (False, True)
    )
    for held, named, covered, own, contract in places:
        registers = [law.register("internal", [NUMBER] if own else [])]
        if held != "missing":
            numbers = [NUMBER] * (held == "in") + [SAME_AREA] * covered + [ELSEWHERE]
            registers.append(law.register("list", numbers, days_old=31 if held == "old" else 1))
        registers.append(law.allow("consent@acme", [NUMBER] * (named != "no"), 11 if named == "old" else 1))
        allowed = found(registers, ACME._replace(contract=contract)).reason.verdict == "allowed"
        sure = held == "no" and covered
        assert allowed == (not own and (sure or named == "in" or contract)), (
            held,
            named,
            covered,
            own,
            contract,
        )


NUMBERS = st.one_of(
    st.integers(10_000_000_000, 19_999_999_999),
    st.integers(1_000_000, 999_999_999_999_999),
    st.sampled_from([12120000000, 12129999999, 12130000000, 12119999999, 1212000, 121299999999999]),
)


@given(st.lists(NUMBERS, max_size=20), st.lists(NUMBERS, min_size=1, max_size=30), st.integers(2, 7))
def test_an_area_is_covered_when_its_register_holds_a_number_of_it(members, asked, digits):
    """A number at the edge of an area would count as looked up though its area never was."""
    halves = members[::2], members[1::2]
    areas = Areas.of([law.register("list", halves[0]), law.register("list@acme", halves[1])], digits)
    texts = {str(member)[:digits] for member in members}
    expected = [str(number)[:digits] in texts for number in asked]
    assert [number in areas.numbers for number in asked] == expected
    array: Numbers = np.array(asked, np.uint64)
    assert areas.holds(array).tolist() == expected and array.tolist() == asked
    assert areas.filter.perhaps(array).all()


def test_what_one_campaigns_own_list_covers_opens_no_area_to_another():
    """A number that nobody looked up would be called because of who stands beside it in the batch."""
    index = law.index(law.register("list", [ELSEWHERE]), law.register("list@acme", [SAME_AREA]))
    values = [
        json.dumps({"phone": f"+{NUMBER}", "campaign": campaign}).encode() for campaign in ("acme", "beta")
    ]
    by = Scrubber(Terms(MEMBERS, stamp="header"), law.rulebook(RULE))
    stamps = by.scrub(values, index, law.NOW).stamps

    assert stamps == [by.scrub([value], index, law.NOW).stamps[0] for value in values]
    assert [json.loads(stamp)["reason"] for stamp in stamps] == ["clear", "stale-register"]


def test_a_batch_and_a_single_prospect_get_the_same():
    """The quick way would call where the strict way blocks."""
    registers = [covering, law.register("us", [ELSEWHERE])]
    index = law.index(*registers, consent, law.register("internal"))
    scrubber = Scrubber(Terms(MEMBERS, stamp="header", stale="block"), law.rulebook(RULE))
    phones = [f"+{number}" for number in (NUMBER, SAME_AREA, ELSEWHERE, 12125550124, 19075550123)]
    plain = [b'{"phone":"%s"}' % phone.encode() for phone in phones] * 40
    strict = [b'{"phone":["%s"]}' % phone.encode() for phone in phones] * 40
    quick, slow = (scrubber.scrub(values, index, law.NOW) for values in (plain, strict))
    assert quick.stamps == slow.stamps and quick.tally == slow.tally
    assert quick.tally == {Reason.CLEAR: 80, Reason.OPPOSED: 40, STALE: 80}


@pytest.mark.parametrize("value", [b'{"phone":"+13055550100"}', b'{"phone":["+13055550100"]}'])
def test_a_number_of_an_area_that_was_not_bought_is_blocked_and_holds_nobody(value):
    """One such lead would stop a country's leads for ever, since no fresh list can speak of that area."""
    by = Scrubber(Terms(MEMBERS, stamp="header", stale="hold"), law.rulebook(RULE))
    batch = by.scrub([value], law.index(covering), law.NOW)
    assert (batch.allowed, dict(+batch.tally)) == ([False], {Reason.STALE_REGISTER: 1})
    with pytest.raises(StaleIndex):
        by.scrub([value], law.index(law.register("list", [SAME_AREA], days_old=32)), law.NOW)
