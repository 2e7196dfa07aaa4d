"""What the soak calls growth, and what its oracle calls wrong."""

import pytest

from bench.harness.failure import Failed
from bench.under_load import soak
from bench.under_load.soak import GROWTH_FILES, GROWTH_MB, Sample, grown, too_much


def samples(memory, files=lambda at: 20) -> list[Sample]:
    return [Sample(float(at), memory(at), files(at), 9) for at in range(600)]


def test_what_is_flat_after_its_first_minutes_is_flat():
    """Queues and arenas that reach their size in the first minutes would be called a leak, and a real one be missed."""
    flat = grown(samples(lambda at: 100 + min(at, 120) / 2 + at % 3))
    assert too_much({"worker": flat}) == []
    assert len(flat["minutes"]) == 10 and flat["peak_mb"] == 162


def test_a_slow_leak_fails_the_soak():
    """A worker that grows by a megabyte a minute would be killed by its memory limit once a day."""
    leak = grown(samples(lambda at: 100 + at * 2 * GROWTH_MB / 600))
    assert leak["memory_grown_mb"] == pytest.approx(1.2 * GROWTH_MB, rel=0.01)
    (told,) = too_much({"worker": leak})
    assert "memory grew" in told


def test_file_descriptors_that_are_never_closed_fail_it_too():
    """A worker would stop at its limit of open files after weeks."""
    leak = grown(samples(lambda at: 100.0, lambda at: 20 + at * (GROWTH_FILES + 6) // 600))
    assert [line.split(":")[0] for line in too_much({"publisher": leak})] == ["publisher"]


def test_a_process_that_is_gone_is_said():
    """The figures of a dead worker are flat."""
    with pytest.raises(Failed, match="gone"):
        soak.Sample.of(2**22 + 1, 0.0)
