"""The extension and the reference are two ways to the same bytes: whatever comes in, batch for batch."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub import extension
from stream_scrub.numbering import normalise
from stream_scrub.scrub import backend
from stream_scrub.scrub.backend import ReferenceReader
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.machine.effort import ALL
from tests.support.oracles import jsonish
from tests.support.oracles.mutated_prospects import INDEX, LAWS, mutated, prospect

NATIVE = backend.native()
pytestmark = pytest.mark.skipif(
    NATIVE is None and os.environ.get("STREAM_SCRUB_REQUIRE_KAFKA") != "1",
    reason="the extension is not installed",
)
MUTANTS = 60_000 if ALL else 4000
REGIONS = ["FR", "GB", "US", "DE", "IT", "RE", "AR", "BR", "AT", "SM", "KZ", "XX"]
TERMS = [
    Terms(MEMBERS, stale="block", default_purpose="other"),
    Terms(MEMBERS, mixed="strip", stamp="header", stale="block"),
]
RULEBOOK = law.rulebook(LAWS["in"][0])


def same(values):
    """What the reference and the extension make of a batch is the same."""
    for terms in TERMS:
        reference = Scrubber(terms, RULEBOOK, backend.PYTHON).scrub(values, INDEX, law.NOW)
        assert Scrubber(terms, RULEBOOK, NATIVE).scrub(values, INDEX, law.NOW) == reference


def test_mutated_prospects_come_out_alike():
    """A machine with a compiler would call somebody whom a machine without one would not."""
    chance = random.Random("swift 20261124")
    for _ in range(MUTANTS // 500):
        same([mutated(prospect(chance), chance) for _ in range(500)])


def test_a_prospect_is_read_for_itself_whatever_came_before_it():
    """A broken prospect would be read with the names of the one before it, and its number called or lost."""
    plain = b'{"phone": "0612345678","country":"FR","%s":1,"purpose":"energy"}' % (b"n" * 50)
    long = b'{"phone":"0612345678",%s}' % b",".join(b'"m%d":"a"' % at for at in range(40))
    values = []
    for whole in (plain, long):
        for at in range(len(whole)):
            for other in (whole[:at], whole[:at] + b" " + whole[at:], whole[:at] + b'"' + whole[at + 1 :]):
                values += [whole, other, other + b"}"]
    same(values)


@given(
    st.lists(
        st.one_of(
            jsonish.prospects().map(lambda made: made[0]), jsonish.broken(), st.binary(max_size=40), st.none()
        ),
        max_size=20,
    )
)
def test_whatever_comes_in_comes_out_alike(values):
    """A spelling of JSON would be read in one way by the extension and in another by the reference."""
    same(values)


TEXTS = st.one_of(
    st.text(alphabet="0123456789+ -.()/", min_size=1, max_size=24),
    st.tuples(
        st.sampled_from(["+", "00", "0", "", "+33 ", "+1", "(0)", "+44 ", "0039", "+39 0", "011"]),
        st.text(alphabet="0123456789 -.", min_size=4, max_size=16),
    ).map("".join),
)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(REGIONS)), min_size=1, max_size=50))
def test_numbers_are_read_as_normalise_reads_them(pairs):
    """A number would be looked up as another one: an opposed person would be called."""
    reader = backend.native().reader(MEMBERS, "FR")
    values = [b'{"phone":"%s","country":"%s"}' % (text.encode(), region.encode()) for text, region in pairs]
    plain = reader.read(values)
    for (text, region), number, kind in zip(pairs, plain.numbers.tolist(), plain.kinds.tolist(), strict=True):
        wanted = normalise(text, region) if region != "XX" else None
        assert (number, plain.pairs[kind][0] if kind >= 0 else None) == (wanted or (0, None))


def test_most_prospects_are_taken_by_the_extension_itself():
    """The speed that the extension is for would be gone without anybody noticing."""
    values = [
        b'{"id":%d,"phone":"06 12 34 %02d 78","name":"Ren\xc3\xa9e \\u00e9","tags":[1,{"phone":"x"}],"country":"FR"}'
        % (i, i)
        for i in range(100)
    ]
    plain = backend.native().reader(MEMBERS, "FR").read(values)
    assert (plain.kinds >= 0).all()
    assert len(plain.pairs) == 1


def test_every_two_to_four_byte_character_is_text_to_both_or_to_neither():
    """A prospect with an accent would go the slow way, or bytes that are no text would be taken for text."""
    ends = "", "7f", "80", "bf80", "9fbf", "a0c0", "8fbfbf", "908080", "80807f"
    signs = [bytes([first]) + bytes.fromhex(end) for first in range(0x80, 0x100) for end in ends]
    same([b'{"phone":"0612345678","name":"' + sign + b'"}' for sign in signs])


@pytest.mark.parametrize(
    ("numbers", "campaign", "native"),
    [
        (["phone"], "campaign", True),
        (["lead.phone"], "campaign", False),
        (["phone", "mobile"], "campaign", False),
        (["t\u00e9l"], "campaign", False),
        (["phone"], "purpose", False),
    ],
)
def test_members_that_the_extension_cannot_tell_apart_are_left_to_the_reference(numbers, campaign, native):
    """With unusual member names a wrong member would be read, or the worker would not start."""
    members = Members.of(numbers, "country", {"campaign": campaign})
    reader = backend.native().reader(members, "FR")
    assert isinstance(reader, ReferenceReader) is not native


def test_an_extension_of_another_version_is_not_used(monkeypatch):
    """After an upgrade of one of the two packages, the other would be called in a way that it does not know."""
    monkeypatch.setattr(extension, "VERSION", extension.VERSION + 1)
    assert backend.native() is None


def test_a_length_that_no_table_knows_is_asked_about():
    """A number of a strange length would stop the worker, and every lead behind it."""
    texts = [sign + digit * length for sign in ("", "+") for digit in "019" for length in range(1, 24)]
    for region in REGIONS:
        same([b'{"phone":"%s","country":"%s"}' % (text.encode(), region.encode()) for text in texts])
