"""When the demo's leads may come: not before its worker can judge them by what the checker knows."""

from types import SimpleNamespace

import pytest

from stream_scrub.demo import play as module
from stream_scrub.demo.daemons import DemoWorkerState
from stream_scrub.demo.play import Play, SendPlan
from stream_scrub.errors import Unavailable

PARTITIONS, POSITION = 12, 51


class Worker:
    """Gets its partitions and lists as the test says; the last state stays."""

    def __init__(self, *states):
        self.states = list(states)

    @property
    def state(self):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def need(self):
        pass


def play(*states):
    said = SimpleNamespace(forget=lambda: None, last=list)
    worker = Worker(*(DemoWorkerState(assigned, position) for assigned, position in states))
    made = Play(SimpleNamespace(), SendPlan(5, 100, PARTITIONS), None, worker, said, [])
    return made, worker


def test_no_lead_is_sent_before_the_worker_knows_every_list():
    """One newcomer in twenty would see an opposed number come out allowed, by the lists of a moment ago."""
    made, worker = play((0, -1), (PARTITIONS, -1), (PARTITIONS, 40), (PARTITIONS, POSITION))
    made._wait_until_ready(POSITION)
    assert len(worker.states) == 1, "it waited for the last state"


@pytest.mark.parametrize(("state", "missing"), [((3, POSITION), "partitions"), ((PARTITIONS, 40), "lists")])
def test_a_worker_that_never_gets_there_is_told_of(monkeypatch, state, missing):
    """A newcomer would look at a screen on which nothing happens."""
    monkeypatch.setattr(module, "_READY_S", 0.05)
    made, _ = play(state)
    with pytest.raises(Unavailable, match=missing):
        made._wait_until_ready(POSITION)
