"""The line of an index swap."""

import io
import json
import time

import pytest

from stream_scrub.ops.log_lines import SwapLog
from stream_scrub.ops.logs import configure
from tests.support.fakes import law


@pytest.fixture
def told(monkeypatch):
    """Lines by the second in which a swap came: `told([(second, took_s, stall_s, waited_s), ...])`; `(second,)` alone is one
    in which the log's end was reached and no swap came."""

    def tell(moments):
        out = io.BytesIO()
        lines = SwapLog(configure("info", "json", out))
        for second, *times in moments:
            monkeypatch.setattr(time, "monotonic", lambda second=second: second)
            if times:
                lines.swapped(law.index(), *times)
            else:
                lines.flush()
        return [json.loads(line) for line in out.getvalue().splitlines()]

    return tell


def test_a_swap_is_a_line_at_once(told):
    """An operator would import a list and not see that it is in force."""
    first, second = told([(5.0, 0.1, 0.01, 0.2), (7.0, 0.3, 0.0, None)])
    assert (first["took_ms"], first["stall_ms"], first["waited_ms"], first["swaps"]) == (100, 10, 200, 1)
    assert (second["took_ms"], second["waited_ms"], second["swaps"]) == (300, None, 1)


def test_many_swaps_a_second_are_one_line_with_the_longest_times(told):
    """Opt-outs that come all day would be a million lines a day and worker, and whoever is woken read nothing else."""
    burst = [(5.0 + n / 10, 0.001 * n, 0.0001 * n, 0.01 * (9 - n)) for n in range(10)]
    first, second = told([*burst, (6.0, 0.002, 0.0, 0.001)])
    assert first["swaps"] == 1
    assert (second["swaps"], second["took_ms"], second["stall_ms"], second["waited_ms"]) == (10, 9, 0.9, 80)


def test_the_last_of_many_swaps_is_told_without_a_next_one(told):
    """An operator would import two lists at once, and the log never say that the second is in force."""
    first, second = told([(5.0, 0.1, 0.0, 0.1), (5.3, 0.2, 0.0, 0.2), (5.6,), (6.0,), (7.0,), (9.0,)])
    assert (first["swaps"], second["swaps"], second["took_ms"]) == (1, 1, 200)
