"""What each kind of request asks for, and what is turned away with which reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.model import CONSENT, INTERNAL, RegisterKind
from stream_scrub.requests.parse_request import (
    NUMBERS_MAX,
    ParsedRequest,
    RegisterChange,
    RequestRefusal,
    RequestTerms,
    read,
)
from stream_scrub.rules import Rulebook
from tests.support.golden.examples import REQUESTS
from tests.support.texts.no import WORDS_FOR_NO
from tests.support.texts.pages import ROOT, rows, section, ticked

PAGE = ROOT / "docs" / "requests.md"
DENY, ALLOW = RegisterKind.DENY, RegisterKind.ALLOW
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KINDS = {"house": DENY, "newsletter": ALLOW}
TERMS = RequestTerms(frozenset({INTERNAL, CONSENT, "house", "newsletter", "unseen"}), KINDS, "FR", NOW)
NUMBER = 33612345678
BRITISH = 442079460018


def asked(**members):
    """What a request with these members comes to; `number` is there unless it is said to be absent."""
    told = {"number": "+33612345678", **members}
    return read(json.dumps({k: v for k, v in told.items() if v != "absent"}).encode(), TERMS)


def changes(**members):
    order = asked(**members)
    assert isinstance(order, ParsedRequest) and order.refused == 0, order
    return order.changes


def test_an_opt_out_adds_to_internal():
    """Who opted out would be called."""
    assert changes(request="opt-out", at="2026-11-24T12:00:00Z", source="dialler-7") == (
        RegisterChange("internal", DENY, held=True),
    )


def test_a_withdrawal_opposes_as_well():
    """In a country that needs no consent, who withdrew his would be called again."""
    assert changes(request="withdrawal", scope="acme", source="crm") == (
        RegisterChange("internal@acme", DENY, held=True),
        RegisterChange("consent@acme", ALLOW, held=False),
    )


def test_a_consent_alone_lifts_no_opt_out():
    """A lead form would take back what a person said on the phone."""
    assert changes(request="consent", proof={"text": "I agree"}) == (
        RegisterChange("consent", ALLOW, held=True),
    )


def test_a_consent_after_an_opt_out_says_so_and_lifts_that_scope_only():
    """Who agreed to one caller would be called by all who were told not to."""
    assert changes(request="consent", scope="acme", after_opt_out=True) == (
        RegisterChange("consent@acme", ALLOW, held=True),
        RegisterChange("internal@acme", DENY, held=False),
    )


@pytest.mark.parametrize(
    ("until", "end"),
    [
        ("2027-11-24", datetime(2027, 11, 24, 10, tzinfo=UTC)),  # the day is over in Kiribati
        ("2027-11-24T12:00:00Z", datetime(2027, 11, 24, 12, tzinfo=UTC)),
        ("2027-11-24t12:00:00.25+02:00", datetime(2027, 11, 24, 10, tzinfo=UTC)),
    ],
)
def test_a_consent_ends_when_it_says(until, end):
    """A person would be called after the consent has ended."""
    assert changes(request="consent", until=until) == (
        RegisterChange("consent", ALLOW, held=True, end=int(end.timestamp())),
    )


def test_a_correction_names_the_register_and_why():
    """A mistyped opt-out could never be taken back, or be taken back without a trace."""
    assert changes(request="correction", remove_from="internal", reason="wrong number typed") == (
        RegisterChange("internal", DENY, held=False),
    )
    assert changes(request="correction", remove_from="consent", scope="acme", reason="test entry") == (
        RegisterChange("consent@acme", ALLOW, held=False),
    )


def test_a_register_may_be_chosen_with_or_without_a_scope():
    """A company with lists of its own could not let requests into them."""
    assert changes(request="opt-out", register="house@acme") == (
        RegisterChange("house@acme", DENY, held=True),
    )
    assert changes(request="opt-out", register="house", scope=" Acme ") == (
        RegisterChange("house@acme", DENY, held=True),
    )
    assert changes(request="consent", register="newsletter") == (
        RegisterChange("newsletter", ALLOW, held=True),
    )


def test_numbers_are_read_as_a_prospects_are():
    """An opt-out would go to another number than the one that the prospect comes with."""
    for number in ("06 12 34 56 78", 33612345678, 612345678, "0033 6.12.34.56.78"):
        order = asked(request="opt-out", number=number)
        assert isinstance(order, ParsedRequest) and order.numbers == (NUMBER,), number
    british = asked(request="opt-out", number="07400 123456", region="gb")
    assert isinstance(british, ParsedRequest) and british.numbers == (447400123456,)


@pytest.mark.parametrize("name", ["region", "country", "Country_Code", "Land"])
@pytest.mark.parametrize(
    "word", ["GB", "UK", "GBR", "United Kingdom", "Royaume-Uni", "Vereinigtes Königreich"]
)
@pytest.mark.parametrize("verb", ["opt-out", "withdrawal"])
def test_a_region_is_one_in_any_spelling(verb, word, name):
    """The withdrawal of a British person would be refused, or oppose a French number, and the consent would stay."""
    order = asked(request=verb, number="020 7946 0018", **{name: word})
    assert isinstance(order, ParsedRequest) and order.numbers == (BRITISH,) and order.odd is None
    lift = asked(request="consent", number="020 7946 0018", region=word)
    assert isinstance(lift, ParsedRequest) and lift.numbers == (BRITISH,)


@pytest.mark.parametrize("region", ["Narnia", "ZZ", 44, ["UK", "GB"], {}])
def test_a_number_of_no_known_region_is_opposed_as_every_region_writes_it(region):
    """A person whose country nobody can read would be called, whatever the operator's own country is."""
    order = asked(request="opt-out", number="020 7946 0018", region=region)
    assert isinstance(order, ParsedRequest) and order.odd is RequestRefusal.INVALID_REGION
    assert BRITISH in order.numbers and order.refused == 0
    assert order.changes == (RegisterChange("internal", DENY, held=True),)
    whole = asked(request="opt-out", number="+442079460018", region=region)
    assert isinstance(whole, ParsedRequest) and whole.numbers == (BRITISH,)


