"""What a parent shows of its worker processes, through pipes as the children have them."""

import threading
from collections import Counter
from multiprocessing import Pipe

from stream_scrub.model import Reason
from stream_scrub.ops import health, processes
from stream_scrub.ops.metric_catalogue import Side
from stream_scrub.ops.processes import ChildProcesses
from tests.support.fakes.process_status import Scraped, text, worker
from tests.support.waiting import wait_until


class Child:
    """A child that reports its status, until it dies."""

    def __init__(self, board: ChildProcesses, name: str, collector) -> None:
        hears, tells = Pipe(duplex=False)
        board.started(name, hears)
        self._ended = threading.Event()
        self._telling = processes.report_to_parent(collector, tells, self._ended, every_s=0.02)

    def close(self) -> None:
        """The end of its pipe; by the thread that writes there, whose file descriptor is another's afterwards."""
        self._ended.set()
        self._telling.join(60)


def test_every_child_is_shown_under_its_name():
    """One of the processes could stand still behind the others' figures."""
    board = ChildProcesses(Side.WORKER, ["w-0", "w-1"], 60)
    assert (
        not health.probed("/readyz", board()).ok
        and not health.probed("/startupz", board()).ok
        and health.probed("/livez", board()).ok
    )
    (one, counted, _), (two, _, _) = worker("w-0"), worker("w-1")
    ends = [Child(board, "w-0", one), Child(board, "w-1", two)]
    wait_until(lambda: health.probed("/readyz", board()).ok, every=0.01)
    counted.emitted(Counter({Reason.CLEAR: 3}), 0.1, 0.1, 0.1)
    wait_until(lambda: _page(board).found("stream_scrub_batches_total", worker="w-0") == [1], every=0.01)
    assert _page(board).value("stream_scrub_batches_total", worker="w-1") == 0
    for end in ends:
        end.close()


def test_a_child_that_died_is_not_ready_and_has_no_figures():
    """A dead worker would go on showing the figures of its last second, and look well."""
    board = ChildProcesses(Side.WORKER, ["w-0", "w-1"], 60)
    (one, _, _), (two, _, _) = worker("w-0"), worker("w-1")
    ends = [Child(board, "w-0", one), Child(board, "w-1", two)]
    wait_until(lambda: health.probed("/readyz", board()).ok, every=0.01)
    ends[1].close()
    board.drain("w-1")
    board.ended("w-1")
    answer = health.probed("/readyz", board())
    assert not answer.ok and answer.page["loops"][1]["causes"][0].cause == "process"
    page = _page(board)
    assert page.value("stream_scrub_ready", worker="w-1") == 0
    assert [sample.name for sample in page.samples if sample.labels["worker"] == "w-1"] == [
        "stream_scrub_ready"
    ]
    assert health.probed("/livez", board()).ok, "it is being started anew"
    assert health.probed("/startupz", board()).ok, "which is remembered"

    again, state, _ = worker("w-1")
    state.begun = False
    end = Child(board, "w-1", again)
    wait_until(lambda: health.probed("/readyz", board()).ok, every=0.01)
    assert health.probed("/startupz", board()).ok
    end.close()
    ends[0].close()


def test_a_child_that_hangs_grows_old():
    """A child whose threads all stand still would be live by its last word for ever."""
    board = ChildProcesses(Side.WORKER, ["w-0"], 2)
    collector, _, _ = worker("w-0", limit_s=2)
    hears, tells = Pipe(duplex=False)
    board.started("w-0", hears)
    tells.send(collector())
    wait_until(lambda: health.probed("/readyz", board()).ok, every=0.01)
    assert health.probed("/livez", board()).ok
    wait_until(lambda: not health.probed("/livez", board()).ok)
    answer = health.probed("/livez", board())
    assert answer.page["loops"][0]["causes"][0].cause == "stuck"
    tells.close()


def test_what_a_child_counts_last_is_told():
    """The prospects of a worker's last second would be missing from what its parent shows."""
    board = ChildProcesses(Side.WORKER, ["w-0"], 60)
    collector, counted, _ = worker("w-0")
    hears, tells = Pipe(duplex=False)
    board.started("w-0", hears)
    ended = threading.Event()
    telling = processes.report_to_parent(collector, tells, ended, every_s=3600)
    wait_until(lambda: health.probed("/readyz", board()).ok, every=0.01)
    counted.emitted(Counter({Reason.CLEAR: 3}), 0.1, 0.1, 0.1)
    ended.set()
    telling.join(60)
    board.drain("w-0")
    assert _page(board).found("stream_scrub_batches_total", worker="w-0") == [1]


def _page(board) -> Scraped:
    return Scraped(text(board))


def test_a_limit_of_the_parent_is_shown_with_the_first_child():
    """Nobody would see that strangers take the parent's connections."""
    board = ChildProcesses(Side.WORKER, ["w-0"], 60)
    status, _, _ = worker("w-0")
    end = Child(board, "w-0", status)
    board.limit_hit("http-connections")
    wait_until(
        lambda: _page(board).found("stream_scrub_limit_hits_total", limit="http-connections") == [1],
        every=0.01,
    )
    end.close()
