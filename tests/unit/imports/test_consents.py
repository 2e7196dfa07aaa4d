"""What the law asks of a consent: a purpose, a proof, an end."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub.imports.consents import ConsentLaw, belated
from stream_scrub.imports.register_law import RegisterLaw
from stream_scrub.index.deltas import Ends
from stream_scrub.model import Request
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import ParsedRequest, RequestRefusal, RequestTerms, read
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from stream_scrub.rules import Rulebook
from tests.support.fakes.publisher import as_dict, bitmap, stated

BOOK = Rulebook.load()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FRENCH, SPANISH, BRITISH = "+33612345678", "+34612345678", "+447400123456"
REUNION = "+262692123456"
IRISH_MOBILE, IRISH = "+353851234567", "+35312345678"
TEXTS = {
    "text": "I agree to be called by Acme about insurance",
    "url": "https://example.org/form",
    "withdrawal": "I may withdraw at any time, also in a call",
    "access": "I get this consent from proof@acme.example",
}
PROVEN = {
    "request": "consent",
    "number": FRENCH,
    "scope": "acme",
    "purpose": "insurance",
    "at": "2026-11-23T10:00:00Z",
    "source": "form-7",
    "controller": "Acme SA",
    "proof": TEXTS,
}


def terms(*, required=False, parts=None):
    return RequestTerms(now=NOW, law=ConsentLaw(BOOK, proof_required=required), parts=parts or {})


def registers(order):
    assert isinstance(order, ParsedRequest), order
    return [(change.register, change.held) for change in order.changes]


def asked(by=None, **members):
    told = {name: value for name, value in {**PROVEN, **members}.items() if value != "absent"}
    return read(json.dumps(told).encode(), by or terms())


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        ("absent", ["consent@acme"]),
        ("Assurances", ["consent@acme+insurance"]),
        (["insurance", "telecoms"], ["consent@acme+insurance", "consent@acme+telecom"]),
        ("loyalty club", ["consent@acme+loyalty-club"]),
    ],
)
def test_a_consent_goes_to_the_register_of_its_purpose(purpose, expected):
    """Somebody who agreed to hear of insurance would be called for everything else."""
    assert registers(asked(purpose=purpose)) == [(name, True) for name in expected]


def test_a_register_may_name_the_purpose_itself():
    """A system that writes whole names of registers could not say what a consent is for."""
    named = {"register": "consent@Acme+insurance", "scope": "absent"}
    assert registers(asked(**named)) == [("consent@acme+insurance", True)]
    assert asked(**named, purpose="telecoms") is RequestRefusal.INVALID_PURPOSE
    lifting = registers(asked(**named, after_opt_out=True))
    assert lifting == [("consent@acme+insurance", True), ("internal@acme", False)]
    opposed = asked(request="opt-out", register="internal@acme+insurance", scope="absent")
    assert registers(opposed) == [("internal@acme", True)]


@pytest.mark.parametrize("odd", [7, [], ["insurance", 7], "", "能源", "formation professionnelle, insurance"])
def test_a_purpose_that_nobody_understands_is_none(odd):
    """A consent would be kept for a purpose that no call has, and its lead be lost without a word."""
    if odd == "formation professionnelle, insurance":
        odd = next(word for word, meant in ConsentLaw(BOOK).known.items() if len(meant) > 1)
    assert asked(purpose=odd) is RequestRefusal.INVALID_PURPOSE
    assert asked(scope="absent") is RequestRefusal.INVALID_PURPOSE, "a purpose without a campaign"


def test_who_withdraws_does_so_for_every_purpose():
    """A consent for one purpose would outlive the person's no."""
    parts = {"consent@acme": ("consent@acme+insurance", "consent@acme+telecoms")}
    assert registers(asked(terms(parts=parts), request="withdrawal")) == [
        ("internal@acme", True),
        ("consent@acme", False),
        ("consent@acme+insurance", False),
        ("consent@acme+telecoms", False),
    ]


