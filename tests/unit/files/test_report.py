"""`report.html`: what the manager reads, on one page that stands alone and shows nobody's number."""

import html
import re

import pytest

from stream_scrub.files.summary import REASONS
from stream_scrub.model import Reason
from tests.support.running.files import FREE, OPPOSED


def page(done) -> str:
    """The words of the page, without its markup."""
    text = done.read("report").decode().partition("</head>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_every_reason_has_words():
    """The manager would read a code word and not know whether she may call."""
    assert set(REASONS) == set(Reason)


def test_the_page_says_what_matters(bureau):
    """She would have to ask somebody what came of her file, and until when she may use it."""
    rows = [f"Ann;{FREE}", f"Bob;{OPPOSED}", f"Cid;{FREE}", "Dan;12", "Eve;6,12E+08", '"Fay;x']
    found = page(bureau.scrub("\n".join(["name;phone", *rows, ""]).encode()))

    for said in (
        "2 of 6 leads in leads.csv may be called",
        "Scrub again before Friday, 19 June 2026 is over.",
        "blocked opposed the person does not want to be called 1 16.7 %",
        "FR mobile 2 1",
        "Rows without a readable number: 2. The lines: 5, 6.",
        "Numbers that a spreadsheet destroyed: 1.",
        "Numbers that stood in the file before: 1.",
        "Blocked because programs would read their cells differently (more cells than titles, or a stray quote), lines: 7.",
        "bloctel who opposes 1 2026-05-20T00:00Z 12 bloctel.txt",
        "an opt-out law made for the tests",
        "stream-scrub file --verify proof.json",
    ):
        assert said in found, said


def test_the_page_runs_nothing_and_loads_nothing(bureau):
    """A name in somebody's file that slipped through would run as a script in the mail of whoever gets the report."""
    text = bureau.scrub(f"phone\n{FREE}\n".encode()).read("report").decode()
    head = text[: text.index("<title>")]
    assert "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'" in head
    assert "<script" not in text and " style=" not in text


def test_the_page_stands_alone(bureau):
    """It would load from elsewhere, or print badly."""
    text = bureau.scrub(f"phone\n{FREE}\n".encode()).read("report").decode()

    assert not re.search(r"(?i)https?:|src=|url\(|@import|<script", text)
    assert "size: A4" in text and "prefers-color-scheme: dark" in text


def test_what_others_named_is_shown_as_text_and_never_a_number(bureau):
    """A file's name could run a script on the page, or a phone number stand on what is passed around."""
    scripted = bureau.scrub(f"phone\n{FREE}\n".encode(), "<img src=x onerror=alert(1)>.csv")
    named = page(scripted)
    assert b"<img" not in scripted.read("report")
    assert "<img src=x" in named

    outcome = bureau.scrub(f"phone;0699999999\n{OPPOSED};x\n{FREE};y\n".encode(), f"{FREE}.csv", titles=1)
    text = outcome.read("report").decode()
    assert not any(number in text for number in (FREE, FREE[1:], OPPOSED[1:], "699999999"))


def test_a_missing_list_is_the_first_thing_to_read(bureau):
    """She would think that the law blocks her leads, where a list is missing."""
    del bureau.lists["bloctel"]
    found = page(bureau.scrub(f"phone\n{FREE}\n".encode()))

    assert "Rows blocked because of the list bloctel: 1." in found
    assert "it was not given" in found and "No lead of this file may be called." in found


@pytest.mark.parametrize("count", [99, 101])
def test_a_hundred_lines_are_named_at_most(bureau, count):
    """A page of a million line numbers could not be read or printed."""
    rows = "x\n" * count
    found = page(bureau.scrub(f"phone\n{FREE}\n{rows}".encode(), columns=("phone",)))

    assert ("The first 100 lines: 3, 4," in found) == (count > 100)
    assert found.count(f" {count + 2}") == (count <= 100)
