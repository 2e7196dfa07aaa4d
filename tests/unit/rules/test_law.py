"""The shipped rules, read against the law: the golden table has one row a legal sentence."""

import json
import re
import tomllib
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phonenumbers.geodata import GEOCODE_DATA

from stream_scrub.numbering import line_of
from stream_scrub.rules import Rulebook
from stream_scrub.rules.book import NO_REGION
from stream_scrub.rules.shipped import shipped
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

LAW = Path(__file__).parents[2] / "golden" / "rules" / "law.toml"
FOLDER = shipped().folder
ROWS = tomllib.loads(LAW.read_text("utf-8"))["row"]
BOOK = Rulebook.load()
STATES = {code.removeprefix("US-") for code in BOOK.countries if code.startswith("US-")}


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return BOOK


def said(exemption) -> str:
    """An exemption's conditions, and what it lifts if not everything."""
    lasts = f"{exemption.working_days} working days" if exemption.working_days else exemption.months
    term = f"{exemption.relation} {lasts}" if exemption.relation else ""
    other_than = [f"but:{name}" for name in exemption.other_than]
    lifts = f"only {''.join(exemption.lifts) or 'bans'}" if len(exemption.lifts) < 2 else ""
    words = (
        "contract" if exemption.contract else "",
        exemption.who,
        term,
        *exemption.purposes,
        *other_than,
        lifts,
    )
    return " ".join(filter(None, (*words, *(f"bans:{name}" for name in exemption.bans))))


def terms_of(rule) -> dict:
    """What a rule asks, by the keys of the table. Sets are sorted, and what is empty is left out."""
    limits = {} if rule.attempts is None else asdict(rule.attempts)
    terms = {
        "deny": list(rule.deny),
        "require": list(rule.require),
        "wash": list(rule.wash),
        "wash_named": list(rule.wash_named),
        "lifted": list(rule.lifted_by),
        "require_named": list(rule.require_named),
        "named": list(rule.named_consents),
        "banned": sorted(rule.banned_purposes),
        "banned_despite_contract": sorted(rule.banned_despite_contract),
        "banned_without_consent": sorted(rule.banned_without_consent),
        "artificial": list(rule.artificial_voice),
        "exempt": [said(each) for each in rule.exempt],
        "require_named_for": {kind: list(names) for kind, names in rule.require_named_for.items()},
        "valid": rule.valid_days,
        "age": dict(rule.max_age_days),
        "areas": dict(rule.areas),
        "consent_days": dict(rule.consent_days),
        "dated_consents": list(rule.dated_consents),
        "consent_proof": list(rule.consent_proof),
        "attempts": {name: limit for name, limit in limits.items() if limit},
    }
    return {key: term for key, term in terms.items() if term}


OTHER_KEYS = {"law", "source", "confidence", "region", "channel", "on"}
SETS = ("banned", "banned_despite_contract", "banned_without_consent")


def asked_by(row, rule) -> dict:
    """What a row says that the rule asks."""
    terms = {"artificial": ["consent-artificial"] if "voice" in rule.channels else []}
    terms |= {key: value for key, value in row.items() if key not in OTHER_KEYS}
    terms |= {key: sorted(terms[key]) for key in SETS if key in terms}
    return {key: term for key, term in terms.items() if term}


@pytest.mark.parametrize("region", sorted({row["region"] for row in ROWS}))
def test_the_law_of_the_day(region):
    """A prospect would be judged by a law that is not in force for its number on that day."""
    wrong = []
    for row in ROWS:
        for day in row["on"] if row["region"] == region else []:
            rule = BOOK.on(region, day, row.get("channel", "voice"))
            if rule is None or "deny" not in row:
                agrees = rule is None and "deny" not in row
            else:
                agrees = terms_of(rule) == asked_by(row, rule)
                agrees = agrees and rule.start <= day and (rule.end is None or day <= rule.end)
            if not agrees:
                wrong.append(f"{row['law']} {day}: {row}, and the rule is {rule}")
    assert not wrong, "\n".join(wrong)


def test_every_shipped_country_has_rows(book):
    """A country could ship rules that nobody read against the law."""
    assert set(book.countries) <= {row["region"] for row in ROWS}


def test_every_edge_of_every_rule_is_in_the_table(book):
    """The first day of a rule could move by one without a test that notices."""
    seen = {(row["region"], row.get("channel", "voice"), day) for row in ROWS for day in row["on"]}
    for country in book.countries.values():
        for rule in country.rules:
            for channel in rule.channels:
                assert (country.code, channel, rule.start) in seen
                assert rule.end is None or (country.code, channel, rule.end) in seen


# In service, and not yet valid to phonenumbers: NANPA.
NEW_CODES = {"AL": "483", "LA": "457", "MI": "679", "MN": "924", "MS": "471", "TN": "729", "TX": "621"}
MISPLACED = {"1201631"}  # an exchange of New Jersey that phonenumbers places in New York
NAMES = {
    "AK": "Alaska", "AL": "Alabama", "AR": "Arkansas", "AZ": "Arizona", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DC": "Washington D.C.", "DE": "Delaware", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii",
    "IA": "Iowa", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana",
    "MA": "Massachusetts", "MD": "Maryland", "ME": "Maine", "MI": "Michigan", "MN": "Minnesota", "MO": "Missouri",
    "MS": "Mississippi", "MT": "Montana", "NC": "North Carolina", "ND": "North Dakota", "NE": "Nebraska",
    "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico", "NV": "Nevada", "NY": "New York", "OH": "Ohio",
    "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania", "RI": "Rhode Island", "SC": "South Carolina",
    "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VA": "Virginia", "VT": "Vermont",
    "WA": "Washington State", "WI": "Wisconsin", "WV": "West Virginia", "WY": "Wyoming",
}  # fmt: skip