def test_what_is_too_large_for_the_log_is_refused_unread():
    """Thirty of them would keep the publisher busy for seconds, to be refused in the end."""
    assert read(b"x" * (768 * 1024 + 1), TERMS) is RequestRefusal.TOO_LARGE


def test_of_a_long_list_without_a_known_region_the_rest_is_reported():
    """One list would keep the publisher busy for minutes, and every opt-out behind it; or its rest would be lost."""
    spelt = [f"020 7946 {at:04}" for at in range(18, 18 + NUMBERS_MAX)]
    order = asked(request="opt-out", number=spelt, region="Narnia")
    assert (
        isinstance(order, ParsedRequest) and 9_990 < order.refused < NUMBERS_MAX and BRITISH in order.numbers
    )


@pytest.mark.parametrize("name", ["phone", "msisdn", "tel", "mobile", "Phone_Number", "Téléphone"])
def test_a_number_may_be_called_otherwise_by_what_restricts(name):
    """An opt-out would be lost because a dialler calls the number msisdn."""
    order = asked(request="opt-out", number="absent", **{name: "0612345678"})
    assert isinstance(order, ParsedRequest) and order.numbers == (NUMBER,) and order.odd is None
    blank = asked(request="withdrawal", number="", **{name: "0612345678"})
    assert isinstance(blank, ParsedRequest) and blank.numbers == (NUMBER,)
    other = asked(request="opt-out", **{name: "+33612345679"})
    assert isinstance(other, ParsedRequest) and other.numbers == (NUMBER,), "evidence beside the number"
    assert asked(request="consent", number="absent", **{name: "0612345678"}) is RequestRefusal.NO_NUMBER


def test_of_a_list_with_invalid_numbers_an_opt_out_takes_the_valid_ones():
    """One typing error in a list of a hundred would have the other ninety-nine called."""
    order = asked(request="opt-out", number=["0612345678", "x", None, True, 6.5, "0612345678"])
    assert order == ParsedRequest((NUMBER,), (RegisterChange("internal", DENY, held=True),), refused=4)


def test_of_a_list_with_an_invalid_number_a_consent_takes_nothing():
    """Nobody could tell whose consent was recorded."""
    assert asked(request="consent", number=["0612345678", "x"]) is RequestRefusal.INVALID_NUMBER


def test_what_is_odd_beside_the_number_stops_no_opt_out():
    """A dialler's bug in a member that an opt-out does not need would have people called who opted out."""
    odd = {
        "region": " ",
        "scope": " ",
        "until": 7,
        "after_opt_out": "yes",
        "at": {},
        "proof": None,
        "reason": [],
    }
    assert changes(request="opt-out", number="0612345678", **odd) == (
        RegisterChange("internal", DENY, held=True),
    )
    assert len(changes(request="withdrawal", **odd)) == 2


@pytest.mark.parametrize("verb", ["OPT-OUT", "opt_out", "Opt out", " optout ", ["opt-out"]])
def test_an_opt_out_is_one_in_any_spelling(verb):
    """A dialler that writes OPT_OUT would have everybody called who said no to it."""
    assert changes(request=verb, scope="acme") == (RegisterChange("internal@acme", DENY, held=True),)


