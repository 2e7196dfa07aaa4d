"""The examples of docs/check-api.md and of the kits' pages, each run in its language where that is on this machine."""

import os
import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream_scrub.model import RegisterKind
from tests.support import kits
from tests.support.running.server import publish
from tests.support.texts.pages import ROOT, blocks

pytestmark = pytest.mark.process

CONSENTING, OPPOSED = 33612345680, 33612345678
RUN = {
    "sh": ("bash", "example.sh", ["bash", "-e", "{file}"]),
    "python": (sys.executable, "example.py", [sys.executable, "{file}"]),
    "php": ("php", "example.php", ["php", "{file}"]),
}
BY_KIT = {"javascript": kits.typescript, "java": kits.java, "go": kits.go}
PAGES = [
    ROOT / "docs" / "check-api.md",
    *(ROOT / "kits" / kit / "README.md" for kit in ("typescript", "java", "go")),
]
EXAMPLES = {
    block.language: block.text
    for page in PAGES
    for block in blocks(page)
    if block.language in RUN or (block.language in BY_KIT and "CheckClient(" in block.text)
}


@pytest.fixture
def port(serve, lists) -> int:
    """A server that would allow one of the examples' numbers."""
    publish(lists, "consent", [CONSENTING, OPPOSED], RegisterKind.ALLOW)
    return serve(lists).port


def test_there_is_an_example_for_each():
    """An engineer would have to find out alone what a time-out must mean."""
    assert set(EXAMPLES) == {*RUN, *BY_KIT}


def run(language: str, port: int, folder: Path) -> str:
    """What the example prints that asks at this port."""
    text = EXAMPLES[language].replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    if language in BY_KIT:
        command = BY_KIT[language](text, folder)
    else:
        program, name, parts = RUN[language]
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
        (folder / name).write_text(text)
        command = [part.format(file=folder / name) for part in parts]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


class AnothersAnswer(BaseHTTPRequestHandler):
    """Answers every question with the verdict on somebody else."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        stamp = b'{"verdict":"allowed","reason":"clear","number":"+33699999999","at":"%b"}' % at
        self.send_response(200)
        self.send_header("Content-Length", str(len(stamp)))
        self.end_headers()
        self.wfile.write(stamp)

    def log_message(self, *_):
        """Nothing."""


@pytest.mark.parametrize("language", RUN)
def test_an_example_believes_no_verdict_on_another(language, tmp_path):
    """A proxy that mixes up two answers would have somebody called who has opposed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), AnothersAnswer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        printed = run(language, server.server_address[1], tmp_path)
        server.shutdown()
    assert not re.search("(?m)^(true|dial)|allowed", printed)


@pytest.mark.parametrize("language", [*RUN, *(pytest.param(kit, marks=pytest.mark.slow) for kit in BY_KIT)])
def test_an_example_dials_whom_it_may(language, port, tmp_path):
    """What an engineer copies would not run, or dial somebody who has opposed."""
    printed = run(language, port, tmp_path)
    if language == "sh":
        assert '"verdict":"allowed"' in printed
    elif language == "python":
        said = printed.splitlines()
        assert said[0].startswith("dial ") and said[1:] == ["do not dial", "do not dial"]
        assert "612345680" not in printed
    else:
        assert printed.split() == ["true", "false"]
