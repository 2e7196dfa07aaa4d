"""Debian's Chromium for the tests, driven by Playwright, which fetches none of its own. Found on the path, or installed where
this is a root's machine with apt-get.

It reaches loopback and nothing else, and its profile is thrown away.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.machine.absent import absent, tell

ROOT = Path(__file__).parents[3]
NONE_HERE = "no Chromium"
HOW = "install Chromium (Debian: apt-get install chromium)"
# A name of anywhere else leads nowhere, so that a page that asks for something from outside shows it here too.
LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


class NoChromium(RuntimeError):
    """There is none here and it cannot be installed; the text says why and what would help."""


@contextmanager
def running() -> Iterator[Browser]:
    """A browser, for as long as a module of tests. Without one they are skipped, or fail where real parts are required.

    Not longer: while Playwright runs, its event loop is the thread's, and `asyncio.run` of another test would fail.
    """
    try:
        path = find()
    except NoChromium as error:
        absent(f"{NONE_HERE}: {error}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[LOOPBACK_ONLY])
        yield browser
        browser.close()


def tell_skipped(reporter: pytest.TerminalReporter) -> None:
    """At the end of a run, as `absent.tell`."""
    tell(reporter, "Chromium", NONE_HERE, HOW)


def find() -> str:
    """The path of Chromium. Raises NoChromium."""
    there = shutil.which("chromium")
    if there is None:
        (ROOT / ".cache").mkdir(exist_ok=True)
        with (ROOT / ".cache" / "chromium.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process installs, others wait for it
            there = shutil.which("chromium") or _install()
    return there


def _install() -> str:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoChromium(HOW)
    print("installing Debian's chromium: there is none here", file=sys.stderr)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update",), ("install", "-y", "--no-install-recommends", "chromium")):
        done = subprocess.run(
            ["apt-get", "-qq", *command],
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise NoChromium(f"apt-get {command[0]} failed: {done.stderr.strip()[-400:]}; {HOW}")
    there = shutil.which("chromium")
    if there is None:
        raise NoChromium(HOW)
    return there
