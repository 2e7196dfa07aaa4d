"""`make sbom`: the bill of materials says what is installed, the same bytes each time, and nothing of this machine."""

import json
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from stream_scrub import __version__
from tests.packaging.test_wheel import pinned
from tests.support.packaging.builder import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """Two of them, made one after the other. (The environment is this one: it must not be made anew under the tests.)"""
    folder = tmp_path_factory.mktemp("sbom")
    paths = folder / "first.json", folder / "second.json"
    for path in paths:
        command = ["make", "-o", ".venv/.made", "sbom", f"SBOM={path}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return paths


def test_it_is_valid_and_the_same_each_time(made):
    """A scanner would refuse it, or every release look as if its dependencies had changed."""
    first, second = (path.read_text() for path in made)
    assert first == second
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    told = json.loads(first)["metadata"]["component"]
    assert (told["name"], told["version"]) == ("stream-scrub", __version__)
    assert "Apache-2.0" in json.dumps(told["licenses"])


def test_every_requirement_is_in_it_with_its_version_and_its_hashes(made):
    """A known hole in a dependency would not be found in what is deployed."""
    components = json.loads(made[0].read_text())["components"]
    listed = set()
    for each in components:
        hashes = {
            f"sha256:{given['content']}" for place in each["externalReferences"] for given in place["hashes"]
        }
        listed.add((each["name"], each["version"], frozenset(hashes)))
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
    wanted = set()
    for requirement, hashes in (pinned("run.txt") | pinned("protobuf.txt")).items():
        name, _, version = requirement.partition(";")[0].strip().partition("==")
        wanted.add((name, version, frozenset(hashes)))
    assert listed == wanted and len(components) == len(wanted)


def test_it_names_no_place_of_this_machine(made):
    """The address that packages are fetched from here would be published with a release."""
    told = json.loads(made[0].read_text())
    assert "://" not in json.dumps(told["components"]) + json.dumps(told["metadata"]["component"])
    assert str(ROOT) not in made[0].read_text()
