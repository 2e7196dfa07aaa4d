"""Every prospect that is not what a producer should send: blocked, for the right reason, and not a byte lost."""

import json

import pytest

from stream_scrub.scrub.decode import MAX_DEPTH, Members
from tests.support.fakes import law
from tests.support.fakes.scrubbers import NUMBER, read, scrub, scrubber

pytestmark = pytest.mark.usefixtures("hand")

CLEAR = b'"phone":"0611111111"'
deep = b"[" * 10_000 + b"]" * 10_000
UNREADABLE = {
    "null": ("null", None),
    "empty": ("empty", b""),
    "only space": ("empty", b"  \n"),
    "not UTF-8": ("not-utf-8", b'{"phone":"0611111111","name":"Ren\xe9"}'),
    "a surrogate as UTF-8": ("not-utf-8", b'{"phone":"0611111111","name":"\xed\xa0\x80"}'),
    "not JSON": ("not-json", b"phone=0611111111"),
    "truncated": ("truncated", b'{"phone":"0611111111","name":"Re'),
    "trailing JSON": ("not-json", b'{"phone":"0611111111"}{"phone":"0612345678"}'),
    "trailing comma": ("not-json", b'{"phone":"0611111111",}'),
    "a name that ends at a NUL": ("member-twice", b'{"phone":"0611111111","phone\\u0000":"0612345678"}'),
    "trailing NUL": ("not-json", b'{"phone":"0611111111"}\0'),
    "array": ("not-an-object", b'[{"phone":"0611111111"}]'),
    "text": ("not-an-object", b'"0611111111"'),
    "null literal": ("not-an-object", b"null"),
    "depth 10 000": ("nested-too-deep", b'{"phone":"0611111111","x":' + deep + b"}"),
    "depth 10 000, unclosed": ("nested-too-deep", b'{"phone":"0611111111","x":' + b"[" * 10_000),
    "byte-order mark": ("byte-order-mark", b'\xef\xbb\xbf{"phone":"0611111111"}'),
    "UTF-16": ("byte-order-mark", '{"phone":"0611111111"}'.encode("utf-16")),
    "NaN": ("not-json", b'{"phone":"0611111111","score":NaN}'),
    "a comment": ("not-json", b'{"phone":"0611111111"/* x */}'),
    "control character": ("not-json", b'{"phone":"0611111111","name":"a\nb"}'),
    "leading zero": ("not-json", b'{"phone":0611111111}'),
    "no colon": ("not-json", b'{"phone" "0611111111"}'),
    "bad escape": ("not-json", b'{"phone":"\\x30611111111"}'),
    "half an escape": ("not-json", b'{"phone":"0611111111","x":"\\u00"}'),
    "number twice": ("member-twice", b'{"phone":"0611111111","phone":"0612345678"}'),
    "number twice, both by escapes": (
        "member-twice",
        b'{"\\u0070hone":"0611111111","ph\\u006fne":"0612345678"}',
    ),
    "number twice, once null": ("member-twice", b'{"phone":null,"phone":"0611111111"}'),
    "region twice": ("member-twice", b'{"phone":"0611111111","country":"FR","country":"GB"}'),
    "contract twice": ("member-twice", b'{"phone":"0612345678","contract":false,"contr\\u0061ct":true}'),
}