@pytest.mark.parametrize(
    "lacking",
    [
        {"purpose": "absent"},
        {"source": " "},
        {"controller": "absent"},
        {"proof": {"url": "https://example.org"}},
        {"proof": "absent"},
        {"proof": {**TEXTS, "text": ""}},
        {"at": "absent", "number": SPANISH},
        {"at": "yesterday", "number": SPANISH},
    ],
)
def test_a_consent_that_proves_nothing_is_refused_where_the_law_asks_for_one(lacking):
    """The caller has to prove the consent, and would have nothing to show to the authority."""
    lacking = {"until": "2027-11-22", "number": FRENCH, **lacking}
    several = {**lacking, "number": [BRITISH, lacking["number"]]}
    assert asked(terms(required=True), **lacking) is RequestRefusal.NO_PROOF
    assert asked(terms(required=True), **several) is RequestRefusal.NO_PROOF
    assert isinstance(asked(terms(), **lacking), ParsedRequest)
    assert isinstance(asked(terms(required=True), **{**lacking, "number": BRITISH}), ParsedRequest)


@pytest.mark.parametrize(
    "lacking",
    [
        {"at": "2026-11-23"},
        {"until": "absent"},
        *({"proof": {**TEXTS, name: " "}} for name in ("withdrawal", "access")),
    ],
)
def test_a_french_consent_states_what_the_decree_names(lacking):
    """The authority asks for hour, period, right of withdrawal and access to the proof, and the caller would have none."""
    whole = {"until": "2027-11-22"}
    assert registers(asked(terms(required=True), **whole)) == [("consent@acme+insurance", True)]
    proof = {**TEXTS, "controller": "Acme SA"}
    assert isinstance(asked(terms(required=True), **whole, controller="absent", proof=proof), ParsedRequest)
    assert asked(terms(required=True), **{**whole, **lacking}) is RequestRefusal.NO_PROOF
    assert isinstance(asked(terms(), **lacking), ParsedRequest)
    assert isinstance(asked(terms(required=True), number=SPANISH, **lacking), ParsedRequest)


@pytest.mark.parametrize(
    ("number", "register", "refused"),
    [
        (IRISH_MOBILE, "consent", True),
        (IRISH, "consent", False),
        (BRITISH, "consent-artificial", True),
        (FRENCH, "consent-sms", True),
    ],
)
def test_the_law_of_a_type_of_number_a_channel_or_a_machine_asks_for_proof_too(number, register, refused):
    """Irish mobiles are called by consent alone, and whoever called one could prove nothing."""
    by = replace(terms(required=True), registers=frozenset({register}), kinds=BOOK.kinds)
    order = asked(by, number=number, register=register, proof="absent")
    assert (order is RequestRefusal.NO_PROOF) is refused


def taken(**members):
    """The ends of a batch of one request, by number, and why it was refused."""
    value = json.dumps({**PROVEN, **members}).encode()
    request = Request(0, 7, int(NOW.timestamp() * 1000), None, value)
    wanted, turned = of_batch(request)
    return wanted["consent@acme+insurance"].numbers, [(each.reason, each.taken) for each in turned]


def of_batch(*requests):
    return take(requests, terms(), lambda _: None, Oppositions(), {}, KnownScopes())[:2]


def test_who_withdraws_at_once_does_so_from_what_the_same_batch_has_made():
    """The consent would outlive the withdrawal, and count as soon as the person consents to something else."""
    said = ({**PROVEN, "purpose": ["insurance", "club"]}, {**PROVEN, "request": "withdrawal", "at": None})
    moment = int(NOW.timestamp() * 1000)
    batch = [Request(0, at, moment, None, json.dumps(each).encode()) for at, each in enumerate(said)]
    wanted, _ = of_batch(*batch)
    for purpose in ("insurance", "club"):
        assert wanted[f"consent@acme+{purpose}"].numbers == {int(FRENCH[1:]): -1}


