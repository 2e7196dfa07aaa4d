"""What a prospect states about itself lifts what the rule says, and no more, and ends with it."""

import json

import msgspec
import pytest

from stream_scrub.model import Reason
from stream_scrub.scrub.facts import facts_of, relation_of
from tests.support.fakes import law
from tests.support.fakes.scrubbers import CONSENTING, NUMBER, scrub, scrubber

SAYS = 'source = "an article"'
RULE = (
    'country = "FR"\nregions = ["FR", "RE"]\ntimezone = "Europe/Paris"\n[[rule]]\nfrom = 2020-01-01\n'
    'source = "a law made for the tests"\ndeny = ["list", "internal"]\nrequire = ["consent"]\n'
    'named_consents = ["signed"]\nmax_age_days = { list = 30 }\nvalid_days = 28\n'
    'banned_purposes = ["gambling"]\nbanned_without_consent = ["pensions"]\nexempt = [\n'
    f'{{ relation = "purchase", months = 12, {SAYS} }},\n'
    f'{{ relation = "inquiry", months = 3, lifts = ["require"], {SAYS} }},\n'
    f'{{ contract = true, purposes = ["press"], {SAYS} }},\n'
    f'{{ purposes = ["charity"], lifts = ["deny"], {SAYS} }},\n'
    f'{{ who = "company", bans = ["gambling"], {SAYS} }},\n]\n'
)
OTHER = 33611111111
LIST, INTERNAL = law.register("list", [NUMBER]), law.register("internal", [33600000001])
INDEX = law.index(LIST, INTERNAL, law.allow("consent", [CONSENTING]), law.allow("signed@acme", [OTHER]))
BOUGHT = {"kind": "purchase", "since": "2026-01-01"}
ASKED = {"kind": "inquiry", "since": "2026-11-01"}


def stamped(number, index=INDEX, **members):
    value = json.dumps({"phone": f"+{number}", "purpose": "other", **members}).encode()
    return scrub(value, scrubber(RULE), index).stamp


def test_who_is_a_company_or_has_a_contract_with_an_end():
    """A call that the law exempts would be lost, or be made after the contract ended."""
    press = {"purpose": "press", "contract": {"until": "2026-11-30"}}
    assert stamped(OTHER, **press)["until"] == "2026-11-30"
    assert stamped(OTHER, **{**press, "purpose": ["press", "insurance"]})["reason"] == Reason.NO_CONSENT
    for who, reason in (("Company", Reason.EXEMPT), (["company"], Reason.OPPOSED)):
        assert stamped(NUMBER, who=who)["reason"] == reason
    # Of two exemptions the one counts that lifts more.
    assert stamped(NUMBER, who="company", purpose="charity")["reason"] == Reason.EXEMPT
    # The ban on gambling is lifted for companies only, and the company's own list for nobody.
    assert stamped(OTHER, who="company", purpose="gambling")["reason"] == Reason.EXEMPT
    assert stamped(OTHER, relation=BOUGHT, purpose="gambling")["reason"] == Reason.BANNED_PURPOSE
    assert stamped(OTHER, who="company", purpose="zzz")["reason"] == Reason.UNKNOWN_PURPOSE
    assert stamped(33600000001, who="company", relation=BOUGHT)["reason"] == Reason.OPPOSED


def test_a_consent_to_the_caller_lifts_its_ban_and_ends_it():
    """A ban would be lifted by whatever else the prospect says, or a consent that is withdrawn be used for weeks."""
    consent = law.register("consent", [OTHER], kind=law.RegisterKind.ALLOW)
    signed = law.register("signed@acme", [OTHER], kind=law.RegisterKind.ALLOW, ends=law.date(2026, 11, 30))
    index = law.index(law.register("list", [OTHER]), INTERNAL, consent, signed)
    said = {"campaign": "acme", "purpose": "pensions"}
    stamp = stamped(OTHER, index, **said)
    assert (stamp["reason"], stamp["until"]) == (Reason.CONSENTED, "2026-11-25")
    assert stamped(OTHER, index, **said, relation=BOUGHT)["until"] == "2026-11-25"
    assert stamped(OTHER, index, **{**said, "campaign": "beta"})["reason"] == Reason.BANNED_PURPOSE
    assert (
        stamped(OTHER, index, **{**said, "purpose": ["pensions", "zzz"]})["reason"] == Reason.BANNED_PURPOSE
    )


def test_a_lift_of_one_sort_leaves_the_other_fresh():
    """A customer would be called by a list that nobody renewed, or after a consent had ended."""
    old = law.index(law.register("list", days_old=31), INTERNAL, law.allow("consent", [CONSENTING]))
    assert stamped(OTHER, old, relation=ASKED)["reason"] == Reason.STALE_REGISTER
    assert stamped(OTHER, old, relation=BOUGHT)["reason"] == Reason.EXEMPT
    stamp = stamped(CONSENTING, old, purpose="charity")
    assert (stamp["reason"], stamp["until"]) == (Reason.EXEMPT, "2026-11-25")
    aged = law.index(law.register("list", days_old=29), INTERNAL, law.allow("consent", [CONSENTING]))
    assert stamped(OTHER, aged, relation=ASKED)["until"] == "2026-11-25"


def test_a_lift_of_one_sort_ends_with_the_consent_that_lifts_the_other():
    """A customer on the list would be called after the consent to it had ended."""
    signed = law.register("signed@acme", [NUMBER], kind=law.RegisterKind.ALLOW, ends=law.date(2026, 11, 25))
    index = law.index(LIST, INTERNAL, law.allow("consent"), signed)
    stamp = stamped(NUMBER, index, campaign="acme", relation=ASKED)
    assert (stamp["reason"], stamp["until"]) == (Reason.EXEMPT, "2026-11-25")


@pytest.mark.parametrize(
    "member",
    [
        *(None, True, "purchase", 7, [BOUGHT], {}, {"kind": "purchase"}, {"since": "2026-01-01"}),
        *({"kind": "friend", "since": "2026-01-01"}, {"kind": ["purchase"], "since": "2026-01-01"}),
        *(
            {"kind": "purchase", "since": day}
            for day in ("2026-02-30", "01/02/2026", 20260101, None, "2026-1-1")
        ),
        {**BOUGHT, "Since": "2025-01-01"},
        msgspec.UNSET,
    ],
)
def test_what_cannot_be_understood_is_no_relation(member):
    """A word would make anybody a customer."""
    assert relation_of(member) is None


def test_a_relation_said_twice_is_none():
    """Another parser would find another day."""
    value = b'{"phone":"+33611111111","purpose":"other","relation":{"kind":"purchase","since":"2026-01-01","since":"2026-11-01"}}'
    assert scrub(value, scrubber(RULE), INDEX).reason == Reason.NO_CONSENT
    assert facts_of(relation=BOUGHT).relation == ("purchase", law.date(2026, 1, 1))
