"""Several processes of one kind: how they end."""

import multiprocessing
import os
import signal
import time

from stream_scrub.ops import processes


def test_to_be_stopped_before_it_begins_is_no_failure():
    """A restart right after a start would count as a crash, and wake somebody."""
    context = multiprocessing.get_context("spawn")
    beginning, crashed = (context.Process(target=time.sleep, args=(60,)) for _ in range(2))
    beginning.start()
    crashed.start()
    os.kill(crashed.pid, signal.SIGKILL)
    crashed.join()
    assert processes._ended([beginning, crashed]) == [0, 1]
