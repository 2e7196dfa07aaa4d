"""Rules from the distribution `stream-scrub-rules`, which is updated without the code."""

import shutil
import sys
from pathlib import Path

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Rulebook, hours, purposes, shipped

OURS = Path(shipped.__file__).parent
READERS = (shipped.shipped, hours.shipped, purposes.shipped)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """The folder of an installed package of rules, a copy of ours, a hundred years newer."""
    folder = tmp_path / shipped.ALONE
    folder.mkdir()
    (folder / "__init__.py").touch()
    for each in (*OURS.glob("*.toml"), OURS / "edition.txt"):
        shutil.copy(each, folder)
    (folder / "edition.txt").write_text("2126.01.01\n")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield folder
    sys.modules.pop(shipped.ALONE, None)
    forget()


def forget():
    for read in READERS:
        read.cache_clear()


def test_newer_rules_alone_judge(alone):
    """A law that changes tomorrow would need a new release of the code."""
    denmark = alone / "dk.toml"
    denmark.write_text(denmark.read_text("utf-8").replace("2014-06-13", "2015-01-01"), "utf-8")
    book = Rulebook.load()
    assert book.countries["DK"].where == f"{shipped.ALONE}/dk.toml"
    assert [str(rule.start) for rule in book.countries["DK"].rules] == ["2015-01-01"]
    assert shipped.shipped().edition == "2126.01.01"


def test_older_rules_alone_are_passed_over(alone):
    """A package of rules that somebody forgot would take back the law of a newer release."""
    (alone / "edition.txt").write_text("2020.01.01\n")
    assert Rulebook.load().countries["DK"].where == "stream_scrub/rules/dk.toml"
    assert shipped.shipped().edition == (OURS / "edition.txt").read_text().strip()


def test_its_holidays_and_words_are_its_own(alone):
    """A new rule would be read with the holidays or the purposes of the older release."""
    (alone / "holidays.toml").write_text('[FR]\n2026 = ["01-01"]\n')
    (alone / "purposes.toml").write_text("[purposes]\nsurvey = []\n")
    assert {*hours.shipped()} == {"FR"} and {*purposes.shipped()} == {"survey"}


def test_rules_that_this_release_cannot_read_stop_the_start(alone):
    """A key of a later release would be passed over, and a call be allowed that it forbids."""
    denmark = alone / "dk.toml"
    denmark.write_text(denmark.read_text("utf-8") + "until_later = 3\n", "utf-8")
    with pytest.raises(ConfigError, match="until_later"):
        Rulebook.load()


def test_a_broken_package_is_named(alone):
    """An installation that went half wrong would end in a traceback."""
    (alone / "edition.txt").unlink()
    with pytest.raises(ConfigError, match="install stream-scrub-rules again"):
        Rulebook.load()


@pytest.mark.parametrize("edition", [b"\xff\xfe2\x00", b"", b"<html>", b"2027.1.5"])
def test_an_edition_that_is_no_day_is_named(alone, edition):
    """A file that was cut off or replaced would end in a traceback, or older rules would count as the newest."""
    (alone / "edition.txt").write_bytes(edition)
    with pytest.raises(ConfigError, match="install stream-scrub-rules again"):
        Rulebook.load()
