"""Exemptions in a rule file: what they may say, what is wrong with them, and that an old text keeps them."""

from datetime import date

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Rulebook, RuleFile, in_words, read_text
from stream_scrub.rules.country import last_day, last_working_day

HEAD = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n'
RULE = (
    '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\nrequire = ["consent"]\n'
    'max_age_days = { list = 3 }\nnamed_consents = ["signed"]\nbanned_purposes = ["gambling"]\n'
)
SOURCE = 'source = "art. 1 \\"a\\" \\u007F"'


def rule(*lines: str):
    text = HEAD + RULE + "".join(f"{line}\n" for line in lines)
    (read,) = Rulebook.of([RuleFile("xx.toml", "xx.toml", text.encode())]).countries["XX"].rules
    return read


def test_every_condition_is_read_and_kept_in_the_text():
    """An old verdict would be given again without what exempted it, or by an exemption for everybody."""
    made = rule(
        f'exempt = [{{ {SOURCE}, months = 18, relation = "purchase", who = "company", contract = true,'
        ' purposes = ["press", "a-b"], lifts = ["require"], bans = ["gambling"] },'
        f' {{ who = "company", {SOURCE} }},'
        f' {{ who = "company", lifts = [], bans = ["gambling"], {SOURCE} }}]',
        'banned_without_consent = ["claims-management"]',
    )
    whole, company, from_ban = made.exempt
    assert (whole.contract, whole.purposes, whole.who) == (True, ("press", "a-b"), "company")
    assert (whole.relation, whole.months, whole.lifts) == ("purchase", 18, ("require",))
    assert (whole.bans, whole.source) == (("gambling",), 'art. 1 "a" \x7f')
    assert (company.lifts, company.bans, company.months) == (("deny", "require"), (), 0)
    assert (from_ban.lifts, from_ban.bans) == ((), ("gambling",))
    assert read_text(made.text).rules == (made,)
    assert made.banned == {"gambling", "claims-management"} and {"press", "a-b"} < made.named_purposes
    assert made.meanings("A b") == {"a-b"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('exempt = ["company"]', "`exempt` must be a list of tables"),
        ('exempt = [{ who = "company" }]', "an exemption has no `source`"),
        (f"exempt = [{{ {SOURCE} }}]", "no condition, and would exempt every call"),
        (f'exempt = [{{ bans = ["gambling"], {SOURCE} }}]', "no condition"),
        (f'exempt = [{{ whom = "company", {SOURCE} }}]', 'unknown key "whom": did you mean "who"?'),
        (f'exempt = [{{ who = "consumer", {SOURCE} }}]', '`who` must be "company"'),
        (f'exempt = [{{ contract = false, who = "company", {SOURCE} }}]', "`contract` must be true"),
        (
            f'exempt = [{{ relation = "friend", months = 3, {SOURCE} }}]',
            '`relation` must be "purchase" or "inquiry"',
        ),
        (
            f'exempt = [{{ relation = "purchase", {SOURCE} }}]',
            "`months` must be a whole number from 1 to 120",
        ),
        (f'exempt = [{{ relation = "purchase", months = true, {SOURCE} }}]', "`months` must be"),
        (f'exempt = [{{ who = "company", months = 3, {SOURCE} }}]', "name the `relation`"),
        (f'exempt = [{{ purposes = ["A B"], {SOURCE} }}]', 'write it "a-b"'),
        (f'exempt = [{{ purposes = "press", {SOURCE} }}]', "must be a list of texts"),
        (f'exempt = [{{ who = "company", lifts = ["internal"], {SOURCE} }}]', "cannot be lifted"),
        (f'exempt = [{{ who = "company", lifts = [], {SOURCE} }}]', "an exemption lifts nothing"),
        (f'exempt = [{{ who = "company", bans = ["betting"], {SOURCE} }}]', "which this rule does not ban"),
        ('banned_without_consent = ["gambling"]', '"gambling" is in `banned_purposes` as well'),
    ],
)
def test_what_is_wrong_with_an_exemption_is_told(line, sentence):
    """A misspelt condition would exempt everybody, or nobody."""
    with pytest.raises(ConfigError) as caught:
        rule(line)
    assert any(sentence in problem for problem in caught.value.problems), caught.value.problems


def test_a_ban_that_no_consent_can_lift_is_told():
    """A purpose would be banned for everybody, by a rule that says that a consent is enough."""
    text = (
        HEAD + RULE.replace('named_consents = ["signed"]\n', "") + 'banned_without_consent = ["pensions"]\n'
    )
    with pytest.raises(ConfigError, match="no consent lifts the ban"):
        Rulebook.of([RuleFile("xx.toml", "xx.toml", text.encode())])


@pytest.mark.parametrize(
    ("since", "months", "last"),
    [
        ("2025-05-25", 18, "2026-11-24"),
        ("2026-08-31", 3, "2026-11-29"),
        ("2024-02-29", 12, "2025-02-27"),
    ],
)
def test_a_term_ends_on_the_day_before_its_anniversary(since, months, last):
    """A customer would be called a day longer than the law allows."""
    assert last_day(date.fromisoformat(since), months) == date.fromisoformat(last)


def test_exemptions_are_told_in_words():
    """Who answers for the rule could not see what it lets through."""
    said = in_words(
        rule(
            'exempt = [{ who = "company", bans = ["gambling"], lifts = ["deny"], source = "art. 2" },'
            ' { contract = true, purposes = ["press", "charity"], lifts = ["require"], source = "art. 3" }]',
            'banned_without_consent = ["pensions"]',
        )
    )
    told = " ".join(said)
    assert (
        "A number in list is blocked, unless the prospect is a company (art. 2) or the signed@campaign"
        in told
    )
    assert "the prospect has a contract and all its purposes are press or charity (art. 3)." in told
    assert "The ban on calls for gambling does not hold if the prospect is a company (art. 2)." in told
    assert "Calls for pensions to a number are blocked, unless the signed@campaign" in told


@pytest.mark.parametrize(
    ("since", "days", "last"),
    [
        ("2026-11-23", 5, "2026-11-28"),  # Monday: until Saturday
        ("2026-11-25", 5, "2026-12-01"),  # Wednesday: over a Sunday
        ("2026-11-22", 1, "2026-11-23"),
        ("2026-11-22", 6, "2026-11-28"),  # Sunday: the sixth day is the Saturday
    ],
)
def test_a_term_of_working_days_ends_on_one(since, days, last):
    """A term that begins on a Sunday would be a day longer than the law says."""
    assert last_working_day(date.fromisoformat(since), days) == date.fromisoformat(last)
