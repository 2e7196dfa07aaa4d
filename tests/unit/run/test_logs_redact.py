"""Log lines: no phone number is in them, and what operators need still is."""

import json
import uuid
from decimal import Decimal
from hashlib import md5, sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_scrub.run.logs import COUNTS, MASK, mask, redact

PREFIXES = (
    "+33",
    "+1",
    "+44",
    "+262",
    "0033",
    "011 44 ",
    "33",
    "0",
    "00",
    "(0)",
    "+33 (0)",
    "tel:+33",
    "%2B33",
    "",
)
BETWEEN = (
    "",
    " ",
    ".",
    "-",
    "/",
    "_",
    " - ",
    ") ",
    "\u00a0",
    "\u202f",
    "\u2009",
    "\u2011",
    "\u2212",
    "\u200b",
    "\t",
    "\n",
)
DIGITS = tuple(
    "".join(map(chr, range(zero, zero + 10))) for zero in (0x30, 0x660, 0xFF10, 0x966)
)  # four scripts


@st.composite
def spelled(draw):
    """A phone number as people and programs write it."""
    digits = draw(st.text("0123456789", min_size=8, max_size=12))
    between = draw(st.sampled_from(BETWEEN))
    groups, at = [], 0
    while at < len(digits):
        size = draw(st.integers(1, 4))
        groups.append(digits[at : at + size])
        at += size
    text = draw(st.sampled_from(PREFIXES)) + between.join(groups)
    return digits, text.translate(str.maketrans(DIGITS[0], draw(st.sampled_from(DIGITS))))


@given(
    spelled(),
    st.sampled_from(["", "x", "number ", "a=", '{"phone":"', "(", "offset 3 of "]),
    st.sampled_from(["", " ", "y", '"}', ")", ",5", "."]),
)
@example(("12345678", "12.34.56.78"), "", "")
@example(("33612345678", "+33612345678"), "2026-11-24T12:00:00Z ", "")
def test_no_spelling_of_a_number_gets_through(number, before, after):
    """A library's error text would put a consumer's number into the log store."""
    digits, text = number

    shown = redact(None, "info", {"event": before + text + after, "key": [text], text: {"a": (text, {text})}})

    for value in (shown["event"], json.dumps(shown, ensure_ascii=False)):
        plain = "".join(str(int(char)) if char.isdecimal() else char for char in value)
        assert digits not in plain.replace(" ", "") and text not in value and MASK in value


@pytest.mark.parametrize(
    "value",
    [
        33612345678,
        33612345678.0,
        -33612345678,
        np.int64(33612345678),
        Decimal(33612345678),
        "33612345678",
        Path("/in/33612345678.json"),
        10**30,
        float("inf"),
    ],
)
def test_numbers_as_values_are_masked_unless_their_key_counts(value):
    """A number decoded to an integer would be logged in clear, or an offset would be lost."""
    assert "33612345678" not in str(redact(None, "info", {"value": value})["value"])
    assert redact(None, "info", {"offset": 33612345678, "counts": {"bloctel": np.int64(5_000_000_000)}}) == {
        "offset": 33612345678,
        "counts": {"bloctel": 5_000_000_000},
    }


def test_counting_keys_do_not_let_texts_through():
    """A number in an unexpected field would be taken for a count."""
    assert redact(None, "info", dict.fromkeys(COUNTS, "+33612345678")) == dict.fromkeys(COUNTS, MASK)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T12:00:00.123456Z",
        "2026-11-24 12:00:00.123456789+01:00",
        "2026-11-24",
        "until 2026-12-22, then",
        "12:00:00.123456",
        "10.1.2.3:9092",
        "192.168.100.200:65535/bootstrap: Connect to ipv4#192.168.100.200:9092 failed",
        sha256(b"a").hexdigest(),
        "sha256:" + sha256(b"b").hexdigest(),
        md5(b"c").hexdigest(),
        str(uuid.UUID("550e8400-e29b-41d4-a716-446655440000")),
        "confluent-kafka 2.16.1, Python 3.11.7, pyroaring>=1.2",
        "prospects.allowed [11] at offset 12345678901",
        "position=12345678901",
        "rules fr@9c01f2",
        "worker-7c9d8f6b5-x2x9q",
        "took 12.5 ms for 10000 records",
    ],
)
def test_what_operators_need_is_left_whole(text):
    """Timestamps, brokers, digests, versions and offsets could not be read in the log any more."""
    assert mask(text) == text


def test_names_from_the_settings_are_left_whole():
    """Workers on hosts named by their address could not be told apart."""
    assert redact(None, "info", {"worker": "ip-10-123-145-67", "other": "ip-10-123-145-67"}) == {
        "worker": "ip-10-123-145-67",
        "other": f"ip-{MASK}",
    }
