"""The plan that docs/sizing.md promises: formulas against hand-made figures, and an hour that can be checked."""

from dataclasses import replace

import pytest

from bench.offline.capacity_plan import Asked, Event, Measured, live, size

MEASURED = Measured(per_s=200_000, cpu_us=4.0, base_mb=100.0, broker_us=2.0, source="by hand")
ASKED = Asked(
    per_s=1e6,
    peak=2.0,
    numbers=250e6,
    plan=3.2e9,
    bytes_in=235.0,
    bytes_out=400.0,
    ratio=0.4,
    replication=3,
    load=0.5,
    kept_hours=24.0,
    disk_mb_s=250.0,
    broker_cores=8,
    core_hour=0.04,
    gb_hour=0.005,
    disk_gb_month=0.08,
)


def test_the_formulas_give_what_one_computes_by_hand():
    """An operator would order too few workers for the peak."""
    made = size(ASKED, MEASURED)
    assert made.workers == 20  # 2,000,000 / (200,000 x 0.5)
    assert made.partitions == 40
    assert made.worker_cores == pytest.approx(16.0)  # 2,000,000 x 4 us / 0.5
    a_number = 8192 / (65_536 * 250e6 / 3.2e9) + 1.25 * 13 / 8
    assert made.worker_mb == pytest.approx(100 + 2 * 250e6 * a_number / 2**20)
    assert made.brokers == 12  # 2,000,000 x 635 x 0.4 x 3 bytes over 125 MiB/s
    assert made.month > 0


def test_a_worker_that_is_away_makes_its_prospects_wait_that_long():
    """The age after a death, which decides on session.timeout.ms, would be wrong."""
    asked, made = replace(ASKED, per_s=100_000.0), replace(size(ASKED, MEASURED), workers=2, partitions=4)
    lived = live(asked, MEASURED, made, [Event(10, 20.0, away=(0,))], lasts_s=60)
    assert lived.worst_s == pytest.approx(20.0, abs=0.2)
    assert lived.left < 100_000 * 0.1
    calm = live(asked, MEASURED, made, [], lasts_s=10)
    assert calm.worst_s <= 0.1 > calm.behind_s


def test_too_few_workers_never_catch_up():
    """A deployment that cannot carry its load would look as if it could."""
    made = replace(size(ASKED, MEASURED), workers=2, partitions=4)
    assert live(ASKED, MEASURED, made, [], lasts_s=10).left > 1e6
