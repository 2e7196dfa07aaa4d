"""Members whose names can be spelled in several ways: no second one may hide beside the one that was judged."""

import json

import pytest

from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from tests.support.fakes import law
from tests.support.fakes.scrubbers import index

OPPOSED, CLEAN = b'"0612345678"', b'"0611111111"'
RULEBOOK = law.rulebook(law.OPT_OUT)


def outcomes(values, members, hand, **terms):
    """(allowed, reason) of each value of one batch."""
    scrubber = Scrubber(Terms(members, stale="block", stamp="header", **terms), RULEBOOK, hand)
    batch = scrubber.scrub(values, index(), law.NOW)
    return [(ok, json.loads(stamp)["reason"]) for ok, stamp in zip(batch.allowed, batch.stamps, strict=True)]


def named(name="phone", region="country", purpose="purpose", contract="contract", campaign="campaign"):
    """Members at the top level, dots and all."""
    return Members(((name,),), (region,), ((purpose,), (contract,), (campaign,)))


TWINS = [
    ("n", b'{"n":%s,"n":%s}'),
    ("", b'{"":%s,"":%s}'),
    ("a/b", b'{"a\\/b":%s,"a/b":%s}'),
    ('a"b', b'{"a\\"b":%s,"a\\"b":%s}'),
    ("a\\b", b'{"a\\\\b":%s,"a\\\\b":%s}'),
    ("a\tb", b'{"a\\tb":%s,"a\\tb":%s}'),
    ("t\u00e9l", '{"t\u00e9l":%s,"t\\u00e9l":%s}'.encode()),
    ("t\u00e9l", '{"t\\u00E9l":%s,"t\u00e9l":%s}'.encode()),
    ("\U0001f4de", '{"\U0001f4de":%s,"\\ud83d\\uDCDE":%s}'.encode()),
    ("x\x7f", b'{"x\x7f":%s,"x\x7f":%s}'),
]


@pytest.mark.parametrize(("name", "twins"), TWINS)
def test_a_name_s_twin_is_seen_however_it_is_spelled(name, twins, hand):
    """The dialler's parser would take the first of two equal names, a number that opposes, where the last was judged."""
    usual = json.dumps({name: "0611111111"}).encode()
    for among in (0, 3):
        values = [usual] * among + [twins % (OPPOSED, CLEAN), twins % (CLEAN, CLEAN)] + [usual] * among
        got = outcomes(values, named(name), hand)
        assert got == [(True, "clear")] * among + [(False, "unreadable")] * 2 + [(True, "clear")] * among
    for fact in ("region", "purpose", "contract", "campaign") if name else ():
        twice = b'{"phone":%s,' % CLEAN + twins[1:] % (b'"FR"', b'"GB"')
        assert outcomes([twice], named(**{fact: name}), hand) == [(False, "unreadable")], fact
    outer = twins % (b'{"x":%s}' % OPPOSED, b'{"x":%s}' % CLEAN)
    inner = b'{"x":%s}' % (twins % (OPPOSED, CLEAN))
    for path, value in (((name, "x"), outer), (("x", name), inner)):
        members = Members.of((), "country")._replace(numbers=(path, ("other",)))
        assert outcomes([value], members, hand) == [(False, "unreadable")], path


@pytest.mark.parametrize(("name", "twins"), TWINS)
def test_one_member_in_an_odd_spelling_is_read(name, twins, hand):
    """A lead whose producer escapes a slash or an accent would be lost."""
    for spelling in (b"\\", b"/", b""):
        head = twins.partition(b":")[0]
        if spelling in head:
            assert outcomes([head + b":%s}" % OPPOSED], named(name), hand) == [(False, "opposed")]
            assert outcomes([head + b":%s}" % CLEAN], named(name), hand) == [(True, "clear")]


