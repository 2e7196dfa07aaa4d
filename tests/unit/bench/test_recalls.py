"""The bench of a recall member's work still fits the product."""

import argparse

import pytest

from bench.offline import recalls


@pytest.mark.slow
def test_what_a_recall_costs_can_be_measured():
    """What docs/sizing.md says of recalls could not be measured again."""
    found, _ = recalls.run(argparse.Namespace(outstanding=9000, delta=1000))

    assert [each["recalls"] for each in found["deltas"]] == [100, 1000, 100, 1]
    assert found["start_cpu_us_a_lead"] > 0