@pytest.mark.parametrize(("why", "value"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_comes_out_blocked_unchanged_and_with_the_reason(why, value):
    """A dialler's parser may read another number in it than the one that was judged, the lead may be lost, or its producer
    would look for the mistake for hours."""
    for stamp in ("value", "header"):
        out = scrub(value, scrubber(stamp=stamp))

        twice = {"member": out.stamp.get("member")} if why == "member-twice" else {}
        assert out == (
            *(False, value, out.header),
            {"verdict": "blocked", "reason": "unreadable", "why": why}
            | twice
            | {"index": 1234, "at": "2026-11-24T12:00:00.123Z"},
        )
        assert out.header is not None


NOT_A_NUMBER = {
    "absent": ("no-number", b'{"name":"Rose"}'),
    "null": ("no-number", b'{"phone":null}'),
    "space": ("no-number", b'{"phone":"  "}'),
    "list of nothing": ("no-number", b'{"phone":[null,""]}'),
    "object": ("wrong-type", b'{"phone":{"number":"0611111111"}}'),
    "list of lists": ("wrong-type", b'{"phone":[["0611111111"]]}'),
    "true": ("wrong-type", b'{"phone":true}'),
    "float": ("wrong-type", b'{"phone":33611111111.0}'),
    "minus zero": ("too-short", b'{"phone":-0}'),
    "300 digits": ("too-long", b'{"phone":"' + b"6" * 300 + b'"}'),
    "9000 digits, an integer": ("too-long", b'{"phone":' + b"6" * 9000 + b"}"),
    "lone surrogate": ("not-valid", b'{"phone":"06\\ud80011111111"}'),
    "NUL": ("not-valid", b'{"phone":"06\\u000011111111"}'),
    "words": ("no-digits", b'{"phone":"please call"}'),
    "too short": ("not-valid", b'{"phone":"061111111"}'),
    "no such calling code": ("not-valid", b'{"phone":"+999611111111"}'),
    "five digits in a country of eight": ("too-short", b'{"phone":"61234","country":"DK"}'),
    "two numbers in a text": ("several-numbers", b'{"phone":"0611111111;0612345678"}'),
    "digits that a spreadsheet has cut off": ("lost-digits", b'{"phone":"6.64E8","country":"AT"}'),
    "a hundred and one": ("too-many-numbers", b'{"phone":[' + b'"0611111111",' * 100 + b'"0611111111"]}'),
}


@pytest.mark.parametrize(("why", "value"), NOT_A_NUMBER.values(), ids=NOT_A_NUMBER)
def test_what_holds_no_number_comes_out_blocked_and_stamped(why, value):
    """A lead would be lost, something dialled that is no number, or its producer would not know what is wrong."""
    inside, beside = scrub(value), scrub(value, scrubber(stamp="header"))

    for out in (inside, beside):
        assert (out.allowed, out.reason, out.stamp["why"]) == (False, "invalid-number", why)
        assert "number" not in out.stamp and "rules" not in out.stamp
    assert beside.value == value and inside.header is None
    members = read(inside.value)
    assert members.pop("scrub") == inside.stamp
    assert members == read(value)


def test_why_comes_with_what_is_blocked_for_it_and_with_nothing_else():
    """A producer would mend a lead that was blocked by the law."""
    good_and_bad = b'{"phone":["0611111111","x","0612345678"]}'

    entries = scrub(good_and_bad).stamp["numbers"]
    assert [entry.get("why") for entry in entries] == [None, "no-digits", None]
    assert "why" not in scrub(good_and_bad).stamp
    for value in (b'{"phone":"0611111111"}', b'{"phone":"0612345678"}', b'{"phone":"1","country":"31"}'):
        assert "why" not in scrub(value).stamp


def test_the_member_that_occurs_twice_is_named_by_its_path():
    """A producer with nested leads would look for it in the wrong object."""
    two = b'{"lead":{"phone":"0611111111","Phone":"0612345678"}}'

    out = scrub(two, scrubber(numbers=("lead.phone",)))

    assert (out.stamp["why"], out.stamp["member"]) == ("member-twice", "lead.phone")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b'{"phone":33611111111}', "+33611111111"),
        (b'{"phone":"+33 6 11 11 11 11"}', "+33611111111"),
        ('{"phone":"\uff10611111111"}'.encode(), "+33611111111"),
        (b'\n {"phone":"0611111111"}\r\n', "+33611111111"),
        (b'{"phone":"07400123456","country":"gb"}', "+447400123456"),
        (b'{"phone":"664123456.0","country":"AT"}', "+43664123456"),
        (b'{"phone":"0611111111","contract":' + b"7" * 100_000 + b"}", "+33611111111"),
        (b'{"phone":"+43664123456.00 ","country":"AT"}', "+43664123456"),
    ],
)
def test_what_holds_a_number_is_judged_by_it(value, number):
    """A lead in an odd spelling would be lost, or judged as somebody else."""
    out = scrub(value)

    assert (out.stamp["number"], out.reason) == (number, "clear" if number[:3] == "+33" else "no-rule")


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize("kind", [b"[]", b"{}"])
def test_depth_is_counted_by_both_readers_alike(levels, kind):
    """A prospect would be allowed or blocked by which reader happened to take it."""
    opening, closing = (b"[", b"]") if kind == b"[]" else (b'{"a":', b"}")
    inner = opening * levels + b"1" + closing * levels
    for escape in (b"", b',"y":"\\n"'):
        out = scrub(b"{" + CLEAR + b',"x":' + inner + escape + b"}")

        assert out.reason == ("clear" if levels < MAX_DEPTH else "unreadable")
    for text in (b"[{" * 5000, b'\\"[' * 3000):
        assert scrub(b"{" + CLEAR + b',"x":"' + text + b'"}').reason == "clear"


