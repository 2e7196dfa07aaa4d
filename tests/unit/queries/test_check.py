"""`check`: what it says of a number, and when it says nothing."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_scrub import Checker, ListFile
from stream_scrub.call import Call
from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex
from stream_scrub.files.options import FileOptions
from stream_scrub.queries.check import answer
from stream_scrub.queries.history import number_of
from tests.support.fakes import law

NUMBER = 33612345678


def asked(tmp_path, index):
    """The verdict on one number, by a rule that only denies."""
    (tmp_path / "fr.toml").write_text(law.OPT_OUT)
    settings = Settings.model_validate({"rules": {"folder": str(tmp_path)}})
    (told,) = answer((f"+{NUMBER}",), Call(), None, None, settings, index)
    return told.stamp.verdict


BRITISH = ["GB", "uk", "Royaume-Uni"]


@pytest.mark.parametrize("region", BRITISH)
def test_a_region_is_read_by_the_words_that_requests_use(region, tmp_path):
    """An operator who writes UK would be refused, or be told about another country's number."""
    index = law.index(law.register("internal", []))
    (told,) = answer(("020 7946 0018",), Call(), region, None, Settings(), index)
    assert told.stamp.number == "+442079460018"
    assert number_of("020 7946 0018", region) == 442079460018
    assert FileOptions(input="-", output=Path(), region=region).region_by(Settings()) == "GB"
    (tmp_path / "opposed.txt").write_text("020 7946 0018\n")
    checker = Checker.from_lists({"internal": ListFile(tmp_path / "opposed.txt", region=region)})
    assert checker.check("020 7946 0018", region=region).reason == "opposed"


def test_an_index_without_registers_allows_nobody(tmp_path):
    """On a log that was just made, everybody who opposed would be said to be allowed."""
    assert asked(tmp_path, law.index(law.register("list", []), law.register("internal", []))) == "allowed"
    with pytest.raises(StaleIndex, match="no register yet") as holds:
        asked(tmp_path, law.index())
    assert holds.value.cause == "no-seal"


def test_a_word_that_means_several_purposes_says_which_one_was_taken():
    """An operator would never learn why electricity is blocked as a banned renovation, nor which word to use."""
    index = law.index(law.register("internal", []))
    on = datetime(2026, 11, 24, 12, tzinfo=UTC)
    (said,) = answer((f"+{NUMBER}",), Call(purpose="energy"), None, on, Settings(), index)
    assert said.stamp.reason == "banned-purpose"
    assert said.notes == [
        "the purpose energy may mean electricity, energy-renovation, gas, renewable-energy; in FR it counts as"
        " energy-renovation, renewable-energy, which is banned, and as electricity, gas it would not be: name the purpose"
        " that is meant"
    ]
    (named,) = answer((f"+{NUMBER}",), Call(purpose="gas"), None, on, Settings(), index)
    assert named.notes == [] and named.stamp.reason != "banned-purpose"
