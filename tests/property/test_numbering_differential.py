"""Holds `normalise` and `line_of` equal to phonenumbers, called directly here, over all regions and much mistreatment."""

import os
import random
import unicodedata

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.numbering import line_of, normalise, tables_in_use
from tests.support.machine.effort import examples
from tests.support.oracles.mistreated_numbers import (
    JUNK,
    OFTEN,
    SEPARATORS,
    SORTED,
    Mistreatment,
    given_by,
    reference,
)

INPUTS = int(os.environ.get("STREAM_SCRUB_DIFFERENTIAL", examples(60_000)))
SEED = int(os.environ.get("STREAM_SCRUB_SEED", "1"))


@pytest.mark.slow
def test_mistreated_numbers():
    """A dialler would be handed a number that is not the prospect's, or a sale lost, wherever we and the reference differ."""
    source = Mistreatment(SEED)
    valid = 0
    differences = []
    for _ in range(INPUTS):
        text, region = source.one()
        expected = reference(text, region)
        answer = normalise(text, region)
        valid += expected is not None
        if given_by(answer) != expected:
            differences.append((text, region, given_by(answer), expected))
        elif answer is not None and line_of(answer[0]) is not answer[1]:
            differences.append((text, region, line_of(answer[0]), answer[1]))

    assert differences[:20] == []
    assert valid > INPUTS // 4, "the source makes too few valid numbers to prove anything"
    assert tables_in_use()


def test_every_region_reads_plain_digits():
    """A region whose proven shapes were wrong would turn one country's national numbers into another's."""
    draw = random.Random(SEED)
    for region in SORTED:
        code = str(phonenumbers.country_code_for_region(region))
        prefix = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or ""
        for _ in range(INPUTS // 1500):
            text = draw.choice(
                ["", "", prefix, code, "00", "+" + code, "+" + code + prefix, "00" + code, "+", code * 2]
            )
            text += "".join(draw.choices("0123456789", k=draw.randint(1, 14)))

            assert given_by(normalise(text, region)) == reference(text, region), (text, region)


# Unicode digits of every script, what phonenumbers looks for in texts, and anything at all, lone surrogates included.
PIECES = st.one_of(
    st.text("0123456789", max_size=20),
    st.text("+0123456789 -.()/\u00a0", max_size=30),
    st.sampled_from(JUNK + SEPARATORS),
    st.text(st.characters(categories=["Nd", "No"]), max_size=12),
    st.text(st.characters(exclude_categories=()), max_size=10),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
WHERE = st.one_of(st.sampled_from(SORTED), st.sampled_from(OFTEN), st.text(max_size=3))


@settings(max_examples=max(600, INPUTS // 100), deadline=None, derandomize=True)
@given(TEXTS, WHERE)
def test_any_text(text, region):
    """One prospect with a strange phone member would stop a worker if reading it raised, and every replay after it."""
    assert given_by(normalise(text, region)) == reference(text, region)


@settings(max_examples=max(300, INPUTS // 200), deadline=None, derandomize=True)
@given(
    st.one_of(
        st.integers(),
        st.integers(min_value=0, max_value=10**16),
        st.integers(0, 10**9).map(lambda n: 33 * 10**9 + n),
    )
)
def test_any_number(number):
    """A register may hold any integer: a wrong line for one would choose another country's rule."""
    line = line_of(number)
    digits = f"+{number}"

    read = reference(digits, "ZZ") if number > 0 else None
    # A number that the reference would still strip a national prefix from is not in E.164 form.
    expected = read if read is not None and read[0] == number else None
    if line is not None or expected is not None:
        assert expected == (number, line.region, line.type)


def test_digits_of_every_script():
    """A prospect typed on an Arabic or full-width keyboard must not be lost, nor read as another number."""
    for digit in filter(lambda sign: unicodedata.category(sign) in {"Nd", "No"}, map(chr, range(0x110000))):
        for text in (f"+3361234567{digit}", f"{digit}612345678", f"06 12 34 56 7{digit}"):
            assert given_by(normalise(text, "FR")) == reference(text, "FR"), (text, digit)