@pytest.mark.parametrize(
    "scope", ["Acme Energy", " acme_energy ", "ACME.ENERGY", "Acmé/Energy", "acme-energy"]
)
def test_a_campaign_is_one_in_any_spelling(scope):
    """Who said no to Acme Energy would be called for acme-energy."""
    assert changes(request="opt-out", scope=scope) == (
        RegisterChange("internal@acme-energy", DENY, held=True),
    )
    assert changes(request="consent", register=f"consent@{scope}") == (
        RegisterChange("consent@acme-energy", ALLOW, held=True),
    )


@pytest.mark.parametrize(
    ("reason", "odd"),
    [
        (RequestRefusal.INVALID_REGISTER, {"scope": ["acme"]}),
        (RequestRefusal.INVALID_REGISTER, {"Scope": "acme", "SCOPE": "beta"}),
        (RequestRefusal.INVALID_REGISTER, {"scope": "***"}),
        (RequestRefusal.INVALID_REGISTER, {"scope": "能源"}),
        (RequestRefusal.INVALID_REGISTER, {"register": "consent"}),
        (RequestRefusal.INVALID_REGISTER, {"register": "tps"}),
        (RequestRefusal.INVALID_REGISTER, {"register": "unseen"}),
        (RequestRefusal.INVALID_REGISTER, {"register": "rules"}),
        (RequestRefusal.INVALID_REGISTER, {"register": 5}),
        (RequestRefusal.INVALID_REGISTER, {"register": "internal@a", "scope": "b"}),
        (RequestRefusal.INVALID_REGISTER, {"request": "withdrawal", "register": "internal"}),
        (RequestRefusal.UNKNOWN_REQUEST, {"request": "unsubscribe"}),
        (RequestRefusal.UNKNOWN_REQUEST, {"request": "Do not call", "scope": "acme"}),
        *((RequestRefusal.UNKNOWN_REQUEST, {"request": verb}) for verb in WORDS_FOR_NO),
    ],
)
def test_an_opposition_that_nobody_can_place_is_one_to_everybody(reason, odd):
    """Somebody said no, and would be called until a person has read the refused topic."""
    assert asked(**{"request": "opt-out", **odd}) == ParsedRequest(
        (NUMBER,), (RegisterChange("internal", DENY, held=True),), odd=reason
    )


def test_names_of_members_may_be_spelt_in_any_way_by_what_restricts():
    """An opt-out would be lost because a CRM writes Number and Scope."""
    value = json.dumps({"Request": "Opt-Out", "Number": "0612345678", "SCOPE": "Acme", "at": "2026-11-24"})
    order = read(value.encode(), TERMS)

    assert isinstance(order, ParsedRequest) and order.numbers == (NUMBER,) and order.at_ms is not None
    assert order.changes == (RegisterChange("internal@acme", DENY, held=True),)
    both = asked(request="opt-out", Number=["0612345679"])
    assert isinstance(both, ParsedRequest) and both.numbers == (NUMBER, NUMBER + 1)


@pytest.mark.parametrize(
    "odd",
    [
        {"Scope": "acme"},
        {"Until": "2027-01-31"},
        {"Purpose": "insurance"},
        {"At": "2026-11-01"},
        {"SCOPE": "b"},
    ],
)
@pytest.mark.parametrize(
    "lift", [{"request": "consent"}, {"request": "correction", "remove_from": "consent"}]
)
def test_what_lifts_is_not_made_wider_by_a_member_spelt_otherwise(lift, odd):
    """A consent to Acme until January would be one to everybody, for ever."""
    exact = {**lift, "number": "0612345678", "reason": "typed wrong"}
    assert isinstance(read(json.dumps(exact).encode(), TERMS), ParsedRequest)
    assert read(json.dumps({**exact, **odd}).encode(), TERMS) is RequestRefusal.UNREADABLE


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("acme+insurance", ["acme-insurance", "acme"]),
        ("Acme + Assurances", ["acme-assurances", "acme"]),
        ("acme+club", ["acme-club", "acme"]),
        ("Canal+", ["canal"]),
        ("Canal+ Sport", ["canal-sport"]),
        ("+insurance", ["insurance"]),
    ],
)
def test_who_opposes_under_the_name_of_a_purposes_register_opposes_the_campaign(scope, names):
    """Whoever copies acme+insurance from the registers' names into an opt-out would have its person called by acme."""
    parts = {"consent@acme": ("consent@acme+club",)}
    terms = replace(TERMS, parts=parts, law=ConsentLaw(Rulebook.load()))
    order = read(json.dumps({"request": "opt-out", "number": "0612345678", "scope": scope}).encode(), terms)

    assert isinstance(order, ParsedRequest) and order.odd is None
    assert [change.register for change in order.changes] == [f"internal@{name}" for name in names]


