"""`python -m tests.simulation.seeds [NAME...]`: the first seed that finds each planted bug, and how long that
takes."""

import sys
import time

from tests.simulation.bugs import BUGS, planted
from tests.simulation.history import planned
from tests.simulation.install import simulated
from tests.simulation.run import happens

_TRIES = 2000


def first(name: str) -> tuple[int, list[str]] | None:
    """The first seed that finds the bug, and what it breaks."""
    with planted(BUGS[name]):
        for seed in range(_TRIES):
            if wrong := happens(planned(seed))[1]:
                return seed, wrong
    return None


if __name__ == "__main__":
    with simulated():
        for name in sys.argv[1:] or BUGS:
            begun = time.process_time()
            print(f"{name}: {first(name)} ({time.process_time() - begun:.1f} s)", flush=True)
