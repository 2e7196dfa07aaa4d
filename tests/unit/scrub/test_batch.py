"""Whole batches: one index and one moment for all, several numbers, hold and block, the two places of a stamp."""

import gc
import json
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from stream_scrub.errors import StaleIndex
from tests.support.fakes import law
from tests.support.fakes.scrubbers import CONSENTING, NUMBER, OTHER, index, scrub, scrubber

pytestmark = pytest.mark.usefixtures("hand")

CLEAR, OPPOSED = b'{"phone":"0611111111"}', b'{"phone":"0612345678"}'
BOTH = b'{"phone":["0611111111","0612345678"]}'
ODD = b'{"phone":"06\\u0031 1111111"}'
MIXTURE = [CLEAR, OPPOSED, None, BOTH, b"", ODD, b'{"phone":"x"}', b'{"phone":"+14155552671"}', CLEAR]


@pytest.mark.parametrize("text", [law.OPT_OUT, law.OPT_IN])
def test_a_batch_gives_what_each_prospect_would_get_alone(text):
    """A verdict would hang on who else happened to be in the batch."""
    for stamp, mixed in product(("value", "header"), ("block", "strip")):
        by = scrubber(text, stamp=stamp, mixed=mixed)
        together = by.scrub(MIXTURE, index(), law.NOW)

        alone = [scrub(value, by) for value in MIXTURE]
        assert together.allowed == [each.allowed for each in alone]
        assert together.values == [each.value for each in alone]
        assert together.stamps == [each.header for each in alone]
        assert sum(together.tally.values()) == len(MIXTURE)


def test_every_stamp_of_a_batch_names_one_index_and_one_moment():
    """Nobody could say afterwards by which lists a transaction was judged."""
    batch = scrubber(stamp="header").scrub(MIXTURE, index(), law.NOW)

    empty = scrubber().scrub([], index(), law.NOW)

    assert (empty.allowed, empty.values, empty.stamps, +empty.tally) == ([], [], [], {})
    stamps = [json.loads(stamp) for stamp in batch.stamps]
    assert {(stamp["index"], stamp["at"]) for stamp in stamps} == {(1234, "2026-11-24T12:00:00.123Z")}


def test_the_index_given_is_the_index_used():
    """A number opposed since the last batch would still be called, or one no longer opposed be lost."""
    by = scrubber()
    before, after = law.index(law.register("list")), law.index(law.register("list", [OTHER]), position=5000)

    assert scrub(CLEAR, by, before).reason == "clear"
    assert scrub(CLEAR, by, after).reason == "opposed"
    assert scrub(CLEAR, by, after).stamp["index"] == 5000
    assert scrub(CLEAR, by, before).reason == "clear"


@pytest.mark.parametrize(
    ("value", "mixed", "allowed", "reason", "callable_"),
    [
        (BOTH, "block", False, "opposed", None),
        (BOTH, "strip", True, "clear", ["+33611111111"]),
        (b'{"phone":["0611111111","0633333333"]}', "block", True, "clear", None),
        (
            b'{"phone":["0611111111","0633333333"]}',
            "strip",
            True,
            "clear",
            ["+33611111111", "+33633333333"],
        ),
        (b'{"phone":["x","0611111111"]}', "strip", True, "clear", ["+33611111111"]),
        (b'{"phone":["x","y"]}', "strip", False, "invalid-number", None),
        (b'{"phone":["x","0612345678"]}', "block", False, "opposed", None),
        (b'{"phone":["+14155552671","0611111111"]}', "block", False, "no-rule", None),
        (b'{"phone":["0611111111",{}]}', "block", False, "invalid-number", None),
    ],
)
def test_several_numbers_are_each_judged_and_one_can_block_all(value, mixed, allowed, reason, callable_):
    """A dialler would call an opposed number because another one in the same lead was clear."""
    out = scrub(value, scrubber(mixed=mixed))

    assert (out.allowed, out.reason) == (allowed, reason)
    assert out.stamp.get("callable") == callable_
    assert len(out.stamp["numbers"]) == 2
    for entry in out.stamp["numbers"]:
        if callable_ is not None:
            assert (entry["verdict"] == "allowed") is (entry.get("number") in callable_)


