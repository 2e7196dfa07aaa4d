"""Rules for different channels stand side by side in one country."""

from datetime import UTC, date, datetime

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Rulebook, RuleFile, doubts, in_words, read_text

HEAD = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n'
RULE = '[[rule]]\nfrom = {}\nsource = "law"\ndeny = ["internal"]\n'
CALLS, LATER = RULE.format("2020-01-01"), RULE.format("2022-01-01")
TEXTS = RULE.format("2021-01-01") + 'channels = ["sms", "mms"]\n'


def book(*tables: str) -> Rulebook:
    return Rulebook.of([RuleFile("xx.toml", "xx.toml", (HEAD + "".join(tables)).encode())])


def test_a_rule_ends_where_the_next_for_its_channels_begins():
    """A rule on messages would end the rule on calls, and nobody be called."""
    country = book(CALLS, TEXTS, LATER).countries["XX"]
    calls, texts, later = country.rules
    assert (calls.end, texts.end, later.end) == (date(2021, 12, 31), None, None)
    assert (calls.channels, texts.channels, country.channels) == (
        ("voice",),
        ("sms", "mms"),
        ("voice", "sms", "mms"),
    )
    day = date(2021, 6, 1)
    assert (country.on(day), country.on(day, "mms"), country.on(day, "fax")) == (calls, texts, None)
    assert (country.on(date(2020, 6, 1), "sms"), country.after(date(2020, 6, 1), "sms")) == (None, texts)
    assert country.all_on(day) == (calls, texts) and country.after(day) == later


def test_every_rule_in_force_is_told_with_its_countrys_time():
    """A list that only messages need would grow stale unseen."""
    found = list(book(CALLS, TEXTS, LATER).in_force(datetime(2021, 12, 31, 23, 30, tzinfo=UTC)))
    assert [rule.start.year for rule, _ in found] == [2022, 2021]
    assert {local.hour for _, local in found} == {0}


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            [CALLS, TEXTS, RULE.format("2022-01-01") + 'channels = ["sms"]\n'],
            '"sms" is with other channels',
        ),
        ([CALLS, CALLS], "two rules start on 2020-01-01: give each its own day or channel"),
        ([CALLS + "channels = []\n"], "`channels` is empty"),
        ([CALLS + 'channels = ["SMS"]\n'], '"SMS" is not a channel'),
        ([CALLS + 'channels = ["unknown"]\n'], '"unknown" is not a channel'),
        ([CALLS + 'channels = ["a--b"]\n'], '"a--b" is not a channel'),
        ([CALLS + 'channels = "sms"\n'], "`channels` must be a list"),
    ],
)
def test_what_is_wrong_with_channels_is_told(tables, sentence):
    """A misspelt channel would leave a rule that reaches nobody, or two rules would hold for one message."""
    with pytest.raises(ConfigError) as caught:
        book(*tables)
    assert any(sentence in problem for problem in caught.value.problems)


def test_the_channels_are_in_the_text_and_the_words():
    """An old verdict on a message would be given again by the rule on calls."""
    calls, texts = book(CALLS, TEXTS).countries["XX"].rules
    assert b"channels" not in calls.text and b'\nchannels = ["sms", "mms"]\n' in texts.text
    assert read_text(texts.text).rules == (texts,)
    assert "calls by sms or mms." in in_words(texts)[0] and "sms" not in " ".join(in_words(calls))


def test_gaps_are_told_channel_by_channel():
    """A day without a rule on messages would go unseen beside one on calls."""
    country = book(CALLS, TEXTS + "to = 2021-12-31\n").countries["XX"]
    told = doubts(country, date(2020, 6, 1), frozenset())
    assert any(
        "no rule from 2022-01-01 on: from then nobody may be reached by sms or mms" in each for each in told
    )
    assert any("nobody may be reached by sms or mms before 2021-01-01" in each for each in told)
    assert len(told) == 2
