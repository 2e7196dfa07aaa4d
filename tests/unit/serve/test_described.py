"""The running server against its own description, by a program that is not ours (schemathesis): what the description
allows is asked, and what it does not."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import RequestPlace
from stream_scrub.serve import tokens

pytestmark = [pytest.mark.process, pytest.mark.slow]

# No schema can say which numbers are valid, or which months have begun: there a question of the right shape may be refused.
# A reading starts a process, so those are not fuzzed.
REFUSED = """[[operations]]
include-name = ["POST /v1/history", "POST /v1/requests"]
checks.positive_data_acceptance.enabled = false
[[operations]]
include-name = ["GET /v1/report"]
checks.positive_data_acceptance.enabled = false
phases.fuzzing.enabled = false
[[operations]]
include-name = ["POST /v1/verify"]
phases.fuzzing.enabled = false
"""


class Taking:
    """Takes every request."""

    def send(self, _key, _value, told, _headers) -> None:
        told(RequestPlace(0, 1))

    def close(self) -> None:
        """Nothing is open."""


def test_the_server_is_as_it_is_described(serve, lists, monkeypatch, tmp_path):
    """A generated client would send what is refused, or stumble over an answer; or a body that nobody thought of would
    be a fault of ours."""
    monkeypatch.setattr(clients.Brokers, "requests_writer", lambda *_: Taking())
    token = tokens.add(tmp_path / "tokens.json", "d", ["admin"], datetime.now(UTC)).token
    server = serve(lists, http__tokens=str(tmp_path / "tokens.json"), http__rate_per_s="1000000")
    (tmp_path / "schemathesis.toml").write_text(REFUSED)
    program = Path(sys.executable).with_name("st")
    asked = [program, "--config-file", tmp_path / "schemathesis.toml", "run", f"{server.url}/openapi.json"]
    asked += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "18", "--no-color"]
    asked += ["--request-timeout", "300"]
    asked += ["--header", f"Authorization: Bearer {token}", "--warnings", "off"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Tested: 8" in done.stdout
    assert not [line for line in server.lines() if line["level"] == "error"]