def test_numbers_in_several_members_are_one_prospect():
    """A lead's second telephone would go unjudged."""
    by = scrubber(numbers=("phone", "mobile", "home.phone"))

    out = scrub(b'{"phone":"0611111111","mobile":["0633333333"],"home":{"phone":"0612345678"}}', by)
    assert (out.allowed, out.reason) == (False, "opposed")
    assert [entry["number"] for entry in out.stamp["numbers"]] == [
        *("+33611111111", "+33633333333", "+33612345678")
    ]
    assert scrub(b'{"mobile":"0611111111"}', by).stamp["number"] == "+33611111111"


def test_the_shortest_end_counts_for_a_prospect_with_several_numbers():
    """A dialler would keep calling a number after its verdict ran out."""
    gb = law.OPT_OUT.replace('"FR"', '"GB"', 1).replace('["FR", "RE"]', '["GB"]').replace("= 28", "= 3")
    by = scrubber(mixed="strip")
    by = type(by)(by.terms, law.rulebook(law.OPT_OUT, gb))

    out = scrub(b'{"phone":["0611111111","+447400123456"]}', by)

    assert out.stamp["until"] == "2026-11-27"
    assert [entry["until"] for entry in out.stamp["numbers"]] == ["2026-12-22", "2026-11-27"]


@pytest.mark.parametrize("value", [CLEAR, ODD, BOTH, b'{"phone":["0611111111"]}'])
def test_without_a_fresh_register_the_batch_is_held(value):
    """Prospects would be called by a list that is out of date."""
    old = law.index(law.register("list", days_old=31))
    for at in (old, law.index(law.register("internal")), law.index(law.allow("list"))):
        with pytest.raises(StaleIndex, match="list") as caught:
            scrubber(stale="hold").scrub([b"", value, CLEAR], at, law.NOW)
        assert caught.value.cause == "register"
        assert "061" not in str(caught.value) and "336" not in str(caught.value)


def test_with_block_only_those_that_need_the_register_are_blocked():
    """One old list would stop the leads of every country, though the operator chose otherwise."""
    old = law.index(law.register("list", [NUMBER], days_old=31), law.register("internal", [CONSENTING]))
    values = [CLEAR, OPPOSED, b'{"phone":"0622222222"}', b'{"phone":"0611111111","contract":true}', b""]

    batch = scrubber(stamp="header").scrub(values, old, law.NOW)

    stamps = [json.loads(stamp) for stamp in batch.stamps]
    assert [stamp["reason"] for stamp in stamps] == [
        *("stale-register", "stale-register", "opposed", "contract", "unreadable")
    ]
    assert stamps[0]["registers"] == ["list"]


def test_what_needs_no_stale_register_is_not_held():
    """Leads that only need fresh lists would wait for a list of another country."""
    old = law.index(law.register("list", days_old=31), law.register("internal", [NUMBER]))
    values = [OPPOSED, b'{"phone":"0611111111","contract":true}', b"x", b'{"phone":"+14155552671"}']

    batch = scrubber(stale="hold").scrub(values, old, law.NOW)

    assert +batch.tally == {"opposed": 1, "contract": 1, "unreadable": 1, "no-rule": 1}


def test_the_day_of_a_rule_is_its_countrys_day():
    """For two hours a night the law of yesterday would be applied."""
    text = law.OPT_OUT.replace("2020-01-01", "2026-11-25")
    late = law.NOW.replace(hour=22, minute=59)

    verdicts = [
        json.loads(scrubber(text, stamp="header").scrub([CLEAR], index(), at).stamps[0])["reason"]
        for at in (late, late + timedelta(minutes=1))
    ]
    assert verdicts == ["no-rule", "clear"]


def test_a_number_member_may_have_any_name():
    """A producer whose members have other names could not use the scrubber."""
    for name in ("téléphone", "a:b", "x" * 300):
        for is_ascii in (False, True):
            value = json.dumps({name: "0612345678", "n": 1}, ensure_ascii=is_ascii).encode()
            assert scrub(value, scrubber(numbers=(name,))).reason == "opposed"


