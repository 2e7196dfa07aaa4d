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
from stream_scrub.scrub.plans import Areas
from tests.support.fakes import law
from tests.support.fakes.scrubbers import scrub, scrubber

NUMBER, SAME_AREA, ELSEWHERE = 12125550123, 12125550199, 13055550100
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
covering = law.register("list", [SAME_AREA])


def reason_of(registers, *, contract=False):
    value = json.dumps({"phone": f"+{NUMBER}", "campaign": "acme", "contract": contract}).encode()
    return scrub(value, scrubber(RULE), law.index(*registers)).reason


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
        allowed = reason_of(registers, contract=contract) in ("clear", "consented", "contract")
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
    by = scrubber(RULE, stamp="header")
    stamps = by.scrub(values, index, law.NOW).stamps

    assert stamps == [by.scrub([value], index, law.NOW).stamps[0] for value in values]
    assert [json.loads(stamp)["reason"] for stamp in stamps] == ["clear", "stale-register"]


@pytest.mark.parametrize("value", [b'{"phone":"+13055550100"}', b'{"phone":["+13055550100"]}'])
def test_a_number_of_an_area_that_was_not_bought_is_blocked_and_holds_nobody(value):
    """One such lead would stop a country's leads for ever, since no fresh list can speak of that area."""
    by = scrubber(RULE, stamp="header", stale="hold")
    batch = by.scrub([value], law.index(covering), law.NOW)
    assert (batch.allowed, dict(+batch.tally)) == ([False], {Reason.STALE_REGISTER: 1})
    with pytest.raises(StaleIndex):
        by.scrub([value], law.index(law.register("list", [SAME_AREA], days_old=32)), law.NOW)
