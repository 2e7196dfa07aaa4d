"""Which region a word names: codes, and countries' names."""

import importlib

import pytest

from stream_scrub.numbering import REGIONS, region_named, residence_named
from stream_scrub.numbering.regions import NAMES


@pytest.fixture(scope="module")
def region_names():
    """Loads every place name of phonenumbers."""
    return importlib.import_module("tools.region_names")


def test_made_from_the_libraries(region_names):
    """A table that was edited would read a person's number as one of another country."""
    assert NAMES.read_text(encoding="utf-8") == region_names.content()


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("GB", ["gb", "UK", "U.K.", "GBR", "United Kingdom", "the united kingdom", "Great Britain", "+44", "0044"]),
        ("GB", ["Royaume-Uni", "Vereinigtes Königreich", "Verenigd Koninkrijk", "Regno Unito", "Reino Unido"]),
        ("GB", ["England", "Écosse", "Gales", "Grossbritannien", "Großbritannien"]),
        ("GR", ["EL", "GRC", "Ελλάδα", "Griechenland", "Grèce"]),
        ("FR", [" fr ", "FRA", "France", "FRANKREICH", "Francia", "+33"]),
        ("DE", ["DEU", "Deutschland", "Allemagne", "Germania", "Bundesrepublik Deutschland"]),
        ("AT", ["AUT", "Österreich", "Oesterreich", "OSTERREICH", "Autriche"]),
        ("BE", ["BEL", "België", "Belgique", "Belgien"]),
        ("IE", ["IRL", "Éire", "Republic of Ireland", "Irlande"]),
        ("NL", ["NLD", "Nederland", "The Netherlands", "Pays-Bas", "Holland"]),
        ("IT", ["ITA", "Italia", "Italie"]),
        ("ES", ["ESP", "España", "Spain", "Spanien"]),
        ("US", ["USA", "U.S.A.", "United States", "United States of America", "États-Unis", "EE. UU."]),
        ("US", ["US-CT", "us-ny", " US-DC "]),
        ("CA", ["CAN", "Canada", "Kanada"]),
        ("CZ", ["CZE", "Czech Republic", "Czechia", "Česko"]),
        ("RE", ["REU", "La Réunion", "reunion"]),
        ("CH", ["CHE", "Schweiz", "Suisse", "Svizzera", "Switzerland"]),
        ("JP", ["JPN", "日本"]),
        ("NL", ["nl-NL", "nl_NL", "NL-NL", "Nederland (NL)", "(NL)", " Pays-Bas (nl) ", "Limburg (NLD)"]),
        ("CA", ["fr-CA", "en-ca", "EN-CA"]),
        ("TW", ["zh-Hant-TW", "zh_TW"]),
        ("BE", ["de-BE", "Vlaanderen (BE)"]),
        ("GB", ["en-UK", "Northern Ireland (UK)"]),
        ("", ["DE-BE", "de-be", "CA-NL", "es-419", "nl-", "Schweiz (DE)", "Georgia (US)", "(XX)", "NL (", "(31)"]),
        ("", ["", " ", "ZZ", "XX", "Narnia", "en", "US-QQ", "US-FR", "33", "Europe", "+", "+999", "x" * 1000, None, 44, ["UK"]]),
    ],
)  # fmt: skip
def test_a_word_names_a_region(region, words):
    """An opt-out of a British person would oppose a French number, and the consent would stay."""
    assert {word if isinstance(word, str) else repr(word): region_named(word) for word in words} == {
        word if isinstance(word, str) else repr(word): region for word in words
    }


def test_a_residence_may_be_a_state():
    """Who lives in Connecticut and has a number of New York would lose the law of Connecticut."""
    words = ["US-CT", " us-ct", "US", "USA", "FR", "Connecticut", "US-QQ", "", None, 7]
    assert [residence_named(word) for word in words] == [
        "US-CT",
        "US-CT",
        "US",
        "US",
        "FR",
        "",
        "",
        "",
        "",
        "",
    ]


def test_every_region_has_a_code_of_three_letters(region_names):
    """A country that a form spells as ISO 3166-1 alpha-3 would be unknown."""
    named = [
        word
        for word in map(region_names.compared, region_names.get_global("territory_aliases"))
        if len(word) == 3
    ]
    assert {region_named(word) for word in named} - {""} == set(REGIONS)