NESTED = [
    (b'{"lead":{"phone":"0611111111"}}', "clear"),
    (b'{"lead":{"phone":"0612345678"}}', "opposed"),
    (b'{"lead":{"phone":"0611111111","phone":"0612345678"}}', "unreadable"),
    (b'{"lead":{"phone":"0611111111","ph\\u006fne":"0612345678"}}', "unreadable"),
    (b'{"lead":{"phone":"0611111111"},"l\\u0065ad":{}}', "unreadable"),
    (b'{"lead":{"phone":"0611111111"},"phone":"0612345678"}', "clear"),
    (b'{"lead":{"phone":"0611111111","x":{"a":1,"a":2}}}', "clear"),
    (b'{"lead":[{"phone":"0611111111"}]}', "invalid-number"),
    (b'{"lead":null}', "invalid-number"),
    (b'{"lead.phone":"0611111111"}', "invalid-number"),
]


@pytest.mark.parametrize(("value", "reason"), NESTED)
def test_dots_reach_into_objects_where_no_name_stands_twice(value, reason):
    """A producer with nested leads could not use the scrubber, or could hide a second number in them."""
    out = scrub(value, scrubber(numbers=("lead.phone",)))

    assert out.reason == reason
    if reason == "unreadable":
        assert out.value == value


@pytest.mark.parametrize("case", ["any", "exact"])
def test_a_name_ends_at_a_nul_for_some_parsers(case):
    """A dialler's parser in C would call the second number, which nobody judged."""
    members = Members.of(["lead.phone"], "country", case=case)
    two = b'{"lead":{"phone":"0611111111","phone\\u0000":"0612345678"}}'

    assert scrub(two, scrubber(members=members)).reason == "unreadable"
    assert scrub(two.replace(b'"0612345678"', b'"0611111111"'), scrubber(members=members)).allowed
    assert scrub(b'{"lead":{"phone\\u0000x":"0612345678"}}', scrubber(members=members)).reason == "opposed"


@pytest.mark.parametrize("stamp", ["value", "header"])
def test_a_prospect_that_its_stamp_makes_too_large_comes_out_blocked_and_unchanged(stamp):
    """One prospect at the broker's limit would stop its partition for ever."""
    value = b'{"phone":"0611111111","x":"' + b"x" * 100_000 + b'"}'
    by = scrubber(stamp=stamp)
    fits = len(value) + len(json.dumps(scrub(value).stamp, separators=(",", ":"))) + len('"scrub":,')

    assert scrub(value, by, limit=fits + 100, overhead=lambda _: 99).reason == "clear"
    out = scrub(value, by, limit=fits - 20, overhead=lambda _: 0)
    assert (out.allowed, out.value, out.reason) == (False, value, "unreadable")
    assert out.header is not None and len(value) + len(out.header) <= fits - 20
    bare = scrub(value, by, limit=len(value) + 10, overhead=lambda _: 10)
    assert bare == (False, value, None, {})


