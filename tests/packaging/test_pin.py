"""Images are named in one place, and pinned by digest wherever they are used by one command."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packaging.builder import ROOT

PLACES = (".ci/images.txt", "Containerfile", "compose.yaml", "k8s/overlays/local/kafka.yaml")
USED = re.compile(r"^ *(?:- )?(?:image: |ARG BASE=)([^\s#]+)", re.MULTILINE)


def images(folder: Path) -> list[str]:
    return (folder / PLACES[0]).read_text().split()


def used(folder: Path) -> set[str]:
    """Every image of others that some file names."""
    found = {each for name in PLACES[1:] for each in USED.findall((folder / name).read_text())}
    return {each for each in found if not each.startswith("stream-scrub")}


@pytest.fixture
def checkout(tmp_path):
    """The files that name images, and what pins them."""
    for name in (*PLACES, ".ci/pin.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def pin(checkout: Path, said: str) -> subprocess.CompletedProcess:
    """Pin by a skopeo that says this of every image."""
    tools = checkout / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "skopeo").write_text(f"#!/bin/sh\n{said}\n")
    (tools / "skopeo").chmod(0o755)
    env = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = [sys.executable, str(checkout / ".ci/pin.py")]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_every_image_is_one_of_the_list_as_it_stands_there():
    """One of them would be left at its tag, or at another digest, when the others are pinned."""
    assert used(ROOT) == set(images(ROOT)) and len(images(ROOT)) == 4
    every = subprocess.run(
        ["git", "grep", "-lE", r"image: [a-z]+/[a-z]+:"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if every.returncode == 0:  # a checkout
        assert {name for name in every.stdout.split() if not name.startswith("tests/")} <= set(PLACES)


def test_pinning_names_every_image_by_its_digest_and_again_by_a_newer_one(checkout):
    """What was looked at would not be what runs."""
    tags = images(checkout)
    for digit in "ab":
        assert pin(checkout, f"printf 'sha256:{digit * 64}\\n'").returncode == 0
        assert images(checkout) == [f"{tag.partition('@')[0]}@sha256:{digit * 64}" for tag in tags]
        assert used(checkout) == set(images(checkout))


@pytest.mark.parametrize("said", ["echo no such image >&2; exit 1", "echo latest"])
def test_without_a_digest_nothing_is_pinned(checkout, said):
    """Half of the images would be pinned, and the rest look so."""
    before = [(checkout / name).read_text() for name in PLACES]
    done = pin(checkout, said)
    assert done.returncode == 1 and images(checkout)[0] in done.stderr
    assert [(checkout / name).read_text() for name in PLACES] == before
