"""`stream-scrub worker` as it is, with a note taken of every batch: `python -m bench.under_load.swap_worker FILE worker ...`.

The notes go through the place where the loop reports a batch, `WorkerState.emitted`; at the end FILE gets three rows:
when each batch was committed (CLOCK_MONOTONIC), seconds from its receipt to its last record emitted, seconds of its commit.
"""

import sys
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from stream_scrub.cli import app
from stream_scrub.model import Reason
from stream_scrub.ops import loop_state
from stream_scrub.worker import start

_noted = array("d")


class Noting(loop_state.WorkerState):
    """The product's state, and the notes."""

    def emitted(
        self,
        tally: Counter[Reason],
        batch_s: float,
        send_offsets_s: float,
        commit_s: float,
        age_s: float | None = None,
        stale: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().emitted(tally, batch_s, send_offsets_s, commit_s, age_s, stale)
        ending_s = send_offsets_s + commit_s
        _noted.extend((time.monotonic(), batch_s - ending_s, ending_s))


def main(file: str) -> None:
    start.WorkerState = Noting  # type: ignore[misc]
    try:
        app.main()
    finally:
        np.save(file, np.array(_noted).reshape(-1, 3).T)


if __name__ == "__main__":
    main(sys.argv.pop(1))
