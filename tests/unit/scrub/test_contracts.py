"""What is a contract: `true`, an identifier of a declared shape, or an object with its last day; and nothing else."""

import json
from datetime import date

import pytest

from stream_scrub.scrub.facts import contract_of
from tests.support.fakes.scrubbers import scrub, scrubber

SHAPES = ("C-#+", "FR##", "K?+-#")


@pytest.mark.parametrize("member", [True, "true", " TRUE ", "C-1", "c-42 ", "FR07", "KabC9-3"])
def test_what_is_a_contract(member):
    """A client who may be called would be lost."""
    assert contract_of(member, SHAPES) is True


@pytest.mark.parametrize(
    "member",
    [
        *("résilié", "expired", "aucun contrat", "0.0", "2019-01-01", "yes", "1", "", "non", "null"),
        *("C-", "C-42x", "FR007", "C-٣"),
        *(False, None, 0, 1, 42, 1.5, [], [True], ["C-1"], {}, {"id": "C-1"}, "C-" + "1" * 70, 10**90),
    ],
)
def test_anything_else_is_none(member):
    """A CRM that writes "expired" would lift the law for everybody in it."""
    assert contract_of(member, SHAPES) is False
    assert contract_of(member) is False


def test_no_identifier_is_a_contract_unless_its_shape_is_declared():
    """Whatever stands in the member would lift the law, as it did."""
    assert contract_of("C-42") is False and contract_of(42, ["#+"]) is True
    assert contract_of("0", ["#+"]) is False and contract_of("000", ["###"]) is False
    assert contract_of("a+b1", ["a+b#"]) is True and contract_of("aab1", ["a+b#"]) is False


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ({"until": "2027-03-31"}, date(2027, 3, 31)),
        ({"id": 7, "until": "2027-03-31"}, date(2027, 3, 31)),
        *(
            ({"until": odd}, False)
            for odd in ("2027-02-30", "20270331", "never", "", 2027, None, True, "2027-W12-3")
        ),
        ({"UNTIL": "2027-03-31"}, False),
        ({"until": "2027-03-31", "Until": "2020-01-01"}, False),
    ],
)
def test_an_object_says_the_last_day(member, found):
    """A contract that has ended would lift the law for ever."""
    assert contract_of(member) == found


@pytest.mark.parametrize(
    ("contract", "reason", "until"),
    [
        ('{"until":"2026-11-30"}', "contract", "2026-11-30"),
        ('{"until":"2026-11-24"}', "contract", "2026-11-24"),
        ('{"until":"2030-01-01"}', "contract", "2026-12-22"),
        ('{"until":"2026-11-23"}', "opposed", None),
        ('{"until":"2026-11-23","until":"2030-01-01"}', "opposed", None),
        ('{"unt\\u0069l":"2026-11-30"}', "contract", "2026-11-30"),
        ('"C-42"', "contract", "2026-12-22"),
        ('"expired"', "opposed", None),
    ],
)
def test_a_verdict_ends_with_the_contract_that_it_rests_on(hand, contract, reason, until):
    """A customer of yesterday would be dialled as one of today."""
    by = scrubber(contract_shapes=("C-#+",))
    out = scrub(b'{"phone":"0612345678","contract":%s}' % contract.encode(), by)
    assert (out.reason, out.stamp.get("until")) == (reason, until)
    assert json.loads(out.value)["phone"] == "0612345678"
