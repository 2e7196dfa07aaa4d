"""What users install: the distributions, an environment with nothing else in it, and the image."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.machine import golang
from tests.support.machine.absent import absent, tell
from tests.support.packaging.builder import HOW, ROOT, Image, NoImage, run

NO_IMAGE = "no image can be built"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tell(terminalreporter, "the image", NO_IMAGE, HOW)


class Built(NamedTuple):
    """The two distributions of this checkout."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def alone(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and what requirements/run.txt names, and nothing else."""
    folder = tmp_path_factory.mktemp("alone") / "venv"
    run([sys.executable, "-m", "venv", str(folder)])
    install = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    run(
        [*install, "--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements" / "run.txt")]
    )
    run([*install, "--no-index", "--no-deps", str(built.wheel)])
    return folder / "bin"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, and a container's root made from it."""
    made = Image()
    try:
        made.__enter__()
    except NoImage as error:
        absent(f"{NO_IMAGE}: {error}")
    yield made
    made.__exit__(None, None, None)


@pytest.fixture(scope="session")
def compose_reader() -> list[str]:
    """The command that reads compose.yaml as Docker does: Docker's own, else the library that it reads with."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose", "--file", str(ROOT / "compose.yaml"), "config", "--format", "json"]
    reader = str(ROOT / "tests" / "packaging" / "compose")
    return golang.found().command("run", "-C", reader, ".", str(ROOT / "compose.yaml"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """An empty folder that the image's user may write to, as an orchestrator mounts it."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    return folder


@pytest.fixture(scope="session")
def revision() -> str:
    """What this checkout is at."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return told.stdout.strip()
