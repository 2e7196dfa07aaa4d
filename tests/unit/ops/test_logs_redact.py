"""Log lines: no phone number is in them, and what operators need still is."""

import ast
import json
import re
import uuid
from decimal import Decimal
from hashlib import md5, sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_scrub.ops import logs
from stream_scrub.ops.logs import COUNTS, NAMES, mask, redact
from stream_scrub.texts import MASK

PREFIXES = (
    "+33",
    "0033",
    "011 44 ",
    "0",
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
    ") ",
    "\u202f",
    "\u2011",
    "\u200b",
    "\n",
    ":",
    ",",
    "    ",
    "%C2%A0",
    "\\u00a0",
    "&nbsp;",
    "'",
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
    script = str.maketrans(DIGITS[0], draw(st.sampled_from(DIGITS)))
    return digits, draw(st.sampled_from(PREFIXES)) + between.join(group.translate(script) for group in groups)


@given(
    spelled(),
    st.sampled_from(
        ["", "x", "number ", "a=", '{"phone":"', "(", "offset 3 of ", "offset ", "position=", "at offset: "]
    ),
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
    "spell",
    [
        "%{:02X}".format,
        "%{:02x}".format,
        "&#{};".format,
        "&#x{:x};".format,
        "&#0{};".format,
        "\\u{:04x}".format,
        "\\x{:02x}".format,
    ],
)
@pytest.mark.parametrize("between", ["", "%20", "&nbsp;", "-"])
def test_digits_that_are_spelled_out_are_masked(spell, between):
    """A number in an address, a page or a program's text would stand in the log for anyone who can decode it."""
    for number in ("33612345678", "+33612345678", "0612345678"):
        text = between.join(spell(ord(sign)) for sign in number)
        assert MASK in mask(f"GET /check?number={text} failed") and spell(ord("8")) not in mask(text)
    assert mask("a%3Db%3D1&#61;2 caf\\u00e9 100%") == "a%3Db%3D1&#61;2 caf\\u00e9 100%"


@pytest.mark.parametrize(
    "text",
    [
        "33.61.23.45:678",
        "33.6.12.34:5678",
        "ipv4#33.61.23.45:678",
        "http://33612345678",
        "tel://0612345678",
        "tel://172.26.58.193",
        "http://192.168.112.34,0612345678",
        "http://192.168.112.34-5678",
    ],
)
def test_a_number_that_looks_like_an_address_is_masked(text):
    """Who wants a number in the log would write it as the address of a broker."""
    assert mask(text) in (MASK, f"ipv{MASK}", f"http://{MASK}", f"tel://{MASK}")


@pytest.mark.parametrize(
    "text",
    [
        "0612345678" + "0" * 22,
        "33612345678".rjust(40, "0"),
        "0612345678" * 6 + "0612",
        "33612345-6780-0000-0000-000000000000",
        "06:12:34.5678",
        "06:12:34,56780",
        "61:23:45.678",
    ],
)
def test_a_number_that_looks_like_a_digest_or_a_time_is_masked(text):
    """A field with a number in it, padded to the size of a digest, would stand in the log."""
    assert mask(f"key {text} refused") == f"key {MASK} refused"


@pytest.mark.parametrize("text", ["33.ms=612345678", "max.bytes=33.612345678", "max.bytes 612345678"])
def test_a_number_that_looks_like_a_setting_is_masked(text):
    """A number near the name of a setting would stand in the log."""
    assert "612345678" not in mask(text)


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
    """A number decoded to an integer would be logged in clear, or a position would be lost."""
    assert "33612345678" not in str(redact(None, "info", {"value": value, "deep": {"value": [value]}}))
    assert redact(None, "info", {"position": 33612345678, "count": {"bloctel": np.int64(5_000_000_000)}}) == {
        "position": 33612345678,
        "count": {"bloctel": 5_000_000_000},
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
        "prospects.allowed [11] at offset 123456",
        "10.1.2.3:9092/1: 3 request(s) timed out: disconnect (after 5003ms in state UP)",
        "127.0.0.1:41233 (3 tries)",
        "rules fr@9c01f2",
        "topic prospects.allowed: max.message.bytes=1048588, should be max.message.bytes=2097152 or more",
        "the schema registry http://192.168.100.200:80/subjects/prospects-value answers 503",
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


PACKAGE = Path(logs.__file__).parents[1]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "bind"}
# Where the values under the keys of NAMES come from: all of them are settings, or what a client says of its brokers.
NAMED = {
    "process": {"name"},
    "topic": {
        "str(settings.topics.inputs)",
        "str(self._settings.topics.inputs)",
        "self._settings.topics.requests",
        "self._settings.topics.shadow",
        "each.topic",
        "topic",
    },
    "broker": {"broker", "of_broker['broker']"},
    "client": {"client"},
    "group": {
        "settings.worker.group_id",
        "clients.side_group(self._settings, 'retry')",
        "clients.side_group(self._settings, 'recall')",
        "group",
    },
    "listen": {"f'{shown!s}:{port}'", "_shown(listening)"},
}
# Keys that come out of a mapping, by the expression that gives it.
SPREAD = {
    "state.verdicts()": {"allowed", "blocked"},
    "{verdict: since[verdict] for verdict in state.verdicts()}": {"allowed", "blocked"},
    "dict.fromkeys(state.side.identity, state.identity)": {
        "worker",
        "server",
        "retry",
        "shadow",
        "recall",
        "fanout",
    },
    "self._state.sums()": {"requests", "refused", "ended", "files", "files_refused"},
    "state.sums()": {"requests", "refused", "ended", "files", "files_refused"},
    "more": {"failures", "tries"},
    "details": {"count", "register", "why"},
    "brief": {"why", "position", "count", "adds", "removes"},
}
# What is put into an event's sentence.
IN_EVENTS = {"event", "head['outcome']"}
# Events that are given at construction, as the test of constructions below sees.
GIVEN = {"self._begins", "self._over", "event"}


def log_calls():
    """Every call in the source that writes a log line, or binds what later lines will hold."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "logs.py":  # writes what libraries log: see test_logs.py
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call):
                continue
            method = getattr(node.func, "attr", "")
            owner = ast.unparse(node.func.value) if method else ""
            if (method in LEVELS and re.search(r"\b_?log$", owner)) or getattr(
                node.func, "id", ""
            ) == "level":
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)[:60]}", node


@pytest.fixture(scope="module")
def calls():
    return dict(log_calls())


def test_no_log_path_lets_a_number_through(calls):
    """A consumer's number would be in the log store, where it is kept for months and nobody knows of it."""
    assert len(calls) > 40 and not COUNTS & NAMES
    for where, call in calls.items():
        lets_no_number_through(where, call)


def lets_no_number_through(where, call):
    keys = {word.arg for word in call.keywords if word.arg}
    for word in call.keywords:
        if word.arg is None:
            keys |= SPREAD[ast.unparse(word.value)]
        elif word.arg in NAMES:
            assert ast.unparse(word.value) in NAMED[word.arg], (
                f"{where}: {word.arg}: is that from the settings?"
            )
    for event in call.args:
        parts = event.values if isinstance(event, ast.JoinedStr) else [event]
        assert all(
            isinstance(part, ast.Constant)
            or ast.unparse(part) in GIVEN
            or ast.unparse(part.value) in IN_EVENTS
            for part in parts
        ), f"{where}: a sentence is ours, its values go under keys"
    for number in (
        33612345678,
        "+33 6 12 34 56 78",
        "0033612345678",
        b"33612345678",
        [33612345678],
        {"+33612345678": 1},
    ):
        line = redact(None, "info", {"event": f"of {number}", **dict.fromkeys(keys, number)})
        for key in {"event"} | keys:
            if (key in COUNTS and not isinstance(number, str | dict)) or (
                key in NAMES and isinstance(number, str)
            ):
                continue
            shown = re.sub(r"\D", "", json.dumps(line[key]))
            assert "612345678" not in shown, f"{where}: {key}: {line[key]}"
