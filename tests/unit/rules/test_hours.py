"""The hours in rule files: what is understood, what is refused, and the holidays that are shipped."""

from datetime import date, timedelta

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Rulebook, RuleFile, in_words, read_text
from stream_scrub.rules.hours import shipped

RULE = (
    'country = "XX"\nregions = ["XX", "YY"]\ntimezone = "Europe/Paris"\n[[rule]]\nfrom = 2024-01-01\nsource = "law"\n'
    'deny = ["internal"]\n'
)


def rule_with(hours: str, since: str = "2024-01-01"):
    text = RULE.replace("2024-01-01", since)
    return (
        Rulebook.of([RuleFile("xx.toml", "xx.toml", f"{text}hours = {hours}\n".encode())])
        .countries["XX"]
        .rules[0]
    )


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        ('{ mon-fri = ["09:00-20:00"], source = "law" }', "Mon-Fri 09:00-20:00"),
        ('{ mon-thu = ["09:00-20:00"], fri = ["09:00-20:00"], source = "law" }', "Mon-Fri 09:00-20:00"),
        ('{ sat = ["09:00-12:00", "12:00-24:00"], source = "law" }', "Sat 09:00-12:00, 12:00-24:00"),
        (
            '{ mon = ["08:00-09:00"], sun = ["10:00-11:30"], source = "l" }',
            "Mon 08:00-09:00; Sun 10:00-11:30",
        ),
    ],
)
def test_hours_come_back_from_their_text(hours, words):
    """An old stamp would be given again with other hours."""
    rule = rule_with(hours)
    assert rule.hours.in_words == words
    assert read_text(rule.text).rules == (rule,)
    assert any(words in sentence for sentence in in_words(rule))


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        ("3", "must be a table"),
        ('{ mon = ["09:00-20:00"] }', "no `source`"),
        ('{ mond = ["09:00-20:00"], source = "l" }', 'unknown key "mond"'),
        ('{ fri-mon = ["09:00-20:00"], source = "l" }', "from Monday on"),
        ('{ mon = ["20:00-09:00"], source = "l" }', "spans of one day"),
        ('{ mon = ["09:00-24:30"], source = "l" }', "spans of one day"),
        ('{ mon = ["9-20"], source = "l" }', "spans of one day"),
        ('{ mon = ["09:00-12:00", "11:00-20:00"], source = "l" }', "overlap"),
        ('{ mon-fri = ["09:00-12:00"], wed = ["11:00-20:00"], source = "l" }', "two keys name wed"),
        ('{ mon = ["09:00-20:00"], holidays = ["FRANCE"], source = "l" }', "shipped holidays"),
        ('{ mon = ["09:00-20:00"], holidays = "FR", source = "l" }', "shipped holidays"),
        ('{ mon = ["09:00-20:00"], holidays_in = { RE = ["FR-RE"] }, source = "l" }', 'names "RE"'),
        ('{ mon = ["09:00-20:00"], holidays_in = 3, source = "l" }', "must be a table"),
        ('{ mon = ["09:00-20:00"], lifted_by = ["internal"], source = "l" }', "lifts nothing"),
        ('{ mon = ["09:00-20:00"], lifted_by = ["consent@acme"], source = "l" }', "has a scope"),
    ],
)
def test_hours_that_are_not_understood_are_refused(hours, problem):
    """Half of a line of hours would open the other half."""
    with pytest.raises(ConfigError) as raised:
        rule_with(hours)
    assert any(problem in each and each.startswith("xx.toml:8: ") for each in raised.value.problems)


def test_a_rule_keeps_the_holidays_of_its_own_years():
    """Every stamp's rule would carry thirty years of holidays, or lack those of its last days."""
    french = Rulebook.load().countries["FR"].of("voice")
    years = {
        rule.start: {day.year for day in rule.hours.holidays} for rule in french if rule.hours is not None
    }
    assert years[date(2023, 3, 1)] == {2023, 2024, 2025, 2026}
    assert max(years[date(2026, 8, 11)]) == 2032
    mixed = rule_with('{ mon-fri = ["09:00-20:00"], holidays = ["FR", 2026-03-09], source = "l" }')
    assert date(2026, 3, 9) in mixed.hours.holidays and date(2026, 7, 14) in mixed.hours.holidays


@pytest.mark.parametrize(
    ("since", "holidays", "day"),
    [
        ("2034-01-01", 'holidays = ["FR"]', date(2034, 12, 25)),
        ("2024-01-01", 'holidays_in = { YY = ["FR"] }', date(2034, 12, 25)),
        ("2024-01-01", 'holidays = ["FR", 2036-05-01]', date(2034, 12, 25)),
    ],
    ids=["a rule that begins after them", "those of the region alone", "a later day that was added"],
)
def test_a_year_without_known_holidays_has_no_hours(since, holidays, day):
    """Somebody would be called on Christmas, because the list of holidays ended before."""
    rule = rule_with(f'{{ mon-fri = ["09:00-20:00"], {holidays}, source = "l" }}', since)
    for each in (rule, read_text(rule.text).rules[0]):
        assert not each.hours.on(day, "YY") and not each.hours.on(day + timedelta(days=1), "YY")


def test_a_day_of_a_region_closes_no_other_year():
    """One day that an operator adds for a region would close it in every other year."""
    rule = rule_with(
        '{ mon-fri = ["09:00-20:00"], holidays = ["FR"], holidays_in = { YY = [2026-08-03] }, source = "l" }'
    )
    assert rule.hours.on(date(2027, 8, 3), "YY") and not rule.hours.on(date(2026, 8, 3), "YY")


def easter(year: int) -> date:
    """By the rule of Gauss, Lichtenberg's form."""
    k, a = year // 100, year % 19
    m, s = 15 + (3 * k + 3) // 4 - (8 * k + 13) // 25, 2 - (3 * k + 3) // 4
    d = (19 * a + m) % 30
    r = (d + a // 11) // 29
    og = 21 + d - r
    oe = 7 - (og - (7 - (year + year // 4 + s) % 7)) % 7
    return date(year, 3, 1) + timedelta(days=og + oe - 1)


def test_the_french_holidays_are_those_of_the_statute():
    """A release of the library would open a holiday, or close a working day, of every French lead."""
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    for year in range(2023, 2033):
        days = {date(year, *each) for each in fixed}
        days |= {easter(year) + timedelta(days=after) for after in (1, 39, 50)}
        alsace = {easter(year) - timedelta(days=2), date(year, 12, 26)}
        assert {day for day in shipped()["FR"] if day.year == year} == days
        assert {day for day in shipped()["FR-6AE"] if day.year == year} == days | alsace


def test_every_year_has_holidays():
    """A year about which the library says nothing would have no holiday at all."""
    for name, days in shipped().items():
        years = {day.year for day in days}
        assert years == set(range(min(years), 2033)), name
