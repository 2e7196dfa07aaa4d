"""kcat for the pages' command lines: found, or installed where this is a root's machine with apt-get."""

import os
import shutil
import sys

import pytest

from tests.kafka.broker import NoKafka
from tests.kafka.jars import run
from tests.support.machine.absent import absent, tell

NO_KCAT = "no kcat"
HOW = "install kcat (Debian: apt-get install kcat)"


@pytest.fixture(scope="session")
def kcat() -> str:
    """The path of kcat; without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    why = HOW
    if shutil.which("kcat") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing kcat: there is none here", file=sys.stderr)
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        try:
            run(["apt-get", "update", "-qq"], "apt-get update", quiet)
            run(
                ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "kcat"],
                "apt-get install",
                quiet,
            )
        except NoKafka as error:
            why = str(error)
    found = shutil.which("kcat")
    if found is None:
        absent(f"{NO_KCAT}: {why}")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tell(terminalreporter, "kcat", NO_KCAT, HOW)
