"""Whatever way somebody says no, it is in force, or somebody is told that it is not."""

import json

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.model import Request
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from tests.simulation.publishing import NEVER, Crashed, publishing
from tests.support.oracles.requests import NOW, TERMS
from tests.support.texts.no import WORDS_FOR_NO

# A person by region: the number as it is dialled there, in full, and what the region is called.
PEOPLE = [
    ("0612345678", 33612345678, ["FR", "fra", "France", "Frankreich", "Francia", "Frankrijk", "+33", "", None]),
    ("020 7946 0018", 442079460018, ["GB", "UK", "gbr", "United Kingdom", "Royaume-Uni", "England", "Großbritannien"]),
    ("030 901820", 4930901820, ["DE", "DEU", "Deutschland", "Germany", "Allemagne", "Duitsland", "Germania", "Alemania"]),
    ("020 5552222", 31205552222, ["NL", "NLD", "Nederland", "The Netherlands", "Pays-Bas", "Holland", "Paesi Bassi"]),
    ("0470 12 34 56", 32470123456, ["BE", "BEL", "België", "Belgique", "Belgium", "Bélgica"]),
    ("06 6982", 39066982, ["IT", "ITA", "Italia", "Italy", "Italie", "Italien"]),
    ("912 345 678", 34912345678, ["ES", "ESP", "España", "Spain", "Espagne", "Spanje", "Spagna"]),
    ("01 6704000", 35316704000, ["IE", "IRL", "Ireland", "Éire", "Irlande", "Irland"]),
    ("01 534180", 431534180, ["AT", "AUT", "Österreich", "Austria", "Autriche", "Oostenrijk"]),
    ("210 324 1001", 302103241001, ["GR", "EL", "GRC", "Ελλάδα", "Greece", "Griechenland"]),
    ("(202) 456-1414", 12024561414, ["US", "USA", "United States", "États-Unis", "Estados Unidos", "Canada"]),
]  # fmt: skip
STRANGE = st.sampled_from(["Narnia", "ZZ", 7, [], "?", "Euskadi"])
BASE = int(NOW.timestamp() * 1000) - 600_000
OWN = ["opt-out", "opt_out", "OptOut", "withdrawal", "Withdrawal"]


def spelt(name):
    return st.sampled_from(
        [name, name.upper(), name.title(), name.replace("-", "_"), name.replace("-", " "), f" {name} "]
    )


@st.composite
def noes(draw, verbs):
    """A request that says no, and whose it is; in some, in one text with another number."""
    typed, number, regions = draw(st.sampled_from(PEOPLE))
    one = [typed, [typed], f"+{number}", number]
    two = [f"{typed} / +352 26123456", [f"+33699999999; +{number}"]]
    spoken = draw(st.sampled_from([*one, *two]))
    region = draw(st.sampled_from(regions) if spoken in two else st.one_of(st.sampled_from(regions), STRANGE))
    names = ["number", "number", "phone", "msisdn", "tel", "mobile"]
    made = {draw(spelt("request")): draw(verbs), draw(spelt(draw(st.sampled_from(names)))): spoken}
    if region is not None:
        made[draw(spelt(draw(st.sampled_from(["region", "country", "country-code"]))))] = region
    if draw(st.booleans()):
        made[draw(spelt("scope"))] = draw(
            st.sampled_from(["acme", "Acme Energy", "", "***", 7, ["acme"], "acme+insurance"])
        )
    if draw(st.booleans()):
        made[draw(spelt("only-channel"))] = draw(
            st.sampled_from(["sms", "voice", "fax", ["sms", "voice"], 5, None])
        )
    for name in draw(st.sets(st.sampled_from(["at", "until", "source", "register", "proof"]))):
        made[name] = draw(st.sampled_from([None, "", "soon", 7, {}, "internal", "consent", "2026-11-24"]))
    return number, json.dumps(made, ensure_ascii=draw(st.booleans())).encode()


def answered(value):
    return take([Request(0, 7, 0, None, value)], TERMS, lambda _: None, Oppositions(), {}, KnownScopes())[:2]


KNOWN = st.one_of(st.sampled_from(OWN), st.sampled_from(WORDS_FOR_NO).flatmap(spelt))


@given(noes(KNOWN))
def test_who_says_no_in_a_known_word_is_opposed(made):
    """A person would be called because of the way in which a form, a dialler or a CRM spells the no."""
    number, value = made
    wanted, _ = answered(value)
    opposing = [name for name, each in wanted.items() if each.numbers.get(number, -1) >= 0]
    assert any(name.startswith("internal") for name in opposing), value


@st.composite
def topics(draw):
    """What people say, each a no in some way and a consent or a lift from before it, over the partitions of both topics."""
    noed = draw(st.lists(noes(KNOWN), min_size=1, max_size=8))
    counts: dict[tuple[bool, int], int] = {}
    said, made = [(BASE + at * 1000, number, value) for at, (number, value) in enumerate(noed)], []
    for at, number, value in said:
        before = {"request": "consent", "number": f"+{number}", "scope": "acme"}
        before["after_opt_out"] = lifts = draw(st.booleans())
        made += [(value, at, number, False), (json.dumps(before).encode(), at - 60_000, None, lifts)]
    requests = []
    for value, at, number, lifts in draw(st.permutations(made)):
        place = lifts, draw(st.integers(0, 2))
        offset = counts[place] = counts.get(place, -1) + 1
        requests.append((Request(place[1], offset, at, b"", value, may_lift=lifts), number))
    return requests


@given(topics(), st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 1, NEVER, NEVER])), max_size=8))
def test_whoever_says_no_is_opposed_in_whatever_order_and_wherever_the_publisher_dies(said, rounds):
    """An opt-out in an unusual spelling, in another partition than the consent before it, would be lost in a restart."""
    topic, turns = [request for request, _ in said], iter([*rounds, *[(4, NEVER)] * 40])
    with publishing(house="") as office:
        while waiting := office.waiting(topic):
            size, crash = next(turns)
            try:
                office.answer(waiting[:size], crash)
            except Crashed:
                office.restart()
        holding = office.holding()
    for request, number in said:
        assert number is None or any(name.startswith("internal") for name in holding(number)), request.value


@given(noes(st.one_of(st.text(max_size=20), st.none(), st.integers(), st.lists(st.text(), max_size=2))))
def test_who_says_no_in_an_unknown_word_is_reported(made):
    """Nobody would look for the person, and the calls would go on."""
    number, value = made
    wanted, refused = answered(value)
    assert any(each.numbers.get(number, -1) >= 0 for each in wanted.values()) or any(
        each.unread for each in refused
    )


@given(
    st.one_of(st.none(), st.binary(max_size=60), noes(st.sampled_from(OWN)).map(lambda made: made[1][:-5]))
)
def test_what_cannot_be_read_is_reported(value):
    """An opt-out that was cut off on its way would be lost."""
    wanted, refused = answered(value)
    assert wanted or [each.unread for each in refused] == [True]


@given(
    st.sampled_from(["consent", "Consent", "correction", "CORRECTION"]),
    st.sampled_from(["x", None, "+33612345678"]),
)
def test_a_refused_lift_is_no_unread_opposition(verb, number):
    """Somebody would be woken for every consent with a typing error, until nobody looks any more."""
    _, refused = answered(json.dumps({"request": verb, "number": number, "region": "ZZ"}).encode())
    assert [each.unread for each in refused] == [False]
