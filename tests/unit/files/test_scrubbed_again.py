"""Files that were scrubbed before, and that people have worked on since: no verdict of old stays in a row, and nothing of
theirs is lost."""

import pytest

from stream_scrub import BadFile, ConfigError
from stream_scrub.files import source
from tests.support.running.files import FREE, OPPOSED
from tests.unit.files.test_other_kinds import ADDED, NO, OK, book, rows_of

OPPOSED_SINCE = "0611111112"


def opposes(bureau, number):
    """From now on this person may not be called."""
    file = bureau.lists["internal"].path
    file.write_text(file.read_text() + f"{number}\n")


def cells(content: bytes, delimiter: str = ";") -> list[list[str]]:
    return [line.split(delimiter) for line in content.decode().splitlines()]


@pytest.mark.parametrize("added", [f"3;{FREE}", f"3;{FREE};;;;", f"3;{FREE};;;"])
@pytest.mark.parametrize("first", [False, True])
def test_a_lead_beside_rows_without_titles_keeps_no_old_verdict(bureau, added, first):
    """Whoever opposed since the first scrub would stand with `allowed` in a row of those who are blocked."""
    kept = bureau.scrub(f"1;{OPPOSED_SINCE}\n2;{FREE}\n".encode(), columns=["2"]).read("annotated")
    opposes(bureau, OPPOSED_SINCE)
    line = f"{added}\n".encode()
    again = bureau.scrub(line + kept if first else kept + line, columns=["2"])

    assert again.summary.input.columns.endswith("those verdicts are replaced")
    rows = sorted(cells(again.read("annotated")))
    assert rows[:2] == [["1", OPPOSED_SINCE, *NO], ["2", FREE, *OK]]
    assert rows[2] == ["3", FREE, *OK]
    assert b"allowed" not in again.read("blocked")


def test_empty_cells_of_ones_own_stay(bureau):
    """A row that was added to a file without titles would lose cells that are no verdict's."""
    kept = bureau.scrub(f"1;{FREE};;;;\n".encode(), columns=["2"]).read("annotated")
    again = bureau.scrub(kept + f"2;{FREE};;;;\n".encode(), columns=["2"])
    assert cells(again.read("annotated")) == [[at, FREE, "", "", "", "", *OK] for at in "12"]


@pytest.mark.parametrize(
    "row",
    [
        f"{FREE};b;my own words",
        f"{FREE};b;allowed;I asked her;;",
        f"{FREE};b;allowed;clear;+33611111111;2026-06-19;a note",
        f";;{OPPOSED};x;;",
    ],
)
def test_words_in_our_columns_are_refused(bureau, row):
    """An old `allowed` would stand in the column of verdicts, or somebody's own words be lost."""
    kept = bureau.scrub(f"phone;note\n{FREE};a\n".encode()).read("annotated")
    with pytest.raises(BadFile, match="line 3: the columns of the earlier scrub"):
        bureau.scrub(kept + f"{row}\n".encode(), columns=["phone"])


def test_words_in_our_columns_of_a_workbook_are_refused(bureau):
    """What somebody wrote beside a lead would be gone from the file that comes back."""
    leads = [["phone", "note", *ADDED], [FREE, "a", *OK], ["", "", OPPOSED, "my own words"]]
    with pytest.raises(BadFile, match="row 3: the columns of the earlier scrub"):
        bureau.scrub(book({"A": leads}), "leads.xlsx")


def test_a_workbook_without_titles_keeps_no_old_verdict(bureau):
    """The old verdicts would stand before the new ones, and somebody call by them."""
    leads = [["Ann", OPPOSED, *OK], ["Bob", FREE, *NO[:2]], ["Cid", FREE]]
    again = bureau.scrub(book({"A": leads}), "leads.xlsx", columns=["2"])
    # No row has hours, and nobody reads empty columns at the end.
    assert rows_of(again.read("annotated")) == [
        ["Ann", OPPOSED, *NO[:4]], ["Bob", FREE, *OK[:4]], ["Cid", FREE, *OK[:4]],
    ]  # fmt: skip


@pytest.mark.parametrize("day", ["19/06/2026", "6/19/26", "46192", "19.06.2026"])
@pytest.mark.parametrize("number", ["33611111111", "3.36111E+10", "3,36111E+10"])
def test_verdicts_that_a_spreadsheet_wrote_anew_are_ours(bureau, day, number):
    """Whoever saved the file with Excel could not scrub it again, or would get two verdicts a row."""
    content = f"phone;{';'.join(ADDED)}\n{OPPOSED};allowed;clear;{number};{day};;\n"
    assert cells(bureau.scrub(content.encode()).read("annotated"))[1] == [OPPOSED, *NO]


def test_verdicts_far_below_the_first_rows_are_refused(bureau, monkeypatch):
    """Rows that were pasted below a new list would keep their old verdicts."""
    monkeypatch.setattr(source, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(source, "BLOCK_BYTES", 2_000)
    old = bureau.scrub(f"1;{OPPOSED_SINCE}\n".encode(), columns=["2"]).read("annotated")
    with pytest.raises(BadFile, match="line 1001 has the cells of an earlier scrub"):
        bureau.scrub(f"2;{FREE}\n".encode() * 1_000 + old, columns=["2"])


@pytest.mark.parametrize(
    "titles",
    ["verdict;scrub_reason;scrub_number;scrub_until", "SCRUB_VERDICT;SCRUB_REASON;SCRUB_NUMBER;SCRUB_UNTIL"],
)
def test_titles_that_are_ours_in_part_are_refused(bureau, titles):
    """Two columns would say why, and a program read the old one."""
    with pytest.raises(ConfigError, match="moved or renamed"):
        bureau.scrub(f"phone;{titles}\n{FREE};blocked;opposed;;\n".encode())


def test_words_of_ones_own_that_are_also_ours_are_kept(bureau):
    """Somebody's own column of states would be taken for verdicts, and the file be refused."""
    content = f"phone;state;why\n{FREE};blocked;opposed\n".encode()
    assert cells(bureau.scrub(content).read("annotated"))[1] == [FREE, "blocked", "opposed", *OK]
    sheet = book({"A": [["phone", "state", "why"], [FREE, "blocked", "opposed"]]})
    assert rows_of(bureau.scrub(sheet, "leads.xlsx").read("annotated"))[1] == [
        FREE,
        "blocked",
        "opposed",
        *OK,
    ]
