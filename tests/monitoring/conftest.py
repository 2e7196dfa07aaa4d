"""Prometheus for the tests of alerts and dashboard; without one they are skipped, or fail where real parts are required."""

import pytest

from tests.monitoring.prometheus import HOW, NoPrometheus, find
from tests.support.absent import absent, tell

NONE_HERE = "no Prometheus"


def _found(tool: str) -> str:
    try:
        return find(tool)
    except NoPrometheus as error:
        absent(f"{NONE_HERE}: {error}")


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool. Without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    return _found("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of the server itself; as `promtool`."""
    return _found("prometheus")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tell(terminalreporter, "Prometheus", NONE_HERE, HOW)
