"""Exact look-ups: the extension's loop and Python's give the same answers."""

import random

import numpy as np
import pytest
from pyroaring import BitMap64

from stream_scrub.extension import extension
from stream_scrub.index import exact

MOST = 2**64 - 1


@pytest.fixture(params=["extension", "python"])
def way(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(exact, "_loop", lambda: None)
    elif extension() is None:
        pytest.skip("the extension is not installed")
    else:
        assert exact._loop() is not None, "pyroaring does not export the look-up"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_the_bitmaps_own(seed):
    """An opposed number would be allowed, or a lead be lost."""
    chance = random.Random(seed)
    dense = range(33_600_000_000, 33_600_200_000)
    members = [*chance.sample(dense, 50_000), *(chance.randrange(MOST) for _ in range(100)), 0, MOST]
    bitmap = BitMap64(members if seed % 5 else [])
    if seed % 2:
        bitmap.run_optimize()
    asked = [*chance.choices(members, k=300), *chance.choices(dense, k=300), 1, MOST - 1, 0, MOST]

    found = exact.look_up(bitmap, np.array(asked, np.uint64))

    assert found.tolist() == [number in bitmap for number in asked]
    assert exact.look_up(bitmap, np.empty(0, np.uint64)).tolist() == []
