"""`stream-scrub lists ask-reassigned`: the questions to the Reassigned Numbers Database."""

import json
import sys

import pytest

from stream_scrub.cli.app import _command


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own: the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*told: str):
        monkeypatch.setattr(sys, "argv", ["stream-scrub", "lists", "ask-reassigned", *told])
        code = _command()
        return code, *capsys.readouterr()

    return run


def test_each_american_number_is_asked_with_its_first_day(ask, tmp_path):
    """A number that was given away between two consents would be asked with the second day, and the first consent count."""
    (tmp_path / "consents.csv").write_text(
        "phone,given\n+14045550123,2025-03-01\n404-555-0123,2024-01-02\n+14045550124,\n+33612345678,2024-01-01\n"
        "787 555 0123,2024-05-06T10:00:00Z\n+14045550125,2999-01-01\n"
    )
    (tmp_path / "leads.csv").write_text("phone,given\n+14045550123,2023-12-31\n")
    code, told, _ = ask("consents.csv", "leads.csv", "-o", "questions.csv", "--json")
    assert code == 0
    assert json.loads(told) == {"file": "questions.csv", "numbers": 2, "undated": 2, "others": 1}
    lines = (tmp_path / "questions.csv").read_text().splitlines()
    assert lines == ["number,date", "4045550123,2023-12-31", "7875550123,2024-05-06"]


def test_columns_are_named_where_titles_say_nothing(ask, tmp_path):
    """A day of birth would be asked in place of the day of the consent."""
    (tmp_path / "crm.csv").write_text("phone,born,bought\n+14045550123,1990-01-01,2024-01-02\n")
    code, _, error = ask("crm.csv")
    assert (
        code == 1 and "--columns number=1,date=3" in error and not (tmp_path / "ask-reassigned.csv").exists()
    )
    assert ask("crm.csv", "--columns", "date=bought")[0] == 0
    assert (tmp_path / "ask-reassigned.csv").read_text().splitlines()[1:] == ["4045550123,2024-01-02"]


def test_a_file_that_exists_stays(ask, tmp_path):
    """The questions of last month, which prove what was asked, would be lost."""
    (tmp_path / "consents.csv").write_text("phone,given\n+14045550123,2025-03-01\n")
    (tmp_path / "ask-reassigned.csv").write_text("kept")
    code, _, error = ask("consents.csv")
    assert code == 2 and "it exists" in error
    assert (tmp_path / "ask-reassigned.csv").read_text() == "kept"
