"""What the product does in one place, and where that is."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scrub"
# What only one module may do, by a text that gives it away; then the modules that may have it.
PLACES = {
    '.partition("@")': {
        "model.py",
        "dialler/leads.py",
    },  # a register's name; and a rule's digest, `fr@0a1b2c`
    "[a-z0-9][a-z0-9": {"model.py"},  # what a register's name may be
    ".isoformat(timespec": {"clock.py"},
    "JSONDecoder(": {"strict_json.py"},
    "os.fsync(": {"atomic_file.py"},
    "at (?:line": {"toml_lines.py"},  # where tomllib stumbled
}


@pytest.mark.parametrize("text", PLACES)
def test_it_is_done_in_one_place(text: str) -> None:
    """A second way to do it would be a little different, and the two would disagree one day."""
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    assert {name for name, source in sources.items() if text in source} <= PLACES[text]
