"""Prometheus for the tests of alerts and dashboard; without one they are skipped, or fail where real parts are required."""

import os

import pytest

from tests.monitoring.prometheus import HOW, NoPrometheus, find

NONE_HERE = "no Prometheus"


def _found(tool: str) -> str:
    try:
        return find(tool)
    except NoPrometheus as error:
        reason = f"{NONE_HERE}: {error}"
    if os.environ.get("STREAM_SCRUB_REQUIRE_KAFKA") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool. Without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    return _found("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of the server itself; as `promtool`."""
    return _found("prometheus")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in reports if NONE_HERE in str(report.longrepr)]
    if skipped:
        terminalreporter.section("Prometheus")
        terminalreporter.line(f"{len(skipped)} tests were skipped: {NONE_HERE} here. To run them, {HOW}.")
        terminalreporter.line("STREAM_SCRUB_REQUIRE_KAFKA=1 makes that a failure.")
