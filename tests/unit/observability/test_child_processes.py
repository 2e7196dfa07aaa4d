"""What a parent shows of its worker processes, through pipes as the children have them."""

import threading
import time
from collections import Counter
from multiprocessing import Pipe

from stream_scrub.model import Reason
from stream_scrub.observability import child_processes, health
from stream_scrub.observability.child_processes import ChildProcesses
from stream_scrub.observability.metric_catalogue import Side
from tests.support.fakes.process_status import Scraped, text, worker
from tests.support.running.worker import wait_until


class Child:
    """A child that reports its status, until it dies."""

    def __init__(self, board: ChildProcesses, name: str, collector) -> None:
        hears, tells = Pipe(duplex=False)
        board.started(name, hears)
        self._ended = threading.Event()
        self._telling = child_processes.report_to_parent(collector, tells, self._ended, every_s=0.02)

    def close(self) -> None:
        """The end of its pipe; by the thread that writes there, whose file descriptor is another's afterwards."""
        self._ended.set()
        self._telling.join(10)


def test_every_child_is_shown_under_its_name():
    """One of the processes could stand still behind the others' figures."""
    board = ChildProcesses(["w-0", "w-1"], 60)
    assert not health.readyz(board()).ok and not health.startupz(board()).ok and health.livez(board()).ok
    (one, counted, _), (two, _, _) = worker("w-0"), worker("w-1")
    ends = [Child(board, "w-0", one), Child(board, "w-1", two)]
    wait_until(lambda: health.readyz(board()).ok, 5, every=0.01)
    counted.emitted(Counter({Reason.CLEAR: 3}), 0.1, 0.1, 0.1)
    wait_until(lambda: _page(board).found("stream_scrub_batches_total", worker="w-0") == [1], 5, every=0.01)
    assert _page(board).value("stream_scrub_batches_total", worker="w-1") == 0
    for end in ends:
        end.close()


def test_a_child_that_died_is_not_ready_and_has_no_figures():
    """A dead worker would go on showing the figures of its last second, and look well."""
    board = ChildProcesses(["w-0", "w-1"], 60)
    (one, _, _), (two, _, _) = worker("w-0"), worker("w-1")
    ends = [Child(board, "w-0", one), Child(board, "w-1", two)]
    wait_until(lambda: health.readyz(board()).ok, 5, every=0.01)
    ends[1].close()
    board.heard_out("w-1")
    board.ended("w-1")
    answer = health.readyz(board())
    assert not answer.ok and answer.page["loops"][1]["causes"][0].cause == "process"
    page = _page(board)
    assert page.value("stream_scrub_ready", worker="w-1") == 0
    assert [sample.name for sample in page.samples if sample.labels["worker"] == "w-1"] == [
        "stream_scrub_ready"
    ]
    assert health.livez(board()).ok, "it is being started anew"
    assert health.startupz(board()).ok, "which is remembered"

    (again, _, _) = worker("w-1")
    again.counters.begun = False
    end = Child(board, "w-1", again)
    wait_until(lambda: health.readyz(board()).ok, 5, every=0.01)
    assert health.startupz(board()).ok
    end.close()
    ends[0].close()


def test_a_child_that_hangs_grows_old():
    """A child whose threads all stand still would be live by its last word for ever."""
    board = ChildProcesses(["w-0"], 0.5)
    collector, _, _ = worker("w-0", limit_s=0.5)
    hears, tells = Pipe(duplex=False)
    board.started("w-0", hears)
    tells.send_bytes(collector().encoded())
    wait_until(lambda: health.readyz(board()).ok, 5, every=0.01)
    assert health.livez(board()).ok
    time.sleep(0.6)
    answer = health.livez(board())
    assert not answer.ok and answer.page["loops"][0]["causes"][0].cause == "stuck"
    tells.close()


def test_a_child_that_never_says_anything_is_not_live_in_the_end():
    """A child that hangs while it starts would never be replaced."""
    board = ChildProcesses(["w-0"], 0.1)
    assert health.livez(board()).ok
    time.sleep(0.2)
    assert not health.livez(board()).ok


def test_what_a_child_counts_last_is_told():
    """The prospects of a worker's last second would be missing from what its parent shows."""
    board = ChildProcesses(["w-0"], 60)
    collector, counted, _ = worker("w-0")
    hears, tells = Pipe(duplex=False)
    board.started("w-0", hears)
    ended = threading.Event()
    telling = child_processes.report_to_parent(collector, tells, ended, every_s=3600)
    wait_until(lambda: health.readyz(board()).ok, 5, every=0.01)
    counted.emitted(Counter({Reason.CLEAR: 3}), 0.1, 0.1, 0.1)
    ended.set()
    telling.join(5)
    board.heard_out("w-0")
    assert _page(board).found("stream_scrub_batches_total", worker="w-0") == [1]


def _page(board) -> Scraped:
    return Scraped(text(Side.WORKER, board))
