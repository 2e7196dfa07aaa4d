"""docs/threat-model.md and SECURITY.md: what they name is there."""

import ast
import re

import pytest

from stream_scrub.config import Settings
from tests.support.texts.pages import ROOT, rows, section, ticked

PAGE = ROOT / "docs" / "threat-model.md"
TEXT = PAGE.read_text()
FLOWS = re.findall(r"^### (.+)$", section(PAGE, "Data flows"), re.MULTILINE)
STRIDE = set("STRIDE")


def test_every_test_that_is_said_to_hold_something_exists():
    """An operator would trust in a test that was renamed away, or was never there."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT))
    assert len(named) > 40
    assert not re.search(r"`tests/[^`]*\.py`", TEXT), "a whole file holds nothing: name the test"
    for path, name in sorted(named):
        found = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in found, f"{path} has no {name}"


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_is_looked_at_from_all_six_sides(flow):
    """What nobody thought of would look like what cannot happen."""
    letters = [letter for side, *_ in rows(section(PAGE, flow)) for letter in side.split(", ")]
    assert set(letters) == STRIDE
    for side, wrong, holds, _remains in rows(section(PAGE, flow)):
        assert wrong and holds, (flow, side)


def test_every_topic_that_is_written_by_others_is_a_row_of_rights():
    """Somebody could write where nobody looked what he can do with it."""
    named = {each for row in rows(section(PAGE, "Who may do what")) for each in ticked(row[1])}
    topics = Settings().topics
    assert {topics.prospects, topics.requests, topics.lifts, topics.log} <= named


def test_the_way_to_report_names_no_address():
    """A report would go to somebody who does not read it, or does not exist."""
    text = (ROOT / "SECURITY.md").read_text()
    assert "security advisory" in text and "@" not in text and "http" not in text
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).is_file(), link