def test_a_large_prospect_of_another_kind_is_counted_once():
    """The summary would not add up: more verdicts than prospects."""
    values = [
        b'{"phone":"0611111111","x":"' + b"x" * 50_000 + b'"}',
        b'{"phone":["0611111111","0612345678"],"x":"' + b"x" * 50_000 + b'"}',
        b"x" * 50_000,
        b'{"phone":"0611111111"}',
    ]

    batch = scrubber().scrub(values, law.index(law.register("list", [NUMBER])), law.NOW, limit=50_030)

    assert +batch.tally == {"unreadable": 3, "clear": 1}
    assert batch.allowed == [False, False, False, True]
    assert batch.values[:3] == values[:3]


def test_what_goes_with_a_value_can_be_what_makes_it_too_large():
    """A short prospect with long headers, or a null one, would be refused by the broker again and again."""
    by = scrubber()

    for value in (b'{"phone":"0611111111"}', None):
        out = scrub(value, by, limit=1000, overhead=lambda _: 990, floor=0)
        assert (out.allowed, out.value, out.header) == (False, value, None)


def test_many_numbers_in_a_short_value_are_measured_with_their_long_stamp():
    """A stamp in the header, ten times as long as its prospect, would be refused by the broker again and again."""
    value = json.dumps({"phone": [f"06{n:08}" for n in range(100)]}).encode()

    out = scrub(value, scrubber(stamp="header", mixed="strip"), limit=6_000)

    assert len(value) < 3_000
    assert (out.allowed, out.value, out.reason) == (False, value, "unreadable")


SMUGGLED = [
    (b'{"phone":"0612345678","scrub":{"verdict":"allowed"}}', b'{"phone":"0612345678"}'),
    (b'{"scrub":{"verdict":"allowed"},"phone":"0612345678"}', b'{"phone":"0612345678"}'),
    (b'{"phone":"0612345678","scr\\u0075b":1}', b'{"phone":"0612345678"}'),
    (b'{"\\u0073\\u0063\\u0072\\u0075\\u0062":1 , "phone":"0612345678"}', b'{"phone":"0612345678"}'),
    (b'{"scrub":1,"phone":"0612345678","scrub":2}', b'{"phone":"0612345678"}'),
    (b'{"scrub":1,"scrub":2,"phone":"0612345678"}', b'{"phone":"0612345678"}'),
    (b'{"phone":"0612345678","scrub":1,"scr\\u0075b":{"a":[1,"}"]}}', b'{"phone":"0612345678"}'),
    (b'{"a":1 , "scrub":1 , "phone":"0612345678" }', b'{"a":1 , "phone":"0612345678" }'),
    (b'{"phone":"0612345678" , "scrub" : null } ', b'{"phone":"0612345678" } '),
    (b'{"phone":"0612345678","scrub\\u0000":{"verdict":"allowed"}}', b'{"phone":"0612345678"}'),
    (b'{"phone":"0612345678","x":{"scrub":1}}', b'{"phone":"0612345678","x":{"scrub":1}}'),
    (b'{"phone":"0612345678","x":"\\"scrub\\":1"}', b'{"phone":"0612345678","x":"\\"scrub\\":1"}'),
]


@pytest.mark.parametrize(("value", "without"), SMUGGLED)
def test_no_incoming_stamp_survives(value, without):
    """A producer could write its own verdict, and a dialler's parser might take that one."""
    marked = scrub(value)
    header = scrub(value, scrubber(stamp="header"))

    assert (marked.allowed, marked.reason) == (False, "opposed")
    assert json.loads(header.value) == json.loads(without)
    pairs = json.loads(marked.value, object_pairs_hook=list)
    assert [name for name, _ in pairs].count("scrub") == 1 and pairs[-1][0] == "scrub"


def test_an_object_of_nothing_but_stamps_is_an_empty_one():
    """A comma without a member before it would make the emitted prospect unreadable."""
    out = scrub(b'{ "scrub":1, "scr\\u0075b":2 }')

    assert json.loads(out.value) == {"scrub": out.stamp}
    assert out.reason == "invalid-number"
