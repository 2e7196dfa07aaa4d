"""`rules.countries`: the countries in use. It only ever blocks."""

import json
from dataclasses import replace
from itertools import product

import pytest

from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.plans import unusable
from stream_scrub.stamp import Stamp, decode
from tests.support.fakes import law

# Of each: a number, and registers of its country.
NUMBERS = {
    "FR": 33612345678,
    "GP": 590690123456,
    "GB": 447400123456,
    "GG": 447781123456,
    "DE": 4915112345678,
    "US": 14045550123,
    "US-CT": 12035550123,
    "CA": 14165550123,
}
COUNTRY_OF = {"GP": "FR", "GG": "GB", "US-CT": "US"}
EVERYBODY = list(NUMBERS.values())
REGISTERS = [
    law.register("internal"),
    law.register("tps"),
    replace(law.register("us-dnc"), areas=("1404", "1203")),
    replace(law.register("ca-dncl"), areas=("1416",)),
    law.allow("consent", EVERYBODY),
    law.allow("consent@acme", EVERYBODY),
]


def settings(*countries: str) -> Settings:
    return Settings.model_validate({"rules": {"countries": countries}})


def verdicts(used: Settings) -> dict[tuple[str, str], Stamp]:
    """The stamp of each number, by its region and the residence of its person."""
    keys = list(product(NUMBERS, ["", *NUMBERS]))
    prospects = []
    for region, residence in keys:
        facts = {"campaign": "acme", "purpose": "charity", "residence": residence or None}
        prospects.append(json.dumps({"phone": f"+{NUMBERS[region]}", **facts}).encode())
    scrubber = scrubbing.scrubber(used, header=True)
    stamps = scrubber.scrub(prospects, law.index(*REGISTERS), law.NOW).stamps
    return dict(zip(keys, map(decode, stamps), strict=True))


def country_of(region: str) -> str:
    return COUNTRY_OF.get(region, region)


@pytest.mark.parametrize("countries", [("FR",), ("GB",), ("US",), ("CA",), ("DE", "FR"), ("CA", "US")])
def test_the_countries_in_use_only_ever_block(countries):
    """A setting that is there to shorten a page would allow a call that the law forbids."""
    every, narrowed = verdicts(settings()), verdicts(settings(*countries))
    assert {stamp.reason for stamp in every.values()} >= {"clear", "consented"}
    for (region, residence), stamp in narrowed.items():
        if {country_of(region), country_of(residence or region)} <= set(countries):
            assert stamp == every[region, residence], (region, residence)
        else:
            assert (stamp.verdict, stamp.reason) == ("blocked", "no-rule"), (region, residence)


def test_an_opposition_to_the_operator_is_still_named():
    """A person of another country who has opted out would be counted as a lead without a rule."""
    opposed = law.index(law.register("internal", EVERYBODY))
    prospect = b'{"phone": "+447400123456", "country": "GB"}'
    scrubber = scrubbing.scrubber(settings("FR"), header=True)
    (stamp,) = scrubber.scrub([prospect], opposed, law.NOW).stamps
    assert decode(stamp).reason == "opposed"


def test_only_registers_of_countries_in_use_are_missing():
    """Every start and page would ask for the lists of countries that nobody calls."""
    index = law.index(law.register("internal"))
    names = {each.register for each in unusable(scrubbing.rulebook(settings("FR", "BE")), index, law.NOW)}
    assert names == {"consent", "dncm"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("FR,XX", 'no country is called "XX": use some of AT, AU, BE,'),
        ("GP", 'no country is called "GP" (its rules are those of FR): use some of'),
        ("us-ct", 'no country is called "US-CT" (its rules are those of US): use some of'),
    ],
)
def test_an_unknown_country_is_refused_at_the_start(given, said):
    """A misspelt country would have all its leads blocked, and nobody would know why."""
    with pytest.raises(ConfigError, match=r"rules\.countries") as refused:
        scrubbing.rulebook(load(environ={"STREAM_SCRUB_RULES__COUNTRIES": given}))
    assert said in str(refused.value)
