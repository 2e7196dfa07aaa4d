"""What every test may ask for: the real Kafka (shared or private), topics on it, and Hypothesis' profiles.

A test that asks for `kafka`, `own_kafka`, `proxy` or `topic` carries the marker `kafka` by that alone.
"""

import fcntl
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from tests.kafka.broker import Kafka, NoKafka
from tests.kafka.jars import HOW
from tests.support.machine import chromium
from tests.support.machine import prometheus as monitoring
from tests.support.machine.absent import absent, tell
from tests.support.network.proxy import Proxy

ALONE = ("tests/contract/test_demo.py", "tests/chaos/test_speed.py")
NO_KAFKA = "no real Kafka"
REAL = {"kafka", "own_kafka", "before_proxy", "proxy", "topic"}
# What is built once a checkout, on a slow machine with an empty cache; pytest-timeout counts it to the first that asks.
BUILT, BUILD_S = {"kustomize", "compose_reader", "browser"}, 900

_LAST_LINES, _LINE_CHARS = 12, 300

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=200, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REAL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
        if BUILT & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(BUILD_S))


def _lock_file(config: pytest.Config, name: str) -> Path | None:
    """A file that both processes of this run know; None where there is but one."""
    run = getattr(config, "workerinput", {}).get("testrunuid")
    return None if run is None else Path(tempfile.gettempdir()) / f"stream-scrub-{run}-{name}.lock"


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What promises a time has the machine for itself: the other process waits before its next test."""
    door_file, room_file = _lock_file(item.config, "door"), _lock_file(item.config, "room")
    if door_file is None or room_file is None:
        return (yield)
    with ExitStack() as held:
        # Whoever wants to be alone keeps the door, so that nobody else comes in while he waits for the room.
        door = held.enter_context(ExitStack())
        door.enter_context(_locked(door_file, fcntl.LOCK_EX))
        alone = item.nodeid.startswith(ALONE)
        held.enter_context(_locked(room_file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        if not alone:
            door.close()
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where a test fails on a machine that nobody can look at, its processes' last words come with the report."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and isinstance(folder, Path):
        for log in sorted(folder.glob("*.log")):
            last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            report.sections.append((f"the end of {log.name}", "\n".join(line[:_LINE_CHARS] for line in last)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whoever ends first leaves the other one alone, who needs no lock then and makes its own."""
    for name in ("door", "room"):
        if (file := _lock_file(session.config, name)) is not None:
            file.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        f"{name}: {figure}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
        for name, figure in report.user_properties
    ]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)
    tell(terminalreporter, "real Apache Kafka", NO_KAFKA, HOW)
    monitoring.tell_skipped(terminalreporter)
    chromium.tell_skipped(terminalreporter)


def started(**options: Any) -> Kafka:
    """A Kafka made with these options; skips, or fails where one is required, when there is none."""
    kafka = Kafka(**options)
    try:
        return kafka.__enter__()
    except NoKafka as error:
        absent(f"{NO_KAFKA}: {error}")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The real Kafka that the whole run shares: never stop, pause or reconfigure it."""
    shared = started(own=False)
    yield shared
    shared.__exit__(None, None, None)


@pytest.fixture(scope="module")
def _module_kafka() -> Iterator[Kafka]:
    private = started(own=True)
    yield private
    private.__exit__(None, None, None)


@pytest.fixture
def own_kafka(_module_kafka: Kafka) -> Iterator[Kafka]:
    """A real Kafka of this module's own, running at the start of each test whatever the last one did to it."""
    _module_kafka.resume()
    _module_kafka.start()
    yield _module_kafka
    _module_kafka.resume()


@pytest.fixture(scope="session")
def before_proxy(kafka: Kafka) -> Iterator[Kafka]:
    """The shared Kafka, or, where that one was given and knows of no proxy, another."""
    if kafka.ours:
        yield kafka
        return
    private = started(own=True)
    yield private
    private.__exit__(None, None, None)


@pytest.fixture
def proxy(before_proxy: Kafka) -> Iterator[Proxy]:
    """A real Kafka behind a proxy: `proxy.bootstrap` for whoever is to feel the network's faults, `proxy.behind` for whoever
    must see the truth."""
    with Proxy(before_proxy.proxied, before_proxy.bootstrap) as before:
        yield before


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool. Without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    return monitoring.found("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of the server itself; as `promtool`."""
    return monitoring.found("prometheus")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, of this module's own. Without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    with chromium.running() as running:
        yield running


Topic = Callable[..., str]


@pytest.fixture
def topic(kafka: Kafka) -> Topic:
    """Make a topic of its own on the shared Kafka: `topic("in", partitions=3, config={...})` returns its name."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def make(name: str = "t", *, partitions: int = 1, config: dict[str, str] | None = None) -> str:
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        new = NewTopic(unique, num_partitions=partitions, replication_factor=-1, config=config or {})
        for made in admin.create_topics([new]).values():
            made.result(30)
        while unique not in admin.list_topics(timeout=10).topics:  # made, but not known to the broker yet
            admin.poll(0.05)
        return unique

    return make
