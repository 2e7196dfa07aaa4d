"""What `make dist` builds, installed into empty environments of this Python and the newest that the classifiers name."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from stream_scrub import __version__, extension
from tests.support.packaging.builder import ROOT, run

RULES = ROOT / "stream_scrub" / "rules"


HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"
# A program as docs/python.md begins, and who reads plain prospects.
PROGRAM = """
import pathlib
from stream_scrub import Checker
from stream_scrub.scrub import backend
pathlib.Path("opt-outs.csv").write_text("phone\\n06 12 34 56 78\\n")
stamp = Checker.from_lists({"internal": "opt-outs.csv"}).check("+33612345678")
print(backend.BEST.name, stamp.verdict, stamp.reason)
"""


def pythons():
    """`.ci/pythons.py`, which knows where other Pythons are."""
    spec = importlib.util.spec_from_file_location("pythons", ROOT / ".ci" / "pythons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder that `make dist` fills; the environment that runs this is not made anew for it."""
    folder = tmp_path_factory.mktemp("dist")
    old = f"--old-file={sys.prefix}/.made"
    run(["make", "--silent", old, "dist", f"VENV={sys.prefix}", f"DIST={folder}"])
    return folder


def pip(environment: Path, *arguments: str) -> None:
    run(
        [
            str(environment / "bin" / "python"),
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            *arguments,
        ]
    )


def locked(environment: Path, name: str) -> None:
    """What a requirements file names, by its hashes."""
    pip(
        environment,
        "install",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        str(ROOT / "requirements" / name),
    )


@pytest.mark.parametrize("version", sorted({HERE, pythons().newest()}))
def test_both_distributions_install_and_work_together(dist, tmp_path, version):
    """A release would not install on a Python that it names, or run there without its extension."""
    python = sys.executable if version == HERE else pythons().find(version)
    if python is None:
        pytest.skip(f"Python {version} is not on this machine")
    if not shutil.which("cc") or not (Path(run([python, "-c", INCLUDE]).strip()) / "Python.h").is_file():
        pytest.skip(f"no C compiler, or no headers of Python {version}, to build the extension's wheel with")
    building, empty = tmp_path / "building", tmp_path / "empty"
    for environment in (building, empty):
        run([python, "-m", "venv", str(environment)])
    locked(building, "build.txt")
    (wheel,) = dist.glob("stream_scrub-*.whl")
    (sdist,) = dist.glob("stream_scrub_native-*.tar.gz")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "wheels"))
    pip(building, "wheel", *offline, str(sdist))
    shutil.copy(wheel, tmp_path / "wheels")
    locked(empty, "run.txt")

    pip(empty, "install", "--no-index", "--find-links", str(tmp_path / "wheels"), "stream-scrub[native]")

    pip(empty, "check")
    assert run([str(empty / "bin" / "stream-scrub"), "--version"]).startswith(f"stream-scrub {__version__}")
    told = subprocess.run(
        [empty / "bin" / "python", "-c", PROGRAM], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert told.stdout == "native blocked opposed\n", told.stderr


def test_the_extension_is_asked_for_by_name_alone(dist, alone, tmp_path):
    """A machine without its wheel could not install the product, or would wait for a compiler."""
    (wheel,) = dist.glob("stream_scrub-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
        asked = re.findall(
            r"^Requires-Dist: (stream-scrub-native.*)$", packed.read(name).decode(), re.MULTILINE
        )
    assert asked == [f"stream-scrub-native=={extension.VERSION}; extra == 'native'"]
    program = subprocess.run(
        [alone / "python", "-c", PROGRAM], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert program.stdout == "python blocked opposed\n", program.stderr


def test_everything_that_a_release_publishes_is_built(dist):
    """A release would lack a file, or ship one without its licence or sources."""
    native = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]
    edition = ".".join(str(int(part)) for part in (RULES / "edition.txt").read_text().strip().split("."))
    names = sorted(re.sub(r"-cp\d+.*", "-cp", path.name) for path in dist.iterdir())
    assert names == [
        f"stream_scrub-{__version__}-py3-none-any.whl",
        f"stream_scrub-{__version__}.tar.gz",
        f"stream_scrub_native-{native['version']}-cp",
        f"stream_scrub_native-{native['version']}.tar.gz",
        f"stream_scrub_rules-{edition}-py3-none-any.whl",
    ]
    (wheel,) = dist.glob("stream_scrub_native-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert any(name.endswith("/licenses/LICENSE") for name in packed.namelist())
        (told,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
        assert "License-Expression: Apache-2.0" in packed.read(told).decode()


def test_the_rules_by_themselves_are_those_of_the_product(dist):
    """Whoever installed them would judge by other rules, or by fewer."""
    (wheel,) = dist.glob("stream_scrub_rules-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = {
            Path(name).name: packed.read(name)
            for name in packed.namelist()
            if name.startswith("stream_scrub_rules/")
        }
        assert any(name.endswith("/licenses/LICENSE") for name in packed.namelist())
    ours = (*RULES.glob("*.toml"), RULES / "edition.txt")
    assert held == {"__init__.py": b""} | {each.name: each.read_bytes() for each in ours}


def test_the_extension_has_the_version_that_is_asked_of_it():
    """`stream-scrub[native]` would install an extension that is then not used, and nothing would say why."""
    native = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]
    source = (ROOT / "native" / "stream_scrub_native.pyx").read_text()
    product = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (
        re.search(r"^VERSION = (\d+)$", source, re.MULTILINE)[1]
        == native["version"]
        == str(extension.VERSION)
    )
    assert product["optional-dependencies"]["native"] == [f"stream-scrub-native=={native['version']}"]
    assert json.dumps(product["classifiers"]).count("Python :: 3.1") == json.dumps(
        native["classifiers"]
    ).count("Python :: 3.1")


def test_the_changelog_has_this_version_with_its_day():
    """Who upgrades could not see what has changed, or since when."""
    versions = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0][0] == __version__
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", day) for _, day in versions)
