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


def opposes(register):
    return RegisterChange(register, DENY, held=True)


def consents(register, end=0):
    return RegisterChange(register, ALLOW, held=True, end=end)


def ends(register, kind):
    return RegisterChange(register, kind, held=False)


def epoch_s(hour):
    return int(datetime(2027, 11, 24, hour, tzinfo=UTC).timestamp())


TYPED_WRONG = {"request": "correction", "reason": "typed wrong"}
ODD = {"region": " ", "scope": " ", "until": 7, "after_opt_out": "yes", "at": {}, "proof": None, "reason": []}


@pytest.mark.parametrize(
    ("members", "changes"),
    [
        ({"request": "opt-out", "source": "dialler-7"}, [opposes("internal")]),
        ({"request": "opt-out", **ODD}, [opposes("internal")]),
        ({"request": "opt-out", "register": "house@acme"}, [opposes("house@acme")]),
        ({"request": "opt-out", "register": "house", "scope": " Acme "}, [opposes("house@acme")]),
        # Who withdrew a consent must not be called in a country that needs none.
        ({"request": "withdrawal", **ODD}, [opposes("internal"), ends("consent", ALLOW)]),
        ({"request": "withdrawal", "scope": "acme"}, [opposes("internal@acme"), ends("consent@acme", ALLOW)]),
        # A consent lifts no opposition unless it says so, and then that to its scope only.
        ({"request": "consent", "proof": {"text": "I agree"}}, [consents("consent")]),
        ({"request": "consent", "register": "newsletter"}, [consents("newsletter")]),
        (
            {"request": "consent", "scope": "acme", "after_opt_out": True},
            [consents("consent@acme"), ends("internal@acme", DENY)],
        ),
        # Its last day is over when it is over in Kiribati.
        ({"request": "consent", "until": "2027-11-24"}, [consents("consent", epoch_s(10))]),
        ({"request": "consent", "until": "2027-11-24T12:00:00Z"}, [consents("consent", epoch_s(12))]),
        ({"request": "consent", "until": "2027-11-24t12:00:00.25+02:00"}, [consents("consent", epoch_s(10))]),
        ({**TYPED_WRONG, "remove_from": "internal"}, [ends("internal", DENY)]),
        ({**TYPED_WRONG, "remove_from": "consent", "scope": "acme"}, [ends("consent@acme", ALLOW)]),
        # A verb and a campaign are the same in any spelling.
        ({"request": "OPT_OUT", "scope": "Acme Energy"}, [opposes("internal@acme-energy")]),
        ({"request": ["opt-out"], "scope": " acme_energy "}, [opposes("internal@acme-energy")]),
        ({"request": " optout ", "scope": "Acm\u00e9/Energy"}, [opposes("internal@acme-energy")]),
        ({"request": "consent", "register": "consent@ACME.ENERGY"}, [consents("consent@acme-energy")]),
    ],
)
def test_a_request_changes_these_registers_and_no_others(members, changes):
    """Who opted out would be called, or who agreed to one caller be called by all."""
    order = asked(**members)

    assert isinstance(order, ParsedRequest) and order.refused == 0 and order.odd is None
    assert order.changes == tuple(changes)


@pytest.mark.parametrize(
    ("members", "numbers", "refused", "odd"),
    [
        # As a prospect's number is read.
        ({"number": "06 12 34 56 78"}, [NUMBER], 0, None),
        ({"number": 612345678}, [NUMBER], 0, None),
        ({"number": "0033 6.12.34.56.78"}, [NUMBER], 0, None),
        ({"number": ["0612345678", "x", None, True, 6.5, "0612345678"]}, [NUMBER], 4, None),
        # A region, and what systems call it.
        ({"number": "020 7946 0018", "Country_Code": "United Kingdom"}, [BRITISH], 0, None),
        ({"number": "020 7946 0018", "Land": "Vereinigtes K\u00f6nigreich"}, [BRITISH], 0, None),
        ({"number": "+442079460018", "region": "Narnia"}, [BRITISH], 0, RequestRefusal.INVALID_REGION),
        # What systems call a number. Other numbers beside an exact one are evidence.
        ({"number": "absent", "T\u00e9l\u00e9phone": "0612345678"}, [NUMBER], 0, None),
        ({"number": "", "msisdn": "0612345678"}, [NUMBER], 0, None),
        ({"phone": "+33612345679"}, [NUMBER], 0, None),
        ({"Number": ["0612345679"]}, [NUMBER, NUMBER + 1], 0, None),
    ],
)
@pytest.mark.parametrize("verb", ["opt-out", "withdrawal"])
def test_what_restricts_is_about_every_number_that_can_be_read(verb, members, numbers, refused, odd):
    """An opt-out would be lost, or go to another number than the one that the prospect comes with."""
    order = asked(request=verb, **members)

    assert isinstance(order, ParsedRequest)
    assert (order.numbers, order.refused, order.odd) == (tuple(numbers), refused, odd)


