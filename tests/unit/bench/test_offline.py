"""The offline benches still fit the product."""

import argparse

import pytest

from bench.offline import neighbours, recalls, slopes, tenants


def test_french_prospects_can_be_measured_beside_others():
    """Whether other countries' late lists slow French leads down could not be measured again."""
    found = neighbours.measure(200, 1)
    assert found.alone > 0 and found.others > 0


def test_a_few_tenants_can_be_measured(monkeypatch):
    """What docs/sizing.md says of many tenants could not be measured again."""
    monkeypatch.setattr(tenants, "ONES", 3)
    monkeypatch.setattr(tenants, "BATCH", 50)
    found = tenants.measure(3, 2)
    assert found.numbers == 6 and found.log_records > 6
    assert found.optout_bytes > 0 and found.batch_ms > 0


@pytest.mark.slow
def test_what_a_recall_costs_can_be_measured():
    """What docs/sizing.md says of recalls could not be measured again."""
    found, _ = recalls.run(argparse.Namespace(outstanding=9000, delta=1000))
    assert [each["recalls"] for each in found["deltas"]] == [100, 1000, 100, 1]
    assert found["start_cpu_us_a_lead"] > 0


@pytest.mark.slow
def test_the_memory_of_opposed_and_outstanding_numbers_can_be_measured():
    """What docs/sizing.md says of a billion opposed numbers could not be measured again."""
    held = slopes.outstanding([900, 1800])
    opposed = slopes.opposed(1000, 2)
    assert [row["numbers"] for row in opposed] == [1000, 2000]
    assert 1700 < held[1]["numbers"] <= 1800 and "judged_cpu_s" in held[1]
