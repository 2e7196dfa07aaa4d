"""The distributions: what is in them, and that a wheel works with nothing but what requirements/run.txt names."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from stream_scrub import __version__
from tests.support.packaging.builder import ROOT, run


def command(alone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One command of the installed wheel, far from the checkout."""
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "120", **variables}
    return subprocess.run(
        [alone / "stream-scrub", *arguments],
        env=environment,
        cwd=alone,
        capture_output=True,
        text=True,
        timeout=240,
    )


def package_files() -> set[str]:
    """The package as it is, or would be, in the repository, with the documentation and the API's description in it."""
    parts = ("stream_scrub", "docs", "schemas/openapi.json")
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *parts])
    there = [name for name in listed.splitlines() if (ROOT / name).is_file()]
    return {name if name.startswith("stream_scrub/") else f"stream_scrub/{name}" for name in there}


def pinned(name: str) -> dict[str, set[str]]:
    """The requirements of a file, each with its version and marker, and the hashes that are accepted for it."""
    text = re.sub(r"(?m)^\s*#.*$", "", (ROOT / "requirements" / name).read_text()).replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = line.split("--hash=")
        found[requirement.strip()] = {each.strip() for each in hashes}
    return found


def test_the_wheel_holds_the_package_and_nothing_else(built):
    """Rules or tables would be missing where it is installed, or tests and caches come along."""
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == package_files()
    assert {"stream_scrub/rules/fr.toml", "stream_scrub/numbering/tables/33.z"} <= names


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    """Whoever builds from the source distribution would get another product, or none."""
    with tarfile.open(built.sdist) as packed:
        # Python 3.11.2, which is Debian 12's, has no filters yet; later ones ask for one.
        packed.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (folder,) = tmp_path.iterdir()
    built_again = tmp_path / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", built_again],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (again,) = built_again.iterdir()
    with zipfile.ZipFile(again) as second, zipfile.ZipFile(built.wheel) as first:
        assert {info.filename: info.CRC for info in second.infolist()} == {
            info.filename: info.CRC for info in first.infolist()
        }


def test_the_wheel_asks_for_what_is_locked(built, alone):
    """An installation would lack a package that only the developers' environment has."""
    told = json.loads(run([str(alone / "python"), "-m", "pip", "list", "--format", "json"]))
    installed = {each["name"].lower().replace("_", "-") for each in told}
    locked = {name.partition("==")[0] for name in pinned("run.txt")}
    assert installed - {"pip", "setuptools", "stream-scrub"} <= locked
    assert "No broken requirements" in run([str(alone / "python"), "-m", "pip", "check"])


def test_every_command_starts_without_the_developers_packages(alone):
    """A user's first command would end with a missing module."""
    told = command(alone, "--help")
    assert told.returncode == 0, told.stderr
    assert command(alone, "--version").stdout.startswith(f"stream-scrub {__version__} (Python ")
    modules = "import importlib, pkgutil, stream_scrub\n"
    modules += "for found in pkgutil.walk_packages(stream_scrub.__path__, 'stream_scrub.'):\n"
    modules += "    name = found.name\n"
    modules += "    if not name.startswith('stream_scrub.numbering.') and name != 'stream_scrub.__main__':\n"
    modules += "        importlib.import_module(name)\n"
    run([str(alone / "python"), "-c", modules])


def test_it_prints_the_pages_that_its_messages_cite(alone):
    """Whoever has the wheel alone could not read what an error tells them to read."""
    listed = command(alone, "docs")
    assert listed.returncode == 0 and "runbook: " in listed.stdout and "reference/limits: " in listed.stdout
    for topic in ("runbook", "docs/runbook.md"):
        told = command(alone, "docs", topic)
        assert told.returncode == 0 and told.stdout == (ROOT / "docs" / "runbook.md").read_text()
    unknown = command(alone, "docs", "nothing")
    assert unknown.returncode == 2 and "reference/limits" in unknown.stderr


def test_what_the_image_is_built_with_is_what_is_tested():
    """The image would be compiled and packed by other versions than those that every test runs with."""
    tested = pinned("dev.txt")
    with (
        (ROOT / "pyproject.toml").open("rb") as file,
        (ROOT / "native" / "pyproject.toml").open("rb") as native,
    ):
        asked = [
            *tomllib.load(file)["build-system"]["requires"],
            *tomllib.load(native)["build-system"]["requires"],
        ]
    built_with = pinned("build.txt")
    assert {re.split(r"[=<>~]", each)[0] for each in asked} <= {
        name.partition("==")[0] for name in built_with
    }
    assert {name: tested.get(name) for name in built_with} == built_with
