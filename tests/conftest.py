"""What every test may ask for: the real Kafka (shared or private), topics on it, and Hypothesis' profiles. How the tests
of a run are shared out between its processes, and which of them `make test` leaves to `make test-all` (marker `slow`).

A test that asks for `kafka`, `own_kafka`, `proxy` or `topic` carries the marker `kafka` by that alone.
"""

import fcntl
import functools
import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser
from xdist.scheduler import LoadScopeScheduling

from tests.kafka.broker import Kafka, NoKafka
from tests.kafka.jars import HOW
from tests.kafka.shared import shared
from tests.support.machine import chromium
from tests.support.machine import prometheus as monitoring
from tests.support.machine.absent import absent, tell
from tests.support.machine.effort import ALL
from tests.support.names import unique_name
from tests.support.network.proxy import Proxy
from tests.support.running.worker import logs_of

NO_KAFKA = "no real Kafka"
REAL = {"kafka", "own_kafka", "before_proxy", "proxy", "topic"}
# What only `make test-all` runs: tools of others that judge our files, and whole folders. Single tests are marked.
SLOW_FIXTURES, SLOW_FOLDERS = (
    {"kustomize", "compose_reader", "promtool", "prometheus"},
    (
        "tests/cluster/",
        "tests/journeys/",
        "tests/k8s/",
        "tests/kits/",
        "tests/monitoring/",
        "tests/packaging/",
    ),
)
QUICK = "not slow"  # what `make test` selects
# By file or folder: what kills and waits first, what computes last, and within it the longest, so that all processes end
# together. Two private clusters at a time are what two processors carry.
ORDER = (
    "chaos/test_cluster.py",
    "cluster/test_lost_records.py",
    "chaos",
    "cluster/test_nemesis.py",
    "cluster/test_restarts.py",
    "contract/test_security.py",
    "cluster",
    "contract",
    "docs",
    "journeys",
    "packaging",
    "k8s",
    "monitoring",
    "kits",
    "browser",
    "simulation",
    "arch",
    "property/test_list_cost.py",
    "property",
    "unit/rules/test_matrix.py",
    "unit/serve/test_files.py",
    "unit/serve/test_examples.py",
    "unit/queries/test_explain.py",
    "unit",
)

ROOT = Path(__file__).parents[1]
ROOMS = {
    path.name for path in (ROOT / "stream_scrub").iterdir() if path.is_dir() and not path.name.startswith("_")
}
# The tests that run whole processes on brokers, and the rooms that each of these processes goes through.
PROCESSES = {"chaos", "cluster", "simulation"}
STREAMING = {
    "config",
    "index",
    "kafka",
    "log",
    "numbering",
    "ops",
    "publisher",
    "recall",
    "requests",
    "retry",
    "rules",
    "scrub",
    "worker",
}
_HELD: pytest.StashKey[ExitStack] = pytest.StashKey()
_LAST_LINES, _LINE_CHARS = 40, 400

