"""Real parts that this machine lacks. Tests that need them are (a) skipped and counted, or (b) fail if every part is
required."""

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test, or fail it with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    if os.environ.get("STREAM_SCRUB_REQUIRE_KAFKA") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def tell(reporter: pytest.TerminalReporter, title: str, what: str, how: str) -> None:
    """At the end of a run: how many tests were skipped for want of `what`, and how to run them."""
    skipped = [report for report in reporter.stats.get("skipped", []) if what in str(report.longrepr)]
    if skipped:
        reporter.section(title)
        reporter.line(f"{len(skipped)} tests were skipped: {what} here. To run them, {how}.")
        reporter.line("STREAM_SCRUB_REQUIRE_KAFKA=1 makes that a failure.")
