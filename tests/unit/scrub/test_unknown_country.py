"""A country that the product does not know is not taken for the default region."""

import json

import pytest

from tests.support.fakes import law
from tests.support.fakes.scrubbers import scrub, scrubber

pytestmark = pytest.mark.usefixtures("hand")

DUTCH = 31660869198


def judged(country, *, phone="0660869198"):
    value = json.dumps({"phone": phone, "country": country}).encode()
    return scrub(value, scrubber(), law.index(law.register("list"), law.register("internal", [DUTCH])))


@pytest.mark.parametrize("country", ["nl-NL", "nl_NL", "NL", "Nederland (NL)", "(NL)", " nld ", "+31"])
def test_an_opposed_person_is_found_whatever_names_the_country(country):
    """A Dutch person who objected would be called under a French number."""
    out = judged(country)

    assert (out.allowed, out.reason, out.stamp.get("number")) == (False, "opposed", f"+{DUTCH}")


@pytest.mark.parametrize(
    "country", ["31", "XX", "Narnia", "DE-BE", 31, 0, False, ["NL"], {"code": "NL"}, "n/a", "x" * 500]
)
def test_an_unknown_country_blocks_the_prospect(country):
    """A person of another country would be called under a number of the default region."""
    for phone in ("0660869198", "+31660869198", ["0660869198", "0612345678"], None):
        out = judged(country, phone=phone)

        assert (out.allowed, out.reason) == (False, "unknown-country")
        assert not {"number", "numbers", "rules"} & {*out.stamp}


@pytest.mark.parametrize("country", [None, "", "  "])
def test_a_missing_country_means_the_default_region(country):
    """Leads of the operator's own country would be lost."""
    out = judged(country)

    assert (out.allowed, out.stamp["number"]) == (True, "+33660869198")
