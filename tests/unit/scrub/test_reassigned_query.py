"""`rules.reassigned_query`: a query of the Reassigned Numbers Database before every American call."""

import json
from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest

from stream_scrub.config import Settings
from stream_scrub.rules import Rulebook, read_text
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.stamp import Stamp, decode
from tests.support.fakes import law

GEORGIA, CONNECTICUT = 14045550123, 12035550123
CONSENTS = ("consent@acme", "consent-sms@acme", "consent-artificial@acme", "consent-hours@acme")
PURCHASE = {"relation": {"kind": "purchase", "since": "2026-10-01"}}


def asking(when: str) -> Settings:
    rules, prospect = {"reassigned_query": when}, {"default_purpose": "insurance"}
    return Settings.model_validate({"rules": rules, "prospect": prospect})


def judged(
    when: str, number: int, said: dict, *held: str, answer_days: float | None = 1, by: Scrubber | None = None
) -> Stamp:
    """The verdict with `reassigned_query` = `when` on a number of `held`; `answer_days`: how old the answers are."""
    areas = ("1203", "1207", "1404")
    registers = [
        replace(law.register("us-dnc", [number] * ("us-dnc" in held)), areas=areas),
        law.register("internal", [number] * ("internal" in held)),
        *(law.allow(name, [number]) for name in CONSENTS if name in held),
    ]
    if answer_days is not None:
        registers.append(law.allow("us-rnd-clean", [number] * ("us-rnd-clean" in held), answer_days))
    prospect = json.dumps({"phone": f"+{number}", "campaign": "acme", **said}).encode()
    scrubber = by or scrubbing.scrubber(asking(when), header=True)
    return decode(scrubber.scrub([prospect], law.index(*registers), law.NOW).stamps[0])


@pytest.mark.parametrize(
    ("number", "said", "held", "by_law"),
    [
        (GEORGIA, {}, (), "clear"),
        (GEORGIA, {}, ("us-dnc", "consent@acme"), "consented"),
        (GEORGIA, PURCHASE, ("us-dnc",), "exempt"),
        (GEORGIA, {"voice_kind": "artificial"}, ("consent-artificial@acme",), "consented"),
        (GEORGIA, {"channel": "sms"}, ("consent-sms@acme",), "consented"),
        (CONNECTICUT, {}, ("consent@acme",), "consented"),
    ],
)
def test_nobody_is_called_before_a_query(number, said, held, by_law):
    """A consent of the person who had the number before would count for the one who has it now."""
    assert judged("by-law", number, said, *held).reason == by_law
    unanswered = judged("always", number, said, *held)
    assert (unanswered.reason, unanswered.registers) == ("not-washed", ["us-rnd-clean"])
    assert judged("always", number, said, *held, "us-rnd-clean").allowed


def test_a_survey_needs_no_query():
    """A call that may be made to anybody would be lost for an answer that it does not need."""
    stamp = judged("always", GEORGIA, {"purpose": "survey", "who": "company"}, "us-dnc")
    assert stamp.reason == "exempt"
    # Whoever has the number now is not the company whose hours are free.
    assert stamp.call is not None and stamp.call.local == "Mon-Sun 08:00-21:00"


@pytest.mark.parametrize("answer_days", [None, 32])
def test_without_a_fresh_answer_nobody_is_called(answer_days):
    """Answers of last year, or none at all, would count as a query."""
    held = ("us-dnc", "consent@acme", "us-rnd-clean")
    stamp = judged("always", GEORGIA, {}, *held, answer_days=answer_days)
    assert (stamp.reason, stamp.registers) == ("stale-register", ["us-rnd-clean"])


def test_a_verdict_ends_with_its_answer():
    """A customer of 18 months would be called by an answer that is a year old."""
    held = ("us-dnc", "us-rnd-clean")
    assert judged("always", GEORGIA, PURCHASE, *held, answer_days=28).until == date(2026, 11, 27)


def test_an_opposition_stays_one():
    """A person who opposed would be washed and called."""
    stamp = judged("always", GEORGIA, {}, "internal", "us-rnd-clean", "consent@acme")
    assert stamp.reason == "opposed"


def test_a_stamp_is_given_again_by_the_text_of_its_rule():
    """An auditor could not tell that the query was required when the verdict was given."""
    stamp = judged("always", GEORGIA, {}, "us-dnc", "consent@acme")
    text = scrubbing.rulebook(asking("always")).texts[stamp.rules]
    again = Scrubber(scrubbing.terms(asking("by-law"), header=True), Rulebook([read_text(text)]))
    assert judged("by-law", GEORGIA, {}, "us-dnc", "consent@acme", by=again) == stamp
    assert stamp.rules not in scrubbing.rulebook(asking("by-law")).texts


def test_every_american_rule_asks_and_no_other():
    """A state could be left out of the duty that the operator chose."""
    by_law, always = (scrubbing.rulebook(asking(when)) for when in ("by-law", "always"))
    for code, country in always.countries.items():
        asked = {rule.wash_despite_consent for rule in country.rules}
        assert asked == ({("us-rnd-clean",)} if code.partition("-")[0] == "US" else {()}), code
        digests = [rule.digest for rule in country.rules]
        assert all(one != other for one, other in pairwise(digests))
        assert len({*digests}) == len(by_law.countries[code].rules)
