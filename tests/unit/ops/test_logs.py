"""Log lines: their form, and where they go."""

import io
import json
import logging
import os
import warnings
from collections import OrderedDict
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.errors import Corrupt
from stream_scrub.model import Reason
from stream_scrub.ops.logs import configure, errors_only
from stream_scrub.texts import MASK


@pytest.fixture
def out():
    """A stream to log to; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.BytesIO()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_are_complete_and_in_utc(out):
    """A log store could not parse the lines or would sort them wrongly."""
    configure("info", "json", out).bind(group="g").info(
        "commit",
        offset=5,
        reason=Reason.CLEAR,
        day=datetime(2026, 1, 2, tzinfo=UTC),
        raw=b"+33612345678",
        none=None,
        on=True,
    )

    (line,) = lines(out)
    timestamp = datetime.fromisoformat(line.pop("timestamp"))
    assert timestamp.utcoffset().total_seconds() == 0
    assert line == {
        "level": "info",
        "event": "commit",
        "group": "g",
        "offset": 5,
        "reason": "clear",
        "day": "2026-01-02T00:00:00+00:00",
        "raw": "[12 bytes]",
        "none": None,
        "on": True,
    }


def test_lines_go_to_stderr(out, capsysbinary):
    """`stream-scrub check --json | jq` would find log lines among the stamps."""
    configure("info", "json").info("hello")

    written = capsysbinary.readouterr()
    assert written.out == b"" and json.loads(written.err)["event"] == "hello"


def test_levels_below_the_chosen_one_are_silent(out):
    """`level = "warning"` would still fill the disk."""
    logger = configure("warning", "json", out)
    logger.info("no")
    logging.getLogger("lib").info("no")
    logger.warning("yes")

    assert [line["event"] for line in lines(out)] == ["yes"]


def test_a_command_on_a_terminal_shows_errors_only_and_masks_them(out, capsysbinary):
    """Notes of a client would stand between the verdicts, or a number of a library's error on the terminal."""
    log = errors_only("json").bind(client="reader")
    for quiet in (log.debug, log.info, log.warning, logging.getLogger("library").warning, warnings.warn):
        quiet("not this one")
    log.error("broker gone", why="0612345678")
    logging.getLogger("library").error("lost %s", "0612345678")

    broker, library = (json.loads(line) for line in capsysbinary.readouterr().err.splitlines())
    assert (broker["event"], broker["client"], broker["why"]) == ("broker gone", "reader", MASK)
    assert (library["event"], library["level"]) == (f"lost {MASK}", "error")


def test_auto_is_json_in_a_pipe_and_text_on_a_terminal(out):
    """People would read JSON, or machines would have to parse coloured text."""
    configure("info", "auto", out).info("hello")
    assert lines(out)[0]["event"] == "hello"

    leader, follower = os.openpty()
    with os.fdopen(follower, "wb") as terminal:
        configure("info", "auto", terminal).info("hello", count=3)
        shown = os.read(leader, 1000).decode()
    os.close(leader)
    assert "hello" in shown and "{" not in shown


def test_console_lines_carry_no_control_characters_of_others(out):
    """A prospect's content could forge log lines or drive the operator's terminal."""
    configure("info", "console", out).info("a\nb\x1b[31m\u202e\udc80", key="c\r\nd")

    assert out.getvalue().count(b"\n") == 1 and b"\x1b" not in out.getvalue() and b"\r" not in out.getvalue()


def test_errors_are_one_line_with_type_place_and_cause_and_without_foreign_text(out):
    """A library's exception text or a local variable would put a prospect into the log, or the place would be unknown."""
    logger = configure("info", "json", out)
    try:
        phone = "+33612345678 of Jane"
        try:
            int(phone)
        except ValueError as error:
            raise Corrupt("opposition.log [0] at offset 123456: chain broken") from error
    except Corrupt:
        logger.exception("stopped")

    (line,) = lines(out)
    assert line["level"] == "error" and len(out.getvalue().splitlines()) == 1
    assert line["error"].startswith(
        "Corrupt: opposition.log [0] at offset 123456: chain broken at ops/test_logs.py:"
    )
    assert ", caused by ValueError at ops/test_logs.py:" in line["error"]
    assert "Jane" not in line["error"] and "336" not in line["error"]


def test_libraries_log_the_way_we_do(out):
    """A client library's lines would be in another format, and unmasked."""
    configure("info", "json", out)
    library = logging.getLogger("some.library")
    library.warning("call to %s failed", "+33 6 12 34 56 78")
    library.warning("broken %d", "format")
    library.log(35, "own level")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old 0612345678", stacklevel=1)

    told = [(line["level"], line["event"], line["logger"]) for line in lines(out)]
    assert told[:3] == [
        ("warning", f"call to {MASK} failed", "some.library"),
        ("warning", "broken %d", "some.library"),
        ("warning", "own level", "some.library"),
    ]
    assert f"old {MASK}" in told[3][1] and told[3][2] == "py.warnings"


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(max_size=20),
                st.binary(max_size=5),
                st.just(ValueError("x")),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3),
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_any_value_makes_one_line(values):
    """A surprising value would raise in the middle of a batch instead of being logged."""
    out = io.BytesIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for form in ("json", "console"):
            configure("info", form, out).info(
                "x", **{key: value for key, value in values.items() if key not in {"event", "self"}}
            )
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
    written = out.getvalue().split(b"\n")
    assert len(written) == 3 and json.loads(written[0])["level"] == "info"


def test_deep_and_odd_containers_end(out):
    """A value that holds itself would hang the process."""
    deep = {}
    deep["deep"] = deep
    configure("info", "json", out).info("x", deep=deep, ordered=OrderedDict(a=1), frozen=frozenset({1}))

    assert lines(out)[0]["ordered"] == {"a": 1} and lines(out)[0]["frozen"] == [1]
