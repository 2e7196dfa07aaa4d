"""Members whose names can be spelled in several ways: no second one may hide beside the one that was judged."""

import json

import pytest

from stream_scrub.scrub import swift
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from tests.fakes import law
from tests.fakes.prospects import NUMBER, index

HANDS = [swift.PYTHON, *([found] if (found := swift.native()) is not None else [])]
OPPOSED, CLEAN = b'"0612345678"', b'"0611111111"'
RULEBOOK = law.rulebook(law.OPT_OUT)


@pytest.fixture(params=HANDS, ids=lambda hand: hand.name)
def hand(request):
    """Who reads the plain prospects."""
    return request.param


def outcomes(values, members, hand, **terms):
    """(allowed, reason) of each value of one batch."""
    scrubber = Scrubber(Terms(members, stale="block", stamp="header", **terms), RULEBOOK, hand)
    batch = scrubber.scrub(values, index(), law.NOW)
    return [(ok, json.loads(stamp)["reason"]) for ok, stamp in zip(batch.allowed, batch.stamps, strict=True)]


def named(name="phone", region="country", purpose="purpose", contract="contract", campaign="campaign"):
    """Members at the top level, dots and all."""
    return Members(((name,),), (region,), (purpose,), (contract,), (campaign,))


TWINS = [
    ("n", b'{"n":%s,"n":%s}'),
    ("nr", b'{"nr":%s,"nr":%s}'),
    ("", b'{"":%s,"":%s}'),
    ("a/b", b'{"a\\/b":%s,"a/b":%s}'),
    ("a/b", b'{"a/b":%s,"a\\/b":%s}'),
    ("a/b", b'{"a\\/b":%s,"a\\/b":%s}'),
    ("tel/mobile", b'{"tel/mobile":%s,"tel\\/mobile":%s}'),
    ('a"b', b'{"a\\"b":%s,"a\\"b":%s}'),
    ("a\\b", b'{"a\\\\b":%s,"a\\\\b":%s}'),
    ("a\tb", b'{"a\\tb":%s,"a\\tb":%s}'),
    ("a\bb", b'{"a\\bb":%s,"a\\bb":%s}'),
    ("t\u00e9l", '{"t\u00e9l":%s,"t\\u00e9l":%s}'.encode()),
    ("t\u00e9l", '{"t\\u00E9l":%s,"t\u00e9l":%s}'.encode()),
    ("\U0001f4de", '{"\U0001f4de":%s,"\\ud83d\\uDCDE":%s}'.encode()),
    ("x\x7f", b'{"x\x7f":%s,"x\x7f":%s}'),
]


@pytest.mark.parametrize("among", [0, 3])
@pytest.mark.parametrize(("name", "twins"), TWINS)
def test_a_number_s_twin_is_seen_however_its_name_is_spelled(name, twins, among, hand):
    """The dialler's parser would take the first of two equal names, a number that opposes, where the last was judged."""
    usual = json.dumps({name: "0611111111"}).encode()
    values = [usual] * among + [twins % (OPPOSED, CLEAN), twins % (CLEAN, CLEAN)] + [usual] * among

    got = outcomes(values, named(name), hand)

    assert got == [(True, "clear")] * among + [(False, "unreadable")] * 2 + [(True, "clear")] * among


@pytest.mark.parametrize(("name", "twins"), [twin for twin in TWINS if twin[0]])
@pytest.mark.parametrize("fact", ["region", "purpose", "contract", "campaign"])
def test_a_fact_s_twin_is_seen_however_its_name_is_spelled(name, twins, fact, hand):
    """A prospect would be judged by a contract or a country that the dialler's parser does not see."""
    twice = b'{"phone":%s,' % CLEAN + twins[1:] % (b'"FR"', b'"GB"')

    assert outcomes([twice], named(**{fact: name}), hand) == [(False, "unreadable")]


@pytest.mark.parametrize(("name", "twins"), TWINS)
@pytest.mark.parametrize("paths", ["outer", "inner"])
def test_a_nested_name_s_twin_is_seen_however_it_is_spelled(name, twins, paths, hand):
    """As above, for a producer with nested leads."""
    if paths == "outer":
        path = (name, "x")
        value = twins % (b'{"x":%s}' % OPPOSED, b'{"x":%s}' % CLEAN)
    else:
        path = ("x", name)
        value = b'{"x":%s}' % (twins % (OPPOSED, CLEAN))
    members = Members((path, ("other",)), ("country",), ("purpose",), ("contract",), ("campaign",))

    assert outcomes([value], members, hand) == [(False, "unreadable")]


@pytest.mark.parametrize(("name", "twins"), TWINS)
def test_one_member_in_an_odd_spelling_is_read(name, twins, hand):
    """A lead whose producer escapes a slash or an accent would be lost."""
    for spelling in (b"\\", b"/", b""):
        head = twins.partition(b":")[0]
        if spelling in head:
            assert outcomes([head + b":%s}" % OPPOSED], named(name), hand) == [(False, "opposed")]
            assert outcomes([head + b":%s}" % CLEAN], named(name), hand) == [(True, "clear")]


def test_the_index_is_the_one_that_these_tests_think_of():
    """The tests above would pass on a register that holds nobody."""
    assert NUMBER in index().registers["list"].numbers
