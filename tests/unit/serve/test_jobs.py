"""Jobs share the places for work, whatever happens to one of them."""

import threading

import pytest

from stream_scrub.serve.files import jobs as module
from stream_scrub.serve.files.jobs import Jobs
from stream_scrub.serve.files.process import State


@pytest.fixture
def jobs(tmp_path):
    made = Jobs.of_dossiers(str(tmp_path), 60)
    made.start()
    yield made
    made.stop()


def asked(jobs, owner, work=lambda _: State("done")):
    """Have a job done; returns it, and an event that is set when it has ended."""
    ended = threading.Event()
    job = jobs.new(owner)
    jobs.keep(job)
    jobs.do(job, work, lambda _: ended.set())
    return job, ended


def test_whoever_asks_again_and_again_waits_behind_the_others(jobs, monkeypatch):
    """One administrator would keep another one's dossier away, an hour at a time."""
    monkeypatch.setattr(module, "_WAIT_S", 0.5)
    order, reading, end = [], threading.Event(), threading.Event()

    def read(job):
        order.append(job.owner)
        reading.set()
        end.wait(60)
        return State("done")

    _, ended = asked(jobs, "greedy", read)
    assert reading.wait(60)
    _, others = asked(jobs, "other", read)
    end.set()
    assert ended.wait(60)
    _, again = asked(jobs, "greedy", read)
    assert others.wait(60) and again.wait(60)
    assert order == ["greedy", "other", "greedy"]


def test_a_job_that_ends_while_the_disk_is_full_stands_in_nobodys_way(jobs, monkeypatch):
    """A token could have nothing done for an hour, and all others would wait behind it."""
    with monkeypatch.context() as full:

        def fill(_job):
            def write(*_):
                raise OSError(28, "No space left on device")

            full.setattr(module, "write", write)
            return State("done")

        _, ended = asked(jobs, "officer", fill)
        assert ended.wait(60)
    _, ended = asked(jobs, "officer")
    assert ended.wait(60)
