"""A server over a log in memory, with rules that no law changes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stream_scrub.model import RegisterKind
from tests.support.fakes import law
from tests.support.fakes.log import Log
from tests.support.running.server import Served, publish, served

LISTED = """country = "GB"
regions = ["GB"]
timezone = "Europe/London"
[[rule]]
from = 2020-01-01
source = "a law that needs a list which nobody imported"
deny = ["tps", "internal"]
max_age_days = { tps = 28 }
"""
OPPOSED, CONSENTING, NOBODY = 33612345678, 33611111111, 33622222222


Start = Callable[..., Served]


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> Path:
    """A folder of rules."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "fr.toml").write_text(law.OPT_OUT_THEN_IN)
    (folder / "gb.toml").write_text(LISTED)
    return folder


def make_lists() -> Log:
    """The opposition log with a few numbers on it."""
    log = Log()
    publish(log, "internal", [OPPOSED])
    publish(log, "consent", [CONSENTING, OPPOSED], RegisterKind.ALLOW)
    return log


@pytest.fixture
def lists() -> Log:
    """A log of the test's own."""
    return make_lists()


@contextmanager
def starting(rules: Path) -> Iterator[Start]:
    """Start servers, and stop them in the end. Each is ready, unless `ready` is False."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())

        def start(log: Log, *, ready: bool = True, **settings: object) -> Served:
            given = {"rules__folder": str(rules), "prospect__default_purpose": "other"}
            made = stack.enter_context(served(patch, log, **{**given, **settings}))
            if ready:
                made.until(lambda: made.client.get("/readyz").status_code == 200)
            return made

        yield start


@pytest.fixture
def serve(rules: Path) -> Iterator[Start]:
    """Start servers for one test."""
    with starting(rules) as start:
        yield start


@pytest.fixture(scope="module")
def server(rules: Path) -> Iterator[Served]:
    """A server that is ready. All tests of a module share it: they ask and change nothing."""
    with starting(rules) as start:
        yield start(make_lists())
