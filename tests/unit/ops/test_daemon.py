"""The skeleton of a daemon: its exit codes, and how it waits and fails."""

import platform
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from stream_scrub.config import Settings
from stream_scrub.config.settings import Worker
from stream_scrub.errors import ConfigError, Corrupt, Migrated, Refused, StaleIndex, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.ops.daemon import Daemon, Process, judge_until_stopped, until_answered
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import RetryState
from stream_scrub.ops.metric_catalogue import RETRY_FAILURES, Side
from stream_scrub.ops.processes import identity
from tests.support.fakes.process_status import value


def process():
    return Process(Settings(), RetryState("r", Settings(), 60), structlog.get_logger())


def problem():
    return RecurringProblem(structlog.get_logger(), "it fails", "it works")


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (Refused("no right"), 1), (ConfigError(["no folder"]), 2), (Corrupt("a gap", offset=7), 3)],
)
def test_the_exit_code_says_how_it_ended(error, code):
    """A supervisor would restart what cannot work, or leave a corrupt log to itself."""

    def work(_process):
        if error is not None:
            raise error

    with capture_logs() as lines:
        assert Daemon(Settings(), RetryState, work, 60).exit_code(process()) == code
    assert [line["why"] for line in lines] == ([] if error is None else [str(error)])


def test_processes_on_one_host_have_names_of_their_own(tmp_path):
    """Two workers would end each other's transactions for ever, and emit nothing."""
    kept = Worker(state_dir=str(tmp_path / "state"))
    host = socket.gethostname()
    with identity(kept, Side.WORKER) as first:
        with identity(kept, Side.WORKER) as second, identity(kept, Side.RECALL) as recall:
            assert (first, second, recall) == (host, f"{host}_2", host)
        with identity(kept, Side.WORKER) as again, identity(Worker(id="w1"), Side.WORKER) as named:
            assert (again, named) == (f"{host}_2", "w1")
    with identity(kept, Side.WORKER) as restarted:
        assert restarted == host


def test_a_second_process_does_not_take_the_name_of_the_first(tmp_path):
    """Two workers whose disk takes no lock would end each other's transactions for ever."""
    kept = Worker(state_dir=str(tmp_path))
    with identity(kept, Side.WORKER):
        (tmp_path / f"stream-scrub-{Side.WORKER}-2.lock").symlink_to(tmp_path / "nowhere")
        with pytest.raises(ConfigError, match="its own --id"), identity(kept, Side.WORKER):
            pass


def test_a_folder_in_place_of_the_lock_is_named(tmp_path):
    """Each of two workers would take the host's name without a word, and end the other's transactions for ever."""
    lock = tmp_path / f"stream-scrub-{Side.WORKER}-1.lock"
    lock.mkdir()
    with pytest.raises(ConfigError) as raised, identity(Worker(state_dir=str(tmp_path)), Side.WORKER):
        pass
    assert f"worker.state_dir: {lock} must be a plain file: remove it" in str(raised.value)


def test_brokers_are_waited_for_and_the_state_says_so():
    """A daemon that is started before its brokers would end, or look ready."""
    its, answers = process(), [Unavailable("away"), Uncertain("away"), "here"]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with capture_logs() as lines:
        answer = until_answered(ask, its.state, its.stopping, problem(), retry_s=[0.0])
    assert answer == "here" and its.state.waiting == ("broker", "away")
    assert [line["event"] for line in lines] == ["it fails", "it works"]
    its.stopping.set()
    assert until_answered(ask, its.state, its.stopping, problem()) is None
    with pytest.raises(Refused):
        until_answered(lambda: (_ for _ in ()).throw(Refused("x")), its.state, threading.Event(), problem())


def test_a_turn_that_fails_is_given_up_and_repeated():
    """A shadow or a retry would end with the first rebalance, or go on from what it only believes."""
    its, given_up, turns = process(), [], []
    outcomes = [Migrated("x"), Unavailable("x"), StaleIndex("hash-key", "needs the key"), None]
    waiting = []

    def turn(index):
        turns.append(index)
        waiting.append(its.state.waiting)
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        its.stopping.set()

    stale = [StaleIndex("no-seal", "x")]

    def usable(_lag_s):
        if stale:
            raise stale.pop()
        return Index.empty()

    follower = SimpleNamespace(usable=usable)
    judge_until_stopped(its, follower, turn, lambda: given_up.append(1), problem(), retry_s=0.0)
    assert len(turns) == 4 and len(given_up) == 3 and its.state.stopping
    assert waiting[:3] == [None] * 3, "the status says what the index waits for"
    assert waiting[3] == ("hash-key", "needs the key"), "and the state what is missing"
    assert value(its.state, RETRY_FAILURES) == 2


def test_a_command_whose_configuration_fails_late_ends_with_2(tmp_path):
    """systemd would start it again for ever: it gives up on a 2 or a 3 alone."""
    (tmp_path / "stream-scrub-recall-1.lock").mkdir()
    command = [sys.executable, "-m", "stream_scrub", "recall", "--set", f"worker.state_dir={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "must be a plain file" in done.stdout + done.stderr


def test_no_process_leaves_a_core_dump():
    """Every number and token in memory would lie on a disk, for whoever reads crash reports."""
    script = (
        "import resource, sys; from stream_scrub.cli.app import main; sys.argv[1:] = ['--version']\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (4096, 8192))\n"
        "try: main()\n"
        "except SystemExit: print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(0, 0)"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is an option of glibc")
def test_the_memory_of_a_batch_serves_the_next_one():
    """A worker would cost up to a tenth more: the kernel would clear the same pages for each batch."""
    rounds = (
        "import resource, threading\n"
        "def work():\n"
        "    def batches(count):\n"
        "        for _ in range(count):\n"
        "            [bytes(400_000) for _ in range(100)]\n"
        "        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt\n"
        "    before = batches(2)\n"
        "    print(batches(5) - before)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    keeping = "from stream_scrub.ops.daemon import keep_freed_memory\nkeep_freed_memory()\n"
    plain, kept = (
        int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for code in (rounds, keeping + rounds)
    )
    assert kept * 4 < plain
