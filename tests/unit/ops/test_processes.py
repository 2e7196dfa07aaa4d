"""How processes end that this one began."""

import multiprocessing
import os
import signal
import threading
import time

import msgspec
import pytest

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


class Word(msgspec.Struct):
    """What a child says."""

    word: str


WORD = msgspec.msgpack.Decoder(Word)


def talks(parent, _alive):
    while True:
        parent.send_bytes(msgspec.msgpack.encode(Word("more")))
        time.sleep(0.01)


def talks_nonsense(parent, _alive):
    parent.send_bytes(b"\xc1")
    time.sleep(600)


def falls_silent(parent, _alive):
    parent.send_bytes(msgspec.msgpack.encode(Word("more")))
    time.sleep(600)


def stops_in_a_word(parent, _alive):
    parent.send_bytes(msgspec.msgpack.encode(Word("more")))
    os.write(parent.fileno(), b"\0\0\1\0half")
    time.sleep(600)


def dies(_parent, _alive):
    os._exit(7)


def answered(target, seconds=600.0, *, is_cancelled=False, begin=lambda _: None):
    """Why a child has no answer. It is cancelled when it has said something."""
    child = processes.one_child(target, name="test")
    heard = threading.Event()

    def is_progress(_word):
        heard.set()
        return True

    why_end = lambda: "cancelled" if is_cancelled and heard.is_set() else ""
    limit = seconds, "too long"
    outcome = processes.in_daemon_thread(
        lambda: processes.answer(child, WORD, limit, why_end, begin=begin, is_progress=is_progress)
    )
    with pytest.raises(processes.NoAnswer) as stopped:
        outcome.result(60)
    return str(stopped.value), stopped.value.code


@pytest.mark.slow
@pytest.mark.parametrize("child", [talks, falls_silent, stops_in_a_word])
def test_a_child_ends_when_it_is_told_to(child):
    """A scrub that was cancelled would go on, and the server wait for it before it stops."""
    assert answered(child, is_cancelled=True) == ("cancelled", None)


def test_a_child_ends_when_its_time_is_over():
    """A file that takes for ever would keep a place on the server for ever."""
    assert answered(stops_in_a_word, seconds=5.0) == ("too long", None)


def test_a_child_that_takes_no_task_ends_as_well():
    """A server would wait for ever for a child that hangs before it takes the lists."""
    long = lambda ours: ours.send_bytes(bytes(10_000_000))
    assert answered(falls_silent, seconds=1.0, begin=long) == ("too long", None)


@pytest.mark.slow
def test_a_child_without_an_answer_is_not_waited_for():
    """A file that damages its reader would keep a place on the server for ever."""
    assert answered(dies) == ("", 7)
    assert answered(talks_nonsense) == ("", -signal.SIGKILL)
