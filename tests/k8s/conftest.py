"""What the tests of `k8s/` may ask for: kustomize, each overlay as it is built, and the definitions of custom resources."""

import os
from pathlib import Path

import pytest
import yaml

from tests.support.k8s import kustomize as tool
from tests.support.k8s.kustomize import NO_KUSTOMIZE, ROOT
from tests.support.k8s.manifests import Object, Overlay
from tests.support.machine.absent import absent

OVERLAYS = ("local", "production")
NO_CRDS = "no definitions of custom resources"
CRDS = ROOT.parent / "shared" / "crds"
CRDS_HOW = (
    "give STREAM_SCRUB_TEST_CRDS=folder with the CustomResourceDefinitions of Strimzi and KEDA as YAML files"
    " (their projects have them), or put it at ../shared/crds beside the checkout"
)


@pytest.fixture(scope="session")
def kustomize() -> str:
    """The path of kustomize; without one the test is skipped, or fails with STREAM_SCRUB_REQUIRE_KAFKA=1."""
    try:
        return tool.find()
    except tool.NoKustomize as error:
        absent(str(error))


_BUILT: dict[str, Overlay] = {}


def _overlay(kustomize: str, name: str) -> Overlay:
    if name not in _BUILT:
        folder = ROOT / "k8s" / "overlays" / name
        _BUILT[name] = Overlay.of_text(name, *tool.build(kustomize, folder))
    return _BUILT[name]


@pytest.fixture(params=OVERLAYS)
def overlay(kustomize: str, request: pytest.FixtureRequest) -> Overlay:
    """Each overlay in turn."""
    return _overlay(kustomize, request.param)


@pytest.fixture
def production(kustomize: str) -> Overlay:
    return _overlay(kustomize, "production")


@pytest.fixture
def local(kustomize: str) -> Overlay:
    return _overlay(kustomize, "local")


@pytest.fixture(scope="session")
def crds() -> dict[tuple[str, str], Object]:
    """The definitions, by the `apiVersion` and `kind` that they define; skips where there are none."""
    folder = Path(os.environ.get("STREAM_SCRUB_TEST_CRDS", CRDS))
    found: dict[tuple[str, str], Object] = {}
    for file in sorted(folder.glob("*.yaml")):
        for each in yaml.safe_load_all(file.read_text()):
            for version in each["spec"]["versions"]:
                found[f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"]] = version
    if not found:
        pytest.skip(f"{NO_CRDS}: {CRDS_HOW}")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [str(each.longrepr) for each in terminalreporter.stats.get("skipped", [])]
    for what, how in ((NO_KUSTOMIZE, tool.HOW), (NO_CRDS, CRDS_HOW)):
        skipped = sum(what in report for report in reports)
        if skipped:
            terminalreporter.section("k8s")
            terminalreporter.line(f"{skipped} tests were skipped: {what} here. To run them, {how}.")
