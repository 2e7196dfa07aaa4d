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


def questions(tmp_path, name: str = "ask-reassigned.csv") -> list[str]:
    return (tmp_path / name).read_text().splitlines()


def test_each_american_number_is_asked_with_its_first_day(ask, tmp_path):
    """A number that was given away between two consents would be asked with the second day, and the first consent count."""
    (tmp_path / "consents.csv").write_text(
        "phone,consented_on\n+14045550123,2025-03-01\n404-555-0123,2024-01-02\n+14045550124,\n+33612345678,2024-01-01\n"
        "787 555 0123,2024-05-06T10:00:00Z\n+14045550125,2999-01-01\n"
    )
    (tmp_path / "leads.csv").write_text("phone,consented_on,until\n+14045550123,2023-12-31,2030-01-01\n")
    code, told, _ = ask("consents.csv", "leads.csv", "-o", "questions.csv", "--json")
    assert code == 0
    assert json.loads(told) == {"file": "questions.csv", "numbers": 2, "undated": 2, "others": 1}
    assert questions(tmp_path, "questions.csv") == [
        "number,date",
        "4045550123,2023-12-31",
        "7875550123,2024-05-06",
    ]


def test_a_crm_export_is_read_by_the_columns_of_its_import(ask, tmp_path):
    """Whoever imported the consents would have to write them again for the questions."""
    (tmp_path / "crm.csv").write_text(
        "Name;Mobile;Born;Opt-in;Date\nA;404 555 0123;1990-01-01;yes;03/04/2024\nB;404 555 0124;1991-01-01;yes;2024-05-06\n"
    )
    assert ask("crm.csv", "--columns", "phone=Mobile,consent=Opt-in,given=Date")[0] == 0
    # 3 April or 4 March: the earlier day asks about more.
    assert questions(tmp_path) == ["number,date", "4045550123,2024-03-04", "4045550124,2024-05-06"]


def test_a_list_without_days_is_asked_with_the_day_that_is_named(ask, tmp_path):
    """A list of one day, which an import takes with `given=`, could not be asked about."""
    (tmp_path / "consents.txt").write_text("+14045550123\n+14045550124\n")
    assert ask("consents.txt", "--columns", "phone=1,given=2024-01-02")[0] == 0
    assert questions(tmp_path)[1:] == ["4045550123,2024-01-02", "4045550124,2024-01-02"]


def test_columns_that_nobody_named_are_not_guessed(ask, tmp_path):
    """A day of birth, or of a record's creation, would be asked in place of the day of the consent."""
    (tmp_path / "crm.csv").write_text("phone,since,date\n+14045550123,1990-01-01,2024-01-02\n")
    code, _, error = ask("crm.csv")
    assert code == 1 and "crm.csv" in error and "--columns phone=phone,given=since" in error
    assert not (tmp_path / "ask-reassigned.csv").exists()
    code, _, error = ask("crm.csv", "--columns", "phone=phone")
    assert code == 1 and "given=" in error
    assert ask("crm.csv", "--columns", "phone=phone,given=date")[0] == 0
    assert questions(tmp_path)[1:] == ["4045550123,2024-01-02"]


def test_a_file_that_exists_stays(ask, tmp_path):
    """The questions of last month, which prove what was asked, would be lost."""
    (tmp_path / "consents.csv").write_text("phone,consented_on\n+14045550123,2025-03-01\n")
    (tmp_path / "ask-reassigned.csv").write_text("kept")
    code, _, error = ask("consents.csv")
    assert code == 2 and "it exists" in error
    assert (tmp_path / "ask-reassigned.csv").read_text() == "kept"
