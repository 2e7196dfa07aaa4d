"""The bench of neighbours still fits the product."""

from bench.offline import neighbours


def test_french_prospects_can_be_measured_beside_others():
    """Whether other countries' late lists slow French leads down could not be measured again."""
    found = neighbours.measure(200, 1)
    assert found.alone > 0 and found.others > 0