def test_a_register_whose_ends_nobody_publishes_is_stale():
    """A consent that ended would still let its person be called, while its publisher is down and nobody notices."""
    consent = replace(law.allow("consent", [CONSENTING]), next_end=law.NOW)
    at = law.index(law.register("list"), consent, law.allow("washed"))
    value = b'{"phone":"0622222222"}'
    with pytest.raises(StaleIndex, match="consent"):
        scrubber(law.OPT_IN, stale="hold").scrub([value], at, law.NOW)
    assert scrub(value, scrubber(law.OPT_IN), at).reason == "stale-register"
    soon = law.index(
        law.register("list"), replace(consent, next_end=law.NOW + timedelta(seconds=1)), law.allow("washed")
    )
    assert scrub(value, scrubber(law.OPT_IN), soon).reason == "consented"


def test_an_index_is_free_when_its_last_batch_is():
    """Every swap of a large register would leave another copy of it in memory, until the worker is killed for it."""
    at = index()
    before = sys.getrefcount(at)
    gc.disable()
    try:
        for mixed in ("block", "strip"):
            scrubber(mixed=mixed).scrub(MIXTURE, at, law.NOW)
        assert sys.getrefcount(at) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("name", [b"phone", b"ph\\u006fne"], ids=["quick", "strict"])
def test_a_prospect_has_at_most_a_hundred_numbers(name):
    """One prospect with tens of thousands of them would hold up all others for minutes, and the index grow stale under
    a batch that is still being judged.
    """
    numbers = b",".join(b'"06111111%02d"' % at for at in range(100))
    hundred = scrub(b'{"%s":[%s]}' % (name, numbers))
    more = scrub(b'{"%s":[%s,"0611111111"]}' % (name, numbers))
    assert hundred.reason == "clear" and len(hundred.stamp["numbers"]) == 100
    assert (more.allowed, more.reason) == (False, "invalid-number")
    assert "numbers" not in more.stamp and "number" not in more.stamp


def test_a_batch_that_takes_too_long_ends_with_what_is_judged():
    """Prospects that are made to cost much would keep a worker from saying that it lives, and make the index that their
    batch was judged by too old.
    """
    by, asked = scrubber(), []

    def enough():
        asked.append(1)
        return len(asked) == 2

    cut = by.scrub(MIXTURE, index(), law.NOW, enough=enough)

    whole = by.scrub(MIXTURE[:4], index(), law.NOW)  # the third that is not plain is the empty one
    assert (cut.allowed, cut.values, cut.stamps) == (whole.allowed, whole.values, whole.stamps)
    assert +cut.tally == +whole.tally and len(asked) == 2
    one = by.scrub([BOTH, BOTH], index(), law.NOW, enough=lambda: True)
    assert len(one.values) == 1, "it would never come further"
    plain = by.scrub([CLEAR] * 10, index(), law.NOW, enough=lambda: True)
    assert len(plain.values) == 10


def test_a_long_text_for_a_number_is_judged_where_the_time_is_looked_at():
    """Ten thousand texts that phonenumbers needs milliseconds for would be half a minute without a look at the clock."""
    long = b'{"phone":"+33 6 11 11 11 11%s"}' % (b" " * 200)
    asked = []
    batch = scrubber().scrub([long] * 3, index(), law.NOW, enough=lambda: bool(asked.append(1)))

    assert batch.allowed == [True] * 3 and len(asked) == 3


def test_a_spoilt_record_comes_out_blocked_whatever_its_value_says():
    """A prospect whose record could not be kept whole would go to a dialler who is promised that it is, or be lost."""
    by = scrubber()
    whole = by.scrub(MIXTURE, index(), law.NOW)

    batch = by.scrub(MIXTURE, index(), law.NOW, spoilt={0: {"cause": "headers"}, 3: {"cause": "headers"}})

    for at in (0, 3):
        assert (batch.allowed[at], batch.values[at]) == (False, MIXTURE[at])
        told = json.loads(batch.stamps[at])
        assert (told["verdict"], told["reason"], told["cause"]) == ("blocked", "unreadable", "headers")
    others = [at for at in range(len(MIXTURE)) if at not in (0, 3)]
    assert [batch.values[at] for at in others] == [whole.values[at] for at in others]
    assert sum(batch.tally.values()) == len(MIXTURE)
    assert batch.tally["unreadable"] == whole.tally["unreadable"] + 2
