"""The shipped rules, read against the law: the golden table has one row a legal sentence."""

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phonenumbers.geodata import GEOCODE_DATA

from stream_scrub.rules import Rulebook
from stream_scrub.rules.country import until

LAW = Path(__file__).parents[2] / "golden" / "rules" / "law.toml"
ROWS = tomllib.loads(LAW.read_text("utf-8"))["row"]
# Those with lists of their own; and those with other rules or hours.
LISTS = {"CO", "FL", "IN", "LA", "MA", "MO", "MS", "OK", "PA", "TN", "TX", "WY"}
STATES = LISTS | {"AL", "CT", "KY", "MD", "MI", "MN", "NM", "NV", "RI", "SD", "UT", "WA"}
CASES = [pytest.param(row, day, id=f"{row['region']}-{day}") for row in ROWS for day in row["on"]]


def said(exemption) -> str:
    """An exemption's conditions, and what it lifts if not everything."""
    term = f"{exemption.relation} {exemption.months}" if exemption.relation else ""
    other_than = [f"but:{name}" for name in exemption.other_than]
    lifts = f"only {exemption.lifts[0]}" if len(exemption.lifts) == 1 else ""
    words = (
        "contract" if exemption.contract else "",
        exemption.who,
        term,
        *exemption.purposes,
        *other_than,
        lifts,
    )
    return " ".join(filter(None, (*words, *(f"bans:{name}" for name in exemption.bans))))


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return Rulebook.load()


@pytest.mark.parametrize(("row", "day"), CASES)
def test_the_law_of_the_day(book, row, day):
    """A prospect would be judged by a law that is not in force for its number on that day."""
    rule = book.on(row["region"], day, row.get("channel", "voice"))
    if "deny" not in row:
        assert rule is None, row["law"]
        return
    assert rule is not None, row["law"]
    assert row["deny"] == list(rule.deny)
    assert row.get("require", []) == list(rule.require)
    assert row.get("wash", []) == list(rule.wash)
    assert row.get("wash_named", []) == list(rule.wash_named)
    assert row.get("lifted", []) == list(rule.lifted_by)
    assert row.get("require_named", []) == list(rule.require_named)
    assert row.get("named", []) == list(rule.named_consents)
    assert set(row.get("banned", [])) == rule.banned_purposes
    assert set(row.get("banned_despite_contract", [])) == rule.banned_despite_contract
    assert set(row.get("banned_without_consent", [])) == rule.banned_without_consent
    artificial = ["consent-artificial"] if "voice" in rule.channels else []
    assert row.get("artificial", artificial) == list(rule.artificial_voice)
    assert row.get("exempt", []) == [said(each) for each in rule.exempt]
    assert row.get("require_named_for", {}) == {
        kind: list(names) for kind, names in rule.require_named_for.items()
    }
    assert row.get("valid") == rule.valid_days
    assert row.get("age", {}) == dict(rule.max_age_days)
    assert row.get("areas", {}) == dict(rule.areas)
    assert row.get("consent_days", {}) == dict(rule.consent_days)
    assert rule.start <= day and (rule.end is None or day <= rule.end)


def test_every_shipped_country_has_rows(book):
    """A country could ship rules that nobody read against the law."""
    assert set(book.countries) <= {row["region"] for row in ROWS}
    countries = {"AT", "AU", "BE", "CA", "CH", "CZ", "DE", "DK", "ES", "FR", "GB", "IE", "IT", "LU", "NL"}
    countries |= {"NO", "PL", "SE", "SK", "US", "GR", "PT", "SG", "TR", "ZA"}
    assert set(book.countries) == countries | {f"US-{state}" for state in STATES}


def test_every_edge_of_every_rule_is_in_the_table(book):
    """The first day of a rule could move by one without a test that notices."""
    seen = {(row["region"], row.get("channel", "voice"), day) for row in ROWS for day in row["on"]}
    for country in book.countries.values():
        for rule in country.rules:
            for channel in rule.channels:
                assert (country.code, channel, rule.start) in seen
                assert rule.end is None or (country.code, channel, rule.end) in seen


