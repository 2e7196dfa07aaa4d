"""What comes out of a file against what came in, and against the verdicts of the stream on the same prospects."""

import csv
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub import Checker
from tests.support.machine.effort import examples
from tests.support.running.files import FREE, OPPOSED, SCOPED, Bureau, written

ADDED = 6
NUMBERS = st.one_of(
    st.sampled_from(
        [
            OPPOSED,
            SCOPED,
            FREE,
            "",
            " ",
            "n/a",
            "+33 6 12 34 56 78",
            "612345678",
            "0899123456",
            "+447400123456",
        ]
    ),
    st.text("0123456789", min_size=6, max_size=9).map(lambda digits: "06" + digits),
    st.text('0123456789+ -.()/"', max_size=14),
)
TEXTS = st.text(st.sampled_from('ab \u00e9";,\n\r\u00a0'), max_size=8)
ROWS = st.lists(
    st.tuples(TEXTS, NUMBERS, NUMBERS, st.sampled_from(["FR", "GB", "re", "", "XX"]), TEXTS),
    min_size=1,
    max_size=12,
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
DELIMITERS = st.sampled_from([";", ",", "\t", "|"])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"])
TITLES = ("name", "phone", "mobile", "country", "note")


@pytest.fixture(scope="module")
def bureau():
    with tempfile.TemporaryDirectory() as folder:
        yield Bureau(Path(folder))


def encoded(rows, delimiter, end, encoding) -> bytes:
    return written([TITLES, *rows], delimiter, end).encode(encoding, "replace")


def without_added(content: bytes, delimiter: str, encoding: str) -> bytes:
    """The file less the last six cells of every row: found with the csv module, which knows nothing of ours."""
    text = content.decode(encoding)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    for row in rows:
        if row:
            cells = delimiter.join(row[-ADDED:])
            assert cells in text
            text = text.replace(delimiter + cells, "", 1)
    return text.encode(encoding)


@settings(max_examples=examples(45))
@given(ROWS, DELIMITERS, ENDS, ENCODINGS)
def test_the_annotated_file_less_its_cells_is_the_input(bureau, rows, delimiter, end, encoding):
    """A cell, an accent or a line end of somebody's file would come back changed, or a row would be missing."""
    rows = [row for row in rows if "".join(row).strip()]
    content = encoded(rows, delimiter, end, encoding)
    if not rows:
        return
    done = bureau.scrub(
        content,
        columns=("phone", "mobile"),
        fact_columns={"region": "country"},
        delimiter=delimiter,
        region="FR",
    )
    allowed, blocked, annotated = done.files

    assert without_added(annotated, delimiter, encoding) == content
    kept = read(annotated, delimiter, encoding)
    assert read(allowed, delimiter, encoding) == [
        kept[0],
        *(row for row in kept[1:] if row[-ADDED] == "allowed"),
    ]
    assert read(blocked, delimiter, encoding) == [
        kept[0],
        *(row for row in kept[1:] if row[-ADDED] == "blocked"),
    ]
    assert len(kept) == done.summary.rows + 1 == len(rows) + 1


def read(content: bytes, delimiter: str, encoding: str) -> list[list[str]]:
    text = content.decode(encoding)
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]


@settings(max_examples=examples(45))
@given(
    ROWS,
    st.sampled_from(["block", "strip"]),
    st.sampled_from([None, "acme"]),
    st.sampled_from([None, "press", "insurance"]),
)
def test_a_row_gets_the_verdict_of_the_same_prospect_on_the_stream(bureau, rows, mixed, campaign, purpose):
    """The file would let somebody be called whom the stream blocks, or the other way round."""
    rows = [row for row in rows if "".join(row).strip()]
    if not rows:
        return
    said = {"prospect.mixed": mixed, "prospect.numbers": ["phone", "mobile"]}
    done = bureau.scrub(
        encoded(rows, ";", "\n", "utf-8"),
        columns=("phone", "mobile"),
        fact_columns={"region": "country"},
        delimiter=";",
        region="FR",
        campaign=campaign,
        purpose=purpose,
        settings=said,
    )
    checker = Checker.from_lists(bureau.lists, settings=bureau.settings | said | {"rules.stale": "block"})
    facts = {"campaign": campaign, "purpose": purpose}
    prospects = [
        json.dumps(
            {"phone": said_by(phone), "mobile": said_by(mobile), "country": country.strip()} | facts
        ).encode()
        for _, phone, mobile, country, _ in rows
    ]
    batch = checker.scrubber.scrub(prospects, checker.index, datetime(2026, 6, 1, 12, tzinfo=UTC))
    stamps = [json.loads(value)["scrub"] for value in batch.values]

    told = [row[-6:-2] for row in read(done.read("annotated"), ";", "utf-8")[1:]]
    assert [(verdict, reason) for verdict, reason, _, _ in told] == [
        (s["verdict"], s["reason"]) for s in stamps
    ]
    assert [until for *_, until in told] == [s.get("until", "") for s in stamps]
    assert [numbers for _, _, numbers, _ in told] == [shown(callable_of(stamp)) for stamp in stamps]


def said_by(cell: str) -> str:
    """A cell without a digit says nothing, as in "n.c."."""
    return cell if any(map(str.isdigit, cell)) else ""


def shown(numbers: list[str]) -> str:
    return " ".join(f"({number})" for number in numbers) if len(numbers) > 1 else "".join(numbers)


def callable_of(stamp) -> list[str]:
    """The numbers that a stamp lets be called."""
    if stamp["verdict"] == "blocked":
        return []
    entries = stamp.get("numbers", [stamp])
    return [entry["number"] for entry in entries if entry["verdict"] == "allowed"]
