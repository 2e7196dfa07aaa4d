"""The examples of docs/check-api.md, each run in its language where that is on this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scrub.model import RegisterKind
from tests.support.running.server import publish
from tests.support.texts.pages import ROOT, blocks

CONSENTING, OPPOSED = 33612345680, 33612345678
RUN = {
    "sh": ("bash", "example.sh", ["bash", "-e", "{file}"]),
    "python": (sys.executable, "example.py", [sys.executable, "{file}"]),
    "javascript": ("node", "example.mjs", ["node", "{file}"]),
    "java": ("java", "MayDial.java", ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "{file}"]),
    "go": ("go", "example.go", ["go", "run", "{file}"]),
    "php": ("php", "example.php", ["php", "{file}"]),
}
EXAMPLES = {
    block.language: block.text for block in blocks(ROOT / "docs" / "check-api.md") if block.language in RUN
}


@pytest.fixture
def port(serve, lists) -> int:
    """A server that would allow one of the examples' numbers."""
    publish(lists, "consent", [CONSENTING, OPPOSED], RegisterKind.ALLOW)
    return serve(lists).port


def test_there_is_an_example_for_each():
    """An engineer would have to find out alone what a time-out must mean."""
    assert set(EXAMPLES) == set(RUN)


@pytest.mark.parametrize("language", RUN)
def test_an_example_dials_whom_it_may(language, port, tmp_path):
    """What an engineer copies would not run, or dial somebody who has opposed."""
    program, name, command = RUN[language]
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on this machine")
    file = tmp_path / name
    file.write_text(EXAMPLES[language].replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GOCACHE": str(Path.home() / ".cache" / "go-build"),
        "GO111MODULE": "off",
    }
    done = subprocess.run(
        [part.format(file=file) for part in command], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if language == "sh":
        assert '"verdict":"allowed"' in done.stdout
    elif language == "python":
        said = done.stdout.splitlines()
        assert said[0].startswith("dial ") and said[1:] == ["do not dial", "do not dial"]
        assert "612345680" not in done.stdout
    else:
        assert done.stdout.split() == ["true", "false"]