settings.register_profile(
    "stream_scrub",
    max_examples=100 if ALL else 35,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("stream_scrub")


# jsonschema's grammar of IRIs takes 2 s to load, in each process of a run. No schema here has an IRI.
sys.modules["rfc3987_syntax"] = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--room", help="only the tests of one folder of stream_scrub/, as in --room kafka")


def pytest_configure(config: pytest.Config) -> None:
    room = config.option.room
    if room is not None and room not in ROOMS:
        raise pytest.UsageError(f"--room {room}: choose from {', '.join(sorted(ROOMS))}")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are collected and stay: neither now nor later need the garbage collector look at them."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test` does not read folders of which it runs nothing: each of its processes would."""
    if config.option.markexpr != QUICK or config.args_source == pytest.Config.ArgsSource.ARGS:
        return None
    return f"{collection_path.relative_to(ROOT)}/" in SLOW_FOLDERS or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    room = config.option.room
    if room is not None:
        others = [item for item in items if not _belongs(item.path, room)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _belongs(item.path, room)]
    items.sort(key=_place)
    for item in items:
        if item.nodeid.startswith(SLOW_FOLDERS) or SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
        if REAL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


@functools.cache
def _belongs(module: Path, room: str) -> bool:
    """Whether a module tests a room: it lies in a folder of that name, imports it, or runs whole processes that have it."""
    path = module.relative_to(ROOT)
    if room in path.parts or (room in STREAMING and path.parts[1] in PROCESSES):
        return True
    return re.search(rf"stream_scrub(\.| import .*\b){room}\b", module.read_text()) is not None


def _place(item: pytest.Item) -> tuple[bool, int, str]:
    """What wants the machine for itself comes last: all others must end before it begins."""
    file = item.nodeid.partition("::")[0].removeprefix("tests/")
    name = file if file in ORDER else file.partition("/")[0]
    is_alone = item.get_closest_marker("alone") is not None
    return is_alone, ORDER.index(name) if name in ORDER else -1, file


class _Sharing(LoadScopeScheduling):
    """Module by module. The tests of a module that shares nothing and runs for minutes go one by one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if _splits(module) else module


@functools.cache
def _splits(module: str) -> bool:
    if not module.startswith(("tests/chaos/", "tests/contract/", "tests/simulation/")):
        return False
    return not re.search('scope="module"|own_kafka', (ROOT / module).read_text())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Sharing:
    config.option.loadscopereorder = False
    return _Sharing(config, log)


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
        alone = item.get_closest_marker("alone") is not None
        held.enter_context(_locked(room_file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        if not alone:
            door.close()
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """When a test fails, its report has the last log lines of its processes and the machine's load."""
    report = yield
    if report.failed:
        report.sections.append(("load average", " ".join(f"{load:.1f}" for load in os.getloadavg())))
        for log in logs_of(getattr(item, "funcargs", {}).get("tmp_path")):
            last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            report.sections.append((f"the end of {log.name}", "\n".join(line[:_LINE_CHARS] for line in last)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whoever ends first leaves the others alone, who make their own."""
    session.config.stash.get(
        _HELD, ExitStack()
    ).close()  # it may wait for the others, which no test's time may contain
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
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """The real Kafka that all processes of the run share: never stop, pause or reconfigure it."""
    held = request.config.stash.setdefault(_HELD, ExitStack())
    worker = getattr(request.config, "workerinput", None)
    if worker is None:
        alone = started()
        held.callback(alone.__exit__, None, None, None)
        return alone
    folder = Path(tempfile.gettempdir()) / f"stream-scrub-{worker['testrunuid']}-kafka"
    return held.enter_context(shared(folder, lambda: started(doors=worker["workercount"])))


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
    if any(kafka.proxied):
        yield kafka
        return
    private = started(own=True)
    yield private
    private.__exit__(None, None, None)


@pytest.fixture
def proxy(before_proxy: Kafka, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """A real Kafka behind a proxy: `proxy.bootstrap` for whoever is to feel the network's faults, `proxy.behind` for whoever
    must see the truth."""
    process = getattr(request.config, "workerinput", {"workerid": "gw0"})["workerid"]
    doors = before_proxy.proxied  # each process of the run has one
    with Proxy(doors[int(process.removeprefix("gw")) % len(doors)], before_proxy.bootstrap) as before:
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


def until_known(admin: AdminClient, topic: str) -> None:
    """Wait until the broker knows a topic that was made, and its leaders: its answer comes before that."""
    while True:
        found = admin.list_topics(timeout=60).topics.get(topic)
        if found and found.partitions and all(each.leader >= 0 for each in found.partitions.values()):
            return
        admin.poll(0.05)


@pytest.fixture
def topic(kafka: Kafka) -> Topic:
    """Make a topic of its own on the shared Kafka: `topic("in", partitions=3, config={...})` returns its name."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def make(name: str = "t", *, partitions: int = 1, config: dict[str, str] | None = None) -> str:
        unique = f"{name}-{unique_name()}"
        new = NewTopic(unique, num_partitions=partitions, replication_factor=-1, config=config or {})
        for made in admin.create_topics([new]).values():
            made.result()
        until_known(admin, unique)
        return unique

    return make
