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

from tests.support.running.stage import WITHOUT_EXTENSION

pytestmark = pytest.mark.alone

COMMAND = [sys.executable, "-m", "stream_scrub", "demo", "--seconds", "5"]
# Tests share a machine: what is not about the pace is sent slowly.
SLOWLY = ("--rate", "2000")


def run(*more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *more], capture_output=True, text=True, timeout=240, env={**os.environ, **environ}
    )


@pytest.mark.slow
def test_without_the_extension_it_works_and_says_so_once():
    """A newcomer without a C compiler would see it fail, or take the pace of the reference for that of the product."""
    done = run(*SLOWLY, PYTHONPATH=str(WITHOUT_EXTENSION))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("no extension: prospects are read one by one") == 1
    sent, out = re.search(r"([\d,]+) sent, ([\d,]+) came out", done.stdout).groups()
    assert sent == out
    shown = done.stdout.partition("every check")[0]
    assert re.findall(r"\d{9,}|\x1b", shown) == []


@pytest.mark.slow
def test_its_summary_for_machines_is_one_document():
    """A pipeline that runs the demo as a smoke test could not tell how it went."""
    done = run(*SLOWLY, "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["ok"]
    assert all(check["ok"] or check["excuse"] for check in found["checks"])
    assert found["produced"] == found["scrubbed"] == sum(found["reasons"].values())
    assert found["faults"] == {}
    assert {"clear", "consented", "opposed", "no-consent", "no-rule", "invalid-number", "unreadable"} <= set(
        found["reasons"]
    )
    internal = [made for made in found["imports"] if made["register"] == "internal"]
    assert [made["added"] for made in internal] == [1_000_000, 5_000]
    assert found["index"] == internal[1]["position"]
    assert found["delta"]["first_blocked_s"] is not None
    assert found["delta"]["judged_by_it"] > 0
    assert found["recall"]["leads"] >= found["recall"]["recalls"] >= found["recall"]["people"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_on_a_terminal_ctrl_c_ends_it():
    """Whoever has seen enough would be left with a traceback, a hidden cursor, or a terminal that no longer echoes."""
    here, there = pty.openpty()
    shown = b""
    process = subprocess.Popen(
        [*COMMAND[:4], "--seconds", "60", *SLOWLY],
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    try:
        until, interrupted = time.monotonic() + 240, False
        while time.monotonic() < until:
            if select.select([here], [], [], 0.2)[0]:
                try:
                    shown += os.read(here, 65_536)
                except OSError:  # the other end is closed: it has ended
                    break
            if not interrupted and b"no-consent" in shown:
                process.send_signal(signal.SIGINT)
                interrupted = True
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        os.close(here)
    text = shown.decode()

    assert interrupted
    assert code == 130, text
    assert "Traceback" not in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again


@pytest.mark.slow
def test_more_than_fits_into_memory_is_refused_at_once():
    """The demo would be killed after minutes, with all that the machine has in memory."""
    done = subprocess.run(
        [*COMMAND[:4], "--seconds", "600", "--rate", "50000"], capture_output=True, text=True, timeout=240
    )

    assert done.returncode == 2
    assert "lower one of the two" in done.stderr
