"""A person who lives in another country than the number's: both rules must allow, in a batch, a column and a replay."""

import json

import msgspec
import pytest

from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.batch_context import BatchContext
from stream_scrub.scrub.columns import judge_column
from stream_scrub.scrub.facts import NOWHERE, facts_of
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

HERE = law.OPT_OUT
THERE = (
    'country = "GB"\nregions = ["GB"]\ntimezone = "Europe/London"\n[[rule]]\nfrom = 2020-01-01\n'
    'source = "another law"\ndeny = ["tps", "internal"]\nrequire = ["consent"]\nvalid_days = 5\n'
)
BOOK = law.rulebook(HERE, THERE)
FREE, LISTED, CONSENTING = 33611111111, 33612345678, 33622222222
INDEX = law.index(
    law.register("list", [LISTED]),
    law.register("tps", [33633333333]),
    law.register("internal"),
    law.allow("consent", [CONSENTING, LISTED, 33633333333]),
)


def stamps(*prospects, book=BOOK):
    values = [json.dumps({"purpose": "other", **each}).encode() for each in prospects]
    terms = Terms(MEMBERS, stamp="header", default_purpose="other")
    return [
        msgspec.json.decode(stamp) for stamp in Scrubber(terms, book).scrub(values, INDEX, law.NOW).stamps
    ]


def test_both_rules_must_allow():
    """A consumer would lose the protection of his country's law for the number that he has."""
    numbers = (FREE, LISTED, CONSENTING, 33633333333)
    told = stamps(*({"phone": f"+{n}", "residence": "gb"} for n in numbers))
    assert [each["reason"] for each in told] == ["no-consent", "opposed", "consented", "opposed"]
    assert [each.get("registers") for each in told] == [None, ["list"], None, ["tps"]]
    assert {(each["rules"][:2], each["residence"][:2]) for each in told} == {("fr", "gb")}
    assert [each.get("until") for each in told] == [None, None, "2026-11-29", None]


@pytest.mark.parametrize("said", [{}, {"residence": "FR"}, {"residence": " re "}, {"residence": None}])
def test_who_lives_in_the_numbers_country_has_one_rule(said):
    """Everybody would pay for a second look, and every stamp name a rule twice."""
    (stamp,) = stamps({"phone": f"+{FREE}", **said})
    assert stamp["reason"] == "clear" and "residence" not in stamp


@pytest.mark.parametrize("residence", ["DE", "Narnia", 7, ["GB"], {"x": 1}, True])
def test_a_country_without_a_rule_allows_nothing(residence):
    """A person whose law nobody knows would be called."""
    (stamp,) = stamps({"phone": f"+{CONSENTING}", "residence": residence})
    assert (stamp["reason"], stamp.get("rules"), stamp.get("residence")) == ("no-rule", None, None)
    assert facts_of(residence="Narnia").residence == NOWHERE


def test_each_of_several_numbers_names_both_rules():
    """The stamp of a prospect with two numbers could not be given again."""
    (stamp,) = stamps({"phone": [f"+{CONSENTING}", "+447400123456"], "residence": "GB"})
    ours, theirs = stamp["numbers"]
    assert ours["residence"] == theirs["rules"] and "residence" not in theirs


def test_a_column_gets_the_same_outcomes():
    """A program would be told another verdict on a column than on one number."""
    numbers = [FREE, LISTED, CONSENTING, 33633333333]
    context = BatchContext(BOOK, INDEX, law.NOW)
    judged = judge_column([f"+{n}" for n in numbers], "FR", facts_of("other", residence="GB"), context)
    assert [judged.outcomes[at].reason for at in judged.ids] == [
        "no-consent",
        "opposed",
        "consented",
        "opposed",
    ]


def test_a_verdict_of_an_earlier_reading_knows_no_residence():
    """An old prospect with a member `residence` of its own would be explained by another verdict than it got."""
    (rule,) = law.rulebook(HERE).countries["FR"].rules
    old = law.read_old(rule, 3)
    (stamp,) = stamps({"phone": f"+{FREE}", "residence": "main"}, book=Rulebook([old]))
    assert stamp["reason"] == "clear"
