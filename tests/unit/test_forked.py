"""Tests fork `stream-scrub` instead of starting it (`tests/support/running/forked.py`): it must be the same thing."""

import signal
import subprocess

import pytest

from tests.support.running import forked
from tests.support.running.forked import SCRIPT
from tests.support.running.worker import catches, environment
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.mark.parametrize("command", [["config", "--json"], ["no-command"]])
def test_a_forked_command_says_and_ends_as_a_started_one(tmp_path, command):
    """Most tests would prove something of a program that nobody runs."""
    (tmp_path / "stream-scrub.toml").write_text('[log]\nformat = "console"\n')  # found by the directory
    options = {"env": environment("localhost:1"), "cwd": tmp_path, "capture_output": True, "text": True}

    ours, real = forked.run([SCRIPT, *command], **options), subprocess.run([SCRIPT, *command], **options)

    assert (ours.returncode, ours.stdout, ours.stderr) == (real.returncode, real.stdout, real.stderr)


def test_a_forked_command_is_a_child_that_takes_signals(tmp_path):
    """Every test that kills a worker would kill nothing, or hang."""
    with (tmp_path / "log").open("wb") as file:
        process = forked.Popen([SCRIPT, "worker"], env=environment("localhost:1"), stdout=file, stderr=file)
    wait_until(lambda: catches(process.pid, signal.SIGTERM))

    process.send_signal(signal.SIGKILL)

    assert process.wait() == -9