@pytest.mark.parametrize("region", ["Narnia", 44, ["UK", "GB"]])
def test_a_number_of_no_known_region_is_opposed_as_every_region_writes_it(region):
    """A person whose country nobody can read would be called, whatever the operator's own country is."""
    order = asked(request="opt-out", number="020 7946 0018", region=region)

    assert isinstance(order, ParsedRequest) and order.odd is RequestRefusal.INVALID_REGION
    assert BRITISH in order.numbers and order.refused == 0
    assert order.changes == (opposes("internal"),)


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
    ],
)
def test_an_opposition_that_nobody_can_place_is_one_to_everybody(reason, odd):
    """Somebody said no, and would be called until a person has read the refused topic."""
    assert asked(**{"request": "opt-out", **odd}) == ParsedRequest(
        (NUMBER,), (opposes("internal"),), odd=reason
    )


def test_every_word_for_no_is_an_opposition():
    """Somebody said no in the words of a dialler or a CRM, and would be called."""
    read_as = {verb: asked(request=verb) for verb in WORDS_FOR_NO}
    opposing = ParsedRequest((NUMBER,), (opposes("internal"),), odd=RequestRefusal.UNKNOWN_REQUEST)
    assert [verb for verb, order in read_as.items() if order != opposing] == []


@pytest.mark.parametrize("name", ["Scope", "Until", "Purpose", "At", "SCOPE"])
@pytest.mark.parametrize("lift", [{"request": "consent"}, {**TYPED_WRONG, "remove_from": "consent"}])
def test_what_lifts_is_not_made_wider_by_a_member_spelt_otherwise(lift, name):
    """A consent to Acme until January would be one to everybody, for ever."""
    assert isinstance(asked(**lift), ParsedRequest)
    assert asked(**lift, **{name: "acme"}) is RequestRefusal.UNREADABLE


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("Acme + Assurances", ["acme-assurances", "acme"]),
        ("acme+club", ["acme-club", "acme"]),
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
        (RequestRefusal.NO_NUMBER, {"request": "consent", "number": "absent", "phone": "0612345678"}),
        (RequestRefusal.INVALID_NUMBER, {"request": "consent", "number": ["0612345678", "x"]}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": "061234"}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": True}),
        (RequestRefusal.INVALID_NUMBER, {"request": "opt-out", "number": {"x": 1}}),
        (RequestRefusal.INVALID_REGION, {"request": "consent", "region": "ZZ"}),
        (RequestRefusal.INVALID_REGION, {"request": "consent", "region": 33}),
        (RequestRefusal.INVALID_REGISTER, {"request": "consent", "register": "internal"}),
        (RequestRefusal.INVALID_REGISTER, {"request": "consent", "scope": ""}),
        (RequestRefusal.INVALID_REGISTER, {"request": "correction", "reason": "a test"}),
        (RequestRefusal.INVALID_REGISTER, {**TYPED_WRONG, "remove_from": "tps"}),
        (RequestRefusal.INVALID_REGISTER, {**TYPED_WRONG, "remove_from": "unseen"}),
        (RequestRefusal.NO_REASON, {"request": "correction", "remove_from": "internal"}),
        (RequestRefusal.NO_REASON, {"request": "correction", "remove_from": "internal", "reason": "  "}),
        (RequestRefusal.NO_REASON, {**TYPED_WRONG, "remove_from": "internal", "reason": "x" * 1001}),
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