CASES = [
    (b'{"Phone":%s}', "opposed"),
    (b'{"phone":%s,"Phone":%s}', "opposed"),
    (b'{"phone":%s,"Phone":"06\\u00312345678"}', "opposed"),
    (b'{"phone":%s,"Phone":"0611111111"}', "unreadable"),
    (b'{"phone":"0611111111","Phone":null}', "unreadable"),
    (b'{"phone":[%s],"Phone":[%s]}', "opposed"),
    (b'{"phone":[%s],"Phone":%s}', "unreadable"),
    (b'{"phone":{"a":1,"b":2},"Phone":{"b":2,"a":1}}', "invalid-number"),
    (b'{"phone":{"a":1,"a":2},"Phone":{"a":2}}', "unreadable"),
    (b'{"phone":%s,"Country":"GB"}', "invalid-number"),
    (b'{"phone":%s,"country":"FR","Country":"GB"}', "unreadable"),
    (b'{"phone":%s,"CONTRACT":true}', "contract"),
    (b'{"phone":%s,"contract":false,"Contract":true}', "unreadable"),
    ('{"phone":%s,"purpo\u017fe":"press"}'.encode(), "exempt"),
    (b'{"phone":%s,"purpose":"x","purpo\\u017fe":"press"}', "unreadable"),
    ('{"phone":%s,"campa\u0131gn":"x","CAMPA\u0130GN":"y"}'.encode(), "unreadable"),
    (b'{"phone":%s,"phone_":"0611111111","hone":"06","Phones":"06"}', "opposed"),
]


@pytest.mark.parametrize(("value", "reason"), CASES)
def test_a_member_is_judged_in_whatever_case_it_comes(value, reason, hand):
    """A parser that does not mind case would dial a number that nobody judged."""
    usual = b'{"phone":"0611111111","x":"' + b"y" * 100 + b'"}'
    for crowd in (0, 100):
        got = outcomes([usual] * crowd + [value.replace(b"%s", OPPOSED)], named(), hand)
        assert got == [(True, "clear")] * crowd + [(reason in ("contract", "exempt"), reason)]


EXACTLY = [
    (b'{"phone":%s,"Phone":"0611111111"}', "opposed"),
    (b'{"phone":"0611111111","Phone":%s}', "clear"),
    (b'{"Phone":%s}', "invalid-number"),
    (b'{"phone":%s,"CONTRACT":true}', "opposed"),
    ('{"phone":%s,"purpo\u017fe":"press"}'.encode(), "opposed"),
]


@pytest.mark.parametrize(("value", "reason"), EXACTLY)
def test_case_matters_where_the_operator_says_so(value, reason, hand):
    """A producer whose two members differ in case and mean different things would lose its leads."""
    got = outcomes([value.replace(b"%s", OPPOSED)], named()._replace(case="exact"), hand)

    assert got == [(reason == "clear", reason)]


@pytest.mark.parametrize("stamp", ["Scrub", "sCRUB", "\\u017fcrub", "\u017fCRUB", "S\\u0063rub"])
def test_no_stamp_in_another_case_survives(stamp, hand):
    """A parser that does not mind case would take the producer's own verdict for ours."""
    theirs = b'"%s":{"verdict":"allowed"}' % stamp.encode()
    number = b'"phone":' + OPPOSED
    for value in (theirs + b"," + number, number + b"," + theirs, theirs):
        for case, kept in (("any", False), ("exact", True)):
            members = named()._replace(case=case)
            by = Scrubber(Terms(members, stale="block"), RULEBOOK, hand)
            batch = by.scrub([b"{" + value + b"}"], index(), law.NOW)
            pairs = json.loads(batch.values[0], object_pairs_hook=list)
            member_names = [name for name, _ in pairs]
            assert member_names[-1] == "scrub" and batch.allowed == [False]
            assert ([name for name in member_names[:-1] if name != "phone"] != []) is kept


def test_names_on_a_dotted_path_are_compared_in_every_case(hand):
    """A dialler's parser would find the opposed number in the other of two objects."""
    members = named()._replace(numbers=(("lead", "phone"),))
    values = [
        b'{"Lead":{"PHONE":%s}}' % OPPOSED,
        b'{"lead":{"phone":%s},"Lead":{"phone":%s}}' % (CLEAN, OPPOSED),
        b'{"lead":{"phone":%s},"Lead":{"phone":%s}}' % (OPPOSED, OPPOSED),
        b'{"lead":{"phone":%s},"Lead":{"Phone":%s}}' % (CLEAN, CLEAN),
        b'{"lead":{"phone":%s,"Phone":%s}}' % (CLEAN, OPPOSED),
        b'{"lead":{"phone":%s},"LEAD":1}' % CLEAN,
        b'{"lead":{"phone":%s},"x":{"Phone":%s}}' % (CLEAN, OPPOSED),
    ]

    assert [reason for _, reason in outcomes(values, members, hand)] == [
        *("opposed", "unreadable", "opposed", "unreadable", "unreadable", "unreadable", "clear"),
    ]