@pytest.mark.parametrize(
    ("reason", "members"),
    [
        (RequestRefusal.UNKNOWN_REQUEST, {}),
        (RequestRefusal.UNKNOWN_REQUEST, {"request": "opt-in"}),
        (RequestRefusal.UNKNOWN_REQUEST, {"request": "Consent"}),
        (RequestRefusal.UNKNOWN_REQUEST, {"Request": "consent"}),
        (RequestRefusal.UNKNOWN_REQUEST, {"request": "CORRECTION", "remove_from": "internal", "reason": "x"}),
        (RequestRefusal.NO_NUMBER, {"request": "opt-out", "number": "absent"}),
        (RequestRefusal.NO_NUMBER, {"request": "opt-out", "number": []}),
        (RequestRefusal.NO_NUMBER, {"request": "consent", "number": [None]}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": "061234"}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": True}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": {"x": 1}}),
        (RequestRefusal.INVALID_REGION, {"request": "consent", "region": "ZZ"}),
        (RequestRefusal.INVALID_REGION, {"request": "consent", "region": 33}),
        (RequestRefusal.INVALID_REGISTER, {"request": "consent", "register": "internal"}),
        (RequestRefusal.INVALID_REGISTER, {"request": "consent", "scope": ""}),
        (RequestRefusal.INVALID_REGISTER, {"request": "correction", "reason": "a test"}),
        (
            RequestRefusal.INVALID_REGISTER,
            {"request": "correction", "remove_from": "tps", "reason": "a test"},
        ),
        (
            RequestRefusal.INVALID_REGISTER,
            {"request": "correction", "remove_from": "unseen", "reason": "a test"},
        ),
        (RequestRefusal.NO_REASON, {"request": "correction", "remove_from": "internal"}),
        (RequestRefusal.NO_REASON, {"request": "correction", "remove_from": "internal", "reason": "  "}),
        (
            RequestRefusal.NO_REASON,
            {"request": "correction", "remove_from": "internal", "reason": "x" * 1001},
        ),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": "next year"}),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": "24/11/2027"}),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": "2027-11-24T12:00:00"}),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": "2027-02-30"}),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": "9999-12-31"}),
        (RequestRefusal.INVALID_UNTIL, {"request": "consent", "until": 1_900_000_000}),
        (RequestRefusal.ENDED, {"request": "consent", "until": "2026-11-24T12:00:00Z"}),
        (RequestRefusal.ENDED, {"request": "consent", "until": "0001-01-01"}),
        (RequestRefusal.INVALID_AFTER_OPT_OUT, {"request": "consent", "after_opt_out": "true"}),
        (RequestRefusal.TOO_LARGE, {"request": "opt-out", "number": [1] * (NUMBERS_MAX + 1)}),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason(reason, members):
    """A request would vanish, or do what nobody asked for."""
    assert asked(**members) is reason


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"opt-out"',
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b'{"request":"opt-out","number":"+33612345678"',
        b'{"request":"opt-out","number":"+33612345678","number":"+33612345679"}',
        b'{"request":"opt-out","number":"+33612345678","numbe\\u0072":"+33612345679"}',
        b'{"request":"opt-out","number":"+33612345678","x":NaN}',
        b'{"request":"opt-out","number":"+33612345678","x":"\xff"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
    ],
)
def test_what_two_parsers_could_read_differently_is_unreadable(value):
    """The person whom the sender meant would be called, and another one not."""
    assert read(value, TERMS) is RequestRefusal.UNREADABLE


def test_a_proof_may_be_as_it_likes():
    """An opt-out would be refused for what a form's script left in its evidence."""
    value = b'{"request":"opt-out","number":"+33612345678","proof":{"a":1,"a":2,"n":' + b"9" * 5000 + b"}}"
    assert isinstance(read(value, TERMS), ParsedRequest)


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_examples_are_taken(kind):
    """Who writes requests after the examples would be refused."""
    order = read(REQUESTS[kind], TERMS)
    assert isinstance(order, ParsedRequest) and order.changes and order.refused == 0
    assert json.loads(REQUESTS[kind])["request"] == kind


def test_the_refusals_on_the_page_are_the_closed_set():
    """Whoever reads the refused topic would meet a reason that the page does not explain."""
    listed = [ticked(reason)[0] for reason, _ in rows(section(PAGE, "What is refused"))]
    assert listed == [str(reason) for reason in RequestRefusal]
