"""A person who lives in another country than the number's: both rules must allow, in a batch, a column and a replay."""

import json

import msgspec
import pytest

from stream_scrub.numbering import NOWHERE
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decide_batch import BatchContext, judge_column
from stream_scrub.scrub.facts import facts_of
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
    assert [each.get("until") for each in told] == [None, None, "2026-11-25", None]


@pytest.mark.parametrize("said", [{}, {"residence": "FR"}, {"residence": " re "}, {"residence": None}])
def test_who_lives_in_the_numbers_country_has_one_rule(said):
    """Everybody would pay for a second look, and every stamp name a rule twice."""
    (stamp,) = stamps({"phone": f"+{FREE}", **said})
    assert stamp["reason"] == "clear" and "residence" not in stamp


@pytest.mark.parametrize("word", ["uk", "United Kingdom", "Vereinigtes Königreich"])
@pytest.mark.parametrize("reader", ["quick", "strict"])
def test_a_country_is_one_in_any_spelling(word, reader):
    """A British lead would be read as a French number: another person is judged, and called."""
    more = {"twice": {"a": 1}} if reader == "strict" else {}
    by_word, by_code, lives = stamps(
        {"phone": "020 7946 0018", "country": word, **more},
        {"phone": "020 7946 0018", "country": "GB", **more},
        {"phone": f"+{FREE}", "residence": word, **more},
    )
    assert by_word == by_code and by_word["number"] == "+442079460018"
    assert lives["residence"].startswith("gb")


@pytest.mark.parametrize("residence", ["DE", "Narnia", 7, ["GB"]])
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


STATE = (
    'country = "FR-75"\nregions = ["FR-75"]\nprefixes = ["+331", "+3363"]\ntimezone = "Europe/Paris"\n[[rule]]\n'
    'from = 2020-01-01\nsource = "the law of a state"\ndeny = ["list", "internal"]\nrequire = ["consent"]\n'
)


def test_a_state_has_the_numbers_that_begin_so():
    """People of a state that asks more than its country would be called by the law of the country."""
    book = law.rulebook(HERE, STATE)
    numbers = "+33611111111 +33612345678 +33633333333 +33140000000 +33340000000 +262692123456".split()
    told = stamps(*({"phone": n} for n in numbers), book=book)
    assert [each["rules"].partition("@")[0] for each in told] == ["fr", "fr", "fr-75", "fr-75", "fr", "fr"]
    reasons = " ".join(each["reason"] for each in told)
    assert reasons == "clear opposed consented no-consent clear clear"
    one_by_one = [stamps({"phone": [n, n]}, book=book)[0]["numbers"][0]["rules"] for n in numbers]
    assert one_by_one == [each["rules"] for each in told]
    context = BatchContext(book, INDEX, law.NOW)
    judged = judge_column(numbers, "FR", facts_of("other"), context)
    assert [judged.outcomes[at].rules for at in judged.ids] == one_by_one


def test_a_state_on_a_day_without_a_rule_has_its_countrys():
    """On the days before a state's law nobody there could be called, or an old stamp could not be given again."""
    book = law.rulebook(HERE, STATE.replace("2020-01-01", "2030-01-01"))
    (told,) = stamps({"phone": "+33140000000"}, book=book)
    assert (told["reason"], told["rules"][:3]) == ("clear", "fr@")
