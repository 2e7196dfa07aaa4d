"""The operator's own campaign: who calls where nobody is named, and to whom consents are that name nobody."""

import json

from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

RULE = """country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "an opt-in law made for the tests"
deny = ["internal"]
require_named = ["consent"]
"""
BOOK = law.rulebook(RULE)
NUMBER, OTHER = 33612345678, 33612345679


def reasons(*facts, held, house="acme"):
    """Why each prospect comes out as it does, all in one batch."""
    terms = Terms(MEMBERS, stamp="header", default_purpose="other", default_campaign=house)
    registers = [
        law.register(name, numbers) if name.startswith("internal") else law.allow(name, numbers)
        for name, numbers in held.items()
    ]
    values = [json.dumps({"phone": f"+{NUMBER}", **each}).encode() for each in facts]
    made = Scrubber(terms, BOOK).scrub(values, law.index(*registers), law.NOW)
    return [json.loads(stamp)["reason"] for stamp in made.stamps]


def test_each_prospect_of_a_batch_has_its_own_callers_consents(hand):
    """One lead of the house in a batch would let all clients' leads of that batch be called, or block them all."""
    facts = [
        {},
        {"campaign": "Acme"},
        {"campaign": "other"},
        {"campaign": ["acme", "other"]},
        {"campaign": None},
    ]
    facts += [{"campaign": {}}, {"campaign": ["acme", {}]}, {"campaign": "  "}, {"campaign": []}]
    of_house, of_none = "consented", "no-consent"

    found = reasons(*facts * 3, held={"consent": [NUMBER]})

    assert found == [of_house, of_house, of_none, of_none, of_house, of_none, of_none, of_house, of_house] * 3


def test_what_was_never_kept_is_missing_and_what_others_keep_is_not():
    """A lead would wait for a list that comes never, or be given up before the list is imported."""
    facts = ({}, {"campaign": "acme"}, {"campaign": "other"})
    assert reasons(*facts, held={}) == ["stale-register"] * 3
    assert reasons(*facts, held={}, house="") == ["stale-register"] * 3
    assert reasons(*facts, held={"consent@third": [OTHER]}) == ["no-consent"] * 3
    assert reasons(*facts, held={"consent": []}) == ["no-consent"] * 3


def test_who_opposed_to_a_client_may_be_called_by_the_house():
    """A house with a name would be stopped by every opposition to anybody."""
    held = {"consent": [NUMBER], "internal@other": [NUMBER]}
    assert reasons({}, {"campaign": "other"}, held=held) == ["consented", "opposed"]
    assert reasons({}, held=held, house="") == ["opposed"]