def codes_of(state: str) -> set[str]:
    """The first digits of a state's numbers: those of the places there that phonenumbers names, and its new code."""
    codes = {
        prefix[:4]
        for prefix, place in GEOCODE_DATA.items()
        if prefix[0] == "1"
        and len(prefix) >= 4
        and prefix not in MISPLACED
        and (place["en"] == NAMES[state] or place["en"].endswith(f", {state}"))
    }
    return codes | ({f"1{NEW_CODES[state]}"} if state in NEW_CODES else set())


def test_each_state_has_all_its_area_codes(book):
    """People with an area code that was added later would be called by the federal rules alone, or be blocked as no-rule."""
    for state in NAMES:
        if state in STATES:
            assert codes_of(state) == {*book.countries[f"US-{state}"].prefixes}, state
        else:
            assert codes_of(state) <= {*book.countries["US"].prefixes}, state


def test_every_american_area_code_is_in_a_file(book):
    """Leads of a new area code would be blocked as no-rule after an update of phonenumbers, and nobody would know why."""
    numbers = [int(f"1{code}{exchange}5678") for code in range(200, 1000) for exchange in (224, 234, 534)]
    lines = {number: line_of(number) for number in numbers}
    american = [number for number, line in lines.items() if line is not None and line.region == "US"]
    assert len(american) > 1000
    assert [number for number in american if book.region_of(number, "US") == NO_REGION] == []


def test_a_number_of_an_area_that_no_file_lists_has_no_rule(tmp_path):
    """People of a new area code, perhaps in a state with stricter law, would be called by the federal rules alone."""
    text = (FOLDER / "us.toml").read_text("utf-8")
    (tmp_path / "us.toml").write_text(text.replace('"+1404", ', ""), encoding="utf-8")
    index = law.index(replace(law.register("us-dnc"), areas=("1404", "1470")), law.register("internal"))
    terms = Terms(MEMBERS, stamp="header", default_purpose="other")
    calls = [f'{{"phone":"+1{code}2345678"}}'.encode() for code in (404, 470)]
    for folder, reasons in ((None, ["clear", "clear"]), (tmp_path, ["no-rule", "clear"])):
        scrubber = Scrubber(terms, Rulebook.load(folder))
        stamps = [json.loads(stamp) for stamp in scrubber.scrub(calls, index, law.NOW).stamps]
        assert [stamp["reason"] for stamp in stamps] == reasons


def test_a_state_of_ones_own_takes_its_area_codes(tmp_path):
    """Who adds the law of a state would have to copy the federal file, and take its area codes out."""
    text = (FOLDER / "us-al.toml").read_text("utf-8").replace("US-AL", "US-GA", 2)
    text = re.sub(r"prefixes = .*", 'prefixes = ["+1404", "+1470"]', text)
    (tmp_path / "us-ga.toml").write_text(text, encoding="utf-8")
    book = Rulebook.load(tmp_path)
    found = [book.region_of(int(f"1{code}2345678"), "US") for code in (404, 470, 478, 205, 499)]
    assert found == ["US-GA", "US-GA", "US", "US-AL", NO_REGION]


def test_every_rule_names_its_source_and_keeps_internal_opposition(book):
    """Someone who told the caller to stop could be called again, or nobody tell which law a verdict rests on."""
    for country in book.countries.values():
        for rule in country.rules:
            assert len(rule.source) > 20 and "internal" in rule.deny, country.code


def test_every_shared_register_may_grow_too_old(book):
    """A register nobody renews would go on allowing calls for years."""
    for country in book.countries.values():
        for rule in country.rules:
            named = rule.registers | set(rule.scoped)
            own = {"internal", "consent", "consent-sms", "consent-artificial", "consent-hours"}
            assert named - own == set(rule.max_age_days), country.code


def test_the_day_is_the_day_in_the_country(book):
    """At 00:30 in Paris the old law would still allow a call that the new one forbids."""
    before = book.rule("FR", datetime(2026, 8, 10, 21, 59, 59, tzinfo=UTC))
    after = book.rule("FR", datetime(2026, 8, 10, 22, 30, tzinfo=UTC))
    assert before.deny == ("internal",) and before.wash == ("bloctel-clean",)
    assert after.require_named == ("consent",)
    assert book.rule("RE", datetime(2026, 8, 10, 21, 59, 59, tzinfo=UTC)) == before
    assert book.day("FR", datetime(2026, 8, 10, 22, 0, tzinfo=UTC)) == date(2026, 8, 11)
    assert book.day("US", datetime(2026, 8, 11, 3, 59, tzinfo=UTC)) == date(2026, 8, 10)
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
