"""The bench of many tenants still fits the product."""

from bench.offline import tenants


def test_a_few_tenants_can_be_measured(monkeypatch):
    """What docs/sizing.md says of many tenants could not be measured again."""
    monkeypatch.setattr(tenants, "ONES", 3)
    monkeypatch.setattr(tenants, "BATCH", 50)

    found = tenants.measure(3, 2)

    assert found.numbers == 6 and found.log_records > 6
    assert found.optout_bytes > 0 and found.batch_ms > 0
