"""What a call may be for: a closed set of purposes, and the words for each, also those of a user's own folder."""

import json
import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Rulebook, RuleFile, missing_purpose, read_text, survey
from stream_scrub.rules.purposes import joined, problem_of, purposes_in, read, shipped, vocabulary
from stream_scrub.scrub import backend
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.texts import plain
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

BOOK = Rulebook.load()
ROOT = Path(__file__).parents[3]
RULE = (
    'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n[[rule]]\nfrom = 2020-01-01\nsource = "law"\n'
    'deny = ["internal"]\nbanned_purposes = ["energy-renovation", "betting"]\n'
)


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("Pompe à chaleur", "pompe-a-chaleur"),
        ("économies d\u2019énergie", "economies-d-energie"),
        ("ﬁbre", "fibre"),
        ("\U0001d400\U0001d41c\U0001d426\U0001d41e", "acme"),
        ("ac\u00adme\ufe0f", "acme"),
    ],
)
def test_a_word_is_compared_without_what_people_spell_differently(word, same):
    """A ban would fail open on an accent, a hyphen or a capital letter."""
    assert plain(word) == same == plain(plain(word))


def test_the_vocabulary_comes_back_from_its_purposes():
    """An old verdict would be given again by other words than those that counted."""
    assert vocabulary(purposes_in(shipped())) == shipped()
    assert shipped()["heat-pump"] == ("energy-renovation", "renewable-energy")


def test_the_page_for_producers_lists_every_purpose():
    """A producer could not learn which word to write."""
    page = (ROOT / "docs" / "producer.md").read_text("utf-8")
    (line,) = re.findall(r"^The purposes: (.*)", page, re.MULTILINE)
    listed = re.findall(r"`([a-z-]+)`", line)
    told = tomllib.loads((ROOT / "stream_scrub" / "rules" / "purposes.toml").read_text("utf-8"))["purposes"]
    assert listed == list(told)


def test_a_rule_knows_the_words_that_it_was_read_with():
    """The words of a later release would judge the calls of today again, and to another verdict."""
    (rule,) = Rulebook.of([RuleFile("xx.toml", "xx.toml", RULE.encode())]).countries["XX"].rules
    assert rule.meanings("Solar") == {"renewable-energy"}
    assert rule.meanings("isolation") == {"energy-renovation"}
    assert rule.meanings("Betting") == {"betting", "gambling"}  # the rule's own word, and what it means
    assert rule.meanings("offer of the month") == frozenset() == rule.meanings("")
    assert read_text(rule.text).rules == (rule,) and read_text(rule.text).rules[0].purposes == rule.purposes


def test_a_users_words_are_added(tmp_path):
    """A company that sells what we did not think of would have every lead blocked, or none."""
    (tmp_path / "purposes.toml").write_text(
        '[purposes]\nrenewable-energy = ["Balkonkraftwerk"]\nclub = ["gym"]\n'
    )
    rule = Rulebook.load(tmp_path).on("FR", date(2026, 11, 24))
    assert rule.meanings("balkonkraftwerk") == {"renewable-energy"} and rule.meanings("GYM") == {"club"}
    assert rule.meanings("solar") == {"renewable-energy"}
    assert survey(tmp_path).own == frozenset() and "balkonkraftwerk" in survey(tmp_path).purposes
    assert joined(shipped(), {"solar": ("club",)})["solar"] == ("club", "renewable-energy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[purposes\n", "not valid TOML"),
        ("purposes = 3\n", "must be a table"),
        ("[purpose]\n", 'unknown key "purpose"'),
        ('[purposes]\nClub = ["gym"]\n', "is not a purpose"),
        ('[purposes]\nclub = "gym"\n', "must be a list of words"),
        ('[purposes]\nclub = ["?"]\n', "a word is empty"),
        ('[purposes]\nclub = ["06 12 34 56 78"]\n', "looks like a phone number"),
    ],
)
def test_what_is_wrong_with_a_users_words_is_said(tmp_path, text, said):
    """A misspelt file would silently know nothing."""
    (tmp_path / "purposes.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Rulebook.load(tmp_path)
    assert any(said in problem and "purposes.toml" in problem for problem in caught.value.problems)


def test_words_are_bounded():
    """One file could fill every rule's text on the log."""
    assert isinstance(read("purposes.toml", b"#" * 70_000), list)
    assert problem_of({"club": ["x" * 81]}) is not None and problem_of({"club": ["x" * 80]}) is None


def test_words_do_not_belong_into_a_rule_file():
    """Whoever adds them there would believe that they count for all rules."""
    with pytest.raises(ConfigError) as caught:
        Rulebook.of([RuleFile("xx.toml", "xx.toml", (RULE + "purposes = { club = [] }\n").encode())])
    assert "belongs in purposes.toml" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ("", "it is empty, so prospects of AU, AU-VIC, CH, ES, FR, GB"),
        ("offer of the month", "is not a known purpose"),
        ("Assurance", ""),
    ],
)
def test_who_says_nothing_of_all_calls_is_told(default, said):
    """An operator would learn from a day of blocked leads that one line of configuration was missing."""
    found = missing_purpose(Rulebook.load().countries.values(), default, datetime(2026, 11, 24, tzinfo=UTC))
    assert said in found and bool(found) == bool(said)


@pytest.mark.parametrize("hand", [hand for hand in (backend.PYTHON, backend.native()) if hand is not None])
@pytest.mark.parametrize(
    ("default", "member", "reason"),
    [
        ("", b"", "unknown-purpose"),
        ("insurance", b',"purpose":null', "consented"),
        ("insurance", b',"purpose":"solar"', "banned-purpose"),
        ("solar", b"", "banned-purpose"),
        ("", b',"purpose":"insurance"', "consented"),
        ("insurance", b',"purpose":"offer of the month"', "unknown-purpose"),
        ("insurance", b',"purpose":["cpf"]', "banned-purpose"),
        ("insurance", b',"purpose":["insurance",["cpf"]]', "unknown-purpose"),
        ("insurance", b',"purpose":{"name":"cpf"}', "unknown-purpose"),
        ("insurance", b',"purpose":["insurance",true]', "unknown-purpose"),
        ("insurance", b',"purpose":[null," "]', "consented"),
    ],
)
def test_what_all_calls_are_for_counts_where_a_prospect_says_nothing(hand, default, member, reason):
    """A company with one product would have to write it into every lead, or could not call at all."""
    terms = Terms(MEMBERS, stamp="header", stale="block", default_purpose=default, default_campaign="house")
    index = law.index(law.allow("consent", [33612345678]))
    prospect = b'{"phone":"0612345678"%s}' % member
    (stamp,) = Scrubber(terms, BOOK, hand).scrub([prospect], index, law.NOW).stamps
    assert json.loads(stamp)["reason"] == reason