def test_a_consent_ends_when_the_law_of_its_number_says():
    """A Spaniard would be called by a consent that two years have ended."""
    number = int(SPANISH[1:])
    two_years = int((datetime(2026, 11, 23, 10, tzinfo=UTC) + timedelta(days=730)).timestamp())

    assert taken(number=[SPANISH, BRITISH]) == ({number: two_years, int(BRITISH[1:]): 0}, [])
    sooner, later = taken(number=SPANISH, until="2027-01-31"), taken(number=SPANISH, until="2031-01-31")
    assert sooner[0][number] < two_years and later[0] == {number: two_years}
    assert taken(number=[SPANISH, BRITISH], at="1970-01-01T00:00:00Z")[1] == [(RequestRefusal.ENDED, 1)]
    old = taken(number=[SPANISH, BRITISH], at="2024-11-01")
    assert old == ({int(BRITISH[1:]): 0}, [(RequestRefusal.ENDED, 1)])
    ahead = taken(number=SPANISH, at="2030-01-01")
    assert ahead[0] == {number: int((NOW + timedelta(days=730)).timestamp())}


def test_a_french_consent_ends_a_year_after_it_was_given():
    """A consent of 400 days ago, or one that names a later end, would have somebody called whom the law protects again."""
    number, given = int(FRENCH[1:]), datetime(2026, 11, 23, 10, tzinfo=UTC)
    a_year = int((given + timedelta(days=365)).timestamp())

    assert taken(number=FRENCH) == taken(number=FRENCH, until="2030-01-01") == ({number: a_year}, [])
    assert taken(number=FRENCH, until="2027-01-31")[0][number] < a_year
    assert taken(number=FRENCH, at="2025-10-20") == ({}, [(RequestRefusal.ENDED, 0)])
    assert taken(number=REUNION)[0] == {int(REUNION[1:]): a_year}


@pytest.mark.parametrize("at", ["absent", "yesterday", "23/11/2026", None, 1_764_000_000])
def test_a_french_consent_without_its_day_is_refused(at):
    """Nobody could say when the year of the consent ends, and it would count for ever."""
    for number in (FRENCH, REUNION, [BRITISH, FRENCH]):
        assert asked(terms(), number=number, at=at) is RequestRefusal.NO_DAY
    assert isinstance(asked(terms(), number=BRITISH, at=at), ParsedRequest)
    assert isinstance(asked(terms(), at="2026-11-23"), ParsedRequest)


def test_consents_without_an_end_get_the_one_that_the_law_says():
    """A consent from before the law would let somebody call for ever."""
    days, year = (("34", 730),), 365 * 86_400
    spanish, ending, french, british = 34612345678, 34612345679, 33612345678, 447400123456
    held, now = bitmap([spanish, ending, french, british]), int(NOW.timestamp())
    known = Ends.none().changed(bitmap([]), stated({ending: now + 99}))

    young = belated(held, known, days, NOW - timedelta(days=365), NOW)
    assert (young.removes, as_dict(known.changed(bitmap([]), young.ends))) == (
        bitmap([]),
        {spanish: now + year, ending: now + 99},
    )
    old = belated(held, known, days, NOW - timedelta(days=731), NOW)
    assert (old.removes, len(old.ends.numbers)) == (bitmap([spanish]), 0)
    again = belated(held, known.changed(bitmap([]), young.ends), days, NOW - timedelta(days=365), NOW)
    assert again.is_empty
    assert belated(held, known, (), NOW, NOW).is_empty

    dated = RegisterLaw.of(BOOK, "consent@acme", NOW).dated_consents
    unknown = belated(held, known, (), NOW, NOW, dated)
    assert (unknown.removes, len(unknown.ends.numbers)) == (bitmap([french]), 0), "nobody knows its day"
    assert belated(bitmap([ending, british]), known, (), NOW, NOW, dated).is_empty
