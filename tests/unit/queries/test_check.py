"""`check`: what it says of a number, and when it says nothing."""

import pytest

from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex
from stream_scrub.queries.check import CheckQuestion, answer
from tests.support.fakes import law

NUMBER = 33612345678


def asked(tmp_path, index):
    """The verdict on one number, by a rule that only denies."""
    (tmp_path / "fr.toml").write_text(law.OPT_OUT)
    settings = Settings.model_validate({"rules": {"folder": str(tmp_path)}})
    (told,) = answer(CheckQuestion((f"+{NUMBER}",), None, False, None, None, None), settings, index)
    return told.fields["verdict"]


def test_an_index_without_registers_allows_nobody(tmp_path):
    """On a log that was just made, everybody who opposed would be said to be allowed."""
    assert asked(tmp_path, law.index(law.register("list", []), law.register("internal", []))) == "allowed"
    with pytest.raises(StaleIndex, match="no register yet") as holds:
        asked(tmp_path, law.index())
    assert holds.value.cause == "no-seal"
