"""How the demo tells that a machine had no processor for it, from what a kernel would count."""

import os
from pathlib import Path

import pytest

from stream_scrub.demo import load as demo_load
from tests.support.running.worker import wait_until


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel's figures in a folder: `say(busy, ran, waited)` in seconds, of one process and of every processor."""
    monkeypatch.setattr(demo_load, "_PROC", tmp_path)
    monkeypatch.setattr(demo_load, "_THROTTLED", tmp_path / "cpu.stat")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2})
    tick = os.sysconf("SC_CLK_TCK")

    def say(busy: float, ran: float, waited: float, throttled: float | None = None) -> demo_load.Moment:
        # user nice system idle iowait irq softirq steal guest guest_nice; a guest's time is in user's already
        cpu = f"{int(busy * tick / 4)} 0 {int(busy * tick / 4)} 9 9 0 0 0 77 77"
        lines = ["cpu  1 1 1 1", *(f"cpu{n} {cpu}" for n in (0, 2)), "cpu1 9999 9999 9999", "ctxt 5"]
        (tmp_path / "stat").write_text("\n".join(lines))
        for thread in (7, 8):
            schedstat = tmp_path / "7" / "task" / str(thread) / "schedstat"
            schedstat.parent.mkdir(parents=True, exist_ok=True)
            schedstat.write_text(f"{int(ran / 2 * 1e9)} {int(waited / 2 * 1e9)} 17\n")
        if throttled is not None:
            (tmp_path / "cpu.stat").write_text(f"usage_usec 5\nthrottled_usec {int(throttled * 1e6)}\n")
        moment = demo_load.look([7])
        assert moment is not None
        return moment

    return say


def test_what_others_used_and_our_threads_waited_is_told(kernel):
    """A starved machine would be taken for a slow product, or a slow product for a starved machine."""
    before = kernel(100, 40, 3, 1)._replace(at=50.0)
    after = kernel(104, 41, 5, 1.5)._replace(at=52.0)
    load = demo_load.between(before, after)

    assert load is not None
    assert (load.processors, load.others) == (2, pytest.approx(1.5))
    assert (load.waited_s, load.throttled_s) == (pytest.approx(2), pytest.approx(0.5))
    assert load.excuses(2.4) and not load.excuses(2.6)
    assert "1.5 of 2 processors" in str(load) and "0.50 s" in str(load)


def test_a_container_without_a_quota_was_never_stopped_by_one(kernel):
    """A missing file would leave every starved machine without its excuse."""
    before, after = kernel(100, 40, 3), kernel(101, 40.5, 3.5)
    load = demo_load.between(before, after)

    assert load is not None and load.throttled_s == 0
    assert "quota" not in str(load)


def test_where_the_kernel_tells_nothing_there_is_no_excuse(kernel, tmp_path):
    """The demo would end in a traceback on another system, or excuse everything there."""
    before = kernel(100, 40, 3)
    (tmp_path / "stat").unlink()

    assert demo_load.look([7]) is None
    assert demo_load.look([1234]) is None
    assert demo_load.between(before, None) is None
    assert demo_load.between(None, before) is None


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel counts no waiting")
def test_this_machine_tells_of_this_process():
    """The figures would be read from the wrong places of a real kernel's files."""
    before = demo_load.look([os.getpid()])

    def worked() -> bool:
        sum(range(200_000))
        load = demo_load.between(before, demo_load.look([os.getpid()]))
        return load is not None and load.seconds > 0.05 and load.processors >= 1

    wait_until(worked, 30, every=0)
    after = demo_load.look([os.getpid()])
    assert before is not None and after is not None
    assert after.ran_s > before.ran_s and after.busy_s >= before.busy_s
