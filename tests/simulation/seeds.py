"""`python -m tests.simulation.seeds [NAME...]`: for each planted bug the first seed that finds it, and how much computing
time a find takes."""

import sys
import time
from itertools import count

from tests.simulation.bugs import BUGS, planted
from tests.simulation.install import simulated
from tests.simulation.plans import planned
from tests.simulation.run import happens

_FINDS, _MOST_S = 5, 60.0


def found(name: str) -> str:
    """What the first finds took."""
    seeds: list[int] = []
    begun, took_s = time.process_time(), 0.0
    with planted(BUGS[name]):
        for seed in count():
            if happens(planned(seed))[1]:
                seeds.append(seed)
            took_s = time.process_time() - begun
            if len(seeds) == _FINDS or took_s > _MOST_S:
                break
    if not seeds:
        return f"not found in {took_s:.0f} s"
    return f"first seed {seeds[0]}, {took_s / len(seeds):.2f} s a find"


if __name__ == "__main__":
    with simulated():
        for each in sys.argv[1:] or BUGS:
            print(f"{each}: {found(each)}", flush=True)
