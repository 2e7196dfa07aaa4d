"""Registers of many campaigns: each is asked for its own campaign's numbers, and the verdicts are those of one by one."""

import json
import random

import pytest

from stream_scrub.model import RegisterKind
from stream_scrub.numbering import normalise
from stream_scrub.scrub import plans
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decide import is_barred
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.facts import facts_of
from tests.support.fakes import law

MEMBERS = Members.of(("phone",), "country")
NUMBERS = [33_612_345_600 + at for at in range(40)]


def many(dice):
    """Scoped registers of every kind that a rule may ask for, fresh and stale, some of the wrong kind."""
    registers = [
        law.register("internal", dice.sample(NUMBERS, 3)),
        law.register("list", dice.sample(NUMBERS, 3)),
    ]
    registers.append(law.allow("consent", dice.sample(NUMBERS, 20)))
    for at in range(60):
        made = law.allow if dice.random() < 0.05 else law.register
        registers.append(made(f"internal@c{at}", dice.sample(NUMBERS, 5)))
        if dice.random() < 0.2:
            registers.append(law.allow(f"consent@c{at}", dice.sample(NUMBERS, 9)))
        if dice.random() < 0.2:
            registers.append(
                law.register(f"list@c{at}", dice.sample(NUMBERS, 5), days_old=dice.choice([1, 60]))
            )
    return law.index(*registers)


@pytest.mark.parametrize("text", [law.OPT_OUT, law.OPT_IN])
def test_the_verdict_of_a_batch_of_campaigns_is_that_of_each_prospect(text):
    """One tenant's opt-out would block another's prospects, or not its own."""
    dice, rulebook = random.Random(11), law.rulebook(text)
    index = many(dice)
    assert {r.kind for r in index.registers.values() if r.name.startswith("internal@")} == set(RegisterKind)
    values, expected = [], []
    for _ in range(600):
        number = dice.choice(NUMBERS)
        campaigns = [f"c{dice.randrange(70)}" for _ in range(dice.choice([0, 1, 1, 1, 2]))]
        values.append(json.dumps({"phone": f"+{number}", "campaign": campaigns}).encode())
        line = normalise(f"+{number}", "FR")[1]
        told = facts_of(None, None, campaigns, default_purpose="other")
        rule = rulebook.rule("FR", law.NOW)
        plan = plans.plan_for(line, is_barred(number, rule), rule, told, index, law.NOW)
        finding = plan.verdict_for({r.name for r in plan.registers if number in r.numbers})
        expected.append((finding.reason.value, list(finding.registers)))
    terms = Terms(MEMBERS, stamp="header", stale="block", default_purpose="other")

    stamps = Scrubber(terms, rulebook).scrub(values, index, law.NOW).stamps

    made = [(json.loads(stamp)["reason"], json.loads(stamp).get("registers", [])) for stamp in stamps]
    assert made == expected and len({reason for reason, _ in made}) > 2


@pytest.mark.parametrize("purpose", ["***", ["insurance", "?"], {"n": "insurance"}, [["insurance"]]])
def test_a_purpose_in_no_letters_has_no_consent(purpose):
    """A consent to hear of insurance would count for a call that says it is for three stars."""
    at = law.index(law.allow("consent"), law.allow("washed"), law.register("list"))
    at = at.with_register(law.allow("consent@acme+insurance", NUMBERS))
    values = [
        json.dumps({"phone": f"+{NUMBERS[0]}", "campaign": "acme", "purpose": said}).encode()
        for said in ("insurance", purpose)
    ]
    text = law.OPT_IN.replace('banned_purposes = ["energy-renovation"]\n', "")

    stamps = Scrubber(Terms(MEMBERS, stamp="header"), law.rulebook(text)).scrub(values, at, law.NOW).stamps

    assert [json.loads(stamp)["reason"] for stamp in stamps] == ["consented", "no-consent"]
