"""`stream-scrub demo` as a newcomer runs it, on the embedded broker and in a process of its own."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "stream_scrub", "demo", "--seconds", "5", "--rate", "2000"]


def run(*more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *more], capture_output=True, text=True, timeout=120)


def test_it_shows_the_whole_system_at_work_and_every_check_holds():
    """A newcomer's first command would fail, or show a number where it must not."""
    done = run()

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for part in (
        "internal",
        "1,000,000 numbers",
        "opt-outs imported",
        "enforced",
        "every check holds",
        "make test",
    ):
        assert part in done.stdout
    assert "10,000 sent, 10,000 came out" in done.stdout
    shown = done.stdout.partition("every check holds")[0]
    assert re.findall(r"\d{9,}|\x1b", shown) == []


def test_its_summary_for_machines_is_one_document():
    """A pipeline that runs the demo as a smoke test could not tell how it went."""
    done = run("--json")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["ok"]
    assert all(check["ok"] for check in found["checks"])
    assert found["produced"] == found["scrubbed"] == sum(found["reasons"].values()) == 10_000
    assert found["faults"] == {}
    assert {"clear", "consented", "opposed", "no-consent", "no-rule", "invalid-number", "unreadable"} <= set(
        found["reasons"]
    )
    internal = [made for made in found["imports"] if made["register"] == "internal"]
    assert [made["added"] for made in internal] == [1_000_000, 5_000]
    assert found["index"] == internal[1]["position"]
    assert found["delta"]["first_blocked_s"] is not None
    assert found["delta"]["judged_by_it"] > 1_000


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_on_a_terminal_ctrl_c_ends_the_sending_and_what_was_sent_is_checked():
    """Whoever has seen enough would be left with a traceback, a hidden cursor, or a terminal that no longer echoes."""
    here, there = pty.openpty()
    shown = b""
    process = subprocess.Popen(COMMAND, stdin=there, stdout=there, stderr=there, start_new_session=True)
    os.close(there)
    try:
        until, interrupted = time.monotonic() + 60, False
        while time.monotonic() < until:
            if select.select([here], [], [], 0.2)[0]:
                try:
                    shown += os.read(here, 65_536)
                except OSError:  # the other end is closed: it has ended
                    break
            if not interrupted and b"no-consent" in shown:
                process.send_signal(signal.SIGINT)
                interrupted = True
        code = process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(here)
    text = shown.decode()

    assert code == 0, text
    assert interrupted
    assert "there was none: stopped before" in text
    assert "every check holds" in text
    assert "Traceback" not in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again


def test_more_than_fits_into_memory_is_refused_at_once():
    """The demo would be killed after minutes, with all that the machine has in memory."""
    done = subprocess.run(
        [*COMMAND[:4], "--seconds", "600", "--rate", "50000"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert "lower one of the two" in done.stderr