def test_a_state_has_all_its_area_codes(book):
    """People with an area code that was added later would be called by the federal rules alone."""
    names = {
        "AL": "Alabama",
        "CO": "Colorado",
        "CT": "Connecticut",
        "FL": "Florida",
        "IN": "Indiana",
        "KY": "Kentucky",
        "LA": "Louisiana",
        "MA": "Massachusetts",
        "MD": "Maryland",
        "MI": "Michigan",
        "MN": "Minnesota",
        "MO": "Missouri",
        "MS": "Mississippi",
        "NM": "New Mexico",
        "NV": "Nevada",
        "OK": "Oklahoma",
        "PA": "Pennsylvania",
        "RI": "Rhode Island",
        "SD": "South Dakota",
        "TN": "Tennessee",
        "TX": "Texas",
        "UT": "Utah",
        "WA": "Washington State",
        "WY": "Wyoming",
    }
    for state, name in names.items():
        found = {
            prefix[:4]
            for prefix, place in GEOCODE_DATA.items()
            if prefix[0] == "1"
            and len(prefix) >= 4
            and (place["en"] == name or place["en"].endswith(f", {state}"))
        }
        assert found == {*book.countries[f"US-{state}"].prefixes}, state


def test_every_rule_names_its_source(book):
    """A compliance officer could not tell which law a verdict rests on."""
    for country in book.countries.values():
        assert all(len(rule.source) > 20 for rule in country.rules), country.code


def test_no_shipped_rule_forgets_internal_opposition(book):
    """Someone who told the caller to stop could be called again."""
    for country in book.countries.values():
        assert all("internal" in rule.deny for rule in country.rules), country.code


def test_every_shared_register_may_grow_too_old(book):
    """A register nobody renews would go on allowing calls for years."""
    for country in book.countries.values():
        for rule in country.rules:
            named = rule.registers | set(rule.scoped)
            own = {"internal", "consent", "consent-sms", "consent-artificial", "consent-hours"}
            assert named - own == set(rule.max_age_days), country.code


def test_the_registers_are_those_of_the_design(book):
    """A list imported under the documented name would count for nothing."""
    assert book.registers == {
        *("internal", "consent", "bloctel-clean", "pacitel", "tps", "us-dnc"),
        *("ca-dncl", "dncm", "rpo-clean", "robinson-clean", "stop-publicidad-clean", "ndd"),
        *("au-clean", "ch-unstarred", "nix", "no-reservasjon", "sk-robinson"),
        *("gr-11-cosmote", "gr-11-vodafone", "gr-11-nova", "gr-11-others", "pt-amd", "pt-dgc"),
        *("sg-clean", "tr-iys", "za-clean"),
        *(f"us-{state.lower()}-dnc" for state in LISTS),
    }


def test_the_day_is_the_day_in_the_country(book):
    """At 00:30 in Paris the old law would still allow a call that the new one forbids."""
    before = book.rule("FR", datetime(2026, 8, 10, 21, 59, 59, tzinfo=UTC))
    after = book.rule("FR", datetime(2026, 8, 10, 22, 30, tzinfo=UTC))
    assert before.deny == ("internal",) and before.wash == ("bloctel-clean",)
    assert after.require_named == ("consent",)
    assert book.rule("RE", datetime(2026, 8, 10, 21, 59, 59, tzinfo=UTC)) == before
    assert book.day("FR", datetime(2026, 8, 10, 22, 0, tzinfo=UTC)) == date(2026, 8, 11)
    assert book.day("US", datetime(2026, 8, 11, 3, 59, tzinfo=UTC)) == date(2026, 8, 10)


def test_winter_and_summer_are_told_apart(book):
    """The law would change an hour early or late when the clocks had moved."""
    assert book.day("GB", datetime(2026, 7, 1, 23, 0, tzinfo=UTC)) == date(2026, 7, 2)
    assert book.day("GB", datetime(2026, 12, 1, 23, 0, tzinfo=UTC)) == date(2026, 12, 1)


def test_an_unclaimed_region_has_no_rule(book):
    """A number of a country whose law nobody wrote down would be called."""
    assert book.rule("NZ", datetime(2026, 8, 11, tzinfo=UTC)) is None
    assert book.day("NZ", datetime(2026, 8, 11, tzinfo=UTC)) is None
    assert book.on("", date(2026, 8, 11)) is None


def test_an_instant_without_a_zone_is_refused(book):
    """The machine's own zone would choose the law."""
    with pytest.raises(ValueError, match="time zone"):
        book.rule("FR", datetime(2026, 8, 11, 0, 30))


def test_until(book):
    """A dialler would keep a lead longer than its verdict is good for."""
    assert until(book.on("GB", date(2026, 11, 24)), date(2026, 11, 24)) == date(2026, 12, 22)
    assert until(book.on("FR", date(2026, 8, 11)), date(2026, 8, 11)) == date(2026, 8, 12)
    assert until(book.on("FR", date(2016, 5, 1)), date(2016, 5, 1)) == date(2016, 5, 31)
    assert until(book.on("BE", date(2026, 11, 24)), date(2026, 11, 24), date(2026, 11, 25)) == date(
        2026, 11, 25
    )
