"""What `rules check` doubts in one file, and a rule in words."""

from datetime import date

import pytest

from stream_scrub.rules import Country, Rulebook, RuleFile, doubts, in_words, purposes_of

TODAY = date(2026, 11, 24)
HEAD = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n'
RULE = (
    '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\nmax_age_days = { list = 3 }\n'
)
GOOD = HEAD + RULE
LATER = RULE.replace("2020", "2027")
KNOWN = frozenset({"press", "energy-renovation"})


def country(text: str) -> Country:
    return Rulebook.of([RuleFile("xx.toml", "xx.toml", text.encode())]).countries["XX"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, []),
        (
            GOOD + "to = 2026-12-31\n" + LATER.replace("2027-01-01", "2027-01-11"),
            ["xx.toml:11: no rule from 2027-01-01 to 2027-01-10: on those days nobody may be called"],
        ),
        (
            GOOD + "to = 2026-12-31\n",
            ["xx.toml:9: no rule from 2027-01-01 on: from then nobody may be called"],
        ),
        (
            HEAD + LATER,
            ["xx.toml:5: no rule is in force today, 2026-11-24: nobody may be called before 2027-01-01"],
        ),
        (
            GOOD + 'uncertain = ["a", "b"]\n',
            ["xx.toml:9: the rule from 2020-01-01: 2 points are not proven: read `uncertain`"],
        ),
        (
            GOOD.replace("max_age_days = { list = 3 }\n", "") + 'require = ["consent", "washed"]\n',
            [
                "xx.toml:4: list never expires: give it an age in `max_age_days`",
                "xx.toml:4: washed never expires: give it an age in `max_age_days`",
            ],
        ),
        (
            GOOD + 'lifted_by = ["contracts", "press", "my-own"]\n',
            ['xx.toml:9: `lifted_by`: no shipped rule knows "contracts": did you mean "contract"?'],
        ),
        (
            GOOD + 'banned_purposes = ["energy-renovations", "betting"]\n',
            [
                'xx.toml:9: `banned_purposes`: no shipped rule knows "energy-renovations": '
                'did you mean "energy-renovation"?'
            ],
        ),
        (
            GOOD + 'banned_purposes = ["contract"]\n',
            ['xx.toml:9: `banned_purposes`: "contract" is not a purpose: use it in `lifted_by`'],
        ),
    ],
)
def test_a_doubt_is_told_with_its_line(text, expected):
    """A gap or a misspelt word would be found when somebody was called, or nobody any more."""
    assert doubts(country(text), TODAY, KNOWN) == expected


def test_the_shipped_rules_have_no_doubts_but_their_own():
    """Every user would be warned of what nobody can mend."""
    book = Rulebook.load()
    purposes = frozenset().union(*map(purposes_of, book.countries.values()))
    assert "contract" not in purposes and {"press", "pensions"} < purposes
    told = [each for read in book.countries.values() for each in doubts(read, TODAY, purposes)]
    assert told and all("not proven" in each for each in told)


EVERY = """[[rule]]
from = 2020-01-01
to = 2026-12-31
source = "law"
deny = ["list", "internal"]
require = ["consent", "washed"]
lifted_by = ["contract", "press", "survey"]
named_consents = ["named"]
max_age_days = { list = 30, internal = 1, named = 7 }
areas = { list = 4 }
valid_days = 28
banned_purposes = ["energy-renovation", "betting"]
not_callable = ["premium_rate", "+33162", "+33163"]
"""


def test_a_rule_in_words_says_all_that_it_asks():
    """Who answers for the calls would read half of the rule."""
    said = in_words(country(HEAD + EVERY).rules[0])
    assert said == [
        "A number in internal is always blocked. A list of internal is good for 1 day.",
        "Numbers of these types are never called: premium rate.",
        "Numbers that begin with +33162 or +33163 are never called.",
        "Calls for betting or energy-renovation are blocked, unless the prospect has a contract.",
        "A call without a known purpose is blocked as unknown-purpose, unless the prospect has a contract.",
        "A number in list is blocked, unless the prospect has a contract, all its purposes are press or survey or the "
        "named@campaign of the prospect's own campaign holds it. A list of list is good for 30 days.",
        "list is sold by area (the first 4 digits of a number, the calling code included): numbers of an area that was "
        "not bought are blocked as stale-register.",
        "A number that is not in consent or washed is blocked, unless the prospect has a contract or all its purposes "
        "are press or survey.",
        "named@campaign counts for 7 days; when it is older it lifts nothing.",
        "A call by an artificial voice is blocked.",
        "An allowed verdict may be used for 28 days, and not after 2026-12-31, the last day of this rule,"
        " and never longer than its lists and consents.",
    ]


def test_a_free_regime_in_words():
    """A rule that asks nothing would read as if it asked for something."""
    text = HEAD + '[[rule]]\nfrom = 2020-01-01\nsource = "none"\ndeny = ["internal"]\n'
    assert in_words(country(text).rules[0])[1:] == [
        "Every other number may be called.",
        "A call by an artificial voice is blocked.",
        "An allowed verdict may be used as long as its lists and consents are valid.",
    ]
