"""A call that overruns is left behind, and not for ever."""

import gc
import threading
import weakref

import pytest

from stream_scrub.errors import Uncertain
from stream_scrub.kafka.client import producer_calls
from stream_scrub.kafka.client.producer_calls import BoundedCaller
from tests.support.waiting import wait_until


class Client:
    """Something that holds connections, with a call that may take longer than it was allowed."""

    def __init__(self) -> None:
        self.may_return = threading.Event()

    def wait(self, timeout_s: float) -> None:
        self.may_return.wait(240)

    def answer(self, timeout_s: float) -> str:
        return "done"


def threads() -> int:
    return sum(each.name == "caller" for each in threading.enumerate())


def test_a_call_that_comes_back_late_leaves_nothing_behind(monkeypatch):
    """Every overrun of an overloaded hour would keep a producer with its connections, threads and queues for ever: a
    worker was seen to hold three times its memory and twice its files after one."""
    monkeypatch.setattr(producer_calls, "GRACE_S", 0.1)
    before = threads()
    caller, client = BoundedCaller(), Client()
    with pytest.raises(Uncertain):
        caller.call("committing", client.wait, timeout_s=0.1)
    released, kept = client.may_return, weakref.ref(client)
    del client
    assert caller.call("opening", Client().answer, timeout_s=60) == "done"
    assert threads() == before + 2

    released.set()

    wait_until(lambda: threads() == before + 1)
    gc.collect()
    assert kept() is None
    caller.close()
    wait_until(lambda: threads() == before)


def test_a_call_that_is_over_keeps_nothing_alive():
    """The last producer of an idle session would outlive it."""
    caller, client = BoundedCaller(), Client()
    caller.call("opening", client.answer, timeout_s=60)
    kept = weakref.ref(client)
    del client
    wait_until(lambda: gc.collect() >= 0 and kept() is None, every=0.01)
    caller.close()
